"""Statements 57 to 64 and claim context_loop: direct simulation, and the committed cells anew.

Nothing of the package is used but the formulas that are checked; loops are written label by label.
"""

import math
from functools import partial

import numpy as np
import pytest
import stored
from scipy import stats

from icl_stl import bounds, references

M, D, NOISE, PENALTY = 12, 3, 0.5, 0.25
RUNS = 4000
cells_of = partial(stored.cells, "context_loop")


@pytest.fixture(scope="module")
def rng():
    return np.random.default_rng(20)


def gram(xs):
    return xs.swapaxes(-1, -2) @ xs


def moment(xs, ys):
    return np.einsum("...md,...m->...d", xs, ys)


def ridge(xs, ys, penalty=PENALTY):
    own = gram(xs) + penalty * np.eye(xs.shape[-1])
    return np.linalg.solve(own, moment(xs, ys)[..., None])[..., 0]


def attention(gain):
    return lambda xs, ys: gain * moment(xs, ys) / xs.shape[-2]


def relabelled(xs, ys, weights, k, noise):
    """Labels of the next generation: real ones in the first k places."""
    made = np.einsum("nmd,nd->nm", xs, weights) + noise
    return np.where(np.arange(xs.shape[1]) < k, ys, made)


def loop(fit, xs, ys, k, noises):
    """Weights of a loop with fixed inputs, one generation for each row of noise: `[n, G+1, d]`."""
    path = [fit(xs, ys)]
    for noise in noises:
        path.append(fit(xs, relabelled(xs, ys, path[-1], k, noise)))
    return np.stack(path, axis=1)


def prompts(rng, runs, m=M, d=D, noise=NOISE):
    tasks = rng.normal(size=(runs, d))
    tasks *= math.sqrt(d) / np.linalg.norm(tasks, axis=1, keepdims=True)
    xs = rng.normal(size=(runs, m, d))
    return xs, np.einsum("nmd,nd->nm", xs, tasks) + noise * rng.normal(size=(runs, m)), tasks


def far(values, expected) -> float:
    """Distance of a mean from what is expected, in standard errors."""
    values = np.asarray(values)
    return abs(values.mean() - expected) / (values.std(ddof=1) / math.sqrt(len(values)))


def quiet(generations):
    return np.zeros((generations, 1, 1))


# --- the claim's cells ---------------------------------------------------------------------------


def test_findings_about_networks(ledger) -> None:
    """Beside ridge in the same prompts: influence and error, where enough examples are kept."""
    assert all(c["verdict"] == "finding" for c in cells_of(loop="network"))
    networks = cells_of(loop="network")
    for cell in networks:
        assert cell["curve"][-1] == pytest.approx(cell["measured"])
        assert cell["low"] <= cell["measured"] <= cell["high"]
    influence = {c["kept"]: c for c in cells_of("influence", loop="network") if c["kept"]}
    ratios = [cell["measured"] / cell["bound"] for cell in influence.values()]
    every = influence[max(influence)]
    enough = [c["alpha"] * c["measured"] / every["measured"] for k, c in influence.items() if k > 2]
    ledger.record(
        "claim context_loop: influence in networks over that in ridge",
        status="finding",
        tightness=f"{min(ratios):.2f} to {max(ratios):.2f}, alpha times it "
        f"{min(enough):.2f} to {max(enough):.2f}",
    )
    distances = cells_of("distance to ridge", loop="network")
    beside = [c["measured"] / c["limit_error"] for c in distances if c["kept"] > 2]
    ledger.record(
        "claim context_loop: distance of networks to ridge on the kept over its error",
        status="finding",
        tightness=f"{min(beside):.2f} to {max(beside):.2f}",
    )


# --- 57, 58: linear attention --------------------------------------------------------------------


def test_attention_with_fixed_inputs(ledger, rng) -> None:
    xs, ys, _ = prompts(rng, 300)
    best = M / (M + D + 1 + NOISE**2)
    exploding, controls = {}, []
    for k in (0, 1, 3, 6):
        step = best / M * gram(xs[:, k:])
        factor = np.linalg.eigvalsh(step)[:, -1]
        known = references.attention_context_factor(xs[:, :k], xs[:, k:], best)
        np.testing.assert_allclose(known, factor, rtol=1e-10)
        path = loop(attention(best), xs, ys, k, quiet(60))
        exact = references.attention_context(
            xs[:, :k], ys[:, :k], xs[:, k:], ys[:, k:], best, 0.0, 60
        ).mean
        np.testing.assert_allclose(path, exact, rtol=1e-9, atol=1e-12)
        others = np.where(np.arange(M) < k, 0.0, ys)  # the difference of two coupled loops
        apart = np.linalg.norm(loop(attention(best), xs, others, k, quiet(60)), axis=2)
        grew, clear = apart[:, -1] > apart[:, -2], np.abs(factor - 1) > 0.05
        assert (grew != (factor > 1))[clear].mean() < 0.02  # the top direction may be hit late
        if k == 3:
            wrong = factor / (1 - k / M) > 1
            controls.append((grew != wrong)[clear].mean() > 0.05)
        exploding[k] = (factor > 1).mean()
        (cell,) = cells_of("wrong side", loop="linear attention", kept=k)
        assert cell["exploding"] == pytest.approx(exploding[k], abs=0.12)
        assert cell["measured"] <= 0.05
        for which in ("largest", "typical"):
            ratio = np.array(cell[f"loop_{which}"]) / cell[f"path_{which}"]
            assert np.abs(ratio - 1).max() < 0.01
        (off,) = cells_of("relative distance", loop="linear attention", kept=k)
        assert off["measured"] < 0.01
    ledger.record(
        "57 linear attention, fixed inputs",
        "attained",
        f"{exploding[0]:.0%} explode without real labels",
        all(controls),
    )


def test_attention_with_new_inputs(ledger, rng) -> None:
    """The mean square from known weights, and the three factors of a difference."""
    k, r, c = 3, 9, 1.3
    factors = (c * 0.75, (c * 0.75) ** 2 * (1 + (D + 1) / r))
    assert factors == pytest.approx((0.975, 1.373125))
    known = references.attention_fresh_factors(D, k, r, c)
    assert (known.mean, known.square) == pytest.approx(factors)
    # log chi^2 by integration, for the typical factor
    log_mean = lambda n: stats.chi2(n).expect(np.log)  # noqa: E731
    logarithm = math.log(factors[0] / r) + (log_mean(r) + log_mean(r + D - 1)) / 2
    assert math.log(known.typical) == pytest.approx(logarithm, abs=1e-7)
    runs = 10 * RUNS
    xs = rng.normal(size=(runs, r, D))
    apart = rng.normal(size=(runs, D))
    after = c * 0.75 / r * np.einsum("nrd,nre,ne->nd", xs, xs, apart)
    square = (after**2).sum(1) / (apart**2).sum(1)
    assert far(square, factors[1]) < 4.5
    assert far(np.log(square) / 2, logarithm) < 4.5
    task = np.array([1.0, -1.0, 0.5])
    now = np.array([0.7, 0.2, -1.5])
    kept_xs = rng.normal(size=(runs, k, D))
    kept_ys = kept_xs @ task + 0.6 * rng.normal(size=(runs, k))
    new = (
        c
        / 12
        * (moment(kept_xs, kept_ys) + moment(xs, xs @ now + 0.4 * rng.normal(size=(runs, r))))
    )
    expected = references.attention_fresh_square(task, now, k, r, c, 0.6, 0.4)
    assert far((new**2).sum(1), float(expected)) < 4.5
    for cell in cells_of("factor of its mean square", loop="linear attention"):
        rest = cell["m"] - cell["kept"]
        exact = (c * rest / M) ** 2 * (1 + (D + 1) / rest)
        assert cell["bound"] == pytest.approx(exact, rel=1e-9)
    (grows,) = cells_of("factor of its mean square", loop="linear attention", kept=3)
    (rare,) = cells_of("rare loops", kept=3)
    second, mean = recursion_by_hand(k, r, c, NOISE, 10)
    assert rare["recursion"] == pytest.approx(second, rel=1e-9)
    assert rare["median"][-1] < rare["recursion"][-1] / 2
    assert mean[-1] < mean[0] * 1 / (1 - 0.975)
    ledger.record(
        "58 linear attention, new inputs",
        "attained",
        grows["measured"] / grows["bound"],
        bool(grows["low"] > 1 > factors[0] and far(square, factors[0] ** 2) > 10),
    )


def recursion_by_hand(k, r, c, noise, last):
    """Traces of S_g, and mu_g's part along the task, whose length is the root of d."""
    alpha, length = k / (k + r), float(D)
    mean = [c]
    second = [c**2 * (length * (1 + (D + 1) / (k + r)) + noise**2 * D / (k + r))]
    for _ in range(last):
        own = alpha**2 * (length * (1 + (D + 1) / k) + noise**2 * D / k)
        both = 2 * alpha * (1 - alpha) * mean[-1] * length
        new = (1 - alpha) ** 2 * (second[-1] * (1 + (D + 1) / r) + noise**2 * D / r)
        second.append(c**2 * (own + both + new))
        mean.append(c * (alpha + (1 - alpha) * mean[-1]))
    return second, mean


# --- 59 to 61: ridge -----------------------------------------------------------------------------


def test_ridge_on_the_kept_examples(ledger, rng) -> None:
    """Two starts, other new inputs in each generation: both end at ridge on the kept examples."""
    xs, ys, _ = prompts(rng, 200)
    k = 6
    fixed, everything = ridge(xs[:, :k], ys[:, :k]), ridge(xs, ys)
    np.testing.assert_allclose(references.ridge_on_kept(xs[:, :k], ys[:, :k], PENALTY), fixed)
    own = gram(xs[:, :k]) + PENALTY * np.eye(D)
    norm = lambda v: np.sqrt(np.einsum("nd,nde,ne->n", v, own, v))  # noqa: E731
    root = np.linalg.inv(np.linalg.cholesky(own))
    ends, tightest = [], 0.0
    for start in (ys, np.where(np.arange(M) < k, ys, 10 * rng.normal(size=ys.shape))):
        now = ridge(xs, start)
        for _ in range(60):
            inputs = np.concatenate([xs[:, :k], rng.normal(size=(200, M - k, D))], axis=1)
            after = ridge(inputs, relabelled(inputs, ys, now, k, 0.0))
            phi = np.linalg.eigvalsh(root @ gram(inputs[:, k:]) @ root.swapaxes(1, 2))[:, -1]
            before, clear = norm(now - fixed), norm(now - fixed) > 1e-6
            step = norm(after - fixed)[clear] / (phi / (1 + phi) * before)[clear]
            tightest = max(tightest, float(step.max(initial=0)))
            now = after
        ends.append(norm(now - fixed))
    assert tightest <= 1 + 1e-7
    assert max(np.median(end) for end in ends) < 1e-4
    control = (norm(everything - fixed) > 5 * np.maximum(*ends)).mean() > 0.95
    for kept in (3, 6):
        for cell in cells_of("distance to ridge on the kept", loop="ridge", kept=kept):
            assert cell["measured"] <= cell["bound"] + 1e-4
    ledger.record(
        "59 ridge on the kept examples",
        "attained",
        tightest,
        bool(control),
    )


def test_ridge_noise(ledger, rng) -> None:
    """Variance of each mode by simulation; less than half, more than a quarter."""
    xs, ys, _ = (np.repeat(a, RUNS, axis=0) for a in prompts(rng, 1))
    k, last, controls = 4, 30, []
    noises = NOISE * rng.normal(size=(last, RUNS, M))
    path = loop(ridge, xs, ys, k, noises)
    exact = references.ridge_context(
        xs[0, :k], ys[0, :k], xs[0, k:], ys[0, k:], PENALTY, NOISE, last
    )
    own = gram(xs[0, :k]) + PENALTY * np.eye(D)
    values, vectors = np.linalg.eigh(own)
    root = (vectors * np.sqrt(values)) @ vectors.T
    phi, turn = np.linalg.eigh(np.linalg.inv(root) @ gram(xs[0, k:]) @ np.linalg.inv(root))
    for g in (1, 5, last):
        modes = (path[:, g] - exact.mean[g]) @ root @ turn
        for i in range(D):
            factor = phi[i] / (1 + phi[i])
            closed = NOISE**2 * phi[i] / (1 + 2 * phi[i]) * (1 - factor ** (2 * g))
            assert far(modes[:, i] ** 2, closed) < 4.5
            assert closed < NOISE**2 / 2
        inside = turn.T @ root @ exact.covariance[g] @ root @ turn
        np.testing.assert_allclose(
            np.diag(inside) / NOISE**2, phi / (1 + 2 * phi) * (1 - (phi / (1 + phi)) ** (2 * g))
        )
    controls.append(far(modes[:, -1] ** 2, NOISE**2 / 4) > 4.5)
    cells = cells_of("over that of real ones", loop="ridge")
    for cell in cells:
        assert cell["bound"] == 0.5
        controls.append(cell["low"] > 0.25)
    spread = cells_of("over its closed form")
    assert all(abs(cell["measured"] - 1) < 0.05 for cell in spread)
    tightest = max(cell["measured"] for cell in cells) / 0.5
    ledger.record("60 noise on new labels", "holds", tightest, all(controls))


def test_without_enough_real_labels(ledger, rng) -> None:
    """A direction that no kept label sees fades like a/(a + lam); least squares walks."""
    xs, ys, tasks = prompts(rng, RUNS)
    kept, unseen = xs[:200, :1], np.linalg.svd(xs[:200, :1])[2][:, 1:]
    seen = unseen @ gram(xs[:200, 1:]) @ unseen.swapaxes(1, 2)
    a, vectors = np.linalg.eigh(seen)
    slow = np.einsum("nij,ni->nj", unseen, vectors[..., -1])
    phi = references.ridge_modes(kept, xs[:200, 1:], PENALTY)[:, -1]
    assert (phi / (1 + phi) >= a[:, -1] / (a[:, -1] + PENALTY) - 1e-12).all()
    fixed = ridge(kept, ys[:200, :1])
    labels = relabelled(xs[:200], ys[:200], fixed + slow, 1, 0.0)
    path = loop(ridge, xs[:200], labels, 1, quiet(30))
    left = np.linalg.norm(path[:, -1] - fixed, axis=1)
    pessimist = (1 - 1 / M) ** 30  # if one label of twelve were enough for the rate 1 - alpha
    for cell in cells_of("distance to ridge on the kept", "over that", loop="ridge", kept=1):
        assert cell["curve"][-1] > pessimist
    noises = NOISE * rng.normal(size=(10, RUNS, M))
    walk = loop(lambda xs, ys: ridge(xs, ys, 0.0), xs, ys, 0, noises) - tasks[:, None]
    own = gram(xs)
    spread = np.einsum("ngd,nde,nge->ng", walk, own, walk) / (NOISE**2 * D)
    for g in (0, 4, 10):
        assert far(spread[:, g], g + 1) < 4.5
    cells = cells_of("over that of one fit", loop="least squares")
    for cell in cells:
        assert cell["bound"] == cell["generation"] + 1
    worst = max(abs(cell["measured"] / cell["bound"] - 1) for cell in cells)
    control = np.median(left) > pessimist and far(spread[:, 4], 1) > 10
    ledger.record("61 too few real labels, or none", "attained", f"within {worst:.1%}", control)


# --- 62 to 64 ------------------------------------------------------------------------------------


def rho(k, r, d):
    """E |A^{-1} A_R v|^2 by the moments of a random subspace."""
    m = k + r
    both = r * k / (m * (m - 1) * (m + 2))
    return r * (r + 2) / (m * (m + 2)) - both + both * (m * d - 2) / (m - d - 1)


def test_least_squares_with_new_inputs(ledger, rng) -> None:
    k, r, runs = 3, 9, 5 * RUNS
    assert rho(k, r, D) == pytest.approx(0.63677, abs=1e-5)
    assert references.ols_fresh_context_factor(k, r, D) == pytest.approx(rho(k, r, D), rel=1e-12)
    xs, apart = rng.normal(size=(runs, M, D)), rng.normal(size=(runs, D))
    labels = np.where(np.arange(M) < k, 0.0, np.einsum("nmd,nd->nm", xs, apart))
    after = ridge(xs, labels, 0.0)
    ratio = (after**2).sum(1) / (apart**2).sum(1)
    assert far(ratio, rho(k, r, D)) < 4.5
    single = NOISE**2 * D / (M - D - 1)
    for cell in cells_of("squared error of", loop="least squares"):
        factor = rho(cell["kept"], M - cell["kept"], D)
        expected = single * sum(factor**j for j in range(cell["generation"] + 1))
        assert cell["bound"] == pytest.approx(expected, rel=1e-9)
        assert cell["measured"] == pytest.approx(expected, rel=0.05)
    (cell,) = cells_of("factor of the mean square", loop="least squares")
    assert cell["bound"] == pytest.approx(rho(k, r, D), rel=1e-9)
    control = far(ratio, 0.75**2) > 10 and cell["low"] > 0.75**2
    assert rho(1, 9, 8) == pytest.approx(22 / 15)
    ledger.record(
        "62 least squares, new inputs", "attained", cell["measured"] / cell["bound"], bool(control)
    )


def test_influence_of_one_label(ledger, rng) -> None:
    """Attained for one input dimension; above d for a good predictor; 1/alpha for ridge."""
    signs = np.where(rng.random((1, M, 1)) < 0.5, -1.0, 1.0)
    tightness, controls = [], []
    for kappa in (1.0, 1.5):
        for k in (1, 3, 6, 12):
            unit = np.eye(M)[:1]
            path = np.abs(loop(attention(kappa), signs, unit, k, quiet(20)))[0, :, 0]
            for g in (0, 1, 20):
                q = (1 - k / M) * kappa
                effect = kappa / M * sum(q**s for s in range(g + 1))
                bound = bounds.context_loop(M, k / M, g, c=kappa, kappa=kappa)
                assert float(bound.gamma) == pytest.approx(effect)
                tightness.append(path[g] / effect)
        for cell in cells_of("attained", kappa=kappa):
            q, g, k = (1 - cell["alpha"]) * kappa, cell["generation"], cell["kept"]
            total = sum(q**s for s in range(g + 1)) if k else q**g
            assert cell["bound"] == pytest.approx(kappa / M * total, rel=1e-9)
            assert cell["measured"] == pytest.approx(cell["bound"], rel=1e-3)
            controls.append(cell["measured"] > cell["bound"] / 2)
    np.testing.assert_allclose(tightness, 1, rtol=1e-9)
    for cell in cells_of("largest over its inputs", loop="ridge"):
        # Each generation adds the kept label, of length 1, to predictions that are no longer.
        most = math.sqrt(cell["generation"] + 1)
        assert cell.get("vacuous", False) == (cell["bound"] >= most)
        assert cell["measured"] < most
    xs, _, _ = prompts(rng, 100, m=40)
    hat = xs @ np.linalg.solve(gram(xs), xs.swapaxes(1, 2))
    assert (40 * np.abs(hat).max(axis=(1, 2)) >= D).all()
    np.testing.assert_allclose(
        references.ridge_sensitivity(xs, 0.0), 40 * np.abs(hat).max(axis=(1, 2)), rtol=1e-9
    )
    np.testing.assert_allclose(np.trace(hat, axis1=1, axis2=2), D)
    # Without real labels least squares keeps its weights: J has D eigenvalues 1, the others 0.
    values = np.sort(np.abs(np.linalg.eigvals(hat)), axis=1)[:, ::-1]
    np.testing.assert_allclose(values[:, :D], 1, atol=1e-8)
    unit = np.broadcast_to(np.eye(40)[0], (100, 40))
    limit, first = (
        np.abs(np.einsum("nd,nd->n", loop(ridge, xs, unit, k, quiet(400))[:, -1], xs[:, 0]))
        for k in (10, 40)
    )
    share = float(np.median(0.25 * limit / first))
    assert 0.7 < share < 1.4
    ledger.record(
        "63, 64 influence of one label",
        "attained",
        f"alpha times that of ridge {share:.2f}",
        all(controls),
    )

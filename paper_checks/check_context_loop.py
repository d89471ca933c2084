"""Statements 57 to 64, 90 and claim context_loop: the committed cells anew, direct simulation.

Nothing of the package is used but the formulas that are checked; loops are written label by label.
"""

import math
from functools import partial

import numpy as np
import pytest
import stored

from icl_stl import bounds

M, D, NOISE, PENALTY = 12, 3, 0.5, 0.25
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
        "finding",
        f"{min(ratios):.2f} to {max(ratios):.2f}, alpha times it "
        f"{min(enough):.2f} to {max(enough):.2f}",
    )
    distances = cells_of("distance to ridge", loop="network")
    beside = [c["measured"] / c["limit_error"] for c in distances if c["kept"] > 2]
    ledger.record(
        "claim context_loop: distance of networks to ridge on the kept over its error",
        "finding",
        f"{min(beside):.2f} to {max(beside):.2f}",
    )


# --- 57, 58: linear attention --------------------------------------------------------------------


def test_attention_with_fixed_inputs(ledger, rng) -> None:
    xs, ys, _ = prompts(rng, 300)
    best = M / (M + D + 1 + NOISE**2)
    exploding, controls = {}, []
    for k in (0, 1, 3, 6):
        step = best / M * gram(xs[:, k:])
        factor = np.linalg.eigvalsh(step)[:, -1]
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


def test_attention_with_new_inputs(ledger) -> None:
    """The factor of a mean square of differences, and rare loops by the recursion by hand."""
    k, r, c = 3, 9, 1.3
    for cell in cells_of("factor of its mean square", loop="linear attention"):
        rest = cell["m"] - cell["kept"]
        exact = (c * rest / M) ** 2 * (1 + (D + 1) / rest)
        assert cell["bound"] == pytest.approx(exact, rel=1e-9)
    (grows,) = cells_of("factor of its mean square", loop="linear attention", kept=k)
    (rare,) = cells_of("rare loops", kept=k)
    second, mean = recursion_by_hand(k, r, c, NOISE, 10)
    assert rare["recursion"] == pytest.approx(second, rel=1e-9)
    assert rare["median"][-1] < rare["recursion"][-1] / 2
    assert mean[-1] < mean[0] * 1 / (1 - 0.975)
    ratio, control = grows["measured"] / grows["bound"], grows["low"] > 1 > c * r / M
    ledger.record("58 linear attention, new inputs", "attained", ratio, control)


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


def test_ridge_on_the_kept_examples(ledger) -> None:
    """Two starts end at ridge on the kept examples; one kept example in three dimensions is few."""
    distances = partial(cells_of, "distance to ridge on the kept", loop="ridge")
    ends = [cell for kept in (3, 6) for cell in distances(kept=kept)]
    for cell in ends:
        assert cell["measured"] <= cell["bound"] + 1e-4
    tightest = max(cell["measured"] for cell in ends)
    few = [cell["measured"] > 1e-3 for cell in cells_of("over that", loop="ridge", kept=1)]
    ledger.record("59 ridge on the kept examples", "holds", tightest, all(few))


def test_ridge_noise(ledger) -> None:
    """Less than half of the variance of real labels, more than a quarter."""
    cells = cells_of("over that of real ones", loop="ridge")
    assert {cell["bound"] for cell in cells} == {0.5}
    spread = cells_of("over its closed form")
    assert all(abs(cell["measured"] - 1) < 0.05 for cell in spread)
    tightest = max(cell["measured"] for cell in cells) / 0.5
    ledger.record(
        "60 noise on new labels", "holds", tightest, all(cell["low"] > 0.25 for cell in cells)
    )


def test_without_enough_real_labels(ledger) -> None:
    """A direction that no kept label sees fades slowly; least squares walks."""
    pessimist = (1 - 1 / M) ** 30  # if one label of twelve were enough for the rate 1 - alpha
    slow = cells_of("distance to ridge on the kept", "over that", loop="ridge", kept=1)
    assert all(cell["curve"][-1] > pessimist for cell in slow)
    cells = cells_of("over that of one fit", loop="least squares")
    assert all(cell["bound"] == cell["generation"] + 1 for cell in cells)
    worst = max(abs(cell["measured"] / cell["bound"] - 1) for cell in cells)
    control = all(cell["low"] > 1 for cell in cells if cell["generation"])
    ledger.record("61 too few real labels, or none", "attained", f"within {worst:.1%}", control)


# --- 90 ------------------------------------------------------------------------------------------


def test_tasks_that_kept_inputs_do_not_tell_apart(ledger) -> None:
    """One label, the sign of the last one times A, plus noise: theta^g is attained."""
    distance, noise, grid = 1.0, 0.7, np.linspace(-12, 12, 240_001)
    step = grid[1] - grid[0]
    normal = np.exp(-((grid[None] - np.array([[1.0], [-1.0]])) ** 2) / (2 * noise**2))
    normal /= normal.sum(axis=1, keepdims=True) * step
    likely, worst, last = 1.0, [], []  # of a positive sign, in one task; 1 - it in the other
    for g in range(1, 30):
        laws = [likely * normal[0] + (1 - likely) * normal[1]]
        laws.append(laws[0][::-1])
        apart = np.abs(laws[0] - laws[1]).sum() * step / 2
        risk = distance**2 / 2 * (laws[0] * laws[1] / (laws[0] + laws[1])).sum() * step
        bound = bounds.kept_inputs_limit(distance, 1.0, noise, g)
        assert apart == pytest.approx(float(bound.contraction) ** g, rel=1e-6)
        assert bound.total <= risk * (1 + 1e-9) <= bound.limit * (1 + 1e-9)
        worst.append(bound.total / risk)
        last.append(risk / bound.limit)
        likely = (laws[0] * (1 + np.sign(grid))).sum() * step / 2
    assert last[-1] > 0.98
    first = distance**2 / 2 * (normal[0] * normal[1] / normal.sum(axis=0)).sum() * step
    halved = bounds.kept_inputs_limit(distance, 0.5, noise, 1).total  # as if reach were half
    ledger.record("90 kept inputs that do not span", "attained", max(worst), halved > first)


def test_ridge_forgets_what_no_kept_input_sees(ledger, rng) -> None:
    """Twelve of 16 labels kept, all of one input: the error rises to t^2/4; two inputs suffice."""
    runs, k, m, distance, noise, last = 4000, 12, 16, 1.0, 0.05, 60
    xs = rng.normal(size=(runs, m, 2))
    ends, one = [], np.tile([1.0, 0.0], (runs, k, 1))
    for kept in (one, rng.normal(size=(runs, k, 2))):
        xs[:, :k] = kept
        tasks = np.stack([rng.normal(size=runs), distance * (rng.integers(2, size=runs) - 0.5)], 1)
        ys = np.einsum("nmd,nd->nm", xs, tasks) + 0.3 * rng.normal(size=(runs, m))
        noises = noise * rng.normal(size=(last, runs, m))
        path = loop(partial(ridge, penalty=0.5), xs, ys, k, noises)
        error = ((path[..., 1] - tasks[:, None, 1]) ** 2).mean(axis=0)
        ends.append((error[0], error[-1]))
    limit = bounds.kept_inputs_limit(distance, 3.0, noise, np.inf).total
    assert ends[0][0] < 0.3 * limit
    # Without noise a predictor that repeats the labels of its examples keeps what they say.
    carried = np.where(np.arange(m) < k, ys, np.einsum("nmd,nd->nm", xs, tasks))
    assert ((ridge(xs, carried, 1e-9)[:, 1] - tasks[:, 1]) ** 2).mean() < 0.1 * limit
    ratio = ends[0][1] / limit
    assert 0.95 < ratio < 1.05
    ledger.record("90 ridge, one kept input", "attained", ratio, ends[1][1] < 0.2 * limit)


# --- 62 to 64 ------------------------------------------------------------------------------------


def rho(k, r, d):
    """E |A^{-1} A_R v|^2 by the moments of a random subspace."""
    m = k + r
    both = r * k / (m * (m - 1) * (m + 2))
    return r * (r + 2) / (m * (m + 2)) - both + both * (m * d - 2) / (m - d - 1)


def test_least_squares_with_new_inputs(ledger) -> None:
    k, r = 3, 9
    assert rho(k, r, D) == pytest.approx(0.63677, abs=1e-5)
    single = NOISE**2 * D / (M - D - 1)
    for cell in cells_of("squared error of", loop="least squares"):
        factor = rho(cell["kept"], M - cell["kept"], D)
        expected = single * sum(factor**j for j in range(cell["generation"] + 1))
        assert cell["bound"] == pytest.approx(expected, rel=1e-9)
        assert cell["measured"] == pytest.approx(expected, rel=0.05)
    (cell,) = cells_of("factor of the mean square", loop="least squares")
    assert cell["bound"] == pytest.approx(rho(k, r, D), rel=1e-9)
    ratio = cell["measured"] / cell["bound"]
    ledger.record("62 least squares, new inputs", "attained", ratio, cell["low"] > 0.75**2)


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

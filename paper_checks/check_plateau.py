"""Statements 86 to 92 and 97: bias and noise, the law of the plateau, KL of a mixture.

Learners are arbitrary kernels on finitely many predictors, so that every mean is a finite sum; or
ridge, whose means are simulated. Nothing of the package is used but the formulas.
"""

import math

import numpy as np
import pytest

from icl_stl import bounds
from icl_stl.planning.pilots import Form, terms


def rms(vectors, law):
    """Root mean square of the lengths of vectors [..., d] under weights [...]."""
    return math.sqrt((law * (vectors**2).sum(axis=-1)).sum())


def test_bias_and_noise_attained(ledger) -> None:
    """A bias along the error and a coin as noise, all 2^i outcomes: equality in the recursion."""
    ratios, rejected = [], []
    for alpha, follow, c, s in ((0.5, 1.0, 0.1, 0.3), (0.2, 1.2, 0.05, 0.2), (0.0, 1.0, 0.1, 0.1)):
        ratio, errors, distances = (1 - alpha) * follow, np.array([0.4]), [0.4]
        for _ in range(12):
            moved = ratio * errors + c * errors / distances[-1]
            errors = np.concatenate([moved - s, moved + s])
            distances.append(math.sqrt((errors**2).mean()))
        bound = bounds.bias_noise_drift(0.4, [c] * 12, s, alpha, kappa_c=follow)
        np.testing.assert_allclose(bound.total, distances, rtol=1e-12)
        ratios.append(distances[-1] / bound.upper[-1])
        squares = [0.16]  # as if biases added in squares too
        for _ in range(12):
            squares.append(ratio**2 * squares[-1] + c**2 + s**2)
        rejected.append(distances[-1] > math.sqrt(squares[-1]) * 1.1)
    shown = f"attained; readable form {min(ratios):.2f}"
    ledger.record("86 bias adds, noise adds in squares", "attained", shown, all(rejected))


def test_noise_costs_less_than_the_triangle_inequality_says(ledger) -> None:
    """The mean of labels with new real rows, exactly: noise alone."""
    for alpha, factor in ((0.5, 1.73), (0.2, 3.0), (0.1, 4.36)):
        square = 0.0
        for _ in range(400):
            square = (1 - alpha) ** 2 * square + 1
        limit = bounds.bias_noise_limit(0.0, 1.0, alpha)
        assert limit == pytest.approx(math.sqrt(square), rel=1e-12)
        assert 1 / alpha / limit == pytest.approx(factor, rel=0.01)
    ledger.record("86 noise against the triangle inequality", "attained", 1.0)


def random_learner(rng, count):
    """Predictors in two inputs, and the law of the fit to labels of each: [K, 2], [K, K]."""
    points = rng.normal(size=(count, 2))
    nearness = np.exp(-4 * ((points[:, None] - points) ** 2).sum(axis=-1))
    kernel = nearness * rng.gamma(0.5, size=(count, count)) + 1e-9
    return points, kernel / kernel.sum(axis=1, keepdims=True)


def test_the_plateau_bounds_every_learner(ledger) -> None:
    """Any learner, any loop: a fit to a mixture is arbitrary, and q says how far it is off."""
    rng, count, last = np.random.default_rng(9), 6, 12
    ratios = []
    for trial in range(400):
        points, alone = random_learner(rng, count)
        _, mixed = random_learner(rng, count)
        alpha = (0.0, 0.2, 0.5)[trial % 3]
        bayes = rng.normal(size=2)
        fit, both = alone @ points, mixed @ points  # A(f_j), E[f_i | f_{i-1} = f_j]
        first = rng.dirichlet(np.ones(count))
        # g = f_0: the pair of first and last generation, [first, last].
        joint, refits, defects, noises, errors = np.diag(first), [], [], [], []
        for _ in range(last + 1):
            errors.append(rms(points[None] - bayes, joint))
            refits.append(rms((fit - points)[None], joint))
            target = alpha * points[:, None] + (1 - alpha) * fit[None]
            defects.append(rms(both[None] - target, joint))
            spread = (mixed * ((points - both[:, None]) ** 2).sum(axis=-1)).sum(axis=1)
            noises.append(math.sqrt((joint * spread).sum()))
            joint = joint @ mixed
        i = np.arange(last + 1)
        given = {"o": max(refits), "q": max(defects), "s": max(noises)}
        bound = bounds.plateau(alpha, i, a=errors[0], **given)
        assert (errors <= bound.total * (1 + 1e-12)).all()
        biases = (1 - alpha) * np.array(refits) + defects
        path = bounds.bias_noise_drift(0.0, biases[:-1], noises[:-1], alpha)
        sharper = errors[0] + path.total
        assert (errors <= sharper * (1 + 1e-12)).all()
        assert (sharper <= bound.total * (1 + 1e-12)).all()
        ratios.append((errors / sharper)[1:].max())
    needed = all(part_alone(part) for part in ("refit", "mixing", "noise", "start"))
    ledger.record("87 law of the plateau, any learner", "holds", max(ratios), needed)


def part_alone(part):
    """A loop of one number with the target 0 attains a part of the bound where the others are 0."""
    alpha, last, size = 0.2, 9, 0.3
    shift = {"refit": 0.8 * size, "mixing": size}.get(part, 0.0)
    mean, square = size * (part == "start"), 0.0
    for _ in range(last):
        mean, square = 0.8 * mean + shift, 0.64 * square + (part == "noise") * size**2
    name = {"refit": "o", "mixing": "q", "noise": "s", "start": "start"}[part]
    bound = bounds.plateau(alpha, last, **{"a": 0.0, "o": 0.0, name: size})
    assert getattr(bound, part) == bound.total
    return bound.total == pytest.approx(math.hypot(mean, math.sqrt(square)), rel=1e-12)


def ridge_loop(rng, runs, n, m, penalty, noise, last):
    """Weights of ridge with new real rows, [G+1, runs, d], and the task."""
    d = 3
    task = np.array([0.6, 0.0, 0.0])

    def rows(count, weights):
        xs = rng.normal(size=(runs, count, d))
        return xs, np.einsum("rnd,rd->rn", xs, weights) + noise * rng.normal(size=(runs, count))

    def fit(xs, ys):
        gram = xs.swapaxes(1, 2) @ xs + penalty * np.eye(d)
        return np.linalg.solve(gram, np.einsum("rnd,rn->rd", xs, ys)[..., None])[..., 0]

    truth = np.broadcast_to(task, (runs, d))
    real = rows(n, truth)
    path = [fit(*real)]
    for _ in range(last):
        real = rows(n, truth)
        made = rows(m, path[-1])
        both = (np.concatenate(pair, axis=1) for pair in zip(real, made, strict=True))
        path.append(fit(*both))
    return np.stack(path), task


def mean_factor(rng, count, penalty):
    """c_N of A(w) = c_N w: inputs are isotropic, so the mean fit shortens its labels' weights."""
    xs = rng.normal(size=(40_000, count, 3))
    gram = xs.swapaxes(1, 2) @ xs
    shrunken = np.linalg.solve(gram + penalty * np.eye(3), gram)
    return float(np.trace(shrunken, axis1=1, axis2=2).mean() / 3)


def length(weights):
    return math.sqrt((weights**2).sum(axis=-1).mean())


@pytest.mark.parametrize("lam", [1, 3])
def test_ridge_with_new_real_rows(ledger, lam) -> None:
    """No mixing defect, everything is affine: the squared form is within a few percent."""
    rng, n, last, penalty, noise = np.random.default_rng(lam), 12, 12, 6.0, 0.5
    alpha = 1 / (1 + lam)
    path, task = ridge_loop(rng, 20_000, n, lam * n, penalty, noise, last)
    of_first, of_all = (mean_factor(rng, count, penalty) for count in (n, n + lam * n))
    means = path.mean(axis=1)
    predicted = alpha * of_all * task + (1 - alpha) * of_all * path[:-1]  # E[f_i | past]: q = 0
    noises = [length(f - e) for f, e in zip(path[1:], predicted, strict=True)]
    error = np.array([length(f - task) for f in path])
    given = {"a": (1 - of_all) * length(task), "start": (of_all - of_first) * length(task)}
    refits = (1 - of_all) * np.linalg.norm(means, axis=1)
    affine = bounds.plateau_affine(
        alpha, last, o=refits.max(), s=max(noises), spread=length(path[0] - means[0]), **given
    )
    assert error[-1] <= affine.total
    start = length(path[0] - of_all * task)
    rough = (1 - of_all) * max(length(f) for f in path)
    whole = bounds.plateau(alpha, last, a=given["a"], o=rough, s=max(noises), start=start)
    assert error[-1] <= whole.total
    tight = error[-1] / affine.total
    assert tight > 0.9
    without = bounds.plateau_affine(
        alpha, last, o=0.0, s=max(noises), spread=length(path[0] - means[0]), **given
    )
    ledger.record(
        f"87, 88 ridge, new real rows, lam = {lam}",
        "holds",
        f"{tight:.3f} (87: {error[-1] / whole.total:.2f})",
        error[-1] > without.total,
    )


@pytest.mark.parametrize("lam", [1, 3])
def test_ridge_beside_a_fixed_real_set(ledger, lam) -> None:
    """With g = f_0 and its mixing defect it is a bound; with g = A(f*) with q dropped not."""
    rng, n, last, penalty, noise = np.random.default_rng(lam), 6, 12, 0.5, 0.5
    alpha, runs, seeds = 1 / (1 + lam), 400, 60
    # Sets of real rows, each with many loops beside it: the mean over these is E[. | S_0].
    d, task = 3, np.array([0.2, 0.0, 0.0])
    xs = rng.normal(size=(runs, 1, n, d))
    ys = xs @ task + noise * rng.normal(size=(runs, 1, n))

    def fits(weights):
        """Fits beside each real set to new rows labelled by weights [runs, seeds, d]."""
        new = rng.normal(size=(runs, weights.shape[1], lam * n, d))
        made = np.einsum("rsmd,rsd->rsm", new, weights)
        made = made + noise * rng.normal(size=made.shape)
        gram = xs.swapaxes(-1, -2) @ xs + new.swapaxes(-1, -2) @ new + penalty * np.eye(d)
        moment = np.einsum("rsnd,rsn->rsd", xs, ys) + np.einsum("rsmd,rsm->rsd", new, made)
        return np.linalg.solve(gram, moment[..., None])[..., 0]

    own = xs.swapaxes(-1, -2) @ xs + penalty * np.eye(d)
    path = [np.linalg.solve(own, np.einsum("rsnd,rsn->rsd", xs, ys)[..., None])[..., 0]]
    of_all = mean_factor(rng, n + lam * n, penalty)
    refits, defects, noises = [], [], []
    for _ in range(last):
        before = path[-1][:, :1]
        many = fits(np.repeat(before, seeds, axis=1))
        mean = many.mean(axis=1, keepdims=True)
        spread = many.var(axis=1, ddof=1).sum(axis=-1).mean()
        target = alpha * path[0] + (1 - alpha) * of_all * before
        # The mean over seeds has a variance of its own, which is no defect.
        defects.append(math.sqrt(max(length(mean - target) ** 2 - spread / seeds, 0)))
        refits.append((1 - of_all) * length(before))
        noises.append(math.sqrt(spread))
        path.append(fits(before))
    error = [length(f - task) for f in path]
    given = {"o": max(refits), "s": max(noises)}
    bound = bounds.plateau(alpha, last, a=error[0], q=max(defects), **given)
    away, bias = length(path[0] - of_all * task), (1 - of_all) * length(task)
    dropped = bounds.plateau(alpha, last, a=bias, start=away, **given)
    assert error[-1] <= bound.total
    ledger.record(
        f"87 ridge beside a fixed set, lam = {lam}: {dropped.total:.3f} without q",
        "holds",
        f"{error[-1] / bound.total:.2f} of {bound.total:.3f}",
        error[-1] > 1.05 * dropped.total,
    )


def test_kl_of_a_mixture(ledger) -> None:
    """Random laws; the cap is attained by a law that is thin where the real one lives."""
    rng, ratios, rejected = np.random.default_rng(5), [], 0
    for _ in range(300):
        real, other = rng.dirichlet(np.ones(4), size=2)
        alpha = rng.uniform(0.01, 1)
        k = float(real @ np.log(real / other))
        mixed = float(real @ np.log(real / (alpha * real + (1 - alpha) * other)))
        cap = float(bounds.mixture_kl_cap(alpha, k))
        assert mixed <= cap + 1e-12
        assert cap <= min((1 - alpha) * k, -math.log(alpha)) + 1e-12
        ratios.append(mixed / cap)
        rejected += mixed > (1 - alpha) ** 2 * k + 1e-9  # as a square would shrink
    ledger.record("89 KL of a mixture", "holds", max(ratios), rejected > 20)


def test_kl_of_a_loop_has_a_cap_for_ever(ledger) -> None:
    """A loop of laws on symbols, its own eta: below the closed form in every generation."""
    rng, worst, exceeded = np.random.default_rng(6), [], 0
    for alpha in (0.05, 0.2, 0.5):
        real = rng.dirichlet(np.ones(4))
        far, law = rng.dirichlet(np.ones(4)), real
        paths, etas, bound = [], [], 0.0
        for _ in range(60):
            mixed = alpha * real + (1 - alpha) * law
            law = 0.9 * mixed + 0.1 * far
            eta = float(real @ np.log(mixed / law))
            exact = float(real @ np.log(real / law))
            bound = float(bounds.mixture_kl_cap(alpha, bound)) + eta
            assert exact <= bound + 1e-12
            assert exact - eta <= -math.log(alpha)
            paths.append(exact)
            etas.append(eta)
        limit = math.log(1 + math.expm1(max(etas)) / alpha)
        assert paths[-1] <= limit
        worst.append(paths[-1] / bound)
        exceeded += paths[-1] > max(etas) * 1.05  # as if errors did not add up
    ledger.record("89 KL of a loop", "holds", max(worst), exceeded == 3)


def test_means_beside_a_fixed_real_set_add_in_squares(ledger) -> None:
    """Means of labels lose nothing, and have noise: the law in squares is exact, statement 91."""
    rng, runs, n, last, ratios, rejected = np.random.default_rng(5), 40_000, 10, 12, [], []
    for lam in (1, 4):
        alpha, rho = 1 / (1 + lam), lam / (1 + lam)
        first = rng.normal(0, n**-0.5, runs)
        f = first
        for _ in range(last):
            f = alpha * first + rho * (f + rng.normal(0, (lam * n) ** -0.5, runs))
        noise = rho / math.sqrt(lam * n)
        law = bounds.plateau_in_squares(alpha, last, a=n**-0.5, o=0.0, s=noise)
        spread = 4 * (f**2).std() / math.sqrt(runs)
        assert abs((f**2).mean() - law**2) < spread
        ratios.append(math.sqrt((f**2).mean()) / law)
        straight = bounds.plateau_prediction(alpha, last, a=n**-0.5, o=0.0)
        rejected.append(abs((f**2).mean() - straight**2) > 2 * spread)
    ledger.record("91 the law in squares", "equal", max(ratios), all(rejected))


def test_a_refit_that_keeps_less_wears_the_error_of_a_fixed_set_off(ledger) -> None:
    """Statement 97 of a shrunken mean, k times that of its rows, simulated."""
    rng, runs, n, last, kept, mean = np.random.default_rng(7), 40_000, 10, 8, 0.7, 0.4
    ratios, rejected = [], []
    for fresh, lam in ((False, 1), (False, 4), (True, 1), (True, 4)):
        alpha, rho = 1 / (1 + lam), lam / (1 + lam)
        real = rng.normal(mean, n**-0.5, runs)
        f = kept * real
        for _ in range(last):
            real = rng.normal(mean, n**-0.5, runs) if fresh else real
            f = kept * (alpha * real + rho * (f + rng.normal(0, (lam * n) ** -0.5, runs)))
        square, bias = (f - mean) ** 2, ((1 - kept) * mean) ** 2
        noise = [kept**2 / n] if fresh else [kept**2 / n, 0]
        constants = [bias, *noise, kept * bias, kept**2 * bias]
        laws = [
            float(terms(Form("straight", k, 1.0), fresh, n, lam, last, n) @ constants)
            for k in (kept, 1.0)
        ]
        spread = 4 * square.std() / math.sqrt(runs)
        assert abs(square.mean() - laws[0]) < spread
        ratios.append(square.mean() / laws[0])
        rejected.append(abs(square.mean() - laws[1]) > 2 * spread)
    ledger.record("97 refits that keep a part", "equal", max(ratios), all(rejected))


def test_growth_beyond_relaxation(ledger) -> None:
    """Statement 92: nothing where injected errors are equal, something where they rise."""
    rng, rejected = np.random.default_rng(6), []
    for rho in (0.5, 0.8, 1.0):
        for rises in (False, True):
            u = np.sort(rng.uniform(0.1, 0.2, 40)) if rises else np.full(40, 0.15)
            x = [0.3]
            for own in u:
                x.append(rho * x[-1] + own)
            early, lag = range(16, 26), 15
            w = np.mean([x[k + lag] - x[k] - rho**k * (x[lag] - x[0]) for k in early])
            if rises:
                rejected.append(w > 1e-3)
            else:
                assert abs(w) < 1e-13
    ledger.record("92 growth beyond relaxation", "0 or more", 0.0, all(rejected))

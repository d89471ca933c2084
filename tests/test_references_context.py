"""Loops in the context: exact laws against literal iteration, limits and simulation."""

import numpy as np
import pytest
from test_references_gaussian import assert_mean

from icl_stl import references


def context(runs=7, k=4, r=8, d=3, seed=0):
    """Inputs and labels of kept and other examples, of several independent prompts."""
    rng = np.random.default_rng([seed, k, r, d])
    xs, ys = rng.normal(size=(runs, k + r, d)), rng.normal(size=(runs, k + r))
    return xs[:, :k], ys[:, :k], xs[:, k:], ys[:, k:]


def ridge_weights(xs, ys, penalty):
    gram = xs.swapaxes(-1, -2) @ xs + penalty * np.eye(xs.shape[-1])
    return np.linalg.solve(gram, xs.swapaxes(-1, -2) @ ys[..., None])[..., 0]


def attention_weights(xs, ys, gamma):
    return np.einsum("de,...md,...m->...e", gamma.T, xs, ys) / xs.shape[-2]


def literal(fit, kept_xs, kept_ys, xs, ys, noise, generations):
    """Means and covariances: a loop for each unit of noise, labels written out one by one."""
    runs, r, d = xs.shape
    all_xs = np.concatenate([kept_xs, xs], axis=1)

    def loop(kept_labels, labels, pulses):
        path = [fit(all_xs, np.concatenate([kept_labels, labels], axis=1))]
        for g in range(1, generations + 1):
            new = np.einsum("nrd,nd->nr", xs, path[-1])
            if g in pulses:
                new[:, pulses[g]] += noise
            path.append(fit(all_xs, np.concatenate([kept_labels, new], axis=1)))
        return np.stack(path, axis=1)

    mean = loop(kept_ys, ys, {})
    covariance = np.zeros((runs, generations + 1, d, d))
    for g in range(1, generations + 1):
        for i in range(r):
            moved = loop(0 * kept_ys, 0 * ys, {g: i})
            covariance += np.einsum("ngd,nge->ngde", moved, moved)
    return mean, covariance


@pytest.mark.parametrize("k", [0, 1, 4])
def test_attention_is_the_literal_iteration(k) -> None:
    examples = context(k=k)
    gamma = np.array([[0.6, 0.1, 0.0], [-0.2, 0.5, 0.1], [0.0, 0.3, 0.7]])
    mean, covariance = literal(lambda xs, ys: attention_weights(xs, ys, gamma), *examples, 0.7, 4)
    path = references.attention_context(*examples, gamma, 0.7, 4)
    np.testing.assert_allclose(path.mean, mean, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(path.covariance, covariance, rtol=1e-10, atol=1e-13)
    scalar = references.attention_context(*examples, 0.4, 0.7, 2)
    layer = references.attention_context(*examples, 0.4 * np.eye(3), 0.7, 2)
    np.testing.assert_array_equal(scalar.mean, layer.mean)


def test_limits_are_fixed_points() -> None:
    """Converging loops end there, the others have none; the factor says which is which."""
    kept_xs, kept_ys, xs, ys = context(runs=40)
    factor = references.attention_context_factor(kept_xs, xs, 0.9)
    assert (factor < 0.9).any()
    assert (factor > 1).any()
    mean, covariance = references.attention_context_limit(kept_xs, kept_ys, xs, 0.9, 0.5)
    assert (np.isnan(mean).any(axis=1) == (factor >= 1)).all()
    path = references.attention_context(kept_xs, kept_ys, xs, ys, 0.9, 0.5, 300)
    far = factor < 0.9
    np.testing.assert_allclose(path.mean[far, -1], mean[far], rtol=1e-8)
    np.testing.assert_allclose(path.covariance[far, -1], covariance[far], rtol=1e-8)
    grown = np.linalg.norm(path.mean[:, -1] - path.mean[:, -2], axis=-1)
    assert (grown[factor > 1.05] > 1).all()


def test_factor_is_the_growth_of_a_difference() -> None:
    gamma = np.array([[0.6, 0.4], [-0.4, 0.8]])
    kept_xs, kept_ys, xs, ys = context(runs=3, k=2, r=5, d=2)
    apart = references.attention_context(kept_xs, 0 * kept_ys, xs, ys, gamma, 0.0, 201).mean
    lengths = np.linalg.norm(apart, axis=-1)
    growth = (lengths[:, 200] / lengths[:, 100]) ** (1 / 100)
    factor = references.attention_context_factor(kept_xs, xs, gamma)
    np.testing.assert_allclose(growth, factor, rtol=0.02)


def sampled(rng, runs, rows, weights, noise):
    """(1/rows) sum x y for new inputs with labels by these weights."""
    xs = rng.normal(size=(runs, rows, weights.shape[-1]))
    ys = np.einsum("nrd,nd->nr", xs, weights) + noise * rng.normal(size=(runs, rows))
    return np.einsum("nrd,nr->nd", xs, ys) / rows


@pytest.mark.parametrize(("k", "c"), [(0, 0.9), (4, 1.1)])
def test_new_inputs_in_simulation(k, c) -> None:
    rng, runs, r, task = np.random.default_rng(k), 20_000, 6, np.array([1.0, -0.5])
    path = references.attention_fresh_context(task, k, r, c, 0.6, 0.4, 3)
    tasks = np.broadcast_to(task, (runs, 2))
    weights = c * sampled(rng, runs, k + r, tasks, 0.6)
    for g in range(4):
        assert_mean(weights, path.mean[g])
        assert_mean(weights[:, :, None] * weights[:, None], path.second[g])
        before = weights
        own = k * sampled(rng, runs, k, tasks, 0.6) if k else 0.0
        weights = c * (own + r * sampled(rng, runs, r, before, 0.4)) / (k + r)
        expected = references.attention_fresh_square(task, before, k, r, c, 0.6, 0.4)
        assert_mean((weights**2).sum(axis=1) / expected, 1.0)


def test_a_step_from_known_weights_is_that_of_the_moments() -> None:
    """Averaged over the start, the conditional mean square is the trace of the next moment."""
    task = np.array([0.3, -1.0, 0.4])
    path = references.attention_fresh_context(task, 2, 5, 1.2, 0.5, 0.3, 2)
    values, vectors = np.linalg.eigh(path.second[1] - np.outer(path.mean[1], path.mean[1]))
    spread = vectors * np.sqrt(3 * values)  # six points with these two moments
    points = path.mean[1] + np.concatenate([spread.T, -spread.T])
    squares = references.attention_fresh_square(task, points, 2, 5, 1.2, 0.5, 0.3)
    assert squares.mean() == pytest.approx(np.trace(path.second[2]), rel=1e-12)


@pytest.mark.parametrize(("d", "r"), [(1, 3), (3, 9), (5, 2)])
def test_factors_of_coupled_loops_in_simulation(d, r) -> None:
    rng, runs, k, c = np.random.default_rng(d), 40_000, 3, 1.3
    factors = references.attention_fresh_factors(d, k, r, c)
    start = rng.normal(size=(runs, d))
    after = c * r / (k + r) * sampled(rng, runs, r, start, 0.0)
    square = (start**2).sum(axis=1)
    assert_mean((after * start).sum(axis=1) / square, factors.mean)
    ratio = (after**2).sum(axis=1) / square
    assert_mean(ratio, factors.square)
    assert_mean(np.log(ratio) / 2, np.log(factors.typical))
    assert max(factors.mean, factors.typical) < np.sqrt(factors.square)


@pytest.mark.parametrize("k", [0, 1, 5])
def test_ridge_contracts_to_ridge_on_the_kept_examples(k) -> None:
    """New inputs in every step, any of them; two starts; the constant is attained."""
    kept_xs, kept_ys, _, _ = context(runs=5, k=k)
    penalty = 0.3
    fixed = references.ridge_on_kept(kept_xs, kept_ys, penalty)
    np.testing.assert_allclose(fixed, ridge_weights(kept_xs, kept_ys, penalty), rtol=1e-10)
    own = kept_xs.swapaxes(1, 2) @ kept_xs + penalty * np.eye(3)
    norm = lambda v: np.sqrt(np.einsum("nd,nde,ne->n", v, own, v))  # noqa: E731
    rng = np.random.default_rng(k)
    weights = rng.normal(size=(5, 3))
    for step in range(6):
        xs = rng.normal(size=(5, 4 + step, 3))
        phi = references.ridge_modes(kept_xs, xs, penalty)[:, -1]
        half = np.linalg.inv(np.linalg.cholesky(own))  # any root has these eigenvalues
        gram = half @ xs.swapaxes(1, 2) @ xs @ half.swapaxes(1, 2)
        values, vectors = np.linalg.eigh(gram)
        np.testing.assert_allclose(phi, values[:, -1], rtol=1e-9)
        slow = fixed + np.einsum("nij,ni->nj", half, vectors[:, :, -1])
        for now, equal in ((weights, False), (slow, True)):
            labels = np.einsum("nrd,nd->nr", xs, now)
            both = np.concatenate([kept_xs, xs], axis=1), np.concatenate([kept_ys, labels], axis=1)
            after = ridge_weights(*both, penalty)
            ratio = norm(after - fixed) / norm(now - fixed)
            assert (ratio <= phi / (1 + phi) * (1 + 1e-9)).all()
            if equal:
                np.testing.assert_allclose(ratio, phi / (1 + phi), rtol=1e-7)
            else:
                weights = after


@pytest.mark.parametrize(("k", "penalty"), [(0, 0.3), (1, 0.3), (5, 0.0), (5, 2.0)])
def test_ridge_modes_are_the_literal_iteration(k, penalty) -> None:
    examples = context(k=k)
    mean, covariance = literal(lambda xs, ys: ridge_weights(xs, ys, penalty), *examples, 0.7, 4)
    path = references.ridge_context(*examples, penalty, 0.7, 4)
    np.testing.assert_allclose(path.mean, mean, rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose(path.covariance, covariance, rtol=1e-8, atol=1e-11)


def test_noise_costs_less_than_half() -> None:
    """Mode by mode, and the half is approached when few of many examples are kept."""
    for k, r, most in ((4, 4, 0.4), (3, 200, 0.5)):
        kept_xs, kept_ys, xs, ys = context(k=k, r=r)
        path = references.ridge_context(kept_xs, kept_ys, xs, ys, 0.1, 0.7, 2000)
        own = kept_xs.swapaxes(1, 2) @ kept_xs + 0.1 * np.eye(3)
        root = np.linalg.cholesky(own)
        cost = np.linalg.eigvalsh(root.swapaxes(1, 2) @ path.covariance[:, -1] @ root) / 0.7**2
        assert (cost < 0.5).all()
        assert cost.max() > most - 0.02
        phi = references.ridge_modes(kept_xs, xs, 0.1)
        assert (cost.max(axis=1) <= (phi / (1 + 2 * phi)).max(axis=1) * (1 + 1e-9)).all()


def test_too_few_kept_examples() -> None:
    """A direction that no kept input sees shrinks by a/(a + lam), or more slowly."""
    penalty = 0.2
    for k in (0, 1, 2):
        kept_xs, _, xs, _ = context(k=k)
        phi = references.ridge_modes(kept_xs, xs, penalty)[:, -1]
        _, _, turn = np.linalg.svd(np.concatenate([kept_xs, np.zeros((7, 3, 3))], axis=1))
        blind = turn[:, k:]  # rows span what no kept input sees
        seen = blind @ xs.swapaxes(1, 2) @ xs @ blind.swapaxes(1, 2)
        a = np.linalg.eigvalsh(seen)[:, -1]
        assert (phi / (1 + phi) >= a / (a + penalty) * (1 - 1e-12)).all()
        if k == 0:
            np.testing.assert_allclose(phi / (1 + phi), a / (a + penalty), rtol=1e-12)
    enough = references.ridge_modes(*context(k=6)[::2], penalty)[:, -1]
    assert np.median(enough) < np.median(phi) / 5


def test_least_squares_walks() -> None:
    _, _, xs, ys = context(k=0)
    path = references.ols_context_walk(xs, 0.7, 3)
    none = np.zeros((7, 0, 3)), np.zeros((7, 0))
    fit = lambda xs, ys: ridge_weights(xs, ys, 0.0)  # noqa: E731
    _, added = literal(fit, *none, xs, ys, 0.7, 3)
    np.testing.assert_allclose(path[:, 1:], path[:, :1] + added[:, 1:], rtol=1e-9)
    np.testing.assert_allclose(path[:, 0], 0.49 * np.linalg.inv(xs.swapaxes(1, 2) @ xs), rtol=1e-9)


@pytest.mark.parametrize(("k", "r", "d"), [(3, 9, 3), (0, 7, 2), (2, 6, 1), (1, 9, 4)])
def test_least_squares_with_new_inputs_in_simulation(k, r, d) -> None:
    rng, runs, m = np.random.default_rng(r), 20_000, k + r
    known = references.ols_fresh_context(k, r, d, 0.5, 3)
    factor = references.ols_fresh_context_factor(k, r, d)
    weights, other = np.zeros((runs, d)), rng.normal(size=(runs, d))
    for g in range(4):
        xs = rng.normal(size=(runs, m, d))
        noise = 0.5 * rng.normal(size=(runs, m))
        real = np.where(np.arange(m) < k, 0.0, 1.0) if g else np.zeros(m)
        after = [
            ridge_weights(xs, real * np.einsum("nmd,nd->nm", xs, w) + noise, 0.0)
            for w in (weights, other)
        ]
        if g:
            ratio = ((after[1] - after[0]) ** 2).sum(1) / ((other - weights) ** 2).sum(1)
            assert_mean(ratio, factor)
        weights = after[0]
        assert_mean((weights**2).sum(axis=1), known[g])
    assert (factor == 1) == (k == 0)
    assert factor > (r / m) ** 2 or k == 0


def test_least_squares_may_be_stable_in_the_mean_alone() -> None:
    assert references.ols_fresh_context_factor(1, 9, 8) == pytest.approx(22 / 15)
    for k, r, d in ((1, 9, 8), (1, 9, 5), (2, 6, 3), (9, 1, 7)):
        m = k + r
        inside = (k + 2 * r + 2) * (m - 1) * (m - d - 1) > r * (m + 1) * (d - 1)
        assert (references.ols_fresh_context_factor(k, r, d) < 1) == inside


def test_sensitivity_is_at_least_the_trace() -> None:
    _, _, xs, _ = context(k=0, r=12)
    assert (references.ridge_sensitivity(xs, 0.0) >= 3).all()
    gram = xs.swapaxes(1, 2) @ xs
    trace = np.trace(np.linalg.solve(gram + 0.5 * np.eye(3), gram), axis1=1, axis2=2)
    assert (references.ridge_sensitivity(xs, 0.5) >= trace).all()
    even = np.sqrt(2) * np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    assert references.ridge_sensitivity(even, 0.0) == pytest.approx(2.0)


def test_influence_of_one_label_is_linear() -> None:
    """A kept label that is larger by delta: delta times the loop of a unit label."""
    kept_xs, kept_ys, xs, ys = context()
    unit = np.eye(4)[2] * np.ones((7, 1))
    for law, setting in (
        (references.ridge_context, 0.3),
        (references.attention_context, 0.5 * np.eye(3)),
    ):
        moved = law(kept_xs, kept_ys + 0.25 * unit, xs, ys, setting, 0.0, 6).mean
        same = law(kept_xs, kept_ys, xs, ys, setting, 0.0, 6).mean
        effect = law(kept_xs, unit, xs, 0 * ys, setting, 0.0, 6).mean
        np.testing.assert_allclose(moved - same, 0.25 * effect, rtol=1e-9, atol=1e-13)
    step = 0.5 * xs.swapaxes(1, 2) @ xs / 12
    powers = [np.broadcast_to(np.eye(3), step.shape)]
    for _ in range(6):
        powers.append(powers[-1] @ step)
    total = np.sum(powers, axis=0) @ (0.5 * kept_xs[:, 2, :, None] / 12)
    np.testing.assert_allclose(effect[:, -1], total[..., 0], rtol=1e-10)
    limit = references.ridge_context(kept_xs, unit, xs, 0 * ys, 0.3, 0.0, 3000).mean[:, -1]
    own = kept_xs.swapaxes(1, 2) @ kept_xs + 0.3 * np.eye(3)
    inverse = np.linalg.solve(own, kept_xs[:, 2, :, None])[..., 0]
    np.testing.assert_allclose(limit, inverse, rtol=1e-7)

"""Gaussian loops: closed forms against linear algebra on single rows, enumeration, simulation."""

import itertools
import math

import mpmath
import numpy as np
import pytest

from icl_stl import references
from icl_stl.bounds import anchored_weights

Z = 4.5
SIZES = [(1, 1), (3, 1), (4, 7), (50, 200), (1000, 10)]


def random_weights(count, seed):
    """Strictly lower triangular, rows with sums below 1; the first column of a draw is real."""
    return np.tril(np.random.default_rng(seed).dirichlet(np.ones(count + 1), count)[:, 1:], k=-1)


def accumulate_weights(n, m, last):
    pool = n + m * np.arange(last + 1.0)[:, None]
    return np.tril(np.broadcast_to(m / pool, (last + 1, last + 1)), k=-1)


def assert_mean(values, expected):
    """The mean of i.i.d. values (first axis) is as expected, within Z standard errors."""
    stderr = values.std(axis=0, ddof=1) / math.sqrt(len(values))
    z = np.abs(values.mean(axis=0) - expected) / np.where(stderr == 0, 1e-12, stderr)
    assert (z <= Z).all(), z.max()


def row_loop(weights, n, m, seed=None):
    """Coefficients of mu_0..mu_G on independent unit rows: real ones, then those of each batch."""
    last = len(weights) - 1
    size = n + (last + 1) * m
    fits = np.zeros((last + 1, size))
    for i in range(last + 1):
        fits[i, :n] = (1 - weights[i].sum()) / n
        for j in range(i):
            rows = np.tile(fits[j], (m, 1))
            rows[np.arange(m), n + j * m + np.arange(m)] += 1
            fits[i] += weights[i, j] * rows.mean(axis=0)
    return fits


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 2), (2, 5)])
def test_any_weights_equal_linear_algebra_on_single_rows(n, m) -> None:
    weights = random_weights(6, seed=n * m)
    expected = 2.25 * (row_loop(weights, n, m) ** 2).sum(axis=1)
    np.testing.assert_allclose(references.mean_loop(weights, n, m, 1.5), expected, rtol=1e-12)


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_closed_forms_equal_the_general_loop(n, m) -> None:
    last, noise = 9, 0.7
    general = lambda weights: references.mean_loop(weights, n, m, noise)  # noqa: E731
    below = lambda w: np.diag(np.full(last, 1 - w), k=-1)  # noqa: E731
    pairs = [
        (references.mean_replace(n, m, noise, last), general(below(0.0))),
        (references.mean_augment(n, m, noise, last), general(below(n / (n + m)))),
        (references.mean_augment(n, m, noise, last, 0.0), general(below(0.0))),
        (references.mean_augment(n, m, noise, last, 0.3), general(below(0.3))),
        (references.mean_accumulate(n, m, noise, last), general(accumulate_weights(n, m, last))),
        (references.mean_anchored(n, m, noise, last, 0.4), general(anchored_weights(0.4, last))),
    ]
    for closed, literal in pairs:
        np.testing.assert_allclose(closed, literal, rtol=1e-12)


@pytest.mark.parametrize("lam", [1, 3, 1000])
def test_uniform_bounds_are_limits(lam) -> None:
    n, last = 20, 20_000
    augment = n * references.mean_augment(n, lam * n, 1.0, last)
    assert augment.max() <= 1.5
    assert augment[-1] == pytest.approx(n * references.mean_augment_limit(n, lam * n, 1.0))
    assert augment[-1] == pytest.approx(1 + lam / (1 + 2 * lam))
    accumulate = n * references.mean_accumulate(n, lam * n, 1.0, last)
    exact = 1 + mpmath.polygamma(1, 1 + mpmath.mpf(1) / lam) / lam
    assert accumulate.max() < float(exact) < 2
    assert accumulate[-1] == pytest.approx(float(exact), abs=1.1 / (lam * last))
    assert references.mean_augment_limit(n, n, 1.0, 0.0) == math.inf


def test_equal_batches_kept_give_the_sum_of_inverse_squares() -> None:
    sums = np.cumsum(1 / np.arange(1.0, 12) ** 2)
    np.testing.assert_allclose(references.mean_accumulate(7, 7, 1.0, 10), sums / 7, rtol=1e-12)


@pytest.mark.parametrize(("n", "m", "w"), [(3, 5, 0.2), (5, 1, 0.9), (2, 2, 0.0), (2, 2, 1.0)])
def test_new_real_rows_equal_linear_algebra_on_batches(n, m, w) -> None:
    """Coefficients on the means of the real batches 0..G and on the noise of synthetic ones."""
    last = 6
    real, synthetic = np.zeros((last + 1, last + 1)), np.zeros((last + 1, last + 1))
    real[0, 0] = 1
    for i in range(1, last + 1):
        real[i], synthetic[i] = (1 - w) * real[i - 1], (1 - w) * synthetic[i - 1]
        real[i, i] += w
        synthetic[i, i] += 1 - w
    expected = 4 * ((real**2).sum(1) / n + (synthetic**2).sum(1) / m)
    np.testing.assert_allclose(references.mean_fresh(n, m, 2.0, last, w), expected, rtol=1e-12)


def test_best_weight_of_new_real_rows() -> None:
    best = references.mean_fresh_best(8, 8, 1.0)
    assert best.weight == pytest.approx((math.sqrt(5) - 1) / 2, rel=1e-14)
    for n, m in SIZES:
        best = references.mean_fresh_best(n, m, 0.5)
        limits = [references.mean_fresh_limit(n, m, 0.5, w) for w in np.linspace(0, 1, 1001)]
        assert best.error == pytest.approx(references.mean_fresh_limit(n, m, 0.5, best.weight))
        assert best.error <= min(limits) <= best.error * (1 + 1e-3)
        path = references.mean_fresh(n, m, 0.5, 5000, best.weight)
        assert path[-1] == pytest.approx(best.error, rel=1e-9)
    assert references.mean_fresh_limit(3, 4, 1.0, 0.0) == math.inf


@pytest.mark.parametrize(("n", "m", "last"), [(1, 1, 5), (2, 1, 4), (2, 2, 3), (3, 1, 3)])
def test_drawing_from_the_pool_equals_enumeration_of_all_draws(n, m, last) -> None:
    """Every sequence of subsets, with the pool's rows as coefficients on independent unit rows."""
    size = n + m * last
    errors = np.zeros(last + 1)

    def grow(pool, i, chance):
        draws = list(itertools.combinations(range(len(pool)), n))
        for draw in draws:
            fit = pool[list(draw)].mean(axis=0)
            errors[i] += chance / len(draws) * (fit @ fit)
            if i < last:
                batch = np.tile(fit, (m, 1))
                batch[np.arange(m), len(pool) + np.arange(m)] += 1
                grow(np.concatenate([pool, batch]), i + 1, chance / len(draws))

    grow(np.eye(n, size), 0, 1.0)
    expected = references.mean_accumulate_subsample(n, m, 1.0, last)
    np.testing.assert_allclose(expected, errors, rtol=1e-12)


def gap_by_linear_algebra(n, m, w, last, fresh):
    """All parts of the gap from coefficients on rows, swapped rows and a new synthetic row."""
    size = n * (last + 2) + last * m + 1
    rows = np.eye(size)
    twins, noise = rows[n * (last + 1) :][:n], rows[n * (last + 2) : -1]

    def loop(k=None, l=None):  # noqa: E741
        """The last two fits and what the last saw; k: a swapped real row, l: one of the batch."""
        for i in range(last + 1):
            real = rows[n * i * fresh :][:n].copy()
            if k is not None and (i == last or not fresh):
                real[k] = twins[k]
            if i == 0:
                theta = real.mean(axis=0)
                continue
            before = theta
            batch = before + noise[(i - 1) * m : i * m]
            if l is not None and i == last:
                batch[l] = before + rows[-1]
            theta = fitted(real, batch)
        return theta, before, real, batch

    def fitted(real, batch):
        return w * real.mean(axis=0) + (1 - w) * batch.mean(axis=0)

    def square(vector):
        return float(vector @ vector)

    theta, before, real, batch = loop()
    parts = dict.fromkeys(["direct", "indirect", "synthetic"], 0.0)
    empirical = 0.0
    for k in range(n):
        all_new, _, swapped, _ = loop(k)
        fits = theta, fitted(swapped, batch), all_new
        now, here, later = (square(real[k] - fit) for fit in fits)
        parts["direct"] += (here - now) / n
        parts["indirect"] += (later - here) / n
        empirical += w * now / n
    for l in range(m):  # noqa: E741
        now = square(batch[l] - theta)
        parts["synthetic"] += (square(batch[l] - loop(l=l)[0]) - now) / m
        empirical += (1 - w) * now / m
    risk = 1 + square(theta)
    return parts | {"shift": risk - 1 - square(theta - before), "total": risk - empirical}


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 4), (5, 2)])
@pytest.mark.parametrize("weight", [None, 0.0, 0.3, 1.0])
def test_gap_and_its_parts_equal_linear_algebra(n, m, weight, fresh) -> None:
    w = n / (n + m) if weight is None else weight
    known = references.mean_fresh_gap_parts if fresh else references.mean_gap_parts
    parts = known(n, m, 1.5, 4, weight)
    for i in range(1, 5):
        for name, value in gap_by_linear_algebra(n, m, w, i, fresh).items():
            assert getattr(parts, name)[i] == pytest.approx(2.25 * value, rel=1e-11, abs=1e-13)
    assert parts.total[0] == pytest.approx(2 * 2.25 / n)
    assert parts.weight.tolist() == [1.0, *[w] * 4]
    assert not fresh or not parts.indirect.any()
    if fresh and weight is None:
        excess = references.mean_fresh(n, m, 1.5, 4, w)
        total = 2 * 2.25 / (n + m) + (1 - w) * (1 - 2 * w) * excess[:-1]
        np.testing.assert_allclose(parts.total[1:], total, rtol=1e-12)


def test_gap_of_the_linear_loss_has_its_quantiles_and_tv_its_mean() -> None:
    rng = np.random.default_rng(2)
    variance = references.mean_augment(5, 10, 2.0, 3)
    fit = rng.normal(size=(40_000, 4)) * np.sqrt(variance)
    level = 0.9
    quantile = references.mean_linear_gap_quantile(variance, level)
    assert_mean((-fit <= quantile).astype(float), level)
    erf = np.vectorize(math.erf)
    distance = erf(np.abs(fit[:4000]) / (2 * 2.0) / math.sqrt(2))
    assert_mean(distance, references.mean_total_variation(variance, 2.0))
    half_normal = mpmath.quad(
        lambda x: mpmath.erf(x / 2 / mpmath.sqrt(2)) * mpmath.sqrt(2 / mpmath.pi)
        * mpmath.exp(-(x**2) / 2),
        [0, 2, 6, 20],
    )  # fmt: skip
    assert references.mean_total_variation(1.0, 1.0) == pytest.approx(float(half_normal), rel=1e-12)


@pytest.mark.parametrize("weight", [None, 0.0, 0.2])
def test_mean_and_variance_in_simulation(weight) -> None:
    rng = np.random.default_rng(3)
    n, m, last, runs, noise = 4, 8, 6, 40_000, 1.5
    w = n / (n + m) if weight is None else weight
    real = noise * rng.normal(size=(runs, n))
    mean, variance = real.mean(axis=1), real.var(axis=1)
    moments = references.mean_variance_augment(n, m, noise, last, weight)
    for i in range(last + 1):
        assert_mean(mean**2, moments.mean_error[i])
        assert_mean(variance, moments.variance[i])
        batch = mean[:, None] + np.sqrt(variance)[:, None] * rng.normal(size=(runs, m))
        mean = w * real.mean(axis=1) + (1 - w) * batch.mean(axis=1)
        around = [((part - mean[:, None]) ** 2).mean(axis=1) for part in (real, batch)]
        variance = w * around[0] + (1 - w) * around[1]


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_fitted_variance_has_its_limit_and_collapses_only_without_real_data(n, m) -> None:
    path = references.mean_variance_augment(n, m, 2.0, 5000)
    limit = references.mean_variance_augment_limit(n, m, 2.0)
    np.testing.assert_allclose([path[0][-1], path[1][-1]], limit, rtol=1e-9, atol=1e-12)
    lam = m / n
    expected = 4 * (1 - 1 / n) / (1 + lam / (1 + 2 * lam) / n)
    assert limit.variance == pytest.approx(expected, rel=1e-12, abs=1e-15)
    alone = references.mean_variance_augment(n, m, 2.0, 30, weight=0.0)
    closed = references.mean_variance_replace(n, m, 2.0, 30)
    np.testing.assert_allclose(closed, alone, rtol=1e-11, atol=1e-14)
    gone = references.mean_variance_augment_limit(n, m, 2.0, weight=0.0)
    assert gone == pytest.approx((4.0, 0.0))


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 2), (5, 8), (40, 33), (33, 34), (10**6, 999)])
def test_log_variance_to_many_digits(n, m, unbiased) -> None:
    @mpmath.workdps(50)
    def step(size):
        freedom = mpmath.mpf(size - 1)
        divisor = freedom if unbiased else mpmath.mpf(size)
        return mpmath.digamma(freedom / 2) - mpmath.log(divisor / 2)

    i = np.arange(4)
    expected = [2 * mpmath.log(3) + step(n) + int(k) * step(m) for k in i]
    path = references.log_variance_replace(n, m, 3.0, 3, unbiased)
    np.testing.assert_allclose(path, np.array(expected, dtype=float), rtol=1e-13)
    fall = references.log_variance_replace(n, m, 1.0, 1, unbiased)
    assert fall[1] < fall[0] < 0
    assert fall[0] == pytest.approx(float(step(n)), rel=1e-13, abs=0)
    assert fall[1] - fall[0] == pytest.approx(float(step(m)), rel=1e-12)

import numpy as np
import pytest
from scipy import special

from icl_stl.references.collapse import (
    design_divergences,
    divergences,
    excess_error,
    label_covariance,
    posterior_variance,
    refit,
    refit_bound,
    regenerated,
    regenerated_limit,
    reread,
    reread_limit,
    shrinkage,
    signal_bound,
    signal_limit,
    signal_limits,
    signal_path,
    task_covariance,
    written_square,
)

# Sums of a few hundred float64 terms, and inverses of matrices of condition below 10^4.
CLOSE = {"rtol": 1e-10, "atol": 1e-12}
SIGNALS = (0.05, 0.5, 2.0, 8.0, 300.0)
REPEATS = (1, 2, 5, 40)

each_signal = pytest.mark.parametrize("u", SIGNALS)
each_repeats = pytest.mark.parametrize("n", REPEATS)


def some_inputs(m, d):
    return np.random.default_rng(m + d).standard_normal((m, d))


def written(inputs, noise, scale, plug_in):
    """Labels as a matrix of their own noises e, the posterior mean likewise, by the textbook."""
    m, d = inputs.shape
    labels = np.zeros((m, m))
    for k in range(m + 1):
        seen = inputs[:k]
        precision = np.eye(d) / scale**2 + seen.T @ seen / noise**2
        mean = np.linalg.solve(precision, seen.T @ labels[:k] / noise**2)
        if k == m:
            return labels, mean
        x = inputs[k]
        own = noise**2 + (0 if plug_in else x @ np.linalg.solve(precision, x))
        labels[k] = x @ mean
        labels[k, k] += own**0.5
    raise AssertionError


def orthogonal(n, d):
    return np.tile(d**0.5 * np.eye(d), (n, 1))


@pytest.mark.parametrize("plug_in", [True, False])
@pytest.mark.parametrize(("m", "d"), [(1, 2), (4, 2), (7, 3)])
def test_labels_and_tasks_have_the_covariances_of_written_labels(m, d, plug_in):
    inputs, noise, scale = some_inputs(m, d), 0.4, 1.3
    labels, mean = written(inputs, noise, scale, plug_in)
    found = label_covariance(inputs, noise, scale, plug_in=plug_in)
    np.testing.assert_allclose(found, labels @ labels.T, **CLOSE)
    task = task_covariance(inputs, noise, scale, plug_in=plug_in)
    np.testing.assert_allclose(task, mean @ mean.T, **CLOSE)
    many = np.stack([inputs, 2 * inputs])
    np.testing.assert_allclose(task_covariance(many, noise, scale, plug_in=plug_in)[0], task)
    np.testing.assert_allclose(label_covariance(many, noise, scale, plug_in=plug_in)[0], found)
    if plug_in:
        honest = task_covariance(inputs, noise, scale, plug_in=False)
        assert np.linalg.eigvalsh(honest - task).min() > -1e-12


def normal_kl(p, q):
    ratio = np.linalg.solve(q, p)
    return (np.trace(ratio) - len(p) - np.linalg.slogdet(ratio)[1]) / 2


@pytest.mark.parametrize(("m", "d"), [(1, 1), (5, 2), (6, 4)])
def test_divergences_equal_those_of_normal_laws(m, d):
    inputs, noise, scale = some_inputs(m, d), 0.7, 1.1
    real = label_covariance(inputs, noise, scale, plug_in=False)
    plug_in = label_covariance(inputs, noise, scale)
    found = divergences(inputs, noise, scale)
    information = np.linalg.slogdet(real / noise**2)[1] / 2
    expected = normal_kl(real, plug_in), normal_kl(plug_in, real), information
    np.testing.assert_allclose(found, expected, **CLOSE)


@each_repeats
@each_signal
def test_the_orthogonal_design_is_a_case_of_any_inputs(u, n):
    d, noise = 3, 0.6
    scale = noise * (u / d) ** 0.5
    inputs = orthogonal(n, d)
    for plug_in in (True, False):
        task = task_covariance(inputs, noise, scale, plug_in=plug_in) * d / noise**2
        expected = posterior_variance(u, n, plug_in=plug_in) * np.eye(d)
        np.testing.assert_allclose(task, expected, **CLOSE)
    np.testing.assert_allclose(
        design_divergences(u, n, d), divergences(inputs, noise, scale), rtol=1e-8, atol=1e-11
    )


@each_signal
def test_one_generation_is_bounded_whatever_the_prior(u):
    c = 1 / u
    k = np.arange(1, 200_001)
    total = (1 / (c + k) ** 2).sum()
    np.testing.assert_allclose(posterior_variance(u, 200_000), total, rtol=1e-9)
    limit = posterior_variance(u, np.inf)
    assert total < limit < min(np.pi**2 / 6, 1 / (c + 0.5))
    assert limit - total == pytest.approx(1 / (c + 200_000.5), rel=1e-6)
    assert posterior_variance(u, np.inf, plug_in=False) == u


@each_repeats
@each_signal
def test_refit_is_what_written_prompts_imply(u, n):
    """The variance of the least-squares task of plug-in labels, less that of its own noise."""
    labels, _ = written(orthogonal(n, 1), 1.0, u**0.5, plug_in=True)
    implied = (labels.mean(0) ** 2).sum() - 1 / n
    np.testing.assert_allclose(refit(u, n), implied, rtol=1e-9, atol=1e-12)
    honest, _ = written(orthogonal(n, 1), 1.0, u**0.5, plug_in=False)
    np.testing.assert_allclose(u, (honest.mean(0) ** 2).sum() - 1 / n, rtol=1e-9)


def test_refit_at_known_points():
    np.testing.assert_allclose(refit([8, 2, 0.5], 5), [1.07211654, 0.72990637, 0.31312222], 1e-8)
    assert refit(3.0, np.inf) == pytest.approx(special.polygamma(1, 4 / 3), rel=1e-14)
    assert abs(refit(3.0, 1)) < 1e-14


@pytest.mark.parametrize("n", [1, 2, 5, 40, np.inf])
@each_signal
def test_refit_stays_below_its_bounds(u, n):
    value = refit(u, n)
    assert -1e-14 < value <= refit_bound(u, n) + 1e-14
    assert refit_bound(u, n) * (1 - 1e-14) <= u / (1 + u / 2)
    assert value * (1 - 1e-14) <= special.polygamma(1, 1 + 1 / u) + 1e-14 <= np.pi**2 / 6


@each_repeats
@each_signal
def test_the_slope_of_the_refit_is_below_one(u, n):
    c, k = 1 / u, np.arange(1, n + 1)
    slope = 2 * c**2 * (n + c) / n**2 * ((n - k) / (c + k) ** 3).sum()
    step = 1e-4 * u
    measured = (refit(u + step, n) - refit(u - step, n)) / (2 * step)
    assert measured == pytest.approx(slope, rel=1e-5, abs=1e-8)
    assert 0 <= slope <= (c / (c + 0.5)) ** 2 * (n + c) / (n + c + 0.5) < 1


@pytest.mark.parametrize("n", [1, 2, 6, np.inf])
def test_without_real_prompts_the_variance_falls_like_two_over_g(n):
    path = signal_path(8.0, n, 3000, 0.0)
    bound = signal_bound(8.0, 3000)
    assert path[0] == bound[0] == 8
    assert np.all(path[1:] < bound[1:])
    assert np.all(bound[1:] <= 2 / np.arange(1, 3001))
    if np.isinf(n):
        assert path[-1] * 3000 == pytest.approx(2, rel=2e-3)
    elif n == 1:
        assert np.all(path[1:] < 1e-12)
    else:
        late = signal_path(8.0, n, 12 * n, 0.0)
        assert late[-1] / late[-2] == pytest.approx(1 - 1 / n, rel=0.05)


@pytest.mark.parametrize("alpha", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("n", [1, 4, np.inf])
@each_signal
def test_with_real_prompts_there_is_one_fixed_point(u, n, alpha):
    limit = signal_limit(u, n, alpha)
    assert alpha * u + (1 - alpha) * refit(limit, n) == pytest.approx(limit, rel=1e-12)
    low, high = signal_limits(u, alpha)
    assert low - 1e-12 <= limit <= high
    assert signal_path(u, n, 2000, alpha)[-1] == pytest.approx(limit, rel=1e-10)
    path = signal_path(u, n, 30, alpha)
    assert np.all(np.diff(path) <= 1e-12)
    assert np.all(np.abs(path[1:] - limit) <= (1 - alpha) * np.abs(path[:-1] - limit) + 1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_the_predictive_deviation_keeps_the_variance(alpha):
    assert np.all(signal_path(3.0, 4, 5, alpha, plug_in=False) == 3)
    assert signal_limit(3.0, 4, 0.0) == 0


@each_signal
def test_excess_error_and_written_squares_are_those_of_the_labels(u):
    n, factors = 6, np.array([0.3, 0.9, 0.2, 0.7, 0.5, 0.4])
    labels, _ = written(orthogonal(n, 1), 1.0, u**0.5, plug_in=True)
    means = np.cumsum(labels, 0) / np.arange(1, n + 1)[:, None]
    np.testing.assert_allclose((means**2).sum(1), written_square(shrinkage(u, n)), **CLOSE)
    by_hand = np.zeros((n, n))
    for k in range(n):
        by_hand[k] = factors[k] * by_hand[:k].mean(0) if k else 0
        by_hand[k, k] = 1
    means = np.cumsum(by_hand, 0) / np.arange(1, n + 1)[:, None]
    np.testing.assert_allclose((means**2).sum(1), written_square(factors), **CLOSE)
    assert written_square(shrinkage(u, n))[-1] - 1 / n == pytest.approx(float(refit(u, n)))
    # On real labels: the difference of two squared errors, from their covariance.
    real = u * np.ones((n, n)) + np.eye(n)

    def error(f):
        rows = np.eye(n)
        for k in range(1, n):
            rows[k, :k] -= f[k] / k
        return np.einsum("ka,ab,kb->k", rows, real, rows).mean()

    best = shrinkage(u, n)
    assert excess_error(factors, u) == pytest.approx(error(factors) - error(best), rel=1e-9)
    assert excess_error(best, u) == 0
    assert excess_error(np.stack([factors, best]), u).shape == (2,)


def squared_answer(u, prior, draw):
    """m Var(w')/σ² of an answer to m = 4 labels of tasks of variance u, from their covariance."""
    m = 4
    labels = u / m * np.ones((m, m)) + np.eye(m)
    precision = m / prior + m
    read = np.ones(m) / precision  # the posterior mean is this times the labels
    return m * (read @ labels @ read + draw / precision)


@pytest.mark.parametrize("u", [0.3, 2.0, 9.0])
def test_prompts_read_again_follow_their_variances(u):
    frozen, mixed, alone = regenerated(u, 4), reread(u, 4, 0.3), reread(u, 4, 0.0)
    assert frozen[0] == mixed[0] == u
    for g in range(4):
        assert frozen[g + 1] == pytest.approx(squared_answer(frozen[g], u, False), rel=1e-8)
        answer = squared_answer(mixed[g], mixed[g], False)
        assert mixed[g + 1] == pytest.approx(0.3 * u + 0.7 * answer, rel=1e-8)
    assert squared_answer(u, u, True) == pytest.approx(u, rel=1e-8)
    assert np.all(alone[1:] > u - np.arange(1, 5))
    assert np.all(reread(u, 30, 0.0)[-1] < 1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("u", [0.3, 2.0, 50.0])
def test_limits_of_prompts_read_again(u, alpha):
    limit = reread_limit(u, alpha)
    if alpha:
        assert reread(u, 20_000, alpha)[-1] == pytest.approx(limit, rel=1e-9)
        residual = alpha * limit**2 + (1 - alpha * u) * limit - alpha * u
        assert abs(residual) < 1e-12 * (1 + alpha * limit**2)
    else:
        assert limit == 0
    assert regenerated(u, 20_000)[-1] == pytest.approx(regenerated_limit(u), rel=1e-12)
    assert regenerated_limit(u) == pytest.approx(u**2 / (1 + 2 * u))

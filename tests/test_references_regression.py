"""Least squares in loops: closed forms against conditional covariances, integrals, simulation."""

import math

import mpmath
import numpy as np
import pytest
from test_references_gaussian import accumulate_weights, assert_mean, random_weights

from icl_stl import references


def gram(inputs):
    return inputs.swapaxes(-1, -2) @ inputs


def fitted(inputs, labels):
    """Least squares for a stack of designs."""
    moments = (inputs.swapaxes(-1, -2) @ labels[..., None])[..., 0]
    return np.linalg.solve(gram(inputs), moments[..., None])[..., 0]


def labelled(rng, runs, rows, task, noise):
    """Fresh Gaussian inputs with labels by one task a run."""
    inputs = rng.normal(size=(runs, rows, task.shape[-1]))
    labels = (inputs @ task[..., None])[..., 0] + noise * rng.normal(size=(runs, rows))
    return inputs, labels


def excess(task):
    return (task**2).sum(axis=-1)


def test_mean_inverse_gram_of_one_input() -> None:
    """d = 1: E 1/chi^2_n = 1/(n - 2), by integration."""
    for n in (4, 9):
        half = mpmath.mpf(n) / 2
        value = mpmath.quad(
            lambda x, half=half: x ** (half - 2) * mpmath.exp(-x / 2), [0, 1, 10, 50, 200]
        ) / (2**half * mpmath.gamma(half))
        assert references.ols_single_fit(n, 1, 1.0) == pytest.approx(float(value), rel=1e-10)


@pytest.mark.parametrize("lam", [1, 3])
def test_same_inputs_equal_the_general_loop(lam) -> None:
    n, d, noise, last = 10, 4, 0.5, 7
    m = lam * n
    below = lambda w: np.diag(np.full(last, 1 - w), k=-1)  # noqa: E731
    general = lambda weights: references.ols_loop_same_inputs(weights, n, m, d, noise)  # noqa: E731
    pairs = [
        (references.ols_augment_same_inputs(n, m, d, noise, last), below(1 / (1 + lam))),
        (references.ols_augment_same_inputs(n, m, d, noise, last, 0.2), below(0.2)),
        (
            references.ols_accumulate_same_inputs(n, m, d, noise, last),
            accumulate_weights(n, m, last),
        ),
    ]
    for closed, weights in pairs:
        np.testing.assert_allclose(closed, general(weights), rtol=1e-12)
    weights = random_weights(5, seed=lam)
    scale = references.ols_single_fit(n, d, noise) * n / noise**2
    mean = references.mean_loop(weights, n, m, noise)
    np.testing.assert_allclose(general(weights), scale * mean, rtol=1e-12)


@pytest.mark.parametrize("lam", [1, 2])
@pytest.mark.parametrize("weights", ["augment", "random"])
def test_same_inputs_equal_conditional_covariances(lam, weights) -> None:
    """Given the inputs, every fit is linear in the noise of all labels: E |w_i|^2 is a trace."""
    rng, n, d, last = np.random.default_rng(7), 8, 3, 4
    m = lam * n
    shares = random_weights(last + 1, 3)
    if weights == "augment":
        shares = np.diag(np.full(last, lam / (1 + lam)), k=-1)
    inputs = rng.normal(size=(n, d))
    repeated = np.tile(inputs, (lam, 1))
    size = n + (last + 1) * m
    fits = np.zeros((last + 1, d, size))
    for i in range(last + 1):
        real = 1 - shares[i].sum()
        moments, moment_labels = real * gram(inputs) / n, np.zeros((d, size))
        moment_labels[:, :n] = real * inputs.T / n
        for j in range(i):
            labels = repeated @ fits[j]
            labels[np.arange(m), n + j * m + np.arange(m)] += 1
            moments += shares[i, j] * gram(repeated) / m
            moment_labels += shares[i, j] * repeated.T @ labels / m
        fits[i] = np.linalg.solve(moments, moment_labels)
    ratio = (fits**2).sum(axis=(1, 2)) / np.trace(np.linalg.inv(gram(inputs)))
    expected = references.ols_loop_same_inputs(shares, n, m, d, 1.0)
    np.testing.assert_allclose(expected / expected[0], ratio, rtol=1e-10)


@pytest.mark.parametrize("d", [1, 4])
@pytest.mark.parametrize("weight", [None, 0.05, 0.9])
def test_upper_bound_for_any_synthetic_inputs(d, weight) -> None:
    """The covariance given the inputs stays below the claimed multiple of that of the first fit."""
    rng, n = np.random.default_rng(d), d + 3
    worst = 0.0
    for trial in range(60):
        m = int(rng.integers(1, 60))
        w = n / (n + m) if weight is None else weight
        scale = 10.0 ** rng.uniform(-3, 3)
        inputs = rng.normal(size=(n, d)) * 10.0 ** rng.uniform(-1, 1, size=d)
        real, covariance = w * gram(inputs) / n, np.zeros((d, d))
        bound = references.ols_augment_upper_bound(n, m, d, 1.0, 1, weight)
        extra = (bound[1] / bound[0] - 1) * np.linalg.inv(gram(inputs))
        for _ in range(30):
            made = scale * rng.normal(size=(m, d))
            if trial % 3 == 0:
                made[:, 1:] = 0.0
            if trial % 3 == 1:
                made = np.tile(inputs, (m // n + 1, 1))[:m]
            row = (1 - w) / m
            moments = row * gram(made)
            inside = moments @ covariance @ moments + row * moments
            whole = np.linalg.inv(real + moments)
            covariance = whole @ inside @ whole
            root = np.linalg.inv(np.linalg.cholesky(extra))
            worst = max(worst, np.linalg.eigvalsh(root @ covariance @ root.T)[-1])
    assert 0.75 < worst <= 1 + 1e-9


def test_upper_bound_is_approached_and_cannot_be_improved() -> None:
    n, d = 10, 3
    bound = references.ols_augment_upper_bound(n, 1000 * n, d, 1.0, 50_000)
    exact = references.ols_augment_same_inputs(n, 1000 * n, d, 1.0, 50_000)
    assert bound[0] == exact[0]
    assert bound[1] == pytest.approx(1.5 * exact[0], rel=1e-14)
    assert (exact <= bound).all()
    assert exact[-1] > 0.999 * bound[-1]


@pytest.mark.parametrize(("n", "m"), [(10, 10), (10, 50), (30, 10)])
def test_limits_of_kept_batches(n, m) -> None:
    d, last = 3, 20_000
    first = references.ols_single_fit(n, d, 1.0)
    fresh = references.ols_accumulate_fresh_inputs(n, m, d, 1.0, last)
    assert (np.diff(fresh) > 0).all()
    assert fresh[-1] < 2 * first
    pools = n + m * np.arange(1, 6)
    steps = [m / pool * references.ols_single_fit(pool, d, 1.0) for pool in pools]
    np.testing.assert_allclose(np.diff(fresh[:6]), steps, rtol=1e-9)
    if m % n == 0:
        same = references.ols_accumulate_same_inputs(n, m, d, 1.0, last)
        assert (fresh <= same).all()
        assert same[-1] < (math.pi**2 / 6 if m == n else 2) * first
        assert m > n or same[-1] > 0.9999 * math.pi**2 / 6 * first


def test_step_of_new_real_rows_with_one_input_is_a_moment_of_a_beta_law() -> None:
    """d = 1: the synthetic share of the sum of squares is Beta(m/2, n/2)."""
    for n, m in [(3, 1), (9, 6), (4, 50)]:
        one, two = references.ols_fresh_real(n, m, 1, 1.0, 1)
        moment = mpmath.beta(m / 2 + 2, n / 2) / mpmath.beta(m / 2, n / 2)
        expected = float(moment) * one + 1 / (n + m - 2)
        assert two == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("n", "m", "d"), [(9, 6, 1), (9, 12, 3), (6, 500, 4), (200, 1, 10)])
def test_step_of_new_real_rows_in_its_other_form(n, m, d) -> None:
    total = n + m
    factor = m * (m + 2) / (total * (total + 2))
    factor += m * n * (total + 1) * (d - 1) / (total * (total - 1) * (total + 2) * (total - d - 1))
    one, two = references.ols_fresh_real(n, m, d, 1.0, 1)
    assert two == pytest.approx(factor * one + d / (total - d - 1), rel=1e-12)


@pytest.mark.parametrize(("n", "m", "d"), [(9, 6, 1), (9, 12, 3), (6, 500, 4), (200, 1, 10)])
def test_new_real_rows_have_their_limit(n, m, d) -> None:
    path = references.ols_fresh_real(n, m, d, 0.5, 5000)
    limit = references.ols_fresh_real_limit(n, m, d, 0.5)
    assert path[-1] == pytest.approx(limit, rel=1e-10)
    assert limit < path[0]


def test_combined_fits_in_simulation_and_at_their_best() -> None:
    rng, noise, runs, n, m, d, last = np.random.default_rng(11), 0.9, 20_000, 10, 14, 2, 4
    best = references.ols_fresh_combined_best(n, m, d, noise)
    truth = np.zeros((runs, d))
    task = fitted(*labelled(rng, runs, n, truth, noise))
    errors = [excess(task)]
    for _ in range(last):
        real = fitted(*labelled(rng, runs, n, truth, noise))
        made = fitted(*labelled(rng, runs, m, task, noise))
        task = best.weight * real + (1 - best.weight) * made
        errors.append(excess(task))
    assert_mean(np.stack(errors, 1), references.ols_fresh_combined(n, m, d, noise, last, best[0]))
    limit = lambda w: references.ols_fresh_combined_limit(n, m, d, noise, w)  # noqa: E731
    assert best.error == pytest.approx(limit(best.weight), rel=1e-12)
    assert best.error <= min(limit(w) for w in np.linspace(0, 1, 501))
    path = references.ols_fresh_combined(n, m, d, noise, 3000, best.weight)
    assert path[-1] == pytest.approx(best.error, rel=1e-12)


def test_total_variation_of_rows_is_an_integral_over_inputs() -> None:
    """E erf(|x| d/(2 sqrt(2) sigma)) over the standard normal length x of an input along a task."""
    apart, noise = mpmath.mpf("0.7"), mpmath.mpf("0.4")
    distance = 2 * mpmath.quad(
        lambda x: mpmath.npdf(x) * mpmath.erf(x * apart / (2 * noise) / mpmath.sqrt(2)), [0, 2, 12]
    )
    value = references.ols_total_variation(0.7, 0.4)
    assert value == pytest.approx(float(distance), rel=1e-12)
    assert references.ols_total_variation([0.0, 1e12], 1.0) == pytest.approx([0.0, 1.0])

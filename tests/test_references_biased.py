"""Loops with a sampling bias: closed forms against quadrature, iteration and exhaustion."""

from itertools import product

import numpy as np
import pytest
from scipy.special import roots_genlaguerre

from icl_stl import references

N, M, S = 5, 7, 0.8
NORMAL, NORMAL_WEIGHTS = np.polynomial.hermite_e.hermegauss(5)
NORMAL_WEIGHTS = NORMAL_WEIGHTS / NORMAL_WEIGHTS.sum()


def chi_squared(freedom):
    """Nodes and weights that integrate a polynomial of degree 5 under the chi-squared law."""
    nodes, weights = roots_genlaguerre(3, freedom / 2 - 1)
    return 2 * nodes, weights / weights.sum()


def one_generation(mean, variance, n, m, s, w, factor):
    """Fitted means, variances and chances after one generation: an exact rule for polynomials."""
    real, made = chi_squared(n - 1), chi_squared(m - 1)
    axes = (
        (NORMAL, NORMAL_WEIGHTS),
        (real[0], real[1]),
        (NORMAL, NORMAL_WEIGHTS),
        (made[0], made[1]),
    )
    a, b, c, d = np.meshgrid(*(nodes for nodes, _ in axes), indexing="ij")
    chance = np.ones(())
    for _, weights in axes:
        chance = np.multiply.outer(chance, weights)
    x, y = a / n**0.5, mean + (s * variance / m) ** 0.5 * c
    spread = w * b / n + (1 - w) * s * variance * d / m + w * (1 - w) * (x - y) ** 2
    return w * x + (1 - w) * y, factor * spread, chance


@pytest.mark.parametrize(("w", "unbiased"), [(None, True), (0.3, False), (0.0, True)])
def test_second_moments_by_integration(w, unbiased):
    """Generation 1 from all fits of generation 0: first moments, and the variance behind W2."""
    share = N / (N + M) if w is None else w
    total = M if share == 0 else N + M
    first, later = ((k / (k - 1) if unbiased else 1.0) for k in (N, total))
    spread, chances = chi_squared(N - 1)
    seen = np.zeros(3)
    for (z, p), (b, q) in product(
        zip(NORMAL, NORMAL_WEIGHTS, strict=True), zip(spread, chances, strict=True)
    ):
        mean, variance, chance = one_generation(z / N**0.5, first * b / N, N, M, S, share, later)
        seen += p * q * np.array([(chance * f).sum() for f in (mean**2, variance, variance**2)])
    known = references.mean_variance_biased(N, M, 1.0, 1, S, w, unbiased=unbiased)
    assert [known.mean_error[1], known.variance[1]] == pytest.approx(seen[:2], rel=1e-12)
    w2 = references.biased_distance(N, M, 2.0, 1, S, w, unbiased=unbiased)
    low = seen[0] + (1 - seen[1] ** 0.5) ** 2
    more = (seen[2] - seen[1] ** 2) / seen[1] ** 1.5
    expected = 4 * np.array([low, low + more / 4, low + more])
    assert [part[1] for part in w2] == pytest.approx(expected, rel=1e-12)


def test_two_generations_by_integration():
    """E mu^2 v of generation 1 is in the variance of generation 2 alone."""
    means, variances, chances = [], [], []
    spread, weights = chi_squared(N - 1)
    for (z, p), (b, q) in product(
        zip(NORMAL, NORMAL_WEIGHTS, strict=True), zip(spread, weights, strict=True)
    ):
        own = one_generation(z / N**0.5, b / N, N, M, S, 0.3, 1.0)
        for found, part in zip((means, variances, chances), own, strict=True):
            found.append(part.ravel())
        chances[-1] = p * q * chances[-1]
    seen = np.zeros(2)
    for mean, variance, chance in zip(
        *map(np.concatenate, (means, variances, chances)), strict=True
    ):
        _, after, own = one_generation(mean, variance, N, M, S, 0.3, 1.0)
        seen += chance * np.array([(own * after).sum(), (own * after**2).sum()])
    low, _, high = (part[2] for part in references.biased_distance(N, M, 1.0, 2, S, 0.3))
    expected = (seen[1] - seen[0] ** 2) / seen[0] ** 1.5
    assert high - low == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("s", [0.5, 0.9, 1.0])
def test_limits_are_those_of_the_recursion(fresh, s):
    path = references.mean_variance_biased(9, 30, 1.5, 400, s, fresh=fresh, unbiased=True)
    limit = references.mean_variance_biased_limit(9, 30, 1.5, s, fresh=fresh)
    assert [float(part) for part in limit] == pytest.approx([part[-1] for part in path], rel=1e-12)
    if fresh:
        w2 = references.biased_distance(9, 30, 1.5, 400, s, unbiased=True)
        for part, known in zip(w2, references.biased_distance_limit(9, 30, 1.5, s), strict=True):
            assert float(known) == pytest.approx(part[-1], rel=1e-10)


def test_without_a_bias_it_is_the_loop_without():
    for w in (0.0, 0.3, None):
        own = references.mean_variance_biased(4, 6, 1.5, 5, 1.0, w, fresh=False)
        known = references.mean_variance_augment(4, 6, 1.5, 5, w)
        np.testing.assert_allclose(np.array(own), np.array(known), rtol=1e-13)
    collapse = references.mean_variance_biased(4, 6, 2.0, 5, 0.7, 0.0, unbiased=True)
    np.testing.assert_allclose(collapse.variance, 4 * 0.7 ** np.arange(6), rtol=1e-13)


def test_admissible_amounts_by_exhaustion():
    for n, s in ((50, 0.9), (20, 0.7)):
        found = references.admissible_synthetic(n, s)
        counts = np.arange(found.harmful + 50)
        value = references.biased_distance_limit(n, counts, 1.0, s)
        alone = references.one_fit_distance(n, 1.0)
        assert found.best == value.value.argmin()
        assert found.most == np.flatnonzero(value.value <= value.value[0])[-1]
        assert (value.low[found.harmful :] > alone).all()
        certain = np.flatnonzero(value.low <= alone)[-1]
        assert found.most < found.harmful < 1.5 * certain
    near, nearer = (
        np.array(references.admissible_synthetic(50, 1 - off)) * off for off in (1e-6, 1e-9)
    )
    np.testing.assert_allclose(near, nearer, rtol=1e-2)
    mean = [references.mean_variance_biased_limit(2, m, 1.0, 1.0).mean_error for m in (1, 9, 999)]
    assert np.diff(mean).max() < 0
    assert mean[0] < 0.5


def test_log_odds_grow_by_one_over_the_bias():
    law = np.array([0.5, 0.3, 0.2, 0.0])
    path = references.law_powered(law, 0.8, 4)
    odds = np.log(path[:, 0] / path[:, 1])
    np.testing.assert_allclose(odds, np.log(5 / 3) * 0.8 ** -np.arange(5.0), rtol=1e-12)
    assert (path[:, 3] == 0).all()
    mixed = references.law_powered(law, 0.8, 1, 0.25)[1]
    np.testing.assert_allclose(mixed, 0.25 * law + 0.75 * path[1], rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: references.mean_variance_biased(5, 5, 1.0, 1, 0.0), "bias = 0.0"),
        (lambda: references.biased_distance(5, 5, 1.0, 1, 1.5), "bias = 1.5"),
        (lambda: references.admissible_synthetic(5, 1.0), "bias = 1.0"),
        (lambda: references.admissible_synthetic(1, 0.5), "samples = 1"),
        (lambda: references.biased_distance(5, 1, 1.0, 1, 1.0, 0.0, unbiased=True), "n_syn = 1"),
        (lambda: references.biased_distance_limit(5, np.array([3, -1]), 1.0, 0.5), "n_syn = -1"),
        (lambda: references.law_powered([0.5, 0.6], 0.5, 1), "law"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

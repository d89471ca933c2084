import math

import mpmath
import numpy as np
import pytest
from bounds_exact import (
    INF,
    generations,
    geometric,
    loop,
    mp,
    no_nan,
    relative_error,
    shares,
    stabilities,
    steady,
)
from hypothesis import given
from hypothesis import strategies as st

from icl_stl import bounds

CRITICAL = [(0.5, 2.0), (0.75, 4.0), (0.1, 1 / 0.9), (1e-9, 1 + 1e-9), (0.5, 2 * (1 + 1e-9))]


@steady
@given(alpha=shares, kappa=stabilities, i=generations)
def test_stability_equals_literal_iteration(alpha: float, kappa: float, i: int) -> None:
    chi, square = 1 / 50, 0.0
    for _ in range(i):
        chi = alpha / 50 + (1 - alpha) * kappa * chi
        square = 1 + ((1 - alpha) * kappa) ** 2 * square
    result = bounds.recursive_stability(50, alpha, kappa, i)
    assert math.isclose(result.influence, chi, rel_tol=1e-12, abs_tol=1e-300)
    assert math.isclose(result.gamma, kappa * chi, rel_tol=1e-12, abs_tol=1e-300)
    variance = 50 * chi**2 + alpha * (1 - alpha) / 50 * square
    assert math.isclose(result.variance_proxy, variance, rel_tol=1e-12, abs_tol=1e-300)


@pytest.mark.parametrize("i", [0, 1, 2, 10, 200, 10**5, 10**9, INF])
@pytest.mark.parametrize(
    ("alpha", "kappa"),
    [
        *((0.5, 0.9), (0.5, 0.0), (1.0, 3.0), (1e-9, 0.3), (0.3, 1.0), (0.2, 1.7), (0.9, 9.0)),
        *CRITICAL,
    ],
)
def test_stability_to_fifty_digits(alpha: float, kappa: float, i: float) -> None:
    result = bounds.recursive_stability(50, alpha, kappa, i)
    exact, tolerance = loop(alpha, kappa, i), 1e-13 if i <= 200 or i == INF else 1e-10
    if exact.influence < mpmath.mpf(10) ** 150:
        assert relative_error(result.influence, exact.influence / 50) < tolerance
        assert relative_error(result.variance_proxy, exact.variance / 50) < tolerance
    else:
        assert result.variance_proxy == INF


@pytest.mark.parametrize(
    ("alpha", "kappa", "stable"),
    [
        *((0.5, 2.0, False), (0.5, 1.999, True), (0.75, 4.0, False), (0.0, 1.0, False)),
        *((0.0, 0.99, True), (1.0, 50.0, True), (0.5, math.nextafter(2.0, 1), True)),
    ],
)
def test_phase_condition_is_decided_exactly(alpha: float, kappa: float, stable: bool) -> None:
    result = bounds.recursive_stability(10, alpha, kappa, INF)
    assert result.stable == stable
    assert (alpha > bounds.phase_threshold(kappa)) == stable or kappa <= 1
    if kappa > 1:
        assert math.isinf(result.gamma) != stable


def test_threshold() -> None:
    np.testing.assert_allclose(bounds.phase_threshold([0, 0.5, 1, 2, 4]), [0, 0, 0, 0.5, 0.75])


@steady
@given(alpha=shares, kappa=stabilities, i=generations)
def test_uniform_stability_bounds_every_generation(alpha: float, kappa: float, i: int) -> None:
    worst = bounds.uniform_recursive_stability(20, alpha, kappa)
    each = bounds.recursive_stability(20, alpha, kappa, i)
    assert each.influence <= worst.influence * (1 + 1e-12)
    assert each.variance_proxy <= worst.variance_proxy * (1 + 1e-12)
    limit = bounds.recursive_stability(20, alpha, kappa, INF)
    assert worst.influence == max(1 / 20, limit.influence)


def test_limits_at_no_real_data() -> None:
    result = bounds.recursive_stability(10, 0.0, [0.5, 1.0, 2.0], [[3], [INF]])
    np.testing.assert_allclose(result.influence, [[0.0125, 0.1, 0.8], [0, 0.1, INF]])
    np.testing.assert_allclose(result.variance_proxy[1], [0, 0.15, INF])
    near = bounds.recursive_stability(10, 1e-12, [0.5, 1.0], INF)
    np.testing.assert_allclose(near.influence, result.influence[1, :2], atol=1e-11)
    np.testing.assert_allclose(near.variance_proxy, result.variance_proxy[1, :2], atol=1e-11)
    only_real = bounds.recursive_stability(10, 1.0, 5.0, [0, 1, INF])
    np.testing.assert_array_equal(only_real.influence, [0.1] * 3)
    np.testing.assert_allclose(only_real.variance_proxy, [0.1] * 3, rtol=1e-15)


@steady
@given(kappa=st.floats(0, 4), i=st.integers(0, 300))
def test_accumulate_influence_to_fifty_digits(kappa: float, i: int) -> None:
    exact = mpmath.fprod((k + mp(kappa)) / (k + 1) for k in range(1, i + 1)) / 10
    assert relative_error(bounds.accumulate_influence(10, kappa, i), exact) < 1e-13


def test_accumulate_influence_in_the_limit() -> None:
    np.testing.assert_array_equal(
        bounds.accumulate_influence(10, [0.5, 1.0, 1.5], INF), [0, 0.1, INF]
    )


def test_varying_share_influence_equals_literal_iteration() -> None:
    alphas, kappas = np.array([0.5, 0.2, 1.0, 0.0]), np.array([0.9, 2.0, 3.0, 1.5])
    chi = [0.1]
    for alpha, kappa in zip(alphas, kappas, strict=True):
        chi.append(alpha / 10 + (1 - alpha) * kappa * chi[-1])
    np.testing.assert_allclose(bounds.varying_share_influence(10, alphas, kappas), chi, rtol=1e-14)
    constant = bounds.varying_share_influence(10, [0.5] * 6, 0.9)
    assert constant[-1] == pytest.approx(bounds.recursive_stability(10, 0.5, 0.9, 6).influence)


@steady
@given(weight=shares, kappa=stabilities, i=generations)
def test_weighted_and_fresh_forms_equal_literal_sums(weight: float, kappa: float, i: int) -> None:
    n, m, w = 30, 70, weight
    ratio = (1 - w) * kappa
    power = ratio**i
    total, squares = (
        math.fsum(ratio**s for s in range(i)),
        math.fsum(ratio ** (2 * s) for s in range(i)),
    )
    weighted = bounds.weighted_stability(n, m, w, kappa, i)
    chi = (w * total + power) / n
    assert math.isclose(weighted.influence, chi, rel_tol=1e-12)
    variance = n * chi**2 + (1 - w) ** 2 / m * squares
    assert math.isclose(weighted.variance_proxy, variance, rel_tol=1e-12)
    fresh = bounds.fresh_data_stability(n, m, w, kappa, i)
    assert math.isclose(fresh.influence, power / n, rel_tol=1e-12, abs_tol=1e-300)
    variance = (w**2 / n + (1 - w) ** 2 / m) * squares + power**2 / n
    assert math.isclose(fresh.variance_proxy, variance, rel_tol=1e-12)


def test_best_fresh_weight_minimises_the_variance() -> None:
    golden = (math.sqrt(5) - 1) / 2
    assert bounds.best_fresh_weight(40, 40) == pytest.approx(golden, rel=1e-15)
    for n, m in ((40, 40), (10, 500), (500, 10)):
        w = bounds.best_fresh_weight(n, m)
        around = np.array([0.97 * w, 1.0 * w, min(1, 1.03 * w)])
        variance = bounds.fresh_data_stability(n, m, around, 1.0, INF).variance_proxy
        assert variance[1] < min(variance[0], variance[2])
        assert variance[1] == pytest.approx(w / n, rel=1e-13)


def test_replace_with_a_finite_batch_accumulates_variance() -> None:
    replace = bounds.weighted_stability(20, 40, 0.0, 1.0, [0, 1, 5, INF])
    np.testing.assert_allclose(replace.variance_proxy, [0.05, 0.075, 0.175, INF])
    np.testing.assert_allclose(replace.influence, 0.05)


def test_other_influences() -> None:
    power, _ = geometric(mp(0.6) * mp(1.5), 7)
    assert relative_error(bounds.synthetic_influence(10, 0.4, 1.5, 7), power * mp(0.4) / 10) < 1e-14
    assert bounds.synthetic_influence(10, 0.4, 1.5, 0) == pytest.approx(0.04)
    stability = bounds.recursive_stability(10, 0.4, 1.5, [6, 7])
    known = bounds.influence_from_stability(10, 0.4, stability.gamma[0])
    assert known == pytest.approx(stability.influence[1], rel=1e-14)
    assert bounds.parameter_stability(10, 0.4, 1.5, 7, 3.0) == 3 * stability.influence[1]
    assert bounds.parameter_stability(10, 0.0, 2.0, INF, 0.0) == 0


def test_extremes_are_never_nan() -> None:
    alpha = np.array([0, 1e-300, 0.5, 1.0])
    kappa = np.array([0, 1e-300, 1, 1 + 1e-15, 1e300])[:, None]
    i = np.array([0, 1, 2, 1e6, 1e300, INF])[:, None, None]
    for form in (bounds.recursive_stability,):
        assert no_nan(*form(7, alpha, kappa, i)[:4])
    for form in (bounds.weighted_stability, bounds.fresh_data_stability):
        assert no_nan(*form(7, 3, alpha, kappa, i)[:4])
    assert no_nan(*bounds.uniform_recursive_stability(7, alpha, kappa)[:4])

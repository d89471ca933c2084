import math

import mpmath
import numpy as np
import pytest
from bounds_exact import (
    INF,
    drift_by_iteration,
    errors,
    geometric,
    mp,
    relative_error,
    shares,
    steady,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from icl_stl import bounds

ERRORS = np.array([0.3, 0.1, 0.25, 0.05, 0.2, 0.15, 0.01])


def dirichlet_weights(count: int) -> np.ndarray:
    rng = np.random.default_rng(count)
    return np.tril(rng.dirichlet(np.ones(count), size=count), k=-1)


# Smaller ones lose digits when they are multiplied by shares.
some_errors = st.just(0.0) | st.floats(1e-300, 5)
error_lists = npst.arrays(np.float64, st.integers(1, 12), elements=some_errors)


@steady
@given(eps=error_lists)
def test_recursion_equals_literal_iteration(eps: np.ndarray) -> None:
    weights = dirichlet_weights(len(eps))
    drift = bounds.drift_recursion(eps, weights)
    np.testing.assert_allclose(drift.total, drift_by_iteration(eps, weights), rtol=1e-12)
    np.testing.assert_allclose(drift.terms.sum(-1), drift.total, rtol=1e-12)


@steady
@given(eps=error_lists, alpha=shares)
def test_every_regime_is_the_recursion_with_its_weights(eps: np.ndarray, alpha: float) -> None:
    last = len(eps) - 1
    alphas = np.linspace(alpha, 1, last)
    pairs = [
        (bounds.drift_varying_share(eps, alphas), bounds.varying_share_weights(alphas)),
        (bounds.drift_replace(eps), bounds.varying_share_weights(np.zeros(last))),
        (bounds.drift_accumulate(eps), bounds.accumulate_weights(last)),
    ]
    for drift, weights in pairs:
        np.testing.assert_allclose(drift.total, drift_by_iteration(eps, weights), rtol=1e-12)
        np.testing.assert_allclose(
            drift.terms, bounds.drift_recursion(eps, weights).terms, rtol=1e-12
        )


@steady
@given(eps0=errors, eps=errors, alpha=shares, i=st.integers(0, 40))
def test_closed_forms_equal_the_recursion(eps0: float, eps: float, alpha: float, i: int) -> None:
    listed = [eps0, *[eps] * i]
    cases = [
        (
            bounds.drift_constant_share(eps0, eps, alpha, i),
            bounds.varying_share_weights([alpha] * i),
        ),
        (bounds.drift_anchored(eps0, eps, alpha, i), bounds.anchored_weights(alpha, i)),
        (bounds.drift_accumulate_constant(eps, i), bounds.accumulate_weights(i)),
    ]
    for k, (drift, weights) in enumerate(cases):
        literal = drift_by_iteration([eps] * (i + 1) if k == 2 else listed, weights)
        assert math.isclose(drift.total, literal[-1], rel_tol=1e-12)
        assert math.isclose(drift.terms.sum(), drift.total, rel_tol=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 1e-15, 1e-9, 0.1, 0.24, 0.26, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("i", [0, 1, 2, 10, 200, 10**5, 10**9, INF])
def test_constant_share_to_fifty_digits(alpha: float, i: float) -> None:
    for drift, ratio in (
        (bounds.drift_constant_share(0.3, 0.2, alpha, i), 1 - mp(alpha)),
        (bounds.drift_root_share(0.3, 0.2, alpha, i), mpmath.sqrt(1 - mp(alpha))),
    ):
        power, total = geometric(ratio, i)
        exact = power * mp(0.3) + total * mp(0.2)
        assert relative_error(drift.total, exact) < (1e-13 if i <= 200 or i == INF else 1e-10)


@pytest.mark.parametrize("i", [0, 1, 5, 31, 32, 33, 200, 3000])
def test_accumulate_to_fifty_digits(i: int) -> None:
    harmonic = mpmath.fsum(mpmath.mpf(1) / k for k in range(1, i + 2))
    assert relative_error(bounds.drift_accumulate_constant(2.0, i).total, 2 * harmonic) < 1e-13
    for a in (0.01, 0.25, 0.5, 1.0, 2.5):
        exact = mpmath.mpf(i + 1) ** -mp(a) + mpmath.fsum(
            mpmath.mpf(k) ** -mp(a) / (k + 1) for k in range(1, i + 1)
        )
        assert relative_error(bounds.drift_accumulate_growing(1.0, a, i).total, exact) < 1e-13
    for alpha in (1e-12, 0.3, 1.0):
        kept = mpmath.fprod(1 - mp(alpha) / k for k in range(2, i + 1)) * (1 - mp(alpha))
        exact = kept * mp(0.3) + mp(0.2) * (1 - kept) / mp(alpha) if i else mp(0.3)
        assert relative_error(bounds.drift_anchored(0.3, 0.2, alpha, i).total, exact) < 1e-13


def test_limits_in_the_generation() -> None:
    assert bounds.drift_accumulate_constant(0.1, INF).total == INF
    assert bounds.drift_accumulate_constant(0.0, INF).total == 0
    assert bounds.drift_anchored(0.3, 0.2, 0.5, INF).total == pytest.approx(0.4, rel=1e-15)
    assert bounds.drift_anchored(0.3, 0.2, 0.0, INF).total == INF
    assert bounds.drift_constant_share(0.3, 0.0, 0.0, INF).total == 0.3
    assert bounds.drift_constant_share(0.3, 0.1, 0.0, INF).total == INF
    head = mpmath.fsum(mpmath.mpf(k) ** -0.5 / (k + 1) for k in range(1, 1000))
    tail = mpmath.fsum((-1) ** j * mpmath.zeta(1.5 + j, 1000) for j in range(20))
    series = head + tail
    assert relative_error(bounds.drift_accumulate_growing(1.0, 0.5, INF).total, series) < 1e-13


def test_square_form_equals_literal_iteration() -> None:
    weights = dirichlet_weights(len(ERRORS))
    total: list[float] = []
    for i, own in enumerate(ERRORS):
        total.append(own + math.sqrt(math.fsum(weights[i, j] * total[j] ** 2 for j in range(i))))
    drift = bounds.drift_convex_square(ERRORS, weights)
    np.testing.assert_allclose(drift.total, total, rtol=1e-13)
    np.testing.assert_allclose(drift.terms.sum(-1), total, rtol=1e-13)
    shared = bounds.drift_convex_square(ERRORS, bounds.varying_share_weights([0.36] * 6))
    repeated = [bounds.drift_root_share(0.2, 0.2, 0.36, i).total for i in range(7)]
    np.testing.assert_allclose(
        bounds.drift_convex_square([0.2] * 7, bounds.varying_share_weights([0.36] * 6)).total,
        repeated,
        rtol=1e-13,
    )
    assert shared.total[1] == pytest.approx(ERRORS[1] + 0.8 * ERRORS[0], rel=1e-14)


def test_kl_form_equals_literal_iteration_and_is_capped_by_the_real_share() -> None:
    eta = np.array([4.0, 0.1, -0.2, 0.3])
    weights = np.diag([0.5, 0.9, 0.0], k=-1)
    first = min(0.5 * 4.0, math.log(2)) + 0.1
    second = min(0.9 * first, math.log(10)) - 0.2
    drift = bounds.drift_kl(eta, weights)
    np.testing.assert_allclose(drift.total, [4.0, first, second, 0.3], rtol=1e-12)
    np.testing.assert_allclose(drift.terms.sum(-1), drift.total, rtol=1e-13)
    assert bounds.drift_kl([1.0, 1.0], [[0, 0], [1, 0]]).total[1] == 2.0


def test_kl_inequalities_in_numbers() -> None:
    assert bounds.kl_eta_bound(0.5, 0.25) == pytest.approx(4 * (0.5 + 0.5), rel=1e-15)
    assert bounds.total_variation_from_kl(0.02) == pytest.approx(0.1, rel=1e-15)
    assert bounds.total_variation_from_kl(3.0) == pytest.approx(math.sqrt(1 - math.exp(-3)))
    assert bounds.total_variation_from_kl(INF) == 1


def test_weights_are_shares_with_the_real_law_taking_the_rest() -> None:
    accumulate = bounds.accumulate_weights(4)
    np.testing.assert_allclose(1 - accumulate.sum(1), 1 / np.arange(1, 6), rtol=1e-14)
    np.testing.assert_allclose(bounds.anchored_weights(0.3, 4).sum(1), [0, 0.7, 0.7, 0.7, 0.7])
    np.testing.assert_allclose(bounds.varying_share_weights([0.3, 1.0]).sum(1), [0, 0.7, 0])


def test_arrays_broadcast() -> None:
    grid = bounds.drift_constant_share(0.1, [[0.1], [0.2]], [0.0, 0.5, 1.0], 3)
    assert grid.total.shape == (2, 3)
    assert grid.terms.shape == (2, 3, 2)
    assert grid.total[1, 1] == bounds.drift_constant_share(0.1, 0.2, 0.5, 3).total
    batch = bounds.drift_varying_share(np.ones((4, 3)), np.full((4, 2), 0.5))
    assert batch.terms.shape == (4, 3, 3)
    assert bounds.drift_recursion(np.ones((5, 3)), np.zeros((3, 3))).total.shape == (5, 3)


def test_constants_carry_their_provenance() -> None:
    drift = bounds.drift_constant_share(0.1, 0.2, 0.5, 3, provenance={"eps": "measured"})
    assert drift.constants == (
        bounds.Constant("eps0", 0.1, "assumed"),
        bounds.Constant("eps", 0.2, "measured"),
    )
    assert bounds.drift_recursion([0.1], [[0.0]]).constants[0].provenance == "measured"
    with pytest.raises(ValueError, match="guessed"):
        bounds.drift_replace([0.1], provenance="guessed")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([[0, 0], [1.5, 0]], r"weights\[1\] sums to 1.5"),
        ([[0, 1], [0, 0]], r"weights\[0, 1\] = 1.0"),
        ([[0.5, 0], [0, 0]], r"weights\[0, 0\] = 0.5"),
        ([[0, 0], [-0.5, 0]], r"weights = -0.5 .* \[0, inf\)"),
        ([[0, 0], [math.nan, 0]], "weights = nan"),
        ([[0.0]], r"shape \(1, 1\)"),
    ],
)
def test_weights_that_are_no_shares_are_refused(weights: list, message: str) -> None:
    for form in (bounds.drift_recursion, bounds.drift_convex_square, bounds.drift_kl):
        with pytest.raises(ValueError, match=message):
            form([0.1, 0.1], weights)

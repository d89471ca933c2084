"""Statements 19 and 20: what a constant or a vanishing real share does. Literal iteration."""

import math

import numpy as np
import pytest

from icl_stl import bounds


def drifts(n, alpha, c, a, last):
    """Loops that attain the drift recursion with errors c n^-a, then c N^-a."""
    later = c * (n / alpha) ** -a
    heights = [c * n**-a]
    for _ in range(last):
        heights.append(later + (1 - alpha) * heights[-1])
    return np.array(heights)


def test_time_scale_of_the_drift(ledger) -> None:
    alpha = 0.01
    heights = drifts(100, alpha, 1.0, 1e-9, 3000)
    limit, start = heights[-1], heights[0]
    settle = bounds.time_scales(alpha, 0.0).drift
    left = (limit - heights[round(settle)]) / (limit - start)
    assert left == pytest.approx(1 / math.e, rel=0.02)
    early = (heights[5] - start) / 5
    ledger.record("19 time scale 1/alpha", "attained", early / start, left < 0.5)


@pytest.mark.parametrize("alpha", [1e-4, 0.1, 0.5, 0.9])
def test_no_generator_that_contracts_needs_a_share(ledger, alpha) -> None:
    """With kappa <= 1: n V_i <= 3/2 and stability part <= b/n, for all shares and generations."""
    worst = 0.0
    for kappa in (0.3, 0.9, 1.0):
        chi, squares = 1.0, 0.0
        for _ in range(2000):
            squares = 1 + ((1 - alpha) * kappa) ** 2 * squares
            chi = alpha + (1 - alpha) * kappa * chi
            spread = chi**2 + alpha * (1 - alpha) * squares
            assert alpha * (chi + 1 - alpha) <= 1 + 1e-12
            worst = max(worst, spread)
        uniform = bounds.uniform_recursive_stability(1, alpha, kappa).variance_proxy
        assert spread <= uniform * (1 + 1e-12)
    assert worst <= 1.5
    above = bounds.recursive_stability(1, 1e-4, 1.2, 60).variance_proxy
    ledger.record(f"20 kappa <= 1, alpha = {alpha:g}", "holds", worst / 1.5, bool(above > 1.5))


def test_necessary_share(ledger) -> None:
    floor, tolerance = 0.02, 0.3
    needed = bounds.necessary_share(floor, tolerance)
    for factor, kept in ((1.01, True), (0.99, False)):
        height = 0.0
        for _ in range(20000):
            height = floor + (1 - factor * needed) * height
        assert (height <= tolerance) == kept
    ledger.record("20 a constant share is needed with an error floor", "attained", 1.0, not kept)

"""Confidence intervals and verdicts, on the host in float64.

Within one loop the unit is a prompt (i.i.d. given the generation): empirical-Bernstein intervals,
valid for bounded values at every sample size. Across loops the unit is a replicate, a whole loop
with its own real set: Student's t on per-replicate margins, which assumes that the mean margin of
the replicates is about normal. Over many cells, Holm's step-down keeps the chance of any false
verdict at the level.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from icl_stl.bounds._check import nonnegative, numbers, probability, share

LEVEL = 0.05
"""Chance of any false `holds`, and chance of any false `violated`, within one claim."""

ROUNDING = 1e-14
"""Margins of size 1 that differ by less than this differ by rounding alone."""

Floats = NDArray[np.float64]


def empirical_bernstein(variance: ArrayLike, count: int, level: float = LEVEL) -> Floats:
    """Half-width of a two-sided interval for the mean of `count` i.i.d. values in [0, 1].

    sqrt(2 V ln(4/δ) / n) + 7 ln(4/δ) / (3 (n - 1)), V the sample variance with ddof = 1.

    Args:
        variance: V, sample variance.
        count: n >= 2.
        level: δ, the chance of missing the mean.

    Returns:
        Half-widths, shaped as `variance`.

    Raises:
        ValueError: If there are fewer than two values, or the level is none.

    Source: published (Maurer and Pontil 2009; two-sided by a union bound).
    """
    _two_or_more("count", count)
    log = np.log(4 / probability("level", level))
    spread = np.sqrt(2 * numbers("variance", variance) * log / count)
    half: Floats = spread + 7 * log / (3 * (count - 1))
    return half


class TTest(NamedTuple):
    """One-sided tests of the mean margin of a cell over replicates."""

    mean: float
    stderr: float
    p_positive: float
    """P-value against "the mean margin is at most 0": small where the margin is positive."""
    p_negative: float
    """P-value against "the mean margin is at least 0": small where it is negative."""
    replicates: int


def t_test(margins: ArrayLike) -> TTest:
    """Student's one-sided tests that the mean of per-replicate margins is positive, or negative.

    A margin that is the same in every replicate needs no test: it is positive, negative, or 0 (up
    to rounding) and then neither.

    Args:
        margins: One margin for each replicate, `[R]`, R >= 2.

    Raises:
        ValueError: If there are fewer than two replicates, or they are no numbers.

    Assumes: replicates are independent and their mean margin is about normal.
    """
    values = numbers("margins", margins)
    if values.ndim != 1 or values.size < 2:
        raise ValueError(f"margins must be at least 2 replicates, but have shape {values.shape}")
    mean, r = float(values.mean()), values.size
    stderr = float(values.std(ddof=1) / np.sqrt(r))
    if stderr <= ROUNDING * max(1.0, abs(mean)):
        return TTest(mean, 0.0, float(mean <= ROUNDING), float(mean >= -ROUNDING), r)
    t = mean / stderr
    return TTest(mean, stderr, float(stats.t.sf(t, r - 1)), float(stats.t.cdf(t, r - 1)), r)


def holm(p_values: ArrayLike, level: float = LEVEL) -> tuple[NDArray[np.bool_], Floats]:
    """Holm's step-down: which hypotheses are rejected, and the level each was tested at.

    The k-th smallest of K p-values is compared with level / (K - k + 1); the first that exceeds it
    and all larger ones are kept.

    Returns:
        Rejected `[K]` and the level of each `[K]`; what has no p-value (NaN) is not rejected.

    Raises:
        ValueError: If the level is none, or the p-values are no numbers.

    Source: published (Holm 1979).
    """
    p, level = numbers("p_values", p_values), float(probability("level", level))
    levels = np.empty(p.size)
    order = np.argsort(p, kind="stable")
    levels[order] = level / (p.size - np.arange(p.size))
    passed = np.minimum.accumulate(p[order] <= levels[order])
    rejected = np.empty(p.size, bool)
    rejected[order] = passed
    return rejected, levels


def t_half_width(stderr: float, replicates: int, level: float) -> float:
    """Half-width of a Student interval that misses with chance `level` on each side.

    Raises:
        ValueError: If there are fewer than two replicates, or the level is none.
    """
    _two_or_more("replicates", replicates)
    return float(stats.t.isf(probability("level", level), replicates - 1) * stderr)


def _two_or_more(name: str, count: int) -> None:
    whole = isinstance(count, int | np.integer) and not isinstance(count, bool)
    if not whole or count < 2:
        raise ValueError(f"{name} must be a whole number of at least 2, but it is {count!r}")


def equivalence_test(differences: ArrayLike, tolerance: float) -> tuple[float, float]:
    """Tests that a mean difference is 0 up to a tolerance, and that it is not.

    Args:
        differences: One for each replicate, `[R]`, R >= 2.
        tolerance: What counts as equal, >= 0.

    Returns:
        P-value against "the mean is outside (-tolerance, tolerance)", the larger one of two
        one-sided Student tests; and against "it is inside", twice the smaller one of two.

    Raises:
        ValueError: If there are fewer than two replicates, or the tolerance is none.

    Source: published (Schuirmann 1987, for the first; the second is a minimum-effect test).
    """
    values, tolerance = (
        numbers("differences", differences),
        float(nonnegative("tolerance", tolerance)),
    )
    low, high = t_test(values + tolerance), t_test(values - tolerance)
    inside = max(low.p_positive, high.p_negative)
    return inside, min(1.0, 2 * min(low.p_negative, high.p_positive))


def binomial_test(exceedances: ArrayLike, rate: float) -> tuple[float, float]:
    """Exact tests of the chance of an event.

    Args:
        exceedances: 0 or 1 for each replicate, `[R]`.
        rate: The chance that is claimed not to be exceeded.

    Returns:
        P-value against "the chance is at least `rate`", and against "it is at most `rate`".

    Raises:
        ValueError: If the rate is no chance.

    Source: published (Clopper and Pearson 1934).
    """
    events = np.asarray(exceedances, float)
    law = stats.binom(events.size, float(share("rate", rate)))
    return float(law.cdf(events.sum())), float(law.sf(events.sum() - 1))


def binomial_interval(exceedances: ArrayLike, level: float) -> tuple[float, float]:
    """Interval of a chance that misses it with chance at most `level` on each side.

    Raises:
        ValueError: If the level is none.

    Source: published (Clopper and Pearson 1934).
    """
    events = np.asarray(exceedances, float)
    hits, count, level = float(events.sum()), events.size, float(probability("level", level))
    low = stats.beta.ppf(level, hits, count - hits + 1) if hits else 0.0
    high = stats.beta.isf(level, hits + 1, count - hits) if hits < count else 1.0
    return float(low), float(high)

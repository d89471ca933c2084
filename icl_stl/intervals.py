"""Confidence intervals and tests, on the host in float64.

Within one loop the unit is a prompt (i.i.d. given the generation): empirical-Bernstein intervals,
valid for bounded values at every sample size. Across loops the unit is a replicate, a whole loop
with its own real set. No test of a mean keeps its level for every law (Bahadur and Savage 1956), so
each says what it assumes of the law of the margins:

====================  ======================================================  ===================
``student_p``         25 G1^2 <= R, G1 the skew seen; corrected for it        6 replicates or more
``log_concave_p``     a log-concave density: normal, gamma, exponential, ...  12 or more
``binomial_test``     events                                                  any
====================  ======================================================  ===================

A spread of zero is no certainty: an event that is rare has not been seen yet. Then no test of a
mean decides.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, lambertw, log_ndtr, stdtr

from icl_stl.bounds._check import numbers, probability, share
from icl_stl.lazily import stats

LEVEL = 0.05
"""Chance of any false `holds`, and chance of any false `violated`, within one claim."""

ROUNDING = 1e-14
"""Numbers of size 1 in double precision that differ by less than this differ by rounding alone."""

SPREAD = 1e-6
"""The same for margins: differences of numbers of size 1 that were measured in single precision."""

FEWEST, MANY = 6, 12
"""Replicates from which on Student's statistic, and log-concavity, may decide."""

Floats = NDArray[np.float64]


def empirical_bernstein(variance: ArrayLike, count: int, level: float = LEVEL) -> Floats:
    """Half-width of a two-sided interval for the mean of `count` i.i.d. values in [0, 1].

    sqrt(2 V ln(4/δ) / n) + 7 ln(4/δ) / (3 (n - 1)), V the sample variance with ddof = 1.
    Returns: Half-widths, shaped as `variance`.
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

    Margins without spread, up to rounding, decide nothing: both p-values are 1.
    Assumes: replicates are independent and their mean margin is about normal.
    """
    values = numbers("margins", margins)
    if values.ndim != 1 or values.size < 2:
        raise ValueError(f"margins must be at least 2 replicates, but have shape {values.shape}")
    mean, r = float(values.mean()), values.size
    stderr = float(values.std(ddof=1) / np.sqrt(r))
    if stderr <= ROUNDING * float(np.abs(values).max()):
        return TTest(mean, 0.0, 1.0, 1.0, r)
    t = mean / stderr
    return TTest(mean, stderr, float(stats.t.sf(t, r - 1)), float(stats.t.cdf(t, r - 1)), r)


# --- means of margins that may be skewed ---------------------------------------------------------


def skewness(margins: ArrayLike) -> Floats:
    """Sample skewness G1 = sqrt(R (R - 1))/(R - 2) m_3/m_2^(3/2) over replicates, `[R, K]` -> K.

    0 for columns without spread, and for fewer than 3 replicates.
    """
    values = np.asarray(margins, float)
    r = len(values)
    centred = values - values.mean(0)
    spread = np.sqrt((centred**2).mean(0))
    seen = spread > ROUNDING * np.abs(values).max(0, initial=0.0)
    if r < 3:
        return np.zeros(values.shape[1:])
    third = (np.divide(centred, spread, out=np.zeros_like(centred), where=seen) ** 3).mean(0)
    return np.asarray(third * np.sqrt(r * (r - 1)) / (r - 2))


def _growth(x: Floats, r: float) -> Floats:
    """How much the log of the chance of a self-normalised sum above x grows per adverse skew."""
    mills = np.exp(-(x**2) / 2 - np.log(2 * np.pi) / 2 - log_ndtr(-x))
    return np.asarray((2 * x**2 + 1) * mills / (6 * np.sqrt(r)))


def _skew_seen(r: float) -> float:
    """E G1/skew for laws near the normal one: 1 - 21/(4 R) + O(1/R^2)."""
    log = gammaln(r / 2 + 1) - gammaln((r - 1) / 2) + np.log(8 * (r - 1)) / 2
    return float(np.exp(log) / ((r + 1) * (r + 3)))


def student_p(t: ArrayLike, skew: ArrayLike, replicates: int, cells: ArrayLike = 1) -> Floats:
    """P-value of Student's statistic against "the mean is at most 0", for margins of this skew.

    p_t exp(a c + b), with p_t Student's own, c = (2 x^2 + 1) h(x)/(6 sqrt(R)) at the
    self-normalised sum x = t sqrt(R/(R - 1 + t^2)), h = φ/(1 - Φ), and a = -G1/s where the skew is
    negative, so that large t are more frequent, else 0. From x = sqrt(R)/a on, where the correction
    would overtake p_t, it stays what it is there.

    G1 underestimates the skew of a law near the normal one by the factor s = E G1/skew, 0.45 for 6
    replicates, 0.66 for 12. It also has an error, of variance v = Var G1/(s^2 F) over a family of F
    cells, by which the mean of exp(a c) grows by exp(c^2 v/2). Up to the level of 5 % this is small
    beside what a >= 0 gives away; beyond it b = (c^2 - c_5%^2) v/2, at most half of
    log(0.05/p_t), so that p falls with t (to 1 %).

    Args:
        skew: G1 of the margins, `skewness`, broadcast with t.
        cells: F, over how many cells the skew is a mean.
    Source: published: the first-order term of the law of Student's statistic (Hall 1987), in the
        exponential form of moderate deviations of self-normalised sums (Jing, Shao and Wang 2003),
        and Var G1 of normal samples (Fisher 1930); derived here: s, and b, whose half is a choice.
    """
    r = float(replicates)
    t, adverse = np.broadcast_arrays(np.asarray(t, float), np.maximum(0, -np.asarray(skew, float)))
    seen = _skew_seen(r)
    adverse = adverse / seen
    x = np.maximum(t, 0) * np.sqrt(r / (r - 1 + t**2))
    last = np.divide(np.sqrt(r), adverse, out=np.full(adverse.shape, np.inf), where=adverse > 0)
    capped = x > last
    x = np.minimum(x, last)
    at = np.divide(x, np.sqrt(np.maximum(r - x**2, 0) / (r - 1)), out=t.copy(), where=capped)
    with np.errstate(divide="ignore"):
        own = np.log(stdtr(r - 1, -at))
    growth = _growth(x, r)
    at_level = stats.t.isf(LEVEL, r - 1)
    usual = _growth(at_level * np.sqrt(r / (r - 1 + at_level**2)), r)
    variance = 6 * r * (r - 1) / ((r - 2) * (r + 1) * (r + 3)) / (seen**2 * np.asarray(cells))
    unsure = np.minimum((growth**2 - usual**2) * variance, np.log(LEVEL) - own) / 2
    return np.asarray(np.exp(np.minimum(own + adverse * growth + np.maximum(unsure, 0), 0.0)))


def student_allowed(skew: ArrayLike, replicates: int) -> NDArray[np.bool_]:
    """Whether Student's statistic may decide: 25 skew^2 <= R, and R >= 6.

    Source: published: Cochran's rule, 25 skew^2 <= R.
    """
    return np.asarray((25 * np.square(skew) <= replicates) & (replicates >= FEWEST))


def log_concave_p(margins: ArrayLike) -> Floats:
    """P-value against "the mean is at most 0", for every log-concave law of the margins.

    The chance of a margin above 0 is then at most 1 - 1/e, attained by an exponential tail, so the
    number of positive margins is at most binomial with that chance. If all are positive, it matters
    how near to each other they are, too: given the largest, M, each other one lies in [M - g M, M]
    with a chance of at most 1 - exp(-λ), 1 + exp(-λ)/λ = 1/g, so that for the range g M of all
    R (1 - exp(-λ))^(R-1) is a p-value as well. `[R, K]` -> K.

    Source: published: P(X > E X) <= 1 - 1/e for log-concave densities (Grünbaum 1960); derived
        here: the range. With Y = M - X given X <= M, log P(Y > y) is concave and 0 at 0: it is at
        most y/w log P(Y > w) beyond w = g M, so that M <= E Y <= w + w exp(-λ)/λ, exp(-λ) = P(Y >
        w).
    """
    values = np.asarray(margins, float)
    r, largest = len(values), values.max(0)
    p = stats.binom.sf((values > 0).sum(0) - 1, r, 1 - np.exp(-1))
    all_positive = values.min(0) > 0
    gap = np.where(all_positive, 1 - values.min(0) / np.where(all_positive, largest, 1.0), 0.0)
    near = r * -np.expm1(-lambertw(gap / (1 - gap)).real)
    near = near * (near / r) ** (r - 2)
    return np.asarray(np.where(all_positive, np.minimum(p, near), p))


Decider = Literal["Student", "log-concave", "none"]


class MeanTests(NamedTuple):
    """Tests of the means of K cells with R replicates each, all `[K]`."""

    mean: Floats
    stderr: Floats
    skew: Floats
    """G1, the mean over the cells of one family, whose margins are taken to be of one shape."""
    own_skew: Floats
    cells: Floats
    """Cells of its family that have spread."""
    margins: Floats
    """`[R, K]`."""
    spread: NDArray[np.bool_]
    """Whether margins differ by more than rounding."""

    def against(
        self,
        origin: Floats,
        *,
        sign: int = 1,
    ) -> tuple[Floats, NDArray[np.str_]]:
        """P-values against "the mean is at most `origin`", and what decides each.

        With the sign -1 against "it is at least `origin`".

        Student where 25 skew^2 <= R, corrected for the skew; else, for 12 replicates or more of a
        skew of at most 2, the largest of a log-concave law, `log_concave_p` at a tenth of the
        level. What has no test has the p-value 1, and so has what has no spread.
        """
        values = sign * (self.margins - origin)
        r, k = values.shape
        skew = sign * self.skew
        stderr = np.where(self.spread, self.stderr, 1.0)
        t = values.mean(0) / stderr
        p = np.ones(k)
        by = np.full(k, "none", dtype="<U11")

        def decide(who: str, chosen: Any, found: Callable[[Any], Any]) -> None:
            chosen = chosen & (by == "none") & self.spread
            if chosen.any():
                p[chosen], by[chosen] = found(chosen), who

        allowed = student_allowed(skew, r)
        decide("Student", allowed, lambda at: student_p(t[at], skew[at], r, self.cells[at]))
        concave = (r >= MANY) & (np.abs(self.own_skew) <= 2)
        decide(
            "log-concave",
            np.broadcast_to(concave, k),
            # Student's own asks too, so that no two-valued margin is decided by its signs alone.
            lambda at: np.minimum(
                1, np.maximum(10 * log_concave_p(values[:, at]), stats.t.sf(t[at], r - 1))
            ),
        )
        return p, by


def mean_tests(margins: ArrayLike, scale: ArrayLike = 0.0, families: ArrayLike = 0) -> MeanTests:
    """What tests of means need to know of K cells: `[R, K]`.

    Args:
        scale: Size of the numbers whose differences the margins are, `[K]`: a spread of less than
            1e-6 times it is rounding.
        families: Cells of one family, `[K]`, have margins of one shape: their skew is pooled.
    """
    values = np.asarray(margins, float)
    r, k = values.shape
    size = np.maximum(np.abs(values).max(0), scale)
    stderr = values.std(0, ddof=1) / np.sqrt(r) if r > 1 else np.zeros(k)
    spread = stderr * np.sqrt(r) > SPREAD * size
    own = skewness(values)
    _, family = np.unique(np.broadcast_to(families, k), return_inverse=True)
    seen = np.maximum(np.bincount(family, weights=spread), 1).astype(np.float64)
    total = np.bincount(family, weights=np.where(spread, own, 0.0))
    return MeanTests(
        values.mean(0), stderr, (total / seen)[family], own, seen[family], values, spread
    )


def corrected_half_width(
    stderr: float, skew: float, replicates: int, level: float, cells: float = 1
) -> float:
    """How far below the mean a limit lies that is missed with chance `level`, for skewed margins.

    The standard error times the t in [1e-3, 1e9] at which `student_p` is the level, to a relative
    error of 1e-10: Student's own without skew. Infinite where no t is so rare.
    """
    low, high = np.log([1e-3, 1e9])
    if student_p(1e9, skew, replicates, cells) > level:
        return np.inf
    for _ in range(5):
        grid = np.linspace(low, high, 201)
        last = int(np.argmax(student_p(np.exp(grid), skew, replicates, cells) <= level))
        low, high = grid[max(last - 1, 0)], grid[last]
    return float(np.exp(high)) * stderr


# --- many tests ----------------------------------------------------------------------------------


def holm(p_values: ArrayLike, level: float = LEVEL) -> tuple[NDArray[np.bool_], Floats]:
    """Holm's step-down: which hypotheses are rejected, and the level each was tested at.

    The k-th smallest of K p-values is compared with level / (K - k + 1); the first that exceeds it
    and all larger ones are kept.

    Returns: Rejected `[K]` and the level of each `[K]`; what has no p-value (NaN) is not rejected.
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
    """Half-width of a Student interval that misses with chance `level` on each side."""
    _two_or_more("replicates", replicates)
    return float(stats.t.isf(probability("level", level), replicates - 1) * stderr)


def _two_or_more(name: str, count: int) -> None:
    whole = isinstance(count, int | np.integer) and not isinstance(count, bool)
    if not whole or count < 2:
        raise ValueError(f"{name} must be a whole number of at least 2, but it is {count!r}")


def binomial_test(exceedances: ArrayLike, rate: float) -> tuple[float, float]:
    """Exact tests of the chance of an event.

    Args:
        exceedances: 0 or 1 for each replicate, `[R]`.
        rate: The chance that is claimed not to be exceeded.
    Returns: P-value against "the chance is at least `rate`", and against "it is at most `rate`".
    Source: published (Clopper and Pearson 1934).
    """
    events = np.asarray(exceedances, float)
    law = stats.binom(events.size, float(share("rate", rate)))
    return float(law.cdf(events.sum())), float(law.sf(events.sum() - 1))


def binomial_interval(exceedances: ArrayLike, level: float) -> tuple[float, float]:
    """Interval of a chance that misses it with chance at most `level` on each side.

    Source: published (Clopper and Pearson 1934).
    """
    events = np.asarray(exceedances, float)
    hits, count, level = float(events.sum()), events.size, float(probability("level", level))
    low = stats.beta.ppf(level, hits, count - hits + 1) if hits else 0.0
    high = stats.beta.isf(level, hits + 1, count - hits) if hits < count else 1.0
    return float(low), float(high)

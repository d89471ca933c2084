"""How fast the one-step error falls with the training size: eps(N) = floor + c N^{-a}, fitted.

The law that `bounds` take as given (its ``floor``, ``c`` and ``a``), from measured errors, and how
well it is known. Needs no JAX.
"""

from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from icl_stl.bounds._check import numbers, probability
from icl_stl.intervals import Floats
from icl_stl.lazily import stats
from icl_stl.tables import Quantity

SIZE = Quantity(
    "a whole number of at least 1 and at most 2^53",
    lambda value: 1 <= value <= 2**53 and value == int(value),
)
"""N, the rows of a fit."""
ERROR = Quantity("a finite number of at least 0", lambda value: 0 <= value < inf)
"""A one-step error, in whatever distance."""
STDERR = Quantity("a positive number", lambda value: 0 < value < inf)
"""A standard error; one of 0 would outweigh every other point."""
RUNS = Quantity(
    "a whole number of at least 2, or inf where the standard error is known",
    lambda value: value == inf or (2 <= value <= 2**53 and value == int(value)),
)
"""Loops that a standard error was estimated from."""

RATES = (0.01, 1.0)
"""Slowest and fastest rate that is fitted."""
_TRIED = 100  # rates of the first grid; each refinement divides its step by ten
_REFINEMENTS = 7


class ErrorLaw(NamedTuple):
    """Mean one-step error after a fit to N rows: floor + c N^{-a}."""

    floor: float
    """What no amount of data removes, >= 0."""
    c: float
    """Size of the error that decays, >= 0."""
    a: float
    """Its rate, in (0, 1]."""
    assumed: tuple[str, ...] = ()
    """In words, what the measurements could not decide."""

    def at(self, sizes: ArrayLike) -> Floats:
        """The error at these training sizes."""
        return self.floor + self.c * np.asarray(sizes, np.float64) ** -self.a


class ResampledLaws(NamedTuple):
    """Laws fitted to measurements that might have been made instead, `[B]` each."""

    floor: Floats
    """Their floors."""
    c: Floats
    """Their sizes."""
    a: Floats
    """Their rates."""
    source: str
    """``standard errors`` or ``replicates``, what the measurements vary by."""

    def laws(self) -> list[ErrorLaw]:
        """One by one."""
        rows = zip(self.floor.tolist(), self.c.tolist(), self.a.tolist(), strict=True)
        return [ErrorLaw(floor, c, a) for floor, c, a in rows]


def interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of resampled values: their quantiles (1 - level)/2 and (1 + level)/2.

    Infinite values count as they are ordered. The interval is approximate: it takes the spread of
    refitted values for that of the fitted one. Simulated (five sizes of 250 to 4000, independent
    normal errors of 3 %), 95 % intervals for the error at a size covered: with known standard
    errors 95 %; with those of 2, 3, 5 and 10 loops, their number given as ``runs``, 94, 95, 94 and
    93 %, and at the edge of what is admitted (a floor of 0) 92, 90, 90 and 93 %; the same standard
    errors taken as known 57, 77, 85 and 89 %; as many replicates 80, 86, 88 and 92 %, at the edge
    72, 80, 85 and 90 %.
    """
    ordered, level = numbers("values", values), float(probability("level", level))
    if not ordered.size or np.isnan(ordered).any():
        raise ValueError(f"values must be numbers, one or more, but are {ordered.tolist()}")
    # Without interpolation: between a number and infinity there is nothing.
    low = np.quantile(ordered, (1 - level) / 2, method="lower")
    return float(low), float(np.quantile(ordered, (1 + level) / 2, method="higher"))


def fit_error_law(sizes: ArrayLike, errors: ArrayLike, stderr: ArrayLike | None = None) -> ErrorLaw:
    """Least squares for eps(N) = floor + c N^{-a} with floor, c >= 0 and a in (0, 1].

    For every rate the best floor and c have a closed form; the rate is searched on a grid, refined
    around its best point. Points weigh by 1/stderr^2, alike without. Two different sizes: floor = 0
    is assumed; one: also a = 1/2. What was assumed the result says.

    Args:
        sizes: N, rows of the fits, `[K]`, whole and >= 1; in any order, and they may occur twice.
        errors: mean one-step errors, `[K]`, or replicates, `[R, K]`, of which the mean is fitted
            and the spread gives the weights; >= 0.
        stderr: standard errors of the mean errors, `[K]`, > 0; not with replicates.
    """
    data = _data(sizes, errors, stderr)
    floor, c, a = (float(part[0]) for part in _fit(data, data.mean[None]))
    distinct = len(set(data.sizes.tolist()))
    assumed = []
    if distinct <= 2:
        assumed.append(f"floor = 0: {_counted(distinct)} cannot show one")
    if distinct == 1:
        assumed.append("a = 1/2: one size shows no rate")
    elif c == 0:
        assumed.append("a = 1/2: nothing decays, so that no rate is seen")
    elif a >= RATES[1]:
        assumed.append("a = 1: the fastest rate that is admitted")
    elif a <= RATES[0]:
        assumed.append(f"a = {RATES[0]}: the slowest rate that is admitted")
    if distinct == 3:
        assumed.append("the form: three sizes can hardly contradict it")
    return ErrorLaw(floor, c, a, tuple(assumed))


def resampled_laws(
    sizes: ArrayLike,
    errors: ArrayLike,
    stderr: ArrayLike | None = None,
    *,
    runs: ArrayLike | None = None,
    count: int = 400,
    seed: int = 0,
) -> ResampledLaws:
    """Fits to measurements drawn anew: how well the law is known.

    With standard errors a parametric bootstrap: the fitted law's errors plus independent normal
    noise of these standard errors. With replicates `[R, K]`, whole loops whose errors at different
    sizes may depend on each other, a bootstrap over replicates: R of them with replacement, the
    distance of their mean from the observed one widened by sqrt(R/(R-1)), since the spread of R
    values about their own mean is too small. A spread that was itself estimated, from replicates or
    from the given number of runs, is widened by the ratio of Student's 97.5 % quantile to the
    normal one, so that 95 % intervals are nearly right with few replicates, others are not. What
    `fit_error_law` assumes is assumed here, so that a law from one or two sizes is less sure than
    it looks.

    Args:
        stderr: As for `fit_error_law`; needed unless there are replicates.
        runs: R, loops that each standard error was estimated from, one number or `[K]`, >= 2; inf
            or left out: the standard error is known. Not with replicates.
    """
    data = _data(sizes, errors, stderr)
    for name, value, least in (("count", count, 2), ("seed", seed, 0)):
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not whole or value < least:
            raise ValueError(
                f"{name} must be a whole number of at least {least}, but it is {value!r}"
            )
    rng = np.random.default_rng(seed)
    if data.replicates is not None:
        if runs is not None:
            raise ValueError("runs must be left out with replicates, which are counted")
        rows = len(data.replicates)
        chosen = rng.integers(rows, size=(count, rows))
        moved = data.replicates[chosen].mean(axis=1) - data.mean
        drawn = data.mean + np.sqrt(rows / (rows - 1)) * _student(rows) * moved
        return ResampledLaws(*_fit(data, drawn), "replicates")
    if data.stderr is None:
        raise ValueError(
            "stderr must be given, or errors as replicates [R, K]: without either nothing says "
            "how sure the errors are"
        )
    spread = data.stderr * _student(_runs(runs, data.sizes))
    law = fit_error_law(data.sizes, data.mean, data.stderr)
    drawn = law.at(data.sizes) + spread * rng.standard_normal((count, len(data.sizes)))
    return ResampledLaws(*_fit(data, drawn), "standard errors")


class _Data(NamedTuple):
    sizes: Floats
    mean: Floats
    stderr: Floats | None
    replicates: Floats | None


def _student(runs: ArrayLike) -> Floats:
    """97.5 % quantile of Student's t from so many values over the normal one."""
    ratio: Floats = stats.t.ppf(0.975, np.asarray(runs) - 1) / stats.norm.ppf(0.975)
    return ratio


def _runs(runs: ArrayLike | None, sizes: Floats) -> Floats:
    """Loops behind every standard error, checked; inf where it is known."""
    given = _numbers("runs", np.inf if runs is None else runs, RUNS)
    if given.shape not in ((), sizes.shape):
        raise ValueError(
            f"runs must be one number, or one for each of the {sizes.size} sizes, but have shape "
            f"{given.shape}"
        )
    return np.broadcast_to(given, sizes.shape)


def _counted(sizes: int) -> str:
    return "one size" if sizes == 1 else "two sizes"


def _data(sizes: ArrayLike, errors: ArrayLike, stderr: ArrayLike | None) -> _Data:
    """The measurements, checked."""
    size, error = _numbers("sizes", sizes, SIZE), _numbers("errors", errors, ERROR)
    if size.ndim != 1 or size.size == 0:
        raise ValueError(f"sizes must be a list of numbers, but have shape {size.shape}")
    if error.ndim not in (1, 2) or error.shape[-1] != size.size:
        raise ValueError(
            f"errors must be one for each of the {size.size} sizes, or replicates of that, but "
            f"have shape {error.shape}"
        )
    if error.ndim == 1:
        known = None if stderr is None else _numbers("stderr", stderr, STDERR)
        if known is not None and known.shape != size.shape:
            raise ValueError(
                f"stderr must be one for each of the {size.size} sizes, but have shape "
                f"{known.shape}"
            )
        return _Data(size, error, known, None)
    if stderr is not None:
        raise ValueError("stderr must be left out with replicates, which have their own spread")
    if len(error) < 2:
        raise ValueError(f"errors must hold at least 2 replicates, but have shape {error.shape}")
    spread = error.std(axis=0, ddof=1) / np.sqrt(len(error))
    return _Data(size, error.mean(axis=0), spread if (spread > 0).all() else None, error)


def _numbers(name: str, values: ArrayLike, quantity: Quantity) -> Floats:
    array = numbers(name, values)
    bad = [value for value in array.flat if not quantity.holds(float(value))]
    if bad:
        raise ValueError(f"{name} must each be {quantity.admissible}, but one is {float(bad[0])!r}")
    return array


def _fit(data: _Data, errors: Floats) -> tuple[Floats, Floats, Floats]:
    """Floor, c and a of every row of ``errors``, `[B, K]`."""
    weights = np.ones_like(data.mean) if data.stderr is None else data.stderr**-2.0
    weights = weights / weights.sum()
    distinct = len(set(data.sizes.tolist()))
    unit = float(data.sizes.min())  # so that (N/unit)^-a is at most 1
    relative = data.sizes / unit
    if distinct == 1:
        floor, scale = np.zeros(len(errors)), np.maximum(errors @ weights, 0.0)
        return floor, scale * np.sqrt(unit), np.full(len(errors), 0.5)
    step = (RATES[1] - RATES[0]) / (_TRIED - 1)
    rates = np.tile(np.linspace(*RATES, _TRIED), (len(errors), 1))
    every = np.arange(len(errors))
    for _ in range(_REFINEMENTS):
        floor, scale, misfit = _given_rate(relative, weights, errors, rates, floor=distinct > 2)
        best = misfit.argmin(axis=1)
        floor, scale, rate = (part[every, best] for part in (floor, scale, rates))
        near = rate[:, None] + step * np.linspace(-1, 1, 21)
        rates, step = np.clip(near, *RATES), step / 10
    rate = np.where(scale > 0, rate, 0.5)
    return floor, scale * unit**rate, rate


def _given_rate(
    sizes: Floats, weights: Floats, errors: Floats, rates: Floats, *, floor: bool
) -> tuple[Floats, Floats, Floats]:
    """Best floor >= 0 and scale >= 0 at given rates `[B, A]`, and the weighted squared misfit.

    If the unconstrained optimum is outside on one side, the constrained one lies on that side: from
    any admitted point the way to the former leaves through it and descends.
    """
    x = sizes ** -rates[..., None]
    y = errors[:, None, :]
    x_mean, y_mean = (x * weights).sum(-1), (y * weights).sum(-1)
    slope = ((x - x_mean[..., None]) * (y - y_mean[..., None]) * weights).sum(-1)
    slope = slope / ((x - x_mean[..., None]) ** 2 * weights).sum(-1)
    start = y_mean - slope * x_mean
    through_zero = np.maximum((x * y * weights).sum(-1) / (x**2 * weights).sum(-1), 0.0)
    slope = np.where(start < 0, through_zero, np.maximum(slope, 0.0)) if floor else through_zero
    flat = np.broadcast_to(np.maximum(y_mean, 0.0), slope.shape)
    start = np.where(slope > 0, np.maximum(start, 0.0), flat) if floor else np.zeros_like(slope)
    misfit = ((y - start[..., None] - slope[..., None] * x) ** 2 * weights).sum(-1)
    return start, slope, misfit

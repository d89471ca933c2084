"""Whether the loss of a loop still grows: a verdict that may be read after every generation.

The growth a generation over the last half of the generations so far is compared with a tolerance:
`growing` if all of its interval is above it, `settled` if all of it is below. A verdict stays until
the other one is shown; before the first it is `undecided`. The intervals of all generations hold
together with the chance `level` (a confidence sequence), so that a reader may look as often as he
likes, and stop when he likes: that any verdict ever is false of the window that it names has a
chance of at most 1 - level, THEORY.md statement 94.

Losses are means with standard errors, or one number a loop and generation. Errors must be about
normal; they may depend on each other from generation to generation in any way, as they do where the
same loops or held-out rows stand behind all of them. A loss without an error is refused: a single
run says nothing about its noise. Loops must be independent: those on splits of one table speak of
that table.
"""

from collections.abc import Callable, Mapping, Sequence
from math import inf, isfinite
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icl_stl import tables
from icl_stl.bounds._check import probability
from icl_stl.config import is_number, meant, require
from icl_stl.distances import energy_estimate
from icl_stl.intervals import ROUNDING, log_concave_p, skewness, student_p
from icl_stl.lazily import stats

Floats = NDArray[np.float64]
Places = NDArray[np.intp]
Report = Callable[[str, int, int], None]
Word = Literal["settled", "growing", "undecided"]

QUANTITIES = ("loss", "held_out_loss", "excess_nll", "excess", "energy")
"""Columns that are taken as the loss, the first that is there."""
LOOPS = ("loop", "replicate")
"""Columns that say which of several loops a row is of."""
PLACE = tables.Quantity("a whole number of at least 0", lambda v: v >= 0 and v % 1 == 0)
FINITE = tables.Quantity("a finite number", isfinite)
POSITIVE = tables.Quantity("a positive number", lambda v: 0 < v < inf)
RUNS = tables.Quantity("a whole number of at least 2, or inf", lambda v: v >= 2 and not v % 1 > 0)


class Losses(NamedTuple):
    """What is known of a loop by generation."""

    generations: tuple[int, ...]
    values: Floats
    """Mean losses `[G]`, or those of every loop, `[R, G]`."""
    stderr: Floats | None = None
    """Of means, `[G]`."""
    runs: Floats | None = None
    """Loops that each standard error was estimated from, inf where it is known."""
    quantity: str = "loss"


class Reading(NamedTuple):
    """What is known after a generation."""

    generation: int
    since: int
    """The growth is that from this generation on."""
    loss: float
    growth: float
    """A generation, on average over the window."""
    low: float
    high: float
    verdict: Word
    decided: int | None
    """The generation at which the verdict was reached, None if undecided."""


def check(tolerance: float, level: float) -> float:
    """The level, if both can be used."""
    fine = is_number(tolerance) and tolerance > 0
    require(fine, "tolerance", tolerance, "a positive number, a growth a generation")
    return float(probability("level", level))


def watch(losses: Losses, tolerance: float, *, level: float = 0.95) -> list[Reading]:
    """What is known after every generation but the first.

    After generation k (the first is 0) the window is its last half, but two steps where there are
    so many. Means: every loss lies within q_k s_k of its expectation, q_k the two-sided quantile of
    Student's law (normal if its error is known) at (1 - level)/((k + 1)(k + 2)), and so does growth
    between two of them within the sum of both. Loops: Student's interval of their own growths, at
    (1 - level)/(k (k + 1)), corrected for the skew seen, since losses that run away are skewed, or
    one for log-concave laws (`intervals`); loops without spread decide nothing.

    Assumes: means are normal; growths of loops are not far from it. Of few loops whose growths are
    strongly skewed (as -Gamma(0.3), three loops) one sequence in ten is decided wrongly.
    Source: derived here, THEORY.md statement 94.
    """
    missing = 1 - check(tolerance, level)
    means = losses.values if losses.stderr is not None else losses.values.mean(0)
    k = np.arange(1, len(means))
    j = np.minimum(k // 2, np.maximum(k - 2, 0))
    places = np.array(losses.generations)
    steps = places[k] - places[j]
    growth = (means[k] - means[j]) / steps
    below, above = _half_widths(losses, j, k, missing)
    low, high = growth - below / steps, growth + above / steps
    found: list[Reading] = []
    verdict: Word = "undecided"
    decided: int | None = None
    for i in range(len(k)):
        now: Word = "settled" if high[i] < tolerance else verdict
        now = "growing" if low[i] > tolerance else now
        at, since = int(places[k[i]]), int(places[j[i]])
        decided = decided if now == verdict else at
        verdict = now
        loss, own, *ends = (float(one[i]) for one in (means[k], growth, low, high))
        found.append(Reading(at, since, loss, own, ends[0], ends[1], verdict, decided))
    return found


def _half_widths(losses: Losses, j: Places, k: Places, missing: float) -> tuple[Floats, Floats]:
    """How far the intervals of what is added from rows j to rows k reach down and up."""
    values, stderr = losses.values, losses.stderr
    if stderr is not None:
        assert losses.runs is not None
        row = np.arange(len(stderr))
        band = stderr * stats.t.isf(missing / ((row + 1) * (row + 2)) / 2, losses.runs - 1)
        return band[j] + band[k], band[j] + band[k]
    growths, level = values[:, k] - values[:, j], missing / (k * (k + 1)) / 2
    down, up = (_below_the_mean(sign * growths, level) for sign in (1, -1))
    return down, up


def _below_the_mean(growths: Floats, level: Floats) -> Floats:
    """How far below the means of columns `[R, K]` a limit lies that is missed with chance `level`.

    Half of it is for Student's statistic, with `student_p` where the skew seen is adverse, and half
    for `log_concave_p`, which decides where that skew is large, but all loops agree. Infinite
    without spread.
    """
    mean, skew, r = growths.mean(0), skewness(growths), len(growths)
    stderr = growths.std(0, ddof=1) / r**0.5
    spread = stderr > ROUNDING * np.abs(growths).max(0)
    stderr = np.where(spread, stderr, 1.0)
    low, high = np.full((2, len(level)), np.log([[1e-3], [1e9]]))
    for _ in range(45):
        middle = (low + high) / 2
        t = np.exp(middle)
        student = np.where(skew < 0, student_p(t, skew, r), stats.t.sf(t, r - 1))
        p = np.minimum(student, log_concave_p(growths - mean + t * stderr))
        low, high = np.where(2 * p > level, middle, low), np.where(2 * p > level, high, middle)
    return np.where(spread, stderr * np.exp(high), inf)


def of_samples(
    samples: Mapping[int, ArrayLike],
    real: ArrayLike | None = None,
    *,
    seed: int = 0,
    report: Report = lambda text, done, total: None,
) -> Losses:
    """Energy distances of the rows of each generation to real rows, or to those of the first."""
    first, *later = sorted(samples)
    if real is None:
        real = samples[first]
    else:
        later = [first, *later]
    found = []
    for k, generation in enumerate(later, 1):
        found.append(energy_estimate(real, samples[generation], seed=seed))
        report(f"generation {generation}", k, len(later))
    value, stderr = np.array(found).reshape(-1, 2).T
    return Losses(tuple(later), value, stderr, np.full(len(later), inf), "energy distance")


def of_table(text: str, column: str | None = None) -> Losses:
    """The losses of a table by the rules of `tables`.

    Args:
        text: Columns `generation` and a loss, with `stderr`, and `runs` if it was estimated from
            few, or a line for each generation of each `loop`; others are not read.
        column: Which column is the loss; the first of `QUANTITIES` if not given.
    """
    rows = tables.rows_of(text, ("generation",), more=True)
    names = tuple(rows[0].cells)
    known = (column,) if column else QUANTITIES
    quantity = next((name for name in known if name in names), "")
    if not quantity:
        raise ValueError(
            f"a column must be {' or '.join(known)}, but there are {', '.join(names)}"
            f"{meant(known[0], names)}; --column says which is the loss"
        )
    regimes = {row.cells.get("regime", "") for row in rows}
    require(len(regimes) == 1, "the column regime", sorted(regimes), "one regime")
    loop = next((name for name in LOOPS if name in names), "")
    if not loop and "stderr" not in names:
        raise ValueError(
            "a column must be stderr, the standard errors of the losses, or loop, where several "
            f"loops say how large these are, but there are {', '.join(names)}"
        )
    wanted = {quantity: FINITE} | ({} if loop else {"stderr": POSITIVE, "runs": RUNS})
    found: dict[str, dict[int, list[float]]] = {}
    for line, cells in rows:
        here = f"line {line}: "
        generation = int(tables.number_of(f"{here}generation", cells["generation"], PLACE))
        own = found.setdefault(cells[loop] if loop else "", {})
        once = "a generation that is there once" + (" in each loop" if loop else "")
        require(generation not in own, f"{here}generation", generation, once)
        own[generation] = [
            tables.number_of(f"{here}{name}", cells.get(name, "inf"), what)
            for name, what in wanted.items()
        ]
    first = next(iter(found.values()))
    for name, own in found.items():
        missing = sorted({*first} ^ {*own})
        if missing:
            raise ValueError(
                f"every {loop} must have the same generations, but generation {missing[0]} is not "
                f"in all, as {name!r} shows"
            )
    generations = tuple(sorted(first))
    values = np.array([[own[i] for i in generations] for own in found.values()])
    if not loop:
        loss, stderr, runs = values[0].T
        return Losses(generations, loss, stderr, runs, quantity)
    require(len(values) > 2, f"the column {loop}", [*found], "at least 3 loops")
    return Losses(generations, values[:, :, 0], quantity=quantity)


def of_result(content: Any) -> Losses:
    """The losses of `loop.json`, the result of `icl-stl loop`: means over its loops."""
    rows: Any = content.get("generations") if isinstance(content, dict) else None
    require(isinstance(rows, list) and bool(rows), "generations", rows, "those of icl-stl loop")
    for name in ("held_out_loss", "excess_risk", "energy"):
        seen = [row.get(name) or {} for row in rows]
        if all(one.get("mean") is not None and one.get("stderr") for one in seen):
            break
    else:
        raise ValueError(
            "generations must have a held_out_loss, excess_risk or energy with a mean and a "
            "stderr above 0, but there is none in all of them: run 2 loops or more"
        )
    places: Sequence[tuple[str, Any, tables.Quantity]] = [
        ("generation", [row.get("generation") for row in rows], PLACE),
        (f"the mean of {name}", [one["mean"] for one in seen], FINITE),
        (f"the stderr of {name}", [one["stderr"] for one in seen], POSITIVE),
        ("loops", [row.get("loops", inf) for row in rows], RUNS),
    ]
    generations, mean, stderr, runs = (
        np.array([tables.checked(place, value, what) for value in values])
        for place, values, what in places
    )
    return Losses(tuple(map(int, generations)), mean, stderr, runs, name)

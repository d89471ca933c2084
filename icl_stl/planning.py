"""How many synthetic rows to generate, from measured errors: `bounds.optimal_size` with its band.

Needs no JAX. What is recommended is what makes a bound smallest; constants that nobody measured
are assumptions of the recommendation.
"""

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from icl_stl import bounds
from icl_stl.bounds.optimum import Objective
from icl_stl.error_law import ErrorLaw, ResampledLaws, interval
from icl_stl.intervals import Floats
from icl_stl.results import read_json

MOST_ROWS = 1e9
"""Largest real set that is looked at for one that synthetic rows would help."""
Ranges = tuple[tuple[float, float], ...]
"""Lowest and highest value of every range that a search found, in order; empty if it found none."""
LOOPS = {"transformer": 4, "bayes": 4}
OTHER_LOOPS = 1000
"""Loops that ``scripts/run_loop.py`` runs where it is not told how many, by learner."""
MOST = 1e100
"""Largest constant: beyond it products of them are infinite."""
PARTS = {
    "decaying error": "the error of every generation's fit, which would fall with more rows",
    "error floor": "the error floor of the model, which every generation adds again",
    "stability": "how much single rows matter in later generations",
    "fluctuation": "the generator, which passes the chance in the real rows on",
}
"""What a bound consists of, and in plain words what rises with the ratio when it does."""


@dataclass(frozen=True)
class Problem:
    """A loop whose synthetic size is to be planned; symbols as in `bounds.optimal_size`."""

    n: float
    """Real rows."""
    M: float = 1.0
    """Largest loss."""
    b: float = 1.0
    """Loss stability; as large as n M where one row may decide everything."""
    kappa: float = 1.0
    """Generator stability."""
    delta: float = 0.05
    """Probability of failure."""
    generation: float = math.inf
    """i >= 1, or inf for the limit of the loop."""
    objective: Objective = "gap"
    """Which bound: gap, risk or uniform. The last needs a law that the one-step errors obey in
    every loop; one of mean errors is not enough."""
    fresh: bool = False
    """Whether every generation draws n new real rows."""
    max_lam: float = math.inf
    """Largest ratio that can be afforded."""
    log_size: float = 0.0
    """Logarithm of the class's size, for uniform."""

    def __post_init__(self) -> None:
        for name in ("n", "M", "b", "kappa", "log_size"):
            value = getattr(self, name)
            if value > MOST:
                raise ValueError(
                    f"{name} = {value!r} is outside the admissible range [0, {MOST:g}]"
                )

    def trade_off(self, law: ErrorLaw, lam: Any) -> bounds.Gap:
        """The bound by parts at these ratios."""
        return bounds.synthetic_trade_off(lam=lam, **self._constants(law))

    def best(self, law: ErrorLaw) -> bounds.OptimalSize:
        """The ratio of least bound, certified."""
        return bounds.optimal_size(max_lam=self.max_lam, **self._constants(law))

    def parts(self, law: ErrorLaw, lam: Any) -> dict[str, Floats]:
        """The parts of the bound, the shift divided by its two causes."""
        whole = self.trade_off(law, lam)
        decaying = self.trade_off(law._replace(floor=0.0), lam).shift
        stays = self.trade_off(law._replace(c=0.0), lam).shift
        values = (decaying, stays, whole.stability, whole.fluctuation)
        return dict(zip(PARTS, values, strict=True))

    def _constants(self, law: ErrorLaw) -> dict[str, Any]:
        own = {name: value for name, value in asdict(self).items() if name != "max_lam"}
        return own | {"c": law.c, "a": law.a, "floor": law.floor}


class Plan(NamedTuple):
    """How many synthetic rows make the bound smallest, and how sure that is.

    Attributes:
        problem: what was planned.
        law: the error law it rests on.
        best: lambda*, the bound there, and the certificate that no ratio is better.
        band: 95 % percentile interval of lambda* over resampled laws; None without them.
        alone: the bound by parts without synthetic rows.
        parts: the bound's parts at lambda*, the shift divided into decaying error and error floor.
        gain: share of the bound that lambda* saves.
        gain_band: the same with resampled laws at the same lambda*, likewise; below 0 where they
            say that it does harm.
        largest: the largest part at lambda*.
        held_back_by: the part that rises fastest there, so that no more is better; None where none
            rises.
        useful: the sizes of the real set at which some synthetic rows help, as far as
            `useful_sizes` finds them.
        harmful: the ratios below lambda* that are worse than 0, as far as `harmful_ratios` finds
            them.
        beyond_cap: where lambda* is 0 up to the largest ratio allowed, the ratio from which on
            synthetic rows would help nevertheless; None if there is none.
        sentence: all this in plain words.
    """

    problem: Problem
    law: ErrorLaw
    best: bounds.OptimalSize
    band: tuple[float, float] | None
    alone: bounds.Gap
    parts: dict[str, float]
    gain: float
    gain_band: tuple[float, float] | None
    largest: str
    held_back_by: str | None
    useful: Ranges
    harmful: Ranges
    beyond_cap: float | None
    sentence: str


def plan(problem: Problem, law: ErrorLaw, resampled: ResampledLaws | None = None) -> Plan:
    """Plan the synthetic size of a loop.

    Args:
        problem: The loop.
        law: Its error law.
        resampled: The law as it might have been measured instead, for the bands.

    Raises:
        ValueError: For a constant outside its range; the message names it.
    """
    best = problem.best(law)
    alone = problem.trade_off(law, 0.0)
    parts = {name: float(value) for name, value in problem.parts(law, best.lam).items()}
    band = gain_band = None
    if resampled is not None:
        laws = resampled.laws()
        band = interval([nearly_best(problem, other) for other in laws])
        gain_band = interval([_gain(problem, other, best.lam) for other in laws])
    made = Plan(
        problem,
        law,
        best,
        band,
        alone,
        parts,
        _gain(problem, law, best.lam),
        gain_band,
        max(parts, key=lambda name: parts[name]),
        _steepest(problem, law, best.lam),
        useful_sizes(problem, law),
        harmful_ratios(problem, law, best.lam),
        _beyond_cap(problem, law) if best.lam == 0 else None,
        "",
    )
    return made._replace(sentence=in_words(made))


def nearly_best(problem: Problem, law: ErrorLaw) -> float:
    """lambda*, not certified: a grid of 1 + lambda, evenly in logarithms, twice refined.

    What is left are some 1e-4 of 1 + lambda.
    """
    low, high, ratio = 0.0, min(math.log1p(problem.max_lam), 45.0), 0.0
    for points in (401, 41, 41):
        grid = np.linspace(low, high, points)
        lam = np.minimum(np.expm1(grid), problem.max_lam)
        values = problem.trade_off(law, lam).total
        k = int(values.argmin())
        ratio, least = float(lam[k]), float(values[k])
        low, high = grid[max(k - 1, 0)], grid[min(k + 1, points - 1)]
    if math.isinf(problem.max_lam) and ratio > 0:
        without_end = float(problem.trade_off(law, math.inf).total)
        return math.inf if without_end <= least * (1 + 1e-14) else ratio
    return ratio


def _steepest(problem: Problem, law: ErrorLaw, lam: float) -> str | None:
    """The part that rises fastest at a ratio."""
    if math.isinf(lam):
        return None
    here, beyond = (problem.parts(law, x) for x in (lam, lam + 1e-4 * (1 + lam)))
    slopes = {name: float(beyond[name] - here[name]) for name in PARTS}
    name = max(slopes, key=lambda name: slopes[name])
    return name if slopes[name] > 0 else None


def _gain(problem: Problem, law: ErrorLaw, lam: float) -> float:
    """Share of the bound that this ratio saves; minus infinity where the bound becomes infinite."""
    alone, there = (float(problem.trade_off(law, ratio).total) for ratio in (0.0, lam))
    return 1 - there / alone if alone > 0 else 0.0


def no_law_helps(problem: Problem) -> bool:
    """Whether no error law at all would make lambda* > 0: it is 0 even without any error.

    An error only adds to the bound, and adds nothing at lambda = 0.
    """
    return problem.best(ErrorLaw(0.0, 0.0, 0.5)).lam == 0


def useful_sizes(problem: Problem, law: ErrorLaw) -> Ranges:
    """The n at which lambda* > 0, the law being fixed: every range that a grid shows.

    The grid has eight sizes a decade, from 1 to `MOST_ROWS`, and the n that is planned. Ends are
    halved far below a part in a thousand; a range, or a hole in one, that lies between two sizes of
    the grid is overlooked.
    """

    def helps(log_n: float) -> bool:
        return nearly_best(replace(problem, n=max(1.0, math.exp(log_n))), law) > 0

    sizes = sorted({*np.linspace(0, math.log(MOST_ROWS), 73).tolist(), math.log(problem.n)})
    found = _ranges(sizes, [helps(x) for x in sizes], helps)
    return tuple((math.exp(low), math.exp(high)) for low, high in found)


def harmful_ratios(problem: Problem, law: ErrorLaw, last: float) -> Ranges:
    """The ratios up to ``last`` at which the bound is above that without synthetic rows.

    Every range that a grid of 2000 steps, even in ln(1 + lambda), shows; a range that begins in the
    first step is said to begin at 0.
    """
    alone = float(problem.trade_off(law, 0.0).total) * (1 + 1e-12)

    def worse(log_ratio: float) -> bool:
        return float(problem.trade_off(law, math.expm1(log_ratio)).total) > alone

    grid = np.linspace(0, min(math.log1p(last), 45.0), 2001)
    high = problem.trade_off(law, np.expm1(grid)).total > alone
    found = _ranges(grid.tolist(), high.tolist(), worse)
    return tuple(
        (0.0 if low < grid[1] else math.expm1(low), math.expm1(high)) for low, high in found
    )


def _beyond_cap(problem: Problem, law: ErrorLaw) -> float | None:
    """From which ratio on, more than is allowed, synthetic rows would help."""
    free = replace(problem, max_lam=math.inf)
    best = nearly_best(free, law)
    if math.isinf(problem.max_lam) or best <= problem.max_lam:
        return None
    harmful = harmful_ratios(free, law, best)
    return max(problem.max_lam, harmful[-1][1]) if harmful else problem.max_lam


def _ranges(grid: Sequence[float], good: Sequence[bool], holds: Callable[[float], bool]) -> Ranges:
    """The ranges of a grid where something holds, their ends halved between its points."""

    def end(inside: float, outside: float) -> float:
        for _ in range(12):
            half = (inside + outside) / 2
            inside, outside = (half, outside) if holds(half) else (inside, half)
        return inside

    last = len(grid) - 1
    starts = [k for k, ok in enumerate(good) if ok and (k == 0 or not good[k - 1])]
    stops = [k for k, ok in enumerate(good) if ok and (k == last or not good[k + 1])]
    return tuple(
        (
            end(grid[low], grid[low - 1]) if low > 0 else grid[low],
            end(grid[high], grid[high + 1]) if high < last else grid[high],
        )
        for low, high in zip(starts, stops, strict=True)
    )


def in_words(made: Plan) -> str:
    """The plan in plain words."""
    kind = {"gap": "gap", "risk": "excess risk", "uniform": "gap (uniform convergence)"}
    what = f"the bound on the {kind[made.problem.objective]}"
    lam, band = made.best.lam, made.band
    held = "" if made.held_back_by is None else PARTS[made.held_back_by]
    sure = ""
    if band is not None:
        sure = f" (95 % {_ratio(band[0])} to {_ratio(band[1])})"
        sure = " (95 % of the resampled laws agree)" if band[0] == band[1] == lam else sure
    if lam == 0:
        text = f"Generate nothing{sure}: {what} is smallest without synthetic rows."
        text += f" Against them speaks {held}." if held else ""
        if made.beyond_cap is not None:
            text += (
                f" Only from about {_ratio(made.beyond_cap)} per real one on, more than is "
                "allowed, would it be smaller."
            )
        return f"{text} {_when(made)}"
    if math.isinf(lam):
        return (
            f"Generate as many synthetic rows as you can{sure}: only with ever more of them comes "
            f"{what} near its least value, {_percent(made.gain)} lower.{_harm(made)}"
        )
    text = f"Generate about {_ratio(lam)} synthetic rows per real one{sure}: {what} falls by "
    text += f"{_percent(made.gain)}.{_harm(made)}"
    if made.best.regime == "capped":
        return f"{text} More might help: that is the largest ratio allowed."
    return f"{text} More is held back by {held}."


def _harm(made: Plan) -> str:
    """Which fewer synthetic rows would be worse than none."""
    if not made.harmful:
        return ""
    parts = [
        f"fewer than about {_ratio(high)}" if low == 0 else f"{_ratio(low)} to {_ratio(high)}"
        for low, high in made.harmful
    ]
    text = ", or ".join(parts)
    return f" {text[0].upper()}{text[1:]} per real one would make it worse than none."


def _when(made: Plan) -> str:
    """For which real sets, of those tried, synthetic rows would help."""
    n, useful = made.problem.n, made.useful
    start = f"Of the sizes tried, 1 to {MOST_ROWS:.0e}, with this error law"
    if math.isfinite(made.problem.max_lam):
        start += " and no more per real one than allowed"
    if not useful:
        return f"{start} they help no real set of up to {MOST_ROWS:.0e} rows."
    if any(low <= n <= high for low, high in useful):
        return "By less than the search resolves some would help."
    if len(useful) == 1 and useful[0][0] > n:
        limited = useful[0][1] < MOST_ROWS / 1.1
        end = f", up to about {_size(useful[0][1])}" if limited else ""
        return f"{start} they begin to help at about {_size(useful[0][0])} real rows{end}."
    if len(useful) == 1 and useful[0][0] == 1:
        return f"{start} they help up to about {_size(useful[0][1])} real rows, and at none above."
    parts = [f"{_size(low)} to {_size(high)}" for low, high in useful]
    return f"{start} they help real sets of about {' and of '.join(parts)} rows."


def _ratio(value: float) -> str:
    if math.isinf(value):
        return "no limit"
    return f"{value:.2g}" if value < 99 else f"{float(f'{value:.2g}'):,.0f}"


def _size(value: float) -> str:
    return f"{value:,.0f}" if value < 1e6 else f"{value:.2g}"


def _percent(value: float) -> str:
    return f"{100 * value:.{0 if value >= 0.01 else 2}f} %"


# --- measured errors from files ------------------------------------------------------------------


class Measured(NamedTuple):
    """One-step errors by training size; ``stderr`` is None where some point has none.

    ``runs`` are the loops that a standard error was estimated from, inf where that is not known.
    """

    sizes: Floats
    errors: Floats
    stderr: Floats | None
    runs: Floats


def read_errors(paths: Sequence[Path]) -> Measured:
    """Measured one-step errors of result files of ``scripts/run_loop.py`` and of tables.

    A result file gives a point for each training size: generation 0, and the mean over the later
    generations that learn from as many rows, with the mean of their standard errors, which is at
    least that of their mean however they depend on each other. A table (``.csv``) has the columns
    N, eps and, if known, stderr and runs, the loops a standard error was estimated from.

    Raises:
        ValueError: If a file is missing, damaged, or holds no errors; the message names it.
    """
    points = [point for path in paths for point in _points(path)]
    if not points:
        raise ValueError("errors must name at least one file")
    sizes, errors, spread, runs = zip(*points, strict=True)
    known = all(value is not None and value > 0 for value in spread)
    stderr = np.array(cast(tuple[float, ...], spread)) if known else None
    return Measured(np.array(sizes), np.array(errors), stderr, np.array(runs))


class Point(NamedTuple):
    """One measured error."""

    size: float
    error: float
    stderr: float | None
    runs: float


def _points(path: Path) -> list[Point]:
    if not path.is_file():
        raise ValueError(
            f"errors must name files of scripts/run_loop.py (.json) or tables (.csv), but {path} "
            "is no file"
        )
    try:
        points = _table(path) if path.suffix == ".csv" else _result(read_json(path))
    except (AttributeError, KeyError, OSError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(
            f"errors must name files of scripts/run_loop.py (.json), or tables (.csv) with the "
            f"columns N, eps and, if known, stderr and runs, but {path} is none: {error!r}"
        ) from None
    if not points:
        raise ValueError(f"errors must name files with one-step errors, but {path} has none")
    return points


def _table(path: Path) -> list[Point]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, skipinitialspace=True))
    return [
        Point(
            float(row["N"]),
            float(row["eps"]),
            float(row["stderr"]) if row.get("stderr") else None,
            float(row["runs"]) if row.get("runs") else math.inf,
        )
        for row in rows
    ]


def _loops(content: Any) -> float:
    """How many loops a result file is the mean of; inf where it does not say so."""
    settings = content.get("settings", {})
    if "runs" not in settings or "learner" not in settings:
        return math.inf
    runs = settings["runs"]
    if runs is None:
        runs = LOOPS.get(settings["learner"], OTHER_LOOPS)
    return float(max(2, runs - len(content.get("failed", []))))


def _result(content: Any) -> list[Point]:
    first: list[Point] = []
    later: dict[float, list[Point]] = {}
    runs = _loops(content)
    failed = content.get("failed_loops", {"count": 0})
    if failed["count"]:
        raise ValueError(
            f"{failed['count']} of its {failed['of']} loops have numbers that are not finite, and "
            "a mean over the others is of other loops"
        )
    for row in content["generations"]:
        is_first = row["generation"] == 0
        name = "drift" if is_first and row.get("eps") is None else "eps"
        if row.get(name) is None:
            continue
        size = float(row["n_train"])
        spread = row.get(f"{name}_stderr")
        if is_first and spread is None:  # from the real law both are the same distance
            spread = row.get("drift_stderr")
        point = Point(size, float(row[name]), None if spread is None else float(spread), runs)
        (first if is_first else later.setdefault(size, [])).append(point)
    return first + [_mean(points) for points in later.values()]


def _mean(points: list[Point]) -> Point:
    known = [point.stderr for point in points if point.stderr is not None]
    return Point(
        points[0].size,
        float(np.mean([point.error for point in points])),
        float(np.mean(known)) if len(known) == len(points) else None,
        points[0].runs,
    )

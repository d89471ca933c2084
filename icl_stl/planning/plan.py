"""How many synthetic rows to generate, from measured errors: `bounds.optimal_size` with its band.

Needs no JAX. What is recommended is the whole number of rows that makes a bound smallest; constants
that nobody measured are assumptions of the recommendation. That a bound is smallest somewhere does
not mean that what it bounds is: see `CHECKED`. A constant out of its range, and a file or number
that cannot be used, is a `ValueError` that names it, with line or key.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from icl_stl import bounds
from icl_stl.bounds._check import real
from icl_stl.bounds.optimum import Objective
from icl_stl.config import meant, require
from icl_stl.intervals import Floats
from icl_stl.lab.results import read_json
from icl_stl.planning.error_law import RUNS, SIZE, ErrorLaw, ResampledLaws, interval
from icl_stl.regimes import Augment, FreshReal, RealOnly, Regime
from icl_stl.tables import Quantity, checked, kind_of, number_of, read, rows_of

MOST_ROWS = 1e9
"""Largest real set that is looked at for one that synthetic rows would help."""
Ranges = tuple[tuple[float, float], ...]
"""Lowest and highest value of every range that a search found, in order; empty if it found none."""
LOOPS = {"transformer": 4, "bayes": 4}
OTHER_LOOPS = 1000
"""Loops that ``icl-stl loop`` runs where it is not told how many, by learner."""
MOST = 1e100
"""Largest constant: beyond it products of them are infinite."""
PARTS = {
    "decaying error": "the error of every generation's fit, which would fall with more rows",
    "error floor": "the error floor of the model, which every generation adds again",
    "stability": "how much single rows matter in later generations",
    "fluctuation": "the generator, which passes the chance in the real rows on",
}
"""What a bound consists of, and in plain words what rises with the ratio when it does."""
CHECKED = {"risk": (2.04, 18.3), "gap": (1.0, 1.11)}
"""Regret of sizes that a bound recommends, least and largest mean over loops, by objective.

What is bounded, at the size of those tried that is nearest to the recommended one, over the least
that any size has. Clipped mean of a normal law: M, b and kappa certified, the error law fitted,
n = 20, up to 32 synthetic rows per real one, generations 1, 2, 5 and 10, a fixed real set and new
real rows in every generation. Source: cells of the claim `optimal_synthetic_size`,
`figures/claims.json`, rounded to three digits.
"""
DECIDES = (
    "The risk decides about quality; the gap says only how far the training loss can be trusted."
)
NEARLY_ALL = 0.99
"""Where ever more rows lower a bound: the share of what they save that is planned for."""


@dataclass(frozen=True)
class Question:
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
    objective: Objective = "risk"
    """Which bound: risk, which decides about quality; gap, how far the training loss can be
    trusted; or uniform, the gap without stability. The last needs a law that the one-step
    errors obey in every loop; one of mean errors is not enough."""
    fresh: bool = False
    """Whether every generation draws n new real rows."""
    max_lam: float = math.inf
    """Largest ratio that can be afforded."""
    log_size: float = 0.0
    """Logarithm of the class's size, for uniform."""

    def __post_init__(self) -> None:
        for name, low in {"n": 1.0, "M": 0.0, "b": 0.0, "kappa": 0.0, "log_size": 0.0}.items():
            real(name, getattr(self, name), low, MOST)

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
        question: what was planned.
        law: the error law it rests on.
        best: lambda*, the bound there, and the certificate that no ratio is better.
        rows: the whole number of synthetic rows that is advised; see `whole_rows`.
        band: 95 % percentile interval of lambda* over resampled laws; None without them.
        alone: the bound by parts without synthetic rows.
        parts: the bound's parts at ``rows``, the shift divided into decaying error and error floor.
        gain: share of the bound that ``rows`` save.
        gain_band: the same with resampled laws and as many rows, likewise; below 0 where they
            say that it does harm.
        held_back_by: the part that rises fastest at lambda*, so that no more is better; None where
            none rises.
        useful: the sizes of the real set at which some synthetic rows help, as far as
            `useful_sizes` finds them.
        harmful: the ratios below lambda* that are worse than 0, as far as `harmful_ratios` finds
            them.
        beyond_cap: where lambda* is 0 up to the largest ratio allowed, the ratio from which on
            synthetic rows would help nevertheless; None if there is none.
    """

    question: Question
    law: ErrorLaw
    best: bounds.OptimalSize
    rows: int
    band: tuple[float, float] | None
    alone: bounds.Gap
    parts: dict[str, float]
    gain: float
    gain_band: tuple[float, float] | None
    held_back_by: str | None
    useful: Ranges
    harmful: Ranges
    beyond_cap: float | None

    @property
    def largest(self) -> str:
        """The largest part at ``rows``."""
        return max(self.parts, key=lambda name: self.parts[name])

    @property
    def sentence(self) -> str:
        """All this in plain words."""
        return in_words(self)

    @property
    def lam(self) -> float:
        """Synthetic rows per real row, of the rows that are advised."""
        return self.rows / self.question.n

    @property
    def options(self) -> str:
        """The options of ``icl-stl loop`` that run it."""
        ratio = f" --lam {self.lam!r}" if self.rows else ""
        name = _regime(self.question, self.rows).name
        return f"--regime {name} --samples {self.question.n:.0f}{ratio}"


def plan(question: Question, law: ErrorLaw, resampled: ResampledLaws | None = None) -> Plan:
    """Plan the synthetic size of a loop."""
    require(question.n % 1 == 0, "n", question.n, "a whole number of rows")
    best = question.best(law)
    rows = whole_rows(question, law, best.lam)
    lam = rows / question.n
    alone = question.trade_off(law, 0.0)
    parts = {name: float(value) for name, value in question.parts(law, lam).items()}
    band = gain_band = None
    if resampled is not None:
        laws = resampled.laws()
        band = interval([nearly_best(question, other) for other in laws])
        gain_band = interval([_gain(question, other, lam) for other in laws])
    return Plan(
        *(question, law, best, rows, band, alone, parts),
        *(_gain(question, law, lam), gain_band, _steepest(question, law, best.lam)),
        *(useful_sizes(question, law), harmful_ratios(question, law, best.lam)),
        _beyond_cap(question, law) if best.lam == 0 else None,
    )


def whole_rows(question: Question, law: ErrorLaw, lam: float) -> int:
    """The whole number of synthetic rows to generate, where a bound is least at the ratio ``lam``.

    Of none and the two next to n lam, that of least bound, fewer where they are equal. Without a
    limit (inf) the fewest from which on `NEARLY_ALL` of what ever more save is saved. Never more
    than is allowed, and none that the loop's regime refuses: beside very many real rows a few
    cannot be told from none by their share.
    """
    n, most = question.n, question.max_lam
    near = math.floor(n * (_nearly_all(question, law) if math.isinf(lam) else lam))
    tried = [k for k in (near, near + 1) if k / n <= most and _runs(question, k)]
    return min([0, *tried], key=lambda k: float(question.trade_off(law, k / n).total))


def _nearly_all(question: Question, law: ErrorLaw) -> float:
    """From which ratio on `NEARLY_ALL` of what an infinite one saves is saved; of a grid."""
    lam = np.expm1(np.linspace(0, 45, 4501))
    alone, limit = (float(question.trade_off(law, end).total) for end in (0.0, math.inf))
    enough = question.trade_off(law, lam).total <= limit + (1 - NEARLY_ALL) * (alone - limit)
    short = np.flatnonzero(~enough)
    return float(lam[min(short[-1] + 1, len(lam) - 1)]) if short.size else 0.0


def _regime(question: Question, rows: int) -> Regime:
    """The regime of a loop with so many synthetic rows."""
    if rows == 0:
        return RealOnly()
    lam = rows / question.n
    return FreshReal(lam) if question.fresh else Augment.from_lam(lam)


def _runs(question: Question, rows: int) -> bool:
    """Whether a loop with so many synthetic rows, at least one, can be run."""
    with suppress(ValueError, OverflowError):
        return rows >= 1 and _regime(question, rows).synthetic_size(int(question.n)) == rows
    return False


def nearly_best(question: Question, law: ErrorLaw) -> float:
    """lambda*, not certified: a grid of 1 + lambda, evenly in logarithms, twice refined.

    What is left are some 1e-4 of 1 + lambda.
    """
    low, high, ratio = 0.0, min(math.log1p(question.max_lam), 45.0), 0.0
    for points in (401, 41, 41):
        grid = np.linspace(low, high, points)
        lam = np.minimum(np.expm1(grid), question.max_lam)
        values = question.trade_off(law, lam).total
        k = int(values.argmin())
        ratio, least = float(lam[k]), float(values[k])
        low, high = grid[max(k - 1, 0)], grid[min(k + 1, points - 1)]
    if math.isinf(question.max_lam) and ratio > 0:
        without_end = float(question.trade_off(law, math.inf).total)
        return math.inf if without_end <= least * (1 + 1e-14) else ratio
    return ratio


def _steepest(question: Question, law: ErrorLaw, lam: float) -> str | None:
    """The part that rises fastest at a ratio."""
    if math.isinf(lam):
        return None
    here, beyond = (question.parts(law, x) for x in (lam, lam + 1e-4 * (1 + lam)))
    slopes = {name: float(beyond[name] - here[name]) for name in PARTS}
    name = max(slopes, key=lambda name: slopes[name])
    return name if slopes[name] > 0 else None


def _gain(question: Question, law: ErrorLaw, lam: float) -> float:
    """Share of the bound that this ratio saves; minus infinity where the bound becomes infinite."""
    alone, there = (float(question.trade_off(law, ratio).total) for ratio in (0.0, lam))
    return 1 - there / alone if alone > 0 else 0.0


def no_law_helps(question: Question) -> bool:
    """Whether no error law at all would make lambda* > 0: it is 0 even without any error.

    An error only adds to the bound, and adds nothing at lambda = 0.
    """
    return question.best(ErrorLaw(0.0, 0.0, 0.5)).lam == 0


def useful_sizes(question: Question, law: ErrorLaw) -> Ranges:
    """The n at which lambda* > 0, the law being fixed: every range that a grid shows.

    The grid has eight sizes a decade, from 1 to `MOST_ROWS`, and the n that is planned. Ends are
    halved far below a part in a thousand; a range, or a hole in one, that lies between two sizes of
    the grid is overlooked.
    """

    def helps(log_n: float) -> bool:
        return nearly_best(replace(question, n=max(1.0, math.exp(log_n))), law) > 0

    sizes = sorted({*np.linspace(0, math.log(MOST_ROWS), 73).tolist(), math.log(question.n)})
    found = _ranges(sizes, [helps(x) for x in sizes], helps)
    return tuple((math.exp(low), math.exp(high)) for low, high in found)


def harmful_ratios(question: Question, law: ErrorLaw, last: float) -> Ranges:
    """The ratios up to ``last`` at which the bound is above that without synthetic rows.

    Every range that a grid of 2000 steps, even in ln(1 + lambda), shows; a range that begins in the
    first step is said to begin at 0.
    """
    alone = float(question.trade_off(law, 0.0).total) * (1 + 1e-12)

    def worse(log_ratio: float) -> bool:
        return float(question.trade_off(law, math.expm1(log_ratio)).total) > alone

    grid = np.linspace(0, min(math.log1p(last), 45.0), 2001)
    high = question.trade_off(law, np.expm1(grid)).total > alone
    found = _ranges(grid.tolist(), high.tolist(), worse)
    return tuple(
        (0.0 if low < grid[1] else math.expm1(low), math.expm1(high)) for low, high in found
    )


def _beyond_cap(question: Question, law: ErrorLaw) -> float | None:
    """From which ratio on, more than is allowed, synthetic rows would help."""
    free = replace(question, max_lam=math.inf)
    best = nearly_best(free, law)
    if math.isinf(question.max_lam) or best <= question.max_lam:
        return None
    harmful = harmful_ratios(free, law, best)
    return max(question.max_lam, harmful[-1][1]) if harmful else question.max_lam


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
    what = f"the bound on the {kind[made.question.objective]}"
    lam, band = made.best.lam, made.band
    held = "" if made.held_back_by is None else PARTS[made.held_back_by]
    sure = ""
    if band is not None:
        sure = f" (95 % {_ratio(band[0])} to {_ratio(band[1])})"
        sure = " (the same for 95 % of the resampled laws)" if band[0] == band[1] == lam else sure
    if lam == 0:
        text = f"Generate nothing{sure}: {what} is smallest without synthetic rows."
        text += f" Against them speaks {held}." if held else ""
        if made.beyond_cap is not None:
            text += (
                f" Only from about {_ratio(made.beyond_cap)} per real one on, more than is "
                "allowed, would it be smaller."
            )
        return f"{text} {_when(made)}"
    if made.rows == 0:
        return (
            f"Generate nothing: {what} is smallest at {_ratio(lam)} synthetic rows per real "
            f"one{sure}, but no whole number of rows near there that is allowed "
            "is better than none."
        )
    rows = f"{_size(made.rows)} synthetic row{'s' if made.rows > 1 else ''}"
    rows += f", about {_ratio(made.lam)} per real one"
    if math.isinf(lam):
        return (
            f"Generate as many synthetic rows as you can{sure}: with {rows}, {what} is "
            f"{_percent(made.gain)} lower, {100 * NEARLY_ALL:.0f} % of what ever more could save."
            f"{_harm(made)}"
        )
    text = f"Generate {rows}{sure}: {what} falls by {_percent(made.gain)}.{_harm(made)}"
    if made.best.regime == "capped":
        return f"{text} More might help: that is the largest ratio allowed."
    return f"{text} More is held back by {held}."


def regret_in_words(objective: Objective) -> str:
    """What following a bound cost where that can be checked; see `CHECKED`."""
    if objective not in CHECKED:
        return "What following this bound costs has not been checked."
    low, high = CHECKED[objective]
    text = "Where it can be checked (clipped mean of a normal law, n = 20), following the bound on "
    text += f"the {objective} gave {low:g} to {high:g} times the least {objective} of the sizes "
    more = ": each time it advised none, where the most were best" if objective == "risk" else ""
    return f"{text}tried{more}."


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
    n, useful = made.question.n, made.useful
    start = f"Of the sizes tried, 1 to {MOST_ROWS:.0e}, with this error law"
    if math.isfinite(made.question.max_lam):
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


MOST_STDERR = 0.5
"""Largest standard error of a mean of R numbers in [0, 1]: 1/2 sqrt(R/(R-1)) / sqrt(R), R = 2."""
VARIATION = Quantity("a total variation, in [0, 1]", lambda value: 0 <= value <= 1)
SPREAD = Quantity(
    f"a positive number of at most {MOST_STDERR}, the most for a mean of numbers in [0, 1]",
    lambda value: 0 < value <= MOST_STDERR * (1 + 1e-9),  # rounding
)
QUANTITIES = {"N": SIZE, "eps": VARIATION, "stderr": SPREAD, "runs": RUNS}
"""What a measured point consists of, from a file or not, by the columns of a table."""
GENERATION = Quantity("a whole number of at least 0", lambda value: value >= 0 and value % 1 == 0)
LOOP_COUNT = Quantity("a whole number of at least 1", lambda value: value >= 1 and value % 1 == 0)
NO_LOOP = Quantity("0: a mean over those that are left is of other loops", lambda value: value == 0)
NOT_NEGATIVE = Quantity("a number of at least 0", lambda value: value >= 0)


class Measured(NamedTuple):
    """One-step errors by training size; ``stderr`` is None where some point has none.

    ``runs`` are the loops that a standard error was estimated from, inf where that is not known.
    """

    sizes: Floats
    errors: Floats
    stderr: Floats | None
    runs: Floats


class Point(NamedTuple):
    """One measured error."""

    size: float
    error: float
    stderr: float | None
    runs: float


def measured(
    sizes: Sequence[float],
    eps: Sequence[float],
    stderr: Sequence[float] = (),
    runs: float = math.inf,
) -> Measured:
    """Measured one-step errors that are given as numbers, checked as those of files are."""
    for name, values in (("eps", eps), ("stderr", stderr)):
        fine = len(values) == len(sizes) or (name == "stderr" and not values)
        require(fine, name, list(values), f"one for each of the {len(sizes)} sizes")
    given = {"sizes": (sizes, SIZE), "eps": (eps, VARIATION), "stderr": (stderr, SPREAD)}
    size, error, spread = (
        np.array([checked(name, value, quantity) for value in values])
        for name, (values, quantity) in given.items()
    )
    loops = checked("runs", runs, RUNS)
    return Measured(size, error, spread if len(spread) else None, np.full(len(sizes), loops))


def read_errors(paths: Sequence[Path]) -> Measured:
    """Measured one-step errors of result files of ``icl-stl loop`` and of tables.

    A result file (``.json``) gives a point for each training size: generation 0, and the mean over
    the later generations that learn from as many rows, with the mean of their standard errors,
    which is at least that of their mean however they depend on each other. Everything else in it
    is not read. A table (``.csv``) has the columns N, eps and, if known, stderr and runs, the loops
    a standard error was estimated from (nothing, or inf: it is known), and no others. Sizes may
    come in any order and more than once. Both are read by the rules of `tables`.
    """
    points = [point for path in paths for point in _points(path)]
    if not points:
        raise ValueError("errors must name at least one file")
    sizes, errors, spread, runs = zip(*points, strict=True)
    known = all(value is not None for value in spread)
    stderr = np.array(cast(tuple[float, ...], spread)) if known else None
    return Measured(np.array(sizes), np.array(errors), stderr, np.array(runs))


def _points(path: Path) -> list[Point]:
    if not path.is_file():
        raise ValueError(
            f"errors must name files of icl-stl loop (.json) or tables (.csv), but {path} "
            "is no file"
        )
    if kind_of(path, "errors", (".csv", ".json")) == ".csv":
        return _table(path)
    points = _result(str(path), read_json(path))
    if not points:
        raise ValueError(f"errors must name files with one-step errors, but {path} has none")
    return points


def _table(path: Path) -> list[Point]:
    rows = read(path, "errors", lambda text: rows_of(text, ("N", "eps"), ("stderr", "runs")))
    if "runs" in rows[0].cells and "stderr" not in rows[0].cells:
        raise ValueError(f"{path}: runs must be left out without stderr, to which it belongs")
    points = []
    for line, cells in rows:
        place = f"{path}, line {line}: "
        if cells.get("stderr") == "":
            raise ValueError(
                f"{place}stderr must be a number on every line, or left out on all, but there is "
                "none"
            )
        given = {name: text for name, text in cells.items() if text or name in ("N", "eps")}
        found = {n: number_of(place + n, given[n], QUANTITIES[n]) for n in QUANTITIES if n in given}
        runs = found.get("runs", math.inf)
        points.append(Point(found["N"], found["eps"], found.get("stderr"), runs))
    return points


def _entry(place: str, content: Any, name: str) -> Any:
    """An entry of an object of a result file, which must be there, if only as null."""
    if not isinstance(content, dict):
        raise ValueError(f"{place} must be an object, but it is {type(content).__name__}")
    if name not in content:
        hint = meant(name, content)
        raise ValueError(f"{place} must have the key {name!r}, but it has none{hint}")
    return content[name]


def _loops(path: str, content: Any) -> float:
    """How many loops a result file is the mean of; inf where it does not say so."""
    settings, failed = content.get("settings", {}), content.get("failed", [])
    require(isinstance(settings, dict), f"{path}: settings", settings, "an object")
    require(isinstance(failed, list), f"{path}: failed", failed, "a list")
    if "runs" not in settings or "learner" not in settings:
        return math.inf
    runs, learner = settings["runs"], settings["learner"]
    require(isinstance(learner, str), f"{path}: settings.learner", learner, "a text")
    if runs is None:
        runs = LOOPS.get(learner, OTHER_LOOPS)
    loops = checked(f"{path}: settings.runs", runs, LOOP_COUNT)
    require(len(failed) < loops, f"{path}: failed", failed, f"fewer than all {loops:.0f} loops")
    return max(2.0, loops - len(failed))


def _result(path: str, content: Any) -> list[Point]:
    first: list[Point] = []
    later: dict[float, list[Point]] = {}
    rows = _entry(path, content, "generations")
    require(isinstance(rows, list), f"{path}: generations", rows, "a list")
    runs = _loops(path, content)
    failed = content.get("failed_loops", {"count": 0})
    count = _entry(f"{path}: failed_loops", failed, "count")
    checked(f"{path}: failed_loops.count", count, NO_LOOP)
    seen: set[float] = set()
    for index, row in enumerate(rows):
        place = f"{path}: generations[{index}]"
        generation = checked(f"{place}.generation", _entry(place, row, "generation"), GENERATION)
        require(generation not in seen, f"{place}.generation", generation, "there once")
        seen.add(generation)
        is_first = generation == 0
        name = "drift" if is_first and _entry(place, row, "eps") is None else "eps"
        error, spread = (_entry(place, row, key) for key in (name, f"{name}_stderr"))
        if error is None:
            continue
        if is_first and spread is None:  # from the real law both are the same distance
            name, spread = "drift", row.get("drift_stderr")
        if spread is not None:
            spread = checked(f"{place}.{name}_stderr", spread, SPREAD if is_first else NOT_NEGATIVE)
        size = checked(f"{place}.n_train", _entry(place, row, "n_train"), SIZE)
        point = Point(size, checked(f"{place}.{name}", error, VARIATION), spread, runs)
        (first if is_first else later.setdefault(size, [])).append(point)
    return first + [_mean(path, points) for points in later.values()]


def _mean(path: str, points: list[Point]) -> Point:
    size, _, _, runs = points[0]
    known = [point.stderr for point in points if point.stderr is not None]
    stderr = float(np.mean(known)) if len(known) == len(points) else None
    if stderr is not None:
        checked(f"{path}: the mean eps_stderr of generations with n_train {size:g}", stderr, SPREAD)
    return Point(size, float(np.mean([point.error for point in points])), stderr, runs)

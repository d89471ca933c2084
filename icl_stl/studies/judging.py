"""Judging claims: statements whose form and tolerance the code fixes, against measurements.

A claim names what has to be measured for it and turns that into cells. A cell has a margin for
every replicate, one whole loop. The claim `holds` if every cell is decided in favour of the
statement at level 5 % by itself: an intersection-union test, which needs no correction (Berger
1982). It is `violated` if any cell is decided against it by Holm's procedure over all cells, else
`inconclusive`; single cells of a claim that does not hold are decided in its favour by Holm too.
What no theorem covers is a `finding`. Means are tested by `intervals.MeanTests`, which says what it
assumes of skewed margins, and undecided where it can assume nothing.

Three kinds of cells are shown and never judged: findings; cells that are true by definition; and
vacuous ones, whose bound is at least the largest value that what it bounds can take.

Each claim carries a negative control, the same tests of statements that must be rejected, in
families: a regime, a share, a quantity. It is rejected if every family is, by one of its cells at
least, at level 5 % by Holm within the family.

A replicate that failed, whose numbers stopped being finite, has no margin, so that the mean over
all of them does not exist: the claim does not hold and its control is not rejected, whatever the
others say. What speaks against a statement still does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from icl_stl.intervals import (
    LEVEL,
    Decider,
    binomial_interval,
    binomial_test,
    corrected_half_width,
    holm,
    mean_tests,
    t_half_width,
    t_test,
)
from icl_stl.lab.experiments import Experiment
from icl_stl.lab.results import Arrays, Floats, LoopResult, failures_of
from icl_stl.regimes import Regime
from icl_stl.studies.presets import Preset

Json = dict[str, Any]
Bools = NDArray[np.bool_]

EXACT = 1e-12
"""Rounding allowed where a number is exact."""

WRITTEN = (
    *(
        "measured",
        "low",
        "high",
        "bound",
        "margin",
        "margin_low",
        "margin_high",
        "level",
        "verdict",
    ),
    *("vacuous", "by_definition", "test", "tolerance", "among", "p_for", "p_against", "by", "skew"),
    "missed",
)
"""What judging writes beside the keys of a cell, which are called otherwise."""

SHOWN = 3
"""Failed replicates of an experiment that are named; of the others their number."""


@dataclass(frozen=True)
class Cell:
    """One place where a statement is tested."""

    margins: Floats
    """One for each replicate, `[R]`: see `test`."""
    measured: Floats
    """The measured quantity of each replicate: `[R]`."""
    bound: float
    """What it is compared with, mean over replicates."""
    keys: Json
    """Where: regime, alpha, generation, prefix, ..."""
    test: Literal["positive", "equal", "rate", "exact", "undecided"] = "positive"
    """How margins decide. `positive`: their mean is above 0. `equal`: they are differences, whose
    mean lies within `tolerance` of 0 (two one-sided tests); against it speaks a mean farther off.
    `rate`: they are 0 or 1, exceedances, with a chance of at most `tolerance` (exact binomial).
    `exact`: numbers without sampling error, all at least 0. `undecided`: too little was seen for a
    number."""
    tolerance: float = 0.0
    proved: bool = True
    """Whether the statement is proved here, if the claim is: see `Claim.proved`."""
    by_definition: bool = False
    """The statement is true by the definition of what was measured: shown, not tested."""
    finding: bool = False
    """No theorem speaks of this place: shown beside what a theorem says elsewhere, never judged."""
    among: int = 1
    """For `positive`: margins are those that speak most against the statement, of so many that were
    looked at. For the statement, that all are positive, the worst p-value is one as it stands (an
    intersection-union test); against it, it has to be multiplied by their number."""
    ceiling: float = np.inf
    """The largest value that what the bound bounds can take; of networks, whose outputs know no
    range, that of predictions clipped to the range of the labels."""
    limit: float | None = None
    """The bound, mean over replicates, where `bound` is something else: of a `rate`, that whose
    exceedances are counted."""

    @property
    def vacuous(self) -> bool:
        """Whether the bound says nothing that its ceiling does not."""
        return (self.bound if self.limit is None else self.limit) >= self.ceiling

    @property
    def judged(self) -> bool:
        """Whether it counts for or against its claim."""
        return not (self.finding or self.by_definition or self.vacuous)

    @property
    def family(self) -> str:
        """Cells of one kind, whose margins are of one shape: regime, share, quantity.

        Margins of the other side of a statement are mirrored: their skew is pooled apart.
        """
        places = ("loop", "regime", "alpha", "quantity")
        named = self.keys.get("family")
        return str([self.keys.get(place) for place in places] if named is None else named)


@dataclass(frozen=True)
class Evidence:
    """All that judging a claim may look at."""

    preset: Preset
    loops: Mapping[str, LoopResult] = field(default_factory=dict)
    generators: Arrays = field(default_factory=dict)
    """Implied task variances by generator, where the claim asks for them."""
    experiments: Mapping[Experiment, Arrays] = field(default_factory=dict)
    """What was observed of solvable loops: arrays `[runs, G + 1]` by name."""
    pairs: Mapping[str, Arrays] = field(default_factory=dict)
    """Pairs of fits beside loops with a share of real data, by their label: squares `[R, places]`
    by name, where the claim asks for them."""


class Judged(NamedTuple):
    """Cells, the cells of the negative control, and the constants that went into the bound."""

    cells: Sequence[Cell]
    control: Sequence[Cell]
    constants: Sequence[Json]


@dataclass(frozen=True)
class Claim:
    """A statement, what it needs and how it is judged."""

    name: str
    statement: str
    source: str
    """`paper, abstract-level claim`, `published: ...` or `derived here: ...`."""
    control: str
    """What the negative control states; its cells name their `family`."""
    judge: Callable[[Evidence], Judged]
    regimes: Callable[[Preset], tuple[Regime, ...]] = lambda preset: ()
    """Loops of the transformer that it needs."""
    experiments: Callable[[Preset], tuple[Experiment, ...]] = lambda preset: ()
    """Solvable loops that it needs."""
    generators: bool = False
    """Whether it needs prompts from both generators of generation 0."""
    pairs: bool = False
    """Whether it needs pairs of fits beside its loops: `lab.runs.pairs_of_fits`."""
    proved: bool = True
    """Proved or published for what is measured; otherwise a failure is only `inconclusive`."""
    finding: bool = False
    """No theorem speaks: measured and shown, never judged."""


def _seen(cell: Cell) -> str:
    """The verdict on numbers that need no test; a number that is none says nothing."""
    if np.isnan(cell.margins).any() or not np.isfinite(cell.measured).all():
        return "inconclusive"
    return "holds" if np.all(cell.margins >= -EXACT) else "violated"


def _over_replicates(cell: Cell) -> bool:
    """Whether its numbers are of replicates, of which some may have failed."""
    return cell.test != "exact" or cell.margins.size > 1


class Tested(NamedTuple):
    """What the tests say of one cell."""

    p_for: float
    """P-value against "the statement is wrong here"."""
    p_against: float
    """P-value against "it is right"."""
    skew: float | None = None
    """G1 of the margins, pooled over the cells of a family."""
    by: Decider | Literal["binomial"] = "binomial"
    """What decides."""
    cells: float = 1
    """Cells of the family that have spread."""


def tested(cells: Sequence[Cell]) -> list[Tested]:
    """Test cells, those with equally many replicates together."""
    found: dict[int, Tested] = {}
    groups: dict[int, list[int]] = {}
    for index, cell in enumerate(cells):
        if cell.test == "rate":
            found[index] = Tested(*binomial_test(cell.margins, cell.tolerance))
        elif cell.margins.size < 2:
            found[index] = Tested(1.0, 1.0, 0.0, "none")
        else:
            groups.setdefault(cell.margins.size, []).append(index)
    for group in groups.values():
        own = [cells[index] for index in group]
        found |= zip(group, _tested_means(own), strict=True)
    return [found[index] for index in range(len(cells))]


def _tested_means(cells: Sequence[Cell]) -> list[Tested]:
    """Test means of cells with equally many replicates."""
    tests = mean_tests(
        np.stack([cell.margins for cell in cells], axis=1, dtype=np.float64),
        np.array([np.abs(cell.measured).max() for cell in cells]),
        [f"{cell.test}, {cell.family}, {cell.keys.get('direction')}" for cell in cells],
    )
    tolerance = np.array([cell.tolerance if cell.test == "equal" else 0.0 for cell in cells])
    equal = np.array([cell.test == "equal" for cell in cells])
    among = np.array([cell.among for cell in cells])
    # The mean is above -tolerance, and for equality below tolerance; or it is not.
    (above, by), (below, by_below) = (tests.against(-tolerance), tests.against(tolerance, sign=-1))
    less, more = tests.against(-tolerance, sign=-1)[0], tests.against(tolerance)[0]
    p_for = np.where(equal, np.maximum(above, below), above)
    p_against = np.minimum(1, np.where(equal, 2 * np.minimum(less, more), among * less))
    by = np.where(equal & (below > above), by_below, by)
    return [
        Tested(float(a), float(b), float(skew), str(who), float(count))  # type: ignore[arg-type]
        for a, b, skew, who, count in zip(
            p_for, p_against, tests.skew, by, tests.cells, strict=True
        )
    ]


class Verdicts(NamedTuple):
    """Of all cells: the verdict of each, the level at which it was decided, what the tests say."""

    verdicts: list[str]
    levels: list[float]
    tests: list[Tested | None]


def verdicts(cells: Sequence[Cell]) -> Verdicts:
    """Judge cells together: those that hold by intersection-union, or Holm; violated ones by Holm.

    If every judged cell is decided for at the level, all hold. Otherwise Holm over the tested ones
    decides which do, and in any case which are violated. A claim holds falsely, and some cell is
    violated falsely, with a chance of at most the level each, whatever the dependence of cells;
    some single cell holds falsely with that chance if p-values are independent or depend
    positively, else with at most twice that: it is the last step of Simes added to Holm.
    """
    found = ["finding"] * len(cells)
    levels = [LEVEL if cell.judged else LEVEL / 2 for cell in cells]
    tests: list[Tested | None] = [None] * len(cells)
    asked = []
    for index, cell in enumerate(cells):
        if not cell.judged:
            continue
        found[index] = "inconclusive" if cell.test == "undecided" else _seen(cell)
        if cell.test not in ("exact", "undecided"):
            asked.append(index)
    if not asked:
        return Verdicts(found, levels, tests)
    own = tested([cells[index] for index in asked])
    p_for, p_against = (
        np.array([getattr(one, name) for one in own]) for name in Tested._fields[:2]
    )
    untested = [found[i] for i, cell in enumerate(cells) if cell.judged and i not in set(asked)]
    whole = bool((p_for <= LEVEL).all()) and set(untested) <= {"holds"}
    positive, positive_levels = holm(p_for)
    negative, negative_levels = holm(p_against)
    if whole:
        positive, positive_levels = np.ones(len(asked), bool), np.full(len(asked), LEVEL)
    undecided = LEVEL / max(1, len(asked) - int(positive.sum()))  # where Holm stopped
    for k, index in enumerate(asked):
        tests[index] = own[k]
        found[index] = "violated" if negative[k] else "holds" if positive[k] else "inconclusive"
        levels[index] = float(
            negative_levels[k] if negative[k] else positive_levels[k] if positive[k] else undecided
        )
    return Verdicts(found, levels, tests)


def _usable(claim: Claim, evidence: Evidence) -> tuple[Evidence, int, list[str]]:
    """A claim's evidence without replicates that failed in it; how many are left, what failed."""
    own = claim.regimes(evidence.preset)
    asked = {name: result for name, result in evidence.loops.items() if result.regime in own}
    failures = [failure for result in asked.values() for failure in result.failures]
    bad = {failure.replicate for failure in failures}
    named = [str(failure) for failure in failures]
    asked_generators = evidence.generators if claim.generators else {}
    for values in asked_generators.values():
        for r in set(np.flatnonzero(~np.isfinite(values)).tolist()) - bad:
            bad.add(r)
            named.append(f"generation 0, replicate {r}: implied task variance not finite")
    kept = sorted(set(range(evidence.preset.replicates)) - bad)
    loops = {name: result.replicates(kept) for name, result in asked.items()}
    generators = {name: values[kept] for name, values in asked_generators.items()}
    pairs = {
        label: {name: values[kept] for name, values in own.items()}
        for label, own in evidence.pairs.items()
        if claim.pairs
    }
    own_experiments = claim.experiments(evidence.preset)
    counts = [len(kept)] if own or not own_experiments else []
    fine: dict[int, Bools] = {}  # by number of runs: a loop that failed is left out in all of them
    for experiment in own_experiments:
        arrays = evidence.experiments[experiment]
        own_failures = failures_of(experiment.name, arrays, experiment.generation_axis)
        named += [str(failure) for failure in own_failures[:SHOWN]]
        if len(own_failures) > SHOWN:
            named.append(f"{experiment.name}: {len(own_failures)} replicates not finite, in all")
        finite = np.ones(len(next(iter(arrays.values()))), bool)
        finite[[failure.replicate for failure in own_failures]] = False
        fine[experiment.runs] = fine.get(experiment.runs, True) & finite
    experiments = {
        experiment: {
            key: values[fine[experiment.runs]]
            for key, values in evidence.experiments[experiment].items()
        }
        for experiment in own_experiments
    }
    counts += [int(mask.sum()) for mask in fine.values()]
    of = Evidence(evidence.preset, loops, generators, experiments, pairs)
    return of, min(counts), named


def _of_survivors(cells: Sequence[Cell], found: Sequence[str]) -> list[str]:
    """Verdicts where replicates failed: those that are left do not suffice for `holds`."""
    return [
        "inconclusive" if verdict == "holds" and _over_replicates(cell) else verdict
        for cell, verdict in zip(cells, found, strict=True)
    ]


def overall(found: Sequence[str]) -> str:
    """The verdict of a claim: that of its judged cells; a finding if none of them is judged,
    inconclusive if there are none.
    """
    order = ("violated", "inconclusive", "holds", "finding")
    return next((verdict for verdict in order if verdict in found), "inconclusive")


class Rejected(NamedTuple):
    """One family of a negative control."""

    family: str
    cells: int
    rejected: int


def rejected(claim: str, control: Sequence[Cell]) -> list[Rejected]:
    """How many cells of each family of a control are decided against, by Holm within the family.

    Raises:
        ValueError: If a cell names no family.
    """
    families: dict[str, list[Cell]] = {}
    for cell in control:
        if "family" not in cell.keys:
            raise ValueError(
                f"control of {claim} must name the family of every cell, what is rejected as one, "
                f'by its keys, as {{"family": "half the bound"}}, but one has none: {cell.keys}'
            )
        families.setdefault(cell.family, []).append(cell)
    return [
        Rejected(name, len(own), verdicts(own).verdicts.count("violated"))
        for name, own in families.items()
    ]


def _mean_and_ends(
    values: Floats, tests: Tested | None, levels: tuple[float, float]
) -> list[float]:
    """Mean, and the ends of an interval of which each misses it with its own chance.

    Without a test, or where skew lets Student decide nothing, the interval is Student's.
    """
    mean = float(values.mean())
    if values.size < 2:
        return [mean] * 3
    stderr = t_test(values).stderr
    if tests is None or tests.skew is None or tests.by != "Student":
        down, up = (t_half_width(stderr, values.size, level) for level in levels)
    else:
        sides = zip((tests.skew, -tests.skew), levels, strict=True)
        down, up = (
            corrected_half_width(stderr, skew, values.size, level, tests.cells)
            for skew, level in sides
        )
    return [mean, mean - down, mean + up]


def _json(cell: Cell, verdict: str, level: float, tests: Tested | None) -> Json:
    mean, low, high = _mean_and_ends(cell.measured, None, (level, level))
    ends = _mean_and_ends(cell.margins, tests, (level, level / cell.among))
    judged = dict(zip(("margin", "margin_low", "margin_high"), ends, strict=True))
    if cell.test == "rate":
        low, high = binomial_interval(cell.margins, level)
        ends = [cell.tolerance - mean, cell.tolerance - high, cell.tolerance - low]
        judged = dict(zip(judged, ends, strict=True))
    entry = {
        **cell.keys,
        "measured": mean,
        "low": low,
        "high": high,
        "bound": None if np.isnan(cell.bound) else cell.bound,
        **(dict.fromkeys(judged) if np.isnan(cell.bound) else judged),
        "level": level,
        "verdict": verdict,
        **({"vacuous": True} if cell.vacuous else {}),
        **({"by_definition": True} if cell.by_definition else {}),
        **({"test": cell.test} if cell.test != "positive" else {}),
        **({"tolerance": cell.tolerance} if cell.tolerance or cell.test == "equal" else {}),
        **({"among": cell.among} if cell.among > 1 else {}),
    }
    if tests is not None:
        entry |= {"p_for": tests.p_for, "p_against": tests.p_against, "by": tests.by}
        entry |= {} if tests.skew is None else {"skew": tests.skew}
    return {key: _plain(value) for key, value in entry.items()}


def _plain(value: Any) -> Any:
    """What JSON can hold: nothing instead of a number that is not finite, wherever it is."""
    if isinstance(value, Mapping):
        return {key: _plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _answer(claim: Claim, evidence: Evidence) -> Judged:
    """What the claim's `judge` finds; a `ValueError` if that is not what it must be."""
    found = claim.judge(evidence)
    if not (isinstance(found, tuple) and len(found) == len(Judged._fields)):
        raise ValueError(f"judge of {claim.name} must give a Judged, but it gives {found!r:.80}")
    for cell in (*found[0], *found[1]):
        what = "cells with margins and measured by replicate, at least one of each"
        fine = isinstance(cell, Cell) and all(
            np.ndim(one) == 1 and np.size(one) for one in (cell.margins, cell.measured)
        )
        if not fine:
            raise ValueError(f"judge of {claim.name} must give {what}, but one is {cell!r:.200}")
        if taken := sorted({*cell.keys} & {*WRITTEN}):
            raise ValueError(
                f"keys of a cell of {claim.name} must have other names than {taken[0]!r}"
            )
    return Judged(*found)


def judge(claim: Claim, evidence: Evidence) -> Json:
    """Judge a claim: the entry of `claims.json`.

    A cell that is significantly on the wrong side is `violated` if the statement is proved or
    published for what is measured; otherwise it is `inconclusive` and marked as `missed`.

    A cell's `low` and `high` bound the measured mean, by Student over replicates, `margin_low` and
    `margin_high` the mean margin, by Student corrected for the skew where that decided (`by`): each
    side at the level at which the cell was decided, or Holm stopped. Where skew let Student decide
    nothing an interval beyond 0 is no verdict. `p_for` and `p_against` are the p-values from
    which verdicts follow. `replicates` are whole loops: of the transformer, or of the smallest of
    its solvable experiments. The control is rejected if every family is. With fewer than 3 usable
    replicates nothing is decided. Where one failed (`failed`), numbers are those of the others, and
    neither does the claim hold nor is its control rejected; cells that are not over replicates keep
    their verdict.

    Raises:
        ValueError: If a cell of the control names no family.
    """
    usable, replicates, failed = _usable(claim, evidence)
    entry: Json = {
        "name": claim.name,
        "statement": claim.statement,
        "source": claim.source,
        "replicates": replicates,
        "failed": failed,
    }
    if replicates < 3:
        control = {"what": claim.control, "rejected": False}
        empty = {"constants": [], "cells": [], "negative_control": control}
        return {**entry, "verdict": "inconclusive", **empty}
    cells, control_cells, constants = _answer(claim, usable)
    if claim.finding:
        cells = [replace(cell, finding=True) for cell in cells]
    found, levels, tests = verdicts(cells)
    found = _of_survivors(cells, found) if failed else found
    missed = [verdict == "violated" for verdict in found]
    found = [
        verdict if (claim.proved and cell.proved) or not miss else "inconclusive"
        for cell, verdict, miss in zip(cells, found, missed, strict=True)
    ]
    families = rejected(claim.name, control_cells)
    return {
        **entry,
        "verdict": "finding"
        if claim.finding
        else overall([*found, *["inconclusive"] * bool(failed)]),
        "constants": _plain(constants),
        "cells": [
            {**_json(cell, verdict, level, own), **({"missed": True} if miss else {})}
            for cell, verdict, level, own, miss in zip(
                cells, found, levels, tests, missed, strict=True
            )
        ],
        "negative_control": {
            "what": claim.control if control_cells or any(c.judged for c in cells) else "",
            "rejected": bool(families) and not failed and all(one.rejected for one in families),
            "cells_rejected": sum(one.rejected for one in families),
            "cells": len(control_cells),
            "families": [one._asdict() for one in families],
        },
    }

"""Judging claims: statements fixed before anything is run, against what was measured.

A claim names what has to be measured for it and turns that into cells. A cell has a margin for
every replicate, one whole loop. Over all cells of a claim, Holm's procedure decides: `holds` if
every cell is decided in favour of the statement at level 5 %, `violated` if any cell is decided
against it, else `inconclusive`. What no theorem covers is a `finding`. Each claim carries a
negative control, the same test of a statement that must be rejected.

A replicate that failed, whose numbers stopped being finite, has no margin, so that the mean over
all of them does not exist: the claim does not hold and its control is not rejected, whatever the
others say. What speaks against a statement still does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from icl_stl.config import Preset
from icl_stl.experiments import Experiment
from icl_stl.intervals import (
    LEVEL,
    binomial_interval,
    binomial_test,
    equivalence_test,
    holm,
    t_half_width,
    t_test,
)
from icl_stl.regimes import Regime
from icl_stl.results import Arrays, Floats, LoopResult, failures_of

Json = dict[str, Any]
Bools = NDArray[np.bool_]

EXACT = 1e-12
"""Rounding allowed where a number is exact."""

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
    """How margins decide. `positive`: their mean is above 0 (Student). `equal`: they are
    differences, whose mean lies within `tolerance` of 0 (two one-sided Student tests); against it
    speaks a mean farther off. `rate`: they are 0 or 1, exceedances, with a chance of at most
    `tolerance` (exact binomial). `exact`: numbers without sampling error, all at least 0.
    `undecided`: too little was seen for a number."""
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


@dataclass(frozen=True)
class Evidence:
    """All that judging a claim may look at."""

    preset: Preset
    loops: Mapping[str, LoopResult] = field(default_factory=dict)
    generators: Arrays = field(default_factory=dict)
    """Implied task variances by generator, where the claim asks for them."""
    experiments: Mapping[Experiment, Arrays] = field(default_factory=dict)
    """What was observed of solvable loops: arrays `[runs, G + 1]` by name."""


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
    """What the negative control states."""
    judge: Callable[[Evidence], Judged]
    regimes: Callable[[Preset], tuple[Regime, ...]] = lambda preset: ()
    """Loops of the transformer that it needs."""
    experiments: Callable[[Preset], tuple[Experiment, ...]] = lambda preset: ()
    """Solvable loops that it needs."""
    generators: bool = False
    """Whether it needs prompts from both generators of generation 0."""
    proved: bool = True
    """Proved or published for what is measured; otherwise a failure is only `inconclusive`."""
    finding: bool = False
    """No theorem speaks: measured and shown, never judged."""


def _p_values(cell: Cell) -> tuple[float, float]:
    """P-values against "the statement is wrong here" and against "it is right"."""
    if cell.test == "equal":
        return equivalence_test(cell.margins, cell.tolerance)
    if cell.test == "rate":
        return binomial_test(cell.margins, cell.tolerance)
    test = t_test(cell.margins)
    return test.p_positive, min(1.0, cell.among * test.p_negative)


def _seen(cell: Cell) -> str:
    """The verdict on numbers that need no test; a number that is none says nothing."""
    if np.isnan(cell.margins).any() or not np.isfinite(cell.measured).all():
        return "inconclusive"
    return "holds" if np.all(cell.margins >= -EXACT) else "violated"


def _over_replicates(cell: Cell) -> bool:
    """Whether its numbers are of replicates, of which some may have failed."""
    return not cell.by_definition and (cell.test != "exact" or cell.margins.size > 1)


def _verdicts(cells: Sequence[Cell]) -> tuple[list[str], list[float]]:
    """Holm over the tested cells: each cell's verdict, and the level it was decided at."""
    verdicts = [_seen(cell) for cell in cells]
    levels = [LEVEL] * len(cells)
    tested = [
        index
        for index, cell in enumerate(cells)
        if not (cell.by_definition or cell.finding) and cell.test not in ("exact", "undecided")
    ]
    for index, cell in enumerate(cells):
        if cell.finding:
            verdicts[index], levels[index] = "finding", LEVEL / 2
        elif cell.test == "undecided":
            verdicts[index] = "inconclusive"
    if not tested:
        return verdicts, levels
    against, for_it = zip(*(_p_values(cells[index]) for index in tested), strict=True)
    positive, positive_levels = holm(against)
    negative, negative_levels = holm(for_it)
    undecided = LEVEL / max(1, len(tested) - int(positive.sum()))  # where Holm stopped
    for k, index in enumerate(tested):
        verdicts[index] = "violated" if negative[k] else "holds" if positive[k] else "inconclusive"
        levels[index] = float(
            negative_levels[k] if negative[k] else positive_levels[k] if positive[k] else undecided
        )
    return verdicts, levels


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
    own_experiments = claim.experiments(evidence.preset)
    counts = [] if own_experiments else [len(kept)]
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
    return Evidence(evidence.preset, loops, generators, experiments), min(counts), named


def _of_survivors(cells: Sequence[Cell], verdicts: Sequence[str]) -> list[str]:
    """Verdicts where replicates failed: those that are left do not suffice for `holds`."""
    return [
        "inconclusive" if verdict == "holds" and _over_replicates(cell) else verdict
        for cell, verdict in zip(cells, verdicts, strict=True)
    ]


def _overall(verdicts: Sequence[str]) -> str:
    for verdict in ("violated", "inconclusive"):
        if verdict in verdicts:
            return verdict
    return "holds" if "holds" in verdicts else "inconclusive"


def _mean_and_half_width(values: Floats, level: float) -> tuple[float, float]:
    if values.size < 2:
        return float(values.mean()), 0.0
    test = t_test(values)
    return test.mean, t_half_width(test.stderr, values.size, level)


def _json(cell: Cell, verdict: str, level: float) -> Json:
    mean, half = _mean_and_half_width(cell.measured, level)
    low, high = mean - half, mean + half
    margin, width = _mean_and_half_width(cell.margins, level)
    above = _mean_and_half_width(cell.margins, level / cell.among)[1]
    judged = {"margin": margin, "margin_low": margin - width, "margin_high": margin + above}
    if cell.test == "rate":
        low, high = binomial_interval(cell.margins, level)
        ends = (cell.tolerance - mean, cell.tolerance - high, cell.tolerance - low)
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
        **({"by_definition": True} if cell.by_definition else {}),
        **({"test": cell.test} if cell.test != "positive" else {}),
        **({"tolerance": cell.tolerance} if cell.tolerance or cell.test == "equal" else {}),
        **({"among": cell.among} if cell.among > 1 else {}),
    }
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


def judge(claim: Claim, evidence: Evidence) -> Json:
    """Judge a claim: the entry of `claims.json`.

    A cell that is significantly on the wrong side is `violated` if the statement is proved or
    published for what is measured; otherwise it is `inconclusive` and marked as `missed`.

    A cell's `low` and `high` bound the measured mean, `margin_low` and `margin_high` the mean
    margin, on which the verdict rests: Student's over replicates, each side at the level at which
    Holm decided the cell, or stopped. `replicates` are whole loops: of the transformer, or of the
    smallest of its solvable experiments. The control is rejected if one of its cells is in every
    family (`family`, or `loop`). With fewer than 3 usable replicates nothing is decided. Where one
    failed (`failed`), numbers are those of the others, and neither does the claim hold nor is its
    control rejected; cells that are not over replicates keep their verdict.
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
    cells, control_cells, constants = claim.judge(usable)
    if claim.finding:
        verdicts, levels = ["finding"] * len(cells), [LEVEL / 2] * len(cells)
    else:
        verdicts, levels = _verdicts(cells)
        verdicts = _of_survivors(cells, verdicts) if failed else verdicts
    missed = [verdict == "violated" for verdict in verdicts]
    verdicts = [
        verdict if (claim.proved and cell.proved) or not miss else "inconclusive"
        for cell, verdict, miss in zip(cells, verdicts, missed, strict=True)
    ]
    rejected = _verdicts(control_cells)[0]
    by_family: dict[str, list[str]] = {}
    for cell, verdict in zip(control_cells, rejected, strict=True):
        family = str(cell.keys.get("family", cell.keys.get("loop", "")))
        by_family.setdefault(family, []).append(verdict)
    return {
        **entry,
        "verdict": "finding"
        if claim.finding
        else _overall([*verdicts, *["inconclusive"] * bool(failed)]),
        "constants": _plain(constants),
        "cells": [
            {**_json(cell, verdict, level), **({"missed": True} if miss else {})}
            for cell, verdict, level, miss in zip(cells, verdicts, levels, missed, strict=True)
        ],
        "negative_control": {
            "what": claim.control,
            "rejected": bool(by_family)
            and not failed
            and all("violated" in own for own in by_family.values()),
            "cells_rejected": rejected.count("violated"),
            "cells": len(rejected),
        },
    }

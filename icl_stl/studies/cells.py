"""What modules of claims share: where a cell is, how a number is compared, fitted exponents."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icl_stl.intervals import LEVEL, t_half_width
from icl_stl.lab.experiments import Experiment, Loops
from icl_stl.lab.results import Floats
from icl_stl.regimes import real_share
from icl_stl.studies.judging import Cell, Evidence, Json, Judged
from icl_stl.studies.presets import Preset

Bools = NDArray[np.bool_]

WITHIN = 0.05
"""Relative tolerance of an equality that is measured: a fifth of the smallest effect that a claim
is about, synthetic rows that raise the excess of one fit by a quarter."""

SLOPE_TOLERANCE = 0.05
"""Tolerance of a fitted exponent: a fifth of the smallest difference of exponents that a claim is
about, 1/2 and 1/4."""

GROUPS = 50
"""Groups of loops that a fitted exponent is jackknifed over: so many that the skew of normal
pseudo-values, whose standard error is sqrt(6/50), stays below the sqrt(50)/5 that Student's test
allows by four of its standard errors. (Of 20 groups every tenth would not.)"""


def together(*parts: Judged) -> Judged:
    """What several parts of a claim show, in turn."""
    return Judged(
        [cell for part in parts for cell in part.cells],
        [cell for part in parts for cell in part.control],
        [entry for part in parts for entry in part.constants],
    )


def run_count(preset: Preset, part: float = 1.0) -> int:
    """A part of the loops that the preset affords, enough for every group."""
    return max(2 * GROUPS, round(part * preset.solvable_runs))


def where(experiment: Any, generation: int, **more: Any) -> Json:
    """Where a cell of a solvable loop, or of a pair of them, is."""
    n = experiment.samples
    return {
        "loop": experiment.problem.words,
        "regime": experiment.regime.name,
        "alpha": real_share(experiment.regime, n, max(generation, 1)),
        "generation": generation,
        "n": n,
        **more,
    }


def equal(values: Floats, reference: float, keys: Json, within: float = WITHIN) -> Cell:
    """Measured values whose mean should be the reference, up to a relative tolerance."""
    return Cell(
        values - reference, values, reference, keys, "equal", tolerance=within * abs(reference)
    )


def below(values: Floats, bound: Floats | float, keys: Json) -> Cell:
    """Measured values whose mean should be at most the bound."""
    limits = np.broadcast_to(bound, values.shape)
    return Cell(limits - values, values, float(limits.mean()), {**keys, "direction": "at most"})


def above(values: Floats, bound: float, keys: Json) -> Cell:
    """Measured values whose mean should be above the bound."""
    return Cell(values - bound, values, bound, {**keys, "direction": "above"})


def exact(
    value: float, bound: float, keys: Json, *, equal: bool = False, ceiling: float = np.inf
) -> Cell:
    """Two numbers without sampling error: equal to `EXACT`, or at most."""
    margin = -abs(value - bound) if equal else bound - value
    margins, measured = np.array([margin]), np.array([value])
    return Cell(margins, measured, bound, keys, "exact", ceiling=ceiling)


def formula(value: float, bound: float, keys: Json, *, equal: bool = False) -> Cell:
    """One formula beside another, of which no loop can speak: shown, not judged."""
    return replace(exact(value, bound, keys, equal=equal), finding=True)


def of_family(cell: Cell, *words: str) -> Cell:
    """A cell of the control, in the family that its loop, its regime and these words name."""
    family = ", ".join([cell.keys["loop"], cell.keys["regime"], *words])
    return replace(cell, keys={**cell.keys, "family": family})


def wide(evidence: Evidence, experiment: Experiment, name: str) -> Floats:
    """What was observed in an experiment, in double precision."""
    return evidence.experiments[experiment][name].astype(np.float64)


def standard_errors(values: Floats) -> Floats:
    """Standard errors of means over loops, the first axis."""
    return np.asarray(values.std(0, ddof=1) / np.sqrt(len(values)))


def half_widths(values: Floats) -> list[float]:
    """Half widths of 95 % Student intervals of means over loops, each by itself: `[R, X]` -> X."""
    return [t_half_width(s, len(values), LEVEL / 2) for s in standard_errors(values)]


def jackknifed(statistic: Callable[[Bools], float], runs: int) -> Floats:
    """Pseudo-values of a statistic of the loops kept, over groups of loops.

    Their mean is the statistic less its bias in the number of loops, their spread its error. With
    fewer loops than `GROUPS` each is a group.
    """
    count = min(GROUPS, runs)
    group = np.arange(runs) % count
    whole = statistic(group >= 0)
    return np.array([count * whole - (count - 1) * statistic(group != g) for g in range(count)])


def fitted_exponents(
    mean: Callable[[int, Bools], float], points: Iterable[float], runs: int
) -> Floats:
    """Slope of log mean against log point: jackknife pseudo-values over groups of loops.

    A mean that is not positive has no logarithm: then there is no slope, a single nan.
    """
    x = np.log(list(points))

    def slope(kept: Bools) -> float:
        means = [mean(k, kept) for k in range(len(x))]
        return float(np.polyfit(x, np.log(means), 1)[0]) if min(means) > 0 else np.nan

    found = jackknifed(slope, runs)
    return np.array([np.nan]) if np.isnan(found).any() else found


def exponent_cell(slopes: Floats, expected: float, keys: Json, tolerance: float) -> Cell:
    """A fitted exponent that should be the expected one."""
    if np.isnan(slopes).any():
        return Cell(slopes, slopes, expected, keys, "undecided", tolerance)
    return Cell(slopes - expected, slopes, expected, keys, "equal", tolerance)


def constant(name: str, value: Any, provenance: str) -> Json:
    """A constant of a bound: certified, measured or assumed."""
    return {"name": name, "value": value, "provenance": provenance}


def finite(value: Any) -> float | None:
    """A number that JSON holds; None where it is not finite."""
    return float(value) if np.isfinite(value) else None


def share_constant(experiment: Loops) -> Json:
    """The share of real rows as a constant."""
    name = f"alpha, {experiment.problem.name}, {experiment.regime.name}"
    return constant(name, real_share(experiment.regime, experiment.samples, 1), "certified")

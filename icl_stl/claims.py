"""Claims: statements fixed before anything is run, judged against what was measured.

A claim names the loops it needs and turns their results into cells. A cell has a margin for every
replicate, positive where the statement holds there. Over all cells of a claim, Holm's procedure on
one-sided Student tests decides: `holds` if every cell's mean margin is positive at level 5 %,
`violated` if any cell's is negative, else `inconclusive`. What no theorem covers is a `finding`.
Each claim carries a negative control, the same test of a statement that must be rejected.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from icl_stl import bounds
from icl_stl.config import Preset
from icl_stl.intervals import LEVEL, empirical_bernstein, holm, t_half_width, t_test
from icl_stl.regimes import Augment, Regime, Replace, mixing_weights, real_share
from icl_stl.results import Arrays, Floats, LoopResult

Json = dict[str, Any]

GROWTH_TOLERANCE = 0.05
"""How much a drift that "does not keep growing" may grow from generation 2 to the last."""

KEPT = (0.8, 1.25)
"""Implied over prior task variance between which the task variance counts as kept."""

LOST = 0.5
"""Implied over prior task variance below which the task variance counts as lost."""


@dataclass(frozen=True)
class Cell:
    """One place where a statement is tested."""

    margins: Floats
    """One for each replicate, positive where the statement holds: `[R]`."""
    measured: Floats
    """The measured quantity of each replicate: `[R]`."""
    bound: float
    """What it is compared with, mean over replicates."""
    keys: Json
    """Where: regime, alpha, generation, prefix, ..."""
    by_definition: bool = False
    """The statement is true by the definition of what was measured: shown, not tested."""


@dataclass(frozen=True)
class Evidence:
    """All that judging a claim may look at."""

    preset: Preset
    loops: Mapping[str, LoopResult]
    generators: Arrays = field(default_factory=dict)
    """Implied task variances by generator, where the claim asks for them."""


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
    regimes: Callable[[Preset], tuple[Regime, ...]]
    judge: Callable[[Evidence], Judged]
    generators: bool = False
    """Whether it needs prompts from both generators of generation 0."""
    proved: bool = True
    """Proved or published for what is measured; otherwise a failure is only `inconclusive`."""
    finding: bool = False
    """No theorem speaks: measured and shown, never judged."""


# --- the claims ----------------------------------------------------------------------------------


def _share(result: LoopResult, generation: int) -> float:
    return real_share(result.regime, result.samples, generation)


def _where(result: LoopResult, generation: int, **more: Any) -> Json:
    return {
        "regime": result.regime.name,
        "alpha": _share(result, max(generation, 1)),
        "generation": generation,
        **more,
    }


def _alpha(result: LoopResult) -> Json:
    return {"name": f"alpha, {result.label}", "value": _share(result, 1), "provenance": "certified"}


def drift_bound(result: LoopResult) -> Floats:
    """The drift recursion on the measured one-step errors, per replicate: `[R, G + 1, P]`."""
    weights = mixing_weights(result.regime, result.samples, result.generations)
    eps = np.moveaxis(result["eps"], 1, -1)  # [R, P, G + 1]
    return np.moveaxis(bounds.drift_recursion(eps, weights).total, -1, 1)


def _judge_drift(evidence: Evidence) -> Judged:
    preset = evidence.preset
    cells, control, constants = [], [], []
    for name, result in evidence.loops.items():
        drift, bound = result["drift"], drift_bound(result)
        half_width = empirical_bernstein(result["drift_variance"], preset.held_out)
        consuming = _share(result, 1) < 1
        for i in range(result.generations + 1):
            for p, prefix in enumerate(preset.task.prefixes):
                cells.append(
                    Cell(
                        bound[:, i, p] - drift[:, i, p],
                        drift[:, i, p],
                        float(bound[:, i, p].mean()),
                        _where(
                            result,
                            i,
                            prefix=prefix,
                            vacuous=bool(bound[:, i, p].mean() >= 1),
                            within_loop_half_width=float(half_width[:, i, p].mean()),
                        ),
                        by_definition=i == 0 or not consuming,
                    )
                )
            if consuming and 1 <= i <= 3:
                without = (1 - _share(result, i)) ** i * drift[:, 0, -1]
                control.append(
                    Cell(
                        without - drift[:, i, -1],
                        drift[:, i, -1],
                        float(without.mean()),
                        _where(result, i, prefix=preset.task.context),
                    )
                )
        constants.append(_alpha(result))
        constants.append(
            {
                "name": f"eps by prefix {preset.task.prefixes}, {name}, mean over generations >= 1",
                "value": result["eps"][:, 1:].mean((0, 1)).tolist(),
                "provenance": "measured",
            }
        )
    return Judged(cells, control, constants)


def _judge_one_step_error(evidence: Evidence) -> Judged:
    cells, control = [], []
    for result in evidence.loops.values():
        drift, eps = result["drift"], result["eps"]
        weights = mixing_weights(result.regime, result.samples, result.generations)
        inherited = np.einsum("ij,rjp->rip", weights, drift)
        for i in range(1, result.generations + 1):
            for p, prefix in enumerate(evidence.preset.task.prefixes):
                measured, own = eps[:, i, p], drift[:, i, p]
                bound = own + inherited[:, i, p]
                where = _where(result, i, prefix=prefix)
                cells.append(Cell(bound - measured, measured, float(bound.mean()), where))
            without = own / 2 - measured  # of the whole prompt
            control.append(Cell(without, measured, float(own.mean()) / 2, where))
    return Judged(cells, control, [_alpha(result) for result in evidence.loops.values()])


def _growth(result: LoopResult, grows: bool) -> Cell:
    growth = result["drift"][:, -1, -1] - result["drift"][:, 2, -1]
    bound = 0.0 if grows else GROWTH_TOLERANCE
    margins = growth - bound if grows else bound - growth
    return Cell(
        margins,
        growth,
        bound,
        _where(
            result,
            result.generations,
            quantity="T_last - T_2 of whole prompts",
            direction="above" if grows else "at most",
        ),
    )


def _judge_constant_real_share(evidence: Evidence) -> Judged:
    results = evidence.loops.values()
    constants = [
        {"name": "growth tolerance", "value": GROWTH_TOLERANCE, "provenance": "assumed"},
        *(_alpha(result) for result in results),
    ]
    if evidence.preset.generations < 3:
        return Judged([], [], constants)  # nothing lies between generation 2 and the last
    replaces = [isinstance(result.regime, Replace) for result in results]
    return Judged(
        [_growth(result, grows) for result, grows in zip(results, replaces, strict=True)],
        [_growth(result, not grows) for result, grows in zip(results, replaces, strict=True)],
        constants,
    )


def _variance_cells(evidence: Evidence, plug_in_is_lost: bool) -> list[Cell]:
    prior = evidence.preset.task.prior_scale**2
    cells = []
    for generator in ("predictive", "plug_in"):
        ratio = evidence.generators[f"transformer_{generator}"].astype(np.float64) / prior
        where = {
            "regime": "generation 0",
            "alpha": 1.0,
            "generation": 0,
            "generator": generator,
            "quantity": "implied task variance over the prior's",
        }
        if (generator == "plug_in") == plug_in_is_lost:
            cells.append(Cell(LOST - ratio, ratio, LOST, {**where, "direction": "below"}))
        else:
            low, high = KEPT
            cells.append(Cell(ratio - low, ratio, low, {**where, "direction": "above"}))
            cells.append(Cell(high - ratio, ratio, high, {**where, "direction": "below"}))
    return cells


def _judge_predictive_sampling(evidence: Evidence) -> Judged:
    prior = evidence.preset.task.prior_scale**2
    exact = {
        name: float(evidence.generators[f"bayes_{name}"].mean()) / prior
        for name in ("predictive", "plug_in")
    }
    return Judged(
        _variance_cells(evidence, plug_in_is_lost=True),
        _variance_cells(evidence, plug_in_is_lost=False),
        [
            {"name": "prior task variance", "value": prior, "provenance": "certified"},
            *(
                {
                    "name": f"the same ratio for the exact Bayes predictor, {name}",
                    "value": value,
                    "provenance": "measured",
                }
                for name, value in exact.items()
            ),
        ],
    )


def _judge_quality(evidence: Evidence) -> Judged:
    task = evidence.preset.task
    cells = []
    for result in evidence.loops.values():
        quantities = {
            "excess NLL over Bayes, nats a label": result["kl"][..., -1] / task.context,
            "excess squared error over Bayes, mean over positions": result[
                "excess_squared_risk"
            ].mean(-1),
            "generalization gap of the bounded loss (M = 1)": result["risk"]
            - result["training_risk"],
            "implied task variance over the prior's": result["implied_task_variance"]
            / task.prior_scale**2,
        }
        for quantity, values in quantities.items():
            for i in range(result.generations + 1):
                measured = values[:, i]
                cells.append(Cell(measured, measured, np.nan, _where(result, i, quantity=quantity)))
    return Judged(cells, [], [])


def _all(preset: Preset) -> tuple[Regime, ...]:
    return preset.regimes


def _consuming(preset: Preset) -> tuple[Regime, ...]:
    return tuple(regime for regime in preset.regimes if isinstance(regime, Augment | Replace))


CLAIMS = {
    claim.name: claim
    for claim in (
        Claim(
            name="drift",
            statement="T_i <= eps_i + sum_{j<i} w_ij T_j, solved for T, for every regime, share, "
            "generation and prefix length (total variation; eps measured on the same loops)",
            source="derived here: the drift recursion, a triangle inequality; with measured eps it "
            "tests the estimators. The paper's abstract-level claim has the same form",
            control="no error is injected after generation 0: T_i <= (1 - alpha)^i eps_0 "
            "(whole prompts, generations 1 to 3)",
            regimes=_all,
            judge=_judge_drift,
        ),
        Claim(
            name="one_step_error",
            statement="eps_i <= T_i + sum_{j<i} w_ij T_j: the same triangle from its other side, "
            "so that errors measured too large are noticed as well",
            source="derived here: the triangle inequality",
            control="a one-step error is less than half of the drift: eps_i <= T_i / 2 "
            "(whole prompts)",
            regimes=_consuming,
            judge=_judge_one_step_error,
        ),
        Claim(
            name="constant_real_share",
            statement=f"T_last - T_2 <= {GROWTH_TOLERANCE} with a constant share of real prompts, "
            "and T_last - T_2 > 0 without (total variation of whole prompts)",
            source="paper, abstract-level claim: a constant share of real data prevents collapse. "
            "Threshold and burn-in are ours: to miss them refutes nothing",
            proved=False,
            control="the roles exchanged: no growth without real prompts, growth with them",
            regimes=_consuming,
            judge=_judge_constant_real_share,
        ),
        Claim(
            name="predictive_sampling",
            statement="prompts of generation 0 imply a task variance between "
            f"{KEPT[0]} and {KEPT[1]} times the prior's if drawn with the predictive deviation, "
            f"and below {LOST} times if drawn with the noise alone (plug-in)",
            source="derived here for the Bayes predictor; not proved for a trained transformer",
            proved=False,
            control="the roles exchanged",
            regimes=lambda preset: (),
            judge=_judge_predictive_sampling,
            generators=True,
        ),
        Claim(
            name="quality",
            statement="how good each generation is: excess NLL and squared error over Bayes, "
            "generalization gap, implied task variance",
            source="measured; no theorem speaks",
            control="",
            regimes=_all,
            judge=_judge_quality,
            finding=True,
        ),
    )
}
"""All claims by name, in the order in which they are shown."""


# --- judging -------------------------------------------------------------------------------------


def _verdicts(cells: Sequence[Cell]) -> tuple[list[str], list[float]]:
    """Holm over the tested cells: each cell's verdict, and the level it was decided at."""
    exact = [bool(np.all(cell.margins >= -1e-12)) for cell in cells]
    verdicts = ["holds" if fine else "violated" for fine in exact]
    levels = [LEVEL] * len(cells)
    tested = [index for index, cell in enumerate(cells) if not cell.by_definition]
    if not tested:
        return verdicts, levels
    tests = [t_test(cells[index].margins) for index in tested]
    positive, positive_levels = holm([test.p_positive for test in tests])
    negative, negative_levels = holm([test.p_negative for test in tests])
    undecided = LEVEL / max(1, len(tested) - int(positive.sum()))  # where Holm stopped
    for k, index in enumerate(tested):
        verdicts[index] = "violated" if negative[k] else "holds" if positive[k] else "inconclusive"
        levels[index] = float(
            negative_levels[k] if negative[k] else positive_levels[k] if positive[k] else undecided
        )
    return verdicts, levels


def _usable(claim: Claim, evidence: Evidence) -> tuple[Evidence, list[int], list[str]]:
    """A claim's evidence without replicates that failed in it; who is left, and what failed."""
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
    return Evidence(evidence.preset, loops, generators), kept, named


def _overall(verdicts: Sequence[str]) -> str:
    for verdict in ("violated", "inconclusive"):
        if verdict in verdicts:
            return verdict
    return "holds" if verdicts else "inconclusive"


def _json(cell: Cell, verdict: str, level: float) -> Json:
    replicates = cell.measured.size
    half = t_half_width(t_test(cell.measured).stderr, replicates, level)
    mean = float(cell.measured.mean())
    margin = t_test(cell.margins)
    width = t_half_width(margin.stderr, replicates, level)
    judged = {
        "margin": margin.mean,
        "margin_low": margin.mean - width,
        "margin_high": margin.mean + width,
    }
    return {
        **cell.keys,
        "measured": mean,
        "low": mean - half,
        "high": mean + half,
        "bound": None if np.isnan(cell.bound) else cell.bound,
        **(dict.fromkeys(judged) if np.isnan(cell.bound) else judged),
        "level": level,
        "verdict": verdict,
        **({"by_definition": True} if cell.by_definition else {}),
    }


def judge(claim: Claim, evidence: Evidence) -> Json:
    """Judge a claim: the entry of `claims.json`.

    A cell that is significantly on the wrong side is `violated` if the statement is proved or
    published for what is measured; otherwise it is `inconclusive` and marked as `missed`.

    A cell's `low` and `high` bound the measured mean, `margin_low` and `margin_high` the mean
    margin, on which the verdict rests: Student's over replicates, each side at the level at which
    Holm decided the cell, or stopped. With fewer than 3 usable replicates nothing is decided.
    """
    usable, kept, failed = _usable(claim, evidence)
    entry: Json = {
        "name": claim.name,
        "statement": claim.statement,
        "source": claim.source,
        "replicates": len(kept),
        "failed": failed,
    }
    if len(kept) < 3:
        control = {"what": claim.control, "rejected": False}
        empty = {"constants": [], "cells": [], "negative_control": control}
        return {**entry, "verdict": "inconclusive", **empty}
    cells, control_cells, constants = claim.judge(usable)
    if claim.finding:
        verdicts, levels = ["finding"] * len(cells), [LEVEL / 2] * len(cells)
    else:
        verdicts, levels = _verdicts(cells)
    missed = [verdict == "violated" for verdict in verdicts]
    if not claim.proved:
        verdicts = ["inconclusive" if miss else v for v, miss in zip(verdicts, missed, strict=True)]
    rejected = _verdicts(control_cells)[0]
    return {
        **entry,
        "verdict": "finding" if claim.finding else _overall(verdicts),
        "constants": list(constants),
        "cells": [
            {**_json(cell, verdict, level), **({"missed": True} if miss else {})}
            for cell, verdict, level, miss in zip(cells, verdicts, levels, missed, strict=True)
        ],
        "negative_control": {
            "what": claim.control,
            "rejected": "violated" in rejected,
            "cells_rejected": rejected.count("violated"),
            "cells": len(rejected),
        },
    }

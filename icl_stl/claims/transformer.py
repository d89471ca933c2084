"""Claims about the transformer: drift and its triangle, the real share, how labels are sampled."""

from typing import Any

import numpy as np

from icl_stl import bounds
from icl_stl.claims.judging import Cell, Claim, Evidence, Json, Judged
from icl_stl.config import Preset
from icl_stl.intervals import empirical_bernstein
from icl_stl.regimes import Augment, Regime, Replace, mixing_weights, real_share
from icl_stl.results import Floats, LoopResult

GROWTH_TOLERANCE = 0.05
"""How much a drift that "does not keep growing" may grow from generation 2 to the last."""

KEPT = (0.8, 1.25)
"""Implied over prior task variance between which the task variance counts as kept."""

LOST = 0.5
"""Implied over prior task variance below which the task variance counts as lost."""


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


CLAIMS = (
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
        control="a one-step error is less than half of the drift: eps_i <= T_i / 2 (whole prompts)",
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
"""Claims about the transformer, in the order in which they are shown."""

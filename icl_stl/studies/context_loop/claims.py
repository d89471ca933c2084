"""The claim about loops in the context: a frozen predictor that relabels its own examples.

Every number of an ideal predictor has an exact law (`references.context`), computed from the very
inputs and labels that the loop was run on. What trained networks do is a finding.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from icl_stl import bounds, references
from icl_stl.lab.results import Floats
from icl_stl.laws import LinearRegression
from icl_stl.studies.cells import WITHIN, equal
from icl_stl.studies.context_loop.experiments import ContextLoops
from icl_stl.studies.judging import Cell, Claim, Evidence, Json, Judged
from icl_stl.studies.presets import Preset

TASK = LinearRegression(dim=3, context=12, noise=0.5, tasks="sphere")
"""The real law of the ideal predictors; every task has the length √3."""

PENALTY = TASK.noise**2
"""λ = σ²/τ²: ridge is the posterior mean."""

BEST = TASK.context / (TASK.context + TASK.dim + 1 + TASK.noise**2)
"""c of the best linear attention, for new inputs."""

STRONG = 1.3
"""c of a linear attention that is stable in the mean and not in mean square at α = 1/4."""

ONE_INPUT = LinearRegression(dim=1, context=12, noise=0.5, inputs="sphere")
"""Inputs 1 and -1: the bound on the influence of a label is attained."""

ONE_KEPT = LinearRegression(dim=2, context=16, noise=1.0, tasks="sphere")
"""Three quarters keep their real labels, all of one input: half of the task is never seen."""

NETWORK_TASK = LinearRegression(dim=2, context=10, noise=0.2, inputs="sphere")
"""The real law of the networks."""

BLIND = "squared error in the direction that no kept input sees"
"""At least `WITHIN` of its limit."""

PATH = 0.01
"""Largest relative distance of a loop from its exact recursion."""

TIGHT = 1e-3
"""Relative tolerance of a bound that is attained."""

ROUNDING = 1e-4
"""Relative error allowed to single precision."""

NEAR = 0.05
"""Loops whose factor is so close to 1 are not asked whether they converge."""

RARELY = 0.05
"""Share of loops that may be on the wrong side after finitely many generations."""


def _experiments(preset: Preset) -> dict[str, ContextLoops]:
    sizes = preset.in_context
    ridge, attention = ("ridge", PENALTY), ("linear_attention", BEST)
    one = 1 / ONE_INPUT.dim, 1.5 / ONE_INPUT.dim
    return {
        "fixed": ContextLoops(
            TASK, (ridge, attention), (0, 1, 3, 6), 30, sizes.designs, change="start"
        ),
        "noise": ContextLoops(
            TASK,
            (ridge, ("least_squares", 0.0), attention),
            (0, 3, 6),
            20,
            sizes.runs,
            relabel_noise=TASK.noise,
        ),
        "inputs": ContextLoops(
            TASK, (ridge,), (3, 6), 20, sizes.designs, fresh="inputs", change="start"
        ),
        "all": ContextLoops(
            TASK,
            (("linear_attention", STRONG), ("least_squares", 0.0)),
            (0, 3),
            10,
            4 * sizes.runs,  # its mean squares scatter most
            relabel_noise=TASK.noise,
            fresh="all",
            change="start",
        ),
        "one input": ContextLoops(
            ONE_INPUT,
            tuple(("linear_attention", c) for c in one),
            (0, 3, 6, 12),
            20,
            sizes.designs,
            change="first",
        ),
        "one kept": ContextLoops(
            ONE_KEPT,
            (("ridge", ONE_KEPT.noise**2),),
            (3 * ONE_KEPT.context // 4,),
            40,
            sizes.designs,
            relabel_noise=0.1,
            one_input=True,
        ),
        "influence": ContextLoops(
            replace(TASK, inputs="sphere"),
            (ridge, ("linear_attention", 1 / TASK.dim)),
            (3, 6, 12),
            20,
            sizes.designs,
            change="first",
        ),
        "network": ContextLoops(
            NETWORK_TASK,
            (),
            (0, 1, 3, 5, 10),
            sizes.generations,
            sizes.networks,
            change="first",
            network=sizes.network,
            training=sizes.training,
            prompts=sizes.prompts,
        ),
    }


def _seen(evidence: Evidence, experiment: ContextLoops) -> dict[str, Floats]:
    found = evidence.experiments[experiment]
    return {name: np.asarray(values, np.float64) for name, values in found.items()}


def _split(seen: dict[str, Floats], k: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Kept inputs and labels, inputs and first labels of the others."""
    xs, ys = seen["xs"], seen["ys"]
    return xs[..., :k, :], ys[..., :k], xs[..., k:, :], ys[..., k:]


def _where(loop: str, regime: str, m: int, k: int, generation: int, **more: Any) -> Json:
    return {
        "loop": loop,
        "regime": regime,
        "alpha": k / m,
        "generation": generation,
        "kept": k,
        "m": m,
        **more,
    }


def _at_most(
    values: Floats, limits: Floats | float, keys: Json, slack: float = 0.0, ceiling: float = np.inf
) -> Cell:
    """Numbers without sampling error, every one at most its limit, up to rounding."""
    limits = np.broadcast_to(limits, values.shape)
    margins, limit = limits + slack - values, float(limits.mean())
    return Cell(margins, values, limit, keys, "exact", ceiling=ceiling)


def _family(loop: str, k: int, wrong: str) -> Json:
    """The family of a cell of the control."""
    return {"family": f"{loop}, {k} kept: {wrong}"}


def _attained(values: Floats, limits: Floats | float, keys: Json) -> Cell:
    """Numbers without sampling error, every one equal to its limit."""
    limits = np.broadcast_to(limits, values.shape)
    margins = TIGHT - np.abs(values / limits - 1)
    return Cell(margins, values, float(limits.mean()), keys, "exact")


def _length(vectors: Floats) -> Floats:
    lengths: Floats = np.sqrt((vectors**2).sum(axis=-1))
    return lengths


def _norm(matrix: Floats, vectors: Floats) -> Floats:
    """Norms in a matrix of each run: `[runs, d, d]`, `[runs, ..., d]`."""
    norms: Floats = np.sqrt(np.einsum("r...i,rij,r...j->r...", vectors, matrix, vectors))
    return norms


def _gram(xs: Floats) -> Floats:
    gram: Floats = xs.swapaxes(-1, -2) @ xs
    return gram


def _inverse(matrix: Floats) -> Floats:
    return np.asarray(np.linalg.inv(matrix), np.float64)


def _off_path(weights: Floats, path: Floats) -> Floats:
    """Largest relative distance from the recursion over the generations, of each run."""
    worst: Floats = (_length(weights - path) / _length(path)).max(axis=-1)
    return worst


def _fixed_point(evidence: Evidence, chosen: dict[str, ContextLoops]) -> Judged:
    """Ridge without noise: where it goes, how fast, and what it does with too few real labels."""
    experiment = chosen["fixed"]
    seen, last, m = _seen(evidence, experiment), experiment.generations, TASK.context
    cells, control = [], []
    for place, k in enumerate(experiment.kept):
        kept_xs, kept_ys, xs, ys = _split(seen, k)
        loops = [seen[name][:, 0, place] for name in ("predictions", "changed")]
        other = ys + seen["shift"][:, k:]
        paths = [
            references.ridge_context(kept_xs, kept_ys, xs, labels, PENALTY, 0.0, last).mean
            for labels in (ys, other)
        ]
        own = _gram(kept_xs) + PENALTY * np.eye(TASK.dim)
        off = np.max([_off_path(*pair) for pair in zip(loops, paths, strict=True)], axis=0)
        keys = _where("ridge", "fixed inputs", m, k, last)
        what = "largest relative distance from the recursion, both starts"
        cells.append(_at_most(off, PATH, {**keys, "quantity": what}))
        fixed = references.ridge_on_kept(kept_xs, kept_ys, PENALTY)
        slowest = references.ridge_modes(kept_xs, xs, PENALTY)[:, -1]
        slowest = slowest / (1 + slowest)
        away = _norm(own, loops[1] - fixed[:, None])
        left = away / away[:, :1]
        curve = {"curve": np.median(left, axis=0).tolist(), "rate": float(np.median(slowest))}
        shown = "distance to ridge on the kept examples, over that of the start"
        at = {**keys, **curve, "kind": "left", "quantity": shown}
        cells.append(_at_most(left[:, -1], slowest**last, at, ROUNDING))
        # The distance of the loop that starts from real labels is smaller: the same bound.
        first = _norm(own, loops[0] - fixed[:, None])
        reach = slowest**last * first[:, 0]
        at = {**keys, "quantity": "distance to ridge on the kept examples, from real labels"}
        scale = _norm(own, fixed) + first[:, 0]
        cells.append(_at_most(first[:, -1] / scale, reach / scale, at, ROUNDING))
        if k >= TASK.dim:
            start = loops[0][:, 0]  # ridge on all real examples
            wrong = _norm(own, loops[1][:, -1] - start)
            at = {**keys, "quantity": "distance to ridge on all examples"}
            at |= _family("ridge", k, "ridge on all examples")
            control.append(
                _at_most(wrong / scale, slowest**last * away[:, 0] / scale, at, ROUNDING)
            )
        else:
            lowest = _unseen_factor(kept_xs, xs)
            at = {**keys, "quantity": "slowest factor, against that of what no kept input sees"}
            cells.append(_at_most(lowest, slowest, at, ROUNDING))
            at = {**keys, "quantity": shown, **_family("ridge", k, "rate 1 - alpha")}
            control.append(_at_most(left[:, -1], (1 - k / m) ** last, at, ROUNDING))
    control = [cell for cell in control if cell.keys["alpha"] > 0]
    return Judged(cells, control, [])


def _unseen_factor(kept_xs: Floats, xs: Floats) -> Floats:
    """a/(a + λ) with a the largest eigenvalue of X_Rᵀ X_R on the directions no kept input sees."""
    blind = np.eye(kept_xs.shape[-1]) - np.linalg.pinv(kept_xs) @ kept_xs
    largest = np.linalg.eigvalsh(blind @ _gram(xs) @ blind)[..., -1]
    factor: Floats = largest / (largest + PENALTY)
    return factor


def _new_inputs(evidence: Evidence, chosen: dict[str, ContextLoops]) -> Judged:
    """Ridge with new inputs in every generation: no step is longer than its bound."""
    experiment = chosen["inputs"]
    seen, last, m = _seen(evidence, experiment), experiment.generations, TASK.context
    cells = []
    for place, k in enumerate(experiment.kept):
        kept_xs, kept_ys, _, _ = _split(seen, k)
        fixed = references.ridge_on_kept(kept_xs, kept_ys, PENALTY)
        own = _gram(kept_xs) + PENALTY * np.eye(TASK.dim)
        away = _norm(own, seen["changed"][:, 0, place] - fixed[:, None])
        new = seen["inputs"][:, place, 1:, k:]
        phi = references.ridge_modes(kept_xs[:, None], new, PENALTY)[..., -1]
        allowed = (phi / (1 + phi)).prod(axis=1)
        keys = _where("ridge", "new inputs", m, k, last)
        keys["quantity"] = "distance to ridge on the kept examples, over that of the start"
        cells.append(_at_most(away[:, -1] / away[:, 0], allowed, keys, ROUNDING))
        step = (away[:, 1:] / away[:, :-1]) / (phi / (1 + phi))
        seen_well = away[:, :-1] > ROUNDING * (_norm(own, fixed) + away[:, 0])[:, None]
        keys = {**keys, "quantity": "largest step over its bound"}
        cells.append(_at_most(np.where(seen_well, step, 0).max(axis=1), 1.0, keys, PATH))
    return Judged(cells, [], [])


def _noise(evidence: Evidence, chosen: dict[str, ContextLoops]) -> Judged:
    """Noise on new labels: covariances, the half, and the random walk without real labels."""
    experiment = chosen["noise"]
    seen, last, m = _seen(evidence, experiment), experiment.generations, TASK.context
    noise, d = experiment.relabel_noise, TASK.dim
    cells, control = [], []
    for place, k in enumerate(experiment.kept):
        kept_xs, kept_ys, xs, ys = _split(seen, k)
        examples = (kept_xs, kept_ys, xs, ys)
        for loop, which, shown in (("ridge", 0, (1, 5, last)), ("linear attention", 2, (1, 5, 10))):
            if k == 0:
                continue
            path = (
                references.ridge_context(*examples, PENALTY, noise, last)
                if loop == "ridge"
                else references.attention_context(*examples, BEST, noise, last)
            )
            off = seen["predictions"][:, which, place] - path.mean
            for g in shown:
                spread = _norm(_inverse(path.covariance[:, g]), off[:, g]) ** 2 / d
                keys = _where(loop, "fixed inputs", m, k, g)
                keys["quantity"] = "variance by noise on new labels, over its closed form"
                cells.append(equal(spread, 1.0, keys))
            if loop == "ridge":
                own = _gram(kept_xs) + PENALTY * np.eye(d)
                added = _norm(own, off[:, -1]) ** 2 / (noise**2 * d)
                keys = _where(loop, "fixed inputs", m, k, last)
                keys["quantity"] = "variance by noise on new labels, over that of real ones"
                keys["direction"] = "at most"
                cells.append(Cell(0.5 - added, added, 0.5, keys))
                keys = {**keys, **_family(loop, k, "a quarter")}
                control.append(Cell(0.25 - added, added, 0.25, keys))
        if k == 0:
            off = seen["predictions"][:, 1, place] - seen["task"][:, None]
            walk = references.ols_context_walk(seen["xs"], noise, last)
            for g in (1, 5, last):
                spread = _norm(_inverse(walk[:, 0]), off[:, g]) ** 2 / d
                keys = _where("least squares", "fixed inputs", m, k, g)
                keys["quantity"] = "squared error over that of one fit"
                cells.append(equal(spread, g + 1.0, keys))
                wrong = _family("least squares", k, "the error stays")
                control.append(equal(spread, 1.0, {**keys, **wrong}))
    return Judged(cells, control, [])


def _convergence(evidence: Evidence, chosen: dict[str, ContextLoops]) -> Judged:
    """Linear attention with fixed inputs: its recursion, and which loops converge."""
    experiment = chosen["fixed"]
    seen, last, m = _seen(evidence, experiment), experiment.generations, TASK.context
    cells: list[Cell] = []
    control: list[Cell] = []
    for place, k in enumerate(experiment.kept):
        kept_xs, kept_ys, xs, ys = _split(seen, k)
        path = references.attention_context(kept_xs, kept_ys, xs, ys, BEST, 0.0, last).mean
        loop, other = (seen[name][:, 1, place] for name in ("predictions", "changed"))
        factor = references.attention_context_factor(kept_xs, xs, BEST)
        keys = _where("linear attention", "fixed inputs", m, k, last)
        what = "largest relative distance from the recursion"
        cells.append(_at_most(_off_path(loop, path), PATH, {**keys, "quantity": what}))
        apart = _length(other - loop)
        keys |= {"exploding": float((factor > 1).mean())}
        largest, typical = int(np.argmax(factor)), int(np.argsort(factor)[len(factor) // 2])
        keys |= {
            f"{name}_{which}": (_length(values[place_]) / _length(values[place_, 0])).tolist()
            for which, place_ in (("largest", largest), ("typical", typical))
            for name, values in (("loop", loop), ("path", path))
        }
        keys |= {"factor_largest": float(factor[largest]), "factor_typical": float(factor[typical])}
        grew = apart[:, -1] > apart[:, -2]
        for predicted, judged in ((factor, cells), (factor / (1 - k / m), control)):
            far = np.abs(factor - 1) > NEAR
            wrong = (far & (grew != (predicted > 1))).astype(np.float64)
            at = {**keys, "kind": "threshold"}
            at["quantity"] = "loops on the wrong side of their threshold"
            if judged is control:
                at |= _family("linear attention", k, "threshold rho < 1")
            # With fewer real labels than dimensions hardly a loop lies between the two thresholds.
            if judged is cells or TASK.dim <= k < m:
                judged.append(Cell(wrong, wrong, RARELY, at, "rate", tolerance=RARELY))
    return Judged(cells, control, [])


def _twins(seen: dict[str, Floats], which: int, place: int) -> tuple[Floats, Floats, Floats]:
    """How the difference of coupled loops changes: along itself, squared, logarithm of length."""
    apart = seen["changed"][:, which, place] - seen["predictions"][:, which, place]
    before, after = apart[:, :-1], apart[:, 1:]
    square = (before**2).sum(axis=-1)
    along = (before * after).sum(axis=-1) / square
    ratio = (after**2).sum(axis=-1) / square
    return along.mean(axis=1), ratio.mean(axis=1), np.log(ratio).mean(axis=1) / 2


def _mean_square(evidence: Evidence, chosen: dict[str, ContextLoops]) -> Judged:
    """Linear attention with new inputs: stable in the mean, not in mean square."""
    experiment = chosen["all"]
    seen, last, m = _seen(evidence, experiment), experiment.generations, TASK.context
    noise, d = experiment.relabel_noise, TASK.dim
    task = np.sqrt(d) * np.eye(d)[0]
    cells, control, constants = [], [], []
    for place, k in enumerate(experiment.kept):
        factors = references.attention_fresh_factors(d, k, m - k, STRONG)
        along, square, logarithm = _twins(seen, 0, place)
        keys = _where("linear attention", "new examples", m, k, last)
        for what, values, known in (
            ("factor of the mean of a difference", along, factors.mean),
            ("factor of its mean square", square, factors.square),
        ):
            cells.append(equal(values, known, {**keys, "quantity": what}))
        rate = float(np.log(factors.typical))
        at = {**keys, "quantity": "mean logarithm of the factor of its length"}
        cells.append(Cell(logarithm - rate, logarithm, rate, at, "equal", tolerance=WITHIN))
        at = {**keys, "quantity": "factor of its mean square"}
        at |= _family("linear attention, new examples", k, "the mean squared")
        control.append(equal(square, factors.mean**2, at))
        weights = seen["predictions"][:, 0, place]
        path = references.attention_fresh_context(task, k, m - k, STRONG, noise, noise, last)
        moments = np.trace(path.second, axis1=1, axis2=2)
        squares = (weights**2).sum(axis=-1)
        expected = references.attention_fresh_square(
            seen["task"][:, None], weights[:, :-1], k, m - k, STRONG, noise, noise
        )
        step = (squares[:, 1:] / expected).mean(axis=1)
        at = {
            **keys,
            "quantity": "mean square of the weights, over its recursion from those before",
        }
        cells.append(equal(step, 1.0, at))
        for g in (1, 2):
            at = _where("linear attention", "new examples", m, k, g)
            at["quantity"] = "mean square of the weights"
            cells.append(equal(squares[:, g], float(moments[g]), at))
        at = _where("linear attention", "new examples", m, k, last)
        at |= {
            "kind": "rare",
            "quantity": "mean square of the weights, rare loops",
            "curve": squares.mean(axis=0).tolist(),
        }
        at |= {"recursion": moments.tolist(), "median": np.median(squares, axis=0).tolist()}
        at |= {"factors": [factors.mean, factors.square, factors.typical]}
        limit = float(moments[-1])
        cells.append(Cell(squares[:, -1] - limit, squares[:, -1], limit, at, finding=True))
        if k:
            at = _where("linear attention", "new examples", m, k, last)
            stable = {**at, "quantity": "closed form of the factor of the mean, against 1"}
            stays = _at_most(np.array([factors.mean]), 1.0, stable)
            cells.append(replace(stays, finding=True))  # of formulas no loop can speak
            grows = {
                **at,
                "quantity": "1, against the closed form of the factor of the mean square",
            }
            above = _at_most(np.array([1.0]), factors.square, grows)
            cells.append(replace(above, finding=True))
        constants.append(
            {
                "name": f"factors of linear attention with new inputs, {k} of {m} kept",
                "value": [factors.mean, factors.square, factors.typical],
                "provenance": "certified",
            }
        )
    return Judged(cells, control, constants)


def _least_squares(evidence: Evidence, chosen: dict[str, ContextLoops]) -> Judged:
    """Least squares with new inputs: its mean square error, and the factor of a difference."""
    experiment = chosen["all"]
    seen, last, m = _seen(evidence, experiment), experiment.generations, TASK.context
    cells, control = [], []
    for place, k in enumerate(experiment.kept):
        known = references.ols_fresh_context(k, m - k, TASK.dim, TASK.noise, last)
        off = seen["predictions"][:, 1, place] - seen["task"][:, None]
        error = (off**2).sum(axis=-1)
        for g in (1, 2, 5, 10):
            keys = _where("least squares", "new examples", m, k, g)
            keys["quantity"] = "squared error of the weights"
            cells.append(equal(error[:, g], float(known[g]), keys))
        if k:
            square = _twins(seen, 1, place)[1]
            rho = references.ols_fresh_context_factor(k, m - k, TASK.dim)
            keys = _where("least squares", "new examples", m, k, last)
            keys |= {"quantity": "factor of the mean square of a difference"}
            cells.append(equal(square, rho, keys))
            keys = {**keys, **_family("least squares, new examples", k, "(1 - alpha)^2")}
            control.append(equal(square, (1 - k / m) ** 2, keys))
    return Judged(cells, control, [])


def _influence(evidence: Evidence, chosen: dict[str, ContextLoops]) -> Judged:
    """One real label that is one larger: against the bound, to equality where it is attained."""
    cells, control = [], []
    experiment = chosen["one input"]
    seen, m = _seen(evidence, experiment), ONE_INPUT.context
    for which, (_, kappa) in enumerate(experiment.predictors):
        for place, k in enumerate(experiment.kept):
            effect = np.abs(seen["changed"] - seen["predictions"])[:, which, place, :, 0]
            for g in (1, 20):
                bound = bounds.context_loop(
                    m, k / m, g, c=kappa, kappa=kappa, kept=k > 0, provenance="certified"
                )
                keys = _where("linear attention, d = 1", "fixed inputs", m, k, g)
                keys |= {"quantity": "influence of one label, attained", "kappa": kappa}
                cells.append(_attained(effect[:, g], float(bound.gamma), keys))
                if g == 20:
                    at = {**keys, **_family(f"kappa = {kappa:g}", k, "half the bound")}
                    control.append(_at_most(effect[:, g], float(bound.gamma) / 2, at))
    experiment = chosen["influence"]
    seen, m, d, last = _seen(evidence, experiment), TASK.context, TASK.dim, experiment.generations
    kappas = references.ridge_sensitivity(seen["xs"], PENALTY)
    for place, k in enumerate(experiment.kept):
        moved = seen["changed"][:, :, place] - seen["predictions"][:, :, place]
        attention = np.sqrt(d) * _length(moved[:, 1])
        at_inputs = np.abs(np.einsum("rgd,rmd->rgm", moved[:, 0], seen["xs"]))
        ridge = at_inputs.max(axis=-1)
        for g in (1, 20) if k < m else ():
            bound = bounds.context_loop(m, k / m, g, c=1.0, kappa=1.0, provenance="certified")
            keys = _where("linear attention", "fixed inputs", m, k, g, kappa=1.0)
            keys["quantity"] = "influence of one label, largest over queries"
            cells.append(_at_most(attention[:, g], float(bound.gamma), keys, ROUNDING))
            bound = bounds.context_loop(m, k / m, g, c=kappas, kappa=kappas, provenance="certified")
            keys = _where("ridge", "fixed inputs", m, k, g, kappa=float(kappas.mean()))
            keys["quantity"] = "influence of one label, largest over its inputs"
            # Ridge shortens labels, so the squared length grows by that of the kept one at most.
            most = float(np.sqrt(g + 1))
            cells.append(_at_most(ridge[:, g], bound.gamma, keys, ROUNDING, most))
        kept_xs, _, xs, ys = _split(seen, k)
        unit = np.zeros(kept_xs.shape[:-1])
        unit[:, 0] = 1.0
        path = references.ridge_context(kept_xs, unit, xs, 0 * ys, PENALTY, 0.0, last).mean
        keys = _where("ridge", "fixed inputs", m, k, last)
        keys["quantity"] = "influence of one label, largest relative distance from the recursion"
        cells.append(_at_most(_off_path(moved[:, 0], path), PATH, keys))
        share = k / m * ridge[:, -1] / np.abs(at_inputs[:, 0]).max(axis=-1)
        keys = _where("ridge", "fixed inputs", m, k, last)
        keys["quantity"] = "alpha times the influence in the limit over that of generation 0"
        keys["curve"] = ridge.mean(axis=0).tolist()
        cells.append(Cell(share - 1, share, 1.0, keys, finding=True))
    return Judged(cells, control, [])


def _one_kept(evidence: Evidence, chosen: dict[str, ContextLoops]) -> Judged:
    """Many real labels of one input: where it does not look, the error rises to its limit.

    A task and its mirror image in the line of that input are equally likely and t = 2 |w_v| apart.
    """
    experiment = chosen["one kept"]
    seen, (k,), noise = _seen(evidence, experiment), experiment.kept, experiment.relabel_noise
    keys = _where("ridge", "one kept input", ONE_KEPT.context, k, experiment.generations)
    off = seen["predictions"][:, 0, 0] - seen["task"][:, None]
    sees = seen["xs"][:, 0] / _length(seen["xs"][:, :1])
    blind = np.stack([-sees[:, 1], sees[:, 0]], axis=1)
    found = []
    for direction in (blind, sees):
        error = np.einsum("rgd,rd->rg", off, direction) ** 2
        apart = 2 * np.abs((seen["task"] * direction).sum(axis=1))
        limit = bounds.kept_inputs_limit(apart, 1.0, noise, np.inf).limit
        least, last = (1 - WITHIN) * limit, error[:, -1]
        at = {**keys, "kind": "blind", "quantity": BLIND, "curve": error.mean(axis=0).tolist()}
        at["limit_error"] = float(limit.mean())
        found.append(Cell(last - least, last, float(least.mean()), at))
        if direction is blind:
            at = {**at, "direction": "at most", **_family("ridge", k, "it stays as it was")}
            stays = Cell(error[:, 0] - last, last, float(error[:, 0].mean()), at)
    seen_well = {**found[1].keys, **_family("ridge", k, "likewise where they look")}
    return Judged(found[:1], [stays, replace(found[1], keys=seen_well)], [])


def _networks(evidence: Evidence, chosen: dict[str, ContextLoops]) -> Judged:
    """Trained networks beside ridge in the same prompts: findings."""
    experiment = chosen["network"]
    seen, last, m = _seen(evidence, experiment), experiment.generations, NETWORK_TASK.context
    penalty = NETWORK_TASK.noise**2 / NETWORK_TASK.prior_scale**2
    queries = seen["queries"]
    truth = np.einsum("rpqd,rpd->rpq", queries, seen["task"])[:, :, None]
    cells = []
    for place, k in enumerate(experiment.kept):
        kept_xs, kept_ys, xs, ys = _split(seen, k)
        loop, other = (seen[name][:, :, 0, place] for name in ("predictions", "changed"))
        unit = seen["shift"][..., :k]
        path, moved = (
            np.einsum("rpqd,rpgd->rpgq", queries, found.mean)
            for found in (
                references.ridge_context(kept_xs, kept_ys, xs, ys, penalty, 0.0, last),
                references.ridge_context(
                    kept_xs, unit, xs, seen["shift"][..., k:], penalty, 0.0, last
                ),
            )
        )
        fixed = np.einsum(
            "rpqd,rpd->rpq", queries, references.ridge_on_kept(kept_xs, kept_ys, penalty)
        )
        error, ideal = _typical_square(loop - truth), _typical_square(path - truth)
        influence = np.median(np.abs(other - loop).max(axis=-1), axis=1)
        expected = np.median(np.abs(moved).max(axis=-1), axis=1)
        limit = _typical_square(fixed[:, :, None] - truth)[:, 0]
        distance = _typical_square(loop - fixed[:, :, None])
        for kind, what, values, beside in (
            ("error", "squared error", error, ideal),
            ("distance", "squared distance to ridge on the kept examples", distance, None),
            ("influence", "influence of one label", influence, expected),
        ):
            keys = _where("network", "fixed inputs", m, k, last, kind=kind, quantity=what)
            keys["curve"] = values.mean(axis=0).tolist()
            reference = np.nan
            if beside is not None:
                keys["ridge"] = beside.mean(axis=0).tolist()
                reference = float(beside[:, -1].mean())
            else:
                keys["limit_error"] = float(limit.mean())
            final = values[:, -1]
            cells.append(Cell(final - reference, final, reference, keys, finding=True))
    return Judged(
        cells,
        [],
        [
            {
                "name": "mean training loss of the networks",
                "value": seen["loss"].tolist(),
                "provenance": "measured",
            }
        ],
    )


def _typical_square(values: Floats) -> Floats:
    """Mean square over queries, median over prompts: `[R, prompts, G + 1, Q]` to `[R, G + 1]`."""
    found: Floats = np.median((values**2).mean(axis=-1), axis=1)
    return found


PARTS = (
    _fixed_point,
    _new_inputs,
    _noise,
    _convergence,
    _mean_square,
    _least_squares,
    _influence,
    _one_kept,
    _networks,
)


def _judge(evidence: Evidence) -> Judged:
    chosen = _experiments(evidence.preset)
    judged = [part(evidence, chosen) for part in PARTS]
    return Judged(
        [cell for part in judged for cell in part.cells],
        [cell for part in judged for cell in part.control],
        [constant for part in judged for constant in part.constants],
    )


CLAIMS = (
    Claim(
        name="context_loop",
        statement="a frozen predictor relabels its own context but for a share alpha of real "
        "labels. Ridge goes to ridge on the kept examples, each mode by phi/(1+phi), noise on new "
        "labels adds at most half of that of real ones. alpha m >= d is needed by every predictor: "
        "where no kept input looks the error rises to its limit. Linear attention with fixed "
        "inputs converges iff (1-alpha) rho < 1, with new ones it may be stable in the mean and "
        "not in mean square; least squares follows rho_2; the influence of one label is below its "
        f"bound, attained for d = 1. Means within {WITHIN:.0%} of closed forms. Trained networks: "
        "findings",
        source="derived here: loops in the context. That transformers in context are recursively "
        "stable: paper, abstract-level claim",
        control="ridge goes to ridge on all examples; its rate is 1 - alpha; noise adds at most a "
        "quarter; without real labels the error stays; the threshold is rho < 1; the mean square "
        "follows the mean; (1-alpha)^2 for rho_2; half the bound on the influence; the error "
        "where no kept input looks stays, and is as large where one does",
        experiments=lambda preset: tuple(_experiments(preset).values()),
        judge=_judge,
    ),
)
"""The claim about loops in the context."""

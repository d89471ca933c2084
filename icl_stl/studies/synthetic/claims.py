"""Claims about how much synthetic data: where more of it hurts, helps, and helps most.

All loops of a run share their randomness, so that sizes and weights are compared in pairs. Numbers
that are predicted are those of closed forms; nothing measured goes into a prediction.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Literal

import numpy as np
from scipy import stats

from icl_stl import references
from icl_stl.intervals import LEVEL
from icl_stl.lab.experiments import LoopSize, SizedLoops
from icl_stl.lab.results import Floats
from icl_stl.planning.error_law import ErrorLaw, fit_error_law, interval, resampled_laws
from icl_stl.planning.plan import Question, nearly_best
from icl_stl.problems import ClippedMean, GaussianMean, LinearAttention, Ols, Solvable
from icl_stl.studies.cells import (
    WITHIN,
    Bools,
    constant,
    equal,
    half_widths,
    jackknifed,
    run_count,
    standard_errors,
    together,
    wide,
)
from icl_stl.studies.judging import Cell, Claim, Evidence, Json, Judged
from icl_stl.studies.presets import Preset

NOISE = 1.0
"""σ of the Gaussian mean and of least squares."""


def _where(experiment: SizedLoops, generation: int, size: LoopSize, **more: Any) -> Json:
    """Where a cell is: which of the loops of a run."""
    return {
        "loop": experiment.problem.words,
        "regime": experiment.world,
        "alpha": size.share,
        "generation": generation,
        "n": size.samples,
        "lam": size.n_syn / size.samples,
        **more,
    }


def vertex(x: Floats, y: Floats) -> float:
    """Where the parabola through these points, by least squares, turns; nan if it is none."""
    second, first, _ = np.polyfit(x, y, 2)
    return float(-first / (2 * second)) if second else float("nan")


def _place(found: Floats, expected: float, keys: Json, tolerance: float) -> Cell:
    """A place that was found, beside an expected one."""
    test: Literal["equal", "undecided"] = "undecided" if np.isnan(found).any() else "equal"
    return Cell(found - expected, found, expected, keys, test, tolerance)


PHASE_PROBLEM = Ols(2)
PHASE_ROWS = 10
"""n: as few rows as least squares with d = 2 needs for moments of its squared error."""

PHASE_LAMS = (0, 1, 2, 3, 4, 5, 6, 9, 12, 16, 24, 48)
"""λ: fine around the peaks, up to five times the last one. Rows with the inputs of the real ones
come in whole multiples of n."""

PHASE_GRIDS = {1: (0, 9), 5: (2, 16), 10: (3, 48), 20: (6, 48)}
"""Generation: from which λ to which one the parabola is fitted in ρ = λ/(1 + λ). In ρ the curve of
generation 1 is one, ρ (1 - ρ), with λ = 0 on it: so its top is seen although no λ lies below 1. The
ranges are those where the closed form's own parabola turns within 8 % of its top."""

HEIGHT, PLACE = 0.1, 0.2
"""Relative tolerances of the height of a peak and of where it is. The height is a small difference
of two errors of one real set, of which each scatters as much as itself: a tenth is three standard
errors of ten thousand loops. Peaks are flat, a fifth aside costs less than 1 % of the height; those
of the generations shown are 1.7 times apart at least, more than (1 + 1/5)/(1 - 1/5) = 1.5."""


def extra_error(lam: Any, generation: int) -> Any:
    """Excess over real-only in units of it: λ/(1 + 2λ) (1 - ρ^{2i}), ρ = λ/(1 + λ).

    Source: derived here: THEORY.md statements 43 and 79.
    """
    rho = lam / (1 + lam)
    return lam / (1 + 2 * lam) * (1 - rho ** (2 * generation))


@cache
def peak(generation: int) -> float:
    """λ at which `extra_error` of a generation i >= 1 is largest, by bisection in ρ.

    Its derivative in ρ has the sign of 1 - ρ^{2i} [1 + 2 i (1 + ρ)], positive and then negative.

    Source: derived here: THEORY.md statement 79.
    """
    low, high = 0.0, 1.0
    for _ in range(60):
        rho = (low + high) / 2
        rises = rho ** (2 * generation) * (1 + 2 * generation * (1 + rho)) < 1
        low, high = (rho, high) if rises else (low, rho)
    return low / (1 - low)


def _phase_experiments(preset: Preset) -> tuple[SizedLoops, ...]:
    sizes = tuple(LoopSize(PHASE_ROWS, PHASE_ROWS * lam) for lam in PHASE_LAMS)
    last, runs = max(PHASE_GRIDS), run_count(preset, 1.2)
    return (SizedLoops(PHASE_PROBLEM, "same-inputs", sizes, last, runs),)


def _place_cell(
    over: Floats, experiment: SizedLoops, generation: int, expected: float, **keys: Any
) -> Cell:
    """Where the parabola through the mean differences turns, beside an expected λ."""
    first, last = PHASE_GRIDS[generation]
    lams = np.array(PHASE_LAMS, float)
    chosen = (lams >= first) & (lams <= last)
    rho = lams[chosen] / (1 + lams[chosen])

    def place(kept: Bools) -> float:
        turn = vertex(rho, over[kept][:, chosen].mean(0))
        return turn / (1 - turn)

    own = vertex(rho, extra_error(lams[chosen], generation))
    peaked = experiment.sizes[int(np.abs(lams - peak(generation)).argmin())]
    found = _where(experiment, generation, peaked, kind="place", **keys)
    found |= {"quantity": "lambda of the peak", "lam": peak(generation)}
    found |= {"own_parabola": own / (1 - own)}
    del found["alpha"]
    return _place(jackknifed(place, len(over)), expected, found, PLACE * expected)


def _judge_phase(evidence: Evidence) -> Judged:
    (experiment,) = _phase_experiments(evidence.preset)
    excess = wide(evidence, experiment, "excess")
    over = (
        excess - excess[:, :1]
    )  # the real set stays, so real-only is the same in every generation
    single = references.ols_single_fit(PHASE_ROWS, PHASE_PROBLEM.dim, NOISE)
    lams = np.array(PHASE_LAMS, float)
    generations = list(PHASE_GRIDS)
    cells, control = [], []
    for at, i in enumerate(generations):
        values = over[:, :, i] / single
        highest = int(np.abs(lams - peak(i)).argmin())
        least = 0 if i == 1 else 1  # no whole λ lies between 0 and the peak of generation 1
        sizes = experiment.sizes
        known = float(extra_error(lams[highest], i))
        keys = _where(experiment, i, sizes[highest]) | {
            "kind": "height",
            "quantity": "height of the peak",
            "of": "one fit",
        }
        keys |= {
            "lams": lams.tolist(),
            "curve": values.mean(0).tolist(),
            "half_width": half_widths(values),
            "exact": extra_error(lams, i).tolist(),
        }
        cells.append(equal(values[:, highest], known, keys, HEIGHT))
        cells.append(_place_cell(values, experiment, i, peak(i)))
        for index, words in ((least, "rises"), (len(lams) - 1, "falls")):
            margins = values[:, highest] - values[:, index]
            expected = known - float(extra_error(lams[index], i))
            keys = _where(experiment, i, sizes[index]) | {
                "kind": words,
                "quantity": f"{words}: peak less this lambda",
                "direction": "above",
                "expected": expected,
            }
            cells.append(Cell(margins, margins, 0.0, keys))
        endless = float(lams[-1] / (1 + 2 * lams[-1]))
        keys = _where(
            experiment,
            i,
            sizes[-1],
            kind="limit",
            quantity="limit",
            family=f"limit, generation {i}",
        )
        control.append(equal(values[:, -1], endless, keys, HEIGHT))
        # That of generation 1 is at most 1/2.95 of the others, of which the last is farthest.
        other = peak(generations[-1 if at == 0 else 0])
        control.append(_place_cell(values, experiment, i, other, family=f"place, generation {i}"))
    return Judged(
        cells,
        control,
        [
            constant("excess of one fit", single, "certified"),
            *(
                constant(f"lambda of the peak, generation {i}", peak(i), "certified")
                for i in generations
            ),
        ],
    )


GOLDEN_ROWS, GOLDEN_RATIOS = 20, (0.25, 1.0, 4.0)
"""n, and k = n/n_syn."""

GOLDEN_STEPS = (-0.09, -0.06, -0.03, 0.0, 0.03, 0.06, 0.09)
"""Weights around the best one: so near that the closed form's own parabola turns within 0.007."""

GOLDEN_GENERATIONS = range(11, 21)
"""Generations over which the error is averaged: at w >= 0.3 what is left of generation 0 is less
than (1 - w)^22 = 0.04 %."""

GOLDEN_PLACE = 0.014
"""Tolerance of a weight: half the least distance of the best weight from that of equal rows, 0.028
at k = 4, so that both can be told apart for every k."""


def _golden_best(ratio: float) -> references.BestWeight:
    return references.mean_fresh_best(GOLDEN_ROWS, round(GOLDEN_ROWS / ratio), NOISE)


def _golden_experiments(preset: Preset) -> tuple[SizedLoops, ...]:
    sizes = tuple(
        LoopSize(GOLDEN_ROWS, round(GOLDEN_ROWS / k), _golden_best(k).weight + step)
        for k in GOLDEN_RATIOS
        for step in GOLDEN_STEPS
    )
    last = GOLDEN_GENERATIONS[-1]
    return (SizedLoops(GaussianMean(), "fresh", sizes, last, run_count(preset, 0.5)),)


def _judge_golden(evidence: Evidence) -> Judged:
    (experiment,) = _golden_experiments(evidence.preset)
    late = wide(evidence, experiment, "excess")[:, :, list(GOLDEN_GENERATIONS)].mean(2)
    late = late * GOLDEN_ROWS / NOISE**2
    cells, control, constants = [], [], []
    steps = len(GOLDEN_STEPS)
    for index, k in enumerate(GOLDEN_RATIOS):
        own = late[:, steps * index : steps * (index + 1)]
        sizes = experiment.sizes[steps * index : steps * (index + 1)]
        weights = np.array([size.share for size in sizes])
        middle, best = sizes[GOLDEN_STEPS.index(0.0)], _golden_best(k)
        limit = np.array(
            [references.mean_fresh_limit(s.samples, s.n_syn, NOISE, s.share) for s in sizes]
        )
        limit *= GOLDEN_ROWS / NOISE**2

        def place(kept: Bools, own: Floats = own, weights: Floats = weights) -> float:
            return vertex(weights, own[kept].mean(0))

        found = jackknifed(place, len(own))
        keys = _where(experiment, GOLDEN_GENERATIONS[-1], middle, k=k, kind="weight")
        keys |= {"quantity": "best weight", "own_parabola": vertex(weights, limit)}
        keys |= {
            "weights": weights.tolist(),
            "curve": own.mean(0).tolist(),
            "half_width": half_widths(own),
            "exact": limit.tolist(),
        }
        cells.append(_place(found, best.weight, keys, GOLDEN_PLACE))
        equal_rows = k / (1 + k)
        cells[-1].keys["equal_rows"] = equal_rows
        words = {"quantity": "best weight is that of equal rows", "family": f"k = {k:g}"}
        control.append(_place(found, equal_rows, {**keys, **words}, GOLDEN_PLACE))
        keys = _where(experiment, GOLDEN_GENERATIONS[-1], middle, k=k, kind="error")
        keys["quantity"] = "error at the best weight, over that of real rows alone"
        least = own[:, GOLDEN_STEPS.index(0.0)]
        cells.append(equal(least, best.weight, keys))
        control.append(equal(least, 1.0, {**keys, "family": f"k = {k:g}, nothing gained"}))
        constants.append(constant(f"best weight, k = {k:g}", best.weight, "certified"))
    return Judged(cells, control, constants)


LAMS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""λ = n_syn/n at which every loop is run, beside the predicted optima."""

SHOWN = (1, 2, 5, 10)
"""Generations at which the best size is asked for."""

REGRET = 1.1
"""How much more than at the best size an objective may be at the predicted one."""

AGREES_AT = {"risk": (1.0, 8.0), "gap": (32.0,)}
"""λ at which means are compared with closed forms; of the gap where the empirical risk is that of
the most rows, whose fluctuation would else hide a twentieth of the gap."""

World = Literal["fixed", "fresh"]
Objective = Literal["risk", "gap"]
WORLDS: tuple[World, ...] = ("fixed", "fresh")
OBJECTIVES: tuple[Objective, ...] = ("risk", "gap")
OBSERVED = {"risk": "excess", "gap": "gap"}
"""What is measured of an objective: the excess risk, or risk less empirical risk."""

STUDIED: Mapping[str, tuple[int, Solvable, float]] = {
    "gaussian_mean": (20, GaussianMean(), 3.0),
    "ols": (20, Ols(4), 0.6),
    "linear_attention": (20, LinearAttention(2, 8), 0.1),
}
"""By name of the problem: n, the problem, and its part of the runs."""


def _gaussian_form(world: World, objective: Objective, n: int, n_syn: int) -> Any:
    last, real_only = SHOWN[-1], NOISE**2 / n
    if n_syn == 0:
        return np.full(last + 1, 2 * real_only if objective == "gap" else real_only)
    match world, objective:
        case "fixed", "risk":
            return references.mean_augment(n, n_syn, NOISE, last)
        case "fresh", "risk":
            return references.mean_fresh(n, n_syn, NOISE, last, n / (n + n_syn))
        case "fixed", _:
            return references.mean_gap_parts(n, n_syn, NOISE, last).total
    return references.mean_fresh_gap_parts(n, n_syn, NOISE, last).total


def _ols_form(world: World, objective: Objective, n: int, n_syn: int) -> Any:
    last, dim = SHOWN[-1], 4
    if n_syn == 0:
        one = references.ols_gap_single_fit if objective == "gap" else references.ols_single_fit
        return np.full(last + 1, one(n, dim, NOISE))
    if objective == "gap":
        return np.full(last + 1, np.nan)
    if world == "fixed":
        return references.ols_augment_fresh_inputs(n, n_syn, dim, NOISE, last)
    return references.ols_fresh_real(n, n_syn, dim, NOISE, last)


@cache
def closed_form(problem: str, world: World, objective: Objective, n: int, n_syn: int) -> Any:
    """Mean of an objective in every generation up to the last shown, `[G + 1]`; nan if unknown."""
    forms = {"gaussian_mean": _gaussian_form, "ols": _ols_form}
    if problem not in forms:
        return np.full(SHOWN[-1] + 1, np.nan)
    return forms[problem](world, objective, n, n_syn)


def is_exact(problem: str, world: World, objective: Objective) -> bool:
    """Whether the prediction is that of the problem's own closed form, or of a theorem about it.

    Beside a fixed real set the risk of least squares is least without synthetic data, although its
    value is known for two generations only.

    Source: derived here: THEORY.md statement 81.
    """
    return problem == "gaussian_mean" or (problem == "ols" and objective == "risk")


@cache
def predicted(problem: str, world: World, objective: Objective, generation: int) -> int:
    """n_syn in 0..32 n at which the closed form is least.

    Where there is none, that of the Gaussian mean with as many rows: a law to leading order.
    """
    n = STUDIED[problem][0]
    source = problem if is_exact(problem, world, objective) else "gaussian_mean"
    if source == "ols" and world == "fixed":
        return 0
    sizes = range(round(LAMS[-1] * n) + 1)
    values = [closed_form(source, world, objective, n, m)[generation] for m in sizes]
    return int(np.argmin(values))


def _sizes(problem: str, world: World) -> tuple[LoopSize, ...]:
    n = STUDIED[problem][0]
    asked = {round(n * lam) for lam in LAMS}
    asked |= {predicted(problem, world, o, i) for o in OBJECTIVES for i in SHOWN}
    return tuple(LoopSize(n, m) for m in sorted(asked))


def _experiment(preset: Preset, problem: str, world: World) -> SizedLoops:
    _, of, part = STUDIED[problem]
    return SizedLoops(of, world, _sizes(problem, world), SHOWN[-1], run_count(preset, part))


def _solvable_experiments(preset: Preset) -> tuple[SizedLoops, ...]:
    return tuple(_experiment(preset, problem, world) for problem in STUDIED for world in WORLDS)


def competing_terms(world: World, objective: Objective, n: int, n_syn: int, i: int) -> Json:
    """What the closed form of the Gaussian mean in generation i >= 1 adds up from, by name."""
    total = float(closed_form("gaussian_mean", world, objective, n, n_syn)[i])
    if n_syn == 0:
        passed_on = 0.0
    elif objective == "gap":
        parts = references.mean_gap_parts if world == "fixed" else references.mean_fresh_gap_parts
        found = parts(n, n_syn, NOISE, i)
        passed_on = float((1 - found.weight[i]) * found.shift[i])
    elif world == "fixed":
        passed_on = total - NOISE**2 / n
    else:
        rho = n_syn / (n + n_syn)
        before = closed_form("gaussian_mean", world, objective, n, n_syn)[i - 1]
        passed_on = float(rho**2 * before)
    first, second = TERMS[world, objective]
    return {first: total - passed_on, second: passed_on}


TERMS = {
    ("fixed", "risk"): ("error of the real set", "noise of synthetic rows"),
    ("fresh", "risk"): ("noise of the training set", "error inherited"),
    ("fixed", "gap"): ("influence of the training set", "shift"),
    ("fresh", "gap"): ("influence of the training set", "shift"),
}
"""Names of the two terms."""

WHEN_POSITIVE = {
    ("fixed", "risk"): "never above 0, for any n: synthetic rows add noise to the same real set",
    ("fresh", "risk"): "above 0 for every n",
    ("fixed", "gap"): "as large as can be for every n: the least gap is approached as lambda grows",
    ("fresh", "gap"): "above 0 for every n",
}
"""Of the Gaussian mean, whose optimum depends on n by rounding alone.

Source: derived here: THEORY.md statements 80 and 81.
"""


def pairwise_worse(values: Floats) -> Floats:
    """One-sided p-values against "column a is at most column b in the mean", `[S, S]`, paired."""
    runs, columns = values.shape
    mean, spread = values.mean(0), np.cov(values.T)
    variance = np.diag(spread)[:, None] + np.diag(spread)[None] - 2 * spread
    error = np.sqrt(np.maximum(variance, 0) / runs)
    apart = mean[:, None] - mean[None]
    t = np.divide(apart, error, out=np.zeros((columns, columns)), where=error > 0)
    p: Floats = np.asarray(stats.t.sf(t, runs - 1))
    return p


def best_set(values: Floats) -> Bools:
    """Columns that may be the one of least mean, with confidence 95 %.

    A column is out if it is worse than another one at level 5 % over the number of the others: the
    best one is worse than none, so it is out with a chance of at most 5 %.
    """
    p = pairwise_worse(values)
    return np.asarray((p > LEVEL / (len(p) - 1)).all(1))


def worst_of(
    margins: Floats, keys: Json, bound: float, measured: Floats, lams: Sequence[float]
) -> Cell:
    """A cell that asks that margins `[R, S]` of all sizes are positive in the mean.

    An intersection-union test: the statement is wrong if one mean is not positive, and that one's
    test rejects with a chance of at most the level. So the size of the least t statistic decides,
    and its p-value needs no correction. Against the statement it does: see `Cell.among`.
    """
    error = np.maximum(standard_errors(margins), 1e-300)
    worst = int((margins.mean(0) / error).argmin())
    keys = {**keys, "against": lams[worst]}
    return Cell(margins[:, worst], measured, bound, keys, among=margins.shape[1])


def _regret(values: Floats, chosen: int) -> Floats:
    """Mean at the chosen size over that at the best one measured: jackknife pseudo-values."""
    best = int(values.mean(0).argmin())

    def ratio(kept: Bools) -> float:
        return float(values[kept, chosen].mean() / values[kept, best].mean())

    return jackknifed(ratio, len(values))


def _shown(experiment: SizedLoops, objective: Objective, values: Floats, i: int) -> Json:
    """What a figure needs: curves over λ, measured and exact, and what they add up from."""
    n, problem, world = experiment.samples, experiment.problem.name, experiment.world
    found: Json = {
        "lams": [size.n_syn / n for size in experiment.sizes],
        "curve": values.mean(0).tolist(),
        "half_width": half_widths(values),
    }
    assert world != "same-inputs"
    exact = [closed_form(problem, world, objective, n, s.n_syn)[i] for s in experiment.sizes]
    found["exact"] = [float(x) if np.isfinite(x) else None for x in exact]
    if problem == "gaussian_mean":
        terms = [competing_terms(world, objective, n, s.n_syn, i) for s in experiment.sizes]
        found["terms"] = {name: [one[name] for one in terms] for name in terms[0]}
    return found


def _of_one_loop(
    evidence: Evidence, problem: str, world: World, objective: Objective
) -> tuple[list[Cell], list[Cell]]:
    """Cells and controls of one problem, world and objective."""
    experiment = _experiment(evidence.preset, problem, world)
    n, sizes = experiment.samples, experiment.sizes
    numbers, lams = [s.n_syn for s in sizes], [s.n_syn / n for s in sizes]
    seen = wide(evidence, experiment, OBSERVED[objective])
    proved = is_exact(problem, world, objective)
    case = f"{problem.replace('_', ' ')}, {world}, {objective}"
    cells, control = [], []
    for i in SHOWN:
        values = seen[:, :, i]
        at = numbers.index(predicted(problem, world, objective, i))
        better = best_set(values)
        keys = _where(experiment, i, sizes[at], objective=objective, case=case)
        words = f"regret of the predicted size, {objective}"
        keys |= {"kind": "regret", "quantity": words, "direction": "at most"}
        keys |= {"best": lams[int(values.mean(0).argmin())], "predicted_by": _source(proved)}
        keys |= {"best_set": [x for x, inside in zip(lams, better, strict=True) if inside]}
        if problem == "gaussian_mean":
            keys["positive"] = WHEN_POSITIVE[world, objective]
        keys |= _shown(experiment, objective, values, i)
        margins = REGRET * values - values[:, [at]]
        cell = worst_of(margins, keys, REGRET, _regret(values, at), lams)
        cells.append(replace(cell, proved=proved))
        wrong = 0
        if world == "fixed" and objective == "risk":
            other = predicted(problem, "fresh", objective, i) / n
            wrong = int(np.abs(np.log1p(lams) - np.log1p(other)).argmin())
        keys = _where(experiment, i, sizes[wrong], objective=objective, family=case)
        keys |= {
            "kind": "regret",
            "quantity": "regret of the other world's size",
            "against": lams[at],
        }
        # Beside one size that was named beforehand: nothing is chosen after looking.
        margins = REGRET * values[:, at] - values[:, wrong]
        control.append(Cell(margins, _regret(values, wrong), REGRET, keys))
        more = values - values[:, :1]
        keys = _where(experiment, i, sizes[at], objective=objective, case=case)
        if objective == "risk" and world == "fixed":
            words = "never helps: excess less that without synthetic data"
            keys |= {"kind": "never helps", "quantity": words, "direction": "above"}
            cell = worst_of(more[:, 1:], keys, 0.0, more[:, 1:].mean(1), lams[1:])
            cells.append(replace(cell, measured=cell.margins, proved=problem != "linear_attention"))
        if world == "fresh":
            words = f"helps: {objective} without synthetic data less that at this size"
            keys |= {"kind": "helps", "quantity": words, "direction": "above"}
            cells.append(Cell(-more[:, at], -more[:, at], 0.0, keys, proved=proved))
        for k in (
            [numbers.index(round(lam * n)) for lam in AGREES_AT[objective]]
            if i in (1, SHOWN[-1])
            else ()
        ):
            known = closed_form(problem, world, objective, n, numbers[k])[i]
            if np.isfinite(known):
                keys = _where(experiment, i, sizes[k], objective=objective, case=case)
                keys |= {"kind": "mean", "quantity": f"mean {objective} beside its closed form"}
                cells.append(equal(values[:, k], float(known), keys))
                mirror: World = "fresh" if world == "fixed" else "fixed"
                wrong_mean = float(closed_form(problem, mirror, objective, n, numbers[k])[i])
                keys = {**keys, "family": f"{case}: closed form of the other world"}
                control.append(equal(values[:, k], wrong_mean, keys))
    return cells, control


def _source(proved: bool) -> str:
    return "its closed form" if proved else "that of the Gaussian mean, to leading order"


def _solvable_optimum(evidence: Evidence) -> Judged:
    """The best synthetic size of solvable loops, predicted by closed forms."""
    cells, control, constants = [], [], []
    for problem in STUDIED:
        for world in WORLDS:
            for objective in OBJECTIVES:
                found = _of_one_loop(evidence, problem, world, objective)
                cells += found[0]
                control += found[1]
                best = [predicted(problem, world, objective, i) for i in SHOWN]
                name = f"predicted lambda, {problem.replace('_', ' ')}, {world}, {objective}"
                lams = [m / STUDIED[problem][0] for m in best]
                provenance = "certified" if is_exact(problem, world, objective) else "assumed"
                constants.append(constant(f"{name}, generations {SHOWN}", lams, provenance))
    return Judged(cells, control, constants)


CERTIFIED_ROWS, CLIP, DELTA = 20, 1.0, 0.05
"""n, B and δ of the clipped mean: M, b and κ are known, the law of its errors is fitted."""

CERTIFIED: Mapping[str, float] = {
    "M": 1.0,
    "b": 2.0,
    "kappa": 2 * CLIP / (NOISE * math.sqrt(2 * math.pi)),
}
"""Range of the loss, and stability of loss and generator. The real mean is 0, the centre of the
clipping: synthetic rows, which shrink the fit towards it, happen to help even beside a fixed set.
Clipping makes the loop biased, and what is said of unbiased ones does not hold for it."""

RESAMPLES = 100
"""Error laws that might have been fitted instead, behind a band."""


def _planned(world: World, objective: Objective, generation: int) -> Question:
    """The bound that is to be least."""
    return Question(
        CERTIFIED_ROWS,
        **CERTIFIED,
        delta=DELTA,
        generation=generation,
        objective=objective,
        fresh=world == "fresh",
        max_lam=LAMS[-1],
    )


def _certified_experiments(preset: Preset) -> tuple[SizedLoops, ...]:
    n = CERTIFIED_ROWS
    sizes, runs = tuple(LoopSize(n, round(n * lam)) for lam in LAMS), run_count(preset, 0.15)
    return tuple(
        SizedLoops(ClippedMean(CLIP), w, sizes, SHOWN[-1], runs, "measurements") for w in WORLDS
    )


def measured_law(eps: Floats, experiment: SizedLoops) -> tuple[list[int], Floats, ErrorLaw]:
    """The law of one-step errors `[R, sizes, G + 1]`: rows fitted, errors `[R, N]`, law.

    Generation 0 learns from n rows, later ones from n + n_syn: of these the generation with the
    largest mean, since the law is to hold in each. A fit by least squares lies below some of them.
    """
    numbers = [experiment.samples] + [s.samples + s.n_syn for s in experiment.sizes if s.n_syn]
    later = [
        eps[:, k, 1 + int(eps[:, k, 1:].mean(0).argmax())]
        for k, s in enumerate(experiment.sizes)
        if s.n_syn
    ]
    errors = np.stack([eps[:, 0, 0], *later], axis=1)
    return numbers, errors, fit_error_law(numbers, errors)


def _certified_optimum(evidence: Evidence) -> Judged:
    """Regret of the size at which a bound is least: M, b and κ certified, the error law fitted.

    That a bound is least somewhere does not mean that what it bounds is: no theorem speaks.
    """
    cells: list[Cell] = []
    constants = [constant(f"{name}, clipped mean", v, "certified") for name, v in CERTIFIED.items()]
    for experiment in _certified_experiments(evidence.preset):
        world, sizes = experiment.world, experiment.sizes
        assert world != "same-inputs"
        lams = list(LAMS)
        numbers, errors, law = measured_law(wide(evidence, experiment, "eps"), experiment)
        drawn = resampled_laws(numbers, errors, count=RESAMPLES).laws()
        value = {"floor": law.floor, "c": law.c, "a": law.a}
        entry = constant(f"eps(N) = floor + c N^-a, clipped mean, {world}", value, "measured")
        constants.append({**entry, "sizes": numbers, "errors": errors.mean(0).tolist()})
        for objective in OBJECTIVES:
            # The excess risk of the loss (clip(z) - mu)^2/(4 B^2) is mu^2/(4 B^2).
            unit = 4 * CLIP**2 if objective == "risk" else 1.0
            seen = wide(evidence, experiment, OBSERVED[objective]) / unit
            for i in SHOWN:
                found = _recommended(_planned(world, objective, i), law, drawn)
                near = np.abs(np.log1p(lams) - np.log1p(found["lam"]))
                at, values = int(near.argmin()), seen[:, :, i]
                keys = _where(experiment, i, sizes[at], objective=objective)
                keys |= {"case": f"clipped mean, {world}, {objective}", "direction": "at most"}
                words = "regret of the size that a bound with a fitted error law recommends"
                keys |= {
                    "kind": "regret",
                    "quantity": words,
                    "best": lams[int(values.mean(0).argmin())],
                    "recommended": found,
                }
                better = best_set(values)
                keys["best_set"] = [x for x, inside in zip(lams, better, strict=True) if inside]
                keys |= {
                    "lams": lams,
                    "curve": values.mean(0).tolist(),
                    "half_width": half_widths(values),
                }
                regret = _regret(values, at)
                cells.append(Cell(REGRET - regret, regret, REGRET, keys, finding=True))
    return Judged(cells, [], constants)


def _recommended(question: Question, law: ErrorLaw, drawn: Sequence[ErrorLaw]) -> Json:
    """The minimiser of a bound, its band over laws, and its curve over that at λ = 0."""
    best = question.best(law)
    low, high = interval([nearly_best(question, one) for one in drawn])
    curve = question.trade_off(law, np.array(LAMS))
    alone = float(curve.total[0])
    names = ("shift", "stability", "fluctuation")
    parts = {name: np.broadcast_to(getattr(curve, name), len(LAMS)) / alone for name in names}
    return {
        "lam": best.lam,
        "low": low,
        "high": high,
        "value": best.value,
        "lower_bound": best.lower_bound,
        "where": best.regime,
        "curve": (curve.total / alone).tolist(),
        "terms": {name: part.tolist() for name, part in parts.items()},
        "alone": alone,
        "vacuous": bool(best.value > question.M),
    }


def _optimum_experiments(preset: Preset) -> tuple[SizedLoops, ...]:
    return (*_solvable_experiments(preset), *_certified_experiments(preset))


def _judge_optimum(evidence: Evidence) -> Judged:
    return together(_solvable_optimum(evidence), _certified_optimum(evidence))


CLAIMS = (
    Claim(
        name="synthetic_phase",
        statement="a fixed real set beside synthetic rows with its inputs, least squares: at a "
        "fixed generation the excess over that of real rows alone first rises and then falls with "
        "lambda; the height of the peak is that of the closed form (1/4 of one fit in generation "
        f"1) within {HEIGHT:.0%}, its place within {PLACE:.0%}",
        source="derived here: the peak of lambda/(1 + 2 lambda) (1 - rho^(2i))",
        control="the excess stays at its limit of many generations (no fall); the peak stays where "
        "that of generation 1 is, and is in generation 1 where that of the last one is",
        experiments=_phase_experiments,
        judge=_judge_phase,
    ),
    Claim(
        name="golden_weight",
        statement="fresh real data, Gaussian mean: the best weight of the real rows is "
        f"(sqrt(k^2 + 4k) - k)/2, k = n/n_syn, within {GOLDEN_PLACE} (the golden section for "
        f"k = 1), and the error there is w* sigma^2/n within {WITHIN:.0%}",
        source="published: He, Xu and Cheng 2025; proof here",
        control="the best weight is that of equal rows, n/(n + n_syn); at the best weight the "
        "error is that of the real rows alone",
        experiments=_golden_experiments,
        judge=_judge_golden,
    ),
    Claim(
        name="optimal_synthetic_size",
        statement="how much synthetic data is best: at the size that the closed form predicts, "
        f"excess risk and gap are at most {REGRET:g} times what they are at any other size that "
        "was run; beside a fixed real set synthetic data never lower the risk, beside fresh real "
        f"data they do; means are those of the closed forms within {WITHIN:.0%}. What a bound with "
        "certified constants of stability and a fitted error law recommends: a finding",
        source="derived here; where a problem has no closed form, the prediction is that of the "
        "Gaussian mean (to leading order, not proved)",
        control="the optimum of the other world, or none, is as good; means are those of the other "
        "world's closed form",
        experiments=_optimum_experiments,
        judge=_judge_optimum,
    ),
)
"""Claims about synthetic data, in the order in which they are shown."""

"""The transformer over sizes: does it converge, and how much synthetic data is best for it?

Loops of `sizes`: a fixed or a fresh real set, all sizes with the same real prompts and randomness.
A trained transformer has no certified constants. Those of the bounds are measured on the same
network, and say so; what the bounds then give is drawn beside what is measured, never judged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np

from icl_stl import bounds
from icl_stl.claims._cells import Bools, constant, finite, fitted_exponents, jackknifed, wide
from icl_stl.claims.judging import Cell, Claim, Evidence, Json, Judged
from icl_stl.config import ConvergenceSize, Preset
from icl_stl.error_law import ErrorLaw, fit_error_law, interval, resampled_laws
from icl_stl.experiments import (
    Experiment,
    LoopSize,
    SizedNeighbours,
    SizedTransformers,
)
from icl_stl.intervals import LEVEL, t_half_width, t_test
from icl_stl.planning import Problem, useful_sizes
from icl_stl.regimes import Augment
from icl_stl.results import Floats

M = 1.0
"""Range of the bounded loss."""

DELTA = 0.05
"""Probability with which a bound of high probability may be exceeded."""

RESAMPLES = 100
"""Resampled error laws behind a band."""


# --- what is run ---------------------------------------------------------------------------------


def _lam(share: float) -> float:
    return (1 - share) / share


def _places(size: ConvergenceSize) -> LoopSize:
    """The most prompts of each kind that any loop has: one program serves all."""
    shares = [round(_lam(share) * n) for share in size.shares for n in size.samples]
    lams = [round(lam * n) for lam in size.lams for n in size.lam_samples]
    return LoopSize(max(*size.samples, *size.lam_samples), max(*shares, *lams))


def _sized(size: ConvergenceSize, world: Any, n: int, lam: float) -> SizedTransformers:
    """Loops of one size."""
    return SizedTransformers(
        size.task,
        size.architecture,
        size.training,
        LoopSize(n, round(lam * n)),
        _places(size),
        size.replicates,
        size.held_out,
        world,
        size.generations,
    )


def _single_fits(size: ConvergenceSize) -> dict[int, SizedTransformers]:
    """Loops whose generation 0 is a fit to n real prompts, by n: for the law of its error."""
    fits = {n: replace(_sized(size, "fixed", n, 0), generations=0) for n in size.law_samples}
    fits |= {n: _sized(size, "fixed", n, _lam(size.shares[0])) for n in size.samples}
    return dict(sorted(fits.items()))


def _converging(size: ConvergenceSize) -> dict[tuple[float, int], SizedTransformers]:
    """The loops in which convergence is followed, by share and n."""
    return {
        (share, n): _sized(size, "fixed", n, _lam(share))
        for share in size.shares
        for n in size.samples
    }


def _neighbours(size: ConvergenceSize) -> dict[int, SizedNeighbours]:
    """Loops whose real sets differ in one prompt: constants of stability, by n."""
    return {
        n: SizedNeighbours(
            size.task,
            size.architecture,
            size.training,
            LoopSize(n, Augment(max(size.shares)).synthetic_size(n)),
            _places(size),
            size.replicates,
            size.held_out,
            size.neighbours,
        )
        for n in size.samples
    }


def convergence_experiments(preset: Preset) -> tuple[Experiment, ...]:
    """Loops over n at constant shares, single fits, and neighbours."""
    size = preset.convergence
    loops = (*_converging(size).values(), *_single_fits(size).values())
    return (*dict.fromkeys(loops), *_neighbours(size).values())


def sweeps(preset: Preset) -> dict[tuple[str, int], dict[float, SizedTransformers]]:
    """The loops in which the amount of synthetic data varies: (world, n) -> λ -> loops."""
    size = preset.convergence
    return {
        (world, n): {lam: _sized(size, world, n, lam) for lam in sorted(size.lams)}
        for world in ("fixed", "fresh")
        for n in size.lam_samples
    }


def sweep_experiments(preset: Preset) -> tuple[Experiment, ...]:
    """All of `sweeps`."""
    return tuple(e for group in sweeps(preset).values() for e in group.values())


# --- measured constants --------------------------------------------------------------------------


class Constants(NamedTuple):
    """Measured constants of the bounds at one n."""

    b: float
    """Largest change of the loss seen under one replaced prompt, times n: a lower bound on b."""
    kappa: float
    """Largest total variation between neighbours seen, times n: a lower bound on κ."""
    kappa_c: float
    """Share of a distance of the weights that the generator passes on, shared randomness."""


def measured_constants(evidence: Evidence) -> dict[int, Constants]:
    """The constants of stability by n, of one fit and of what its generator passes on."""
    found = {}
    for n, experiment in _neighbours(evidence.preset.convergence).items():
        moved = {name: wide(evidence, experiment, name) for name in ("tv", "loss_max", "passed")}
        found[n] = Constants(
            n * float(moved["loss_max"].max()),
            n * float(moved["tv"][..., -1].max()),
            float(moved["passed"].mean()) / (1 - experiment.size.share),
        )
    return found


def _each(evidence: Evidence, experiment: SizedTransformers, name: str) -> Floats:
    """A quantity of the loops, `[R, G + 1]`; laws of whole prompts.

    `own` is the gap less its shift: what a generation owes to its own training set.
    """
    if name == "own":
        gap, shift = (wide(evidence, experiment, part) for part in ("gap", "shift"))
        return gap - (1 - experiment.size.share) * shift
    values = wide(evidence, experiment, name)
    return values[..., -1] if name in ("drift", "eps") else values


class Law(NamedTuple):
    """A law of an error in the number of prompts fitted, and what it was fitted to."""

    sizes: list[int]
    errors: Floats
    """`[R, sizes]`."""
    fitted: ErrorLaw
    resampled: list[ErrorLaw]


def _law(errors: Mapping[int, Floats]) -> Law:
    sizes = sorted(errors)
    each = np.stack([errors[n] for n in sizes], axis=1)
    resampled = resampled_laws(sizes, each, count=RESAMPLES).laws()
    return Law(sizes, each, fit_error_law(sizes, each), resampled)


def one_step_law(evidence: Evidence) -> Law:
    """Total variation between the real law and a fit to N real prompts, whole prompts."""
    fits = _single_fits(evidence.preset.convergence)
    return _law({n: _each(evidence, e, "eps")[:, 0] for n, e in fits.items()})


def discrepancy_law(evidence: Evidence) -> Law:
    """Realised loss discrepancy |R_{D_0} - R_{D_θ_0}| of a fit θ_0 to n real prompts.

    At the parameters of generation 1, which learned beside what θ_0 wrote: what one loop shows of
    the supremum over parameters.
    """
    size = evidence.preset.convergence
    loops = {n: _converging(size)[max(size.shares), n] for n in size.samples}
    return _law({n: np.abs(_each(evidence, e, "shift")[:, 1]) for n, e in loops.items()})


# --- convergence ---------------------------------------------------------------------------------

QUANTITIES = {
    "gap": "generalization gap of the bounded loss",
    "excess": "excess risk over Bayes, bounded loss",
    "kl": "excess negative log-likelihood over Bayes, nats a label",
}
"""What should converge."""

OWN = {"own": "generalization gap less its shift"}
"""The part of the gap that keeps its sign where a generator is surer than it should be."""


def _in_words(experiment: SizedTransformers, generation: int, **more: Any) -> Json:
    return {
        "loop": "transformer",
        "regime": {"fixed": "augment", "fresh": "fresh"}[experiment.world],
        "alpha": experiment.size.share,
        "generation": generation,
        "n": experiment.size.samples,
        **more,
    }


def _bounded(
    evidence: Evidence, experiment: SizedTransformers, known: Constants, i: int
) -> dict[str, Any]:
    """The bounds on the gap of generation i, each by parts, constants measured.

    `certificate`: with probability 1 - δ, M times the total variation, the largest changes seen;
    `realised`: the same with the realised loss discrepancy (M + 2b becomes 2M + 2b); `mean`: the
    mean gap by the realised discrepancy, the mean influence of a prompt on its own loss (by the gap
    identity n times the gap of generation 0) and what the generator passes on of a distance;
    `risk`: on the mean excess risk, the same with M times the total variation.
    """
    n, alpha = experiment.size.samples, experiment.size.share
    before = max(i - 1, 0)
    drift = float(_each(evidence, experiment, "drift")[:, before].mean())
    shift = _each(evidence, experiment, "shift")[:, i]
    given: dict[str, Any] = {"M": M, "provenance": "measured"}
    worst = {**given, "b": known.b, "kappa": known.kappa, "delta": DELTA}
    # One for each loop; a mean influence below 0 counts as none.
    own = np.maximum(n * _each(evidence, experiment, "gap")[:, 0], 0)
    mean = {**given, "b": own, "kappa": known.kappa_c}
    realised = float(np.abs(shift).mean())
    return {
        "drift": drift,
        "influence": float(own.mean()),
        "certificate": bounds.generalization_gap(n, alpha, i, **worst, discrepancy=M * drift),
        "realised": bounds.generalization_gap(
            n, alpha, i, **worst, discrepancy=realised, pathwise=True
        ),
        "mean": bounds.expected_gap(n, alpha, i, **mean, discrepancy=np.abs(shift)),
        "risk": bounds.excess_risk(n, alpha, i, **mean, discrepancy=M * drift),
    }


def _parts(gap: Any) -> Json:
    """The parts of a bound, means over loops."""
    names = ("shift", "stability", "fluctuation", "total")
    own = {name: finite(np.mean(getattr(gap, name))) for name in names}
    return {**own, "vacuous": own["total"] is None or bool(own["total"] >= M)}


def _measured_beside_bounds(evidence: Evidence) -> list[Cell]:
    """Every generation of every loop: what is measured, and the bounds by parts."""
    cells = []
    known = measured_constants(evidence)
    for (_, n), experiment in _converging(evidence.preset.convergence).items():
        for i in range(experiment.generations + 1):
            drawn = _bounded(evidence, experiment, known[n], i)
            for name, words in QUANTITIES.items():
                measured = _each(evidence, experiment, name)[:, i]
                keys = _in_words(experiment, i, quantity=words, kind=name, direction="at most")
                limit = np.full(len(measured), np.nan)
                if name == "gap":
                    limit = np.broadcast_to(drawn["mean"].total, measured.shape)
                    chosen = ("certificate", "realised", "mean")
                    keys["bounds"] = {kind: _parts(drawn[kind]) for kind in chosen}
                    keys |= {name: drawn[name] for name in ("drift", "influence")}
                    shift = _each(evidence, experiment, "shift")[:, i]
                    keys["shift"] = float((1 - experiment.size.share) * shift.mean())
                if name == "excess":
                    limit = np.broadcast_to(drawn["risk"].total, measured.shape)
                    keys["bounds"] = {"risk": _parts(drawn["risk"])}
                bound = float(limit.mean())
                cells.append(Cell(limit - measured, measured, bound, keys, finding=True))
    return cells


def _exponents(evidence: Evidence, rate: float) -> list[Cell]:
    """Fitted exponents in n beside -min(a, 1/2), which bounds them from above."""
    size, cells = evidence.preset.convergence, []
    theory = -min(rate, 0.5)
    for share in size.shares:
        group = [_converging(size)[share, n] for n in size.samples]
        for i in range(size.generations + 1):
            for name, words in (QUANTITIES | OWN).items():
                values = [_each(evidence, e, name)[:, i] for e in group]

                def mean(index: int, kept: Bools, values: list[Floats] = values) -> float:
                    return float(values[index][kept].mean())

                slopes = fitted_exponents(mean, size.samples, len(values[0]))
                keys = _in_words(group[0], i, kind=name, direction="at most")
                keys |= {
                    "quantity": f"exponent in n, {words}",
                    "n": list(size.samples),
                    "curve": [float(v.mean()) for v in values],
                }
                test: Any = "undecided" if np.isnan(slopes).any() else "positive"
                cells.append(Cell(theory - slopes, slopes, theory, keys, test, finding=True))
    return cells


def _falls(evidence: Evidence, sign: float) -> list[Cell]:
    """Less with the largest n than with the smallest, loop by loop; with sign -1 more."""
    size, cells = evidence.preset.convergence, []
    least, most = min(size.samples), max(size.samples)
    for share in size.shares:
        few, many = (_converging(size)[share, n] for n in (least, most))
        for name, words in QUANTITIES.items():
            for i in range(1, size.generations + 1):
                small, large = (_each(evidence, e, name)[:, i] for e in (many, few))
                keys = _in_words(few, i, kind=name, direction="below" if sign > 0 else "above")
                keys["quantity"] = f"{words}, n = {most}, against n = {least}"
                margins = sign * (large - small)
                cells.append(Cell(margins, small, float(large.mean()), keys))
    return cells


def law_constants(words: str, law: Law) -> list[Json]:
    """A fitted law as constants, with the 95 % intervals of its resamples."""
    entries = []
    for name in ("floor", "c", "a"):
        drawn = [getattr(one, name) for one in law.resampled]
        low, high = interval(drawn)
        value = {"fitted": getattr(law.fitted, name), "low": low, "high": high}
        entries.append(constant(f"{name} of {words}", value, "measured"))
    entries[0]["sizes"] = law.sizes
    entries[0]["errors"] = law.errors.mean(0).tolist()
    return entries


def _judge_convergence(evidence: Evidence) -> Judged:
    law, discrepancy = one_step_law(evidence), discrepancy_law(evidence)
    constants = law_constants("eps(N) = floor + c N^-a, whole prompts", law)
    constants += law_constants("the realised loss discrepancy", discrepancy)
    for n, known in measured_constants(evidence).items():
        for name, value in known._asdict().items():
            constants.append(constant(f"{name}, n = {n}", value, "measured"))
    return Judged(
        [
            *_falls(evidence, 1.0),
            *_measured_beside_bounds(evidence),
            *_exponents(evidence, law.fitted.a),
        ],
        _falls(evidence, -1.0),
        constants,
    )


# --- how much synthetic data ---------------------------------------------------------------------

MEAN = 1 - 1e-12
"""δ at which the bound with probability 1 - δ is one on the mean: its fluctuation is nothing."""

BOUNDED: dict[str, Literal["gap", "risk"]] = {"gap": "gap", "excess": "risk", "kl": "risk"}
"""Which bound speaks of a measured objective."""

OBJECTIVES: tuple[Literal["gap", "risk"], ...] = ("gap", "risk")


class Prediction(NamedTuple):
    """Synthetic-to-real ratio that a bound with measured constants recommends."""

    lam: float
    low: float
    high: float
    value: float
    lower_bound: float
    b: float
    kappa: float
    curve: list[float]
    terms: dict[str, list[float]]
    useful: tuple[float, float] | None
    """Where lambda is 0: smallest and largest n at which it would not be, if there is any."""


def _predicted(problem: Problem, law: Law, lams: Sequence[float]) -> Prediction:
    """The certified optimum up to the largest ratio tried, its band over resampled laws."""
    best = problem.best(law.fitted)
    drawn = [problem.best(one).lam for one in law.resampled]
    low, high = interval(drawn)
    curve = problem.trade_off(law.fitted, np.array(lams))
    return Prediction(
        best.lam,
        low,
        high,
        best.value,
        best.lower_bound,
        problem.b,
        problem.kappa,
        curve.total.tolist(),
        {name: getattr(curve, name).tolist() for name in ("shift", "stability")},
        useful_sizes(problem, law.fitted) if best.lam == 0 else None,
    )


def _regret(values: Floats, chosen: int, name: str) -> Floats:
    """Mean at the chosen size over that at the best one measured: jackknife pseudo-values.

    A gap may be below 0: of it, 1 plus the difference over the gap without synthetic data.
    """

    def ratio(kept: Bools) -> float:
        mean = values[kept].mean(0)
        if name == "gap":
            return float(1 + (mean[chosen] - mean.min()) / mean[0])
        return float(mean[chosen] / mean.min())

    return jackknifed(ratio, len(values))


def transformer_optimum(evidence: Evidence) -> Judged:
    """Regret of what the bounds recommend, and whether any synthetic data helps: findings."""
    size, known = evidence.preset.convergence, measured_constants(evidence)
    laws = {"total variation": one_step_law(evidence), "discrepancy": discrepancy_law(evidence)}
    cells: list[Cell] = []
    constants = [c for words, law in laws.items() for c in law_constants(f"error, {words}", law)]
    for (world, n), group in sweeps(evidence.preset).items():
        lams = list(group)
        loops = list(group.values())
        influence = n * max(0.0, float(_each(evidence, loops[0], "gap")[:, 0].mean()))
        nearest = min(known, key=lambda size: abs(np.log(size / n)))
        generations = sorted({1, size.generations})
        plan = Problem(
            n,
            M,
            influence,
            known[nearest].kappa_c,
            delta=MEAN,
            fresh=world == "fresh",
            max_lam=max(lams),
        )
        recommended = {
            (objective, i, kind): _predicted(
                replace(plan, objective=objective, generation=i), law, lams
            )
            for objective in OBJECTIVES
            for i in generations
            for kind, law in laws.items()
        }
        for name, words in QUANTITIES.items():
            for i in generations:
                values = np.stack([_each(evidence, e, name)[:, i] for e in loops], axis=1)
                mean = values.mean(0)
                half = [t_half_width(t_test(v).stderr, v.size, LEVEL / 2) for v in values.T]
                shown: Json = {
                    "objective": name,
                    "family": f"transformer, {world}",
                    "lams": lams,
                    "curve": mean.tolist(),
                    "half_width": half,
                    "best": lams[int(mean.argmin())],
                }
                for kind in laws:
                    found = recommended[BOUNDED[name], i, kind]
                    at = int(np.abs(np.log1p(lams) - np.log1p(found.lam)).argmin())
                    keys = _in_words(loops[at], i, **shown, predicted_by=kind)
                    keys |= {"lam": found.lam, "prediction": found._asdict()}
                    keys["quantity"] = f"regret of what the bound recommends ({kind}), {words}"
                    keys["direction"] = "at most"
                    regret = _regret(values, at, name)
                    cells.append(Cell(REGRET - regret, regret, REGRET, keys, finding=True))
                for at in range(1, len(lams)):
                    keys = _in_words(loops[at], i, objective=name, lam=lams[at])
                    keys["quantity"] = f"{words}, less that without synthetic data"
                    more = values[:, at] - values[:, 0]
                    cells.append(Cell(-more, more, 0.0, keys, finding=True))
    return Judged(cells, [], constants)


REGRET = 1.1
"""How much more than at the best size an objective may be at the recommended one."""


CLAIMS = (
    Claim(
        name="transformer_convergence",
        statement="with a constant share of real prompts the transformer's generalization gap and "
        "its excess risk are smaller with the largest real set than with the smallest, in every "
        "generation. Bounds with measured constants, and exponents in n beside -min(a, 1/2): "
        "findings",
        source="paper, abstract-level claim: a constant share of real data ensures convergence; "
        "the bounds derived here, their constants measured. Not proved for a trained transformer",
        proved=False,
        control="the roles exchanged: larger with the largest real set",
        experiments=convergence_experiments,
        judge=_judge_convergence,
    ),
)
"""The claim about convergence."""

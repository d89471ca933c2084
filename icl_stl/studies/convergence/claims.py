"""The transformer over sizes: does it converge, and how much synthetic data is best for it?

Loops of `sizes`: a fixed or a fresh real set, all sizes with the same real prompts and randomness.
A trained transformer has no certified constants. Formulas of bounds are evaluated at constants that
are measured on the same network: that gives no bound, and is drawn beside what is measured, never
judged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np

from icl_stl import bounds
from icl_stl.intervals import LEVEL, t_half_width, t_test
from icl_stl.lab.experiments import Experiment, LoopSize
from icl_stl.lab.results import Floats
from icl_stl.planning.error_law import ErrorLaw, fit_error_law, interval, resampled_laws
from icl_stl.planning.plan import Question, useful_sizes
from icl_stl.problems import InContext
from icl_stl.regimes import Augment
from icl_stl.studies.cells import Bools, constant, finite, fitted_exponents, jackknifed, wide
from icl_stl.studies.convergence.experiments import SizedNeighbours, SizedTransformers
from icl_stl.studies.judging import Cell, Claim, Evidence, Json, Judged
from icl_stl.studies.presets import ConvergenceSize, Preset

M = 1.0
"""Range of the bounded loss."""

DELTA = 0.05
"""Probability with which a bound of high probability may be exceeded."""

RESAMPLES = 100
"""Resampled error laws behind a band."""


def _lam(share: float) -> float:
    return (1 - share) / share


def _places(size: ConvergenceSize, samples: int) -> LoopSize:
    """The most prompts of each kind that a loop with so many real prompts shares a program with.

    Loops of the largest real sets have one of their own: all others would pay for its places.
    """
    loops = [(n, round(_lam(share) * n)) for share in size.shares for n in size.samples]
    loops += [(n, round(lam * n)) for lam in size.lams for n in size.lam_samples]
    loops += [(n, 0) for n in size.law_samples]
    most = max(size.samples)
    own = [pair for pair in loops if (pair[0] < most) == (samples < most)]
    return LoopSize(max(n for n, _ in own), max(1, *(n_syn for _, n_syn in own)))


def _problem(size: ConvergenceSize) -> InContext:
    return InContext(size.task, size.architecture, size.training, size.held_out)


def _sized(size: ConvergenceSize, world: Any, n: int, lam: float) -> SizedTransformers:
    """Loops of one size."""
    return SizedTransformers(
        _problem(size),
        LoopSize(n, round(lam * n)),
        _places(size, n),
        size.replicates,
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
            _problem(size),
            LoopSize(n, Augment(max(size.shares)).synthetic_size(n)),
            _places(size, n),
            size.replicates,
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


class Constants(NamedTuple):
    """Measured constants of the bounds at one n."""

    b: float
    """Largest change of the loss seen under one replaced prompt, times n: a lower bound on b."""
    kappa: float
    """Largest total variation between neighbours seen, times n: of noisy estimates of that many
    lower bounds on κ the largest."""
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


ARRAYS = {"excess": "bounded_excess", "kl": "excess_nll"}
"""Quantities that have another name among what is observed."""


def _each(evidence: Evidence, experiment: SizedTransformers, name: str) -> Floats:
    """A quantity of the loops, `[R, G + 1]`; laws of whole prompts.

    `own` is the gap less its shift: what a generation owes to its own training set.
    """
    if name == "own":
        gap, shift = (wide(evidence, experiment, part) for part in ("gap", "shift"))
        return gap - (1 - experiment.size.share) * shift
    values = wide(evidence, experiment, ARRAYS.get(name, name))
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


QUANTITIES = {
    "own": "generalization gap less its shift",
    "excess": "excess risk over Bayes, bounded loss",
    "kl": "excess negative log-likelihood over Bayes, nats a label",
}
"""What should fall with n. The gap itself may have either sign: where generated prompts are harder
than real ones its shift is negative."""

GAP = {"gap": "generalization gap of the bounded loss"}


def _in_words(experiment: SizedTransformers, generation: int, **more: Any) -> Json:
    return {
        "loop": "transformer",
        "regime": {"fixed": "augment", "fresh": "fresh"}[experiment.world],
        "alpha": experiment.size.share,
        "generation": generation,
        "n": experiment.size.samples,
        **more,
    }


def _formulas(
    evidence: Evidence, experiment: SizedTransformers, known: Constants, i: int
) -> dict[str, Any]:
    """Formulas of the bounds on generation i, by parts, at measured constants.

    `certificate`: with probability 1 - δ, M times the total variation, the largest changes seen;
    `realised`: the same with the realised loss discrepancy (M + 2b becomes 2M + 2b); `mean`: the
    mean gap, its stability from the mean influence of a prompt on its own loss, n times the gap of
    generation 0 (where the formula is thus an equality), and what the generator passes on of a
    distance of weights; `risk`: on the mean excess risk of an exact minimiser, the same with M
    times the total variation.
    """
    n, alpha = experiment.size.samples, experiment.size.share
    drift = float(_each(evidence, experiment, "drift")[:, max(i - 1, 0)].mean())
    shift = abs(float(_each(evidence, experiment, "shift")[:, i].mean()))
    given: dict[str, Any] = {"M": M, "provenance": "measured"}
    worst = {**given, "b": known.b, "kappa": known.kappa, "delta": DELTA}
    influence = _influence(evidence, experiment)
    mean = {**given, "b": influence, "kappa": known.kappa_c}
    return {
        "drift": drift,
        "influence": influence,
        "certificate": bounds.generalization_gap(n, alpha, i, **worst, discrepancy=M * drift),
        "realised": bounds.generalization_gap(
            n, alpha, i, **worst, discrepancy=shift, pathwise=True
        ),
        "mean": bounds.expected_gap(n, alpha, i, **mean, discrepancy=shift),
        "risk": bounds.excess_risk(n, alpha, i, **mean, discrepancy=M * drift),
    }


def _influence(evidence: Evidence, experiment: SizedTransformers) -> float:
    """Mean influence of a prompt on its own loss, times n: by the gap identity n E gap_0."""
    n = experiment.size.samples
    return n * max(0.0, float(_each(evidence, experiment, "gap")[:, 0].mean()))


def _parts(gap: Any) -> Json:
    """The parts of a bound, means over loops."""
    names = ("shift", "stability", "fluctuation", "total")
    own = {name: finite(np.mean(getattr(gap, name))) for name in names}
    return {**own, "vacuous": own["total"] is None or bool(own["total"] > M)}


def _measured_beside_formulas(evidence: Evidence) -> list[Cell]:
    """Every generation of every loop: what is measured, and the formulas by parts."""
    cells = []
    known = measured_constants(evidence)
    for (_, n), experiment in _converging(evidence.preset.convergence).items():
        for i in range(experiment.generations + 1):
            drawn = _formulas(evidence, experiment, known[n], i)
            limits = {"own": drawn["mean"].stability, "excess": drawn["risk"].total}
            for name, words in (GAP | QUANTITIES).items():
                measured = _each(evidence, experiment, name)[:, i]
                keys = _in_words(experiment, i, quantity=words, kind=name, direction="at most")
                if name == "gap":
                    chosen = ("certificate", "realised", "mean", "risk")
                    keys["formulas"] = {kind: _parts(drawn[kind]) for kind in chosen}
                    keys |= {name: drawn[name] for name in ("drift", "influence")}
                    shift = _each(evidence, experiment, "shift")[:, i]
                    keys["shift"] = float((1 - experiment.size.share) * shift.mean())
                bound = float(limits.get(name, np.nan))
                ceiling = np.inf if name == "kl" else M
                own = Cell(bound - measured, measured, bound, keys, finding=True, ceiling=ceiling)
                cells.append(own)
    return cells


def _exponents(evidence: Evidence, rate: float) -> list[Cell]:
    """Fitted exponents in n beside -min(a, 1/2): that of the bounds if no constant grew with n."""
    size, cells = evidence.preset.convergence, []
    theory = -min(rate, 0.5)
    for share in size.shares:
        group = [_converging(size)[share, n] for n in size.samples]
        for i in range(size.generations + 1):
            for name, words in (GAP | QUANTITIES).items():
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


def _falls(evidence: Evidence, *, control: bool = False) -> list[Cell]:
    """Less with the largest n than with the smallest, loop by loop.

    The control: the gap's own part is larger; excess risk and NLL, which keep a floor, fall at
    least like n^-1/2.
    """
    size, cells = evidence.preset.convergence, []
    least, most = min(size.samples), max(size.samples)
    for share in size.shares:
        few, many = (_converging(size)[share, n] for n in (least, most))
        for name, words in QUANTITIES.items():
            for i in range(1, size.generations + 1):
                small, large = (_each(evidence, e, name)[:, i] for e in (many, few))
                keys = _in_words(few, i, kind=name, direction="below")
                keys["quantity"] = f"{words}, n = {most}, against n = {least}"
                margins = large - small
                if control:
                    keys["family"] = f"{name}, alpha = {share:g}"
                    asked = large * (least / most) ** 0.5
                    margins = small - large if name == "own" else asked - small
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
    entries[0]["assumed"] = list(law.fitted.assumed)
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
            *_falls(evidence),
            *_measured_beside_formulas(evidence),
            *_exponents(evidence, law.fitted.a),
        ],
        _falls(evidence, control=True),
        constants,
    )


MEAN = 1 - 1e-12
"""δ at which the bound with probability 1 - δ is one on the mean: its fluctuation is nothing."""

ADVISED: dict[str, Literal["gap", "risk"]] = {"gap": "gap", "excess": "risk", "kl": "risk"}
"""Whose minimum is tried for a measured objective; of nats no bound speaks."""

OBJECTIVES = {name: (GAP | QUANTITIES)[name] for name in ADVISED}
"""What may be made small by an amount of synthetic data."""


class Prediction(NamedTuple):
    """Synthetic-to-real ratio at which a bound's formula is least, at measured constants."""

    lam: float
    low: float
    high: float
    value: float
    lower_bound: float
    b: float
    kappa: float
    curve: list[float]
    terms: dict[str, list[float]]
    useful: tuple[tuple[float, float], ...]
    """Where lambda is 0: the n, of those searched, at which it would not be, b and κ as here."""


def _predicted(problem: Question, law: Law, lams: Sequence[float]) -> Prediction:
    """The certified minimum up to the largest ratio tried; the band of resampled laws on a grid."""
    best = problem.best(law.fitted)
    grid = np.expm1(np.linspace(0, np.log1p(problem.max_lam), 257))
    drawn = [grid[problem.trade_off(one, grid).total.argmin()] for one in law.resampled]
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
        useful_sizes(problem, law.fitted) if best.lam == 0 else (),
    )


def _regret(values: Floats, chosen: int, name: str) -> Floats:
    """Mean at the chosen size over that at the best one tried: jackknife pseudo-values.

    Of a gap, which may have either sign, the difference instead.
    """
    best = int(values.mean(0).argmin())

    def regret(kept: Bools) -> float:
        mean = values[kept].mean(0)
        return float(mean[chosen] - mean[best] if name == "gap" else mean[chosen] / mean[best])

    return jackknifed(regret, len(values))


def _judge_size(evidence: Evidence) -> Judged:
    """Regret of what the formulas recommend, and whether any synthetic data helps."""
    size, known = evidence.preset.convergence, measured_constants(evidence)
    laws = {"total variation": one_step_law(evidence), "discrepancy": discrepancy_law(evidence)}
    cells: list[Cell] = []
    constants = [c for words, law in laws.items() for c in law_constants(f"error, {words}", law)]
    for (world, n), group in sweeps(evidence.preset).items():
        lams = list(group)
        loops = list(group.values())
        nearest = min(known, key=lambda size: abs(np.log(size / n)))
        generations = sorted({1, min(2, size.generations), size.generations})
        plan = Question(
            n,
            M,
            _influence(evidence, loops[0]),
            known[nearest].kappa_c,
            delta=MEAN,
            fresh=world == "fresh",
            max_lam=max(lams),
        )
        recommended = {
            (objective, i, kind): _predicted(
                replace(plan, objective=objective, generation=i), law, lams
            )
            for objective in dict.fromkeys(ADVISED.values())
            for i in generations
            for kind, law in laws.items()
        }
        for name, words in OBJECTIVES.items():
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
                    found = recommended[ADVISED[name], i, kind]
                    at = int(np.abs(np.log1p(lams) - np.log1p(found.lam)).argmin())
                    keys = _in_words(loops[at], i, **shown, predicted_by=kind)
                    keys |= {"lam": found.lam, "prediction": found._asdict()}
                    measure = "excess over the best tried" if name == "gap" else "regret"
                    keys["quantity"] = f"{measure}, formula with {kind}, {words}"
                    regret = _regret(values, at, name)
                    cells.append(Cell(regret, regret, np.nan, keys))
                for at in range(1, len(lams)):
                    keys = _in_words(loops[at], i, objective=name, lam=lams[at])
                    keys["quantity"] = f"{words}, less that without synthetic data"
                    more = values[:, at] - values[:, 0]
                    cells.append(Cell(more, more, np.nan, keys))
    return Judged(cells, [], constants)


CLAIMS = (
    Claim(
        name="transformer_convergence",
        statement="with a constant share of real prompts the transformer's generalization gap less "
        "its shift, its excess risk and its excess NLL are smaller with the largest real set than "
        "with the smallest, in every generation from 1 on. The gap itself, formulas of the bounds "
        "at measured constants, and exponents in n: findings",
        source="paper, abstract-level claim: a constant share of real data ensures convergence. "
        "Not proved for a trained transformer",
        proved=False,
        control="the gap less its shift is larger with the largest real set; excess risk and NLL "
        "fall at least like n^-1/2",
        experiments=convergence_experiments,
        judge=_judge_convergence,
    ),
    Claim(
        name="transformer_synthetic_size",
        statement="how much synthetic data is best for the transformer, beside a fixed real set "
        "and beside fresh real prompts, and what is lost at the amount at which a bound's formula "
        "is least, its constants measured",
        source="measured; no theorem speaks",
        control="",
        experiments=lambda preset: (*sweep_experiments(preset), *convergence_experiments(preset)),
        judge=_judge_size,
        finding=True,
    ),
)
"""Claims about the transformer over sizes, in the order in which they are shown."""

"""Claims about recursive stability: what one replaced real row moves, generation by generation.

Solvable loops are judged, against recursions that are attained or proved; loops of transformers are
measured beside the same recursion and shown as findings: no theorem speaks of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from icl_stl import bounds
from icl_stl.config import Architecture, QueryArchitecture
from icl_stl.lab.experiments import Experiment, LoopSize
from icl_stl.lab.results import Floats
from icl_stl.problems import Bernoulli, Categorical, InContext, LinearAttention, Ols
from icl_stl.regimes import Augment, Replace, real_share
from icl_stl.studies.cells import (
    SLOPE_TOLERANCE,
    Bools,
    constant,
    equal,
    exponent_cell,
    finite,
    fitted_exponents,
    half_widths,
    run_count,
    together,
    where,
    wide,
)
from icl_stl.studies.judging import Cell, Claim, Evidence, Json, Judged
from icl_stl.studies.presets import ArchitectureSize, Preset, StabilitySize
from icl_stl.studies.stability.experiments import NeighbouringLoops, NeighbouringTransformers

ATTAINED = 0.01
"""Relative tolerance of a recursion that is attained."""

LAST = 10
"""Generations of the solvable loops."""

SHOWN = (1, 2, 5, 10)
"""Generations at which they are judged."""

AMPLIFIERS = {0.5: (0.5, 20), 1.0: (0.2, 20), 1.5: (0.5, 100)}
"""κ: real share and n. For κ > 1 the real set is large enough that clipping hardly happens."""

ATTENTION = LinearAttention(2, 8, penalty=1e-2)
"""Linear attention, fitted by ridge."""

QUANTITIES = {
    "predictions": "distance of predictions, root mean square, units of a label",
    "tv_short": "total variation between the generators, at most 2 labels",
    "tv": "total variation between the generators, whole prompts",
    "loss_mean": "mean change of the bounded loss",
    "loss_max": "largest change of the bounded loss seen",
    "parameters": "distance of the weights, over their length",
}
"""What is compared of two transformers."""


def _amplifier(preset: Preset, kappa: float) -> NeighbouringLoops:
    alpha, n = AMPLIFIERS[kappa]
    runs = run_count(preset, 10)
    return NeighbouringLoops(Bernoulli(kappa), Augment(alpha), n, LAST, runs)


def _bootstrap(preset: Preset, part: float, coupling: Any) -> NeighbouringLoops:
    runs = run_count(preset, part)
    return NeighbouringLoops(Categorical(), Augment(0.5), 20, LAST, runs, coupling)


def _attention(preset: Preset, n: int, *, contraction: bool = False) -> NeighbouringLoops:
    return NeighbouringLoops(
        ATTENTION, Augment(0.5), n, LAST, run_count(preset, 0.05), contraction=contraction
    )


def _neighbours(
    size: StabilitySize | ArchitectureSize,
    architecture: Architecture | QueryArchitecture,
    sizes: Sequence[tuple[int, float]],
) -> dict[tuple[int, float], NeighbouringTransformers]:
    """Loops by n and share, 0 for those without real prompts: one program for all of them."""
    loops = {(n, share): LoopSize(n, _synthetic(n, share), float(share)) for n, share in sizes}
    places = LoopSize(max(n for n, _ in sizes), max(size.n_syn for size in loops.values()))
    problem = InContext(size.task, architecture, size.training, size.held_out)
    last, swaps = size.generations, (size.neighbours, size.searched)
    return {
        place: NeighbouringTransformers(problem, loop, places, size.replicates, last, *swaps)
        for place, loop in loops.items()
    }


def _synthetic(n: int, share: float) -> int:
    return (Augment(share) if share else Replace()).synthetic_size(n)


def _transformers(preset: Preset) -> dict[tuple[int, float], NeighbouringTransformers]:
    size = preset.stability
    places = [(n, share) for share in (*size.shares, 0.0) for n in size.sizes(share)]
    return _neighbours(size, size.architecture, places)


def _recursion_experiments(preset: Preset) -> tuple[Experiment, ...]:
    return (
        *(_amplifier(preset, kappa) for kappa in AMPLIFIERS),
        _bootstrap(preset, 10, "maximal"),
        _bootstrap(preset, 1, "common"),
        _attention(preset, 100, contraction=True),
        *_transformers(preset).values(),
    )


def _attained(evidence: Evidence) -> Judged:
    """Loops in which the recursion is an equality."""
    cells, control, constants = [], [], []
    preset = evidence.preset
    chosen = [(_amplifier(preset, kappa), kappa, f"kappa = {kappa:g}") for kappa in AMPLIFIERS]
    chosen.append((_bootstrap(preset, 10, "maximal"), 1.0, "maximal coupling"))
    for experiment, kappa, words in chosen:
        n, alpha = experiment.samples, real_share(experiment.regime, experiment.samples, 1)
        measured = n * wide(evidence, experiment, "tv")
        known = bounds.recursive_stability(n, alpha, kappa, np.arange(LAST + 1))
        theory = n * np.broadcast_to(known.gamma, LAST + 1)
        wrong = np.array([n * kappa * _direct_of_n(n, alpha, kappa, i) for i in range(LAST + 1)])
        for i in SHOWN:
            keys = where(experiment, i, kind="attained", quantity=f"n gamma, {words}")
            keys["family"] = words
            if i == LAST:
                keys |= {"curve": measured.mean(0).tolist(), "theory": theory.tolist()}
            cells.append(equal(measured[:, i], float(theory[i]), keys, ATTAINED))
            control.append(equal(measured[:, i], float(wrong[i]), keys, ATTAINED))
        constants.append(constant(f"kappa, {experiment.problem.name}, {words}", kappa, "certified"))
    return Judged(cells, control, constants)


def _direct_of_n(n: int, alpha: float, kappa: float, generation: int) -> float:
    """A wrong recursion, in which a real row counts 1/n in every training set instead of 1/N."""
    chi = 1 / n
    for _ in range(generation):
        chi = 1 / n + (1 - alpha) * kappa * chi
    return chi


def _common_numbers(evidence: Evidence) -> list[Cell]:
    """Why the coupling matters: the same loops on symbols with common random numbers."""
    experiment = _bootstrap(evidence.preset, 1, "common")
    n, cells = experiment.samples, []
    for name, words in (("tv", "n gamma"), ("rows", "n times the share of rows that differ")):
        measured = n * wide(evidence, experiment, name)
        keys = where(experiment, LAST, quantity=f"{words}, common random numbers")
        keys["kind"] = f"common {name}"
        keys |= {"curve": measured.mean(0).tolist(), "theory": [1.0] * (LAST + 1)}
        cells.append(Cell(measured[:, LAST] - 1, measured[:, LAST], 1.0, keys, finding=True))
    return cells


def _contracted(evidence: Evidence) -> Judged:
    """Linear attention: a bound for each pair of loops, from what that pair shows."""
    experiment = _attention(evidence.preset, 100, contraction=True)
    n = experiment.samples
    distance, shrink, put = (
        wide(evidence, experiment, name) for name in ("distance", "contraction", "injected")
    )
    bound = bounds.contraction_stability(distance[:, 0], shrink[:, 1:], put[:, 1:])
    forgotten = bounds.contraction_stability(distance[:, 0], shrink[:, 1:], 0 * put[:, 1:])
    cells, control = [], []
    for i in range(1, LAST + 1):
        keys = where(
            experiment,
            i,
            kind="contraction",
            quantity="n times the distance of Gamma, common random numbers",
            direction="at most",
            family="linear attention",
            worst=float((distance[:, i] / bound[:, i]).max()),
        )
        if i == LAST:
            keys["curve"] = (n * distance).mean(0).tolist()
            keys["theory"] = (n * bound).mean(0).tolist()
        margins, limit = n * (bound - distance)[:, i], n * float(bound[:, i].mean())
        cells.append(Cell(margins, n * distance[:, i], limit, keys, "exact"))
        margins, limit = n * (forgotten - distance)[:, i], n * float(forgotten[:, i].mean())
        control.append(Cell(margins, n * distance[:, i], limit, keys, "exact"))
    factor = float(shrink[:, 1:].mean())
    return Judged(cells, control, [constant("contraction c/(1 + c), mean", factor, "measured")])


def _moved(evidence: Evidence, experiment: NeighbouringTransformers, name: str) -> Floats:
    """What one swap moves, of `QUANTITIES`: `[R, G + 1, K]`, random swaps before searched ones."""
    values = wide(evidence, experiment, "tv" if name == "tv_short" else name)
    if name == "tv_short":
        return values[..., 1 if values.shape[-1] > 2 else 0]
    return np.sqrt(values) if name == "predictions" else values[..., -1] if name == "tv" else values


def _mean(evidence: Evidence, experiment: NeighbouringTransformers, name: str) -> Floats:
    """The same, mean over random swaps: `[R, G + 1]`."""
    return np.asarray(_moved(evidence, experiment, name)[..., : experiment.neighbours].mean(-1))


def _most(evidence: Evidence, experiment: NeighbouringTransformers, name: str) -> Floats:
    """The largest of all swaps that were tried, `[G + 1]`: a lower bound on the supremum."""
    return np.asarray(_moved(evidence, experiment, name).max((0, 2)))


def _in_words(experiment: NeighbouringTransformers, generation: int, **more: Any) -> Json:
    size = experiment.size
    return {
        "loop": "transformer",
        "regime": (Augment if size.share else Replace).name,
        "alpha": size.share,
        "generation": generation,
        "n": size.samples,
        **more,
    }


class Constants(NamedTuple):
    """Constants of stability of the transformer at one n, measured: they certify nothing."""

    b: float
    """Largest change of the loss seen under one replaced prompt, times n: a lower bound on b."""
    kappa: float
    """Largest total variation between neighbours seen, whole prompts, times n: a lower bound on κ,
    but for the noise of its estimate."""
    omega: float
    """Mean distance of predictions under one replaced prompt, times n."""
    kappa_f: float
    """Share of a distance of predictions that the generator passes on, all rows being generated."""


def measured_constants(evidence: Evidence) -> dict[int, Constants]:
    """The constants of stability by n: of one fit, and of what its generator passes on."""
    found = {}
    for n in evidence.preset.stability.samples:
        experiment = _transformers(evidence.preset)[n, 0.0]
        moved = _mean(evidence, experiment, "predictions").mean(0)
        b, kappa = (n * float(_most(evidence, experiment, one)[0]) for one in ("loss_max", "tv"))
        found[n] = Constants(b, kappa, n * float(moved[0]), float(moved[1] / moved[0]))
    return found


def _passed_on(evidence: Evidence, experiment: NeighbouringTransformers, **more: Any) -> Cell:
    """κ_f by loop: of loops without real prompts, where all of a distance was passed on."""
    moved = _mean(evidence, experiment, "predictions")
    keys = _in_words(experiment, 1, kind="kappa", **more)
    keys["quantity"] = "kappa_f, share of a distance of predictions that is passed on"
    return Cell(moved[:, 1] / moved[:, 0], moved[:, 1] / moved[:, 0], np.nan, keys, finding=True)


def _measured_recursion(evidence: Evidence) -> Judged:
    """The transformer beside the recursion in function space, its constants measured.

    The recursion of parameters holds in any distance of theirs, that of their predictions too.
    """
    cells, constants = [], []
    known = measured_constants(evidence)
    for n, own in known.items():
        cells.append(_passed_on(evidence, _transformers(evidence.preset)[n, 0.0]))
        symbols = {"b": "b", "kappa": "kappa", "omega": "Omega_f", "kappa_f": "kappa_f"}
        for name, symbol in symbols.items():
            constants.append(constant(f"{symbol}, n = {n}", getattr(own, name), "measured"))
    for (n, share), experiment in _transformers(evidence.preset).items():
        generations = np.arange(experiment.generations + 1)
        training = experiment.problem.training
        for name, words in QUANTITIES.items():
            mean, most = (of(evidence, experiment, name) for of in (_mean, _most))
            theory = np.full(len(generations), np.nan)
            if name == "predictions":
                passed, omega = known[n].kappa_f, known[n].omega
                theory = bounds.parameter_stability(n, share, passed, generations, omega)
            for i in generations:
                keys = _in_words(experiment, int(i), quantity=words, kind=name)
                visits = training.steps * training.batch / n * (share if i else 1)
                keys |= {"most": float(most[i]), "visits": visits}
                bound = float(theory[i])
                cells.append(Cell(bound - mean[:, i], mean[:, i], bound, keys, finding=True))
    return Judged(cells, [], constants)


def _judge_recursive_stability(evidence: Evidence) -> Judged:
    common = Judged(_common_numbers(evidence), [], [])
    return together(
        _attained(evidence), common, _contracted(evidence), _measured_recursion(evidence)
    )


RATE_LAST = 10


def _rate_loops(preset: Preset) -> Mapping[str, Sequence[NeighbouringLoops]]:
    runs, twice = run_count(preset), run_count(preset, 2)
    return {
        "bernoulli, kappa = 0.5": [
            NeighbouringLoops(Bernoulli(0.5), Augment(0.5), n, RATE_LAST, runs)
            for n in (50, 200, 800)
        ],
        "bootstrap, maximal coupling": [
            NeighbouringLoops(Categorical(), Augment(0.5), n, RATE_LAST, twice, "maximal")
            for n in (50, 200, 800)
        ],
        "least squares": [
            NeighbouringLoops(Ols(3), Augment(0.5), n, RATE_LAST, runs // 4)
            for n in (100, 400, 1600)
        ],
        "linear attention": [_attention(preset, n) for n in (100, 400, 1600)],
    }


def _rate_experiments(preset: Preset) -> tuple[Experiment, ...]:
    loops = [e for group in _rate_loops(preset).values() for e in group]
    return (*loops, *_transformers(preset).values())


def _judge_stability_rate(evidence: Evidence) -> Judged:
    cells, control = [], []
    late = range(RATE_LAST // 2, RATE_LAST + 1)
    for words, group in _rate_loops(evidence.preset).items():
        symbols = isinstance(group[0].problem, Bernoulli | Categorical)
        name = "tv" if symbols else "parameters"
        values = [wide(evidence, experiment, name) for experiment in group]

        def at_last(index: int, kept: Bools, values: list[Floats] = values) -> float:
            return float(values[index][kept, -1].mean())

        sizes = [experiment.samples for experiment in group]
        slopes = fitted_exponents(at_last, sizes, len(values[0]))
        keys = where(group[0], RATE_LAST, quantity=f"exponent in n, {words}", family=words)
        keys |= {
            "kind": "in n",
            "of": words,
            "n": sizes,
            "curve": [float(v[:, -1].mean()) for v in values],
        }
        # The recursion is an equality for bits and symbols; elsewhere there is an upper bound.
        proved = name == "tv"
        cells.append(replace(exponent_cell(slopes, -1.0, keys, SLOPE_TOLERANCE), proved=proved))
        control.append(exponent_cell(slopes, -0.5, keys, SLOPE_TOLERANCE))

        def late_mean(index: int, kept: Bools, own: Floats = values[-1]) -> float:
            return float(own[kept, late[index]].mean())

        slopes = fitted_exponents(late_mean, late, len(values[-1]))
        family = f"{words}, generations {late[0]} to {late[-1]}"
        keys = where(group[-1], RATE_LAST, quantity=f"exponent in i, {family}", family=family)
        keys |= {"kind": "in i", "of": words}
        cells.append(replace(exponent_cell(slopes, 0.0, keys, SLOPE_TOLERANCE), proved=proved))
        control.append(exponent_cell(slopes, 1.0, keys, SLOPE_TOLERANCE))
    shares = [
        constant(f"alpha, {name}", value, "certified")
        for name, value in (
            ("solvable loops", 0.5),
            ("transformer", evidence.preset.stability.shares),
        )
    ]
    return Judged([*cells, *_transformer_slopes(evidence)], control, shares)


def _transformer_slopes(evidence: Evidence) -> list[Cell]:
    """What the transformer does, beside -1 in n and 0 in i."""
    size, chosen = evidence.preset.stability, _transformers(evidence.preset)
    cells = []
    for share in (*size.shares, 0.0):
        group = [chosen[n, share] for n in size.sizes(share)]
        sizes = [e.size.samples for e in group]
        for name, words in QUANTITIES.items():
            means = np.stack([_mean(evidence, e, name) for e in group], axis=1)
            most = np.stack([_most(evidence, e, name) for e in group])
            for i in (0, size.generations) if len(group) > 1 else ():
                cell = _slope(means[:, :, i], sizes, -1.0, _in_words(group[0], i, kind="in n"))
                cell.keys.update(of=name, quantity=f"exponent in n, {words}", n=sizes)
                cell.keys.update(curve=means[:, :, i].mean(0).tolist(), most=most[:, i].tolist())
                cell.keys["widths"] = [finite(w) for w in half_widths(means[:, :, i])]
                cells.append(cell)
            for k, experiment in enumerate(group if size.generations > 1 else ()):
                keys = _in_words(experiment, size.generations, kind="in i", of=name)
                keys["quantity"] = f"exponent in i, {words}"
                steps = range(1, size.generations + 1)
                cells.append(_slope(means[:, k, 1:], steps, 0.0, keys))
    return cells


def _slope(values: Floats, points: Sequence[int], beside: float, keys: Json) -> Cell:
    """The exponent of means over loops, `[R, X]`, in X points: a finding beside another one."""

    def mean(index: int, kept: Bools) -> float:
        return float(values[kept, index].mean())

    slopes = fitted_exponents(mean, points, len(values))
    return replace(exponent_cell(slopes, beside, keys, SLOPE_TOLERANCE), finding=True)


def _architectures(preset: Preset) -> dict[str, dict[float, NeighbouringTransformers]]:
    """Loops by architecture and share."""
    size = preset.architectures
    both = [(size.samples, share) for share in (size.share, 0.0)]
    return {
        words: {share: e for (_, share), e in _neighbours(size, architecture, both).items()}
        for words, architecture in size.variants.items()
    }


def _architecture_experiments(preset: Preset) -> tuple[Experiment, ...]:
    return tuple(e for group in _architectures(preset).values() for e in group.values())


def _judge_architecture(evidence: Evidence) -> Judged:
    cells = []
    for words, group in _architectures(evidence.preset).items():
        experiment, alone = group.values()
        for i in (0, experiment.generations):
            for name, what in QUANTITIES.items():
                keys = _in_words(experiment, i, quantity=what, kind=name, architecture=words)
                keys["most"] = float(_most(evidence, experiment, name)[i])
                moved = _mean(evidence, experiment, name)[:, i]
                cells.append(Cell(moved, moved, np.nan, keys))
            excess = wide(evidence, experiment, "excess_nll")[:, i]
            keys = _in_words(experiment, i, kind="kl", architecture=words)
            keys["quantity"] = "excess negative log-likelihood, nats a label"
            cells.append(Cell(excess, excess, np.nan, keys))
        cells.append(_passed_on(evidence, alone, architecture=words))
    return Judged(cells, [], [constant("alpha", evidence.preset.architectures.share, "certified")])


CLAIMS = (
    Claim(
        name="recursive_stability",
        statement="what one replaced real row moves obeys chi_i = alpha/n + (1 - alpha) kappa "
        f"chi_{{i-1}}: attained within {ATTAINED:.0%} by the amplifier and the bootstrap under the "
        "maximal coupling; linear attention with common random numbers stays below its "
        "contraction in every pair of loops. Transformers beside the recursion in their "
        "predictions, with Omega and kappa measured: a finding",
        source="derived here: the recursion, its version in parameters, the contraction of linear "
        "attention. The notion: paper, abstract-level claim",
        control="a real row counts 1/n in every training set instead of 1/N; linear attention "
        "forgets the swapped row after generation 0",
        experiments=_recursion_experiments,
        judge=_judge_recursive_stability,
    ),
    Claim(
        name="stability_rate",
        statement="with a constant real share one replaced row moves generation "
        f"{RATE_LAST} by about 1/n, and no more from generation {RATE_LAST // 2} to {RATE_LAST} "
        f"(exponents within {SLOPE_TOLERANCE} of -1 and of 0, solvable loops). The transformer, "
        "trained with equally many steps for every n: a finding",
        source="derived here: the recursion of recursive stability, an equality for bits and "
        "symbols; for least squares and linear attention not proved from both sides. "
        "That stability falls with n: paper, abstract-level claim",
        control="exponent -1/2 in n; exponent 1 in i",
        experiments=_rate_experiments,
        judge=_judge_stability_rate,
    ),
    Claim(
        name="architecture",
        statement="which architecture is recursively stable: what one replaced real prompt moves, "
        "by depth, width, heads, weight norms, softmax or linear, full or causal attention; beside "
        "it how well each has learned",
        source="measured; no theorem speaks",
        control="",
        experiments=_architecture_experiments,
        judge=_judge_architecture,
        finding=True,
    ),
)
"""Claims about recursive stability, in the order in which they are shown."""

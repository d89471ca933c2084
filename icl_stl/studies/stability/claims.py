"""Claims about recursive stability: what one replaced real row moves, generation by generation.

Solvable loops are judged, against recursions that are attained or proved; loops of transformers are
measured beside the same recursion and shown as findings: no theorem speaks of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from icl_stl import bounds
from icl_stl.config import Architecture, QueryArchitecture
from icl_stl.lab.experiments import Experiment, LoopSize
from icl_stl.lab.results import Floats
from icl_stl.problems import Bernoulli, Categorical, InContext, LinearAttention, Ols
from icl_stl.regimes import Augment, real_share
from icl_stl.studies.cells import (
    SLOPE_TOLERANCE,
    Bools,
    constant,
    equal,
    exponent_cell,
    fitted_exponents,
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
    "parameters": "distance of the weights, over their length",
    "tv": "total variation between the generators, whole prompts",
    "loss_mean": "mean change of the bounded loss",
    "loss_max": "largest change of the bounded loss seen",
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
    share: float,
    n: int,
) -> NeighbouringTransformers:
    sizes = [(share, n)]
    if isinstance(size, StabilitySize):  # one program for all of them
        sizes = [(share, n) for share in size.shares for n in size.samples]
    most = max(Augment(share).synthetic_size(n) for share, n in sizes)
    return NeighbouringTransformers(
        InContext(size.task, architecture, size.training, size.held_out),
        LoopSize(n, Augment(share).synthetic_size(n)),
        LoopSize(max(n for _, n in sizes), most),
        size.replicates,
        size.generations,
        size.neighbours,
        size.searched,
        size.passing,
    )


def _transformers(preset: Preset) -> dict[tuple[int, float], NeighbouringTransformers]:
    size = preset.stability
    return {
        (n, share): _neighbours(size, size.architecture, share, n)
        for share in size.shares
        for n in size.samples
    }


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
            keys = where(experiment, i, quantity=f"n gamma, {words}", family=words)
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
    """A comparison of transformers, `[R, G + 1, K]`; total variation that of whole prompts."""
    values = wide(evidence, experiment, name)
    return values[..., -1] if name == "tv" else values


def _kinds(experiment: NeighbouringTransformers, values: Floats) -> tuple[Floats, Floats, Floats]:
    """Of swaps: mean over the random ones, `[R, G + 1]`; maximum over all; mean over passing ones.

    The maximum over the swaps that were tried, `[G + 1]`, is a lower bound on the supremum.
    """
    random = experiment.neighbours
    lasting = random + experiment.searched
    passing = values[:, :, lasting:].mean(-1)
    return values[:, :, :random].mean(-1), values[:, :, :lasting].max((0, 2)), passing


def _in_words(experiment: NeighbouringTransformers, generation: int, **more: Any) -> Json:
    size = experiment.size
    return {
        "loop": "transformer",
        "regime": Augment(size.share).name,
        "alpha": size.share,
        "generation": generation,
        "n": size.samples,
        **more,
    }


def _measured_recursion(evidence: Evidence) -> Judged:
    """The transformer beside the recursion in parameters, with its constants measured."""
    cells, constants = [], []
    for (n, share), experiment in _transformers(evidence.preset).items():
        generations = np.arange(experiment.generations + 1)
        for name, words in QUANTITIES.items():
            mean, most, passing = _kinds(experiment, _moved(evidence, experiment, name))
            theory = np.full(len(generations), np.nan)
            if name == "parameters":
                omega = n * float(mean[:, 0].mean())
                # The swap of generation 0 alone: what is left later came through the generator.
                left = passing.mean(0)
                kappa = float(left[1] / left[0] / (1 - share))
                theory = bounds.parameter_stability(n, share, kappa, generations, omega)
                each = passing[:, 1] / passing[:, 0] / (1 - share)
                keys = _in_words(experiment, 1, kind="kappa")
                keys["quantity"] = "kappa_c, how much of a distance the generator passes on"
                cells.append(Cell(each, each, np.nan, keys, finding=True))
                place = f"transformer, alpha = {share:g}, n = {n}"
                constants.append(constant(f"Omega, {place}", omega, "measured"))
                constants.append(constant(f"kappa_c, {place}", kappa, "measured"))
            for i in generations:
                keys = _in_words(experiment, int(i), quantity=words, kind=name)
                keys |= {"most": float(most[i]), "passing": float(passing[:, i].mean())}
                rows = n if i == 0 else n / share
                drawn = experiment.problem.training.steps * experiment.problem.training.batch
                keys["visits"] = drawn / rows
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


def _slopes(x: Iterable[float], values: Floats) -> Floats:
    """Slope of log values `[R, X]` in log x, for each of R replicates."""
    logs = np.log(np.array(list(x), np.float64))
    centred = logs - logs.mean()
    slopes: Floats = np.log(values) @ centred / (centred @ centred)
    return slopes


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
        keys |= {"n": sizes, "curve": [float(v[:, -1].mean()) for v in values]}
        # The recursion is an equality for bits and symbols; elsewhere there is an upper bound.
        proved = name == "tv"
        cells.append(replace(exponent_cell(slopes, -1.0, keys, SLOPE_TOLERANCE), proved=proved))
        control.append(exponent_cell(slopes, -0.5, keys, SLOPE_TOLERANCE))

        def late_mean(index: int, kept: Bools, own: Floats = values[-1]) -> float:
            return float(own[kept, late[index]].mean())

        slopes = fitted_exponents(late_mean, late, len(values[-1]))
        family = f"{words}, generations {late[0]} to {late[-1]}"
        keys = where(group[-1], RATE_LAST, quantity=f"exponent in i, {family}", family=family)
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
    cells = []
    size, chosen = evidence.preset.stability, _transformers(evidence.preset)
    for share in size.shares:
        group = [chosen[n, share] for n in size.samples]
        for name, words in QUANTITIES.items():
            means = np.stack([_kinds(e, _moved(evidence, e, name))[0] for e in group], axis=1)
            for i in (0, size.generations):  # means: [R, sizes, G + 1]
                slopes = _slopes(size.samples, means[:, :, i])
                keys = _in_words(group[0], i, quantity=f"exponent in n, {words}", kind=name)
                keys |= {"n": list(size.samples), "curve": means[:, :, i].mean(0).tolist()}
                cells.append(Cell(slopes + 1, slopes, -1.0, keys, finding=True))
            if size.generations > 1:
                steps = range(1, size.generations + 1)
                for k in range(len(size.samples)):
                    slopes = _slopes(steps, means[:, k, 1:])
                    keys = _in_words(group[k], size.generations, kind=name)
                    keys |= {"quantity": f"exponent in i, {words}"}
                    cells.append(Cell(slopes, slopes, 0.0, keys, finding=True))
    return cells


def _architectures(preset: Preset) -> dict[str, NeighbouringTransformers]:
    size = preset.architectures
    return {
        words: _neighbours(size, architecture, size.share, size.samples)
        for words, architecture in size.variants.items()
    }


def _judge_architecture(evidence: Evidence) -> Judged:
    cells = []
    for words, experiment in _architectures(evidence.preset).items():
        alpha = experiment.size.share
        for name, what in QUANTITIES.items():
            mean, most, passing = _kinds(experiment, _moved(evidence, experiment, name))
            for i in (0, experiment.generations):
                keys = _in_words(experiment, i, quantity=what, kind=name, architecture=words)
                keys["most"] = float(most[i])
                cells.append(Cell(mean[:, i], mean[:, i], np.nan, keys))
            if name == "parameters":
                kappa = passing[:, 1] / passing[:, 0] / (1 - alpha)
                keys = _in_words(experiment, 1, kind="kappa", architecture=words)
                keys["quantity"] = "kappa_c, how much of a distance the generator passes on"
                cells.append(Cell(kappa, kappa, np.nan, keys))
        excess = wide(evidence, experiment, "excess_nll")
        for i in (0, experiment.generations):
            keys = _in_words(experiment, i, kind="kl", architecture=words)
            keys["quantity"] = "excess negative log-likelihood, nats a label"
            cells.append(Cell(excess[:, i], excess[:, i], np.nan, keys))
    return Judged(cells, [], [constant("alpha", evidence.preset.architectures.share, "certified")])


CLAIMS = (
    Claim(
        name="recursive_stability",
        statement="what one replaced real row moves obeys chi_i = alpha/n + (1 - alpha) kappa "
        f"chi_{{i-1}}: attained within {ATTAINED:.0%} by the amplifier and the bootstrap under the "
        "maximal coupling; linear attention with common random numbers stays below its "
        "contraction in every pair of loops. Transformers beside the recursion in parameters, with "
        "Omega and kappa_c measured: a finding",
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
        experiments=lambda preset: tuple(_architectures(preset).values()),
        judge=_judge_architecture,
        finding=True,
    ),
)
"""Claims about recursive stability, in the order in which they are shown."""

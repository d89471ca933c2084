"""Claims about the error of loops with a constant share of real data: where it comes from, whether
it stops to grow, and at which level.

x_i is the error of generation i: the root of the mean squared difference of its predicted means
from those of the Bayes predictor, over real prompts and positions of a label. Loops have a fixed
real set of n prompts, a share α and ρ = 1 - α, λ = ρ/α. A trained network has no certified
constants: they are measured on the same loops, by pairs of fits (`lab.runs.fits_in_pairs`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from icl_stl import bounds
from icl_stl.intervals import LEVEL, t_half_width
from icl_stl.lab.experiments import Experiment, Loops
from icl_stl.lab.results import Floats, LoopResult
from icl_stl.problems import InContext
from icl_stl.regimes import Augment, Regime, Replace
from icl_stl.studies.cells import Bools, constant, jackknifed, wide
from icl_stl.studies.judging import Cell, Claim, Evidence, Json, Judged
from icl_stl.studies.plateau.experiments import SingleFits, streamed
from icl_stl.studies.presets import Preset, job_of

INJECTED = 0.1
"""Relative tolerance of an injected error."""

EARLY = 8
"""Generations over which injected errors are averaged: later `replace`, whose own they are beside,
has saturated."""

FLAT, FLAT_PART = 0.02, 0.15
"""Tolerance of a plateau: so much, or that part of the predicted level if it is less."""

FLAT_KL = 2 * FLAT_PART
"""The same as a part of a divergence, which to leading order is as the square of the error."""

FEWEST = 20
"""Generations from which on a plateau is judged: with a memory of 1/α generations, five at the
least share, the last quarter is then three memories from the start."""

WORDS = "error of the predicted means"


def errors(result: LoopResult) -> Floats:
    """x_i of every loop and generation: `[R, G + 1]`."""
    return np.asarray(np.sqrt(result["excess_squared_risk"].mean(-1)))


def _shares(evidence: Evidence) -> list[LoopResult]:
    return [loop for loop in evidence.loops.values() if isinstance(loop.regime, Augment)]


def _replace(evidence: Evidence) -> LoopResult:
    return next(loop for loop in evidence.loops.values() if isinstance(loop.regime, Replace))


def _alpha(result: LoopResult) -> float:
    return float(result.regime.share(1))


def _where(result: LoopResult, generation: int, kind: str, quantity: str, **more: Any) -> Json:
    place = {"regime": result.regime.name, "alpha": _alpha(result), "generation": generation}
    return {**place, "kind": kind, "quantity": quantity, **more}


def _alphas(results: Sequence[LoopResult]) -> list[Json]:
    return [constant(f"alpha, {one.label}", _alpha(one), "certified") for one in results]


def injected(values: Floats, inherited: float) -> Floats:
    """What a generation adds, u = x_i - ρ x_{i-1}, mean over the first `EARLY` i >= 1: `[R]`."""
    early = values[:, : EARLY + 1]
    return np.asarray((early[:, 1:] - inherited * early[:, :-1]).mean(1))


def _around(values: Floats, expected: Floats, keys: Json) -> list[Cell]:
    """Mean values within ±10 % of the mean of what they should be: one test for each side."""
    mean = float(expected.mean())
    sides = {"at most": 1 + INJECTED, "above": 1 - INJECTED}
    return [
        Cell(
            (factor * expected - values) * (1 if side == "at most" else -1),
            values,
            factor * mean,
            {**keys, "direction": side, "expected": mean},
            proved=False,
        )
        for side, factor in sides.items()
    ]


def _in_squares(result: LoopResult, alone: LoopResult) -> Cell:
    """The same of squares, x_i² - ρ² x_{i-1}² over the mixture of its ends with 1 - ρ² and ρ²."""
    share, rest = (errors(one) ** 2 for one in (result, alone))
    kept = (1 - _alpha(result)) ** 2

    def ratio(loops: Bools) -> float:
        own, from_self = injected(share[loops], kept), injected(rest[loops], 1.0)
        mixed = (1 - kept) * share[loops, 0] + kept * from_self
        return float(own.mean() / mixed.mean())

    ratios = jackknifed(ratio, len(share))
    words = "injected squared error over (1 - rho^2) and rho^2 times those of its ends"
    keys = _where(result, min(result.generations, EARLY), "squares", words)
    return Cell(ratios - 1, ratios, 1.0, keys, finding=True)


def _judge_injected(evidence: Evidence) -> Judged:
    cells, control = [], []
    alone = _replace(evidence)
    from_self = injected(errors(alone), 1.0)
    for result in _shares(evidence):
        alpha, x = _alpha(result), errors(result)
        own, from_real = injected(x, 1 - alpha), x[:, 0]
        mixed = alpha * from_real + (1 - alpha) * from_self
        words = "injected error, x_i - (1 - alpha) x_{i-1}"
        keys = _where(result, min(result.generations, EARLY), "injected", words)
        keys |= {"from_real": float(from_real.mean()), "from_self": float(from_self.mean())}
        cells += _around(own, mixed, keys)
        for name, other in (("real alone", from_real), ("replace", from_self)):
            control += _around(own, other, {**keys, "family": f"as {name}, alpha = {alpha:g}"})
        cells.append(_in_squares(result, alone))
    return Judged(cells, control, _alphas(_shares(evidence)))


class Windows(NamedTuple):
    """Generations over which the error is averaged, each a quarter of all."""

    middle: slice
    """Around the middle."""
    third: slice
    """The third quarter."""
    last: slice
    """The last quarter."""
    lag: int
    """From the middle to the last."""


def windows(generations: int) -> Windows | None:
    """Of so many generations; None where there are too few for four quarters."""
    quarter = generations // 4
    if quarter == 0:
        return None
    middle, last = generations // 2 - quarter // 2 + 1, generations - quarter + 1
    return Windows(
        slice(middle, middle + quarter),
        slice(last - quarter, last),
        slice(last, last + quarter),
        last - middle,
    )


def excess_growth(values: Floats, inherited: float, at: Windows) -> Floats:
    """W = mean_L x - mean_M x - mean_{k in M} ρ^k (x_l - x_0), `[R]`; l the lag between M and L.

    0 where the injected error is the same in every generation, above 0 where it grows.

    Source: derived here: THEORY.md statement 92.
    """
    k = np.arange(values.shape[1])[at.middle]
    expected = np.mean(inherited**k) * (values[:, at.lag] - values[:, 0])
    return np.asarray(values[:, at.last].mean(1) - values[:, at.middle].mean(1) - expected)


def grown(values: Floats, at: Windows) -> Floats:
    """Mean of the last quarter less that of the third, `[R]`."""
    return np.asarray(values[:, at.last].mean(1) - values[:, at.third].mean(1))


def _tolerances(evidence: Evidence) -> dict[str, float]:
    """Of a plateau, by label of the loops with real data."""
    found = {}
    for result in _shares(evidence):
        level = predicted_level(result, evidence.pairs[result.label], np.s_[:])[0, -1]
        found[result.label] = float(min(FLAT, FLAT_PART * level))
    return found


def _judge_relaxation(evidence: Evidence) -> Judged:
    alone = _replace(evidence)
    at, last = windows(alone.generations), alone.generations
    cells, control = [], []
    for result in _shares(evidence) if at else ():
        assert at is not None
        rho, tolerance = 1 - _alpha(result), _tolerances(evidence)[result.label]
        words = f"growth of the {WORDS} beyond that of a constant injected error"
        own = excess_growth(errors(result), rho, at)
        keys = _where(result, last, "relaxation", words, direction="at most")
        cells.append(Cell(tolerance - own, own, tolerance, keys, finding=last < FEWEST))
        if last >= FEWEST:
            x = errors(alone)
            growing = x[:, -1] - x[:, last // 2] - tolerance
            half = t_half_width(growing.std(ddof=1) / growing.size**0.5, growing.size, LEVEL)
            if growing.mean() > half:  # else it is no control: it may have stopped by itself
                own = excess_growth(x, rho, at)
                keys = _where(alone, last, "relaxation", words, direction="at most")
                keys["family"] = f"replace, as with rho = {rho:g}"
                control.append(Cell(tolerance - own, own, tolerance, keys))
    return Judged(cells, control, _alphas(_shares(evidence)))


def _plateau_cells(result: LoopResult, tolerance: float, at: Windows, finding: bool) -> list[Cell]:
    """That the error, and both parts of the divergence, are as in the third quarter."""
    last = result.generations
    words = "mean of the last quarter less that of the third"
    own = grown(errors(result), at)
    keys = _where(result, last, "error", f"{WORDS}, {words}")
    cells = [Cell(own, own, 0.0, keys, "equal", tolerance, proved=False, finding=finding)]
    for kind, words in (
        ("kl", "KL(D_0 || D_theta), whole prompts, nats"),
        ("mixture_kl", "KL(D_0 || M), its part of the mixture, nats"),
    ):
        third, late = (result[kind][:, where, -1].mean(1) for where in (at.third, at.last))
        for side, factor, sign in (("at most", 1 + FLAT_KL, 1), ("above", 1 - FLAT_KL, -1)):
            keys = _where(result, last, kind, f"{words}, last quarter", direction=side)
            keys["third_quarter"] = float(third.mean())
            limit = factor * float(third.mean())
            margins = sign * (factor * third - late)
            cells.append(Cell(margins, late, limit, keys, proved=False, finding=finding))
    return cells


def _judge_plateau(evidence: Evidence) -> Judged:
    alone, tolerances = _replace(evidence), _tolerances(evidence)
    at, few = windows(alone.generations), alone.generations < FEWEST
    if at is None:
        return Judged([], [], _alphas(_shares(evidence)))
    cells = [
        cell
        for result in _shares(evidence)
        for cell in _plateau_cells(result, tolerances[result.label], at, few)
    ]
    control, growing = [], None if few else windows(alone.generations // 2)
    if growing:
        first = {name: a[:, : alone.generations // 2 + 1] for name, a in alone.observations.items()}
        half = LoopResult(alone.regime, alone.samples, first)
        control = _plateau_cells(half, max(tolerances.values()), growing, False)
        control = [
            replace(c, keys=c.keys | {"family": f"replace, {c.keys['kind']}"}) for c in control
        ]
    return Judged(cells, control, _alphas(_shares(evidence)))


def _upper(squares: Floats) -> float:
    """Root of an upper limit of the mean of squares, `[R]`: Student's, one of five at LEVEL/10.

    Each square is a mean over many prompts. Where it is skewed over loops the limit is missed more
    often than said: by simulation, of twelve chi-squares of 10 degrees with a chance of 1.5 %.
    """
    half = t_half_width(squares.std(ddof=1) / squares.size**0.5, squares.size, LEVEL / 10)
    return float(np.sqrt(max(0.0, squares.mean() + half)))


def _root(squares: Floats) -> float:
    """Root of a mean of squares that is measured without bias, and may come out below 0."""
    return float(np.sqrt(max(0.0, squares.mean())))


SYMBOLS = {"a": "first", "s_0": "first_noise", "o": "refit", "q": "mixing", "s": "noise"}
"""What pairs of fits measure, by the symbols of the theory."""


def upper_constants(pairs: Mapping[str, Floats]) -> dict[str, float]:
    """The constants of the law of the plateau at their upper limits, the largest of all places."""
    return {
        symbol: max(_upper(own) for own in np.asarray(pairs[name], float).T)
        for symbol, name in SYMBOLS.items()
    }


def level_bound(alpha: float, generations: int, known: Mapping[str, float]) -> bounds.BiasNoise:
    """D_i, the distance to g, the mean of fits to the real set: x_i is at most a + D_i."""
    each = np.ones(generations)
    bias = ((1 - alpha) * known["o"] + known["q"]) * each
    return bounds.bias_noise_drift(known["s_0"], bias, known["s"] * each, alpha)


def predicted_level(result: LoopResult, pairs: Mapping[str, Floats], kept: Any) -> Floats:
    """Predictions of x_i without a free parameter, `[2, G + 1]`, from these loops.

    First a + λ o (1 - ρ^i), a the root of the mean square of the first error: refit errors point
    the same way. Then `bounds.plateau_in_squares`: they point anywhere, and add as noise does.
    """
    a = _root(errors(result)[kept, 0] ** 2)
    own = {symbol: _root(np.asarray(pairs[name], float)[kept]) for symbol, name in SYMBOLS.items()}
    alpha, i = _alpha(result), np.arange(result.generations + 1)
    squares = {"a": a, "o": own["o"], "s": own["s"], "first_noise": own["s_0"]}
    straight = bounds.plateau_prediction(alpha, i, a=a, o=own["o"])
    return np.stack([straight, bounds.plateau_in_squares(alpha, i, **squares)])


def _judge_level(evidence: Evidence) -> Judged:
    cells, control, constants = [], [], _alphas(_shares(evidence))
    for result in _shares(evidence):
        pairs, alpha = evidence.pairs[result.label], _alpha(result)
        known, last = upper_constants(pairs), result.generations
        bound = level_bound(alpha, last, known)
        squares = errors(result)[:, -1] ** 2
        keys = _where(result, last, "level", f"mean square of the {WORDS}", direction="at most")
        limit = (known["a"] + float(bound.total[-1])) ** 2
        cells.append(Cell(limit - squares, squares, limit, keys))
        least = {**known, "o": 0.0}
        without = (known["a"] + float(level_bound(alpha, last, least).total[-1])) ** 2
        other = {**keys, "kind": "without_refit", "quantity": f"{keys['quantity']}, o = 0"}
        cells.append(Cell(without - squares, squares, without, other, finding=True))
        x = errors(result)
        keys = {**keys, "quantity": WORDS, "family": f"as the first fit, alpha = {alpha:g}"}
        control.append(Cell(x[:, 0] - x[:, -1], x[:, -1], float(x[:, 0].mean()), keys))
        cells += _predictions(result, pairs)
        constants += _measured(result, pairs, known)
    return Judged(cells, control, constants)


def _measured(
    result: LoopResult, pairs: Mapping[str, Floats], known: Mapping[str, float]
) -> list[Json]:
    """What was measured by pairs, roots of means, at each place; and upper limits."""
    return [
        constant(
            f"{symbol}, {result.label}",
            {
                "by_place": [_root(own) for own in np.asarray(pairs[name], float).T],
                "upper": known[symbol],
            },
            "measured",
        )
        for symbol, name in SYMBOLS.items()
    ]


PREDICTIONS = {"straight": "a + lambda o (1 - rho^i)", "squares": "the law in squares"}
"""Predictions of the level, by kind of their cells."""


def _predictions(result: LoopResult, pairs: Mapping[str, Floats]) -> list[Cell]:
    """The error of every generation over what is predicted without a free parameter."""
    x, cells = errors(result), []
    for row, (kind, words) in enumerate(PREDICTIONS.items()):
        for i in range(1, result.generations + 1):

            def level(kept: Bools, row: int = row, i: int = i) -> float:
                return float(predicted_level(result, pairs, kept)[row, i])

            def ratio(kept: Bools, level: Any = level, i: int = i) -> float:
                return _root(x[kept, i] ** 2) / float(level(kept))

            ratios, predicted = jackknifed(ratio, len(x)), jackknifed(level, len(x))
            stderr = predicted.std(ddof=1) / predicted.size**0.5
            keys = _where(result, i, kind, f"{WORDS} over {words}")
            keys |= {"predicted": float(predicted.mean())}
            keys |= {"predicted_half": t_half_width(stderr, predicted.size, LEVEL / 2)}
            cells.append(Cell(ratios - 1, ratios, 1.0, keys, finding=True))
    return cells


def fits(preset: Preset) -> dict[str, SingleFits]:
    """Fits to real prompts alone: `n` of several sizes; `streamed`, and that with more steps."""
    problem, size = job_of(preset).problem, preset.fits
    assert isinstance(problem, InContext)
    found = {"n": SingleFits(problem, size.samples, size.runs)}
    for name, longer in (("streamed", 1), ("longer", size.longer)):
        if longer:
            own, prompts = streamed(problem, longer)
            found[name] = SingleFits(own, (prompts,), size.runs)
    return found


def larger(preset: Preset) -> dict[str, Loops]:
    """Loops of prompts of 8 examples of 2 dimensions, by share; none if the preset has none."""
    training = preset.fits.larger
    if training is None:
        return {}
    task, network = replace(preset.task, dim=2, context=8), replace(preset.architecture, depth=4)
    problem = InContext(task, network, training, preset.held_out)
    regimes = {"0.5": Augment(0.5), "0": Replace()}
    return {name: Loops(problem, one, preset.samples, 5, 6) for name, one in regimes.items()}


LARGER = {
    "excess": "squared error",
    "excess_nll": "excess NLL, nats a label",
    "drift": "total variation, whole prompts",
}
"""What is shown of a larger task."""


def _judge_parts(evidence: Evidence) -> Judged:
    """Parts of the squared error of one fit, by n and without limit of n; of a larger task."""
    asked, cells = fits(evidence.preset), []
    for name, experiment in asked.items():
        for column, n in enumerate(experiment.samples):
            size: dict[str, Any] = {"n": n} if name == "n" else {"fits": name}
            for kind, words in (
                ("excess", "squared error"),
                ("squared_bias", "squared bias"),
                ("variance", "variance"),
                ("excess_nll", "excess NLL, nats a label"),
            ):
                own = wide(evidence, experiment, kind)[:, column]
                keys = {"regime": "generation 0", "alpha": 1.0, "generation": 0, **size}
                cells.append(Cell(own, own, np.nan, {**keys, "kind": kind, "quantity": words}))
    for loops in larger(evidence.preset).values():
        for kind, words in LARGER.items():
            values = wide(evidence, loops, kind)
            for i in range(loops.generations + 1):
                keys = {"loop": "d = 2, 8 examples", "regime": loops.regime.name}
                keys |= {"alpha": loops.regime.share(1), "generation": i}
                keys |= {"kind": f"larger {kind}", "quantity": words}
                cells.append(Cell(values[:, i], values[:, i], np.nan, keys))
    known = [constant("steps", evidence.preset.training.steps, "certified")]
    return Judged(cells, [], known)


def _loops(preset: Preset) -> tuple[Regime, ...]:
    return tuple(regime for regime in preset.regimes if isinstance(regime, Augment | Replace))


def _fits(preset: Preset) -> tuple[Experiment, ...]:
    return (*fits(preset).values(), *larger(preset).values())


CLAIMS = (
    Claim(
        name="plateau_level",
        statement="with a constant share of real prompts x_G is at most a + D_G, D_i^2 = (rho "
        "(D_{i-1} + o) + q)^2 + s^2, D_0 = s_0: the law of the plateau, if o, q and s are nowhere "
        "larger than where pairs of fits measure them on the same loops, at their upper limits; "
        "beside it two predictions without a free parameter, a + lambda o (1 - rho^i) and the law "
        "in squares",
        source="derived here: THEORY.md statements 86, 87 and 91; that the constants are nowhere "
        "larger is assumed",
        control="x_G is at most the error of the first fit: nothing is lost by fitting what the "
        "loop itself wrote",
        regimes=_loops,
        judge=_judge_level,
        pairs=True,
        proved=False,
    ),
    Claim(
        name="injected_error",
        statement="what a generation adds, x_i - (1 - alpha) x_{i-1}, is alpha times that of real "
        "prompts alone plus 1 - alpha times that of replace, up to 10 % (two one-sided tests)",
        source="derived here for learners that are linear in their data and lose as much of n rows "
        "as of n/alpha; not proved for a trained transformer",
        control="it is that of real prompts alone; it is that of replace",
        regimes=_loops,
        judge=_judge_injected,
        proved=False,
    ),
    Claim(
        name="relaxation",
        statement="with a constant share of real prompts the injected error does not grow from "
        f"generation to generation, up to {FLAT} or {FLAT_PART:.0%} of the predicted level",
        source="derived here: THEORY.md statement 92, for a constant injected error; not proved "
        "for a trained transformer",
        control="the same of replace, for each share, where replace still grows",
        regimes=_loops,
        judge=_judge_relaxation,
        pairs=True,
        proved=False,
    ),
    Claim(
        name="plateau",
        statement="with a constant share of real prompts the error, and the divergence from the "
        "real law by parts, are in the last quarter of the generations what they are in the third, "
        f"up to {FLAT} or {FLAT_PART:.0%} of the predicted level, {FLAT_KL:.0%} of a divergence",
        source="paper, abstract-level claim: a constant share of real data prevents collapse",
        control="the same of replace in the first half of its generations: later it has collapsed, "
        "and stays so",
        regimes=_loops,
        judge=_judge_plateau,
        pairs=True,
        proved=False,
    ),
    Claim(
        name="error_parts",
        statement="what the squared error of one fit to real prompts consists of: squared bias and "
        "variance, by n, and where every step sees new prompts (n without limit)",
        source="measured; no theorem speaks",
        control="",
        experiments=_fits,
        judge=_judge_parts,
        regimes=lambda preset: (),
        finding=True,
    ),
)
"""What the headline asks: does a constant share of real data ensure convergence?"""

"""The transformer over sizes: what more data mend, and how much synthetic data is best.

x is the error of a generation as in `studies.plateau`: the root of the mean squared difference of
its predicted means from those of the Bayes predictor. n = ∞ is a learner that sees new prompts in
every step. All sizes have the same steps, and as far as they go the same prompts and randomness.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf, isinf
from typing import Any, NamedTuple

import numpy as np

from icl_stl import bounds
from icl_stl.intervals import MANY
from icl_stl.lab.experiments import Experiment, LoopSize
from icl_stl.lab.results import Floats
from icl_stl.planning.error_law import ErrorLaw, fit_error_law
from icl_stl.problems import InContext
from icl_stl.regimes import Augment, Regime, Replace
from icl_stl.studies.cells import Bools, constant, fitted_exponents, half_widths, jackknifed, wide
from icl_stl.studies.convergence.experiments import Distilled, SizedTransformers
from icl_stl.studies.judging import Cell, Claim, Evidence, Json, Judged
from icl_stl.studies.plateau.claims import fits
from icl_stl.studies.plateau.experiments import streamed
from icl_stl.studies.presets import Preset, job_of

SHARE = 0.5
"""α, the constant share of real prompts at which convergence is followed."""

ALONE = 0.0
"""The share in a loop without real data."""

REFITS = (1, 4, 16)
"""Prompts of a refit, in multiples of n."""

MEMBERS = 3
"""Fits that are averaged, and distilled into one more: as many fits as three generations take."""


def _problem(preset: Preset) -> InContext:
    problem = job_of(preset).problem
    assert isinstance(problem, InContext)
    return problem


def _places(preset: Preset) -> LoopSize:
    """The most prompts of each kind that a loop of a preset has: one program for all of them."""
    size, made = preset.convergence, [1]
    if size.lam_samples:
        made.append(max(REFITS) * max(size.lam_samples))
        made.append(round(max(size.lams) * max(size.lam_samples)))
    most = max((*size.samples, *size.lam_samples))
    return LoopSize(most, max(most, *made))


def _sized(
    preset: Preset, world: Any, size: LoopSize, generations: int, **others: Any
) -> SizedTransformers:
    """Loops of one size."""
    given: dict[str, Any] = {"problem": _problem(preset), "places": _places(preset)}
    given["runs"] = preset.convergence.replicates
    return SizedTransformers(size=size, world=world, generations=generations, **given | others)


def _varied(
    preset: Preset, world: Any, size: LoopSize, generations: int, **others: Any
) -> SizedTransformers:
    """Loops of one size, beside those of other amounts of synthetic data."""
    runs = preset.convergence.lam_replicates
    return _sized(preset, world, size, generations, runs=runs, **others)


def converging(preset: Preset) -> dict[tuple[float, float], SizedTransformers]:
    """Loops in which convergence is followed, by share and n; the main job has its own n."""
    last = preset.convergence.generations
    found: dict[tuple[float, float], SizedTransformers] = {}
    endless, prompts = streamed(_problem(preset))
    whole = {"problem": endless, "places": LoopSize(prompts, prompts)}
    half = prompts // 2
    for n in preset.convergence.samples:
        found[SHARE, n] = _sized(preset, "fixed", LoopSize(n, n), last)
    found[SHARE, inf] = _sized(preset, "streamed", LoopSize(half, half), last, **whole)
    if preset.convergence.without_real:
        for n in preset.convergence.samples:
            found[ALONE, n] = _sized(preset, "fixed", LoopSize(n, n, 0.0), last)
        size = LoopSize(prompts, prompts, 0.0)
        found[ALONE, inf] = _sized(preset, "streamed", size, last, **whole)
    return found


def _main_regimes(preset: Preset) -> tuple[Regime, ...]:
    """The main job's loops that are followed beside these."""
    return (Augment(SHARE), Replace()) if preset.convergence.without_real else (Augment(SHARE),)


def sweeps(preset: Preset) -> dict[tuple[str, int], dict[float, SizedTransformers]]:
    """The loops in which the amount of synthetic data varies: (world, n) -> λ -> loops."""
    size = preset.convergence
    return {
        (world, n): {
            lam: _varied(preset, world, LoopSize(n, round(lam * n)), size.lam_generations)
            for lam in sorted(size.lams)
        }
        for world in ("fixed", "fresh")
        for n in size.lam_samples
    }


def refits(preset: Preset, n: int) -> dict[int, SizedTransformers]:
    """Pairs of fits to what one fit to n real prompts writes, by how many times n prompts."""
    return {k: _varied(preset, "refits", LoopSize(n, k * n, 0.0), 2) for k in REFITS}


def distilled(preset: Preset, n: int) -> Distilled:
    """Averages of fits to n real prompts, and fits beside what all of them write."""
    made = tuple(round(lam * n) for lam in sorted(preset.convergence.lams) if lam)
    places, runs = _places(preset), preset.convergence.lam_replicates
    return Distilled(_problem(preset), LoopSize(n, 0), places, runs, MEMBERS, made)


def otherwise(preset: Preset, n: int) -> dict[str, SizedTransformers]:
    """Single fits to n real prompts that are trained otherwise, by words."""
    problem = _problem(preset)
    training = problem.training
    changed = {
        "a quarter of the steps": replace(training, steps=max(1, training.steps // 4)),
        "four times the decay": replace(training, weight_decay=4 * training.weight_decay),
    }
    return {
        words: _varied(preset, "fixed", LoopSize(n, 0), 0, problem=replace(problem, training=own))
        for words, own in changed.items()
    }


def size_experiments(preset: Preset) -> tuple[Experiment, ...]:
    """All that the amount of synthetic data is judged by."""
    found: list[Experiment] = [e for group in sweeps(preset).values() for e in group.values()]
    for n in preset.convergence.lam_samples:
        found += [*refits(preset, n).values(), distilled(preset, n), *otherwise(preset, n).values()]
    return tuple(found)


# --- convergence ---------------------------------------------------------------------------------

ARRAYS = {"squared": "excess_squared_risk", "nll": "excess_nll", "drift": "drift"}
"""What is followed, and what it is called where it is observed."""

WORDS = {
    "squared": "excess squared error",
    "nll": "excess NLL, nats a label",
    "drift": "total variation, whole prompts",
}

WELL_BELOW = 1 / 50
"""Part of the prompts that a training sees up to which n limits a fit: each is then seen fifty
times at least. Chosen when a trial had shown that a fit to 4000 prompts, each seen 13 times, is no
worse than one without limit. The decay of weights falls with n too, as the pull of a prior does:
the exponent is that of a learner with its regularisation."""

EXPONENT, OTHER = -1.0, -0.5
"""In n, of what a learner without limit of prompts does not have: that of a variance; and that of
a total variation without floor, or of a bound by uniform convergence."""

TOLERANCE = 0.25
"""Of the exponent: half way to the other one."""

GROWTH = 0.1
"""Growth from generation g to 2 g that counts, as a part of the error of generation g. With
x_i = a + o i, without real data, three generations add more if o is a 27th of a at least; with
x_i = a + λ o (1 - ρ^i) and α = 1/2 they add less if o is 4 a at most."""


def _values(arrays: Any, kind: str) -> Floats:
    """One number of each generation, `[R, G + 1]`: means over positions, laws of whole prompts."""
    values = np.asarray(arrays[ARRAYS[kind]], np.float64)
    reduced = {"squared": lambda a: a.mean(-1), "drift": lambda a: a[..., -1]}
    return np.asarray(reduced.get(kind, lambda a: a)(values))


def curves(evidence: Evidence, share: float, kind: str) -> dict[float, Floats]:
    """One quantity of the loops of a share by n: `[R, G + 1]`, as many loops of every n.

    Those of the main job are among them, if they have so many generations.
    """
    preset, last = evidence.preset, evidence.preset.convergence.generations
    found = {
        n: _values(evidence.experiments[experiment], kind)
        for (alpha, n), experiment in converging(preset).items()
        if alpha == share
    }
    for result in evidence.loops.values():
        if result.regime.share(1) == share and result.generations >= last:
            found[result.samples] = _values(result, kind)[:, : last + 1]
    count = min(map(len, found.values()))
    return {n: values[:count] for n, values in sorted(found.items())}


def _place(share: float, n: float, generation: int, kind: str, quantity: str, **more: Any) -> Json:
    return {
        "loop": "transformer",
        "regime": "augment" if share else "replace",
        "alpha": share,
        "generation": generation,
        "n": "streamed" if isinf(n) else n,
        "kind": kind,
        "quantity": quantity,
        **more,
    }


def exponents(
    found: Mapping[float, Floats], sizes: Sequence[float], floor: Floats | float
) -> Floats:
    """Slope of ln(mean - mean of the floor) in ln n, of one generation: pseudo-values."""
    runs = len(next(iter(found.values())))
    beyond = np.broadcast_to(floor, runs)

    def mean(index: int, kept: Bools) -> float:
        return float(found[sizes[index]][kept].mean() - beyond[kept].mean())

    return fitted_exponents(mean, sizes, runs)


def _followed(preset: Preset) -> int:
    """Prompts that a training sees."""
    training = _problem(preset).training
    return training.steps * training.batch


def _decides(preset: Preset) -> bool:
    """Whether the loops of a preset are judged: with and without real data, and enough of them."""
    size = preset.convergence
    return size.without_real and size.replicates >= MANY


def _exponent_cells(evidence: Evidence) -> tuple[list[Cell], list[Cell]]:
    """Exponents above and with the floor, of every generation; that of the last may be judged."""
    last, cells, control = evidence.preset.convergence.generations, [], []
    for kind in ("squared", "nll"):
        found = curves(evidence, SHARE, kind)
        sizes = [n for n in found if n <= WELL_BELOW * _followed(evidence.preset)]
        for i in range(last + 1) if len(sizes) > 1 else ():
            now = {n: values[:, i] for n, values in found.items()}
            for floor in ("streamed", "none"):
                slopes = exponents(now, sizes, now[inf] if floor == "streamed" else 0.0)
                words = f"{WORDS[kind]}{', less that of n = ∞' * (floor == 'streamed')}"
                keys = _place(SHARE, inf, i, kind, f"exponent in n of the {words}", floor=floor)
                keys |= {"n": sizes, "curve": [float(now[n].mean()) for n in sizes]}
                decides = i == last and kind == "squared"
                decides = decides and _decides(evidence.preset)
                judged = decides and floor == "streamed"
                cells.append(_exponent(slopes, EXPONENT, keys, finding=not judged))
                if decides:
                    family = {"family": "exponent -1/2" if judged else "without the floor"}
                    expected = OTHER if judged else EXPONENT
                    control.append(_exponent(slopes, expected, keys | family))
    return cells, control


def _exponent(slopes: Floats, expected: float, keys: Json, *, finding: bool = False) -> Cell:
    test: Any = "undecided" if np.isnan(slopes).any() else "equal"
    return Cell(slopes - expected, slopes, expected, keys, test, TOLERANCE, finding=finding)


def _growth_cells(evidence: Evidence, share: float, **more: str) -> list[Cell]:
    """By how much the error grows from generation G/2 to G beyond a part of it, at every n."""
    last, cells = evidence.preset.convergence.generations, []
    for n, squares in curves(evidence, share, "squared").items():
        half, whole = (np.sqrt(squares[:, i]) for i in (last // 2, last))
        words = f"growth of the error since generation {last // 2}"
        keys = _place(share, n, last, "growth", words, direction="above", **more)
        if more:
            keys["family"] = f"{more['family']}, n = {keys['n']}"
        own, limit = whole - half, GROWTH * half
        shown = not _decides(evidence.preset)
        cells.append(Cell(own - limit, own, float(limit.mean()), keys, finding=shown))
    return cells


def _level_cells(evidence: Evidence) -> list[Cell]:
    """What is measured at every share and n, in generations 0, G/2 and G; of single fits too."""
    preset, cells = evidence.preset, []
    last = preset.convergence.generations
    for kind in ARRAYS:
        shown: set[float] = set()
        for share in (SHARE, ALONE)[: 1 + preset.convergence.without_real]:
            for n, values in curves(evidence, share, kind).items():
                shown.add(n)
                for i in sorted({0, last // 2, last}):
                    own, keys = values[:, i], _place(share, n, i, kind, WORDS[kind], drawn=True)
                    cells.append(Cell(own, own, np.nan, keys, finding=True))
        single, name = fits(preset)["n"], {"squared": "excess", "nll": "excess_nll"}.get(kind)
        for column, n in enumerate(single.samples if name else ()):
            if name and n not in shown:
                own = wide(evidence, single, name)[:, column]
                keys = _place(SHARE, n, 0, kind, WORDS[kind], drawn=True)
                cells.append(Cell(own, own, np.nan, keys, finding=True))
    return cells


def fitted_law(evidence: Evidence, kind: str) -> ErrorLaw:
    """How one quantity of a single fit falls with n."""
    found = {n: v[:, 0] for n, v in curves(evidence, SHARE, kind).items() if not isinf(n)}
    return fit_error_law(list(found), np.stack([*found.values()], axis=1))


def law_constants(words: str, law: ErrorLaw) -> list[Json]:
    """A fitted law as constants."""
    entries = [
        constant(f"{name} of {words}", {"fitted": getattr(law, name)}, "measured")
        for name in ("floor", "c", "a")
    ]
    entries[0]["assumed"] = list(law.assumed)
    return entries


def _judge_convergence(evidence: Evidence) -> Judged:
    cells, control = _exponent_cells(evidence)
    if evidence.preset.convergence.without_real:
        cells += _growth_cells(evidence, ALONE)
    if _decides(evidence.preset):
        control += _growth_cells(evidence, SHARE, family="grows with real data")
    words = "eps(N) = floor + c N^-a, whole prompts"
    constants = law_constants(words, fitted_law(evidence, "drift"))
    constants.append(
        constant("prompts that a training sees", _followed(evidence.preset), "certified")
    )
    return Judged([*cells, *_level_cells(evidence)], control, constants)


# --- how much synthetic data ---------------------------------------------------------------------

OBJECTIVES = ("squared", "nll")
"""What may be made small by an amount of synthetic data."""


class Known(NamedTuple):
    """What predictions for one n are made of: means over loops, squares of the error's units."""

    first: float
    """Of one fit to the n real prompts."""
    seedless: float
    """Of the mean, over seeds, of fits to the same prompts."""
    bias: float
    """Of the mean over prompts too: squared bias."""
    refit: tuple[float, ...]
    """o², what is lost by fitting a fit's own output, by the prompts of that refit: `REFITS`."""
    rate: float
    """At which the variance of a fit falls with its prompts, from the fitted law of its error."""

    def lost(self, lams: Floats) -> Floats:
        """What a refit of (1 + λ) n prompts loses, o, between those measured."""
        squares = np.interp(np.log1p(lams), np.log(REFITS), self.refit)
        return np.asarray(np.sqrt(np.maximum(squares, 0.0)))


def measured(evidence: Evidence, n: int) -> Known:
    """From fits to the same prompts, other prompts, and what one of them wrote."""
    alone = sweeps(evidence.preset)["fixed", n][0]
    own = wide(evidence, alone, "own").mean(0)
    fits_made = len(own)
    apart = (own.sum() - np.trace(own)) / (fits_made * (fits_made - 1))
    lost = []
    for experiment in refits(evidence.preset, n).values():
        g = wide(evidence, experiment, "own").mean(0)
        lost.append(float(g[1, 2] - g[1, 0] - g[2, 0] + g[0, 0]))
    bias = float(wide(evidence, alone, "others")[:, 0].mean())
    rate = fitted_law(evidence, "squared").a
    return Known(float(np.trace(own)) / fits_made, float(apart), bias, tuple(lost), rate)


def predicted(known: Known, world: str, lams: Floats, generation: int) -> dict[str, Floats]:
    """Predicted squared error of a generation by λ, nothing of it fitted to loops.

    `plateau`: Theorem R as a prediction. What stays is the first fit's whole error beside a fixed
    real set, so that no synthetic data is best; beside fresh real prompts it is the bias of a fit,
    and its variance is noise, of learners affine in the labels. `squares`: refit errors add in
    squares (`bounds.plateau_in_squares`); what the first fit owes to its seed, or beside fresh
    prompts to all that is drawn, is noise that every generation draws anew, and that falls with its
    N = (1 + λ) n prompts as the fitted law says.
    """
    alpha, i, lost = 1 / (1 + lams), generation, known.lost(lams)
    stays = known.bias if world == "fresh" else known.seedless
    noise = min(max(known.first - stays, 0.0), known.first)
    later, memory = noise * alpha**known.rate, (1 - alpha) ** (2 * i)
    squares = bounds.plateau_in_squares(
        alpha, i, a=known.first**0.5, o=lost, s=later**0.5, first_noise=noise**0.5
    )
    whole = known.first if world == "fixed" else max(known.bias, 0.0)
    plateau = bounds.plateau_prediction(alpha, i, a=whole**0.5, o=lost) ** 2
    if world == "fresh":
        plateau += later * (1 - memory) / (alpha * (2 - alpha)) + noise * memory
    return {"plateau": np.asarray(plateau), "squares": np.asarray(squares**2)}


def _regret(values: Floats, chosen: int) -> Floats:
    """Mean at the chosen size over that at the best one tried: jackknife pseudo-values."""
    best = int(values.mean(0).argmin())

    def regret(kept: Bools) -> float:
        mean = values[kept].mean(0)
        return float(mean[chosen] / mean[best])

    return jackknifed(regret, len(values))


def _by_amount(evidence: Evidence, world: str, n: int, known: Known) -> list[Cell]:
    """What is measured by λ, the regret of what formulas recommend, and whether any data helps."""
    group, cells = sweeps(evidence.preset)[world, n], []
    lams, loops = [*group], [*group.values()]
    for i in range(1, evidence.preset.convergence.lam_generations + 1):
        formulas = predicted(known, world, np.array(lams, float), i)
        for kind in OBJECTIVES:
            each = [_values(evidence.experiments[e], kind)[:, i] for e in loops]
            values = np.stack(each, axis=1)
            mean = values.mean(0)
            shown = {"objective": kind, "lams": lams, "curve": mean.tolist()}
            shown |= {"half_width": half_widths(values), "best": lams[int(mean.argmin())]}

            def keys(at: int, quantity: str, i: int = i, **more: Any) -> Json:
                own = {"generation": i, "n": n, "quantity": quantity}
                named = {"regime": "augment" if world == "fixed" else "fresh"}
                return {"loop": "transformer", **named, "alpha": 1 / (1 + lams[at]), **own, **more}

            for name, curve in formulas.items():
                at, regret = int(curve.argmin()), _regret(values, int(curve.argmin()))
                words = f"{WORDS[kind]}, over that at the best amount tried"
                more = {"predicted_by": name, "prediction": curve.tolist(), "lam": lams[at]}
                cells.append(Cell(regret, regret, np.nan, keys(at, words, **shown, **more)))
            for at in range(1, len(lams)):
                words = f"{WORDS[kind]}, less that without synthetic data"
                less = values[:, at] - values[:, 0]
                sign = keys(at, words, objective=kind, lam=lams[at], kind="sign")
                cells.append(Cell(less, less, np.nan, sign))
        for at, experiment in enumerate(loops):
            square = wide(evidence, experiment, "own")[:, i, i]
            shared = wide(evidence, experiment, "others")[:, i]
            count, mean = len(shared), shared.mean()
            # Pseudo-values: each loop counts in its own product and in those of all others.
            bias = mean + 2 * (count - 1) / (count - 2) * (shared - mean)
            for kind, own in (("bias", bias), ("variance", square - bias)):
                words = {"bias": "squared bias", "variance": "variance"}[kind]
                cells.append(Cell(own, own, np.nan, keys(at, words, kind=kind, lam=lams[at])))
    return cells


def _instead(evidence: Evidence, n: int) -> list[Cell]:
    """What else could be done with n real prompts, and with as many fits."""
    preset, cells = evidence.preset, []
    alone = sweeps(preset)["fixed", n][0]
    several = distilled(preset, n)
    ways = {"one fit": (1, alone, 0), f"average of {MEMBERS} fits": (MEMBERS, several, 0)}
    for column, made in enumerate(several.n_syns):
        words = f"distilled from {MEMBERS} fits, λ = {made / n:.3g}"
        ways[words] = (MEMBERS + 1, several, column + 1)
    ways |= {words: (1, experiment, 0) for words, experiment in otherwise(preset, n).items()}
    for kind in OBJECTIVES:
        for words, (count, experiment, column) in ways.items():
            own = _values(evidence.experiments[experiment], kind)[:, column]
            keys = {"regime": "real-only", "alpha": 1.0, "generation": 0, "n": n, "fits": count}
            keys |= {"kind": "instead", "objective": kind, "way": words}
            keys["quantity"] = f"{WORDS[kind]}, {words}"
            cells.append(Cell(own, own, np.nan, {"loop": "transformer", **keys}))
    return cells


def _judge_size(evidence: Evidence) -> Judged:
    cells: list[Cell] = []
    constants = law_constants("the excess squared error", fitted_law(evidence, "squared"))
    for n in evidence.preset.convergence.lam_samples:
        known = measured(evidence, n)
        for name, value in known._asdict().items():
            constants.append(constant(f"{name}, n = {n}", value, "measured"))
        for world in ("fixed", "fresh"):
            cells += _by_amount(evidence, world, n, known)
        cells += _instead(evidence, n)
    return Judged(cells, [], constants)


CLAIMS = (
    Claim(
        name="convergence",
        statement="with half of the prompts real the excess squared error falls with n to that of "
        f"a learner that sees new prompts in every step like n^-1, up to {TOLERANCE} in the "
        "exponent, while n is at most a fiftieth of the prompts that a training sees; without real "
        "data no n mends the loop: at every n, and with new prompts in every step, the error "
        f"grows from generation G/2 to G by more than {GROWTH:.0%}",
        source="paper, abstract-level claim: a constant share of real data ensures convergence. "
        "Not proved for a trained transformer",
        control="the exponent is -1/2; it is -1 without the floor; loops with real data grow like "
        "those without, at each n",
        experiments=lambda preset: (*converging(preset).values(), fits(preset)["n"]),
        regimes=_main_regimes,
        judge=_judge_convergence,
        proved=False,
    ),
    Claim(
        name="transformer_synthetic_size",
        statement="how much synthetic data is best for the transformer, beside a fixed real set "
        "and beside fresh real prompts; what is lost at the amount at which a formula is least, "
        "its constants measured; and what else as many fits could do",
        source="measured; no theorem speaks",
        control="",
        experiments=lambda preset: (*size_experiments(preset), *converging(preset).values()),
        regimes=_main_regimes,
        judge=_judge_size,
        finding=True,
    ),
)
"""Claims about the transformer over sizes, in the order in which they are shown."""

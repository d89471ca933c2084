"""The claim about generators that forget their uncertainty: the task is lost, squared error blind.

Closed forms are those of `references.collapse` and `references.attention`; loops are those of
`solvable` and `collapse`. Task variances are in units u = d v/σ² unless a cell says otherwise.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from icl_stl.lab.experiments import Experiment, Loops
from icl_stl.lab.results import Floats
from icl_stl.laws import LinearRegression
from icl_stl.problems import EmpiricalBayes, InContext, Shrinkage
from icl_stl.references import attention
from icl_stl.references import collapse as exact
from icl_stl.regimes import Augment, Regime, Replace, real_share
from icl_stl.studies.cells import WITHIN, above, below, equal, formula
from icl_stl.studies.collapse.experiments import LayerPrompts, PlugInLoops, Regeneration
from icl_stl.studies.judging import Cell, Claim, Evidence, Json, Judged
from icl_stl.studies.presets import Preset

ONE_STEP = 0.02
"""Relative tolerance after one generation."""

BLIND = 0.01
"""Excess test error over that of Bayes below which squared error counts as blind."""

DIM, SCALE = 2, 1.0
"""d and τ of the orthogonal design."""

LOOP = (4, 0.5)
"""n and σ of the loops."""

DESIGNS = ((16, 0.25), (4, 2.0))
"""n and σ of further designs, for one generation."""

GENERATIONS = 5
SHARE = 0.2

READ, READ_NOISE, READ_GENERATIONS = 4, 1.0, 12
"""n, σ and G where prompts are read again."""

READ_SHARE = 0.2
READ_SHOWN = {"frozen": (1, 4, 12), "sampled": (1, 4, 12), "fitted": (1, 2, 4, 6)}
"""Generations judged; a prior fitted without real prompts falls towards 0 after them."""

LAYER_DIM, LABELS, LAYER_NOISE, LAYER_SHARE, REFITS = 3, 12, 0.3, 0.3, 3

TRANSFORMER_SHARES = (0.5, 0.0)

PAIRS = 4000
"""Prompts over whose inputs the exact plug-in variance of the transformer's task is averaged."""


def _signal(noise: float) -> float:
    return DIM * SCALE**2 / noise**2


def _orthogonal(
    preset: Preset,
    kind: type[EmpiricalBayes | Shrinkage],
    regime: Regime,
    design: tuple[int, float],
    generations: int,
    *,
    plug_in: bool = True,
) -> Loops:
    repeats, noise = design
    problem = kind(DIM, repeats, noise, SCALE, plug_in)
    sizes = preset.collapse
    return Loops(problem, regime, sizes.prompts, generations, sizes.runs, "implied")


GENERATORS = ("plug-in", "predictive")


def _layer(preset: Preset) -> LayerPrompts:
    """Linear attention that writes with σ, or with the deviations of its residuals at γ*."""
    flat = (LAYER_NOISE,) * LABELS
    best = _refits(0.0, flat, 0).optimum
    k = np.arange(1, LABELS)
    spread = (LAYER_DIM + 1) * SCALE**2 + LAYER_NOISE**2
    squares = LAYER_DIM * (SCALE**2 + spread / k)  # E|B_k|²/k² of real prompts
    gained = 2 * best * LAYER_DIM * SCALE**2 - best**2 * squares
    residual = LAYER_NOISE**2 + LAYER_DIM * SCALE**2 - np.array([0.0, *gained])
    return LayerPrompts(
        LAYER_DIM,
        LAYER_NOISE,
        SCALE,
        (flat, tuple(float(s) for s in np.sqrt(residual))),
        float(best) / 2,
        LAYER_SHARE,
        preset.collapse.prompts,
        REFITS,
        preset.collapse.runs,
    )


def _refits(start: float, noises: tuple[float, ...], generations: int) -> attention.Refit:
    return attention.refit(
        start,
        generations,
        alpha=LAYER_SHARE,
        dim=LAYER_DIM,
        labels=LABELS,
        tau=SCALE,
        sigma=LAYER_NOISE,
        noises=noises,
    )


def _experiments(preset: Preset) -> dict[str, Experiment]:
    sizes = preset.collapse
    loops: dict[str, Experiment] = {
        "plug-in 0": _orthogonal(preset, EmpiricalBayes, Replace(), LOOP, GENERATIONS),
        f"plug-in {SHARE}": _orthogonal(preset, EmpiricalBayes, Augment(SHARE), LOOP, GENERATIONS),
    }
    loops["predictive 0"] = _orthogonal(
        preset, EmpiricalBayes, Replace(), LOOP, GENERATIONS, plug_in=False
    )
    for regime in (Replace(), Augment(SHARE)):
        name = f"least squares {regime.name}"
        loops[name] = _orthogonal(preset, Shrinkage, regime, LOOP, GENERATIONS)
    for design in DESIGNS:
        loops[f"design {design}"] = _orthogonal(preset, EmpiricalBayes, Replace(), design, 0)
    return {
        **loops,
        "again": Regeneration(
            DIM,
            READ,
            READ_NOISE,
            SCALE,
            sizes.prompts,
            READ_GENERATIONS,
            (0.0, READ_SHARE),
            sizes.runs,
        ),
        "layer": _layer(preset),
        "transformer": PlugInLoops(
            InContext(preset.task, preset.architecture, preset.training, preset.held_out),
            preset.samples,
            TRANSFORMER_SHARES,
            sizes.transformer_generations,
            sizes.transformer_runs,
        ),
    }


class _Seen:
    """What the experiments of a claim observed, in float64."""

    def __init__(self, evidence: Evidence):
        self.experiments = _experiments(evidence.preset)
        self.evidence = evidence

    def __call__(self, name: str) -> Mapping[str, Floats]:
        arrays = self.evidence.experiments[self.experiments[name]]
        return {key: values.astype(np.float64) for key, values in arrays.items()}


def _of(loop: str, experiment: Any, generation: int, kind: str, quantity: str, **more: Any) -> Json:
    problem = experiment.problem
    return {
        "loop": loop,
        "regime": experiment.regime.name,
        "alpha": real_share(experiment.regime, experiment.samples, max(generation, 1)),
        "generation": generation,
        "kind": kind,
        "quantity": quantity,
        "repeats": problem.repeats,
        "signal": _signal(problem.noise),
        "n": experiment.samples,
        **more,
    }


POSTERIOR = "variance of the posterior mean over the prior's"


def _one_generation(seen: _Seen) -> tuple[list[Cell], list[Cell]]:
    cells, control = [], []
    for name, plug_in in (
        ("plug-in 0", True),
        *((f"design {design}", True) for design in DESIGNS),
        ("predictive 0", False),
    ):
        experiment: Any = seen.experiments[name]
        n, noise = experiment.problem.repeats, experiment.problem.noise
        u = _signal(noise)
        # The posterior mean is the least-squares task, shrunk; both are of generation 0's prompts.
        shrunk = (n * u / (1 + n * u)) ** 2
        measured = shrunk * (seen(name)["written"][:, 0] / SCALE**2 + 1 / (n * u))
        forms = {
            kind: float(exact.posterior_variance(u, n, plug_in=kind)) / u for kind in (True, False)
        }
        generator = "plug-in" if plug_in else "predictive"
        keys = _of("one generation", experiment, 0, "posterior", POSTERIOR, generator=generator)
        cells.append(equal(measured, forms[plug_in], keys, ONE_STEP))
        other = forms[not plug_in]
        family = f"{generator}, n = {n}, sigma = {noise:g}"
        wrong = {**keys, "family": f"{family}: the other variance"}
        control.append(equal(measured, other, wrong, ONE_STEP))
        if plug_in:
            shifted = float(exact.posterior_variance(u, n)) + u**2 - 1 / (1 / u + n) ** 2
            wrong = {**keys, "family": f"{family}: trigamma shifted by one"}
            control.append(equal(measured, shifted / u, wrong, ONE_STEP))
            inputs = np.tile(DIM**0.5 * np.eye(DIM), (n, 1))
            general = exact.divergences(inputs, noise, SCALE)
            closed = exact.design_divergences(u, n, DIM)
            for field in ("to_plug_in", "from_plug_in"):
                what = {
                    **keys,
                    "kind": "divergence",
                    "quantity": f"divergence {field.replace('_', ' ')}, chain rule / closed form",
                    "nats": getattr(closed, field),
                }
                ratio = getattr(general, field) / getattr(closed, field)
                cells.append(formula(ratio, 1.0, what, equal=True))
            task = exact.task_covariance(inputs, noise, SCALE)[0, 0] * u / SCALE**2
            what = {
                **keys,
                "kind": "recursion",
                "quantity": f"{POSTERIOR}, recursion / closed form",
            }
            ratio = task / float(exact.posterior_variance(u, n))
            cells.append(formula(ratio, 1.0, what, equal=True))
    return cells, control


FITTED = "fitted task variance, u"


def _empirical_bayes(seen: _Seen) -> tuple[list[Cell], list[Cell]]:
    n, noise = LOOP
    u = _signal(noise)
    cells, control = [], []
    for name in ("plug-in 0", f"plug-in {SHARE}", "predictive 0"):
        experiment: Any = seen.experiments[name]
        plug_in = name != "predictive 0"
        alpha = real_share(experiment.regime, experiment.samples, 1)
        loop = f"empirical Bayes, {'plug-in' if plug_in else 'predictive'}"
        found = seen(name)
        fitted = found["fitted"] * u / SCALE**2
        right, other = (
            exact.signal_path(u, n, GENERATIONS, alpha, plug_in=kind) for kind in (plug_in, False)
        )
        if not plug_in:
            other = exact.signal_path(u, n, GENERATIONS, alpha)
        dropped = [u]
        for _ in range(GENERATIONS):
            dropped.append(alpha * u + float(exact.refit(dropped[-1], n)))
        error = exact.excess_error(exact.shrinkage(right, n), u) / _bayes_error(u, n)
        excess = found["excess"] / noise**2 / _bayes_error(u, n)
        for i in range(GENERATIONS + 1):
            keys = _of(loop, experiment, i, "fitted", FITTED)
            cells.append(equal(fitted[:, i], float(right[i]), keys))
            at = {**keys, "kind": "error", "quantity": ERROR, "infinite_data": float(error[i])}
            cells.append(Cell(excess[:, i], excess[:, i], np.nan, at, finding=True))
            if i == 0:
                continue
            wrong = {**keys, "family": f"{loop}, alpha = {alpha:g}: the other recursion"}
            control.append(equal(fitted[:, i], float(other[i]), wrong))
            if alpha > 0:
                wrong = {**keys, "family": f"{loop}: 1 - alpha dropped"}
                control.append(equal(fitted[:, i], dropped[i], wrong))
            elif plug_in:
                bound = float(exact.signal_bound(u, i)[-1])
                what = {**keys, "kind": "bound", "quantity": f"{FITTED}, bound 1/(1/u_0 + g/2)"}
                cells.append(below(fitted[:, i], bound, what))
        if alpha > 0:
            low, high = exact.signal_limits(u, alpha)
            limit = exact.signal_limit(u, n, alpha)
            last = fitted[:, -1]
            what = {
                **keys,
                "kind": "limit",
                "quantity": f"{FITTED}, near its limit",
                "limit": limit,
            }
            cells += [
                equal(last, limit, what),
                above(last, low, {**what, "quantity": f"{FITTED}, alpha u_0"}),
                below(last, high, {**what, "quantity": f"{FITTED}, alpha u_0 + (1-alpha) pi^2/6"}),
            ]
    return cells, control


ERROR = "excess test error over that of Bayes"
WRITTEN = "task variance of written prompts, u"


def _bayes_error(u: float, n: int) -> float:
    """Squared error of the Bayes predictor over σ², mean over the labels of a direction."""
    return float(np.mean(1 + u / (1 + u * np.arange(n))))


def _least_squares(seen: _Seen) -> tuple[list[Cell], list[Cell]]:
    n, noise = LOOP
    u = _signal(noise)
    lost = float(exact.refit(u, n))
    fitted_again = exact.signal_path(u, n, GENERATIONS + 1, 0.0)
    cells, control = [], []
    for regime in (Replace(), Augment(SHARE)):
        name = f"least squares {regime.name}"
        experiment, found = seen.experiments[name], seen(name)
        written = found["written"] * u / SCALE**2
        excess = found["excess"] / noise**2 / _bayes_error(u, n)
        for i in range(GENERATIONS + 1):
            keys = _of("least squares, plug-in", experiment, i, "written", WRITTEN)
            cells.append(equal(written[:, i], lost, keys))
            cells.append(below(excess[:, i], BLIND, {**keys, "kind": "error", "quantity": ERROR}))
            family = f"least squares, {regime.name}"
            wrong = {**keys, "family": f"{family}: squared error blind, so is the task variance"}
            control.append(equal(written[:, i], u, wrong))
            if i:
                going_on = float(fitted_again[i + 1])
                wrong = {**keys, "family": f"{family}: loses more in every generation"}
                control.append(equal(written[:, i], going_on, wrong))
    return cells, control


def _read_again(seen: _Seen) -> tuple[list[Cell], list[Cell]]:
    experiment: Any = seen.experiments["again"]
    last = experiment.generations
    m = experiment.repeats * experiment.dim
    unit = m / experiment.noise**2  # u = m v/σ²
    u = unit * SCALE**2
    paths = {
        "frozen": (0.0, exact.regenerated(u, last), exact.regenerated_limit(u)),
        "sampled": (0.0, np.full(last + 1, u), u),
        **{
            f"refitted_{alpha}": (alpha, exact.reread(u, last, alpha), exact.reread_limit(u, alpha))
            for alpha in experiment.alphas
        },
    }
    cells, control = [], []
    for name, (alpha, path, limit) in paths.items():
        values = seen("again")[name] * unit
        kind = "fitted" if name.startswith("refitted") else name
        keys: Json = {
            "loop": f"read again, {kind}",
            "regime": "augment" if alpha else "replace",
            "alpha": alpha,
            "n": experiment.prompts,
            "signal": u,
            "limit": limit,
            "kind": "task variance",
            "quantity": "task variance, m v/sigma^2",
        }
        shown = READ_SHOWN["sampled" if alpha else kind]
        for i in range(last + 1):
            at = {**keys, "generation": i}
            reference = float(path[i])
            cell = equal(values[:, i], reference, at)
            cells.append(
                cell
                if i in shown
                else Cell(values[:, i], values[:, i], reference, at, finding=True)
            )
            if i in shown:
                wrong = float(exact.regenerated(u, i)[-1]) if kind == "sampled" else u
                family = {**at, "family": f"read again, {kind}, {alpha}: the other answer"}
                control.append(equal(values[:, i], wrong, family))
    return cells, control


def _linear_attention(seen: _Seen) -> tuple[list[Cell], list[Cell]]:
    cells, control = [], []
    experiment: Any = seen.experiments["layer"]
    for v, generator in enumerate(GENERATORS):
        found = {name: values[:, v] for name, values in seen("layer").items()}
        noises = experiment.noises[v]
        path = _refits(experiment.start, noises, experiment.generations)
        away = experiment.start - path.optimum
        keys: Json = {
            "loop": f"linear attention, {generator}",
            "regime": "augment",
            "alpha": LAYER_SHARE,
            "n": experiment.prompts,
            "optimum": path.optimum,
        }
        k = np.arange(1, LABELS)
        layers = attention.second_moments(experiment.start * np.eye(LAYER_DIM), noises)
        squares = np.trace(layers[1:LABELS], axis1=1, axis2=2)  # q_k/k²
        for j in (1, LABELS // 2, LABELS - 1):
            values = found["squares"][:, 0, j - 1] / k[j - 1] ** 2
            at = {
                **keys,
                "generation": 0,
                "k": j,
                "kind": "square",
                "quantity": "q_k/k^2 of written prompts",
            }
            reference = float(squares[j - 1])
            cells.append(equal(values, reference, at))
        energy = found["squares"][:, 0] @ (1 / k**2) / path.real_energy
        share = float(path.energy[0]) / path.real_energy
        at = {
            **keys,
            "generation": 0,
            "kind": "energy",
            "quantity": "Q_0 of written over that of real prompts",
        }
        cells.append(equal(energy, share, at))
        for g in range(1, experiment.generations + 1):
            values = (found["gamma"][:, g - 1] - path.optimum) / away
            reference = float((path.gamma[g] - path.optimum) / away)
            what = "distance from the best gamma over that at the start"
            at = {**keys, "generation": g, "kind": "distance", "quantity": what}
            cells.append(replace(equal(values, reference, at), tolerance=WITHIN))  # absolute
            if generator == "plug-in":
                wrong = {**at, "family": "linear attention: contraction by 1 - alpha"}
                cell = equal(values, (1 - LAYER_SHARE) ** g, wrong)
                control.append(replace(cell, tolerance=WITHIN))
    return cells, control


TRANSFORMER = {
    "implied_task_variance": "implied task variance over the prior's",
    "excess_squared_risk": "excess squared error over Bayes, mean over positions",
    "drift": "total variation of whole prompts to the real law",
}


def _transformer(seen: _Seen) -> list[Cell]:
    experiment: Any = seen.experiments["transformer"]
    found = seen("transformer")
    cells = []
    for s, share in enumerate(experiment.shares):
        for name, quantity in TRANSFORMER.items():
            scale = experiment.problem.task.prior_scale**2 if name.startswith("implied") else 1.0
            for i in range(experiment.generations + 1):
                values = found[name][:, s, i] / scale
                keys: Json = {
                    "loop": "transformer, plug-in",
                    "regime": "augment" if share else "replace",
                    "alpha": share,
                    "generation": i,
                    "kind": name,
                    "quantity": quantity,
                }
                cells.append(Cell(values, values, np.nan, keys, finding=True))
    return cells


def exact_plug_in_variance(task: LinearRegression) -> float:
    """What pairs of plug-in labels of the exact Bayes predictor imply, over the prior's variance.

    Averaged over inputs drawn from the task's law; exact given the inputs.
    """
    rng = np.random.default_rng(0)
    xs = rng.standard_normal((PAIRS, task.context, task.dim))
    if task.inputs == "sphere":
        xs *= np.sqrt(task.dim / (xs**2).sum(-1, keepdims=True))
    covariance = exact.label_covariance(xs, task.noise, task.prior_scale)
    pairs = np.triu(covariance * (xs @ xs.swapaxes(-1, -2)), 1).sum((-2, -1)).mean()
    m = task.context
    return float(pairs / (task.dim * m * (m - 1) / 2)) / task.prior_scale**2


def _judge(evidence: Evidence) -> Judged:
    seen = _Seen(evidence)
    cells: list[Cell] = []
    control: list[Cell] = []
    for part in (_one_generation, _empirical_bayes, _least_squares, _read_again, _linear_attention):
        own, wrong = part(seen)
        cells += own
        control += wrong
    constants: list[Json] = [
        {"name": "u_0 of the loops", "value": _signal(LOOP[1]), "provenance": "certified"},
        {"name": "visits of each direction", "value": LOOP[0], "provenance": "certified"},
        {
            "name": "Q of real prompts, linear attention",
            "value": _refits(0.0, (LAYER_NOISE,) * LABELS, 0).real_energy,
            "provenance": "certified",
        },
        {
            "name": "implied task variance over the prior's of the exact Bayes predictor, plug-in, "
            "for the transformer's task",
            "value": exact_plug_in_variance(evidence.preset.task),
            "provenance": "measured",
        },
    ]
    return Judged([*cells, *_transformer(seen)], control, constants)


CLAIMS = (
    Claim(
        name="predictive_collapse",
        statement="labels written with the noise alone (plug-in) show the task variance of the "
        f"closed form after one generation (within {ONE_STEP:.0%}); a prior "
        f"fitted anew follows u' = alpha u_0 + (1-alpha) T_n(u) (within {WITHIN:.0%}), at most "
        "1/(1/u_0 + g/2) without real prompts, between alpha u_0 and alpha u_0 + (1-alpha) pi^2/6 "
        "with them, and stays u_0 with the "
        f"predictive deviation; the test error of least squares stays within {BLIND:.0%} of Bayes "
        "while its prompts have lost the task; prompts read again, and prompts of linear "
        "attention, follow their recursions. The transformer: measured, no theorem",
        source="derived here: plug-in labels and their divergences, the orthogonal design, the "
        "fitted prior, blind squared error, prompts read again, refits of linear attention",
        control="plug-in and predictive exchanged; trigamma shifted by one; 1 - alpha dropped; "
        "least squares goes on losing, or loses nothing; prompts read again keep their variance; "
        "linear attention contracts by 1 - alpha",
        experiments=lambda preset: tuple(_experiments(preset).values()),
        judge=_judge,
    ),
)
"""The claim about generators that forget their uncertainty."""

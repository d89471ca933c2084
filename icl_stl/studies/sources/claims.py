"""Claims about rows of hidden sources, and about real shares and sizes that change."""

from functools import partial

import numpy as np

from icl_stl import bounds, references
from icl_stl.lab.experiments import Loops, LoopSize, SizedLoops
from icl_stl.lab.results import Floats
from icl_stl.problems import Bernoulli, Categorical, Sources, expected_excess
from icl_stl.references.sources import ESTIMATORS
from icl_stl.regimes import FreshReal, Hidden, Regime, Varying, real_shares
from icl_stl.studies.cells import (
    SLOPE_TOLERANCE,
    WITHIN,
    Bools,
    above,
    below,
    constant,
    equal,
    exact,
    exponent_cell,
    fitted_exponents,
    of_family,
    run_count,
    where,
    wide,
)
from icl_stl.studies.judging import Cell, Claim, Evidence, Json, Judged
from icl_stl.studies.presets import Preset
from icl_stl.studies.stability.experiments import NeighbouringLoops

LAW = (0.2,) * 5
"""The law that is learned: uniform, where the bound of the interpolating estimator is attained."""
SHARE, STAGE, LAST = 0.2, 50, 20
"""α, rows of a stage and the last stage of the loops of hidden sources."""
SHOWN = (1, 2, 5, 10, 20)

KEPT_ROWS, KEPT_LAST = 4, 60
"""Real rows that are added in every generation where everything is kept, and the last one."""
KEPT = {0.2: 4.0, 0.5: 1.0}
"""α, and λ of it: below the rate of real rows alone, and at it."""
KEPT_SHOWN = (1, 5, 20, 40, 60)
FITTED = (15, 20, 30, 40, 60)
"""Generations to which an exponent is fitted."""
FAR = 2000, 20_000
"""Generations between which the exponent of a closed form is read off, within `FAR_TOLERANCE`."""
FAR_TOLERANCE = 0.02

_risks = partial(Loops, observe="risks")


def _hidden_experiments(preset: Preset) -> dict[str, Loops]:
    regime, runs = Hidden(SHARE), run_count(preset)
    learners = {name: Sources(LAW, name) for name in ESTIMATORS}
    return {name: _risks(one, regime, STAGE, LAST, runs) for name, one in learners.items()}


def _kept_experiment(preset: Preset) -> SizedLoops:
    sizes = tuple(LoopSize(KEPT_ROWS, round(lam * KEPT_ROWS)) for lam in KEPT.values())
    learner, runs = Sources(LAW, "pooled"), run_count(preset)
    return SizedLoops(learner, "fresh", sizes, KEPT_LAST, runs)


def _known(experiment: Loops | SizedLoops, regime: Regime | None = None) -> Floats:
    """The closed form of the loops of an experiment, in its regime or one of its sizes."""
    of = regime or experiment.regime, experiment.samples, experiment.generations
    return expected_excess(experiment.problem, *of)


def _judge_hidden_sources(evidence: Evidence) -> Judged:
    chosen = _hidden_experiments(evidence.preset)
    known = {name: _known(experiment) for name, experiment in chosen.items()}
    stages = np.full(LAST + 1, STAGE), np.full(LAST, SHARE)
    rates, of_two = (bounds.sources_rates(*stages, symbols) for symbols in (len(LAW), 2))
    cells, control = [], []
    for name, experiment in chosen.items():
        excess = wide(evidence, experiment, "excess") * STAGE
        other = "interpolating" if name != "interpolating" else "pooled"
        for i in SHOWN:
            keys = where(experiment, i, kind="stages", estimator=name)
            keys |= {"quantity": f"n times squared error, {name}"}
            cells.append(equal(excess[:, i], float(known[name][i]) * STAGE, keys))
            if name == "interpolating":
                least, most = float(rates.oracle[i]) * STAGE, float(rates.upper[i]) * STAGE
                more = {**keys, "kind": "bound", "quantity": "closed form of that, its bound"}
                form = float(known[name][i]) * STAGE
                cells.append(exact(form, most, {**more, "oracle": least, "direction": "at most"}))
        wrong = equal(excess[:, -1], float(known[other][-1]) * STAGE, keys)
        control.append(of_family(wrong, f"{name} as {other}"))
    keys = where(chosen["interpolating"], LAST, kind="price")
    keys["quantity"] = "squared error, interpolating over oracle, against 1/alpha"
    cells.append(exact(float(known["interpolating"][-1] / known["oracle"][-1]), 1 / SHARE, keys))
    kept = _kept_cells(evidence)
    near = float((of_two.lower / of_two.upper)[-1])
    provenance = [constant("lower over upper bound, K = 2", near, "certified")]
    return Judged([*cells, *kept.cells, *_far_cells()], [*control, *kept.control], provenance)


def _kept_cells(evidence: Evidence) -> Judged:
    """Real rows added in every generation, all rows kept."""
    cells, control = [], []
    experiment = _kept_experiment(evidence.preset)
    seen = wide(evidence, experiment, "excess")
    for place, (alpha, lam) in enumerate(KEPT.items()):
        excess, curve = seen[:, place], _known(experiment, FreshReal(lam))
        at: Json = {"alpha": alpha}
        for i in KEPT_SHOWN:
            keys = where(experiment, i, kind="kept") | at
            keys["quantity"] = "squared error where everything is kept"
            cells.append(equal(excess[:, i], float(curve[i]), keys))

        def mean(index: int, kept: Bools, excess: Floats = excess) -> float:
            return float(excess[kept, FITTED[index]].mean())

        slopes = fitted_exponents(mean, FITTED, len(excess))
        expected = float(np.polyfit(np.log(FITTED), np.log(curve[[*FITTED]]), 1)[0])
        keys = where(experiment, KEPT_LAST, kind="exponent") | at
        keys["quantity"] = f"exponent of that in t, {FITTED[0]} to {FITTED[-1]}"
        cells.append(exponent_cell(slopes, expected, keys, SLOPE_TOLERANCE))
        wrong = exponent_cell(slopes, -1.0, keys, SLOPE_TOLERANCE)
        control.append(of_family(wrong, f"alpha = {alpha:g}", "as of real rows alone"))
    return Judged(cells, control, [])


def _far_cells() -> list[Cell]:
    """Exponents of the closed form of the Gaussian mean, far out."""
    cells, (first, last) = [], FAR
    for alpha in (0.2, 0.5, 0.8):
        values = references.mean_kept(1.0, np.ones(last + 1), np.full(last, alpha))[[first, last]]
        values = values / np.log(FAR) if alpha == 0.5 else values
        slope = float(np.log(values[1] / values[0]) / np.log(last / first))
        keys = {"loop": "gaussian mean", "regime": "everything kept", "alpha": alpha}
        keys |= {"generation": last, "kind": "far"}
        keys["quantity"] = "closed form: its exponent from -min(1, 2 alpha)"
        cells.append(exact(abs(slope + min(1.0, 2 * alpha)), FAR_TOLERANCE, keys))
    return cells


SIDES = {
    "recovers": Hidden(0.8, alpha_decay=0.5, growth=1.0),
    "does not": Hidden(0.8, alpha_decay=1.0, growth=0.5),
}
"""Rows of a generation grow faster, or more slowly, than the real share falls."""
FIRST_ROWS, CHANGE = 5, 1.5
"""n, and by how much the squared error falls or rises at least in 20 generations."""
SCHEDULE = Varying(0.5, alpha_decay=1.0, growth=0.5)
INJECTED, KAPPA = 0.01, 1.1
"""The error of every fit, at most the least share; what the generator amplifies by."""


def _side_experiments(preset: Preset) -> dict[str, Loops]:
    of, runs = (FIRST_ROWS, LAST), run_count(preset)
    return {name: _risks(Categorical(LAW), one, *of, runs) for name, one in SIDES.items()}


def _drift_experiment(preset: Preset) -> Loops:
    bits = Bernoulli(1.0, probability=0.0, centre=0.0, injected=INJECTED)
    return _risks(bits, SCHEDULE, 100, LAST, run_count(preset))


def _influence_experiment(preset: Preset) -> NeighbouringLoops:
    return NeighbouringLoops(Bernoulli(KAPPA), SCHEDULE, 150, 10, run_count(preset, 2.0))


def _judge_varying_shares(evidence: Evidence) -> Judged:
    cells, control = [], []
    for name, experiment in _side_experiments(evidence.preset).items():
        excess, known = wide(evidence, experiment, "excess"), _known(experiment)
        ratio, n = excess / known[0], experiment.samples
        for i in SHOWN:
            keys = where(experiment, i, kind="sides", side=name)
            keys["quantity"] = f"squared error over that of generation 0, {name}"
            cells.append(equal(ratio[:, i], float(known[i] / known[0]), keys))
        change = below(ratio[:, -1], 1 / CHANGE, {**keys, "kind": "change"})
        if name != "recovers":
            change = above(ratio[:, -1], CHANGE, {**keys, "kind": "change"})
        cells.append(change)
        sizes = [n, *SIDES[name].sizes(n, LAST)]
        constant_share = references.law_hidden(LAW, sizes, np.full(LAST, SIDES[name].share(1)))
        wrong = equal(ratio[:, -1], float(constant_share[-1] / known[0]), keys)
        control.append(of_family(wrong, name, "the share does not fall"))
    loops, pairs = _drift_experiment(evidence.preset), _influence_experiment(evidence.preset)
    shares = real_shares(SCHEDULE, 100, LAST)[1:]
    drift = bounds.drift_varying_share(np.ones(LAST + 1), shares).total
    influence = bounds.varying_share_influence(1, shares, np.full(LAST, KAPPA)) * KAPPA
    flat = np.full(LAST, shares[0])
    parts: tuple[tuple[str, Loops | NeighbouringLoops, Floats, Floats, Floats], ...] = (
        (
            "drift over injected error",
            loops,
            wide(evidence, loops, "drift") / INJECTED,
            drift,
            bounds.drift_varying_share(np.ones(LAST + 1), flat).total,
        ),
        (
            "n gamma",
            pairs,
            wide(evidence, pairs, "tv") * pairs.samples,
            influence,
            bounds.varying_share_influence(1, flat, np.full(LAST, KAPPA)) * KAPPA,
        ),
    )
    for what, of, values, curve, wrong_curve in parts:
        for i in (k for k in SHOWN if k <= of.generations):
            keys = where(of, i, kind=what, quantity=what)
            cells.append(equal(values[:, i], float(curve[i]), keys))
        wrong = equal(values[:, i], float(wrong_curve[i]), keys)
        control.append(of_family(wrong, what, "the share does not fall"))
    provenance = [
        constant("error injected into bits", INJECTED, "certified"),
        constant("kappa of the amplifier", KAPPA, "certified"),
    ]
    return Judged(cells, control, provenance)


CLAIMS = (
    Claim(
        name="hidden_sources",
        statement="rows that are real by lot, nothing says which: squared errors of the pooled, "
        f"interpolating and oracle estimator are their closed forms within {WITHIN:.0%}; the "
        "interpolating one stays below (1 - 1/K)/sum n_i alpha_i^2, at most 1/alpha times the "
        "oracle's; everything kept: squared error with the exponent -min(1, 2 alpha) in t, times "
        "log t at alpha = 1/2, though its rows depend on each other",
        source="derived here, setting of Kanabar and Gastpar 2025 and of Wang, Niu and Li 2026",
        control="each estimator has another's error; everything kept has the exponent of real "
        "rows alone",
        experiments=lambda preset: (
            *_hidden_experiments(preset).values(),
            _kept_experiment(preset),
        ),
        judge=_judge_hidden_sources,
    ),
    Claim(
        name="varying_shares",
        statement="real shares alpha/(i+1)^q, rows n i^r: squared errors of symbols are their "
        f"closed forms within {WITHIN:.0%}, and fall by a third or more for q = 1/2, r = 1, but "
        "rise by half or more for q = 1, r = 1/2; bits attain the bounds of drift and influence "
        "for shares that change",
        source="published: Bakshi and Chakraborty 2026 (the recursion of symbols); threshold, "
        "drift and influence derived here",
        control="the share does not fall",
        experiments=lambda preset: (
            *_side_experiments(preset).values(),
            _drift_experiment(preset),
            _influence_experiment(preset),
        ),
        judge=_judge_varying_shares,
    ),
)
"""Claims of this topic, in the order in which they are shown."""

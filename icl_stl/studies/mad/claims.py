"""The claim about the loops of MAD with a sampling bias.

The loops are those of `solvable`, the closed forms those of `references.biased`; of learners
without an exact law it is shown what their rows gain in quality and lose in diversity.
"""

from dataclasses import replace

import numpy as np

from icl_stl import references
from icl_stl.lab.experiments import Experiment, LoopSize, SizedLoops
from icl_stl.problems import Gaussian
from icl_stl.studies.cells import (
    above,
    below,
    constant,
    equal,
    of_family,
    run_count,
    together,
    wide,
)
from icl_stl.studies.judging import Cell, Claim, Evidence, Json, Judged
from icl_stl.studies.mad.experiments import LEARNERS, LOOPS, BiasedLoops
from icl_stl.studies.presets import Preset

BIAS, ROWS, LAST, SHOWN = 0.7, 20, 5, (1, 2, 5)
"""s, n, G and judged generations beside no real rows, and beside a fixed set; n_syn = n."""
REAL, STRONG, STEADY = 50, 0.9, 8
"""n, s and G with new real rows."""
AMOUNTS = (0, 50, 100, 250)
"""Synthetic rows of a generation there."""
PART = 2.4
"""Part of the loops of a preset: the squared error of a mean is known to 1 % by 20,000 of them, on average."""
NAMES = {"excess": "squared error of the mean", "variance": "mean fitted variance"}
"""What is compared, in words."""
CURVES = (1.0, 0.95, 0.9, 0.8, 0.5)
"""s of the curves that are drawn."""

BIASES, SAMPLES, STEPS = (1.0, 0.9, 0.7), 100, 8
"""s, n and G of the learners without an exact law."""

QUANTITIES = ("distance", "precision", "spread", "support")
"""What is seen of them: quality, then diversity."""


def _fixed(preset: Preset) -> SizedLoops:
    """The fully synthetic loop, and synthetic augmentation."""
    sizes = tuple(LoopSize(ROWS, ROWS, weight) for weight in (0.0, 0.5))
    problem = Gaussian(unbiased=True, sampling_bias=BIAS)
    return SizedLoops(problem, "fixed", sizes, LAST, run_count(preset, PART))


def _fresh(preset: Preset) -> SizedLoops:
    """The loop with fresh data, of many amounts of synthetic rows."""
    sizes = tuple(LoopSize(REAL, m) for m in AMOUNTS)
    problem = Gaussian(unbiased=True, sampling_bias=STRONG)
    return SizedLoops(problem, "fresh", sizes, STEADY, run_count(preset, PART))


def _keys(regime: str, n: int, m: int, share: float, bias: float, i: int) -> Json:
    place: Json = {"loop": "gaussian", "regime": regime, "alpha": share, "generation": i, "n": n}
    return {**place, "n_syn": m, "bias": bias}


def _judge_laws(evidence: Evidence) -> Judged:
    cells, control = [], []
    for experiment in (_fixed(evidence.preset), _fresh(evidence.preset)):
        fresh, last = experiment.world == "fresh", experiment.generations
        bias = STRONG if fresh else BIAS
        shown = (1, 3, last) if fresh else SHOWN
        seen = [wide(evidence, experiment, name) for name in ("excess", "variance")]
        for k, (n, m, w) in enumerate(experiment.rows):
            if not m:
                continue
            known, wrong = (
                references.mean_variance_biased(n, m, 1.0, last, s, w, fresh=fresh, unbiased=True)
                for s in (bias, 1.0)
            )
            regime = "fresh" if fresh else "augment" if w else "replace"
            for name, values, law, plain in zip(NAMES, seen, known, wrong, strict=True):
                for i in shown:
                    keys = {
                        **_keys(regime, n, m, w, bias, i),
                        "kind": name,
                        "quantity": NAMES[name],
                    }
                    cells.append(equal(values[:, k, i], float(law[i]), keys))
                    cell = equal(values[:, k, i], float(plain[i]), keys)
                    if m >= n:  # of fewer rows a bias shows too little
                        control.append(of_family(cell, name))
    return Judged(cells, control, [constant("s", [BIAS, STRONG], "certified")])


def _learners(preset: Preset) -> tuple[BiasedLoops, ...]:
    runs = run_count(preset, 0.01)
    return tuple(BiasedLoops(name, BIASES, SAMPLES, STEPS, runs) for name in LEARNERS)


def _curves() -> Json:
    """The limit of E W2² by n_s for several s, to second order."""
    counts = np.unique(np.round(np.geomspace(1, 1000, 80)).astype(int))
    of = {f"{s:g}": references.biased_distance_limit(REAL, counts, 1.0, s).value for s in CURVES}
    return {"n_syn": counts.tolist(), **{s: curve.tolist() for s, curve in of.items()}}


def _judge_threshold(evidence: Evidence) -> Judged:
    experiment = _fresh(evidence.preset)
    w2, mean = (wide(evidence, experiment, name)[..., STEADY] for name in ("w2", "excess"))
    alone, admissible = (
        references.one_fit_distance(REAL, 1.0),
        references.admissible_synthetic(REAL, STRONG),
    )
    cells, control = [], []
    for k, m in enumerate(AMOUNTS):
        keys = _keys("fresh", REAL, m, REAL / (REAL + m), STRONG, STEADY)
        of_w2 = {**keys, "kind": "w2", "quantity": "squared W2 from the real law"}
        of_mean = {**keys, "kind": "mean", "quantity": "squared error of the mean"}
        known = references.biased_distance(REAL, max(m, 1), 1.0, STEADY, STRONG, unbiased=True)
        low, value, high = (float(part[STEADY]) for part in known)
        if not m:
            cells.append(equal(w2[:, k], alone, {**of_w2, "kind": "alone"}))
            control.append(of_family(equal(w2[:, k], 1 / REAL, of_w2), "one fit: the mean alone"))
            continue
        cells += [below(w2[:, k], high, of_w2), above(w2[:, k], low, {**of_w2, "kind": "low"})]
        second = equal(w2[:, k], value, {**of_w2, "kind": "second order"})
        cells.append(replace(second, proved=False))
        cells.append(below(mean[:, k], 1 / REAL, of_mean))
        if m < admissible.most:
            cells.append(below(w2[:, k], alone, {**of_w2, "kind": "helps"}))
            wrong = above(w2[:, k], alone, of_w2)
            control.append(of_family(wrong, "synthetic rows hurt at once"))
        if m >= admissible.harmful:
            cells.append(above(w2[:, k], alone, {**of_w2, "kind": "hurts"}))
            wrong = below(w2[:, k], alone, of_w2)
            control.append(of_family(wrong, "synthetic rows never hurt"))
            wrong = above(mean[:, k], 1 / REAL, of_mean)
            control.append(of_family(wrong, "they hurt the mean"))
            plain = references.biased_distance(REAL, m, 1.0, STEADY, 1.0, unbiased=True).value
            wrong = equal(w2[:, k], float(plain[STEADY]), of_w2)
            control.append(of_family(wrong, "as without a bias"))
    known_too = admissible._asdict().items()
    constants = [
        constant(f"n_syn, {name}, s = {STRONG:g}", n, "certified") for name, n in known_too
    ]
    constants.append(constant("limits of E W2^2 by n_syn and s", _curves(), "certified"))
    return Judged(cells, control, constants)


def _findings(evidence: Evidence) -> list[Cell]:
    """Quality and diversity of learners without an exact law, at the last generation."""
    cells = []
    for experiment in _learners(evidence.preset):
        seen = evidence.experiments[experiment]
        for regime in LOOPS:
            for name in (n for n in QUANTITIES if f"{regime}_{n}" in seen):
                values = seen[f"{regime}_{name}"][..., STEPS].astype(np.float64)
                for own, bias in zip(values.T, BIASES, strict=True):
                    keys: Json = {"loop": experiment.learner, "regime": regime, "kind": name}
                    keys |= {"generation": STEPS, "bias": bias, "n": SAMPLES}
                    keys |= {"quantity": f"{name}, s = {bias:g}"}
                    cells.append(Cell(own, own, np.nan, keys, finding=True))
    return cells


def _judge(evidence: Evidence) -> Judged:
    findings = Judged(_findings(evidence), [], [])
    return together(_judge_laws(evidence), _judge_threshold(evidence), findings)


def _experiments(preset: Preset) -> tuple[Experiment, ...]:
    return (_fixed(preset), _fresh(preset), *_learners(preset))


CLAIMS = (
    Claim(
        name="sampling_bias",
        statement="rows drawn from N(mu, s S), s the sampling bias: mean fitted variance and error "
        "of the mean of the fully synthetic loop (s^i S), of synthetic augmentation and of the "
        "loop with fresh data are the closed forms, generation by generation. With "
        f"{REAL} new real rows and s = {STRONG:g} synthetic rows lower the squared W2 distance to "
        "the real law up to a threshold and raise it beyond, between certain bounds, while no "
        "amount hurts the mean. What symbols, mixtures and prompts gain in quality and lose in "
        "diversity: findings",
        source="derived here: THEORY.md statements 115 to 118; setting of Alemohammad et al. 2023",
        control="closed forms and distances without a bias; synthetic rows hurt at once, or never, "
        "or the mean; one fit by the error of its mean alone",
        experiments=_experiments,
        judge=_judge,
    ),
)
"""The claim about sampling bias."""

"""The claim about synthetic rows that a verifier keeps.

The loops are those of the regime `verified`, the closed forms those of `references.verified`.
"""

from dataclasses import replace

import numpy as np
from scipy.stats import chi2

from icl_stl import references
from icl_stl.lab.experiments import Experiment, Loops
from icl_stl.lab.results import Floats
from icl_stl.problems import Categorical, Gaussian, GaussianMean, Ols
from icl_stl.regimes import AccumulateFresh, Augment, Replace, Verified, real_shares
from icl_stl.studies.cells import (
    above,
    below,
    constant,
    equal,
    of_family,
    run_count,
    together,
    where,
    wide,
)
from icl_stl.studies.judging import Cell, Claim, Evidence, Json, Judged
from icl_stl.studies.presets import Preset

PART = 2.0
"""Part of the loops of a preset where squares of normal numbers are compared: to 1 %."""

REGION = Verified(keep="region", keep_radius=1.0)
ROWS, DIM, STEPS = 200, 2, 3
"""n, d and G of least squares, far from the verifier's centre 0."""
NEAR, MEANS, LAST = 0.085, 100, 5
"""|c - θ|, n and G of a mean that is near to it, in σ."""
RATE, FITTED, FADES = 0.8, 25, 3
"""q, n and G of a normal law, by its own confidence."""
WRONG, VOTES, PHI, PSI = 0.6, 100, 0.9, (0.45, 0.75)
"""p, n, φ and ψ of an oracle below and above the threshold."""
SIZES, SHARES = (20, 100), np.linspace(0.3, 0.9, 31)
"""n and p of the curves that are drawn."""
SEEN, KEPT, LATE = 0.7, 50, 8
"""Mass of what a verifier sees, n and G."""
LAW, MANY, GONE = (0.55, 0.35, 0.1), 500, 6
"""A law on symbols, n and G, by its own confidence."""

RARE = 0.01
"""Loops, at most, in which another symbol is left then."""


def _region(preset: Preset) -> Loops:
    """Least squares whose verifier has another task in mind."""
    return Loops(Ols(DIM, 1.0), REGION, ROWS, STEPS, run_count(preset), "risks")


def _near(preset: Preset) -> Loops:
    """A mean whose verifier is nearly right."""
    regime = replace(REGION, keep_centre=(NEAR,))
    return Loops(GaussianMean(), regime, MEANS, LAST, run_count(preset, PART), "risks")


def _sure(preset: Preset) -> tuple[Loops, ...]:
    """A normal law by its own confidence, without and with real rows."""
    regimes = (Verified(inner, "confidence", RATE) for inner in (Replace(), Augment(0.5)))
    runs = run_count(preset)
    return tuple(Loops(Gaussian(), one, FITTED, FADES, runs, "risks") for one in regimes)


def _oracles(preset: Preset) -> tuple[Loops, ...]:
    """Labels of which most are wrong, by an oracle with errors; the right one is symbol 0."""
    kept = Verified(keep="oracle", keep_symbols=(0,), keep_right=PHI)
    regimes = (replace(kept, keep_wrong=psi) for psi in PSI)
    law, runs = Categorical((1 - WRONG, WRONG)), run_count(preset)
    return tuple(Loops(law, one, VOTES, 1, runs, "risks") for one in regimes)


def _part(preset: Preset) -> Loops:
    """All rows kept that a verifier sees."""
    regime = Verified(AccumulateFresh(), "part", keep_symbols=(0,))
    law = Categorical((SEEN, 1 - SEEN))
    return Loops(law, regime, KEPT, LATE, run_count(preset), "risks")


def _symbols(preset: Preset) -> Loops:
    """Symbols by the model's own confidence."""
    regime = Verified(keep="confidence", keep_rate=RATE)
    return Loops(Categorical(LAW), regime, MANY, GONE, run_count(preset, 0.05), "risks")


def _keys(experiment: Loops, i: int, kind: str, quantity: str) -> Json:
    return {**where(experiment, i), "kind": kind, "quantity": quantity}


def _wrong(cell: Cell, reference: float, *words: str) -> Cell:
    """The same with a wrong law, in a family of the control."""
    return of_family(equal(cell.measured, reference, cell.keys), cell.keys["kind"], *words)


def _far_error(distance: Floats) -> float:
    """E |w_i - w|² of generations where distances from the centre are, of tasks N(0, I)."""
    radii = chi2.ppf((np.arange(distance.size) + 0.5) / distance.size, DIM) ** 0.5
    return float(np.mean((radii - distance) ** 2))


def _judge_region(evidence: Evidence) -> Judged:
    experiment, cells, control = _region(evidence.preset), [], []
    seen = wide(evidence, experiment, "excess")
    radii = chi2.ppf((np.arange(2000) + 0.5) / 2000, DIM) ** 0.5
    path = references.ols_region(radii, 1.0, REGION.keep_radius, STEPS)
    kappa = float(references.region_factor(REGION.keep_radius, 1.0))
    for i in range(1, STEPS + 1):
        keys = _keys(experiment, i, "centre", "squared error, the verifier far from the truth")
        cell = equal(seen[:, i], _far_error(path[i]), keys)
        cells.append(replace(cell, proved=False))  # of many rows
        control.append(_wrong(cells[-1], _far_error(kappa**i * radii), "the same factor anywhere"))
        control.append(_wrong(cells[-1], DIM / (ROWS - DIM - 1), "the truth stays"))
    return Judged(cells, control, [constant("factor at the centre", kappa, "certified")])


def _judge_near(evidence: Evidence) -> Judged:
    experiment, cells, control = _near(evidence.preset), [], []
    seen, of = wide(evidence, experiment, "excess"), (1.0, REGION.keep_radius, NEAR)
    path = references.region_path(MEANS, MEANS, 1, *of, LAST)
    first = references.mean_region(MEANS, MEANS, *of)[1]
    plain = references.mean_replace(MEANS, MEANS, 1.0, LAST)
    words = "squared error, the verifier near the truth"
    for i in range(LAST + 1):
        cell = equal(seen[:, i], path[i], _keys(experiment, i, "path", words))
        cells.append(replace(cell, proved=i == 0))  # to first order
        if i:
            control.append(_wrong(cell, plain[i], "as if all were kept"))
            control.append(_wrong(cell, path[i] - (path[i] - path[i - 1]) * 2, "the other way"))
    keys = _keys(experiment, 1, "first", words)
    cells.append(equal(seen[:, 1], first, keys))
    alone = 1 / MEANS
    cells.append(below(seen[:, 1], alone, {**keys, "kind": "gain"}))
    late = _keys(experiment, LAST, "bias", words)
    cells.append(replace(above(seen[:, LAST], alone, late), proved=False))  # to first order
    control.append(of_family(above(seen[:, 1], alone, keys), "verified rows harm at once"))
    control.append(of_family(below(seen[:, LAST], alone, late), "they never harm"))
    return Judged(cells, control, [constant("error of one fit", alone, "certified")])


def _judge_sure(evidence: Evidence) -> Judged:
    cells, control = [], []
    for experiment in _sure(evidence.preset):
        regime = experiment.regime
        assert isinstance(regime, Verified)
        mixing = references.Mixing.of(regime.inner, FITTED, FADES)
        assert mixing is not None
        known = references.mean_variance_surest(mixing, 1.0, RATE)
        plain = references.mean_variance_mixed(mixing, 1.0)
        seen, words = wide(evidence, experiment, "variance"), "mean fitted variance, own confidence"
        for i in range(FADES + 1):
            keys = _keys(experiment, i, "variance", words)
            cells.append(equal(seen[:, i], float(known.variance[i]), keys))
            if i:
                other = float(plain.variance[i])
                control.append(_wrong(cells[-1], other, regime.inner.name, "all rows kept"))
    return Judged(cells, control, [])


def _learned(evidence: Evidence, experiment: Loops) -> Floats:
    """Whether most rows of generation 1 are right: its share of wrong ones from what is observed.

    Its distance from p says the share but for its side, which the entropy tells.
    """
    apart, entropy = (wide(evidence, experiment, name)[:, 1] for name in ("drift", "entropy"))
    sides = np.clip(np.stack([WRONG - apart, WRONG + apart]), 1e-12, 1 - 1e-12)
    known = -(sides * np.log(sides) + (1 - sides) * np.log(1 - sides))
    side = np.argmin(np.abs(known - entropy), axis=0)
    shares = np.take_along_axis(sides, side[None], 0)[0]
    return np.asarray(shares < 0.5 - 1e-6, np.float64)


def _judge_oracle(evidence: Evidence) -> Judged:
    cells, control = [], []
    for experiment, psi in zip(_oracles(evidence.preset), PSI, strict=True):
        of = VOTES, VOTES, PHI, psi
        known, plain = (
            references.oracle_fit(WRONG, *of),
            references.oracle_fit(WRONG, *of[:2], 1, 1),
        )
        keys = {**_keys(experiment, 1, "oracle", f"squared shift of the share, ψ {psi:g}")}
        seen = wide(evidence, experiment, "excess")[:, 1]
        cells.append(equal(seen, 2 * known.error, keys))
        control.append(_wrong(cells[-1], 2 * plain.error, f"ψ {psi:g}", "no verifier"))
        above_it = WRONG * psi > (1 - WRONG) * PHI  # then how often they are not is less noisy
        words = f"right labels{' not' * above_it} learned, ψ {psi:g}"
        keys = {**keys, "kind": "learned", "quantity": words, "p": WRONG, "psi": psi}
        seen = np.abs(_learned(evidence, experiment) - above_it)
        cells.append(equal(seen, abs(known.learned - above_it), keys))
        other = abs(plain.learned - above_it)
        control.append(_wrong(cells[-1], other, f"ψ {psi:g}", "no verifier"))
    curves: Json = {"p": SHARES.tolist()}
    for psi in PSI:
        for n in SIZES:
            fits = (references.oracle_fit(p, n, n, PHI, psi).learned for p in SHARES)
            curves[f"ψ {psi:g}, n {n}"] = list(fits)
    threshold = {f"ψ {psi:g}": PHI / (PHI + psi) for psi in PSI}
    constants = [constant("right labels learned", curves, "certified")]
    return Judged(cells, control, [*constants, constant("threshold of p", threshold, "certified")])


def _judge_lost(evidence: Evidence) -> Judged:
    experiment, cells, control = _part(evidence.preset), [], []
    seen = wide(evidence, experiment, "drift")
    law, alphas = np.array([SEEN, 1 - SEEN]), real_shares(experiment.regime, KEPT, LATE)[1:]
    known = references.law_part(law, [1, 0], alphas)
    for i in (1, 2, 4, LATE):
        keys = _keys(experiment, i, "part", "total variation, what is seen alone kept")
        cells.append(equal(seen[:, i], float(known[i, 0] - SEEN), keys))
        for share, words in ((0.5**i, "lost geometrically"), (1.0, "nothing lost")):
            if i > 1 or share == 1:
                control.append(_wrong(cells[-1], (1 - share) * (1 - SEEN), words))
    experiment = _symbols(evidence.preset)
    seen = wide(evidence, experiment, "drift")
    known = references.law_surest(LAW, RATE, GONE)
    keys = _keys(experiment, 2, "symbols", "total variation, own confidence")
    right = float(np.abs(known[2] - LAW).sum() / 2)
    cells.append(replace(equal(seen[:, 2], right, keys), proved=False))  # of many rows
    control.append(_wrong(cells[-1], 0.1 * right, "it prevents collapse"))
    keys = _keys(experiment, GONE, "gone", "loops with more than the likeliest symbol")
    left = (np.abs(seen[:, GONE] - (1 - max(LAW))) > 1e-4).astype(np.float64)
    cell = Cell(left, left, RARE, keys, "rate", tolerance=RARE, proved=False)
    cells.append(cell)
    none = replace(cell, margins=1 - left, measured=1 - left)
    control.append(of_family(none, "gone", "it prevents collapse"))
    return Judged(cells, control, [])


def _judge(evidence: Evidence) -> Judged:
    parts = (_judge_region, _judge_near, _judge_sure, _judge_oracle, _judge_lost)
    return together(*(part(evidence) for part in parts))


def _experiments(preset: Preset) -> tuple[Experiment, ...]:
    single = _region(preset), _near(preset), _part(preset), _symbols(preset)
    return (*single, *_sure(preset), *_oracles(preset))


CLAIMS = (
    Claim(
        name="verified_rows",
        statement="synthetic rows that a verifier keeps. Labels within r of its task: least "
        "squares goes to the verifier's task, not to the truth, by the exact factor; a nearly "
        "right verifier gains in variance first and ends with its bias. An oracle: right labels "
        "are learned with the exact chance, with the threshold p psi = (1-p) phi. The model's own "
        "confidence: the variance of a normal law fades geometrically, symbols go to the likeliest "
        "one. A verifier that sees a part: the rest keeps the share of the real rows",
        source="derived here: THEORY.md statements 122 to 129; settings of Feng et al. 2024, Yi, "
        "Liu, Cheng and Xu 2025, Fu, Wang, Chen, Shen and Tao 2025",
        control="the same factor anywhere, or the truth stays; loops that keep all rows; verified "
        "rows harm at once, or never; no verifier; mass lost geometrically, or not; confidence "
        "prevents collapse",
        experiments=_experiments,
        judge=_judge,
    ),
)
"""The claim about verified rows."""

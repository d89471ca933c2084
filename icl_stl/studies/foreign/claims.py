"""The claim about rows of another model, against those of the own generations."""

from typing import Any

import numpy as np

from icl_stl import references
from icl_stl.lab.experiments import Experiment, LoopSize, SizedLoops
from icl_stl.problems import GaussianMean, Ols
from icl_stl.regimes import Augment, FreshReal, Regime, Replace, mixing_weights
from icl_stl.studies.cells import WITHIN, above, below, constant, equal, of_family, run_count, wide
from icl_stl.studies.judging import Claim, Evidence, Json, Judged
from icl_stl.studies.presets import Preset

DISTANCES = {"mean": 0.5, "least squares": 1.0}
"""c, in units of sigma = 1."""
SIZES = {
    "mean": (LoopSize(10, 10, 0.0), LoopSize(8, 8), LoopSize(32, 32), LoopSize(8, 24)),
    "least squares": (LoopSize(8, 8), LoopSize(24, 24)),
}
"""Real rows, synthetic rows and, for a loop without real rows, their weight of 0."""
DIM, LAST, LATER = 4, 2, 6
"""d of least squares, generations that are run, generations of which the own error is compared."""
PART = 2.4
"""Part of the loops of a preset: by 24,000 a mean square is known to 1 %."""
WORDS = "squared error beside rows of another model"
COUNTS = np.unique(np.round(np.geomspace(8, 1000, 40)).astype(int))
"""Real rows of the curves that are drawn."""


def _problem(name: str, distance: float | None = None) -> Any:
    if name == "mean":
        return GaussianMean(foreign=distance)
    return Ols(DIM, foreign=distance)


def _experiment(name: str, preset: Preset) -> SizedLoops:
    """Loops of all sizes; the real rows stay for the mean, and are new for least squares."""
    world: Any = "fixed" if name == "mean" else "fresh"
    problem = _problem(name, DISTANCES[name])
    return SizedLoops(problem, world, SIZES[name], LAST, run_count(preset, PART))


def _regime(name: str, size: LoopSize) -> Regime:
    lam = size.n_syn / size.samples
    if size.weight == 0:
        return Replace(lam)
    return Augment.from_lam(lam) if name == "mean" else FreshReal(lam)


def _error(name: str, size: LoopSize, last: int, distance: float | None = None) -> Any:
    """Exact error of every generation, beside another model or the own ones."""
    regime = _regime(name, size)
    return _problem(name, distance).closed_form(regime, size.samples, last)


def _wrong(name: str, size: LoopSize, right: float) -> dict[str, float]:
    """Wrong errors of a generation from 1 on."""
    share, c = 1 - size.share, DISTANCES[name]
    floor = (share * c) ** 2
    found = {"without the floor": _error(name, size, 1, 0.0)[1]}
    found["the floor by the share of the rows"] = found["without the floor"] + share * c**2
    if name != "mean" and size.samples < 4 * DIM:
        found["the floor alone"] = found["without the floor"] + floor
    if size.weight == 0:
        del found["the floor by the share of the rows"]  # all of them
    return {words: float(value) for words, value in found.items() if value != right}


def _judge(evidence: Evidence) -> Judged:
    cells, control, curves = [], [], {}
    for name, sizes in SIZES.items():
        seen = wide(evidence, _experiment(name, evidence.preset), "excess")
        for k, size in enumerate(sizes):
            own = _error(name, size, LATER)
            law = float(_error(name, size, LAST, DISTANCES[name])[LAST])
            keys: Json = {"loop": name, "regime": _regime(name, size).name, "n": size.samples}
            keys |= {"n_syn": size.n_syn, "alpha": size.share, "quantity": WORDS}
            words = f"n {size.samples}, {size.n_syn}"
            for i in range(1, LAST + 1):
                here = {**keys, "kind": "error", "generation": i}
                cells.append(equal(seen[:, k, i], law, here))
                for what, value in _wrong(name, size, law).items():
                    control.append(of_family(equal(seen[:, k, i], value, here), words, what))
            for i in range(1, LATER + 1):
                if abs(law / own[i] - 1) < WITHIN:
                    continue  # nearly as bad
                here = {**keys, "kind": "own", "generation": i, "own": float(own[i])}
                here["quantity"] = f"{WORDS}, against generation {i} of the own ones"
                worse = law > own[i]
                right, wrong = (above, below) if worse else (below, above)
                values, limit = seen[:, k, LAST], float(own[i])
                cells.append(right(values, limit, {**here, "worse": bool(worse)}))
                what = f"the {'own' if worse else 'other'} model is worse"
                control.append(of_family(wrong(values, limit, here), words, what))
    for name, c in DISTANCES.items():
        each = [LoopSize(int(n), int(n)) for n in COUNTS]
        own = [[float(_error(name, one, i)[i]) for one in each] for i in (1, 5)]
        other = [float(_error(name, one, 1, c)[1]) for one in each]
        curves[name] = {"n": COUNTS.tolist(), "other": other, "1": own[0], "5": own[1]}
    mean, c = SIZES["mean"][1], DISTANCES["mean"]
    weights = mixing_weights(_regime("mean", mean), mean.samples, LATER)
    crossing = references.foreign_crossover(weights, mean.samples, mean.n_syn, 1.0, c)
    constants = [
        constant("c, mean and least squares", [*DISTANCES.values()], "certified"),
        constant(
            "n beyond which the other is worse, by generation", crossing[1:].tolist(), "certified"
        ),
        constant("errors by n, half of the rows synthetic", curves, "certified"),
    ]
    return Judged(cells, control, constants)


def _experiments(preset: Preset) -> tuple[Experiment, ...]:
    return tuple(_experiment(name, preset) for name in SIZES)


CLAIMS = (
    Claim(
        name="foreign_rows",
        statement="synthetic rows of a fixed other model at the distance c, a share p of all: the "
        "error of a mean is that of as many real rows plus c^2 p^2, that of least squares plus "
        "c^2 rho_2 > c^2 p^2, in every generation from the first on, and no n removes it. For a "
        "mean the own generations are worse at small n or, without real rows, after c^2 n/sigma^2 "
        "of them, and the other model beyond",
        source="derived here: THEORY.md statements 142 to 145; setting of Dohmatob et al. 2024, "
        "recalled",
        control="no floor; a floor of c^2 p; least squares with the floor p^2 alone; who is worse, "
        "the other way round",
        experiments=_experiments,
        judge=_judge,
    ),
)
"""The claim about rows of another model."""

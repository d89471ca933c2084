"""All rows kept: the ln i of errors that do not shrink with the pool, and where it is missing.

Three learners of bits that err in one direction, and the fixed budget of the claim `accumulation`,
whose error does not shrink either, but is noise. In every family generation 0 errs by 1 unit.
"""

from collections.abc import Mapping

import numpy as np

from icl_stl import bounds, references
from icl_stl.lab.experiments import Loops
from icl_stl.lab.results import Floats
from icl_stl.problems import Bernoulli, Categorical, GaussianMean
from icl_stl.regimes import Accumulate, AccumulateSubsample
from icl_stl.studies.cells import constant, equal, of_family, run_count, where, wide
from icl_stl.studies.judging import Claim, Evidence, Judged
from icl_stl.studies.presets import Preset
from icl_stl.studies.solvable.claims import CLAIMS as SOLVABLE

(KEPT,) = (claim for claim in SOLVABLE if claim.name == "accumulation")
"""Whose loops are those with a fixed budget."""
N, LAST = 20, 20
"""Real rows, and rows of a generation; the last generation."""
SHOWN = (1, 2, 5, 10, LAST)
SHRINKAGE, ADDED = 0.1, 0.01
"""s, how far the first fit goes to the uniform law; e, what is added to the share of ones."""
NAMES = {
    "added": "a constant is added",
    "mean": "penalty beside the mean loss",
    "sum": "penalty beside the sum",
    "noise": "fixed budget: noise, squared",
}
"""Learners, by what they do at every fit."""


def _experiments(preset: Preset) -> dict[str, Loops]:
    bits = {"probability": 0.0, "injected": 0.0, "centre": 0.5}
    learners = {
        "added": Bernoulli(**{**bits, "centre": 0.0, "injected": ADDED}),
        "mean": Bernoulli(1 - SHRINKAGE, **bits),
        "sum": Categorical((1.0, 0.0), N * SHRINKAGE / (2 - 2 * SHRINKAGE)),
    }
    own = {
        name: Loops(learner, Accumulate(), N, LAST, run_count(preset), "risks")
        for name, learner in learners.items()
    }
    (noise,) = (
        e
        for e in KEPT.experiments(preset)
        if isinstance(e, Loops) and isinstance(e.regime, AccumulateSubsample)
    )
    return {**own, "noise": noise}


def shrunken(last: int) -> Floats:
    """Mean error of a penalty beside the mean loss, over that of the first fit: `[last + 1]`."""
    mixing = references.Mixing.of(Accumulate(), N, last)
    assert mixing is not None
    path = references.law_affine(mixing, [1.0, 0.0], 1 - SHRINKAGE, SHRINKAGE / 2)
    lost: Floats = path.mean[:, 1] / path.mean[0, 1]
    return lost


def _known(experiments: Mapping[str, Loops]) -> dict[str, Floats]:
    """Mean drift of every generation, or the square of the noise, over that of the first fit."""
    noise = experiments["noise"]
    assert isinstance(noise.problem, GaussianMean)
    size = noise.samples, noise.regime.synthetic_size(noise.samples), noise.problem.noise
    path = references.mean_accumulate_subsample(*size, noise.generations)
    return {
        "added": references.one_sided_accumulate(ADDED, LAST) / ADDED,
        "mean": shrunken(LAST),
        "sum": np.ones(LAST + 1),
        "noise": path / path[0],
    }


def _judge(evidence: Evidence) -> Judged:
    experiments = _experiments(evidence.preset)
    known = _known(experiments)
    unit = {"added": ADDED, "mean": SHRINKAGE / 2, "sum": SHRINKAGE / 2, "noise": 1.0}
    unit["noise"] /= experiments["noise"].samples
    harmonic = np.array([bounds.drift_accumulate_constant(1.0, i).total for i in range(LAST + 1)])
    cells, control = [], []
    for name, experiment in experiments.items():
        seen = wide(evidence, experiment, "excess" if name == "noise" else "drift") / unit[name]
        grows = name in ("added", "mean")
        for i in SHOWN:
            what = "squared error" if name == "noise" else "drift"
            keys = where(experiment, i, kind=name, quantity=f"{what} over that of the first fit")
            keys["learner"] = NAMES[name]
            cells.append(equal(seen[:, i], float(known[name][i]), keys))
            wrong = equal(seen[:, i], 1.0 if grows else float(harmonic[i]), keys)
            words = "stays" if grows else "grows like H_{i+1}"
            control.append(of_family(wrong, NAMES[name], words))
    constants = [constant("first error, added", ADDED, "certified")]
    constants.append(constant("shrinkage of the first fit", SHRINKAGE, "certified"))
    return Judged(cells, control, constants)


CLAIMS = (
    Claim(
        name="augmentation",
        statement="all rows kept: an error that does not shrink with the pool adds up like ln i, "
        "H_{i+1} times the first where a constant is added, 1 - (1-s) prod (1 - s/(j+1)) where a "
        "penalty stands beside the mean loss. Beside the sum, where the error falls as the rows "
        "grow, the same penalty adds nothing after the first fit, and noise of a fixed budget "
        "stays bounded",
        source="derived here: statements 120, 121, 39, 46 and 47. That augmentation costs "
        "about ln i: paper, abstract-level claim",
        control="the roles exchanged: what grows stays at the first error, what stays grows like "
        "H_{i+1}",
        experiments=lambda preset: tuple(_experiments(preset).values()),
        judge=_judge,
    ),
)
"""The claim about the ln i of augmentation."""

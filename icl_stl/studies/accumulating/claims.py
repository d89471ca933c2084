"""The claim that keeping all rows is not always enough."""

from typing import Any

import numpy as np

from icl_stl import references
from icl_stl.lab.experiments import Experiment, Loops
from icl_stl.problems import Maximum, expected_excess
from icl_stl.regimes import AccumulateFresh
from icl_stl.studies.cells import (
    above,
    below,
    constant,
    equal,
    exact,
    of_family,
    run_count,
    where,
    wide,
)
from icl_stl.studies.judging import Claim, Evidence, Judged
from icl_stl.studies.presets import Preset

ROWS, LAST, SHOWN = 20, 5, (1, 3, 5)
"""n and n_syn, G and judged generations."""
POWERS = (0.25, 0.75)
"""b: the error grows without end, and it stays bounded."""
GROWTH = 40.0
"""Least growth of the error at b = 1/4 by the last generation, of its first value."""
FAR = 1000
"""Generations up to which exact errors are drawn."""
MOST = np.pi**2 / 6
"""Largest growth of the error of a mean."""


def _experiment(decay: float, preset: Preset) -> Loops:
    problem = Maximum(decay=decay)
    return Loops(problem, AccumulateFresh(), ROWS, LAST, run_count(preset), "risks")


def _experiments(preset: Preset) -> tuple[Experiment, ...]:
    return tuple(_experiment(decay, preset) for decay in POWERS)


def _growth(decay: float, generations: Any) -> list[float]:
    """Error over its first value; b = inf is the maximum likelihood."""
    how = (0.0, 1.0) if np.isinf(decay) else (1.0, decay)
    path = references.maximum_kept(ROWS, ROWS, FAR, *how)
    return [float(x) for x in (path / path[0])[generations]]


def _judge(evidence: Evidence) -> Judged:
    cells, control = [], []
    grows = "squared error of the end of the law, all rows kept"
    for decay in POWERS:
        experiment = _experiment(decay, evidence.preset)
        seen = wide(evidence, experiment, "excess")
        law = expected_excess(experiment.problem, experiment.regime, ROWS, LAST)
        words = f"b {decay:g}"
        for i in SHOWN:
            keys = where(experiment, i, kind="error", quantity=grows, decay=decay)
            keys["first"] = float(law[0])
            cells.append(equal(seen[:, i], float(law[i]), keys))
            control.append(of_family(equal(seen[:, i], float(law[0]), keys), words, "no growth"))
        keys = where(experiment, LAST, kind="growth", quantity=f"{grows}, over one fit's")
        over, once = seen[:, LAST] / law[0], {**keys, "decay": decay}
        collapses = decay <= 1 / 2
        cells.append(above(over, GROWTH, once) if collapses else below(over, GROWTH, once))
        wrong = below(over, MOST, once) if collapses else above(over, GROWTH, once)
        control.append(of_family(wrong, words, "as a mean" if collapses else "as at b = 1/4"))
    mean = references.mean_accumulate(ROWS, ROWS, 1.0, FAR)
    keys = {"loop": "gaussian mean", "regime": "accumulate-fresh", "n": ROWS, "generation": FAR}
    keys |= {
        "kind": "regular",
        "quantity": "error of a mean over one fit's",
        "alpha": 1 / (1 + FAR),
    }
    cells.append(exact(float(mean[-1] / mean[0]), MOST, {**keys, "direction": "at most"}))
    control.append(of_family(exact(float(mean[-1] / mean[0]), 1.5, keys), "at most 3/2"))
    places = np.unique(np.round(np.geomspace(1, FAR, 40)).astype(int))
    curves = {f"b = {b:g}": _growth(b, places) for b in (0.25, 0.5, 0.75)} | {
        "largest row itself (ML)": _growth(np.inf, places)
    }
    curves["mean of a normal law (ML)"] = [float(x) for x in (mean / mean[0])[places]]
    single = {
        f"b = {b:g}": references.maximum_once(ROWS * places.astype(float), 1.0, b).tolist()
        for b in (0.25, 0.5, 0.75)
    }
    constants = [
        constant("growth by generation", {"generation": places.tolist(), **curves}, "certified"),
        constant("one fit by rows", {"n": (ROWS * places).tolist(), **single}, "certified"),
    ]
    return Judged(cells, control, constants)


CLAIMS = (
    Claim(
        name="accumulation_counterexample",
        statement="all rows kept: the end of U[0, theta] fitted by (1 + N^-b) times the largest of "
        "N rows is consistent for every b > 0; its error is the closed form, bounded for b > 1/2 "
        f"and without bound for b <= 1/2, at b = 1/4 more than {GROWTH:g} times that of one fit "
        f"after {LAST} generations, while a mean of as many rows a generation keeps below pi^2/6 "
        "of it",
        source="derived here: THEORY.md statements 146 to 149; setting of Barzilai and Shamir 2025",
        control="no growth; growth as of a mean; both powers alike; a mean below 3/2",
        experiments=_experiments,
        judge=_judge,
    ),
)
"""The claim that keeping all rows is not always enough."""

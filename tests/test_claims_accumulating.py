"""The claim about consistent learners that keep all rows: it fails where it is not so."""

import numpy as np
import pytest
from synthetic import scattered

from icl_stl.problems import expected_excess
from icl_stl.studies import Evidence, judge
from icl_stl.studies.accumulating.claims import CLAIMS, FAR, LAST, ROWS
from icl_stl.studies.presets import PRESETS

TINY = PRESETS["tiny"]
(CLAIM,) = CLAIMS


def means(experiment):
    """What is observed if the claim is right."""
    return {"excess": expected_excess(experiment.problem, experiment.regime, ROWS, LAST)}


def judged(decay=None, change=lambda values: values):
    evidence = scattered(CLAIM.experiments(TINY), means)
    for experiment, arrays in evidence.items():
        if experiment.problem.decay == decay:
            arrays["excess"] = change(arrays["excess"])
    return judge(CLAIM, Evidence(TINY, experiments=evidence))


def test_it_holds_where_it_is_right():
    entry = judged()
    assert entry["verdict"] == "holds"
    assert entry["negative_control"]["rejected"]
    growth = {c["decay"]: c["measured"] for c in entry["cells"] if c["kind"] == "growth"}
    assert growth[0.25] > 80
    assert 2 < growth[0.75] < 4
    curves, single = (c["value"] for c in entry["constants"])
    assert curves["generation"][-1] == FAR
    assert curves["largest row itself (ML)"] == pytest.approx([1.0] * len(curves["generation"]))
    assert 1.6 < curves["mean of a normal law (ML)"][-1] < np.pi**2 / 6
    assert all(np.all(np.diff(v) < 0) for k, v in single.items() if k != "n")


@pytest.mark.parametrize("decay", [0.25, 0.75])
def test_loops_that_do_not_grow_are_noticed(decay):
    def still(values):
        return values * (values[:, :1].mean() / values.mean(0))

    entry = judged(decay, still)
    assert entry["verdict"] == "violated"
    assert not entry["negative_control"]["rejected"]

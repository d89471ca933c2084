"""The claim about rows of another model: it holds where it is right and fails where it is not."""

import numpy as np
import pytest
from synthetic import scattered

from icl_stl.studies import Evidence, judge
from icl_stl.studies.foreign.claims import CLAIMS, DISTANCES, LAST, SIZES, _error
from icl_stl.studies.presets import PRESETS

TINY = PRESETS["tiny"]
(CLAIM,) = CLAIMS


def means(experiment):
    """What is observed if the claim is right."""
    name = "mean" if experiment.world == "fixed" else "least squares"
    errors = [_error(name, size, LAST, DISTANCES[name]) for size in SIZES[name]]
    return {"excess": np.array(errors)}


def judged(change=lambda experiment, values: 1.0):
    evidence = scattered(CLAIM.experiments(TINY), means)
    for experiment, arrays in evidence.items():
        arrays["excess"] *= change(experiment, arrays["excess"])
    return judge(CLAIM, Evidence(TINY, experiments=evidence))


def test_it_holds_where_it_is_right():
    entry = judged()
    assert entry["verdict"] == "holds"
    assert entry["negative_control"]["rejected"]
    worse = [cell["worse"] for cell in entry["cells"] if cell["kind"] == "own"]
    assert {*worse} == {True, False}
    (crossing,) = (c["value"] for c in entry["constants"] if c["name"].startswith("n beyond"))
    sizes = {
        n: [
            c["worse"]
            for c in entry["cells"]
            if c["kind"] == "own"
            and c["loop"] == "mean"
            and c["n"] == n
            and c["n_syn"] == n
            and c["alpha"] > 0
        ]
        for n in (8, 32)
    }
    assert 8 < min(crossing) <= max(crossing) < 32
    assert not any(sizes[8])
    assert all(sizes[32])
    (curves,) = (c["value"] for c in entry["constants"] if c["name"].startswith("errors by n"))
    for name, c in DISTANCES.items():
        assert curves[name]["other"][-1] == pytest.approx(c**2 / 4, rel=0.05)
        assert curves[name]["5"][-1] < 0.1 * curves[name]["other"][-1]


@pytest.mark.parametrize("world", ["fixed", "fresh"])
def test_an_error_without_the_floor_is_noticed(world):
    def change(experiment, values):
        return 0.8 if experiment.world == world else 1.0

    assert judged(change)["verdict"] == "violated"


def test_the_control_would_notice_the_floor_alone():
    """Least squares with c^2 p^2 in place of c^2 rho_2 is no longer rejected where it is so."""

    def change(experiment, values):
        if experiment.world == "fixed":
            return 1.0
        right = _error("least squares", SIZES["least squares"][0], 1, 1.0)[1]
        plain = _error("least squares", SIZES["least squares"][0], 1, 0.0)[1]
        return (plain + 0.25) / right

    entry = judged(change)
    assert entry["verdict"] == "violated"
    assert not entry["negative_control"]["rejected"]

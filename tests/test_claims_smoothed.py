"""The claim about smoothed resampling: it holds where it is right and fails where it is not."""

import numpy as np
import pytest
from synthetic import scattered

from icl_stl import references
from icl_stl.regimes import Augment
from icl_stl.studies import Evidence, judge
from icl_stl.studies.presets import PRESETS
from icl_stl.studies.smoothed.claims import CLAIMS, LAST, PROBLEM, density

TINY = PRESETS["tiny"]
(CLAIM,) = CLAIMS


def means(experiment):
    """What is observed if the claim is right."""
    seen = {}
    for n, m, w in experiment.rows:
        fresh = experiment.world == "fresh"
        sizes = n, m, PROBLEM.noise, LAST, PROBLEM.bandwidth, w
        law = references.resampled_mean_variance(*sizes, fresh=fresh)
        # A weight of 0 is that of no real rows.
        form = PROBLEM.quality_form(Augment(weight=w), n, LAST)
        form |= {"excess": law.mean_error, "variance": law.variance}
        for name, path in form.items():
            seen.setdefault(name, []).append(path)
    return {name: np.array(paths) for name, paths in seen.items()}


def judged(change=lambda experiment, arrays: None):
    evidence = scattered(CLAIM.experiments(TINY), means)
    for experiment, arrays in evidence.items():
        change(experiment, arrays)
    return judge(CLAIM, Evidence(TINY, experiments=evidence))


def test_it_holds_where_it_is_right():
    entry = judged()
    assert entry["verdict"] == "holds"
    assert entry["negative_control"]["rejected"]
    kinds = {cell["kind"] for cell in entry["cells"]}
    assert kinds == {
        *("excess", "variance", "third_moment", "fourth_moment", "mode", "distance", "event")
    }
    exact = [c for c in entry["cells"] if c["kind"] == "distance" and c["alpha"] == 0.2]
    # (1 - alpha)^(i + 1) times the distance of p * N(0, (i + 1) h^2) from what comes after it.
    weights = 0.2 * 0.8 ** np.arange(100)
    for i, cell in enumerate(exact):
        rest = sum(w * density(i + 2 + k) for k, w in enumerate(weights))
        left = np.abs(density(i + 1) - rest).sum() * 0.005
        assert cell["measured"] == pytest.approx(0.8 ** (i + 1) * left, rel=1e-6)
    (curves,) = (c["value"] for c in entry["constants"] if "densities" in c["name"])
    step = curves["z"][1] - curves["z"][0]
    assert all(
        np.sum(v) * step == pytest.approx(1, abs=0.05) for k, v in curves.items() if k != "z"
    )


@pytest.mark.parametrize("name", ["excess", "variance", "third_moment", "fourth_moment"])
def test_what_is_not_so_is_noticed(name):
    def change(experiment, arrays):
        arrays[name][..., 1] *= 1.1

    assert judged(change)["verdict"] == "violated"


def test_the_control_would_notice_loops_that_keep_their_modes():
    def change(experiment, arrays):
        if experiment.world == "fixed":
            arrays["third_moment"][:, 0] *= 1.5**0.5  # mode 3 as mode 4 should

    assert judged(change)["verdict"] == "violated"

"""The claim about the ln i of augmentation, on loops made by hand."""

import numpy as np
import pytest

from icl_stl.studies import Evidence, judge
from icl_stl.studies.augmentation import claims
from icl_stl.studies.presets import PRESETS


def test_a_penalty_beside_the_mean_loses_what_its_product_says() -> None:
    product = np.cumprod(1 - claims.SHRINKAGE / np.arange(1, 12))
    np.testing.assert_allclose(claims.shrunken(10), (1 - product) / claims.SHRINKAGE, rtol=1e-12)


@pytest.mark.parametrize(("kind", "verdict"), [("", "holds"), ("mean", "violated")])
def test_the_claim_holds_where_it_is_right(kind, verdict) -> None:
    """Of loops made by hand; a penalty that grows as if a constant were added is noticed."""
    preset = PRESETS["tiny"]
    experiments = claims._experiments(preset)
    known, rng = claims._known(experiments), np.random.default_rng(0)
    units = {"added": claims.ADDED, "mean": claims.SHRINKAGE / 2, "sum": claims.SHRINKAGE / 2}
    seen = {}
    for name, experiment in experiments.items():
        curve = known["added" if name == kind else name] * units.get(name, 0.01)
        noise = rng.normal(size=(experiment.runs, len(curve)))
        seen[experiment] = dict.fromkeys(("drift", "excess"), curve * (1 + 0.02 * noise))
    found = judge(claims.CLAIMS[0], Evidence(preset, experiments=seen))
    assert found["verdict"] == verdict
    assert found["negative_control"]["rejected"]

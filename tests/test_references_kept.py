"""Bits whose learner errs in one direction, all rows kept: against every history."""

import math

import numpy as np
import pytest

from icl_stl import references
from icl_stl.studies import Evidence, judge
from icl_stl.studies.augmentation import claims
from icl_stl.studies.presets import PRESETS


def enumerate_bits(p, n, m, last, fit):
    """E theta_i and E (theta_i - p)^2 over every history of counts."""
    found = np.zeros((2, last + 1))

    def chances(count, theta):
        return [
            math.comb(count, k) * theta**k * (1 - theta) ** (count - k) for k in range(count + 1)
        ]

    def grow(ones, i, chance):
        theta = fit(ones / (n + i * m))
        assert 0 <= theta <= 1
        found[:, i] += chance * np.array([theta, (theta - p) ** 2])
        if i < last:
            for k, step in enumerate(chances(m, theta)):
                grow(ones + k, i + 1, chance * step)

    for ones, chance in enumerate(chances(n, p)):
        grow(ones, 0, chance)
    return found


@pytest.mark.parametrize(
    ("p", "n", "m", "kappa", "c", "e"),
    [(0.3, 2, 3, 0.8, 0.6, 0.0), (0.0, 3, 2, 0.9, 0.5, -0.02), (0.7, 3, 1, 0.5, 0.2, 0.3)],
)
def test_bits_equal_enumeration(p, n, m, kappa, c, e) -> None:
    exact = enumerate_bits(p, n, m, 3, lambda z: c + kappa * (z - c) + e)
    path = references.bits_accumulate(p, n, m, 3, kappa=kappa, centre=c, injected=e)
    np.testing.assert_allclose(path, exact, rtol=1e-12)


def test_a_plain_share_is_a_law_on_two_symbols_and_an_added_error_is_harmonic() -> None:
    path = references.bits_accumulate(0.2, 5, 10, 6)
    law = references.law_accumulate([0.2, 0.8], 5, 10, 6)
    np.testing.assert_allclose(2 * path.square, law.error, rtol=1e-12)
    added = references.bits_accumulate(0.0, 5, 10, 6, injected=0.01).mean
    np.testing.assert_allclose(added, references.one_sided_accumulate(0.01, 6, 2.0), rtol=1e-12)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"kappa": -0.1}, "kappa = -0.1"),
        ({"centre": 1.2}, "centre = 1.2"),
        ({"injected": math.inf}, "injected = inf"),
        ({"probability": 2}, "probability = 2"),
        ({"n_syn": 0}, "n_syn = 0"),
    ],
)
def test_bad_input_is_named(more, words) -> None:
    loop = {"probability": 0.5, "samples": 2, "n_syn": 2, "generations": 1}
    with pytest.raises(ValueError, match=words):
        references.bits_accumulate(**{**loop, **more})


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

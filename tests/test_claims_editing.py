"""The claim about token editing: its cells, its control, and the program of its schedules."""

import dataclasses

import numpy as np
import pytest

from icl_stl.lab import solvable
from icl_stl.problems import Ols, expected_excess
from icl_stl.regimes import Edit
from icl_stl.studies.claims import CLAIMS
from icl_stl.studies.editing import claims
from icl_stl.studies.editing.experiments import Schedules
from icl_stl.studies.figures import DRAWINGS
from icl_stl.studies.judging import Evidence, judge
from icl_stl.studies.presets import PRESETS

CLAIM = CLAIMS["token_editing"]
PRESET = dataclasses.replace(PRESETS["tiny"], solvable_runs=4000)


def evidence(*, swapped=False, sure=1.0):
    """Experiments that follow their laws; or both models exchanged, or another law of symbols."""
    rng, seen = np.random.default_rng(0), {}
    noisy = lambda means, runs: means * rng.gamma(4.0, 0.25, size=(runs, *np.shape(means)))  # noqa: E731
    for one in CLAIM.experiments(PRESET):
        n, last = one.samples, one.generations
        if isinstance(one, Schedules):
            laws = np.array([expected_excess(one.problem, r, n, last) for r in one.regimes])
            laws = laws[[2, 3, 0, 1, 4]] if swapped else laws
            seen[one] = {"excess": noisy(laws, one.runs)}
        elif one == claims.surest(PRESET):
            law = expected_excess(one.problem, one.regime, n, last)
            seen[one] = {"excess": noisy(sure * law, one.runs)}
        else:
            names = dict.fromkeys(claims.NUMBERS, np.ones(last + 1))
            seen[one] = {name: noisy(ones, one.runs) for name, ones in names.items()}
    return Evidence(PRESET, experiments=seen)


def test_loops_that_follow_their_laws_hold_and_reject_every_control() -> None:
    entry = judge(CLAIM, evidence())
    assert entry["verdict"] == "holds"
    families = entry["negative_control"]["families"]
    assert len(families) == 10
    assert all(family["rejected"] for family in families)
    kinds = {cell["kind"] for cell in entry["cells"] if cell["verdict"] == "finding"}
    assert kinds == {*claims.NUMBERS, "one round"}
    assert len(DRAWINGS["token_editing"].caption.split()) <= 40


@pytest.mark.parametrize("wrong", [{"swapped": True}, {"sure": 1.2}])
def test_loops_that_do_not_are_refuted(wrong) -> None:
    assert judge(CLAIM, evidence(**wrong))["verdict"] == "violated"


def test_schedules_are_the_loops_of_their_regimes() -> None:
    problem, edits = Ols(2), (5.0, 2.0)
    regimes = Edit(edits, "additive"), Edit((), "additive"), Edit(edits)
    seen = Schedules(problem, regimes, 9, 3, 40).run(3)["excess"]
    for k, regime in enumerate(regimes[:2]):  # the other draws half as many labels
        alone = solvable.simulate(problem, regime, samples=9, generations=3, runs=40, seed=3)
        np.testing.assert_allclose(seen[:, k], alone["excess"], rtol=2e-3)
    assert (seen[:, 2, 1:] != seen[:, 0, 1:]).any(0).all()
    np.testing.assert_array_equal(seen[:, 2, 2], seen[:, 2, 3])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"regimes": ()}, "regimes"),
        ({"regimes": (Edit((10.0,)),)}, "edits"),
        ({"regimes": (Edit(threshold=0.9),)}, "threshold"),
        ({"runs": 0}, "runs"),
    ],
)
def test_what_is_no_experiment_is_refused(wrong, words) -> None:
    usual = {"problem": Ols(2), "regimes": (Edit(),), "samples": 9, "generations": 1, "runs": 1}
    with pytest.raises(ValueError, match=words):
        Schedules(**usual | wrong)

"""Loops whose total variations are known, and the claim that they are measured right."""

import dataclasses

import numpy as np
import pytest
from scipy import stats
from synthetic import generated

from icl_stl import measure
from icl_stl.lab import runs
from icl_stl.studies import Evidence, judge
from icl_stl.studies.claims import CLAIMS
from icl_stl.studies.presets import PRESETS
from icl_stl.studies.transformer import loops as known_loops
from icl_stl.studies.transformer.claims import PLANTED, known_total_variation
from icl_stl.studies.transformer.claims import known_loops as experiment_of

TINY = PRESETS["tiny"]
EXPERIMENT = experiment_of(TINY)
GRID = np.linspace(-12, 12, 200_001)


def by_quadrature(c, share, before):
    p = stats.norm.pdf(GRID, c)
    q = share * stats.norm.pdf(GRID) + (1 - share) * stats.norm.pdf(GRID, before)
    return np.sum(np.maximum(p - q, 0)) * (GRID[1] - GRID[0])


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9, 1.0])
@pytest.mark.parametrize("before", [-0.7, 0.0, 0.3, 2.0])
@pytest.mark.parametrize("c", [-1.5, 0.0, 0.2, 0.3, 1.9, 3.0])
def test_known_total_variations_are_those_of_normal_laws(c, share, before):
    expected = by_quadrature(c, share, before)
    assert known_total_variation(c, share, before, 1) == pytest.approx(expected, abs=1e-7)
    halves = known_total_variation(c / 2, share, before / 2, 4)
    assert halves == pytest.approx(expected, abs=1e-7)


def test_a_pure_shift_has_the_closed_form():
    c, j = np.array([0.1, 0.5, 2.0])[:, None], np.array([1, 4, 8])
    exact = 2 * stats.norm.cdf(c * j**0.5 / 2) - 1
    for share, before in ((1.0, 0.7), (0.3, 0.0)):
        found = known_total_variation(c, share, before, j)
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-13)


@pytest.fixture(scope="module")
def found():
    return known_loops.run_experiment(EXPERIMENT, 0)


def test_shifts_follow_their_recursion(found, assert_mean):
    """c_i = injected + (1 - α) c_{i-1} in the mean: with real rows up to injected/α."""
    for s, share in enumerate(EXPERIMENT.shares):
        shift = np.zeros(EXPERIMENT.runs)
        for i in range(EXPERIMENT.generations + 1):
            shift = EXPERIMENT.injected + (1 - share) * shift
            assert_mean(found["shift"][:, s, i], shift)


def test_shifts_are_those_of_the_rows(found):
    """Rows of generation 0 give a shift of the deviation 1/sqrt(n m)."""
    first = found["shift"][:, 0, 0]
    assert np.ptp(found["shift"][:, :, 0], axis=1).max() == 0  # all shares have the same real rows
    deviation = (EXPERIMENT.samples * EXPERIMENT.task.context) ** -0.5
    assert first.std(ddof=1) == pytest.approx(deviation, rel=0.5)


def judged(observed):
    """The claim on known loops alone: those of the transformer are not needed."""
    loops = {}
    evidence = Evidence(TINY, loops, generated(), {EXPERIMENT: observed})
    return judge(CLAIMS["one_step_error"], evidence)


def test_what_measures_the_transformer_measures_them_right(found):
    entry = judged(found)
    assert entry["verdict"] == "holds"
    assert entry["negative_control"]["rejected"]


@pytest.mark.parametrize("factor", PLANTED)
def test_a_factor_planted_in_the_measurement_is_noticed(factor, monkeypatch):
    def wrong(*args, **kwargs):
        seen = right(*args, **kwargs)
        return seen._replace(eps=seen.eps._replace(mean=factor * seen.eps.mean))

    right = measure.measure_generation
    monkeypatch.setattr(measure, "measure_generation", wrong)
    runs.generation_step.cache_clear()
    entry = judged(known_loops.run_experiment(EXPERIMENT, 0))
    assert entry["verdict"] == "violated"
    bad = {cell["quantity"] for cell in entry["cells"] if cell["verdict"] != "holds"}
    assert bad == {"eps, measured over exact"}


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"shares": ()}, "^shares must be .* at least one"),
        ({"shares": (0.5, 1.0)}, r"^shares must be numbers in \[0, 1\)"),
        ({"injected": 0.0}, "^injected must be a positive number"),
        ({"runs": 0}, "^runs must be .* at least 1"),
        ({"held_out": 1}, "^held_out must be .* at least 2"),
    ],
)
def test_loops_that_cannot_run_are_refused(settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        dataclasses.replace(EXPERIMENT, **settings)

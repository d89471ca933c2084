"""Prompts kept by their own model's confidence: exact moments, one filter, the claim's sides."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthetic import around

from icl_stl import references
from icl_stl.problems import EmpiricalBayes, InContext
from icl_stl.regimes import Replace, Verified
from icl_stl.regimes.base import Step
from icl_stl.studies import Evidence, judge
from icl_stl.studies.confidence import claims
from icl_stl.studies.confidence.loops import Filtered
from icl_stl.studies.presets import PRESETS

(CLAIM,) = claims.CLAIMS
PRESET = replace(PRESETS["tiny"], solvable_runs=10_000)
PRESET = replace(PRESET, confidence=replace(PRESET.confidence, replicates=12, generations=2))


@pytest.mark.parametrize("m", [1, 2, 5, 40])
def test_lengths_of_pairs_of_normal_numbers_are_those_of_spacings(m):
    """Half the square is exponential: of m the j-th smallest has mean 1/m + .. + 1/(m-j+1)."""
    means = np.cumsum(1 / np.arange(m, 0, -1))
    for kept in {1, (m + 1) // 2, m}:
        found = references.surest_moment(m, kept, 2)
        assert found == pytest.approx(means[:kept].mean(), rel=1e-9)


def test_many_labels_are_kept_by_a_part_of_their_length():
    """Of N coordinates the squared length is N times 1 +- sqrt(2/N): little is there to choose."""
    few, many = (references.surest_moment(1000, 500, n) for n in (1, 400))
    assert few < 0.15
    assert many == pytest.approx(1 - (2 / 400) ** 0.5 * (2 / np.pi) ** 0.5, abs=2e-3)


def test_the_task_goes_and_a_real_share_keeps_some_of_it():
    of = 1.0, 2, 4, 0.5, 100, 0.5
    alone, beside = (references.task_variance_surest(*of, 60, w) for w in (0.0, 0.3))
    moment, added = references.surest_moment(100, 50, 8), 0.25 / 8
    np.testing.assert_allclose(
        alone + added, (1 + added) * moment ** np.arange(61), rtol=1e-12, atol=1e-14
    )
    assert alone[-1] < 0
    assert beside[-1] == pytest.approx(0.3 * (1 + added) / (1 - 0.7 * moment) - added)
    assert 0 < beside[-1] < 1


@pytest.mark.parametrize(("rate", "own"), claims.RULES)
def test_filters_as_numbers_are_those_of_the_regime(rate, own):
    """By confidence the same rows; by lot as many of them."""
    rows = jax.random.normal(jax.random.key(0), (40, 3))
    step = Step(
        jax.random.key(1),
        1,
        None,
        rows,
        rows,
        (),
        0.0,
        40,
        40,
        log_density=lambda z: -(z[:, 0] ** 2),
    )
    there = jnp.arange(40) < 30
    kept = there & (Filtered(Replace(), rate, own).weigh(step, rows, there) > 0)
    other = there & Verified(Replace(), "confidence", rate).weigh(step, rows, there)
    assert int(kept.sum()) == int(other.sum()) == round(rate * 30)
    assert bool((kept == other).all()) == own


def observed(experiment, seed, likewise=False):
    """What is observed if the claim is right; likewise: if no filter differs from lot."""
    last, seen = experiment.generations, {}
    names = ["task_variance"]
    if isinstance(experiment.problem, InContext):
        names += ["excess_nll"]
    for name in names:
        paths = []
        for rate, surest in experiment.rules:
            own = surest and not likewise
            if isinstance(experiment.problem, EmpiricalBayes):
                of = claims.PRIOR, claims.DIM, claims.REPEATS, claims.NOISE, claims.PROMPTS
                path = references.task_variance_surest(*of, rate if own else 1.0, last)
            elif name == "task_variance":
                path = np.array([0.9, *[0.9 * (rate if own else 1.0)] * last])
            else:
                path = np.array([0.05, *[0.05 / (rate if own else 1.0)] * last])
            paths.append(path)
        seen[name] = around(np.stack(paths), experiment.runs, [seed, len(name)])
    return seen


def entry_of(likewise=False):
    experiments = CLAIM.experiments(PRESET)
    seen = {one: observed(one, k, likewise) for k, one in enumerate(experiments)}
    return judge(CLAIM, Evidence(PRESET, experiments=seen))


def test_loops_that_do_what_the_claim_says_pass_and_others_do_not():
    entry = entry_of()
    assert entry["verdict"] == "holds"
    assert entry["negative_control"]["rejected"]
    other = entry_of(likewise=True)
    assert other["verdict"] == "violated"  # the law of empirical Bayes is proved
    assert not other["negative_control"]["rejected"]
    judged = [c for c in other["cells"] if c["kind"] in ("kept", "grown")]
    assert judged
    assert not any(c["verdict"] == "holds" for c in judged)

"""Curated rows: exact laws against enumeration and quadrature; both sides of the claim."""

from dataclasses import replace
from itertools import product

import jax.numpy as jnp
import numpy as np
import pytest
from synthetic import around

from icl_stl import references
from icl_stl.laws.prompts import Prompts
from icl_stl.problems import expected_excess
from icl_stl.regimes import Curated
from icl_stl.studies import Evidence, judge
from icl_stl.studies.curated import claims
from icl_stl.studies.presets import PRESETS

(CLAIM,) = claims.CLAIMS
PRESET = replace(PRESETS["tiny"], solvable_runs=10_000)
LAW, REWARD = np.array([0.5, 0.3, 0.2]), np.array([0.0, 0.5, 1.2])


@pytest.mark.parametrize("weight", [0.0, 0.1, 0.6, 1.0])
def test_rewards_never_fall_and_end_where_they_should(weight):
    path = references.curated_law(LAW, REWARD, weight, 400)
    rewards = path @ np.exp(REWARD)
    assert (np.diff(rewards) >= -1e-12).all()
    if not weight:
        np.testing.assert_allclose(path[-1], [0, 0, 1], atol=1e-12)
        assert (np.diff(path @ REWARD) >= -1e-12).all()
        return
    limit = references.curation_fixed_point(LAW, REWARD, weight)
    np.testing.assert_allclose(path[-1], limit.law, atol=1e-12)
    assert limit.weight == pytest.approx(rewards[-1])
    left = np.abs(path - limit.law).sum(1)[5:15]
    assert limit.rate < 1
    assert (left[1:] <= limit.rate * left[:-1] + 1e-14).all()


@pytest.mark.parametrize("fresh", [False, True])
def test_one_generation_of_two_symbols_by_hand(fresh):
    """All sequences of two real and two synthetic symbols, one after the other."""
    p, value, w = np.array([0.7, 0.3]), np.exp([0.0, 0.8]), 0.4
    sets = list(product((0, 1), repeat=2))

    def counted(rows):
        return np.bincount(rows, minlength=2).astype(float)

    mean, error = np.zeros(2), 0.0
    for first, second, made in product(sets, sets, sets):
        real = counted(first) / 2
        chance = p[list(first)].prod() * p[list(second)].prod() * real[list(made)].prod()
        tilted = counted(made) * value
        beside = counted(second) / 2 if fresh else real
        fitted = w * beside + (1 - w) * tilted / tilted.sum()
        mean += chance * fitted
        error += chance * ((fitted - p) ** 2).sum()
    found = references.curated_law_loop(p, np.log(value), 2, 2, 1, w, fresh=fresh)
    np.testing.assert_allclose(found.mean[1], mean, atol=1e-12)
    assert found.error[1] == pytest.approx(error, abs=1e-12)


@pytest.mark.parametrize("slope", [0.3, -2.0])
def test_a_step_of_two_numbers(slope):
    """Their weighted mean is their mean and half their difference times a hyperbolic tangent."""
    x, weights = np.polynomial.hermite_e.hermegauss(150)
    apart = 1.5 * 2**0.5 * x / 2
    turned = apart * np.tanh(slope * apart)
    weights = weights / weights.sum()
    found = references.curated_step(2, 1.5, slope)
    assert found.shift == pytest.approx(weights @ turned, rel=1e-6)
    square = 1.5**2 / 2 + weights @ turned**2
    assert found.variance == pytest.approx(square - (weights @ turned) ** 2, rel=1e-6)


def test_a_mean_walks_as_its_steps_say():
    step = references.curated_step(10, 1.0, 0.5)
    assert 0 < step.shift < 0.5
    found = references.curated_mean(10, 10, 1.0, 2, 0.5, 0.25)
    np.testing.assert_allclose(found.mean, step.shift * np.array([0, 0.75, 0.75 + 0.75**2]))
    moved = step.variance * np.array([0, 0.75**2, 0.75**2 + 0.75**4])
    np.testing.assert_allclose(found.error, 0.1 + moved + found.mean**2)
    of = 10, 20, 1.0, 4
    for fresh, law in ((False, references.mean_augment), (True, references.mean_fresh)):
        none = references.curated_mean(*of, 0.0, 0.4, fresh=fresh)
        np.testing.assert_allclose(none.error, law(*of, 0.4), rtol=1e-12)


def test_a_normal_law_is_tilted():
    z = np.linspace(-30, 30, 20_001)
    found = references.curated_normal(0.5, 1.0, (0.3, -0.1), 3)
    density = np.exp(-((z - 0.5) ** 2) / 2 + 3 * (0.3 * z - 0.1 * z**2))
    density /= density.sum()
    mean = density @ z
    np.testing.assert_allclose(
        (found.mean_error[3], found.variance[3]), (mean**2, density @ z**2 - mean**2)
    )
    gone = references.curated_normal(0.0, 1.0, (0.0, 0.2), 3)
    assert np.isinf(gone.variance[3])


def test_rewards_of_numbers_labels_and_symbols():
    numbers = jnp.array([0.0, 1.0, -2.0])
    linear, square = Curated(reward=(0.5,)), Curated(reward=(0.5, 0.25))
    np.testing.assert_allclose(linear.rewards(numbers), [0, 0.5, -1])
    np.testing.assert_allclose(square.rewards(numbers), [0, 0.75, 0])
    labels = Prompts(jnp.ones((2, 3, 1)), jnp.array([[1.0, 1, 1], [0, 2, 0]]))
    np.testing.assert_allclose(square.rewards(labels), [2.25, 2])
    symbols = Curated(reward=(1.0, 2.0))
    np.testing.assert_allclose(symbols.rewards(jnp.array([0, 1, 2])), [1, 2, 0])


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Curated(reward=()), "reward must be at least one number"),
        (lambda: Curated(reward=(1.0, np.inf)), "reward must be .* finite"),
        (lambda: Curated(Curated()), "of must be a regime"),
        (lambda: references.curated_step(5, 1.0, 20.0), "slope = 20.0 is outside"),
        (lambda: references.curated_law(LAW, [1.0], 0.5, 2), "reward = .* each of the 3 symbols"),
        (
            lambda: references.curated_law_loop(np.ones(6) / 6, np.ones(6), 60, 60, 1),
            "samples = 60",
        ),
    ],
)
def test_bad_rewards_are_named(make, complaint):
    with pytest.raises(ValueError, match=complaint):
        make()


@pytest.mark.parametrize("curated", [True, False])
def test_the_claim_holds_of_loops_that_are_curated_and_of_no_others(curated):
    seen = {}
    for k, one in enumerate(CLAIM.experiments(PRESET)):
        regime = one.regime if curated else one.regime.inner
        law = expected_excess(one.problem, regime, one.samples, one.generations)
        seen[one] = {"excess": around(law, one.runs, [k, 0])}
    entry = judge(CLAIM, Evidence(PRESET, experiments=seen))
    assert entry["verdict"] == ("holds" if curated else "violated")
    assert entry["negative_control"]["rejected"] == curated


def test_rewards_of_symbols_that_are_not_there_do_not_matter():
    far = [0.0, 1000.0]
    np.testing.assert_allclose(references.curated_law([1, 0], far, 0.0, 2), [[1, 0]] * 3)
    found = references.curated_law_loop([0.5, 0.5], far, 3, 3, 2, 0.0)
    assert np.isfinite(found.error).all()
    some = sum(c * 0.5**3 * (1 - (1 - k / 3) ** 3) for k, c in ((1, 3), (2, 3), (3, 1)))
    assert found.mean[1, 1] == pytest.approx(some)  # any such row takes all

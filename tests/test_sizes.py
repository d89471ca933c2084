"""Loops of many sizes in one program are the loops of each size; the transformer's are its own."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_stl import learners, measure, problems
from icl_stl.config import Architecture, Training
from icl_stl.lab import solvable
from icl_stl.lab.experiments import WORLDS, Loops, LoopSize, SizedLoops
from icl_stl.lab.runs import draw_replicates
from icl_stl.laws import LinearRegression
from icl_stl.laws import prompts as tasks
from icl_stl.laws.prompts import sample_prompts
from icl_stl.loops import (
    Sizes,
    equal_rows,
    first_generation,
    generation_keys,
    next_generation,
    self_consume,
)
from icl_stl.regimes import AccumulateFresh, Augment, AugmentSameInputs, FreshReal, Replace
from icl_stl.studies.convergence import loops as sizes
from icl_stl.studies.convergence.experiments import SizedNeighbours, SizedTransformers

KEY = jax.random.key(11)
MEAN = learners.gaussian_mean()
REAL = jax.random.normal(jax.random.key(2), (8,))


def draw(key, count):
    return jax.random.normal(key, (count,))


def seen(key, generation):
    return generation.params, generation.row_weights.sum()


# --- solvable loops ------------------------------------------------------------------------------


@pytest.mark.parametrize("regime", [Augment(0.25), FreshReal(3.0), AugmentSameInputs(0.25)])
def test_full_places_are_the_plain_loop(regime, assert_close):
    run = lambda sizes: self_consume(  # noqa: E731
        KEY, MEAN, REAL, 3, regime=regime, observe=seen, draw_real=draw, sizes=sizes
    )
    for full, plain in zip(run(equal_rows(8, 24)), run(None), strict=True):
        assert_close(full, plain)


def test_rows_beyond_the_sizes_have_no_weight():
    regime = Augment(0.25)
    generation = next_generation(
        KEY, MEAN, regime, REAL, jnp.array(0.0), 1, sizes=Sizes(5, 10, 0.3)
    )
    weights = np.asarray(generation.row_weights)
    np.testing.assert_allclose(weights[:5], 0.3 / 5)
    np.testing.assert_allclose(weights[8:18], 0.7 / 10)
    assert np.all(weights[5:8] == 0)
    assert np.all(weights[18:] == 0)
    start = next_generation(
        KEY, MEAN, regime, REAL, jnp.array(0.0), 0, from_first=True, sizes=Sizes(5, 10, 0.3)
    )
    np.testing.assert_allclose(start.row_weights[:5], 1 / 5)
    assert np.all(start.row_weights[5:] == 0)


def test_inputs_are_those_of_the_rows_there_are():
    real = tasks.Rows(jnp.arange(16.0).reshape(8, 2), jnp.zeros(8))
    generation = next_generation(
        KEY, learners.ols(), AugmentSameInputs(0.25), real, jnp.zeros(2), 1, sizes=equal_rows(5, 10)
    )
    np.testing.assert_array_equal(generation.training_set.xs[8:18], real.xs[jnp.arange(10) % 5])


def test_without_synthetic_rows_there_are_real_ones_alone():
    generation = next_generation(
        KEY, MEAN, Augment(0.5), REAL, jnp.array(0.0), 1, sizes=equal_rows(8, 0)
    )
    np.testing.assert_allclose(generation.row_weights, [1 / 8] * 8 + [0.0] * 8)


@pytest.mark.parametrize("regime", [Replace(), AccumulateFresh()], ids=repr)
def test_sizes_are_refused_where_rows_are_not_those_of_the_last_generation(regime):
    with pytest.raises(ValueError, match=f"^regime must mix .* sizes .* but it is '{regime.name}'"):
        self_consume(KEY, MEAN, REAL, 2, regime=regime, observe=seen, sizes=equal_rows(8, 8))


OLS = problems.Ols(2)
PROBLEMS = [problems.GaussianMean(), OLS, problems.LinearAttention(1, 3)]


@pytest.mark.parametrize(
    ("problem", "world"),
    [*[(p, w) for p in PROBLEMS for w in ("fixed", "fresh")], (OLS, "same-inputs")],
)
def test_every_size_is_the_loop_of_that_size(problem, world, assert_close):
    several = (LoopSize(6, 6), LoopSize(6, 18), LoopSize(6, 12))
    experiment = SizedLoops(problem, world, several, 3, 4)
    found = solvable.run_sizes(experiment, 5)
    for k, size in enumerate(several):
        regime = WORLDS[world](size.n_syn / size.samples)
        alone = Loops(problem, regime, 6, 3, 4, "risks")
        for name, values in solvable.run_experiment(alone, 5).items():
            assert found[name].shape == (4, 3, 4)
            assert_close(found[name][:, k], values)


def test_weights_and_smaller_real_sets_are_those_of_the_loop(assert_close):
    several = (LoopSize(4, 8, 0.7), LoopSize(8, 8), LoopSize(4, 0))
    experiment = SizedLoops(PROBLEMS[0], "fixed", several, 2, 3, "measurements")
    found = solvable.run_sizes(experiment, 1)
    alone = Loops(PROBLEMS[0], Augment.from_lam(2.0, 0.7), 4, 2, 3)
    for name, values in solvable.run_experiment(alone, 1).items():
        if name != "eps":  # its rows are drawn, with another key in a program of another shape
            assert_close(found[name][:, 0], values)
    assert_close(found["excess"][:, 2], found["excess"][:, 2, :1].repeat(3, 1))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: LoopSize(0, 1), "^samples must be .* at least 1, but it is 0"),
        (lambda: LoopSize(1, -1), "^n_syn must be .* at least 0, but it is -1"),
        (lambda: LoopSize(1, 1, 1.5), r"^weight must be in \[0, 1\], but it is 1.5"),
        (lambda: LoopSize(1, 0, 0.5), "^weight must be 1 if n_syn = 0, but it is 0.5"),
        (lambda: SizedLoops(OLS, "both", (LoopSize(4, 4),), 1, 1), "^world must be one of"),
        (lambda: SizedLoops("ols", "fixed", (LoopSize(4, 4),), 1, 1), "^problem must be a problem"),
        (lambda: SizedLoops(OLS, "fixed", (), 1, 1), "^sizes must be at least one size"),
        (lambda: SizedLoops(OLS, "fixed", (LoopSize(4, 4),), 1, 0), "^runs must be .* 0"),
        (lambda: transformer(LoopSize(17, 1)), r"^samples must be at most .* \(16\), but it is 17"),
        (lambda: transformer(LoopSize(8, 65)), r"^n_syn must be at most .* \(64\), but it is 65"),
        (lambda: replace(transformer(LoopSize(8, 8)), world="x"), "^world must be 'fixed' or"),
        (lambda: neighbours(LoopSize(2, 2), 3), r"^neighbours must be at most .* \(2\)"),
        (lambda: neighbours(LoopSize(4, 0), 1), "^n_syn must be .* at least 1, but it is 0"),
    ],
)
def test_bad_sizes_are_refused_by_name_and_value(make, complaint):
    with pytest.raises(ValueError, match=complaint):
        make()


# --- the transformer -----------------------------------------------------------------------------

TASK = LinearRegression(dim=1, context=3)
ARCHITECTURE = Architecture(depth=1, width=8, heads=2)
TRAINING = Training(steps=30, batch=8)
PROMPTS = problems.InContext(TASK, ARCHITECTURE, TRAINING, held_out=40)
PLACES = LoopSize(16, 64)
RUNS = 2


def transformer(size, world="fixed", generations=2):
    return SizedTransformers(PROMPTS, size, PLACES, RUNS, world, generations)


def neighbours(size, count=2):
    return SizedNeighbours(PROMPTS, size, PLACES, RUNS, count)


@pytest.fixture(scope="module")
def found():
    sizes_ = {
        "few": transformer(LoopSize(8, 8)),
        "many": transformer(LoopSize(8, 64)),
        "none": transformer(LoopSize(8, 0)),
        "new": transformer(LoopSize(8, 8), "fresh"),
        "full": transformer(PLACES),
    }
    return {name: sizes.run_experiment(one, 3) for name, one in sizes_.items()}


def test_generation_0_does_not_depend_on_what_comes_later(found):
    for name in ("many", "none", "new"):
        for quantity in ("gap", "drift", "kl", "bounded_excess"):
            np.testing.assert_array_equal(found[name][quantity][:, 0], found["few"][quantity][:, 0])
    assert np.all(found["many"]["kl"][:, 1] != found["few"]["kl"][:, 1])
    assert np.all(found["new"]["kl"][:, 1] != found["few"]["kl"][:, 1])
    assert np.all(found["full"]["kl"][:, 0] != found["few"]["kl"][:, 0])


def test_the_gap_is_the_sum_of_its_parts(found):
    for name, share in (("few", 0.5), ("many", 1 / 9), ("none", 1.0), ("new", 0.5)):
        one = found[name]
        own = np.full(3, share)
        own[0] = 1.0
        parts = own * one["real"] + (1 - own) * (one["synthetic"] + one["shift"])
        np.testing.assert_allclose(one["gap"], parts, atol=1e-7)
    assert np.all(found["few"]["shift"][:, 0] == 0)
    assert np.all(found["none"]["synthetic"] == 0)


def test_full_places_are_the_loop_of_the_regime(found, assert_close):
    learner = learners.adam_transformer(TASK, ARCHITECTURE, TRAINING)
    replicates = draw_replicates(PROMPTS, PLACES.samples, RUNS, 3)
    key, _, real, held_out = jax.tree.map(lambda a: a[0], replicates)
    regime = Augment(0.2)

    @jax.jit
    def kl(generation):
        return measure.measure_generation(
            TASK, learner, held_out, key, generation, real_share=0.2
        ).kl[-1]

    generation = first_generation(key, learner, real)
    for i in range(3):
        if i:
            generation = next_generation(key, learner, regime, real, generation.params, i)
        shown = generation._replace(training_set=real, row_weights=jnp.full(16, 1 / 16))
        assert_close(kl(shown) / TASK.context, found["full"]["excess_nll"][0, i])


def test_programs_are_compiled_once_for_all_sizes():
    before = sizes._program.cache_info()
    sizes.run_experiment(transformer(LoopSize(3, 5), generations=0), 3)
    after = sizes._program.cache_info()
    assert after.misses == before.misses
    assert after.hits == before.hits + 1


def test_neighbours_differ_in_one_prompt(assert_close):
    experiment = neighbours(LoopSize(8, 8))
    seen = sizes.run_neighbours(experiment, 3)
    assert seen["passed"].shape == seen["loss_max"].shape == (RUNS, 2)
    assert seen["tv"].shape == (RUNS, 2, len(TASK.prefixes))
    assert np.all(seen["tv"] > 0)
    assert np.all(seen["loss_max"] >= seen["loss_mean"])
    assert np.all(seen["passed"] > 0)
    replicates = draw_replicates(PROMPTS, PLACES.samples, RUNS, 3)
    key, _, real, _ = jax.tree.map(lambda a: a[0], replicates)
    new = sample_prompts(TASK, jax.random.fold_in(key, 2**31 - 1), 2)
    other = jax.tree.map(lambda a, b: a.at[1].set(b[1]), real, new)
    fit = jax.jit(learners.adam_transformer(TASK, ARCHITECTURE, TRAINING).fit)
    weights = jnp.where(jnp.arange(16) < 8, 1 / 8, 0.0)
    key_fit = generation_keys(key, 0).fit
    own, moved = (fit(key_fit, rows, weights).weights for rows in (real, other))
    length = measure.parameter_distance(own, jax.tree.map(jnp.zeros_like, own))
    distance = measure.parameter_distance(own, moved) / length
    np.testing.assert_allclose(seen["parameters"][0, 1], distance, rtol=1e-3)

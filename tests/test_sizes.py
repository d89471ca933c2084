"""Loops of many sizes in one program are the loops of each size; the transformer's are its own."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_stl import learners, measure, problems
from icl_stl.config import Architecture, Training
from icl_stl.devices import on_host
from icl_stl.lab import runs, solvable
from icl_stl.lab.experiments import WORLDS, Kept, Loops, LoopSize, SizedLoops
from icl_stl.lab.runs import draw_replicates
from icl_stl.laws import LinearRegression
from icl_stl.laws import prompts as tasks
from icl_stl.loops import (
    Sizes,
    equal_rows,
    first_generation,
    generation_keys,
    next_generation,
    self_consume,
)
from icl_stl.regimes import AccumulateFresh, Augment, AugmentSameInputs, FreshReal, Replace
from icl_stl.studies import laboratory
from icl_stl.studies.convergence import loops as sizes
from icl_stl.studies.convergence.experiments import Distilled, SizedTransformers

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
        (lambda: replace(transformer(LoopSize(8, 8)), world="x"), "^world must be one of"),
        (lambda: distilled(1, ()), "^members must be .* at least 2, but it is 1"),
        (lambda: distilled(2, (65,)), r"^n_syns must be at most .* \(64\), but it is 65"),
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


def distilled(members=2, n_syns=(8, 64)):
    return Distilled(PROMPTS, LoopSize(8, 0), PLACES, RUNS, members, n_syns)


@pytest.fixture(scope="module")
def found():
    sizes_ = {
        "few": transformer(LoopSize(8, 8)),
        "many": transformer(LoopSize(8, 64)),
        "none": transformer(LoopSize(8, 0)),
        "new": transformer(LoopSize(8, 8), "fresh"),
        "full": transformer(PLACES),
        "alone": transformer(LoopSize(16, 64, 0.0)),
        "refits": transformer(LoopSize(16, 64, 0.0), "refits"),
        "streamed": transformer(LoopSize(8, 8), "streamed"),
    }
    return {name: sizes.run_experiment(one, 3) for name, one in sizes_.items()}


def test_generation_0_does_not_depend_on_what_comes_later(found):
    for name in ("many", "none", "new"):
        for quantity in ("excess_nll", "drift", "excess_squared_risk"):
            np.testing.assert_array_equal(found[name][quantity][:, 0], found["few"][quantity][:, 0])
    nll = {name: own["excess_nll"] for name, own in found.items()}
    assert np.all(nll["many"][:, 1] != nll["few"][:, 1])
    assert np.all(nll["new"][:, 1] != nll["few"][:, 1])
    assert np.all(nll["full"][:, 0] != nll["few"][:, 0])


def test_a_streamed_loop_starts_with_all_places_and_goes_on_with_its_size(found):
    nll = {name: own["excess_nll"] for name, own in found.items()}
    np.testing.assert_array_equal(nll["streamed"][:, 0], nll["full"][:, 0])
    assert np.all(nll["streamed"][:, 1] != nll["full"][:, 1])


def test_refits_are_all_beside_generation_0(found):
    nll = {name: own["excess_nll"] for name, own in found.items()}
    np.testing.assert_array_equal(nll["refits"][:, :2], nll["alone"][:, :2])
    assert np.all(nll["refits"][:, 2] != nll["alone"][:, 2])


@pytest.mark.parametrize(
    ("name", "regime"), [("full", Augment(0.2)), ("alone", Replace(4.0))], ids=["real", "none"]
)
def test_full_places_are_the_loop_of_the_regime(found, name, regime, assert_close):
    learner = PROMPTS.learner
    replicates = draw_replicates(PROMPTS, PLACES.samples, RUNS, 3)
    key, _, real, (test, bayes) = jax.tree.map(lambda a: a[0], replicates)

    @jax.jit
    def excess(params):
        laws = measure.predictions(learner, params, test)
        return jnp.mean(measure.normal_kl(bayes, laws)), (laws.mean - bayes.mean) ** 2

    generation = first_generation(key, learner, real)
    for i in range(3):
        if i:
            generation = next_generation(key, learner, regime, real, generation.params, i)
        nll, squares = excess(generation.params)
        assert_close(nll, found[name]["excess_nll"][0, i])
        assert_close(squares.mean(0), found[name]["excess_squared_risk"][0, i])


def test_programs_are_compiled_once_for_all_sizes():
    before = sizes._program.cache_info()
    sizes.run_experiment(transformer(LoopSize(3, 5), generations=0), 3)
    after = sizes._program.cache_info()
    assert after.misses == before.misses
    assert after.hits == before.hits + 1


def test_an_average_has_the_mean_of_its_members_and_the_variance_of_their_mixture(assert_close):
    seen = sizes.run_distilled(distilled(), 3)
    assert seen["excess_nll"].shape == seen["diverged_at"].shape == (RUNS, 3)
    replicates = draw_replicates(PROMPTS, PLACES.samples, RUNS, 3)
    key, _, real, (test, bayes) = jax.tree.map(lambda a: a[0], replicates)
    weights, learner = jnp.where(jnp.arange(16) < 8, 1 / 8, 0.0), PROMPTS.learner

    @jax.jit
    def member(key):
        return measure.predictions(learner, learner.fit(key, real, weights), test)

    one, two = (member(generation_keys(key, k).fit) for k in range(2))
    mean = (one.mean + two.mean) / 2
    spread = (one.std**2 + two.std**2) / 2 + (one.mean - two.mean) ** 2 / 4
    nll = jnp.mean(measure.normal_kl(bayes, one._replace(mean=mean, std=spread**0.5)))
    assert_close(nll, seen["excess_nll"][0, 0])
    assert_close(jnp.mean((mean - bayes.mean) ** 2, axis=0), seen["excess_squared_risk"][0, 0])
    assert len(set(seen["excess_nll"][0].tolist())) == 3


def test_what_is_distilled_learns_from_all_members():
    """Of two members that write other prompts, either one changes what is distilled."""
    program, replicates = sizes.shared(distilled(), 3)
    numbers = runs.numbers_of_size(LoopSize(8, 8)).each(RUNS)
    states = [program.nothing]
    for k in range(2):
        states.append(program.step(replicates, states[-1], numbers, np.int32(k))[0])
    first, second = (state.params for state in on_host(states[1:]))
    distil = sizes._distilling(PROMPTS, PLACES, 2)

    def nll(*fits):
        both = jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *fits)
        return np.asarray(distil(replicates, both, numbers, np.int32(2))["excess_nll"])

    both, one = nll(first, second), nll(first, first)
    assert np.all(both[:, 1] != one[:, 1])
    assert np.all(nll(second, second)[:, 1] != both[:, 1])


# --- stopped and taken up again ------------------------------------------------------------------


class StoppedError(Exception):
    """A run that is killed."""


class Memory:
    """Arrays that survive a run which stops when it has saved so often."""

    def __init__(self):
        self.arrays, self.left = {}, None

    def kept(self, name, made_by=None):
        def save(arrays):
            if self.left == 0:
                raise StoppedError
            self.left = None if self.left is None else self.left - 1
            self.arrays[name] = {key: values.copy() for key, values in arrays.items()}

        return Kept(lambda: self.arrays.get(name), save, lambda: self.arrays.pop(name, None))


@pytest.mark.parametrize(
    "experiment", [transformer(LoopSize(8, 8)), distilled()], ids=["loop", "K"]
)
@pytest.mark.parametrize("saved", [0, 1, 2])
def test_a_stopped_run_loses_one_generation_and_ends_with_the_same_bits(experiment, saved):
    memory, told = Memory(), []
    memory.left = saved
    run = partial(
        laboratory.run_experiments,
        [experiment],
        3,
        kept=memory.kept,
        report=lambda text, done, total: told.append((text.rpartition(", ")[2], done, total)),
    )
    with pytest.raises(StoppedError):
        run()
    total = experiment.pieces
    assert told == [(f"generation {k}", k, total) for k in range(min(saved + 1, total))]
    assert [*memory.arrays] == [f"{experiment.name}-unfinished"] * bool(saved)
    memory.left = None
    told.clear()
    (seen,) = run().values()
    assert told[:-1] == [(f"generation {k}", k, total) for k in range(saved, total)]
    assert told[-1][1:] == (total, total)
    assert [*memory.arrays] == [experiment.name]
    for name, values in experiment.run(3).items():
        np.testing.assert_array_equal(seen[name], values)

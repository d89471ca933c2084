"""Regimes that choose their rows, sizes that leave places empty: in every way to run a loop."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_stl import loops
from icl_stl.lab import runs, solvable
from icl_stl.lab.experiments import Job
from icl_stl.learners import gaussian_mean
from icl_stl.loops import Sizes, coupled, first_generation, next_generation, self_consume
from icl_stl.models import causal
from icl_stl.problems import GaussianMean
from icl_stl.regimes import Augment, Regime

KEY = jax.random.key(4)
MEAN = gaussian_mean()
REAL = jnp.linspace(-1.0, 2.0, 6)
LAST = 3


@dataclass(frozen=True)
class Half(Regime):
    """As many rows as real ones, half of the objective."""

    def synthetic_size(self, samples):
        return samples

    def share(self, generation):
        return 0.5


@dataclass(frozen=True)
class Near(Half):
    """Of the last generation's rows those alone that are nearer to θ_{i-1} than most."""

    def mix(self, step):
        rows, weights = super().mix(step)
        apart = jnp.abs(step.synthetic - step.params)
        near = jnp.concatenate([jnp.full(len(step.real), True), apart <= jnp.median(apart)])
        chosen = jnp.where(near, weights, 0)
        return rows, chosen / chosen.sum()

    def mean(self, real, made, params, generation):
        apart = np.abs(made - params)
        return np.concatenate([real, made[apart <= np.median(apart)]]).mean()


@dataclass(frozen=True)
class Growing(Half):
    """Of generation i - 1 its first i rows, where most places hold none."""

    def mix(self, step):
        real = (step.real, step.samples, step.share)
        return step.mixed(real, (step.synthetic, step.index, 1 - step.share))

    def mean(self, real, made, params, generation):
        return (real.mean() + made[:generation].mean()) / 2


@dataclass(frozen=True)
class Drawn(Half):
    """As many rows as there are real ones, drawn from the few that are there: all of them."""

    def mix(self, step):
        return step.drawn(step.mixed((step.real, 2, 0.5), (step.synthetic, 1, 0.5)))

    def mean(self, real, made, params, generation):
        return np.concatenate([real[:2], made[:1]]).mean()


CHOOSING = [Near(), Growing(), Drawn()]
each_regime = pytest.mark.parametrize("regime", CHOOSING, ids=repr)


def params_of(key, generation):
    return generation.params


def typed_again(regime, key=KEY, real=REAL):
    """The loop's means, row by row in NumPy."""
    means = [np.asarray(real, float).mean()]
    for i in range(1, LAST + 1):
        made = MEAN.generate(loops.generation_keys(key, i).generate, jnp.float32(means[-1]), 6)
        rows = np.asarray(real, float), np.asarray(made, float)
        means.append(regime.mean(*rows, means[-1], i))
    return np.array(means)


@each_regime
def test_rows_that_a_regime_chooses_are_those_that_are_learned_from(regime, assert_close):
    expected = typed_again(regime)
    seen = self_consume(KEY, MEAN, REAL, LAST, regime=regime, observe=params_of)
    assert_close(seen, expected)
    generation = first_generation(KEY, MEAN, REAL)
    for i in range(1, LAST + 1):
        generation = next_generation(KEY, MEAN, regime, REAL, generation.params, i)
        assert_close(generation.params, expected[i])
        assert_close(generation.row_weights.sum(), 1.0)


@each_regime
def test_coupled_loops_choose_each_its_own(regime, assert_close):
    reals = jnp.stack([REAL, REAL + 1.0, REAL**2])
    seen = coupled(KEY, MEAN, reals, LAST, regime=regime, observe=params_of)
    for k, real in enumerate(reals):
        assert_close(seen[:, k], typed_again(regime, real=real))


@each_regime
def test_loops_by_the_thousand_and_in_folders_choose_the_same(regime, tmp_path, assert_close):
    problem = GaussianMean()
    found = solvable.simulate(problem, regime, samples=6, generations=LAST, runs=3, seed=7)
    for run in range(3):
        key, _, real, _ = problem.start(jax.random.fold_in(jax.random.key(7), run), 6)
        assert_close(found["excess"][run], typed_again(regime, key, real) ** 2)
    (result,) = runs.run_loops(
        Job(problem, 6, LAST, 3), [regime], seed=7, folder=runs.Folder(tmp_path, {})
    ).values()
    for name, values in found.items():
        np.testing.assert_allclose(result[name], values, atol=1e-6)


@dataclass(frozen=True)
class Wrong(Half):
    """Weights of a half more than there are; or with one below 0; from generation 2 on."""

    below: bool = False

    def mix(self, step):
        rows, weights = super().mix(step)
        wrong = weights.at[0].add(-1).at[1].add(1) if self.below else 1.5 * weights
        return rows, jnp.where(step.index >= 2, wrong, weights)


@pytest.mark.parametrize("below", [False, True])
def test_weights_that_do_not_sum_to_one_are_refused_or_seen(below, tmp_path):
    regime = Wrong(below)
    message = r"^mix of the regime 'Half' must return weights .* but in generation 2 it"
    with pytest.raises(ValueError, match=message):
        self_consume(KEY, MEAN, REAL, LAST, regime=regime, observe=params_of)
    with pytest.raises(ValueError, match=message):
        coupled(KEY, MEAN, REAL[None], LAST, regime=regime, observe=params_of)
    next_generation(KEY, MEAN, regime, REAL, jnp.float32(0), 1)
    with pytest.raises(ValueError, match=message):
        next_generation(KEY, MEAN, regime, REAL, jnp.float32(0), 2)
    inside = jax.jit(lambda: self_consume(KEY, MEAN, REAL, 2, regime=regime, observe=params_of))()
    assert np.isfinite(inside).tolist() == [True, True, False]
    job, folder = Job(GaussianMean(), 6, 2, 2), runs.Folder(tmp_path, {})
    with pytest.raises(ValueError, match=message):
        runs.run_loops(job, [regime], seed=0, folder=folder)


def test_a_regime_is_not_accused_of_what_a_fit_did():
    lost = replace(MEAN, fit=lambda key, rows, weights: jnp.log(weights @ rows - 0.45))
    with pytest.warns(RuntimeWarning, match=r"not finite, first in generation 1:"):
        self_consume(KEY, lost, REAL, LAST, regime=Near(), observe=params_of)


@dataclass(frozen=True)
class OtherRows(Half):
    """A weight too few."""

    def mix(self, step):
        return step.real, jnp.ones(2) / 2


def test_as_many_weights_as_rows_are_asked_for():
    with pytest.raises(ValueError, match=r"^what mix of the regime 'Half' returns must be "):
        self_consume(KEY, MEAN, REAL, 1, regime=OtherRows(), observe=params_of)


# --- places that no row needs --------------------------------------------------------------------


def counting(learner):
    """A learner that says how often it generates while a program runs."""
    calls = []

    def generate(key, params, count):
        jax.debug.callback(lambda: calls.append(count))
        return learner.generate(key, params, count)

    return replace(learner, generate=generate), calls


def test_chunks_of_places_that_no_row_needs_are_not_generated(monkeypatch):
    monkeypatch.setattr(loops, "AT_ONCE", 4)
    learner, calls = counting(MEAN)

    def second(n_syn, inside=True):
        run = lambda sizes: next_generation(  # noqa: E731
            KEY, learner, Augment(0.25), REAL, jnp.float32(0), 1, sizes=sizes
        )
        calls.clear()
        sizes = Sizes(6, np.int32(n_syn), np.float32(0.5))
        found = jax.jit(run)(sizes) if inside else run(sizes)
        jax.effects_barrier()
        return np.asarray(found.training_set)[6 : 6 + n_syn], found.params, len(calls)

    many, _, calls_of_many = second(18)
    assert calls_of_many == 5
    assert len(np.unique(many)) == 18
    for n_syn, needed in ((1, 1), (4, 1), (5, 2), (9, 3)):
        few, params, made = second(n_syn)
        assert made == needed
        np.testing.assert_array_equal(few, many[:n_syn])
        np.testing.assert_allclose(params, REAL.mean() / 2 + few.mean() / 2, rtol=1e-5)
        np.testing.assert_array_equal(second(n_syn, inside=False)[0], few)


def test_chunks_of_rows_that_are_not_there_are_not_read(monkeypatch):
    monkeypatch.setattr(causal, "CHUNK", 4)
    calls = []

    def double(rows):
        jax.debug.callback(lambda: calls.append(rows.shape))
        return {"twice": 2 * rows}

    rows = jnp.arange(10.0)
    there = jnp.isin(jnp.arange(10), jnp.array([5]))
    found = jax.jit(causal.in_chunks, static_argnums=0)(double, rows, there)["twice"]
    jax.effects_barrier()
    assert len(calls) == 1
    np.testing.assert_array_equal(found, [1, 1, 1, 1, 8, 10, 12, 14, 1, 1])
    calls.clear()
    np.testing.assert_array_equal(causal.in_chunks(double, rows)["twice"], 2 * rows)
    jax.effects_barrier()
    assert len(calls) == 3

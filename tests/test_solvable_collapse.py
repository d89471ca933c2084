"""Learners of the orthogonal design, their problems, and loops in which the task is lost."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_stl import learners, problems
from icl_stl.config import Architecture, Training
from icl_stl.lab import solvable
from icl_stl.lab.experiments import Loops
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import Prompts, bayes_predictive
from icl_stl.learners.orthogonal import (
    Shrinkage,
    bayes_shrinkage,
    implied_variance,
    means_before,
    sample_labels,
)
from icl_stl.loops import self_consume
from icl_stl.models.causal import bayes, generate_labels
from icl_stl.references import attention
from icl_stl.references import collapse as exact
from icl_stl.regimes import Augment, RealOnly, Replace
from icl_stl.studies import laboratory
from icl_stl.studies.collapse import loops as collapse
from icl_stl.studies.collapse.experiments import LayerPrompts, PlugInLoops, Regeneration

DIM, REPEATS, NOISE, SCALE = 2, 3, 0.6, 1.2
TASK = LinearRegression(DIM, DIM * REPEATS, NOISE, SCALE)
SIGNAL = DIM * SCALE**2 / NOISE**2
COUNT = 20_000
KEY = jax.random.key(3)
EVEN = jnp.full(COUNT, 1 / COUNT)


def visits(count):
    return jnp.broadcast_to(
        jnp.tile(DIM**0.5 * jnp.eye(DIM), (REPEATS, 1)), (count, TASK.context, DIM)
    )


def known(plug_in):
    return bayes_shrinkage(SCALE**2, DIM, REPEATS, NOISE, plug_in=plug_in)


def learner_of(plug_in, kind=learners.empirical_bayes):
    return kind(DIM, REPEATS, NOISE, plug_in=plug_in)


@pytest.mark.parametrize("plug_in", [True, False])
def test_shrunk_means_are_the_bayes_predictor_on_visits(plug_in, assert_close):
    labels = sample_labels(KEY, 4, DIM, REPEATS, NOISE, SCALE)
    law = jax.vmap(learner_of(plug_in).predict, (None, 0))(known(plug_in), labels)
    prompts = Prompts(visits(4), labels.reshape(4, -1))
    right = jax.vmap(lambda prompt: bayes_predictive(TASK, prompt))(prompts)
    assert_close(law.mean.reshape(4, -1), right.mean)
    std = jnp.full_like(right.std, NOISE) if plug_in else right.std
    assert_close(law.std.reshape(4, -1), std)


@pytest.mark.parametrize("plug_in", [True, False])
def test_labels_have_the_law_of_those_that_the_bayes_model_writes(plug_in, assert_mean):
    """Its second moments, and those of `generate_labels`, are the covariance of the references."""
    own = learner_of(plug_in).generate(KEY, known(plug_in), COUNT).reshape(COUNT, -1)
    std = NOISE if plug_in else None
    model = generate_labels(bayes(TASK), (), KEY, visits(COUNT), plug_in_std=std).ys
    covariance = exact.label_covariance(visits(1)[0], NOISE, SCALE, plug_in=plug_in)
    for ys in (own, model):
        assert_mean(np.einsum("na,nb->nab", ys, ys, dtype=np.float64), covariance)
    other = exact.label_covariance(visits(1)[0], NOISE, SCALE, plug_in=not plug_in)
    with pytest.raises(AssertionError):
        assert_mean(np.einsum("na,nb->nab", own, own, dtype=np.float64), other)


def test_real_labels_have_the_real_law(assert_mean):
    ys = sample_labels(KEY, COUNT, DIM, REPEATS, NOISE, SCALE).reshape(COUNT, -1)
    covariance = exact.label_covariance(visits(1)[0], NOISE, SCALE, plug_in=False)
    assert_mean(np.einsum("na,nb->nab", ys, ys, dtype=np.float64), covariance)


def log_marginal(variance, labels, weights):
    covariance = exact.label_covariance(visits(1)[0], NOISE, variance**0.5, plug_in=False)
    ys = np.asarray(labels, np.float64).reshape(len(labels), -1)
    square = np.einsum("na,an->n", ys, np.linalg.solve(covariance, ys.T))
    return -(np.asarray(weights, np.float64) @ square + np.linalg.slogdet(covariance)[1]) / 2


def test_the_fitted_prior_maximises_the_marginal_likelihood(assert_close):
    labels = sample_labels(KEY, 5, DIM, REPEATS, NOISE, SCALE)
    weights = jnp.array([0.1, 0.4, 0.0, 0.3, 0.2])
    best = float(implied_variance(labels, weights, NOISE))
    here = log_marginal(best, labels, weights)
    assert here > max(log_marginal(best * f, labels, weights) for f in (0.97, 1.03))
    fitted = learner_of(True).fit(KEY, labels, weights)
    assert_close(fitted.factors, exact.shrinkage(DIM * best / NOISE**2, REPEATS))
    nothing = learner_of(True).fit(KEY, jnp.zeros_like(labels), weights)
    assert float(jnp.abs(nothing.factors).max()) == 0


@pytest.mark.parametrize("plug_in", [True, False])
def test_least_squares_solves_each_visit_by_itself(plug_in, assert_close):
    labels = sample_labels(KEY, 6, DIM, REPEATS, NOISE, SCALE)
    weights = jnp.array([0.1, 0.3, 0.0, 0.3, 0.2, 0.1])
    fitted = learner_of(plug_in, learners.shrinkage).fit(KEY, labels, weights)
    ys, w = np.asarray(labels, np.float64), np.sqrt(np.asarray(weights, np.float64))
    assert fitted.factors[0] == 0
    for k in range(1, REPEATS):
        mean = ys[:, :k].mean(1)
        a, b = (w[:, None] * mean).ravel(), (w[:, None] * ys[:, k]).ravel()
        (factor,), (left,) = np.linalg.lstsq(a[:, None], b, rcond=None)[:2]
        assert_close(fitted.factors[k], factor)
        assert_close(fitted.std[k], NOISE if plug_in else (left / DIM) ** 0.5)
    np.testing.assert_allclose(means_before(labels)[:, 2], ys[:, :2].mean(1), rtol=1e-5)


def test_implied_variance_is_unbiased_on_real_prompts(assert_mean):
    labels = sample_labels(KEY, COUNT, DIM, REPEATS, NOISE, SCALE)
    each = jax.vmap(lambda one: implied_variance(one[None], jnp.ones(1), NOISE))(labels)
    assert_mean(each, SCALE**2)
    np.testing.assert_allclose(
        float(implied_variance(labels, EVEN, NOISE)), np.asarray(each, float).mean(), rtol=1e-4
    )


# Problems: exact risks by Monte Carlo; the parameters are no best ones.

PROBLEM = problems.EmpiricalBayes(DIM, REPEATS, NOISE, prior_scale=SCALE)
PARAMS = Shrinkage(jnp.array([0.0, 0.5, 0.9]), jnp.array([0.6, 0.8, 0.7]))
PREVIOUS = Shrinkage(jnp.array([0.0, 0.9, 0.4]), jnp.array([1.0, 0.7, 0.5]))


def test_risks_are_mean_losses(assert_mean):
    real = PROBLEM.draw(KEY, (), COUNT)
    assert_mean(PROBLEM.loss(PARAMS, real), PROBLEM.risk((), PARAMS))
    made = PROBLEM.learner.generate(KEY, PREVIOUS, COUNT)
    assert_mean(PROBLEM.loss(PARAMS, made), PROBLEM.synthetic_risk(PREVIOUS, PARAMS))
    with pytest.raises(AssertionError):
        assert_mean(PROBLEM.loss(PARAMS, made), PROBLEM.risk((), PARAMS))
    best = PROBLEM.best(())
    more = PROBLEM.risk((), PARAMS) - PROBLEM.risk((), best)
    assert float(PROBLEM.excess((), PARAMS)) == pytest.approx(float(more), rel=1e-5)
    closed = NOISE**2 * exact.excess_error(np.asarray(PARAMS.factors, float), SIGNAL)
    assert float(PROBLEM.excess((), PARAMS)) == pytest.approx(float(closed), rel=1e-5)


def test_total_variations_are_those_of_whole_prompts():
    keys = jax.random.split(KEY, 2000)
    drift = jax.jit(jax.vmap(lambda key: PROBLEM.drift(key, (), known(True))))(keys)
    none = jax.vmap(lambda key: PROBLEM.drift(key, (), known(False)))(keys)
    assert float(jnp.abs(none).max()) < 1e-5
    # Independent: E_real (1 - p_plug/p_real)_+, densities from the covariances.
    ys = np.asarray(PROBLEM.draw(KEY, (), COUNT), np.float64).reshape(COUNT, -1)

    def log_density(plug_in):
        covariance = exact.label_covariance(visits(1)[0], NOISE, SCALE, plug_in=plug_in)
        square = np.einsum("na,an->n", ys, np.linalg.solve(covariance, ys.T))
        return -(square + np.linalg.slogdet(covariance)[1]) / 2

    other = np.maximum(0, -np.expm1(log_density(True) - log_density(False)))
    spread = np.hypot(other.std() / COUNT**0.5, np.std(drift) / len(keys) ** 0.5)
    assert float(drift.mean()) == pytest.approx(other.mean(), abs=5 * spread)


# Loops.


def observed(problem, regime, plug_in, generations=3):
    of = problem(DIM, REPEATS, NOISE, SCALE, plug_in)
    experiment = Loops(of, regime, 1000, generations, 40, "implied")
    found = solvable.run_experiment(experiment, 0)
    return {name: values.astype(np.float64) for name, values in found.items()}


@pytest.mark.parametrize(
    ("regime", "plug_in", "alpha"),
    [(Replace(), True, 0.0), (Augment(0.5), True, 0.5), (Replace(), False, 0.0)],
)
def test_a_fitted_prior_follows_its_recursion(regime, plug_in, alpha, assert_mean):
    fitted = observed(problems.EmpiricalBayes, regime, plug_in)["fitted"] * SIGNAL / SCALE**2
    path = exact.signal_path(SIGNAL, REPEATS, 3, alpha, plug_in=plug_in)
    assert_mean(fitted, path)
    wrong = exact.signal_path(SIGNAL, REPEATS, 3, alpha, plug_in=not plug_in)
    with pytest.raises(AssertionError):
        assert_mean(fitted[:, 1:], wrong[1:])


def test_least_squares_is_blind_to_what_its_prompts_lost(assert_mean):
    found = observed(problems.Shrinkage, Augment(0.5), True)
    lost = exact.refit(SIGNAL, REPEATS)
    assert_mean(found["written"] * SIGNAL / SCALE**2, np.full(4, lost))
    bayes_risk = float(PROBLEM.risk((), PROBLEM.best(())))
    assert found["excess"].mean(0).max() < 0.002 * bayes_risk
    assert lost < 0.2 * SIGNAL


def test_what_prompts_imply_is_asked_of_problems_that_have_a_task():
    with pytest.raises(ValueError, match="implied is None"):
        solvable.implied_variances(problems.Ols(2), 10)


def test_a_loop_without_generations_is_its_first():
    def observe(key, generation):
        return generation.params.factors

    real = PROBLEM.draw(KEY, (), 50)
    seen = [
        self_consume(KEY, PROBLEM.learner, real, g, regime=Replace(), observe=observe)
        for g in (0, 2)
    ]
    assert seen[0].shape == (1, REPEATS)
    np.testing.assert_array_equal(seen[0][0], seen[1][0])


def test_prompts_read_again_have_their_variances(assert_mean):
    experiment = Regeneration(DIM, REPEATS, 1.0, 0.6, 1000, 3, (0.0, 0.3), 40)
    unit = DIM * REPEATS
    found = {
        name: values * unit
        for name, values in laboratory.run_experiments([experiment], 0)[experiment].items()
    }
    u = unit * 0.6**2
    expected = {
        "frozen": exact.regenerated(u, 3),
        "sampled": np.full(4, u),
        "refitted_0.0": exact.reread(u, 3, 0.0),
        "refitted_0.3": exact.reread(u, 3, 0.3),
    }
    assert found.keys() == expected.keys()
    for name, path in expected.items():
        assert_mean(found[name], path)
    with pytest.raises(AssertionError):
        assert_mean(found["frozen"], expected["sampled"])


def test_prompts_of_linear_attention_have_their_moments(assert_mean):
    noises = ((0.5,) * 4, (1.0, 0.9, 0.8, 0.7))
    experiment = LayerPrompts(2, 0.5, 1.0, noises, 0.4, 0.3, 1000, 2, 40)
    found = collapse.layer_prompts(experiment, 0)
    for v, own in enumerate(noises):
        layers = attention.second_moments(0.4 * np.eye(2), own)
        squares = np.trace(layers[1:4], axis1=1, axis2=2) * np.arange(1, 4) ** 2
        assert_mean(found["squares"][:, v, 0], squares)
        path = attention.refit(
            0.4, 2, alpha=0.3, dim=2, labels=4, tau=1.0, sigma=0.5, noises=own
        ).gamma
        # A ratio of means over 1000 prompts: its bias is of the order of 1/1000.
        seen = found["gamma"][:, v]
        stderr = seen.std(0) / len(seen) ** 0.5
        assert np.all(np.abs(seen.mean(0) - path[1:]) < 5 * stderr + 0.002)


PROMPTS = problems.InContext(
    LinearRegression(dim=1, context=3),
    Architecture(depth=1, width=4, heads=1),
    Training(steps=5, batch=4),
    held_out=16,
)


def test_plug_in_transformers_start_as_the_main_job():
    from icl_stl.lab import runs  # noqa: PLC0415

    found = collapse.plug_in_loops(PlugInLoops(PROMPTS, 16, (0.5, 0.0), 1, 2), 0)
    assert all(values.shape == (2, 2, 2) for values in found.values())
    for values in found.values():  # the first generation knows nothing of the share
        np.testing.assert_allclose(values[:, 0, 0], values[:, 1, 0], rtol=1e-5)
        assert np.isfinite(values).all()
    assert not np.allclose(found["drift"][:, 0, 1], found["drift"][:, 1, 1])
    replicates = runs.draw_replicates(PROMPTS, 16, 2, 0)
    for plug_in in (True, False):
        problem = dataclasses.replace(PROMPTS, plug_in=plug_in)
        state = runs.before_generation_0(problem, RealOnly(), replicates, 0)
        numbers = runs.Numbers(np.float32(1)).each(2)
        step = runs.generation_step(problem, RealOnly())
        seen = step(replicates, state, numbers, np.int32(0))[1]
        if plug_in:
            same = seen["implied_task_variance"]
            np.testing.assert_allclose(found["implied_task_variance"][:, 0, 0], same, rtol=1e-3)
        error = np.asarray(seen["excess_squared_risk"]).mean(-1)
        np.testing.assert_allclose(found["excess_squared_risk"][:, 0, 0], error, rtol=1e-3)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: learners.empirical_bayes(0, 2, 1.0), "dim .* 0"),
        (lambda: learners.empirical_bayes(2, 0, 1.0), "repeats .* 0"),
        (lambda: learners.shrinkage(2, 2, -1.0), "noise .* -1.0"),
        (lambda: Regeneration(2, 2, 1.0, 1.0, 0, 3, (), 4), "prompts .* 0"),
        (lambda: LayerPrompts(2, 1.0, 1.0, ((1.0,),), 0.1, 0.3, 5, 1, 2), "noises"),
        (lambda: LayerPrompts(2, 1.0, 1.0, ((1.0, 1.0),), 0.1, 1.3, 5, 1, 2), "alpha .* 1.3"),
        (lambda: PlugInLoops(PROMPTS, 16, (0.5, 1.2), 1, 2), "shares"),
        (lambda: PlugInLoops(PROMPTS, 16, (0.5,), 0, 2), "generations .* 0"),
    ],
)
def test_bad_arguments_are_refused(make, complaint):
    with pytest.raises(ValueError, match=complaint):
        make()

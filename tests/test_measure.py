from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import STANDARD_ERRORS, label_covariance, unit_lower_factor
from scipy import integrate, stats

from icl_stl import measure
from icl_stl.intervals import empirical_bernstein
from icl_stl.laws import LinearRegression
from icl_stl.laws import prompts as tasks
from icl_stl.laws.prompts import Normal, Prompts, label_log_densities, sample_inputs
from icl_stl.learners import Learner, bayes_learner
from icl_stl.loops import Generation, self_consume
from icl_stl.measure import (
    bounded_loss,
    deficiency,
    measure_generation,
    normal_kl,
    predictions,
    prefix_log_densities,
)
from icl_stl.models import causal as models
from icl_stl.models.causal import InContextModel, bayes, generate_labels
from icl_stl.regimes import Augment

TASK = LinearRegression(dim=2, context=4, noise=0.5)
SPHERE = LinearRegression(dim=3, context=5, noise=0.4, prior_scale=1.5, inputs="sphere")
COUNT = 4_000

draw_held_out = jax.jit(measure.draw_held_out, static_argnums=(0, 2))
sample_prompts = jax.jit(tasks.sample_prompts, static_argnums=(0, 2))

both_inputs = pytest.mark.parametrize("task", [TASK, SPHERE], ids=["gaussian", "sphere"])


# A learner of known drift: its parameter is a shift c, and the law of every label is that of Bayes
# moved by c of its own standard deviations. Given the inputs, the standardised innovations of the
# labels are then N(c, 1) and independent, where those of the real law are N(0, 1).


def shifted_bayes(task):
    exact = bayes(task)

    def moved(shift, law):
        return Normal(law.mean + shift * law.std, law.std)

    def step(shift, state, k, token):
        state, law = exact.step((), state, k, token)
        return state, moved(shift, law)

    def predict(shift, prompt):
        return moved(shift, exact.predict((), prompt))

    model = InContextModel(lambda key: jnp.zeros(()), predict, exact.start, step)

    def generate(key, shift, count):
        key_xs, key_ys = jax.random.split(key)
        xs = sample_inputs(task, key_xs, count, task.context)
        return generate_labels(model, shift, key_ys, xs)

    return Learner(lambda key, data, weights: jnp.zeros(()), generate, predict)


def measured(task, shift, previous, real_share, *, key=0, count=COUNT, rows=8):
    """Measure a generation of the shifted learner, after one with another shift."""
    learner = shifted_bayes(task)
    key_test, key_rows, key_fresh = jax.random.split(jax.random.key(key), 3)
    generation = Generation(
        jnp.asarray(shift),
        jnp.asarray(previous),
        sample_prompts(task, key_rows, rows),
        jnp.full(rows, 1 / rows),
    )
    held_out = draw_held_out(task, key_test, count)
    return measure_generation(task, learner, held_out, key_fresh, generation, real_share=real_share)


measured = jax.jit(measured, static_argnums=(0, 3), static_argnames=("count", "rows"))


def held_out_of_measured(task, count):
    return draw_held_out(task, jax.random.split(jax.random.key(0), 3)[0], count)


def normal_tv(distance):
    """TV between normal laws of unit variance at this distance."""
    return 2 * stats.norm.cdf(np.abs(distance) / 2) - 1


def mixture_tv(shift, previous, real_share, labels):
    """TV between N(c, 1) and α N(0, 1) + (1 - α) N(c', 1) for so many labels, by quadrature.

    All three laws differ along the diagonal alone.
    """
    scale = labels**0.5

    def half_gap(u):
        mixture = real_share * stats.norm.pdf(u)
        mixture += (1 - real_share) * stats.norm.pdf(u, scale * previous)
        return abs(stats.norm.pdf(u, scale * shift) - mixture) / 2

    return integrate.quad(half_gap, -15, 15, limit=500, epsabs=1e-9)[0]


def assert_estimates(estimate, count, expected):
    """As expected, within standard errors by the estimate's own variance."""
    stderr = np.sqrt(np.asarray(estimate.variance, np.float64) / count)
    assert np.all(np.abs(np.asarray(estimate.mean) - expected) <= STANDARD_ERRORS * stderr)


@both_inputs
@pytest.mark.parametrize("shift", [0.3, -0.8])
def test_drift_of_every_prefix_is_the_total_variation(task, shift):
    result = measured(task, shift, 0.0, 0.5)
    lengths = np.array(task.prefixes)
    assert_estimates(result.drift, COUNT, normal_tv(shift * lengths**0.5))
    with pytest.raises(AssertionError):
        assert_estimates(result.drift, COUNT, normal_tv(1.2 * shift * lengths**0.5))


@pytest.mark.parametrize("real_share", [0.0, 0.3, 1.0])
def test_one_step_error_is_the_distance_to_the_mixture(real_share):
    shift, previous = 0.9, 0.4
    result = measured(TASK, shift, previous, real_share)
    expected = [mixture_tv(shift, previous, real_share, j) for j in TASK.prefixes]
    assert_estimates(result.eps, COUNT, expected)
    # The ends of the scale are distances between two normal laws.
    for share, origin in ((0.0, previous), (1.0, 0.0)):
        ends = normal_tv((shift - origin) * np.array(TASK.prefixes) ** 0.5)
        if real_share == share:
            np.testing.assert_allclose(expected, ends, atol=1e-6)
        else:
            with pytest.raises(AssertionError):
                assert_estimates(result.eps, COUNT, ends)


def test_drift_is_the_mean_and_sample_variance_of_literal_deficiencies(assert_close):
    shift, count = 0.5, 50
    result = measured(TASK, shift, 0.2, 0.3, count=count, rows=2)
    held_out = held_out_of_measured(TASK, count)
    ys, mean, std = (np.asarray(a, np.float64) for a in (held_out.prompts.ys, *held_out.bayes))
    log_ratios = np.cumsum(shift * (ys - mean) / std - shift**2 / 2, axis=1)
    values = np.maximum(0, 1 - np.exp(log_ratios))[:, np.array(TASK.prefixes) - 1]
    assert_close(result.drift.mean, values.mean(axis=0))
    assert_close(result.drift.variance, values.var(axis=0, ddof=1))


def test_drift_is_unbiased_and_its_interval_covers(assert_mean):
    shift, count, repeats = 0.4, 50, 200
    runs = jax.lax.map(
        lambda key: measured(TASK, shift, 0.2, 0.3, key=key, count=count, rows=2),
        jnp.arange(repeats),
    )
    for estimate, expected in (
        (runs.drift, normal_tv(shift * np.array(TASK.prefixes) ** 0.5)),
        (runs.eps, np.array([mixture_tv(shift, 0.2, 0.3, j) for j in TASK.prefixes])),
    ):
        assert_mean(estimate.mean, expected)
        half = empirical_bernstein(estimate.variance, count, 0.05)
        covered = np.abs(np.asarray(estimate.mean) - expected) <= half
        assert np.all(covered.mean(axis=0) >= 0.95)


@both_inputs
def test_divergence_and_excess_risk_follow_the_shift(task, assert_close):
    shift = 0.6
    result = measured(task, shift, 0.0, 0.5)
    assert_close(result.kl, np.array(task.prefixes) * shift**2 / 2)
    held_out = held_out_of_measured(task, COUNT)
    variance = np.asarray(held_out.bayes.std, np.float64) ** 2
    assert_close(result.excess_squared_risk, shift**2 * variance.mean(axis=0))
    assert_close(result.bayes_squared_risk, variance.mean(axis=0))


def test_the_bayes_learner_has_no_drift_in_any_generation(assert_close):
    task = SPHERE
    held_out = draw_held_out(task, jax.random.key(1), 500)
    learner = bayes_learner(task)

    def observe(key, generation):
        return measure_generation(task, learner, held_out, key, generation, real_share=0.5)

    @jax.jit
    def loop(real):
        return self_consume(
            jax.random.key(2), learner, real, 2, regime=Augment(0.5), observe=observe
        )

    seen = loop(sample_prompts(task, jax.random.key(3), 8))
    for exact_zero in (seen.drift.mean, seen.eps.mean, seen.kl, seen.excess_squared_risk):
        assert exact_zero.shape[0] == 3
        # Chunking rounds differently; one ratio is off by its logarithm's rounding.
        assert_close(exact_zero, np.zeros(exact_zero.shape))


KEY = jax.random.key(9)


@jax.jit
def measure_bayes(held_out, rows, weights):
    generation = Generation((), (), rows, weights)
    return measure_generation(TASK, bayes_learner(TASK), held_out, KEY, generation, real_share=1.0)


def test_the_training_risk_weighs_its_rows(assert_close):
    learner = bayes_learner(TASK)
    rows = sample_prompts(TASK, jax.random.key(4), 4)
    weights = jnp.array([0.5, 0.25, 0.25, 0.0])
    held_out = draw_held_out(TASK, jax.random.key(5), 6)
    result = measure_generation(
        TASK,
        learner,
        held_out,
        jax.random.key(6),
        Generation((), (), rows, weights),
        real_share=1.0,
    )
    on_rows = literal_bounded_loss(TASK, predictions(learner, (), rows), rows)
    on_test = literal_bounded_loss(TASK, held_out.bayes, held_out.prompts)
    assert_close(result.training_risk, on_rows @ np.asarray(weights))
    assert_close(result.risk, on_test.mean())
    jax.tree.map(np.testing.assert_array_equal, result.eps, result.drift)


# The parts.


@given(log_p=st.floats(-300, 50), log_q=st.floats(-300, 50))
def test_deficiency_is_the_missing_share_of_density(log_p, log_q):
    with jax.enable_x64(True):
        actual = float(deficiency(jnp.asarray(log_p), jnp.asarray(log_q)))
    assert 0 <= actual <= 1
    ratio = np.exp(min(log_p - log_q, 700.0))
    np.testing.assert_allclose(actual, max(0.0, 1 - ratio), rtol=1e-10, atol=1e-11)


def test_deficiency_keeps_small_differences():
    # 1 - p/q would round to 0 or to a multiple of 6e-8.
    np.testing.assert_allclose(deficiency(jnp.array([-1e-9]), jnp.zeros(1)), [1e-9], rtol=1e-5)
    np.testing.assert_array_equal(deficiency(jnp.array([-jnp.inf]), jnp.zeros(1)), [1.0])


@pytest.mark.parametrize(("shift", "ratio"), [(0.0, 1.0), (1.5, 1.0), (0.0, 0.3), (-0.7, 2.5)])
def test_divergence_of_normal_laws_by_quadrature(shift, ratio):
    p, q = stats.norm(1.0, 2.0), stats.norm(1.0 + shift, 2.0 / ratio)
    expected = integrate.quad(lambda y: p.pdf(y) * (p.logpdf(y) - q.logpdf(y)), -40, 40)[0]
    laws = [Normal(*map(jnp.asarray, (law.mean(), law.std()))) for law in (p, q)]
    np.testing.assert_allclose(float(normal_kl(*laws)), expected, rtol=2e-5, atol=2e-6)


def test_predictions_do_not_depend_on_the_chunks(monkeypatch, assert_close):
    learner, prompts = shifted_bayes(TASK), sample_prompts(TASK, jax.random.key(0), 11)
    at_once = learner.predict(jnp.asarray(0.3), prompts)
    monkeypatch.setattr(models, "CHUNK", 4)
    in_chunks = predictions(learner, jnp.asarray(0.3), prompts)
    assert in_chunks.mean.shape == (11, TASK.context)
    assert_close(in_chunks.mean, at_once.mean)
    assert_close(in_chunks.std, at_once.std)


def test_only_in_context_learners_predict():
    learner = replace(bayes_learner(TASK), predict=None)
    with pytest.raises(ValueError, match="must be an in-context learner, but its predict is None"):
        predictions(learner, (), sample_prompts(TASK, jax.random.key(0), 2))


def test_prefix_densities_are_sums_over_their_labels(assert_close):
    prompts = sample_prompts(SPHERE, jax.random.key(0), 3)
    laws = draw_held_out(SPHERE, jax.random.key(0), 3).bayes
    by_label = np.asarray(label_log_densities(SPHERE, prompts), np.float64)
    expected = np.stack([by_label[:, :j].sum(axis=1) for j in (1, 2, 4, 5)], axis=1)
    assert_close(prefix_log_densities(SPHERE, laws, prompts), expected)


def literal_bounded_loss(task, laws, prompts):
    ys, means = np.asarray(prompts.ys, np.float64), np.asarray(laws.mean, np.float64)
    losses = np.zeros(len(ys))
    for i, row in enumerate(ys):
        for y, mean in zip(row, means[i], strict=True):
            losses[i] += min(1.0, (y - mean) ** 2 / (4 * task.label_variance)) / len(row)
    return losses


def test_bounded_loss_is_literal_and_bounded(assert_close):
    prompts = sample_prompts(TASK, jax.random.key(0), 50)
    wild = prompts._replace(ys=prompts.ys * jnp.logspace(-1, 2, 50)[:, None])
    laws = draw_held_out(TASK, jax.random.key(0), 50).bayes
    losses = bounded_loss(TASK, laws, wild)
    assert_close(losses, literal_bounded_loss(TASK, laws, wild))
    assert np.all((np.asarray(losses) >= 0) & (np.asarray(losses) <= 1))
    assert losses.max() > 0.9
    exact = laws._replace(mean=wild.ys)
    np.testing.assert_array_equal(bounded_loss(TASK, exact, wild), 0)


# The task variance that generated prompts imply.


def implied_by_prompt(task, prompts):
    """The statistic of every prompt alone; that of all of them is the mean."""
    alone = jax.tree.map(lambda a: a[:, None], prompts)
    return jax.jit(jax.vmap(lambda prompt: measure.implied_task_variance(task, prompt)))(alone)


def generated(learner):
    return jax.jit(learner.generate, static_argnums=2)(jax.random.key(0), (), COUNT)


def expected_given_inputs(task, xs, covariance):
    gram = np.asarray(xs, np.float64) @ np.asarray(xs, np.float64).swapaxes(1, 2)
    upper = np.triu(np.ones(gram.shape[1:]), 1)
    return (upper * gram * covariance).sum((1, 2)) / upper.sum() / task.dim


def test_implied_task_variance_is_a_mean_over_pairs(assert_close):
    prompts = sample_prompts(SPHERE, jax.random.key(0), 3)
    xs, ys = (np.asarray(a, np.float64) for a in prompts)
    pairs = [
        ys[i, j] * ys[i, k] * (xs[i, j] @ xs[i, k]) / SPHERE.dim
        for i in range(3)
        for k in range(SPHERE.context)
        for j in range(k)
    ]
    assert_close(measure.implied_task_variance(SPHERE, prompts), np.mean(pairs))


@both_inputs
def test_implied_task_variance_of_the_real_law_is_the_real_one(task, assert_mean):
    prompts = sample_prompts(task, jax.random.key(0), COUNT)
    assert_mean(implied_by_prompt(task, prompts), task.prior_scale**2)


@both_inputs
def test_implied_task_variance_collapses_for_the_plug_in_generator(task, assert_mean):
    prompts = generated(bayes_learner(task, plug_in=True))
    values = np.asarray(implied_by_prompt(task, prompts), np.float64)
    unit_lower, _ = unit_lower_factor(label_covariance(task, prompts.xs))
    covariance = task.noise**2 * unit_lower @ unit_lower.swapaxes(1, 2)
    expected = expected_given_inputs(task, prompts.xs, covariance)
    assert_mean(values - expected, 0.0)
    assert expected.mean() < task.prior_scale**2 / 2
    with pytest.raises(AssertionError, match="standard errors"):
        assert_mean(values, task.prior_scale**2)


@both_inputs
def test_implied_task_variance_of_honest_prompts_does_not_collapse(task, assert_mean):
    prompts = generated(bayes_learner(task))
    assert_mean(implied_by_prompt(task, prompts), task.prior_scale**2)


def test_measured_implied_task_variance_is_that_of_fresh_prompts(assert_close):
    rows, held_out = sample_prompts(TASK, jax.random.key(4), 4), draw_held_out(TASK, KEY, 6)
    result = measure_bayes(held_out, rows, jnp.full(4, 0.25))
    fresh = bayes_learner(TASK).generate(KEY, (), 6)
    assert isinstance(fresh, Prompts)
    expected = np.asarray(implied_by_prompt(TASK, fresh), np.float64).mean()
    assert_close(result.implied_task_variance, expected)


# --- the divergence of the mixture ---------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5])
def test_the_divergence_of_the_mixture_is_that_of_normal_laws_on_a_line(share):
    """The residuals of real labels are N(0, 1), those that θ_{i-1} wrote N(c, 1): their sum over
    the root of their number says all.
    """
    learner, previous = shifted_bayes(TASK), jnp.array(0.7)
    held_out = measure.draw_held_out(TASK, jax.random.key(8), 40_000)
    rows = sample_prompts(TASK, jax.random.key(9), 4)
    generation = Generation(jnp.array(0.3), previous, rows, jnp.full(4, 0.25))
    found = measure.measure_generation(TASK, learner, held_out, KEY, generation, real_share=share)
    t, density = np.linspace(-12, 12, 20_001), np.exp(-(np.linspace(-12, 12, 20_001) ** 2) / 2)
    for j, own in zip(TASK.prefixes, np.asarray(found.mixture_kl, float), strict=True):
        moved = 0.7 * j**0.5
        ratio = share + (1 - share) * np.exp(moved * t - moved**2 / 2)
        exact = -(density * np.log(ratio)).sum() / density.sum()
        spread = np.sqrt((density * np.log(ratio) ** 2).sum() / density.sum() / 40_000)
        assert abs(own - exact) < STANDARD_ERRORS * spread
        if share:
            assert own < -np.log(share)


def test_a_traced_share_gives_the_errors_of_a_known_one():
    known = measured(TASK, 0.3, -0.2, 0.4)

    def traced(share):
        learner = shifted_bayes(TASK)
        key_test, key_rows, key_fresh = jax.random.split(jax.random.key(0), 3)
        generation = Generation(
            jnp.asarray(0.3),
            jnp.asarray(-0.2),
            sample_prompts(TASK, key_rows, 8),
            jnp.full(8, 1 / 8),
        )
        held_out = measure.draw_held_out(TASK, key_test, COUNT)
        return measure_generation(
            TASK, learner, held_out, key_fresh, generation, real_share=share
        ).eps

    both = jax.jit(jax.vmap(traced))(jnp.array([0.4, 1.0]))
    np.testing.assert_allclose(both.mean[0], known.eps.mean, rtol=1e-4)
    assert_estimates(
        jax.tree.map(lambda a: a[1], both), COUNT, measured(TASK, 0.3, 0.0, 1.0).drift.mean
    )

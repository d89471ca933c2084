import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import TASKS, label_covariance, posterior_predictive, task_name, whitened
from scipy import stats

from icl_stl import tasks
from icl_stl.tasks import Normal, sample_inputs

COUNT = 20_000

sample_prompts = jax.jit(tasks.sample_prompts, static_argnums=(0, 2))
bayes_predictive = jax.jit(tasks.bayes_predictive, static_argnums=0)
label_log_densities = jax.jit(tasks.label_log_densities, static_argnums=0)

each_task = pytest.mark.parametrize("task", TASKS, ids=task_name)


@pytest.fixture(scope="module")
def prompts_of():
    return {task: sample_prompts(task, jax.random.key(1), COUNT) for task in TASKS}


@each_task
def test_inputs_are_isotropic_and_independent(task, prompts_of, assert_mean):
    xs = np.asarray(prompts_of[task].xs)
    d = task.dim
    assert xs.shape == (COUNT, task.context, d)
    assert_mean(xs, np.zeros(xs.shape[1:]))
    assert_mean(np.einsum("nma,nmb->nmab", xs, xs), np.tile(np.eye(d), (task.context, 1, 1)))
    if task.inputs == "gaussian" or d > 1:
        products = np.einsum("nd,nd->n", xs[:, 0], xs[:, 1])
        assert_mean(products, 0.0)
        assert_mean(products**2, d)


@each_task
def test_inputs_have_the_radius_of_their_law(task, prompts_of, assert_close, assert_mean):
    squared = jnp.sum(prompts_of[task].xs ** 2, axis=-1)
    if task.inputs == "sphere":
        assert_close(squared, np.full(squared.shape, task.dim))
    else:
        assert_mean(squared**2, task.dim * (task.dim + 2))


@each_task
def test_labels_have_their_marginal_moments(task, prompts_of, assert_mean):
    ys = np.asarray(prompts_of[task].ys)
    assert ys.shape == (COUNT, task.context)
    assert_mean(ys, 0.0)
    assert_mean(ys**2, task.label_variance)


@each_task
def test_labels_given_inputs_have_their_joint_law(task, prompts_of, assert_mean):
    white = whitened(task, prompts_of[task])
    assert_mean(white, 0.0)
    assert_mean(np.einsum("nj,nk->njk", white, white), np.eye(task.context))
    assert_mean(white**4, 3.0)


@each_task
def test_one_task_a_prompt_and_none_shared(task, prompts_of, assert_mean):
    prompts = prompts_of[task]
    xs, ys = np.asarray(prompts.xs), np.asarray(prompts.ys)
    alignment = ys[:, 0] * ys[:, 1] * np.einsum("nd,nd->n", xs[:, 0], xs[:, 1]) / task.dim
    assert_mean(alignment, task.prior_scale**2)
    odd, even = (ys[i::2, 0, None] * xs[i::2, 0] for i in (0, 1))
    assert_mean(np.einsum("nd,nd->n", odd, even), 0.0)


def test_sampling_is_a_function_of_its_key():
    task = TASKS[2]
    one, again, other = (sample_prompts(task, jax.random.key(seed), 4) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.ys, again.ys)
    np.testing.assert_array_equal(one.xs, again.xs)
    assert not np.any(np.asarray(one.ys) == np.asarray(other.ys))


def test_inputs_take_any_shape():
    task = TASKS[1]
    assert sample_inputs(task, jax.random.key(0), 2, 3, 4).shape == (2, 3, 4, task.dim)
    assert sample_inputs(task, jax.random.key(0)).shape == (task.dim,)


@pytest.mark.usefixtures("x64")
@each_task
def test_label_density_of_every_prefix_is_the_multivariate_normal(task, assert_close):
    prompts = sample_prompts(task, jax.random.key(2), 5)
    cumulated = np.cumsum(label_log_densities(task, prompts), axis=1)
    covariance = label_covariance(task, prompts.xs)
    ys = np.asarray(prompts.ys)
    expected = [
        [
            stats.multivariate_normal(cov=covariance[i, :j, :j]).logpdf(ys[i, :j])
            for j in range(1, task.context + 1)
        ]
        for i in range(5)
    ]
    assert_close(cumulated, expected)


def predictive_by_solving(task, prompt):
    laws = [
        posterior_predictive(task, prompt.xs[:k], prompt.ys[:k]) for k in range(1, task.context + 1)
    ]
    return Normal(*np.array(laws).T)


@pytest.mark.usefixtures("x64")
@each_task
def test_bayes_predictive_solves_the_posterior_at_every_length(task, assert_close):
    prompts = sample_prompts(task, jax.random.key(3), 3)
    for i in range(3):
        prompt = jax.tree.map(lambda a, i=i: a[i], prompts)
        law, expected = bayes_predictive(task, prompt), predictive_by_solving(task, prompt)
        assert_close(law.mean, expected.mean)
        assert_close(law.std, expected.std)


@each_task
def test_bayes_predictive_survives_single_precision(task, assert_close):
    prompt = jax.tree.map(lambda a: a[0], sample_prompts(task, jax.random.key(4), 1))
    law, expected = bayes_predictive(task, prompt), predictive_by_solving(task, prompt)
    assert law.mean.dtype == jnp.float32
    assert_close(law.mean, expected.mean)
    assert_close(law.std, expected.std)


@given(
    y=st.floats(-20, 20, width=32),
    mean=st.floats(-20, 20, width=32),
    std=st.floats(0.125, 20, width=32),
)
def test_normal_log_density(y, mean, std):
    with jax.enable_x64(True):
        law = Normal(jnp.asarray(mean), jnp.asarray(std))
        actual = float(law.log_density(jnp.asarray(y)))
    np.testing.assert_allclose(actual, stats.norm.logpdf(y, mean, std), rtol=1e-10, atol=1e-11)

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import TASKS, label_covariance, posterior_predictive, task_name, whitened
from scipy import stats

from icl_stl.laws import LinearRegression
from icl_stl.laws import prompts as tasks
from icl_stl.laws.prompts import Normal, sample_inputs, sample_noise, sample_tasks

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


# Tasks on the sphere and uniform noise: the same second moments, no exact predictor.

BOUNDED = [
    LinearRegression(dim=3, context=4, noise=0.6, prior_scale=3**-0.5, tasks="sphere"),
    LinearRegression(dim=2, context=3, noise=1.0, prior_scale=0.5, noise_law="uniform"),
    LinearRegression(2, 4, 1.0, 0.7, inputs="sphere", tasks="sphere", noise_law="uniform"),
]

each_bounded = pytest.mark.parametrize("task", BOUNDED, ids=lambda t: f"{t.tasks}-{t.noise_law}")


@pytest.mark.parametrize(("dim", "scale"), [(1, 2.0), (3, 0.7), (4, 0.5)])
def test_tasks_on_the_sphere_have_the_radius_of_their_law(dim, scale, assert_mean):
    task = LinearRegression(dim=dim, prior_scale=scale, tasks="sphere")
    ws = np.asarray(sample_tasks(task, jax.random.key(0), COUNT))
    assert ws.shape == (COUNT, dim)
    np.testing.assert_allclose(np.linalg.norm(ws, axis=1), scale * dim**0.5, rtol=1e-6)
    assert_mean(ws, np.zeros(dim))
    if dim > 1:  # of one coordinate the square is exact
        assert_mean(np.einsum("na,nb->nab", ws, ws), scale**2 * np.eye(dim))
        # E w_1⁴ = 3 τ⁴ d/(d + 2) on the sphere.
        assert_mean(ws**4, 3 * scale**4 * dim / (dim + 2))


def test_normal_tasks_have_the_scale_of_the_prior(assert_mean):
    ws = np.asarray(sample_tasks(LinearRegression(prior_scale=0.7), jax.random.key(0), COUNT))
    assert_mean(ws, 0.0)
    assert_mean(ws**2, 0.7**2)
    assert_mean(ws**4, 3 * 0.7**4)


@pytest.mark.parametrize(("law", "fourth"), [("gaussian", 3.0), ("uniform", 9 / 5)])
def test_noise_has_unit_variance(law, fourth, assert_mean):
    task = LinearRegression(noise=0.3, noise_law=law)
    noise = np.asarray(sample_noise(task, jax.random.key(0), (COUNT, 2)))
    assert noise.shape == (COUNT, 2)
    assert_mean(noise, 0.0)
    assert_mean(noise**2, 1.0)
    assert_mean(noise**4, fourth)
    assert_mean(noise[:, 0] * noise[:, 1], 0.0)
    assert (np.abs(noise).max() <= np.float32(3**0.5)) == (law == "uniform")


@each_bounded
def test_labels_of_bounded_laws_have_the_same_second_moments(task, assert_mean):
    prompts = sample_prompts(task, jax.random.key(5), COUNT)
    assert_mean(prompts.ys, 0.0)
    assert_mean(np.asarray(prompts.ys) ** 2, task.label_variance)
    white = whitened(task, prompts)
    assert_mean(np.einsum("nj,nk->njk", white, white), np.eye(task.context))


@each_bounded
def test_fourth_moments_tell_bounded_laws_apart(task, assert_mean):
    ys = np.asarray(sample_prompts(task, jax.random.key(6), COUNT).ys, np.float64)
    # <w, x> = |w| |x| cos: independent factors, E cos⁴ = 3/(d (d + 2)).
    d, tau, sigma = task.dim, task.prior_scale, task.noise
    normal, sphere = d * (d + 2), d**2
    fourth = 3 * tau**4 / (d * (d + 2))
    fourth *= sphere if task.tasks == "sphere" else normal
    fourth *= sphere if task.inputs == "sphere" else normal
    kurtosis = 9 / 5 if task.noise_law == "uniform" else 3
    expected = fourth + 6 * tau**2 * d * sigma**2 + kurtosis * sigma**4
    assert_mean(ys**4, expected)
    with pytest.raises(AssertionError):
        assert_mean(ys**4, 3 * task.label_variance**2 + 6 * d * tau**4)  # all normal


@each_bounded
def test_bounded_laws_have_no_exact_predictor(task):
    message = (
        "^tasks and noise_law must be 'gaussian' for the exact Bayes predictor, but they are "
        f"{task.tasks!r} and {task.noise_law!r}"
    )
    prompts = sample_prompts(task, jax.random.key(7), 2)
    with pytest.raises(ValueError, match=message):
        tasks.prior(task)
    with pytest.raises(ValueError, match=message):
        label_log_densities(task, prompts)
    with pytest.raises(ValueError, match=message):
        bayes_predictive(task, jax.tree.map(lambda a: a[0], prompts))


def test_a_reshaped_draw_has_the_bits_of_any_normal_draw():
    drawn = tasks.standard_normal(jax.random.key(3), 2, 3, 4)
    np.testing.assert_array_equal(drawn, jax.random.normal(jax.random.key(3), (2, 3, 4)))


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

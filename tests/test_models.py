from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import TASKS, label_covariance, task_name, unit_lower_factor

from icl_stl.config import Architecture, QueryArchitecture
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import Prompts, sample_inputs, sample_prompts
from icl_stl.models import causal as models
from icl_stl.models.causal import (
    Attention,
    bayes,
    causal_attention,
    generate_labels,
    tokens,
    transformer,
)
from icl_stl.models.query import query_transformer

TASK = LinearRegression(dim=2, context=4, noise=0.5)
ARCHITECTURE = Architecture(depth=2, width=8, heads=2)
QUERY = QueryArchitecture(depth=2, width=8, heads=2, mlp=8)
MODELS = {
    "transformer": transformer(TASK, ARCHITECTURE),
    "query": query_transformer(TASK, QUERY),
    "query, causal": query_transformer(
        TASK, replace(QUERY, attention="causal", norm=True, cap=1.0)
    ),
    "bayes": bayes(TASK),
}

each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
each_task = pytest.mark.parametrize("task", TASKS, ids=task_name)


def params_of(model, seed=0):
    """Parameters at initialisation, moved at random so that none is at its special first value."""
    params = jax.jit(model.init)(jax.random.key(seed))
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda a: jnp.asarray(np.asarray(a) + 0.1 * rng.standard_normal(a.shape), a.dtype), params
    )


def predict_all(model, params, prompts):
    return jax.jit(model.predict)(params, prompts)


def predict_one(model, params, prompt):
    law = model.predict(params, jax.tree.map(lambda a: a[None], prompt))
    return jax.tree.map(lambda a: a[0], law)


def one_prompt(seed=1):
    return jax.tree.map(lambda a: a[0], sample_prompts(TASK, jax.random.key(seed), 1))


def test_a_token_is_an_input_and_the_pair_before_it():
    prompts = Prompts(jnp.arange(12.0).reshape(2, 3, 2), 10 * jnp.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(
        tokens(prompts),
        [
            [[0, 1, 0, 0, 0], [2, 3, 0, 1, 0], [4, 5, 2, 3, 10]],
            [[6, 7, 0, 0, 0], [8, 9, 6, 7, 30], [10, 11, 8, 9, 40]],
        ],
    )


@pytest.mark.usefixtures("x64")
@each_model
def test_cached_steps_equal_reading_the_prompt_at_once(model, assert_close):
    params, prompts = params_of(model), sample_prompts(TASK, jax.random.key(1), 3)

    @jax.jit
    def both(params, prompts):
        def read(state, position_and_token):
            return model.step(params, state, *position_and_token)

        positions = (jnp.arange(TASK.context), tokens(prompts).swapaxes(0, 1))
        return model.predict(params, prompts), jax.lax.scan(read, model.start(3), positions)[1]

    at_once, in_steps = both(params, prompts)
    assert at_once.mean.shape == at_once.std.shape == (3, TASK.context)
    assert at_once.mean.dtype == jnp.float64
    assert_close(in_steps.mean.T, at_once.mean)
    assert_close(in_steps.std.T, at_once.std)


@pytest.mark.parametrize("name", ["transformer", "query"])
def test_steps_equal_reading_at_once_in_single_precision(name, assert_close):
    model = MODELS[name]
    params, prompts = params_of(model), sample_prompts(TASK, jax.random.key(2), 3)
    state, laws = model.start(3), []
    step = jax.jit(model.step)
    for k in range(TASK.context):
        state, law = step(params, state, jnp.array(k), tokens(prompts)[:, k])
        laws.append(law)
    at_once = predict_all(model, params, prompts)
    assert_close(at_once.mean, np.stack([law.mean for law in laws], axis=1))
    assert_close(at_once.std, np.stack([law.std for law in laws], axis=1))


@each_model
def test_no_model_is_surer_than_the_noise(model):
    prompt = Prompts(*(30 * a for a in one_prompt()))
    predict = jax.jit(partial(predict_one, model))
    for scale in (0.0, 1.0, -100.0):
        params = jax.tree.map(lambda a, scale=scale: scale * a, params_of(model))
        assert np.all(np.asarray(predict(params, prompt).std) >= np.float32(TASK.noise * 0.999999))


def test_the_transformer_can_be_as_sure_as_the_noise_allows(assert_close):
    params = params_of(MODELS["transformer"])
    params["params"]["head"]["bias"] = jnp.array([0.0, -1e3])
    law = predict_one(MODELS["transformer"], params, one_prompt())
    assert_close(law.std, np.full(TASK.context, TASK.noise))


# Causality, by gradients.


def assert_causal(predict, prompt, *, std_reads_labels):
    """The law of y_k reads x_0, ..., x_k and y_0, ..., y_{k-1}: all of these and nothing else."""
    gradients = jax.jit(jax.jacrev(predict))(prompt)
    m = prompt.ys.shape[0]
    position, other = np.indices((m, m))
    for name, law in gradients._asdict().items():
        by_input, by_label = np.abs(law.xs).max(axis=-1), np.abs(law.ys)
        assert np.all(by_input[other > position] == 0), f"{name} reads later inputs"
        assert np.all(by_label[other >= position] == 0), f"{name} reads its own or later labels"
        if name == "std":
            assert np.all(by_input[other <= position] > 0), "std ignores inputs"
            assert np.all((by_label[other < position] > 0) == std_reads_labels), "std and labels"
        else:
            # The Bayes mean of the first label is 0, whatever its input.
            seen = (other <= position) & (position > 0)
            assert np.all(by_input[seen] > 0), "mean ignores inputs"
            assert np.all(by_label[other < position] > 0), "mean ignores labels"


@each_model
def test_laws_depend_on_the_past_and_on_all_of_it(model):
    params = params_of(model)
    assert_causal(
        lambda prompt: predict_one(model, params, prompt),
        one_prompt(),
        std_reads_labels=model is not MODELS["bayes"],
    )


# The transformer.


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_equals_a_literal_loop_over_heads_and_positions(heads, assert_close):
    m, width = 3, 8
    attention = Attention(width, heads)
    h = np.random.default_rng(0).standard_normal((m, width)).astype(np.float32)
    columns = jnp.stack([h.T, 2 * h.T], axis=-1)  # two prompts
    params = jax.jit(attention.init)(jax.random.key(0), columns)
    projected = h @ np.asarray(params["params"]["project"]["kernel"])
    queries, keys, values = np.split(projected, 3, axis=1)
    size = width // heads
    attended = np.zeros((m, width))
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        for k in range(m):
            scores = keys[: k + 1, own] @ queries[k, own] / np.sqrt(size)
            weights = np.exp(scores) / np.exp(scores).sum()
            attended[k, own] = weights @ values[: k + 1, own]
    expected = attended @ np.asarray(params["params"]["out"]["kernel"])
    assert_close(attention.apply(params, columns)[..., 0].T, expected)


@pytest.mark.usefixtures("x64")
def test_attentions_own_gradient_is_that_of_its_formula(assert_close):
    def formula(queries, keys, values):
        scores = jnp.einsum("heqn,hekn->hnqk", queries, keys) / np.sqrt(queries.shape[1])
        seen = jnp.tril(jnp.ones(scores.shape[-2:], bool))
        weights = jnp.where(seen, jnp.exp(scores), 0.0)
        weights = weights / weights.sum(-1, keepdims=True)
        return jnp.einsum("hnqk,hekn->heqn", weights, values)

    rng = np.random.default_rng(0)
    *inputs, directions = (jnp.asarray(rng.standard_normal((2, 3, 4, 5))) for _ in range(4))
    own, expected = (jax.vjp(f, *inputs) for f in (causal_attention, formula))
    assert_close(own[0], expected[0])
    for gradient, literal in zip(own[1](directions), expected[1](directions), strict=True):
        assert_close(gradient, literal)


def test_the_transformer_is_as_deep_and_wide_as_asked():
    params = jax.jit(MODELS["transformer"].init)(jax.random.key(0))["params"]
    assert sum(name.startswith("blocks") for name in params) == ARCHITECTURE.depth
    assert params["position"].shape == (TASK.context, ARCHITECTURE.width)
    assert params["embed"]["kernel"].shape == (2 * TASK.dim + 1, ARCHITECTURE.width)
    assert params["head"]["kernel"].shape == (ARCHITECTURE.width, 2)


def test_the_transformer_starts_from_its_stated_law(assert_mean):
    architecture = Architecture(depth=1, width=64, heads=2)
    params = jax.jit(transformer(TASK, architecture).init)(jax.random.key(0))["params"]
    attention, mlp = params["blocks_0"]["attention"], params["blocks_0"]["up"]
    for kernel in (attention["project"]["kernel"], attention["out"]["kernel"], mlp["kernel"]):
        assert_mean(np.asarray(kernel).ravel(), 0.0)
        assert_mean(np.asarray(kernel).ravel() ** 2, 1 / 64)
    down = params["blocks_0"]["down"]["kernel"]
    assert_mean(np.asarray(down).ravel() ** 2, 1 / 256)
    assert_mean(np.asarray(params["position"]).ravel() ** 2, 0.02**2)
    np.testing.assert_array_equal(mlp["bias"], 0)
    np.testing.assert_array_equal(params["final_norm"]["scale"], 1)


@pytest.mark.usefixtures("x64")
def test_the_transformer_works_in_units_of_the_labels(assert_close):
    unit = 3.0
    params, prompt = params_of(MODELS["transformer"]), one_prompt()
    scaled_task = LinearRegression(dim=2, context=4, noise=unit * 0.5, prior_scale=unit)
    law = predict_one(MODELS["transformer"], params, prompt)
    scaled_prompt = Prompts(prompt.xs, unit * prompt.ys)
    scaled_law = predict_one(transformer(scaled_task, ARCHITECTURE), params, scaled_prompt)
    assert_close(scaled_law.mean, unit * np.asarray(law.mean))
    assert_close(scaled_law.std, unit * np.asarray(law.std))


# Generation.


def label_map(model, params, xs, monkeypatch, plug_in_std=None):
    """What generation does to its noise, column by column: row n of the noise has z_n = 1."""
    m = xs.shape[0]
    with monkeypatch.context() as patch:
        patch.setattr(jax.random, "normal", lambda key, shape, dtype: jnp.eye(*shape, dtype=dtype))
        prompts = generate_labels(
            model,
            params,
            jax.random.key(0),
            jnp.broadcast_to(xs, (m, *xs.shape)),
            plug_in_std=plug_in_std,
        )
    return np.asarray(prompts.ys).T


@pytest.mark.usefixtures("x64")
@each_task
def test_labels_generated_from_bayes_have_exactly_the_real_law(task, monkeypatch, assert_close):
    xs = sample_inputs(task, jax.random.key(5), task.context)
    matrix = label_map(bayes(task), (), xs, monkeypatch)
    assert_close(matrix @ matrix.T, label_covariance(task, xs))


@pytest.mark.usefixtures("x64")
@each_task
def test_plug_in_labels_have_the_known_smaller_covariance(task, monkeypatch, assert_close):
    xs = sample_inputs(task, jax.random.key(5), task.context)
    matrix = label_map(bayes(task), (), xs, monkeypatch, plug_in_std=task.noise)
    covariance = label_covariance(task, xs)
    unit_lower, _ = unit_lower_factor(covariance)
    assert_close(matrix, task.noise * unit_lower)
    with pytest.raises(AssertionError):
        assert_close(matrix @ matrix.T, covariance)


@pytest.mark.parametrize(
    ("name", "plug_in_std"), [("transformer", None), ("transformer", 0.5), ("query", None)]
)
def test_labels_come_from_a_networks_own_predictive_law(name, plug_in_std, assert_mean):
    model, count = MODELS[name], 2_000
    params = params_of(model)
    xs = sample_inputs(TASK, jax.random.key(8), count, TASK.context)
    generate = jax.jit(generate_labels, static_argnums=0, static_argnames="plug_in_std")
    prompts = generate(model, params, jax.random.key(9), xs, plug_in_std=plug_in_std)
    laws = predict_all(model, params, prompts)
    innovations = (prompts.ys - laws.mean) / (laws.std if plug_in_std is None else plug_in_std)
    assert_mean(innovations, 0.0)
    assert_mean(jnp.einsum("nj,nk->njk", innovations, innovations), np.eye(TASK.context))
    assert_mean(innovations**4, 3.0)


def test_generation_is_a_function_of_its_key():
    xs = sample_inputs(TASK, jax.random.key(0), 3, TASK.context)
    one, again, other = (
        generate_labels(MODELS["bayes"], (), jax.random.key(seed), xs).ys for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.any(np.asarray(one) == np.asarray(other))
    assert len(np.unique(one)) == one.size


@pytest.mark.parametrize("count", [1, 4, 5])
def test_prompts_written_in_chunks_are_those_written_at_once(count, monkeypatch, assert_close):
    model = MODELS["transformer"]
    params, xs = params_of(model), sample_inputs(TASK, jax.random.key(0), count, TASK.context)
    whole = generate_labels(model, params, jax.random.key(1), xs)
    monkeypatch.setattr(models, "CHUNK", 2)
    chunks = generate_labels(model, params, jax.random.key(1), xs)
    assert chunks.ys.shape == (count, TASK.context)
    assert_close(chunks.ys, whole.ys)

"""Networks that answer a query: against a literal loop over tokens, heads and keys."""

import math
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_stl.config import QueryArchitecture, Training
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import sample_prompts
from icl_stl.learners import adam_transformer, fit_query_model, in_context_model
from icl_stl.models.query import (
    effective_weights,
    query_init,
    query_law,
    query_transformer,
    schatten_norm,
)

TASK = LinearRegression(dim=2, context=5, noise=0.3, prior_scale=2.0)
BASE = QueryArchitecture(depth=2, width=8, heads=2, mlp=6)
ARCHITECTURES = {
    "full": BASE,
    "relu, no MLP in one layer": replace(BASE, depth=1, mlp=0, activation="relu"),
    "relu": replace(BASE, activation="relu"),
    "causal": replace(BASE, attention="causal"),
    "norm, capped": replace(BASE, norm=True, cap=0.7),
    "linear": replace(BASE, kind="linear", mlp=0),
    "linear, causal": replace(BASE, kind="linear", attention="causal"),
}
each = pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)


def params_of(architecture, seed=0):
    """Parameters at initialisation, moved so that no gain or bias is at its first value."""
    rng = np.random.default_rng(seed)
    start = jax.jit(lambda key: query_init(TASK, architecture, key))(jax.random.key(seed))
    return jax.tree.map(
        lambda a: jnp.asarray(np.asarray(a) + 0.2 * rng.standard_normal(a.shape), a.dtype), start
    )


def one_prompt(seed=0, count=TASK.context):
    task = replace(TASK, context=count + 1)
    prompt = jax.tree.map(lambda a: np.asarray(a[0]), sample_prompts(task, jax.random.key(seed), 1))
    return prompt.xs[:-1], prompt.ys[:-1], prompt.xs[-1]


def gelu(z):
    return 0.5 * z * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


def literal_law(architecture, weights, xs, ys, query):
    """The law by loops over layers, tokens, heads and keys: nothing is masked, nothing batched."""
    m, v = len(ys), TASK.label_variance
    tokens = [weights.embed @ [*x, y / math.sqrt(v), 1, 0] for x, y in zip(xs, ys, strict=True)]
    tokens.append(weights.embed @ [*query, 0, 0, 1])
    for block in weights.blocks:

        def normed(h, which, block=block):
            if block.gains is None:
                return h
            return block.gains[which] * h / math.sqrt(h @ h / len(h) + 1)

        read = [normed(h, 0) for h in tokens]
        mixed = []
        for k, h in enumerate(tokens):
            keys = range(k + 1) if architecture.attention == "causal" and k < m else range(m)
            total = h.copy()
            for logit, value in zip(block.logits, block.values, strict=True):
                scores = np.array([read[k] @ logit @ read[key] for key in keys])
                if architecture.kind == "softmax":
                    shares = np.exp(scores) / np.exp(scores).sum()
                else:
                    shares = scores / len(scores)
                for share, key in zip(shares, keys, strict=True):
                    total = total + share * (value @ read[key])
            mixed.append(total)
        tokens = mixed
        if block.mlp is not None:
            up, up_bias, down, down_bias = block.mlp
            phi = {"gelu": gelu, "relu": lambda z: np.maximum(z, 0)}[architecture.activation]
            tokens = [h + down @ phi(up @ normed(h, 1) + up_bias) + down_bias for h in tokens]
    mean, u = weights.readout @ tokens[m] + weights.bias
    return math.sqrt(v) * mean, math.sqrt(TASK.noise**2 + v * np.logaddexp(0, u))


@pytest.mark.usefixtures("x64")
@each
def test_the_law_equals_a_literal_loop(architecture, assert_close):
    params, (xs, ys, query) = params_of(architecture), one_prompt()
    weights = jax.tree.map(np.asarray, effective_weights(architecture, params))
    law = jax.jit(lambda p, *read: query_law(TASK, architecture, p, *read))(params, xs, ys, query)
    mean, std = literal_law(architecture, weights, xs, ys, query)
    assert_close(law.mean, mean)
    assert_close(law.std, std)


@pytest.mark.usefixtures("x64")
def test_the_weights_that_act_are_products_of_trained_factors(assert_close):
    params = jax.tree.map(np.asarray, params_of(BASE))
    weights = effective_weights(BASE, jax.tree.map(jnp.asarray, params))
    for block, p in zip(weights.blocks, params["blocks"], strict=True):
        for h, own in enumerate((slice(0, 4), slice(4, 8))):
            query, key, value = (p[n]["kernel"][:, own] for n in ("query", "key", "value"))
            assert_close(block.logits[h], query @ key.T / math.sqrt(4))
            assert_close(block.values[h], p["out"]["kernel"][own].T @ value.T)
        assert_close(block.mlp[0], p["up"]["kernel"].T)
        assert_close(block.mlp[2], p["down"]["kernel"].T)
    assert_close(weights.embed, params["embed"]["kernel"].T)


@pytest.mark.usefixtures("x64")
@each
@pytest.mark.parametrize("seen", [0, 1, 3])
def test_examples_that_are_not_visible_are_not_there(architecture, seen, assert_close):
    params, (xs, ys, query) = params_of(architecture), one_prompt()
    law = jax.jit(lambda *read: query_law(TASK, architecture, params, *read))
    masked = law(xs, ys, query, np.arange(len(ys)) < seen)
    cut = law(xs[:seen], ys[:seen], query)
    assert_close(masked.mean, cut.mean)
    assert_close(masked.std, cut.std)
    longer = np.concatenate([ys[:seen], ys[seen:] + 7])
    np.testing.assert_array_equal(masked.mean, law(xs, longer, query, np.arange(5) < seen).mean)


@pytest.mark.usefixtures("x64")
def test_only_causal_attention_knows_the_order_of_examples(assert_close):
    (xs, ys, query), order = one_prompt(), np.array([3, 1, 0, 4, 2])
    for name in ("full", "causal"):
        architecture, params = ARCHITECTURES[name], params_of(ARCHITECTURES[name])
        law = jax.jit(lambda *read, a=architecture, p=params: query_law(TASK, a, p, *read))
        first, second = law(xs, ys, query).mean, law(xs[order], ys[order], query).mean
        if name == "full":
            assert_close(first, second)
        else:
            assert abs(float(first - second)) > 1e-3


@pytest.mark.usefixtures("x64")
def test_the_network_works_in_units_of_the_labels(assert_close):
    unit, (xs, ys, query) = 3.0, one_prompt()
    scaled = replace(TASK, noise=unit * TASK.noise, prior_scale=unit * TASK.prior_scale)
    params = params_of(BASE)
    law, again = (
        jax.jit(partial(query_law, task, BASE))(params, xs, labels, query)
        for task, labels in ((TASK, ys), (scaled, unit * ys))
    )
    assert_close(again.mean, unit * np.asarray(law.mean))
    assert_close(again.std, unit * np.asarray(law.std))


@pytest.mark.parametrize("shape", [(6, 6), (2, 9, 4), (3, 4, 9)])
def test_the_norm_of_the_cap_is_the_spectral_norm_or_a_little_more(shape):
    rng = np.random.default_rng(0)
    for size in (1e-6, 1.0, 1e8):
        matrix = size * rng.standard_normal(shape)
        ours = np.asarray(schatten_norm(jnp.asarray(matrix, jnp.float32)))
        values = np.linalg.svd(matrix, compute_uv=False)
        np.testing.assert_allclose(ours, (values**16).sum(-1) ** (1 / 16), rtol=1e-5)
        assert np.all(ours >= values[..., 0] * (1 - 1e-5))
        assert np.all(ours <= values[..., 0] * min(shape[-2:]) ** (1 / 16) * (1 + 1e-5))
    gradient = jax.grad(lambda a: schatten_norm(a).sum())(jnp.zeros(shape))
    assert np.isfinite(gradient).all()


def norms_of(weights):
    matrices = [weights.embed]
    for block in weights.blocks:
        matrices += [*block.logits, *block.values, block.mlp[0], block.mlp[2]]
    return np.array([np.linalg.norm(np.asarray(a, np.float64), 2) for a in matrices])


def test_caps_hold_and_leave_small_matrices_alone():
    capped = replace(BASE, cap=0.7)
    params = params_of(capped)
    free, held = (norms_of(effective_weights(a, params)) for a in (BASE, capped))
    assert np.all(held <= 0.7 * (1 + 1e-5))
    assert np.all(held[free > 0.7] > 0.5)
    small = jax.tree.map(lambda a: 0.01 * a, params)
    free, held = (norms_of(effective_weights(a, small)) for a in (BASE, capped))
    np.testing.assert_array_equal(free, held)


def test_networks_that_only_read_are_trained_side_by_side():
    task = LinearRegression(dim=1, context=4, noise=0.3)
    training = Training(steps=200, batch=32)
    fit = fit_query_model(task, replace(BASE, depth=1), training)
    fitted = jax.jit(jax.vmap(fit))(jax.random.split(jax.random.key(0), 3))
    assert np.all(np.asarray(fitted.diverged_at) == -1)
    alone = jax.jit(fit)(jax.random.split(jax.random.key(0), 3)[1])
    np.testing.assert_allclose(fitted.loss[1], alone.loss, rtol=1e-2)
    # Without a look at the examples the loss is at least the entropy of a label.
    blind = 0.5 * math.log(2 * math.pi * math.e * task.label_variance)
    assert np.all(np.asarray(fitted.loss) < blind - 0.3)
    assert len(np.unique(np.asarray(fitted.loss))) == 3


@pytest.mark.parametrize("attention", ["full", "causal"])
def test_whole_prompts_are_learned_and_generated(attention):
    task = LinearRegression(dim=1, context=4, noise=0.3)
    learner = adam_transformer(
        task, replace(BASE, attention=attention), Training(steps=100, batch=16)
    )
    prompts = sample_prompts(task, jax.random.key(1), 200)
    fitted = jax.jit(learner.fit)(jax.random.key(2), prompts, jnp.full(200, 1 / 200))
    blind = 0.5 * math.log(2 * math.pi * math.e * task.label_variance)
    assert float(fitted.loss) < blind
    made = jax.jit(learner.generate, static_argnums=2)(jax.random.key(3), fitted, 7)
    assert made.ys.shape == (7, 4)
    assert np.isfinite(made.ys).all()


def test_the_architecture_chooses_the_model():
    model = in_context_model(TASK, BASE)
    start = query_transformer(TASK, BASE).start(1)
    assert jax.tree.structure(model.start(1)) == jax.tree.structure(start)


IMPOSSIBLE = [("depth", 0), ("heads", 3), ("mlp", -1), ("attention", "both"), ("kind", "cubic")]
IMPOSSIBLE += [("activation", "tanh"), ("cap", 0.0), ("cap", math.inf)]


@pytest.mark.parametrize(("setting", "value"), IMPOSSIBLE)
def test_impossible_architectures_are_refused(setting, value):
    with pytest.raises(ValueError, match=f"^{setting} must be"):
        QueryArchitecture(**{setting: value})

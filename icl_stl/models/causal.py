"""In-context models: the causal transformer, and the interface it shares with the Bayes predictor.

Causality contract, for every model: the law of y_k may depend on x_1, ..., x_k and on
y_1, ..., y_{k-1}, and on nothing else.
"""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from icl_stl.config import Architecture
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import (
    Normal,
    Posterior,
    Prompts,
    bayes_predictive,
    posterior_predictive,
    posterior_update,
    prior,
)

Params = Any
State = Any

CHUNK = 128
"""Prompts read or written at a time: few enough for their activations to stay in the cache."""


class InContextModel(NamedTuple):
    """The law of a label given its input and the examples before it, in two equal forms.

    `predict` reads whole prompts; `start` and `step` read one example of each at a time and carry a
    state. Both give the same laws. All read n prompts at once: their axis is where the arithmetic
    is, and the model decides how it lies in memory.
    """

    init: Callable[[PRNGKeyArray], Params]
    """key -> parameters."""
    predict: Callable[[Params, Prompts], Normal]
    """parameters, n prompts -> the laws of y_1, ..., y_m of each: `[n, m]`."""
    start: Callable[[int], State]
    """n -> the state before any example."""
    step: Callable[[Params, State, Int[Array, ""], Float[Array, "n t"]], tuple[State, Normal]]
    """parameters, state, position k (from 0), tokens k -> next state, the laws of y_k: `[n]`."""


def tokens(prompts: Prompts) -> Float[Array, "*n m t"]:
    """One token an example, (x_k, x_{k-1}, y_{k-1}): `[..., m, 2d + 1]`; zeros before the first."""
    pairs = jnp.concatenate([prompts.xs, prompts.ys[..., None]], axis=-1)
    before = jnp.concatenate([jnp.zeros_like(pairs[..., :1, :]), pairs[..., :-1, :]], axis=-2)
    return jnp.concatenate([prompts.xs, before], axis=-1)


# Inside the network features come first and prompts last: dense layers are then one product of
# large matrices, norms and caches are read along prompts, and nothing is moved in between. Only
# attention wants prompts first; it copies what it multiplies.


@jax.custom_vjp
def causal_attention(
    queries: Float[Array, "h e m n"], keys: Float[Array, "h e m n"], values: Float[Array, "h e m n"]
) -> Float[Array, "h e m n"]:
    """Softmax attention within each of n prompts: every position sees itself and those before it.

    out_q = Σ_{k <= q} a_qk values_k, a_q = softmax_k(queries_q · keys_k / √e).

    The gradient is written out, since a small matrix product is fast on a CPU if its left factor is
    summed over its last axis, and several times slower if not, as in the derivative of a product.
    """
    return _attention_forward(queries, keys, values)[0]


def _attention_forward(queries: Array, keys: Array, values: Array) -> tuple[Array, Any]:
    e, m = queries.shape[1:3]
    by_query = queries.transpose(0, 3, 2, 1)
    keys, values = (a.transpose(0, 3, 1, 2) for a in (keys, values))
    scores = jnp.einsum("hnqe,hnek->hnqk", by_query, keys) * e**-0.5
    causal = jnp.tril(jnp.ones((m, m), bool))
    weights = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf), axis=-1)
    out = jnp.einsum("hnek,hnqk->hneq", values, weights)
    return out.transpose(0, 2, 3, 1), (queries, keys, values, weights)


def _attention_backward(saved: Any, grads: Any) -> tuple[Any, Any, Any]:
    queries, keys, values, weights = saved
    queries = queries.transpose(0, 3, 1, 2)
    by_query, grads = grads.transpose(0, 3, 2, 1), grads.transpose(0, 3, 1, 2)
    to_values = jnp.einsum("hneq,hnqk->hnek", grads, weights)
    to_weights = jnp.einsum("hnqe,hnek->hnqk", by_query, values)
    mean = jnp.sum(weights * to_weights, axis=-1, keepdims=True)
    to_scores = weights * (to_weights - mean) * queries.shape[2] ** -0.5
    to_queries = jnp.einsum("hnek,hnqk->hneq", keys, to_scores)
    to_keys = jnp.einsum("hneq,hnqk->hnek", queries, to_scores)
    first, second, third = (a.transpose(0, 2, 3, 1) for a in (to_queries, to_keys, to_values))
    return first, second, third


causal_attention.defvjp(_attention_forward, _attention_backward)


class Dense(nn.Module):
    """Wᵀ h + b, features first: `[p, ...]` to `[features, ...]`."""

    features: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, h: Float[Array, " p *n"]) -> Float[Array, " q *n"]:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (h.shape[0], self.features))
        out = (kernel.T @ h.reshape(h.shape[0], -1)).reshape(self.features, *h.shape[1:])
        if not self.use_bias:
            return out
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return out + bias.reshape(-1, *[1] * (h.ndim - 1))


def sum_of(term: Callable[[int], Any], count: int) -> Any:
    """Σ_{j < count} term(j)."""
    return reduce(lambda total, j: total + term(j), range(1, count), term(0))


def norm() -> nn.RMSNorm:
    """Root-mean-square norm over features, which come first."""
    return nn.RMSNorm(reduction_axes=0, feature_axes=0)


class Attention(nn.Module):
    """Softmax attention of `heads` heads; keys carry no bias, to which attention is blind."""

    width: int
    heads: int

    def setup(self) -> None:
        self.project = Dense(3 * self.width, use_bias=False)
        self.out = Dense(self.width, use_bias=False)

    def by_head(self, h: Float[Array, " p *n"]) -> Float[Array, "h e *n"]:
        return h.reshape(self.heads, -1, *h.shape[1:])

    def __call__(self, h: Float[Array, "p m n"]) -> Float[Array, "p m n"]:
        """Every position attends to itself and those before it."""
        queries, keys, values = map(self.by_head, jnp.split(self.project(h), 3))
        return self.out(causal_attention(queries, keys, values).reshape(h.shape))

    def step(
        self, h: Float[Array, "p n"], cache: Float[Array, "2*p m n"], k: Int[Array, ""]
    ) -> tuple[Float[Array, "p n"], Float[Array, "2*p m n"]]:
        """Position k attends to the cached keys and values of positions 0..k-1 and to its own."""
        query, key_and_value = jnp.split(self.project(h), [self.width])
        cache = jax.lax.dynamic_update_index_in_dim(cache, key_and_value, k, axis=1)
        query, keys, values = map(self.by_head, (query, *jnp.split(cache, 2)))
        # Sums written out term by term: a CPU reads large arrays once for them, along prompts.
        e, m = query.shape[1], cache.shape[1]
        scores = sum_of(lambda j: query[:, j, None] * keys[:, j], e) * e**-0.5
        seen = jnp.arange(m)[None, :, None] <= k
        weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), axis=1)
        attended = sum_of(lambda j: weights[:, None, j] * values[:, :, j], m)
        return self.out(attended.reshape(h.shape)), cache


class Block(nn.Module):
    """h <- h + Attention(norm(h)), then h <- h + MLP(norm(h))."""

    width: int
    heads: int

    def setup(self) -> None:
        self.attention = Attention(self.width, self.heads)
        self.attention_norm, self.mlp_norm = norm(), norm()
        self.up, self.down = Dense(4 * self.width), Dense(self.width)

    def mlp(self, h: Float[Array, " p *n"]) -> Float[Array, " p *n"]:
        return self.down(nn.relu(self.up(self.mlp_norm(h))))

    def __call__(self, h: Float[Array, "p m n"]) -> Float[Array, "p m n"]:
        h = h + self.attention(self.attention_norm(h))
        return h + self.mlp(h)

    def step(
        self, h: Float[Array, "p n"], cache: Float[Array, "2*p m n"], k: Int[Array, ""]
    ) -> tuple[Float[Array, "p n"], Float[Array, "2*p m n"]]:
        attended, cache = self.attention.step(self.attention_norm(h), cache, k)
        h = h + attended
        return h + self.mlp(h), cache


class Transformer(nn.Module):
    """Pre-norm causal transformer with a Gaussian head.

    The head gives mean and std of a label, std² = σ² + v softplus(u) ≥ σ²: never below the known
    noise floor. Labels enter and leave in units of their marginal standard deviation √v.
    """

    task: LinearRegression
    architecture: Architecture

    def setup(self) -> None:
        shape = self.architecture
        self.embed = Dense(shape.width)
        self.position = self.param(
            "position", nn.initializers.normal(0.02), (self.task.context, shape.width)
        )
        self.blocks = [Block(shape.width, shape.heads) for _ in range(shape.depth)]
        self.final_norm, self.head = norm(), Dense(2)

    def embedded(self, token: Float[Array, " t *n"]) -> Float[Array, " p *n"]:
        scale = jnp.ones(token.shape[0]).at[-1].set(self.task.label_variance**-0.5)
        return self.embed(token * scale.reshape(-1, *[1] * (token.ndim - 1)))

    def law(self, h: Float[Array, " p *n"]) -> Normal:
        out = self.head(self.final_norm(h))
        v = self.task.label_variance
        variance = self.task.noise**2 + v * jax.nn.softplus(out[1])
        return Normal(v**0.5 * out[0], jnp.sqrt(variance))

    def __call__(self, token: Float[Array, "t m n"]) -> Normal:
        h = self.embedded(token) + self.position.T[..., None]
        for block in self.blocks:
            h = block(h)
        return self.law(h)

    def step(
        self, token: Float[Array, "t n"], caches: list[Float[Array, "c m n"]], k: Int[Array, ""]
    ) -> tuple[list[Float[Array, "c m n"]], Normal]:
        h = self.embedded(token) + self.position[k][:, None]
        grown = []
        for block, cache in zip(self.blocks, caches, strict=True):
            h, cache = block.step(h, cache, k)  # noqa: PLW2901
            grown.append(cache)
        return grown, self.law(h)


def initial(key: PRNGKeyArray, shapes: Any) -> Params:
    """Kernels N(0, 1/fan-in), positions N(0, 0.02²), norms 1, biases 0, all from ONE normal draw.

    What a leaf is, its name says: `kernel`, `position`, `scale` or `bias`.
    (Compiling a draw of its own for every leaf takes as long as compiling the training.)
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
    ends = np.cumsum([leaf.size for _, leaf in leaves])
    draws = jnp.split(jax.random.normal(key, (int(ends[-1]),)), ends[:-1])
    started = []
    for (path, leaf), draw in zip(leaves, draws, strict=True):
        kind = path[-1].key
        normal = draw.reshape(leaf.shape)
        started.append(
            {
                "kernel": normal * leaf.shape[0] ** -0.5,
                "position": normal * 0.02,
                "scale": jnp.ones(leaf.shape),
                "bias": jnp.zeros(leaf.shape),
            }[kind]
        )
    return jax.tree.unflatten(structure, started)


def transformer(task: LinearRegression, architecture: Architecture) -> InContextModel:
    """A causal softmax transformer, one token an example: a prompt of m examples is m tokens.

    `step` keeps the keys and values of earlier positions, so generating a label costs one token.
    """
    net = Transformer(task, architecture)
    m, width = task.context, architecture.width

    shapes = jax.eval_shape(
        lambda: net.init(jax.random.key(0), jnp.zeros((2 * task.dim + 1, m, 1)))
    )

    def init(key: PRNGKeyArray) -> Params:
        return initial(key, shapes)

    def predict(params: Params, prompts: Prompts) -> Normal:
        law: Any = net.apply(params, tokens(prompts).T)
        return Normal(law.mean.T, law.std.T)

    def start(count: int) -> State:
        return [jnp.zeros((2 * width, m, count)) for _ in range(architecture.depth)]

    def step(params: Params, state: State, k: Int[Array, ""], token: Any) -> tuple[State, Normal]:
        return net.apply(params, token.T, state, k, method="step")  # type: ignore[return-value]

    return InContextModel(init, predict, start, step)


def bayes(task: LinearRegression) -> InContextModel:
    """The exact Bayes predictor of the real law, as a model without parameters.

    Labels generated from it have exactly the real law.
    """
    d = task.dim

    def start(count: int) -> State:
        return jax.tree.map(lambda a: jnp.broadcast_to(a, (count, *a.shape)), prior(task))

    def step_one(posterior: Posterior, token: Float[Array, " t"]) -> tuple[Posterior, Normal]:
        # The first token carries no pair: its zeros leave the prior as it is.
        posterior = posterior_update(task, posterior, token[d : 2 * d], token[2 * d])
        return posterior, posterior_predictive(task, posterior, token[:d])

    return InContextModel(
        init=lambda key: (),
        predict=lambda params, prompts: jax.vmap(partial(bayes_predictive, task))(prompts),
        start=start,
        step=lambda params, posterior, k, token: jax.vmap(step_one)(posterior, token),
    )


def in_chunks(function: Callable[[Any], Any], rows: Any, there: Any = None) -> Any:
    """A function of many rows, `CHUNK` rows at a time.

    The first rows again fill the last chunk. Where `there` is given, `[N]`, a chunk of which no row
    is there is left out: its results are ones.
    """
    count = jax.tree.leaves(rows)[0].shape[0]
    size = min(CHUNK, count)

    def cut(a: Array) -> Array:
        filled = jnp.concatenate([a, a[: -count % size]])
        return filled.reshape(-1, size, *a.shape[1:])

    def some(given: tuple[Any, Any]) -> Any:
        some_rows, needed = given
        if needed is None:
            return function(some_rows)
        types = jax.eval_shape(function, some_rows)

        def ones() -> Any:
            return jax.tree.map(lambda a: jnp.ones(a.shape, a.dtype), types)

        return jax.lax.cond(needed.any(), lambda: function(some_rows), ones)

    found = jax.lax.map(some, jax.tree.map(cut, (rows, there)))
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:count], found)


def generate_labels(
    model: InContextModel,
    params: Params,
    key: PRNGKeyArray,
    xs: Float[Array, "n m d"],
    *,
    plug_in_std: float | None = None,
    bias: Any = 1.0,
) -> Prompts:
    """Prompts whose labels are drawn one after the other from the model's own predictive law.

    y_k ~ N(mean_k, std_k²), mean and std given x_{1:k} and the labels generated so far.

    Args:
        plug_in_std: If given, this standard deviation replaces std_k (the plug-in generator, which
            forgets the model's own uncertainty; known to collapse the implied task variance).
        bias: The variance of every label is multiplied by it.
    """
    n, m, d = xs.shape
    noise = bias**0.5 * jax.random.normal(key, (m, n), xs.dtype)

    def write(given: tuple[Float[Array, "c m d"], Float[Array, "c m"]]) -> Any:
        def label(carry: Any, inputs: Any) -> Any:
            state, before = carry
            k, x, z = inputs
            state, law = model.step(params, state, k, jnp.concatenate([x, before], axis=-1))
            y = law.mean + (law.std if plug_in_std is None else plug_in_std) * z
            return (state, jnp.concatenate([x, y[:, None]], axis=-1)), y

        count = given[1].shape[0]
        first = (model.start(count), jnp.zeros((count, d + 1), xs.dtype))
        visits = (jnp.arange(m), *(a.swapaxes(0, 1) for a in given))
        return jax.lax.scan(label, first, visits)[1].T

    return Prompts(xs, in_chunks(write, (xs, noise.T)))

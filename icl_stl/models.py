"""In-context models: the causal transformer, and the interface it shares with the Bayes predictor.

Causality contract, for every model: the law of y_k may depend on x_1, ..., x_k and on
y_1, ..., y_{k-1}, and on nothing else.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from icl_stl.config import Architecture, LinearRegression
from icl_stl.tasks import (
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


class InContextModel(NamedTuple):
    """The law of a label given its input and the examples before it, in two equal forms.

    `predict` reads a whole prompt at once; `start` and `step` read one example at a time and carry
    a state. Both give the same laws, and both are written for ONE prompt: `jax.vmap` supplies more.
    """

    init: Callable[[PRNGKeyArray], Params]
    """key -> parameters."""
    predict: Callable[[Params, Prompts], Normal]
    """parameters, one prompt -> the laws of y_1, ..., y_m: `[m]`."""
    start: Callable[[], State]
    """-> the state before any example."""
    step: Callable[[Params, State, Int[Array, ""], Float[Array, " t"]], tuple[State, Normal]]
    """parameters, state, position k (from 0), token k -> next state, the law of y_k."""


def tokens(prompts: Prompts) -> Float[Array, "*n m t"]:
    """One token an example, (x_k, x_{k-1}, y_{k-1}): `[..., m, 2d + 1]`; zeros before the first."""
    pairs = jnp.concatenate([prompts.xs, prompts.ys[..., None]], axis=-1)
    before = jnp.concatenate([jnp.zeros_like(pairs[..., :1, :]), pairs[..., :-1, :]], axis=-2)
    return jnp.concatenate([prompts.xs, before], axis=-1)


class Attention(nn.Module):
    """Softmax attention of `heads` heads; keys carry no bias, to which attention is blind."""

    width: int
    heads: int

    def setup(self) -> None:
        self.project = nn.Dense(3 * self.width, use_bias=False)
        self.out = nn.Dense(self.width, use_bias=False)

    def __call__(self, h: Float[Array, "m p"]) -> Float[Array, "m p"]:
        """Every position attends to itself and those before it."""
        queries, keys, values = jnp.split(self.project(h), 3, axis=-1)
        causal = jnp.tril(jnp.ones((h.shape[0], h.shape[0]), bool))
        return self.attend(queries, keys, values, causal)

    def step(
        self, h: Float[Array, " p"], cache: Float[Array, "m 2*p"], k: Int[Array, ""]
    ) -> tuple[Float[Array, " p"], Float[Array, "m 2*p"]]:
        """Position k attends to the cached keys and values of positions 0..k-1 and to its own."""
        query, key_and_value = jnp.split(self.project(h), [self.width])
        cache = jax.lax.dynamic_update_slice_in_dim(cache, key_and_value[None], k, axis=0)
        keys, values = jnp.split(cache, 2, axis=-1)
        seen = jnp.arange(cache.shape[0])[None] <= k
        return self.attend(query[None], keys, values, seen)[0], cache

    def attend(
        self,
        queries: Float[Array, "q p"],
        keys: Float[Array, "m p"],
        values: Float[Array, "m p"],
        visible: Bool[Array, "q m"],
    ) -> Float[Array, "q p"]:
        def by_head(a: Float[Array, "r p"]) -> Float[Array, "r h e"]:
            return a.reshape(a.shape[0], self.heads, -1)

        q, k, v = by_head(queries), by_head(keys), by_head(values)
        scores = jnp.einsum("qhe,mhe->hqm", q, k) / q.shape[-1] ** 0.5
        weights = jax.nn.softmax(jnp.where(visible, scores, -jnp.inf), axis=-1)
        return self.out(jnp.einsum("hqm,mhe->qhe", weights, v).reshape(queries.shape))


class Block(nn.Module):
    """h <- h + Attention(norm(h)), then h <- h + MLP(norm(h))."""

    width: int
    heads: int

    def setup(self) -> None:
        self.attention = Attention(self.width, self.heads)
        self.attention_norm, self.mlp_norm = nn.RMSNorm(), nn.RMSNorm()
        self.up, self.down = nn.Dense(4 * self.width), nn.Dense(self.width)

    def mlp(self, h: Float[Array, "*n p"]) -> Float[Array, "*n p"]:
        return self.down(nn.relu(self.up(self.mlp_norm(h))))

    def __call__(self, h: Float[Array, "m p"]) -> Float[Array, "m p"]:
        h = h + self.attention(self.attention_norm(h))
        return h + self.mlp(h)

    def step(
        self, h: Float[Array, " p"], cache: Float[Array, "m 2*p"], k: Int[Array, ""]
    ) -> tuple[Float[Array, " p"], Float[Array, "m 2*p"]]:
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
        self.embed = nn.Dense(shape.width)
        self.position = self.param(
            "position", nn.initializers.normal(0.02), (self.task.context, shape.width)
        )
        self.blocks = [Block(shape.width, shape.heads) for _ in range(shape.depth)]
        self.final_norm, self.head = nn.RMSNorm(), nn.Dense(2)

    def embedded(self, token: Float[Array, "*n t"]) -> Float[Array, "*n p"]:
        scale = jnp.ones(token.shape[-1]).at[-1].set(self.task.label_variance**-0.5)
        return self.embed(token * jnp.broadcast_to(scale, token.shape))

    def law(self, h: Float[Array, "*n p"]) -> Normal:
        out = self.head(self.final_norm(h))
        v = self.task.label_variance
        variance = self.task.noise**2 + v * jax.nn.softplus(out[..., 1])
        return Normal(v**0.5 * out[..., 0], jnp.sqrt(variance))

    def __call__(self, token: Float[Array, "m t"]) -> Normal:
        h = self.embedded(token) + self.position
        for block in self.blocks:
            h = block(h)
        return self.law(h)

    def step(
        self, token: Float[Array, " t"], caches: list[Float[Array, "m c"]], k: Int[Array, ""]
    ) -> tuple[list[Float[Array, "m c"]], Normal]:
        h = self.embedded(token) + self.position[k]
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

    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((m, 2 * task.dim + 1)))

    def init(key: PRNGKeyArray) -> Params:
        return initial(key, shapes)

    def predict(params: Params, prompt: Prompts) -> Normal:
        return net.apply(params, tokens(prompt))  # type: ignore[return-value]

    def start() -> State:
        return [jnp.zeros((m, 2 * width)) for _ in range(architecture.depth)]

    def step(params: Params, state: State, k: Int[Array, ""], token: Any) -> tuple[State, Normal]:
        return net.apply(params, token, state, k, method="step")  # type: ignore[return-value]

    return InContextModel(init, predict, start, step)


def bayes(task: LinearRegression) -> InContextModel:
    """The exact Bayes predictor of the real law, as a model without parameters.

    Labels generated from it have exactly the real law.
    """
    d = task.dim

    def step(
        params: Params, posterior: Posterior, k: Int[Array, ""], token: Float[Array, " t"]
    ) -> tuple[Posterior, Normal]:
        # The first token carries no pair: its zeros leave the prior as it is.
        posterior = posterior_update(task, posterior, token[d : 2 * d], token[2 * d])
        return posterior, posterior_predictive(task, posterior, token[:d])

    return InContextModel(
        init=lambda key: (),
        predict=lambda params, prompt: bayes_predictive(task, prompt),
        start=lambda: prior(task),
        step=step,
    )


def generate_labels(
    model: InContextModel,
    params: Params,
    key: PRNGKeyArray,
    xs: Float[Array, "n m d"],
    *,
    plug_in_std: float | None = None,
) -> Prompts:
    """Prompts whose labels are drawn one after the other from the model's own predictive law.

    y_k ~ N(mean_k, std_k²), mean and std given x_{1:k} and the labels generated so far.

    Args:
        model: The model.
        params: Its parameters.
        key: Randomness of the labels.
        xs: Inputs `[n, m, d]`.
        plug_in_std: If given, this standard deviation replaces std_k (the plug-in generator, which
            forgets the model's own uncertainty; known to collapse the implied task variance).

    Returns:
        The prompts, `ys: [n, m]`.
    """
    n, m, d = xs.shape
    noise = jax.random.normal(key, (m, n), xs.dtype)

    def label(carry: Any, inputs: Any) -> Any:
        state, before = carry
        k, x, z = inputs
        token = jnp.concatenate([x, before], axis=-1)
        state, law = jax.vmap(model.step, in_axes=(None, 0, None, 0))(params, state, k, token)
        y = law.mean + (law.std if plug_in_std is None else plug_in_std) * z
        return (state, jnp.concatenate([x, y[:, None]], axis=-1)), y

    state = jax.tree.map(lambda a: jnp.broadcast_to(a, (n, *a.shape)), model.start())
    first = (state, jnp.zeros((n, d + 1), xs.dtype))
    _, ys = jax.lax.scan(label, first, (jnp.arange(m), xs.swapaxes(0, 1), noise))
    return Prompts(xs, ys.T)

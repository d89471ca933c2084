"""Networks that read labelled examples and answer a query: the model of the certificates.

Tokens are (x_k, y_k, 1, 0) for the examples and (x, 0, 0, 1) for the query, without positions;
only the examples are keys. Labels are read and predicted in units of their marginal deviation √v.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from icl_stl.config import QueryArchitecture
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import Normal, Prompts
from icl_stl.models.causal import InContextModel, Params, State, initial

ACTIVATIONS = {"gelu": jax.nn.gelu, "relu": jax.nn.relu}
NORMS = ("attention", "mlp")


class QueryBlock(NamedTuple):
    """One layer as it acts; matrices act on columns.

    h_k <- h_k + Σ_h U_h Σ_l s_kl n(h_l), scores n(h_k)ᵀ W_h n(h_l); then
    h_k <- h_k + M_2 φ(M_1 n(h_k) + b_1) + b_2. Without a norm n is the identity.
    """

    logits: Float[Array, "h p p"]
    """W_h = W_Qᵀ W_K / √(width of a head)."""
    values: Float[Array, "h p p"]
    """U_h = W_O W_V."""
    gains: Float[Array, "2 p"] | None
    """Of the norms before attention and before the MLP."""
    mlp: tuple[Float[Array, "e p"], Float[Array, " e"], Float[Array, "p e"], Float[Array, " p"]] | (
        None
    )
    """M_1, b_1, M_2, b_2."""


class QueryWeights(NamedTuple):
    """A network as it acts, with its caps: what a certificate is about."""

    embed: Float[Array, "p t"]
    """E: columns for x, y, example and query."""
    blocks: tuple[QueryBlock, ...]
    readout: Float[Array, "2 p"]
    """Rows for the mean and for the deviation."""
    bias: Float[Array, " 2"]


def schatten_norm(matrix: Float[Array, "*n a b"]) -> Float[Array, "*n"]:
    """Schatten norm of order 16, (Σ_i s_i^16)^(1/16): smooth, never below the largest s_i.

    At most rank^(1/16) times the spectral norm.
    """
    size = jax.lax.stop_gradient(jnp.sqrt(jnp.sum(matrix**2, axis=(-2, -1))) + 1e-30)
    unit = matrix / size[..., None, None]  # so that no power leaves the range of floats
    wide = matrix.shape[-1] > matrix.shape[-2]
    gram = unit @ unit.mT if wide else unit.mT @ unit
    fourth = jnp.linalg.matrix_power(gram, 4)
    return size * (jnp.sum(fourth**2, axis=(-2, -1)) + 1e-30) ** (1 / 16)


def effective_weights(architecture: QueryArchitecture, params: Params) -> QueryWeights:
    """The matrices that act: products of the factors that are trained, shrunk to the cap.

    A matrix becomes itself times min(1, cap / its Schatten norm), so its spectral norm is at most
    the cap.
    """
    heads, cap = architecture.heads, architecture.cap

    def capped(matrix: Float[Array, "*n a b"]) -> Float[Array, "*n a b"]:
        if cap is None:
            return matrix
        return matrix * jnp.minimum(1.0, cap / schatten_norm(matrix))[..., None, None]

    def block(p: Params) -> QueryBlock:
        query, key, value = (
            p[name]["kernel"].reshape(architecture.width, heads, -1)
            for name in ("query", "key", "value")
        )
        out = p["out"]["kernel"].reshape(heads, -1, architecture.width)
        logits = jnp.einsum("phe,qhe->hpq", query, key) / query.shape[-1] ** 0.5
        values = jnp.einsum("heo,ihe->hoi", out, value)
        gains = jnp.stack([p[f"{n}_norm"]["scale"] for n in NORMS]) if architecture.norm else None
        mlp = None
        if architecture.mlp:
            up, down = (capped(p[name]["kernel"].T) for name in ("up", "down"))
            mlp = (up, p["up"]["bias"], down, p["down"]["bias"])
        return QueryBlock(capped(logits), capped(values), gains, mlp)

    return QueryWeights(
        capped(params["embed"]["kernel"].T),
        tuple(block(p) for p in params["blocks"]),
        params["head"]["kernel"].T,
        params["head"]["bias"],
    )


def read_query(
    architecture: QueryArchitecture,
    weights: QueryWeights,
    xs: Float[Array, "m d"],
    ys: Float[Array, " m"],
    query: Float[Array, " d"],
    visible: Bool[Array, " m"] | None = None,
) -> Float[Array, " 2"]:
    """The two numbers read at the query, labels in units of their deviation.

    Returns:
        The mean, in units of √v, and the number from which the deviation is made.
    """
    m = ys.shape[0]
    seen = jnp.ones(m, bool) if visible is None else visible
    kind = jnp.broadcast_to(jnp.array([1.0, 0.0], xs.dtype), (m, 2))
    examples = jnp.concatenate([xs, ys[:, None], kind], axis=1)
    asked = jnp.concatenate([query, jnp.array([0.0, 0.0, 1.0], xs.dtype)])
    h = jnp.concatenate([examples, asked[None]]) @ weights.embed.T
    rows = jnp.arange(m + 1)[:, None]
    reads = (
        jnp.arange(m)[None] <= rows
        if architecture.attention == "causal"
        else jnp.full_like(rows, 1, bool)
    ) & seen[None]
    for block in weights.blocks:
        h = h + _attend(architecture, block, _normed(block, 0, h), reads)
        if block.mlp is not None:
            up, up_bias, down, down_bias = block.mlp
            inside = _normed(block, 1, h) @ up.T + up_bias[None]
            h = h + ACTIVATIONS[architecture.activation](inside) @ down.T + down_bias[None]
    return weights.readout @ h[m] + weights.bias


def _normed(block: QueryBlock, which: int, h: Float[Array, "n p"]) -> Float[Array, "n p"]:
    """RMSNorm with ε = 1, whose stretch is at most its largest gain."""
    if block.gains is None:
        return h
    return block.gains[which][None] * h / jnp.sqrt(jnp.mean(h**2, axis=-1, keepdims=True) + 1)


def _attend(
    architecture: QueryArchitecture,
    block: QueryBlock,
    h: Float[Array, "n p"],
    reads: Bool[Array, "n m"],
) -> Float[Array, "n p"]:
    """What attention adds to every token; nothing to one that sees no example."""
    keys = h[:-1]
    scores = jnp.einsum("hnq,lq->hnl", jnp.einsum("np,hpq->hnq", h, block.logits), keys)
    if architecture.kind == "linear":
        count = jnp.maximum(jnp.sum(reads, axis=-1, keepdims=True), 1)
        shares = scores / count[None]
    else:
        shares = jax.nn.softmax(jnp.where(reads[None], scores, -1e30), axis=-1)
    mixed = jnp.einsum("hnl,lp->hnp", jnp.where(reads[None], shares, 0), keys)
    return jnp.einsum("hnp,hop->no", mixed, block.values)


def query_law(
    task: LinearRegression,
    architecture: QueryArchitecture,
    params: Params,
    xs: Float[Array, "m d"],
    ys: Float[Array, " m"],
    query: Float[Array, " d"],
    visible: Bool[Array, " m"] | None = None,
) -> Normal:
    """The predicted law of the label at a query, given examples.

    std² = σ² + v softplus(u) ≥ σ², as for the causal transformer. Any number of examples will do.
    """
    weights, v = effective_weights(architecture, params), task.label_variance
    out = read_query(architecture, weights, xs, ys * v**-0.5, query, visible)
    return Normal(v**0.5 * out[0], jnp.sqrt(task.noise**2 + v * jax.nn.softplus(out[1])))


def query_init(
    task: LinearRegression, architecture: QueryArchitecture, key: PRNGKeyArray
) -> Params:
    """Parameters at the start: kernels N(0, 1/fan-in), gains 1, biases 0."""
    p, inner = architecture.width, architecture.mlp

    def leaf(name: str, *shape: int) -> dict[str, Any]:
        return {name: jax.ShapeDtypeStruct(shape, jnp.result_type(float))}

    def dense(rows: int, columns: int) -> dict[str, Any]:
        return {**leaf("kernel", rows, columns), **leaf("bias", columns)}

    block: dict[str, Any] = {n: leaf("kernel", p, p) for n in ("query", "key", "value", "out")}
    if architecture.norm:
        block |= {f"{n}_norm": leaf("scale", p) for n in NORMS}
    if architecture.mlp:
        block |= {"up": dense(p, inner), "down": dense(inner, p)}
    shapes = {
        "embed": leaf("kernel", task.dim + 3, p),
        "blocks": [block] * architecture.depth,
        "head": dense(p, 2),
    }
    return initial(key, shapes)


def query_transformer(task: LinearRegression, architecture: QueryArchitecture) -> InContextModel:
    """The network as a model of whole prompts: label k is a query after k - 1 examples.

    Full attention lets examples read later ones, so every label is read from its own prefix; `step`
    carries the examples so far and reads all of them.
    """
    m, d = task.context, task.dim

    def init(key: PRNGKeyArray) -> Params:
        return query_init(task, architecture, key)

    def law(params: Params, xs: Any, ys: Any, query: Any, k: Int[Array, ""]) -> Normal:
        return query_law(task, architecture, params, xs, ys, query, jnp.arange(m) < k)

    def predict(params: Params, prompts: Prompts) -> Normal:
        def labels(prompt: Prompts) -> Normal:
            each = jax.vmap(law, in_axes=(None, None, None, 0, 0))
            return each(params, prompt.xs, prompt.ys, prompt.xs, jnp.arange(m))

        return jax.vmap(labels)(prompts)

    def start(count: int) -> State:
        return Prompts(jnp.zeros((count, m, d)), jnp.zeros((count, m)))

    def step(params: Params, state: State, k: Int[Array, ""], token: Any) -> tuple[State, Normal]:
        # The token of position 0 carries no example: its zeros are overwritten in position 1.
        last = jnp.maximum(k - 1, 0)
        xs = state.xs.at[:, last].set(token[:, d : 2 * d])
        ys = state.ys.at[:, last].set(token[:, 2 * d])
        answer = jax.vmap(law, in_axes=(None, 0, 0, 0, None))
        return Prompts(xs, ys), answer(params, xs, ys, token[:, :d], k)

    return InContextModel(init, predict, start, step)

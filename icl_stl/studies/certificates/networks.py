"""What one in-context example can do to a prediction: certified, worst found, typical.

All of it in units of the label's deviation √v, over inputs |x| ≤ B_x and labels |y| ≤ B_y. A search
finds a lower bound on the supremum, a certificate is an upper bound on it.
"""

from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from numpy.typing import NDArray

from icl_stl import bounds
from icl_stl.config import QueryArchitecture, Training
from icl_stl.devices import on_host, over_replicates, quick_options
from icl_stl.lab.results import Arrays
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import Prompts, sample_prompts
from icl_stl.learners import query_batches, query_trainer
from icl_stl.models.query import QueryBlock, QueryWeights, effective_weights, read_query
from icl_stl.studies.certificates.experiments import CertifiedNetworks

Floats = NDArray[np.float64]

NUDGE = 0.1
"""By how much a search moves labels: a difference quotient is a derivative in between."""

GOLDEN = 0.6180339887498949
"""Its multiples fill the unit interval evenly."""

TARGETS = ("change", "kappa", "row sum")
"""What a search maximises: the change by one replaced example, m |∂f/∂y_j|, Σ_l |∂f/∂y_l|."""


class Domain(NamedTuple):
    """Examples and queries that are admitted."""

    inputs: float
    """B_x: |x| ≤ B_x."""
    labels: float
    """B_y: |y| ≤ B_y, in units of √v."""


class Certified(NamedTuple):
    """Upper bounds from the weights, in units of √v."""

    change: Floats
    """|f(S) - f(S')| for prompts that differ in example j: `[m]` by j."""
    kappa: float
    """m |∂f/∂y_j| for every j."""
    row_sum: float
    """Σ_j |∂f/∂y_j|."""


def certify(
    architecture: QueryArchitecture, weights: QueryWeights, domain: Domain, examples: int
) -> Certified:
    """What the weights of a network allow one example and the labels to do.

    One layer without MLP and norm: statements 54 (softmax) and 55 (linear). Otherwise the refined
    recursion of statement 30 or, for causal attention, statement 56, capped by the diameter of all
    outputs; label sensitivity by statements 29 and 56.

    Args:
        architecture: What the network is.
        weights: The network as it acts; norms are computed in float64.
        domain: Examples and queries that are admitted.
        examples: m.
    Raises: ValueError for linear attention with MLP or norm, of which no statement speaks.
    Source: derived here, THEORY.md statements 53 to 56.
    """
    exact: QueryWeights = jax.tree.map(lambda a: np.asarray(a, np.float64), weights)
    linear = architecture.kind == "linear"
    if linear and (architecture.mlp or architecture.norm):
        raise ValueError(
            "linear attention is certified without MLP and norm alone, but the network has "
            f"mlp {architecture.mlp!r} and norm {architecture.norm!r}"
        )
    if architecture.depth == 1 and not (architecture.mlp or architecture.norm):
        return (_one_linear if linear else _one_softmax)(exact, domain, examples)
    return _deep(architecture, exact, domain, examples)


def heads_on_features(weights: QueryWeights) -> tuple[Floats, Floats]:
    """A network of one layer in the features ζ: scores ζ_qᵀ A_h ζ_l and values u_h · ζ_l.

    A_h = Eᵀ W_h E `[h, t, t]` and u_h = Eᵀ U_hᵀ w_o `[h, t]` are all that the effect of its
    examples depends on.
    """
    exact: QueryWeights = jax.tree.map(lambda a: np.asarray(a, np.float64), weights)
    embed, block = exact.embed, exact.blocks[0]
    scores = np.einsum("pa,hpq,qb->hab", embed, block.logits, embed)
    values = np.einsum("oa,hpo,p->ha", embed, block.values, exact.readout[0])
    return scores, values


def _dual(vector: Floats, domain: Domain) -> float:
    """Largest inner product with an admitted (x, y): |v_x| B_x + |v_y| B_y."""
    return float(domain.inputs * np.linalg.norm(vector[:-3]) + domain.labels * abs(vector[-3]))


def _over_queries(matrix: Floats, domain: Domain) -> Floats:
    """Bounds on |x-part| and |y-part| of ζ_qᵀ M, and its constant, over all queries.

    ζ_q = (x, 0, 0, 1): the last row of M plus x times its first rows.
    """
    by_input, fixed = matrix[:-3], matrix[-1]
    return np.array(
        [
            np.linalg.norm(fixed[:-3]) + domain.inputs * np.linalg.norm(by_input[:, :-3], 2),
            abs(fixed[-3]) + domain.inputs * np.linalg.norm(by_input[:, -3]),
            abs(fixed[-2]) + domain.inputs * np.linalg.norm(by_input[:, -2]),
        ]
    )


def _one_softmax(weights: QueryWeights, domain: Domain, m: int) -> Certified:
    """Statement 54: only the query's scores count, and only values as they are read out."""
    change = kappa = row_sum = 0.0
    for scores, values in zip(*heads_on_features(weights), strict=True):
        by_input, by_label, _ = _over_queries(scores, domain)
        oscillation = 2 * (domain.inputs * by_input + domain.labels * by_label)
        weight, width = float(bounds.attention_cap(m, oscillation)), 2 * _dual(values, domain)
        own = abs(values[-3])
        change += weight * width
        kappa += m * weight * (own + by_label * width)
        row_sum += own + by_label * width / 2
    return Certified(np.full(m, change), kappa, min(row_sum, kappa))


def _one_linear(weights: QueryWeights, domain: Domain, m: int) -> Certified:
    """Statement 55: the examples enter through a sum of products of two affine forms."""
    b, by = domain.inputs, domain.labels
    change = kappa = 0.0
    for scores, values in zip(*heads_on_features(weights), strict=True):
        x, y, one = values[:-3], values[-3], values[-2]
        c_x, c_y, _ = _over_queries(scores, domain)
        # Forms in ζ_q: coefficients of the linear part, and of x y.
        linear = one * scores + np.outer(scores[:, -2], values)
        mixed = y * scores + np.outer(scores[:, -3], values)
        linear_x, linear_y, _ = _over_queries(linear, domain)
        mixed_x, _, _ = _over_queries(mixed, domain)
        change += 2 * (linear_x * b + linear_y * by) + 2 * b * by * mixed_x
        change += c_x * float(np.linalg.norm(x)) * b**2 + c_y * abs(y) * by**2
        kappa += linear_y + mixed_x * b + 2 * c_y * abs(y) * by
    return Certified(np.full(m, change / m), kappa, kappa)


def _deep(
    architecture: QueryArchitecture, weights: QueryWeights, domain: Domain, m: int
) -> Certified:
    embed = weights.embed
    x, y, example, query = embed[:, :-3], embed[:, -3], embed[:, -2], embed[:, -1]
    reach = float(domain.inputs * np.linalg.norm(x, 2))
    ends = (example + domain.labels * y, example - domain.labels * y, query)
    radius = reach + max(float(np.linalg.norm(end)) for end in ends)
    layers = [_layer(architecture, block) for block in weights.blocks]
    if isinstance(layers[0], bounds.SoftmaxLayer) and not architecture.norm:
        layers[0] = _first_layer(layers[0], weights, domain)
    readout, label = float(np.linalg.norm(weights.readout[0])), float(np.linalg.norm(y))
    moved = min(2 * (reach + domain.labels * label), 2 * radius)
    known: dict[str, Any] = {
        "radius": radius,
        "readout": readout,
        "change": moved,
        "label_embedding": label,
    }
    if architecture.attention == "full" or architecture.depth == 1:
        whole = bounds.replace_one(layers, examples=m, **known)
        return Certified(np.full(m, whole.change), whole.label_sensitivity, whole.label_sensitivity)
    each = [bounds.causal_replace_one(layers, tokens=m, position=j + 1, **known) for j in range(m)]
    sensitivities = np.array([one.label_sensitivity for one in each])
    change = np.minimum([one.change for one in each], 2 * readout * each[0].radii[-1])
    return Certified(change, float(sensitivities.max()), float(sensitivities.mean()))


def _norms(matrices: Any) -> tuple[float, ...]:
    return tuple(float(np.linalg.norm(matrix, 2)) for matrix in matrices)


def _layer(
    architecture: QueryArchitecture, block: QueryBlock
) -> bounds.SoftmaxLayer | bounds.LinearLayer:
    """A layer by the norms of its weights."""
    logits, values = _norms(block.logits), _norms(block.values)
    if architecture.kind == "linear":  # only the sum of products over the heads matters
        return bounds.LinearLayer(sum(a * b for a, b in zip(logits, values, strict=True)), 1.0)
    norm = None
    if block.gains is not None:
        norm = bounds.RMSNorm(architecture.width, float(np.abs(block.gains).max()), eps=1.0)
    if block.mlp is None:
        return bounds.SoftmaxLayer(logits, values, norm=norm)
    up, up_bias, down, down_bias = block.mlp
    # The network's own GELU: the tanh form.
    name = "gelu_tanh" if architecture.activation == "gelu" else "relu"
    at_zero = down @ _activated(name, up_bias) + down_bias
    return bounds.SoftmaxLayer(
        logits,
        values,
        float(np.linalg.norm(up, 2)),
        float(np.linalg.norm(down, 2)),
        float(np.linalg.norm(at_zero)),
        bounds.ACTIVATION_SLOPES[name],
        norm,
    )


def _activated(name: str, z: Any) -> Any:
    if name == "relu":
        return np.maximum(z, 0)
    return 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))


def _first_layer(
    layer: bounds.SoftmaxLayer, weights: QueryWeights, domain: Domain
) -> bounds.SoftmaxLayer:
    """Statement 53: in the first layer keys differ in x and y alone."""
    embed, block = weights.embed, weights.blocks[0]
    oscillations, diameters = [], []
    for logits, values in zip(block.logits, block.values, strict=True):
        scores = embed.T @ logits @ embed
        asked = _over_queries(scores, domain)
        # The same for an example that asks, ζ = (x, y, 1, 0).
        fixed = scores.copy()
        fixed[-1] = scores[-2]
        told = _over_queries(fixed, domain)
        told[0] += domain.labels * np.linalg.norm(scores[-3, :-3])
        told[1] += domain.labels * abs(scores[-3, -3])
        oscillations.append(
            2 * max(domain.inputs * a[0] + domain.labels * a[1] for a in (asked, told))
        )
        moved = values @ embed
        reach = domain.inputs * np.linalg.norm(moved[:, :-3], 2)
        diameters.append(2 * (reach + domain.labels * np.linalg.norm(moved[:, -3])))
    return replace(
        layer, oscillations=tuple(map(float, oscillations)), diameters=tuple(map(float, diameters))
    )


class Swap(NamedTuple):
    """A prompt with its query, and what a search may put in its place; labels in units of √v."""

    xs: Float[Array, "m d"]
    ys: Float[Array, " m"]
    query: Float[Array, " d"]
    x: Float[Array, " d"]
    """The example that replaces another one."""
    y: Float[Array, ""]
    signs: Float[Array, " m"]
    """Which way the labels are nudged for the row sum, in [-1, 1]."""


def swapped(swap: Swap, target: Int[Array, ""], position: Int[Array, ""]) -> Prompts:
    """The other prompt of a target in `TARGETS`: one example replaced, or labels nudged."""
    m = swap.ys.shape[0]
    here = jnp.arange(m) == position
    replaced = here & (target == 0)
    nudge = NUDGE * jnp.where(target == 1, here, jnp.where(target == 2, swap.signs, 0.0))
    xs = jnp.where(replaced[:, None], swap.x[None], swap.xs)
    return Prompts(xs, jnp.where(replaced, swap.y, swap.ys + nudge))


def effect(
    architecture: QueryArchitecture,
    weights: QueryWeights,
    swap: Swap,
    target: Int[Array, ""],
    position: Int[Array, ""],
) -> Float[Array, ""]:
    """How far the mean moves: by a replaced example, or per unit of the labels (m-fold for κ)."""
    other = swapped(swap, target, position)
    both = jnp.stack([other.xs, swap.xs]), jnp.stack([other.ys, swap.ys])

    def mean(xs: Array, ys: Array) -> Array:
        return read_query(architecture, weights, xs, ys, swap.query)[0]

    means = jax.vmap(mean)(*both)
    m = swap.ys.shape[0]
    scale = jnp.stack([jnp.ones(()), jnp.asarray(m / NUDGE), jnp.asarray(1 / NUDGE)])[target]
    return scale * (means[0] - means[1])


def _admitted(swap: Swap, domain: Domain, target: Int[Array, ""]) -> Swap:
    """The nearest swap whose two prompts are both admitted."""

    def ball(x: Array) -> Array:
        length = jnp.sqrt(jnp.sum(x**2, axis=-1, keepdims=True))
        return x * jnp.minimum(1.0, domain.inputs / jnp.maximum(length, 1e-12))

    room = domain.labels - jnp.where(target == 0, 0.0, NUDGE)
    return Swap(
        ball(swap.xs),
        jnp.clip(swap.ys, -room, room),
        ball(swap.query),
        ball(swap.x),
        jnp.clip(swap.y, -room, room),
        jnp.clip(swap.signs, -1, 1),
    )


def search(
    architecture: QueryArchitecture,
    weights: QueryWeights,
    domain: Domain,
    start: Swap,
    target: Int[Array, ""],
    position: Int[Array, ""],
    steps: int,
) -> tuple[Float[Array, ""], Swap]:
    """Projected gradient ascent on the effect of a swap, from one start, in one scan.

    Steps follow the sign of the gradient, from half the size of the domain down to nothing.

    Returns: The largest effect found, a lower bound on the supremum, and the swap that has it.
    """
    b, by = domain
    sizes = Swap(*map(jnp.asarray, (b, by, b, b, by, 1.0)))

    def climb(carry: Any, length: Float[Array, ""]) -> Any:
        swap, best, found = carry
        value, gradient = jax.value_and_grad(effect, argnums=2)(
            architecture, weights, swap, target, position
        )
        found = jax.tree.map(lambda new, old: jnp.where(value > best, new, old), swap, found)
        stepped = jax.tree.map(lambda a, g, s: a + length * s * jnp.sign(g), swap, gradient, sizes)
        return (_admitted(stepped, domain, target), jnp.maximum(best, value), found), None

    first = _admitted(start, domain, target)
    lengths = 0.5 * (1 - jnp.arange(steps) / steps)
    (_, best, found), _ = jax.lax.scan(climb, (first, jnp.asarray(-jnp.inf), first), lengths)
    return best, found


def starts(domain: Domain, dim: int, examples: int, key: PRNGKeyArray, count: int) -> Swap:
    """Random swaps at the edge of the domain; half of them with all other examples alike."""
    sizes = ((examples + 2) * dim, examples + 1, examples, 1)
    # One draw, cut up: compiling several takes longer than the search.
    drawn = jax.random.normal(key, (count, sum(sizes)))
    flat, ys, signs, alike = jnp.split(drawn, np.cumsum(sizes)[:-1], axis=1)
    xs = flat.reshape(count, examples + 2, dim)
    xs = domain.inputs * xs / jnp.sqrt(jnp.sum(xs**2, axis=-1, keepdims=True))
    ys = domain.labels * jnp.sign(ys)
    mixed_xs = jnp.where(alike[..., None] > 0, xs[:, -1:], xs[:, :examples])
    mixed_ys = jnp.where(alike > 0, ys[:, -1:], ys[:, :examples])
    return Swap(mixed_xs, mixed_ys, xs[:, examples], -xs[:, -1], -ys[:, -1], jnp.sign(signs))


def worst_found(
    architecture: QueryArchitecture, weights: QueryWeights, domain: Domain, begin: Swap, steps: int
) -> Float[Array, "targets j"]:
    """The largest effects that searches from these starts find, by target and position.

    They are lower bounds. Positions are those of `positions_of`.
    """
    positions = jnp.array(positions_of(architecture, begin.ys.shape[1]))

    def one(target: Int[Array, ""], position: Int[Array, ""], start: Swap) -> Array:
        return search(architecture, weights, domain, start, target, position, steps)[0]

    by_start = jax.vmap(one, in_axes=(None, None, 0))
    by_position = jax.vmap(by_start, in_axes=(None, 0, None))
    by_target = jax.vmap(by_position, in_axes=(0, None, None))
    return jnp.max(by_target(jnp.arange(len(TARGETS)), positions, begin), axis=-1)


def ordered(architecture: QueryArchitecture) -> bool:
    """Whether positions count: a query that reads raw examples knows none."""
    return architecture.attention == "causal" and architecture.depth > 1


def positions_of(architecture: QueryArchitecture, examples: int) -> tuple[int, ...]:
    """The positions that are searched, from 0: first, middle and last if they count."""
    return (0, examples // 2, examples - 1) if ordered(architecture) else (0,)


def typical_changes(
    task: LinearRegression,
    architecture: QueryArchitecture,
    weights: QueryWeights,
    domain: Domain,
    prompts: Prompts,
    places: Float[Array, " n"],
    contexts: tuple[int, ...],
) -> tuple[Float[Array, "c n"], Float[Array, "c n"]]:
    """|Δf| when one example is drawn anew from the same task, by context length.

    Shorter contexts are the first examples of longer ones; query and new example are the same for
    all. The replaced example is the first or, where positions count, the one at its place.

    Args:
        task: The real law.
        architecture: What the network is.
        weights: The network as it acts.
        domain: To which labels are clipped.
        prompts: Real prompts of two more examples than the longest context: the last one is the
            query, the one before it the new example.
        places: Numbers in [0, 1): the share of the context before the replaced example.
        contexts: Context lengths.
    Returns: |f(S) - f(S')| and the squared error of f(S), by context and prompt.
    """
    longest, unit = max(contexts), task.label_variance**-0.5
    by_place = ordered(architecture)

    def one(args: tuple[Prompts, Float[Array, ""]]) -> tuple[Array, Array]:
        (xs, raw), place = args
        ys = jnp.clip(unit * raw, -domain.labels, domain.labels)

        def at(length: Int[Array, ""]) -> tuple[Array, Array]:
            where = jnp.floor(place * length).astype(int) if by_place else 0
            here = jnp.arange(longest) == where
            other_xs = jnp.where(here[:, None], xs[-2][None], xs[:-2])
            other_ys = jnp.where(here, ys[-2], ys[:-2])
            visible = jnp.arange(longest) < length

            def mean(xs_read: Array, ys_read: Array) -> Array:
                return read_query(architecture, weights, xs_read, ys_read, xs[-1], visible)[0]

            both = jnp.stack([xs[:-2], other_xs]), jnp.stack([ys[:-2], other_ys])
            means = jax.vmap(mean)(*both)
            return jnp.abs(means[0] - means[1]), (means[0] - unit * raw[-1]) ** 2

        return jax.vmap(at)(jnp.array(contexts))

    # A few prompts at a time: long contexts would fill the memory.
    batch = max(1, 2000 // longest)
    changes, errors = jax.lax.map(one, (prompts, places), batch_size=batch)
    return changes.T, errors.T


def _by_position(
    architecture: QueryArchitecture, m: int, changes: Float[Array, " n"], places: Float[Array, " n"]
) -> Float[Array, " j"]:
    """Mean change by replaced position, at the positions that are searched."""
    if not ordered(architecture):
        return jnp.mean(changes)[None]
    here = jnp.floor(places * m)[None] == jnp.array(positions_of(architecture, m))[:, None]
    return jnp.sum(changes[None] * here, axis=1) / jnp.maximum(jnp.sum(here, axis=1), 1)


@cache
def _draws(
    task: LinearRegression,
    training: Training,
    domain: Domain,
    runs: int,
    restarts: int,
    lengths: tuple[tuple[int, ...], ...],
    counts: tuple[int, ...],
) -> Any:
    """All randomness as a function of a key: starts and data of networks, of searches, prompts.

    The same for all architectures, and compiled once: drawing takes longer to compile than the
    rest.
    """

    @partial(jax.jit, compiler_options=quick_options())
    def draw(key: PRNGKeyArray) -> Any:
        key_fit, key_search, key_prompts = jax.random.split(key, 3)
        keys = jax.random.split(key_fit, (runs, 2))
        batches = jax.vmap(partial(query_batches, task, training))(keys[:, 0])
        begin = starts(domain, task.dim, task.context, key_search, restarts)
        longest = max(max(contexts) for contexts in lengths)
        most = sample_prompts(replace(task, context=longest + 2), key_prompts, max(counts))
        places = (jnp.arange(max(counts)) * GOLDEN) % 1.0
        drawn = []
        for contexts, n in zip(lengths, counts, strict=True):
            last = -max(contexts) - 2
            drawn.append((Prompts(most.xs[:n, last:], most.ys[:n, last:]), places[:n]))
        return keys[:, 1], batches, begin, drawn

    return draw


def run_networks(experiment: CertifiedNetworks, seed: int) -> Arrays:
    """Train networks, search, replace at random, certify: arrays `[runs, ...]`.

    `certified`, `adversarial`, `typical_by_position` `[runs, j]` by position; `typical` and
    `typical_q99` `[runs]`; `kappa`, `row_sum` `[runs, 2]`, certified and found; `by_context` and
    `certified_by_context` `[runs, contexts]`; `error`, squared error in units of v. For networks of
    one layer also `scores` and `values`, see `heads_on_features`.
    """
    task, architecture = experiment.task, experiment.architecture
    domain, m = Domain(task.dim**0.5, experiment.label_bound), task.context
    fit = query_trainer(task, architecture, experiment.training)
    lengths = ((m,), experiment.contexts)
    counts = (experiment.prompts, experiment.long_prompts)

    def run(key: PRNGKeyArray, batches: Prompts, begin: Swap, drawn: Any) -> dict[str, Any]:
        weights = effective_weights(architecture, fit(key, batches).weights)
        found = worst_found(architecture, weights, domain, begin, experiment.search_steps)
        (changes, errors), (long, _) = (
            typical_changes(task, architecture, weights, domain, prompts, places, contexts)
            for (prompts, places), contexts in zip(drawn, lengths, strict=True)
        )
        return {
            "weights": weights,
            "found": found,
            "typical": jnp.mean(changes[0]),
            "typical_by_position": _by_position(architecture, m, changes[0], drawn[0][1]),
            "typical_q99": jnp.quantile(changes[0], 0.99),
            "error": jnp.mean(errors[0]),
            "by_context": jnp.mean(long, axis=1),
        }

    key = jax.random.key(seed)
    draw = _draws(
        task, experiment.training, domain, experiment.runs, experiment.restarts, lengths, counts
    )
    train = over_replicates(run, shared=2, quick_compilation=True)
    seen = jax.tree.map(np.asarray, train(*on_host(draw(key))))
    every = [jax.tree.map(lambda a, r=r: a[r], seen["weights"]) for r in range(experiment.runs)]
    known = [certify(architecture, weights, domain, m) for weights in every]
    at, found = list(positions_of(architecture, m)), np.asarray(seen["found"], np.float64)
    arrays: Arrays = {
        "certified": np.array([one.change[at] for one in known]),
        "adversarial": found[:, 0],
        "kappa": np.stack([[one.kappa for one in known], found[:, 1].max(1)], 1),
        "row_sum": np.stack([[one.row_sum for one in known], found[:, 2].max(1)], 1),
        "certified_by_context": np.array(
            [
                [
                    certify(architecture, weights, domain, k).change.max()
                    for k in experiment.contexts
                ]
                for weights in every
            ]
        ),
        **{
            name: seen[name]
            for name in ("typical", "typical_q99", "typical_by_position", "error", "by_context")
        },
    }
    if architecture.depth == 1 and not (architecture.mlp or architecture.norm):
        heads = [heads_on_features(weights) for weights in every]
        arrays["scores"] = np.array([scores for scores, _ in heads])
        arrays["values"] = np.array([values for _, values in heads])
    return arrays

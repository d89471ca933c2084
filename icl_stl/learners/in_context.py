"""In-context learners: the trained transformer, and the exact Bayes predictor."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from icl_stl.config import Architecture, QueryArchitecture, Training
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import Normal, Prompts, sample_prompts, standard_normal
from icl_stl.learners.laws import cumulated_shares
from icl_stl.learners.learner import Learner, writer
from icl_stl.models.causal import InContextModel, Params, bayes, generate_labels, transformer
from icl_stl.models.query import query_init, query_law, query_transformer


class Fitted(NamedTuple):
    """Trained parameters and how the training went."""

    weights: Params
    """Those of the last step, or the average of the last ones."""
    loss: Float[Array, ""]
    """Mean training loss of the last tenth of the steps, nats a label: of their own weights."""
    diverged_at: Int[Array, ""]
    """The first step with a loss that is not finite; -1 if there is none."""


def _in_context(
    task: LinearRegression,
    model: InContextModel,
    fit: Callable[[PRNGKeyArray, Prompts, Float[Array, " N"]], Params],
    weights: Callable[[Params], Params],
    plug_in: bool,
) -> Learner:
    """A learner whose generator draws inputs from the real law and labels from what it predicts."""

    def relabel(key: PRNGKeyArray, params: Params, prompts: Prompts, bias: Any = 1.0) -> Prompts:
        std, xs = task.noise if plug_in else None, prompts.xs
        return generate_labels(model, weights(params), key, xs, plug_in_std=std, bias=bias)

    def predict(params: Params, prompts: Prompts, bias: Any = 1.0) -> Normal:
        law = model.predict(weights(params), prompts)
        std = jnp.full_like(law.std, task.noise) if plug_in else law.std
        return law._replace(std=bias**0.5 * std)

    def redraw(
        key: PRNGKeyArray, params: Params, prompts: Prompts, bias: Any = 1.0
    ) -> tuple[Prompts, Array]:
        law = predict(params, prompts, bias)
        drawn = law.mean + law.std * standard_normal(key, *prompts.ys.shape)
        return prompts._replace(ys=drawn), jnp.exp(law.log_density(prompts.ys))

    return Learner(fit, writer(task, relabel), predict, relabel, redraw=redraw, takes_bias=True)


def bayes_learner(task: LinearRegression, *, plug_in: bool = False) -> Learner:
    """The learner that knows the real law and ignores its data.

    With the predictive deviation every drift is zero.
    """
    return _in_context(
        task, bayes(task), lambda key, data, weights: (), lambda params: params, plug_in
    )


def in_context_model(
    task: LinearRegression, architecture: Architecture | QueryArchitecture
) -> InContextModel:
    """The network that an architecture describes."""
    if isinstance(architecture, QueryArchitecture):
        return query_transformer(task, architecture)
    return transformer(task, architecture)


class Rates(NamedTuple):
    """What of a training is a number in the program and not part of its shape; may be traced."""

    learning_rate: Any
    """Peak learning rate."""
    weight_decay: Any
    """Decoupled, in units of the learning rate."""


NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of a step towards the orthogonal factor. Source: published (Jordan 2024, Muon)."""

_OTHERS = 3.0
"""Rate of what is no matrix beside that of matrices."""

_LAST_RATE = 0.1
"""Rate at the end beside its peak, where weights are averaged: they have to move."""


def orthogonalised(matrices: Float[Array, "k r c"], steps: int = 3) -> Float[Array, "k r c"]:
    """U f(S) Vᵀ of every matrix U S Vᵀ, r <= c, f(S) nearer to 1: steps of Newton and Schulz.

    They are polynomials in X Xᵀ times X: all but the last product is of small square matrices.
    """

    def times(a: Array, b: Array) -> Array:
        return jnp.einsum("kij,klj->kil", a, b)  # of symmetric matrices that commute

    first, second, third = NEWTON_SCHULZ
    gram = times(matrices, matrices)
    size = jnp.trace(gram, axis1=1, axis2=2)[:, None, None] + 1e-16
    gram, one = gram / size, jnp.broadcast_to(jnp.eye(matrices.shape[1]), gram.shape)
    whole = one
    for _ in range(steps):
        factor = first * one + second * gram + third * times(gram, gram)
        whole, gram = times(factor, whole), times(factor, times(gram, factor))
    return jnp.einsum("kij,kjl->kil", whole, matrices) * size**-0.5


class _Parted(NamedTuple):
    """All parameters in few arrays: one update to compile and to run, not one for each leaf."""

    matrices: Any
    """Kernels between the embedding and the head, lying, with zeros where they are smaller than
    others: `[k, r, c]`; () if none are kept apart."""
    rest: Float[Array, " p"]
    """All other parameters."""


def _parting(params: Params, *, matrices: bool) -> tuple[_Parted, Callable[[_Parted], Params], Any]:
    """Parameters parted, how to put them together, and the larger side of every matrix."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    names = [{getattr(part, "key", None) for part in path} for path, _ in leaves]
    apart = [matrices and "kernel" in own and not own & {"embed", "head"} for own in names]
    shapes = [leaf.shape for _, leaf in leaves]
    sizes = np.array([sorted(shape) for shape, own in zip(shapes, apart, strict=True) if own])

    def part(leaf: Array) -> Array:
        lying = leaf.T if leaf.shape[0] > leaf.shape[1] else leaf
        room = sizes.max(axis=0) - lying.shape
        return jnp.pad(lying, [(0, one) for one in room])

    def together(parted: _Parted) -> Params:
        found, start, place = [], 0, 0
        for shape, own in zip(shapes, apart, strict=True):
            if own:
                lying = parted.matrices[place, : min(shape), : max(shape)]
                found.append(lying.T if shape[0] > shape[1] else lying)
                place += 1
            else:
                end = start + int(np.prod(shape))
                found.append(parted.rest[start:end].reshape(shape))
                start = end
        return jax.tree.unflatten(structure, found)

    chosen = [part(leaf) for (_, leaf), own in zip(leaves, apart, strict=True) if own]
    others = [leaf.ravel() for (_, leaf), own in zip(leaves, apart, strict=True) if not own]
    parted = _Parted(jnp.stack(chosen) if chosen else (), jnp.concatenate(others))
    return parted, together, sizes[:, 1:, None] if chosen else None


def _muon(sides: Any, others: optax.GradientTransformation) -> optax.GradientTransformation:
    """Muon for matrices, another optimiser, `_OTHERS` times, for the rest of `_Parted`.

    Momentum with Nesterov's step, made orthogonal and 0.2 √(larger side) long, which is the size of
    Adam's updates. All matrices are orthogonalised at once; zeros around them stay zeros. Source:
    published (Jordan 2024; Liu et al. 2025, the length).
    """

    def init(params: Any) -> Any:
        return jnp.zeros_like(params.matrices), others.init(params.rest)

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        momentum, of_others = state
        momentum = 0.95 * momentum + 0.05 * grads.matrices
        ahead = 0.95 * momentum + 0.05 * grads.matrices
        rest, of_others = others.update(grads.rest, of_others)
        step = _Parted(0.2 * sides**0.5 * orthogonalised(ahead), _OTHERS * rest)
        return step, (momentum, of_others)

    return optax.GradientTransformation(init, update)


def _direction(sides: Any) -> optax.GradientTransformation:
    """What the optimiser makes of the gradients of parameters parted, before decay and rate."""
    adam: optax.GradientTransformation = optax.scale_by_adam(b2=0.95, nesterov=True)
    return adam if sides is None else _muon(sides, adam)


def _optimiser(training: Training, rates: Rates, sides: Any) -> optax.GradientTransformation:
    """Of parameters parted, their matrices with these larger sides."""
    warmup = min(round(training.warmup * training.steps), training.steps - 1)
    end = _LAST_RATE if training.average else 0.0
    shape = optax.warmup_cosine_decay_schedule(0.0, 1.0, warmup, training.steps, end)
    return optax.chain(
        _direction(sides),
        optax.add_decayed_weights(rates.weight_decay),
        optax.scale_by_learning_rate(lambda step: rates.learning_rate * shape(step)),
    )


def _rates(
    training: Training, rows: Any, learning_rate: Any = None, weight_decay: Any = None
) -> Rates:
    """Rates of a training of so many rows, its own or those given instead."""
    rate = training.learning_rate if learning_rate is None else learning_rate
    decay = training.weight_decay if weight_decay is None else weight_decay
    prior = training.prior_rows
    return Rates(rate, decay * jnp.minimum(1, prior / rows) if prior else decay)


def _minimise(
    loss: Callable[[Params, Any], Float[Array, ""]],
    training: Training,
    rates: Rates,
    start: Params,
    seen: Any,
) -> Fitted:
    """Minimise a loss from a start, one step for each entry of `seen`, in one scan."""
    first, together, sides = _parting(start, matrices=training.optimiser == "muon")
    optimiser = _optimiser(training, rates, sides)
    memory = max(1.0, training.average * training.steps)

    def step(carry: Any, batch: Any) -> Any:
        weights, state, mean = carry
        value, grads = jax.value_and_grad(lambda parted: loss(together(parted), batch))(weights)
        updates, state = optimiser.update(grads, state, weights)
        weights = optax.apply_updates(weights, updates)
        if training.average:
            mean = optax.incremental_update(weights, mean, 1 / memory)
        return (weights, state, mean), value

    start_of_mean: Any = first if training.average else ()
    (last, _, mean), losses = jax.lax.scan(
        step, (first, optimiser.init(first), start_of_mean), seen
    )
    bad = ~jnp.isfinite(losses)
    diverged_at = jnp.where(bad.any(), jnp.argmax(bad), -1)
    loss_at_end = jnp.mean(losses[-max(1, training.steps // 10) :])
    return Fitted(together(mean if training.average else last), loss_at_end, diverged_at)


def fit_query_model(
    task: LinearRegression, architecture: QueryArchitecture, training: Training
) -> Callable[[PRNGKeyArray], Fitted]:
    """Training of a network that only answers queries, on new real prompts in every step.

    Minimises -ln p_θ(y | x, m examples), m = `task.context`, over a batch of `training.batch`
    prompts, in one scan; all of it may be mapped over keys.

    Function of a key: initialisation and data -> the `Fitted` network.
    """
    fit = query_trainer(task, architecture, training)

    def fit_on_new(key: PRNGKeyArray) -> Fitted:
        key_init, key_data = jax.random.split(key)
        return fit(key_init, query_batches(task, training, key_data))

    return fit_on_new


def query_batches(task: LinearRegression, training: Training, key: PRNGKeyArray) -> Prompts:
    """All prompts of a training, the last example the query: `xs: [steps, batch, m + 1, d]`."""
    longer = replace(task, context=task.context + 1)
    drawn = sample_prompts(longer, key, training.steps * training.batch)
    batches = (training.steps, training.batch)
    return Prompts(*(a.reshape(*batches, *a.shape[1:]) for a in drawn))


def query_trainer(
    task: LinearRegression, architecture: QueryArchitecture, training: Training
) -> Callable[[PRNGKeyArray, Prompts], Fitted]:
    """As `fit_query_model`, with the data of `query_batches` given: key of the start, batches."""

    def loss(params: Params, batch: Prompts) -> Float[Array, ""]:
        xs, ys = batch
        answer = jax.vmap(partial(query_law, task, architecture, params))
        laws = answer(xs[:, :-1], ys[:, :-1], xs[:, -1])
        return -jnp.mean(laws.log_density(ys[:, -1]))

    def fit(key: PRNGKeyArray, batches: Prompts) -> Fitted:
        start = query_init(task, architecture, key)
        rates = _rates(training, training.steps * training.batch)
        return _minimise(loss, training, rates, start, batches)

    return fit


def rows_read(
    training: Training, row_weights: Float[Array, " N"], jitter: Float[Array, "steps batch"]
) -> Int[Array, "steps batch"]:
    """The rows of every batch: the k-th of b points lies in the k-th part of the unit interval.

    Part of the cumulated weights, at the place in it that the jitter says; or, if rows are read
    `once`, at (t + 1/2)/steps in step t, so that steps · batch rows of equal weight are read in
    turn. Sums of weights are rounded: up to about a million rows.
    """
    cumulated = cumulated_shares(row_weights)
    cumulated = cumulated / cumulated[-1]
    if training.once:
        jitter = (jnp.arange(training.steps)[:, None] + 0.5) / training.steps
    points = (jnp.arange(training.batch)[None] + jitter) / training.batch
    # A point may round up to 1: it belongs to the last row that has a weight.
    last = jnp.searchsorted(cumulated, 1.0)
    return jnp.minimum(jnp.searchsorted(cumulated, points, side="right"), last)


def adam_transformer(
    task: LinearRegression,
    architecture: Architecture | QueryArchitecture,
    training: Training,
    *,
    plug_in: bool = False,
    learning_rate: Any = None,
    weight_decay: Any = None,
) -> Learner:
    """A transformer fitted to the negative log-likelihood of the labels, as `Training` says.

    Minimises Σ_rows weight · mean_k -ln p_θ(y_k | x_{1:k}, y_{<k}) by minibatches: in each step the
    unit interval of the cumulated weights is cut into `batch` equal parts and one row is drawn in
    each, so every batch holds real and synthetic rows in their shares, exact to one row. A training
    of rows that are read `once` takes in step t the point (t + 1/2)/steps of each part. With
    `shuffle_examples` the loss is averaged over orders of the examples: what is learned from is the
    training law made symmetric, which is that law itself for D_0 but not for a generated one. The
    whole training is one scan.

    Args:
        learning_rate: Instead of the training's, if given; may be traced, so that one program
            serves many.

    Its parameters are a `Fitted`.
    """
    model = in_context_model(task, architecture)

    def fit(key: PRNGKeyArray, prompts: Prompts, row_weights: Float[Array, " N"]) -> Fitted:
        key_init, key_batches = jax.random.split(key)
        columns = training.batch + task.context
        drawn = jax.random.uniform(key_batches, (training.steps, columns))
        jitter, ranks = jnp.split(drawn, [training.batch], axis=1)
        rows = rows_read(training, row_weights, jitter)
        if training.shuffle_examples:
            order = jnp.argsort(ranks, axis=1)  # uniform among the permutations
        else:
            order = jnp.broadcast_to(jnp.arange(task.context), ranks.shape)

        def loss(weights: Params, chosen: tuple[Any, Any]) -> Float[Array, ""]:
            row, examples = chosen
            batch = jax.tree.map(lambda a: a[row[:, None], examples], prompts)
            laws = model.predict(weights, batch)
            return -jnp.mean(laws.log_density(batch.ys))

        there = jnp.sum(row_weights) ** 2 / jnp.sum(row_weights**2)
        rates = _rates(training, there, learning_rate, weight_decay)
        return _minimise(loss, training, rates, model.init(key_init), (rows, order))

    return _in_context(task, model, fit, lambda fitted: fitted.weights, plug_in)

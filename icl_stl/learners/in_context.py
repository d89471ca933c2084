"""In-context learners: the transformer trained by NAdam, and the exact Bayes predictor."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray

from icl_stl.config import Architecture, QueryArchitecture, Training
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import Normal, Prompts, sample_inputs, sample_prompts
from icl_stl.learners.laws import cumulated_shares
from icl_stl.learners.learner import Learner
from icl_stl.models.causal import InContextModel, Params, bayes, generate_labels, transformer
from icl_stl.models.query import query_init, query_law, query_transformer


class Fitted(NamedTuple):
    """Trained parameters and how the training went."""

    weights: Params
    loss: Float[Array, ""]
    """Mean training loss of the last tenth of the steps, nats a label."""
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

    def relabel(key: PRNGKeyArray, params: Params, prompts: Prompts) -> Prompts:
        std = task.noise if plug_in else None
        return generate_labels(model, weights(params), key, prompts.xs, plug_in_std=std)

    def generate(key: PRNGKeyArray, params: Params, count: int) -> Prompts:
        key_xs, key_ys = jax.random.split(key)
        xs = sample_inputs(task, key_xs, count, task.context)
        return relabel(key_ys, params, Prompts(xs, jnp.zeros(xs.shape[:2])))

    def predict(params: Params, prompts: Prompts) -> Normal:
        law = model.predict(weights(params), prompts)
        return law._replace(std=jnp.full_like(law.std, task.noise)) if plug_in else law

    return Learner(fit, generate, predict, relabel)


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


def _nadam(training: Training, rates: Rates) -> optax.GradientTransformation:
    warmup = min(round(training.warmup * training.steps), training.steps - 1)
    shape = optax.warmup_cosine_decay_schedule(0.0, 1.0, warmup, training.steps)
    optimiser: optax.GradientTransformation = optax.nadamw(
        lambda step: rates.learning_rate * shape(step), b2=0.95, weight_decay=rates.weight_decay
    )
    return optimiser


def _rates(training: Training, learning_rate: Any = None, weight_decay: Any = None) -> Rates:
    """Rates of a training, or those given instead."""
    return Rates(
        training.learning_rate if learning_rate is None else learning_rate,
        training.weight_decay if weight_decay is None else weight_decay,
    )


def _minimise(
    loss: Callable[[Params, Any], Float[Array, ""]],
    training: Training,
    rates: Rates,
    start: Params,
    seen: Any,
) -> Fitted:
    """Minimise a loss by NAdam from a start, one step for each entry of `seen`, in one scan.

    All parameters lie in one array, which is one update to compile and to run, not one for each
    leaf.
    """
    optimiser = _nadam(training, rates)
    first, tree = ravel_pytree(start)

    def step(carry: Any, batch: Any) -> Any:
        weights, state = carry
        value, grads = jax.value_and_grad(loss)(tree(weights), batch)
        updates, state = optimiser.update(ravel_pytree(grads)[0], state, weights)
        return (optax.apply_updates(weights, updates), state), value

    (last, _), losses = jax.lax.scan(step, (first, optimiser.init(first)), seen)
    bad = ~jnp.isfinite(losses)
    diverged_at = jnp.where(bad.any(), jnp.argmax(bad), -1)
    return Fitted(tree(last), jnp.mean(losses[-max(1, training.steps // 10) :]), diverged_at)


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
        return _minimise(loss, training, _rates(training), start, batches)

    return fit


def adam_transformer(
    task: LinearRegression,
    architecture: Architecture | QueryArchitecture,
    training: Training,
    *,
    plug_in: bool = False,
    learning_rate: Any = None,
    weight_decay: Any = None,
) -> Learner:
    """A transformer fitted to the negative log-likelihood of the labels by NAdam.

    Minimises Σ_rows weight · mean_k -ln p_θ(y_k | x_{1:k}, y_{<k}) by minibatches: in each step the
    unit interval of the cumulated weights is cut into `batch` equal parts and one row is drawn in
    each, so every batch holds real and synthetic rows in their shares, exact to one row. With
    `shuffle_examples` the loss is averaged over orders of the examples: what is learned from is the
    training law made symmetric, which is that law itself for D_0 but not for a generated one. The
    whole training is one scan.

    Args:
        learning_rate: Instead of the training's, if given; may be traced, so that one program
            serves many.

    Its parameters are a `Fitted`.
    """
    rates = _rates(training, learning_rate, weight_decay)
    model = in_context_model(task, architecture)

    def fit(key: PRNGKeyArray, prompts: Prompts, row_weights: Float[Array, " N"]) -> Fitted:
        key_init, key_batches = jax.random.split(key)
        cumulated = cumulated_shares(row_weights)
        cumulated = cumulated / cumulated[-1]
        columns = training.batch + task.context
        drawn = jax.random.uniform(key_batches, (training.steps, columns))
        jitter, ranks = jnp.split(drawn, [training.batch], axis=1)
        points = (jnp.arange(training.batch)[None] + jitter) / training.batch
        # A point may round up to 1: it belongs to the last row that has a weight.
        last = jnp.searchsorted(cumulated, 1.0)
        rows = jnp.minimum(jnp.searchsorted(cumulated, points, side="right"), last)
        if training.shuffle_examples:
            order = jnp.argsort(ranks, axis=1)  # uniform among the permutations
        else:
            order = jnp.broadcast_to(jnp.arange(task.context), ranks.shape)

        def loss(weights: Params, chosen: tuple[Any, Any]) -> Float[Array, ""]:
            row, examples = chosen
            batch = jax.tree.map(lambda a: a[row[:, None], examples], prompts)
            laws = model.predict(weights, batch)
            return -jnp.mean(laws.log_density(batch.ys))

        return _minimise(loss, training, rates, model.init(key_init), (rows, order))

    return _in_context(task, model, fit, lambda fitted: fitted.weights, plug_in)

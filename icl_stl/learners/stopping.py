"""Early stopping: what is trained by gradients, as it was when held-out rows liked it best."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from icl_stl.learners.generative.base import chosen
from icl_stl.models.causal import Params

ROUND = 50
"""Steps between two looks at the held-out rows."""
HELD = 0.2
"""Share of the rows that is held out."""
MEMORY = 100
"""Steps that the averaged parameters remember."""


class _State(NamedTuple):
    rounds: Array
    waited: Array
    params: Params
    mean: Params
    optimiser: Any
    best: Params
    value: Array


def early_stopped(
    loss: Callable[[Params, PRNGKeyArray, Float[Array, "n c"]], Float[Array, " n"]],
    start: Params,
    key: PRNGKeyArray,
    rows: Float[Array, "N c"],
    weights: Float[Array, " N"],
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    patience: int,
    held_loss: Callable[[Params, PRNGKeyArray, Float[Array, "N c"]], Float[Array, " N"]],
) -> Params:
    """Minimise a mean loss by Adam on batches of rows, drawn by their weights.

    A fifth of the rows, drawn by lot, is held out. Their weighted loss under the parameters'
    exponential average over 100 steps is seen before the first step and every 50 steps; the average
    with the least is kept, and `patience` looks without a better one end the training. Where all
    weight is on one side of the lot, all rows are on both.

    Args:
        loss: parameters, key, rows -> loss of every row.
        start: Parameters to start from.
        key: Randomness of the lot and of the steps.
        rows: Rows.
        weights: Their weights, summing to 1.
        steps: Steps at most, in whole rounds of 50.
        batch: Rows a step.
        learning_rate: Of Adam; gradients are clipped to the norm 1.
        patience: Looks at the held-out rows.
        held_loss: As `loss`, with one key for all looks.
    """
    key_lot, key_held, key_steps = jax.random.split(key, 3)
    out = jax.random.uniform(key_lot, weights.shape) < HELD
    apart = jnp.sum(weights * out)
    both = (apart > 0) & (apart < 1 - 1e-6)
    learned = jnp.where(both & out, 0, weights)
    held = jnp.where(both & ~out, 0, weights)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(learning_rate))

    def seen(params: Params) -> Array:
        return held @ held_loss(params, key_held, rows) / jnp.sum(held)

    def step(carry: tuple[Params, Params, Any], key: PRNGKeyArray) -> tuple[Any, None]:
        params, mean, state = carry
        key_rows, key_loss = jax.random.split(key)
        points = (jnp.arange(batch) + jax.random.uniform(key_rows, (batch,))) / batch
        some = rows[chosen(points, learned)]
        grads = jax.grad(lambda params: jnp.mean(loss(params, key_loss, some)))(params)
        updates, state = optimiser.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        return (params, optax.incremental_update(params, mean, 1 / MEMORY), state), None

    def one_round(now: _State) -> _State:
        keys = jax.random.split(jax.random.fold_in(key_steps, now.rounds), ROUND)
        start = now.params, now.mean, now.optimiser
        (params, mean, state), _ = jax.lax.scan(step, start, keys)
        value = seen(mean)
        better = value < now.value
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), mean, now.best)
        waited = jnp.where(better, 0, now.waited + 1)
        value = jnp.minimum(value, now.value)
        return _State(now.rounds + 1, waited, params, mean, state, best, value)

    def goes_on(now: _State) -> Array:
        return (now.rounds < -(-steps // ROUND)) & (now.waited < patience)

    nothing, state = jnp.array(0), optimiser.init(start)
    first = _State(nothing, nothing, start, start, state, start, seen(start))
    return jax.lax.while_loop(goes_on, one_round, first).best

"""What a learner is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import Normal, Prompts, sample_inputs
from icl_stl.models.causal import Params

Data = Any


@dataclass(frozen=True)
class Learner:
    """A learning algorithm and the generative model it returns."""

    fit: Callable[[PRNGKeyArray, Data, Float[Array, " N"]], Params]
    """key, N rows of data, their weights (summing to 1, 0 for a row that is not there) ->
    parameters."""
    generate: Callable[[PRNGKeyArray, Params, int], Data]
    """key, parameters, count -> that many rows from D_θ."""
    predict: Callable[[Params, Data], Normal] | None = None
    """parameters, n prompts -> the law of every label given what precedes it: `[n, m]`."""
    relabel: Callable[[PRNGKeyArray, Params, Data], Data] | None = None
    """key, parameters, rows -> rows with the same inputs and new labels from D_θ; new rows where
    rows have no inputs."""
    redraw: Callable[[PRNGKeyArray, Params, Data], tuple[Data, Array]] | None = None
    """key, parameters, rows -> rows in which every label, or symbol, is drawn anew given those
    before it **as they stand**; and how likely those are that stand there, a probability or a
    density, `[N]` or `[N, m]`. For learners whose rows have several labels, or symbols."""
    log_density: Callable[[Params, Data], Float[Array, " N"]] | None = None
    """parameters, N rows -> ln p_θ of every row, natural logarithm, in the unit of the rows."""


def writer(
    task: LinearRegression, relabel: Callable[[PRNGKeyArray, Params, Prompts], Prompts]
) -> Callable[[PRNGKeyArray, Params, int], Prompts]:
    """A generator that draws inputs from the real law and writes the labels itself."""

    def generate(key: PRNGKeyArray, params: Params, count: int) -> Prompts:
        key_xs, key_ys = jax.random.split(key)
        xs = sample_inputs(task, key_xs, count, task.context)
        return relabel(key_ys, params, Prompts(xs, jnp.zeros(xs.shape[:2])))

    return generate


def with_weight(rows: Data, weights: Float[Array, " N"]) -> Data:
    """The rows, those without a weight made 0: 0 · inf and 0 · nan would not be 0."""
    there = weights > 0

    def masked(leaf: Array) -> Array:
        return jnp.where(there.reshape(-1, *(1,) * (leaf.ndim - 1)), leaf, jnp.zeros_like(leaf))

    return jax.tree.map(masked, rows)

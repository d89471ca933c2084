"""What a learner is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from icl_stl.config import require, sampling_bias
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
    generate: Callable[..., Data]
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
    update: Callable[[PRNGKeyArray, Params, Data, Float[Array, " N"], Any], Params] | None = None
    """key, θ_{i-1}, N rows of data, their weights, α_i -> θ_i, of a learner that goes on from the
    generation before; without it, every generation is fitted afresh."""
    log_density: Callable[[Params, Data], Float[Array, " N"]] | None = None
    """parameters, N rows -> ln p_θ of every row, natural logarithm, in the unit of the rows; of a
    learner of labels, given its inputs."""
    takes_bias: bool = False
    """Whether what draws rows or labels (`BIASED`) takes a number `bias` by name: `tempered`."""


def row_log_density(learner: Learner, params: Params, rows: Data) -> Float[Array, " N"]:
    """How likely the learner itself calls every row, ln p_θ.

    That is its `log_density`, or the sum over the labels that it can `predict`, each given what
    precedes it.

    Raises:
        ValueError: If it has neither.
    """
    if learner.log_density is not None:
        return learner.log_density(params, rows)
    right = "one with log_density or predict where rows are kept by its own confidence"
    require(learner.predict is not None, "learner", "one with neither", right)
    assert learner.predict is not None
    labels: Any = getattr(rows, "ys", rows)
    each = learner.predict(params, rows).log_density(labels)
    found: Array = jnp.sum(each, axis=tuple(range(1, labels.ndim)))
    return found


BIASED = ("generate", "predict", "relabel", "redraw")


def tempered(learner: Learner, bias: float) -> Learner:
    """The learner, of which rows are drawn with the sampling bias s: quality against diversity.

    It fits what it did. Instead of N(μ, S) it draws from N(μ, s S): the normal noise behind a row
    or a label, of a mixture around each component's mean, has its variance multiplied by s.
    Symbols are drawn with probabilities as p^(1/s), which does the same to a normal density. What
    it predicts of labels is the law that it writes them by; `log_density` stays that of the fit.
    Source: derived here, setting of Alemohammad et al. 2023: THEORY.md statements 116 and 119.

    Args:
        bias: s in (0, 1]; 1 is the learner itself.

    Raises:
        ValueError: If s is outside, or it has no variance or temperature to scale.
    """
    bias = sampling_bias("bias", bias)
    if bias == 1:
        return learner
    right = "1 for this learner, whose rows are drawn in one way only"
    require(learner.takes_bias, "bias", bias, right)
    parts = {name: getattr(learner, name) for name in BIASED}
    biased: Any = {name: partial(f, bias=bias) for name, f in parts.items() if f is not None}
    return replace(learner, **biased)


def foreign(learner: Learner, params: Any) -> Learner:
    """The learner, whose rows and labels a fixed other model writes, whatever was fitted.

    It fits what it did; the synthetic rows of every generation are those of D_θ with θ = `params`.
    Source: derived here, setting of Dohmatob et al. 2024: THEORY.md section 30.
    """

    def written(draw: Any) -> Any:
        def made(key: PRNGKeyArray, _: Params, *rest: Any, **how: Any) -> Any:
            return draw(key, jax.tree.map(jnp.asarray, params), *rest, **how)

        return made

    names = ("generate", "relabel", "redraw")
    parts = {name: getattr(learner, name) for name in names}
    other: Any = {name: written(f) for name, f in parts.items() if f is not None}
    return replace(learner, **other)


def writer(
    task: LinearRegression, relabel: Callable[..., Prompts]
) -> Callable[[PRNGKeyArray, Params, int], Prompts]:
    """A generator that draws inputs from the real law and writes the labels itself."""

    def generate(key: PRNGKeyArray, params: Params, count: int, **how: Any) -> Prompts:
        key_xs, key_ys = jax.random.split(key)
        xs = sample_inputs(task, key_xs, count, task.context)
        return relabel(key_ys, params, Prompts(xs, jnp.zeros(xs.shape[:2])), **how)

    return generate


def with_weight(rows: Data, weights: Float[Array, " N"]) -> Data:
    """The rows, those without a weight made 0: 0 · inf and 0 · nan would not be 0."""
    there = weights > 0

    def masked(leaf: Array) -> Array:
        return jnp.where(there.reshape(-1, *(1,) * (leaf.ndim - 1)), leaf, jnp.zeros_like(leaf))

    return jax.tree.map(masked, rows)

"""Estimators of a law on symbols from rows of which nothing says whether they are real."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from icl_stl.config import one_of, whole
from icl_stl.learners.laws import categorical
from icl_stl.learners.learner import Learner
from icl_stl.references.sources import ESTIMATORS, Estimator


class Marked(NamedTuple):
    """Symbols, and which of them are real: what the oracle alone looks at."""

    symbol: Int[Array, " N"]
    real: Bool[Array, " N"]


class Estimate(NamedTuple):
    """What an estimator publishes, and what it goes on from."""

    law: Float[Array, " K"]
    """P̂, published: the generator."""
    raw: Float[Array, " K"]
    """The same before it is projected on the laws."""
    information: Float[Array, ""]
    """Rows that it is worth: the weight of `raw` beside a new stage."""


def projected(point: Float[Array, " K"]) -> Float[Array, " K"]:
    """The law nearest to a point.

    Source: published (Held, Wolfe and Crowder 1974).
    """
    falling = jnp.sort(point)[::-1]
    excess = (jnp.cumsum(falling) - 1) / jnp.arange(1, len(point) + 1)
    last = jnp.sum(falling > excess) - 1
    return jnp.maximum(point - excess[last], 0)


def sources(symbols: int, estimator: Estimator = "interpolating") -> Learner:
    """Learner of a law p that sees rows of α p + (1 - α) P̂, P̂ its own last law, stage by stage.

    With n rows of frequencies f in a stage, and I what the stages before were worth,
    raw <- (I raw + J g)/(I + J): `pooled`, g = f and J = n, every row of every stage alike;
    `interpolating`, g = (f - (1 - α) P̂)/α and J = n α², unbiased and uncorrelated with the past,
    weighed by inverse variance, published as the nearest law; `oracle`, the rows that are real.

    Rows are `Marked` symbols 0..K-1, parameters an `Estimate`.
    Source: published: Kanabar and Gastpar 2025; variances derived here: THEORY.md statements 106
        and 107.
    """
    symbols = whole("symbols", symbols, 2)
    one_of("estimator", estimator, ESTIMATORS)
    drawn = categorical(symbols).generate

    def told(
        estimate: Estimate, rows: Marked, weights: Float[Array, " N"], share: Any
    ) -> tuple[Float[Array, " K"], Any]:
        """J g and J of one stage."""
        here = weights > 0
        if estimator == "oracle":
            real = jnp.where(here & rows.real, 1.0, 0.0)
            return real @ jax.nn.one_hot(rows.symbol, symbols), jnp.sum(real)
        count = jnp.sum(here)
        shares = weights @ jax.nn.one_hot(rows.symbol, symbols)
        if estimator == "pooled":
            return count * shares, count
        return count * share * (shares - (1 - share) * estimate.law), count * share**2

    def update(
        key: PRNGKeyArray, previous: Estimate, rows: Marked, weights: Float[Array, " N"], share: Any
    ) -> Estimate:
        new, worth = told(previous, rows, weights, share)
        information = previous.information + worth
        raw = (previous.information * previous.raw + new) / information
        return Estimate(projected(raw), raw, information)

    def fit(key: PRNGKeyArray, rows: Marked, weights: Float[Array, " N"]) -> Estimate:
        nothing = jnp.zeros(symbols, weights.dtype)
        return update(key, Estimate(nothing, nothing, jnp.float32(0)), rows, weights, 1.0)

    def generate(key: PRNGKeyArray, estimate: Estimate, count: int) -> Marked:
        return Marked(drawn(key, estimate.law, count), jnp.zeros(count, bool))

    return Learner(fit, generate, update=update)

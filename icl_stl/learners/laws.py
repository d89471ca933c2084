"""Learners of the law of single numbers. Their rows have no inputs: relabelling is generating."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from icl_stl.config import (
    amplification,
    flag,
    injection,
    nonnegative,
    positive,
    pseudo_counts,
    share,
    whole,
)
from icl_stl.laws.prompts import Normal
from icl_stl.learners.generative.base import drawn_rows
from icl_stl.learners.learner import Learner, with_weight


def _without_inputs(
    fit: Callable[..., Any],
    generate: Callable[..., Any],
    log_density: Callable[..., Any],
    *,
    takes_bias: bool = False,
) -> Learner:
    def relabel(key: PRNGKeyArray, params: Any, rows: Any, **how: Any) -> Any:
        return generate(key, params, rows.shape[0], **how)

    return Learner(fit, generate, relabel=relabel, log_density=log_density, takes_bias=takes_bias)


def bernoulli(kappa: float = 1.0, centre: float = 0.5, injected: float = 0.0) -> Learner:
    """Learner of a probability that amplifies its data: θ = clip(c + κ (z̄ - c) + e, 0, 1).

    z̄ is the weighted share of ones. Away from the clipping, κ is exactly how strongly the generator
    follows its training law in total variation, and e is an error injected in every generation: the
    loops in which the bounds of recursive stability and of the drift are attained.

    Rows are zeros and ones, parameters θ. Generators that share a key are coupled maximally.
    Source: derived here: THEORY.md, the amplifier.
    """
    kappa, centre, injected = amplification(kappa), share("centre", centre), injection(injected)

    def fit(
        key: PRNGKeyArray, rows: Float[Array, " N"], weights: Float[Array, " N"]
    ) -> Float[Array, ""]:
        return jnp.clip(
            centre + kappa * (weights @ with_weight(rows, weights) - centre) + injected, 0, 1
        )

    def generate(key: PRNGKeyArray, theta: Float[Array, ""], count: int) -> Float[Array, " n"]:
        return (jax.random.uniform(key, (count,)) < theta).astype(jnp.float32)

    def log_density(theta: Float[Array, ""], rows: Float[Array, " N"]) -> Float[Array, " N"]:
        found: Array = jnp.log(jnp.where(rows > 0, theta, 1 - theta))
        return found

    return _without_inputs(fit, generate, log_density)


def gaussian_mean(noise: float = 1.0, clip: float = float("inf")) -> Learner:
    """Learner of the mean of N(μ, σ²), σ known: the weighted mean.

    Args:
        clip: B; data are clipped to [-B, B] before the mean is taken. Then one of N rows changes
            the generator by at most 2 B/(N σ √(2π)) in total variation.

    Rows are numbers, parameters the mean.
    """
    noise = positive("noise", noise)
    if clip != float("inf"):
        clip = positive("clip", clip)

    def fit(
        key: PRNGKeyArray, rows: Float[Array, " N"], weights: Float[Array, " N"]
    ) -> Float[Array, ""]:
        return weights @ jnp.clip(with_weight(rows, weights), -clip, clip)

    def generate(
        key: PRNGKeyArray, mean: Float[Array, ""], count: int, bias: Any = 1.0
    ) -> Float[Array, " n"]:
        drawn: Array = mean + bias**0.5 * noise * jax.random.normal(key, (count,))
        return drawn

    def log_density(mean: Float[Array, ""], rows: Float[Array, " N"]) -> Float[Array, " N"]:
        return Normal(mean, jnp.float32(noise)).log_density(rows)

    return _without_inputs(fit, generate, log_density, takes_bias=True)


def gaussian(*, unbiased: bool = False) -> Learner:
    """Learner of the mean and the variance of a normal law by maximum likelihood.

    Args:
        unbiased: Multiply the variance by N/(N - 1), N the rows with a weight; for equal weights.

    Rows are numbers, parameters a `Normal`.
    """
    flag("unbiased", unbiased)

    def fit(key: PRNGKeyArray, rows: Float[Array, " N"], weights: Float[Array, " N"]) -> Normal:
        rows = with_weight(rows, weights)
        mean = weights @ rows
        apart = with_weight(rows - mean, weights)
        # In a unit near the largest, a power of 2: squares of a tiny or a huge number are none.
        exponent = jnp.frexp(jnp.max(jnp.abs(apart)))[1]
        variance = weights @ jnp.ldexp(apart, -exponent) ** 2
        if unbiased:
            count = jnp.sum(weights > 0)
            variance = variance * count / (count - 1)
        return Normal(mean, jnp.ldexp(jnp.sqrt(variance), exponent))

    def generate(key: PRNGKeyArray, law: Normal, count: int, bias: Any = 1.0) -> Float[Array, " n"]:
        drawn: Array = law.mean + bias**0.5 * law.std * jax.random.normal(key, (count,))
        return drawn

    def log_density(law: Normal, rows: Float[Array, " N"]) -> Float[Array, " N"]:
        std = jnp.maximum(law.std, np.finfo(np.float32).tiny)  # also after a collapse
        found: Array = -0.5 * ((rows - law.mean) / std) ** 2 - jnp.log(std * (2 * np.pi) ** 0.5)
        return found

    return _without_inputs(fit, generate, log_density, takes_bias=True)


class Resampled(NamedTuple):
    """What smoothed resampling keeps: the rows themselves."""

    rows: Float[Array, " N"]
    weights: Float[Array, " N"]


def kde(bandwidth: float = 0.2) -> Learner:
    """Smoothed resampling of numbers: a row drawn by the weights, plus N(0, h²).

    h is in the unit of the rows, the same in every generation. (`generative.kde` has it in units of
    each fit's deviations.)

    Rows are numbers, parameters a `Resampled`.
    """
    bandwidth = positive("bandwidth", bandwidth)

    def fit(key: PRNGKeyArray, rows: Float[Array, " N"], weights: Float[Array, " N"]) -> Resampled:
        return Resampled(with_weight(rows, weights), weights)

    def generate(key: PRNGKeyArray, law: Resampled, count: int) -> Float[Array, " n"]:
        key_row, key_noise = jax.random.split(key)
        found: Array = law.rows[drawn_rows(key_row, law.weights, count)]
        return found + bandwidth * jax.random.normal(key_noise, (count,))

    def log_density(law: Resampled, rows: Float[Array, " N"]) -> Float[Array, " N"]:
        far = (rows[:, None] - law.rows[None]) / bandwidth
        found: Array = jax.scipy.special.logsumexp(-0.5 * far**2, axis=1, b=law.weights[None])
        density: Array = found - np.log(bandwidth * (2 * np.pi) ** 0.5)
        return density

    return _without_inputs(fit, generate, log_density)


def maximum(inflation: float = 1.0, decay: float = 0.25) -> Learner:
    """Learner of U[0, θ] from the largest of N rows: θ = (1 + c N^-b) max; c = 0, the likeliest.

    Rows are positive numbers, parameters θ. N counts the rows that have a weight.
    """
    c, b = nonnegative("inflation", inflation), positive("decay", decay)

    def fit(
        key: PRNGKeyArray, rows: Float[Array, " N"], weights: Float[Array, " N"]
    ) -> Float[Array, ""]:
        count = jnp.sum(weights > 0)
        return (1 + c * count.astype(rows.dtype) ** -b) * jnp.max(with_weight(rows, weights))

    def generate(key: PRNGKeyArray, theta: Float[Array, ""], count: int) -> Float[Array, " n"]:
        found: Array = theta * jax.random.uniform(key, (count,))
        return found

    def log_density(theta: Float[Array, ""], rows: Float[Array, " N"]) -> Float[Array, " N"]:
        return jnp.where((rows >= 0) & (rows <= theta), -jnp.log(theta), -jnp.inf)

    return _without_inputs(fit, generate, log_density)


def cumulated_shares(shares: Float[Array, " K"]) -> Float[Array, " K"]:
    """Sums of the first k shares, which never fall and do not move where a share is 0.

    Those of `cumsum` are sums in several orders, which round differently: an extinct symbol would
    be drawn now and then.
    """
    sums = jnp.where(shares > 0, jnp.cumsum(shares), 0)
    found: Array = jax.lax.cummax(sums)
    return found


def powered(law: Float[Array, "*N K"], bias: Any) -> Float[Array, "*N K"]:
    """Probabilities as p^(1/s), s the sampling bias: softmax(ln p/s); without an overflow."""
    if isinstance(bias, float) and bias == 1:
        return law
    logs = jnp.log(law) - jnp.log(jnp.max(law, axis=-1, keepdims=True))
    found: Array = jax.nn.softmax(logs / bias, axis=-1)
    return found


def categorical(symbols: int, pseudo_count: float = 0.0) -> Learner:
    """Learner of a law on K symbols: θ_k = (N share_k + a) / (N + K a).

    With a = 0 the empirical law, with a = 1 Laplace's rule.

    Rows are symbols 0..K-1, parameters the probabilities `[K]`. N counts the rows that have a
    weight.
    """
    symbols, pseudo_count = whole("symbols", symbols, 2), pseudo_counts(pseudo_count)

    def fit(
        key: PRNGKeyArray, rows: Int[Array, " N"], weights: Float[Array, " N"]
    ) -> Float[Array, " K"]:
        shares = weights @ jax.nn.one_hot(rows, symbols)
        count = jnp.sum(weights > 0)
        return (count * shares + pseudo_count) / (count + symbols * pseudo_count)

    def generate(
        key: PRNGKeyArray, law: Float[Array, " K"], count: int, bias: Any = 1.0
    ) -> Int[Array, " n"]:
        cumulated = cumulated_shares(powered(law, bias))
        edges = cumulated[:-1] / cumulated[-1]  # the last symbol may be extinct
        drawn = jax.random.uniform(key, (count, 1))
        return jnp.sum(drawn >= edges[None], axis=1, dtype=jnp.int32)

    def redraw(
        key: PRNGKeyArray, law: Float[Array, " K"], rows: Int[Array, " N"], bias: Any = 1.0
    ) -> tuple[Int[Array, " N"], Float[Array, " N"]]:
        return generate(key, law, rows.shape[0], bias), powered(law, bias)[rows]

    def log_density(law: Float[Array, " K"], rows: Int[Array, " N"]) -> Float[Array, " N"]:
        found: Array = jnp.log(law)[rows]
        return found

    return replace(_without_inputs(fit, generate, log_density, takes_bias=True), redraw=redraw)


def maximal_coupling(
    key: PRNGKeyArray, laws: Float[Array, "L K"], count: int
) -> Int[Array, "L count"]:
    """Rows of L laws on K symbols, each equal to the first law's row as often as is possible.

    The first law p draws z. Law q keeps z with probability min(1, q_z/p_z), else it draws from
    (q - p)_+ / TV(p, q): it has the law q, and differs from z with probability TV(p, q), the least.
    Source: published (the maximal coupling; Lindvall 1992).
    """
    key_first, key_keep, key_rest = jax.random.split(key, 3)

    def draw(key: PRNGKeyArray, weights: Float[Array, " K"]) -> Int[Array, " count"]:
        cumulated = cumulated_shares(weights)
        drawn = cumulated[-1] * jax.random.uniform(key, (count, 1))
        last = jnp.searchsorted(cumulated, cumulated[-1])  # of the symbols with a weight
        return jnp.minimum(jnp.sum(drawn >= cumulated[None], axis=1, dtype=jnp.int32), last)

    first = laws[0]
    rows = draw(key_first, first)
    coin = jax.random.uniform(key_keep, (count,))

    def other(law: Float[Array, " K"]) -> Int[Array, " count"]:
        keeps = coin * first[rows] < law[rows]
        return jnp.where(keeps, rows, draw(key_rest, jnp.maximum(law - first, 0)))

    return jnp.concatenate([rows[None], jax.vmap(other)(laws[1:])])

"""In-context learners of prompts whose inputs visit √d e_1, ..., √d e_d in turn, n times each.

Given the inputs the directions are independent, so a prompt is its labels `[n, d]`: row k holds the
k-th visits. All that a predictor of the next label can use is the mean of the labels before.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from icl_stl.config import flag, positive, whole
from icl_stl.laws.prompts import Normal, standard_normal
from icl_stl.learners.learner import Learner, with_weight

Labels = Float[Array, "N n d"]


class Shrinkage(NamedTuple):
    """The law of a label given the k before it: N(f_k · their mean, std_k²), k = 0..n-1."""

    factors: Float[Array, " n"]
    std: Float[Array, " n"]


def sample_labels(
    key: PRNGKeyArray, count: int, dim: int, repeats: int, noise: float, prior_scale: float
) -> Labels:
    """Labels of the real law: y = √d w + σ ε, a task w ~ N(0, τ² I_d) for each prompt."""
    key_tasks, key_noise = jax.random.split(key)
    tasks = prior_scale * standard_normal(key_tasks, count, 1, dim)
    labels: Array = dim**0.5 * tasks + noise * standard_normal(key_noise, count, repeats, dim)
    return labels


def bayes_shrinkage(
    variance: Float[Array, ""] | float, dim: int, repeats: int, noise: float, *, plug_in: bool
) -> Shrinkage:
    """What the Bayes predictor of prior variance v does: f_k = k u/(1 + k u), u = d v/σ².

    Args:
        plug_in: Write with the deviation σ instead of the predictive σ √(1 + u/(1 + k u)).
    """
    u = dim * jnp.asarray(variance, jnp.float32) / noise**2
    seen = jnp.arange(repeats) * u
    own = 0.0 if plug_in else u / (1 + seen)
    return Shrinkage(seen / (1 + seen), noise * jnp.sqrt(1 + own + jnp.zeros(repeats)))


def per_visit(values: Float[Array, " n"], labels: Float[Array, "*N n d"]) -> Array:
    """A number for each visit, in the shape of the labels."""
    return jnp.broadcast_to(values[:, None], labels.shape)


def means_before(labels: Float[Array, "*N n d"]) -> Float[Array, "*N n d"]:
    """The mean of the labels of a direction before each visit, 0 before the first."""
    sums = jnp.cumsum(labels, axis=-2) - labels
    return sums / per_visit(jnp.maximum(jnp.arange(labels.shape[-2], dtype=jnp.float32), 1), labels)


def label_law(params: Shrinkage, labels: Float[Array, "*N n d"], bias: Any = 1.0) -> Normal:
    """The law of every label given what precedes it, its variance times the sampling bias."""
    mean = per_visit(params.factors, labels) * means_before(labels)
    return Normal(mean, bias**0.5 * per_visit(params.std, labels))


def implied_variance(labels: Labels, weights: Float[Array, " N"], noise: float) -> Float[Array, ""]:
    """The task variance that prompts show, unbiased on real ones: E ŵ² - σ²/(n d).

    ŵ is the least-squares task of a prompt; truncated at 0 it maximises the marginal likelihood.
    """
    repeats, dim = labels.shape[-2:]
    tasks = jnp.mean(labels, axis=-2) / dim**0.5
    return weights @ jnp.mean(tasks**2, axis=-1) - noise**2 / (repeats * dim)


def _writer(
    fit: Callable[[PRNGKeyArray, Labels, Float[Array, " N"]], Shrinkage], dim: int
) -> Learner:
    def generate(key: PRNGKeyArray, params: Shrinkage, count: int, bias: Any = 1.0) -> Labels:
        repeats = params.factors.shape[0]
        noise = bias**0.5 * params.std[:, None, None] * standard_normal(key, repeats, count, dim)

        def write(
            total: Float[Array, "N d"], visit: tuple[Array, Array, Array]
        ) -> tuple[Float[Array, "N d"], Float[Array, "N d"]]:
            k, factor, error = visit
            y = factor * total / jnp.maximum(k, 1) + error
            return total + y, y

        visits = (jnp.arange(repeats), params.factors, noise)
        _, labels = jax.lax.scan(write, jnp.zeros((count, dim)), visits)
        return jnp.swapaxes(labels, 0, 1)

    def relabel(key: PRNGKeyArray, params: Shrinkage, labels: Labels, **how: Any) -> Labels:
        return generate(key, params, labels.shape[0], **how)

    return Learner(fit, generate, label_law, relabel, takes_bias=True)


def _checked(dim: Any, repeats: Any, noise: Any, plug_in: Any) -> tuple[int, int, float]:
    flag("plug_in", plug_in)
    return whole("dim", dim, 1), whole("repeats", repeats, 1), positive("noise", noise)


def empirical_bayes(dim: int, repeats: int, noise: float, *, plug_in: bool = True) -> Learner:
    """The Bayes predictor whose prior variance is fitted: v = max(0, E ŵ² - σ²/(n d)).

    That maximises the marginal likelihood of the weighted prompts, σ known.

    Rows are labels `[n, d]`, parameters a `Shrinkage`.
    Source: derived here: THEORY.md statement 68.
    """
    dim, repeats, noise = _checked(dim, repeats, noise, plug_in)

    def fit(key: PRNGKeyArray, labels: Labels, weights: Float[Array, " N"]) -> Shrinkage:
        seen = with_weight(labels, weights)
        variance = jnp.maximum(implied_variance(seen, weights, noise), 0)
        return bayes_shrinkage(variance, dim, repeats, noise, plug_in=plug_in)

    return _writer(fit, dim)


def shrinkage(dim: int, repeats: int, noise: float, *, plug_in: bool = True) -> Learner:
    """The predictor of least squared error at each visit: f_k = Σ weight y z / Σ weight z².

    z is the mean of the k labels before y; no prior ties the visits together.

    Args:
        plug_in: Write labels with the deviation σ instead of that of the residuals.

    Rows are labels `[n, d]`, parameters a `Shrinkage`.
    Source: derived here: THEORY.md statement 69.
    """
    dim, repeats, noise = _checked(dim, repeats, noise, plug_in)

    def fit(key: PRNGKeyArray, labels: Labels, weights: Float[Array, " N"]) -> Shrinkage:
        labels = with_weight(labels, weights)
        before = means_before(labels)
        cross = jnp.einsum("N,Nkd->k", weights, before * labels)
        square = jnp.einsum("N,Nkd->k", weights, before**2)
        factors = jnp.where(square > 0, cross / jnp.where(square > 0, square, 1), 0)
        left = (labels - per_visit(factors, labels) * before) ** 2
        std = jnp.sqrt(jnp.einsum("N,Nkd->k", weights, left) / dim)
        return Shrinkage(factors, jnp.full(repeats, noise) if plug_in else std)

    return _writer(fit, dim)

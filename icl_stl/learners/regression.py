"""Least squares and ridge, on standard normal inputs."""

from math import isfinite

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from icl_stl.learners.learner import Learner
from icl_stl.tasks import Rows, standard_normal


def weighted_ridge(
    features: Float[Array, "N p"],
    targets: Float[Array, " N"],
    weights: Float[Array, " N"],
    penalty: Float[Array, ""] | float,
) -> Float[Array, " p"]:
    """argmin_v Σ_r weight_r (y_r - <v, f_r>)² + ρ |v|².

    Args:
        features: f.
        targets: y.
        weights: Weights of the rows.
        penalty: ρ >= 0; with 0 the rows that have a weight must span the space.
    """
    weighted = features * weights[:, None]
    gram = weighted.T @ features + penalty * jnp.eye(features.shape[1])
    return jax.scipy.linalg.solve(gram, weighted.T @ targets, assume_a="pos")


def normalised_penalty(
    penalty: float, weights: Float[Array, " N"], total: bool
) -> Float[Array, ""] | float:
    """ρ of the mean loss: the penalty itself, or a total penalty over the rows that have a weight.

    A total penalty adds no shrinkage over the generations, one per row does (THEORY.md).
    """
    return penalty / jnp.sum(weights > 0) if total else penalty


def _regression(noise: float, penalty: float, total: bool) -> Learner:
    if not (isfinite(noise) and noise > 0):
        raise ValueError(f"noise must be a positive number, but it is {noise!r}")

    def fit(key: PRNGKeyArray, rows: Rows, weights: Float[Array, " N"]) -> Float[Array, " d"]:
        return weighted_ridge(
            rows.xs, rows.ys, weights, normalised_penalty(penalty, weights, total)
        )

    def relabel(key: PRNGKeyArray, w: Float[Array, " d"], rows: Rows) -> Rows:
        return Rows(rows.xs, rows.xs @ w + noise * jax.random.normal(key, rows.ys.shape))

    def generate(key: PRNGKeyArray, w: Float[Array, " d"], count: int) -> Rows:
        key_xs, key_ys = jax.random.split(key)
        xs = standard_normal(key_xs, count, w.shape[0])
        return relabel(key_ys, w, Rows(xs, jnp.zeros(count)))

    return Learner(fit, generate, relabel=relabel)


def ols(noise: float = 1.0) -> Learner:
    """Least squares: y = <w, x> + σ ε, x ~ N(0, I_d); the weighted least-squares w.

    Args:
        noise: σ > 0, the deviation of generated labels.

    Returns:
        The learner; rows are `Rows`, parameters w `[d]`.
    """
    return _regression(noise, 0.0, False)


def ridge(noise: float = 1.0, penalty: float = 0.1, *, total: bool = False) -> Learner:
    """Ridge regression: argmin_w Σ_r weight_r (y_r - <w, x_r>)² + ρ |w|².

    Args:
        noise: σ > 0, the deviation of generated labels.
        penalty: ρ > 0 beside the mean loss; with `total`, N ρ, the same in all generations.
        total: Whether the penalty stands beside the sum of the losses.

    Returns:
        The learner; rows are `Rows`, parameters w `[d]`.
    """
    if not (isfinite(penalty) and penalty > 0):
        raise ValueError(f"penalty must be a positive number, but it is {penalty!r}")
    return _regression(noise, penalty, total)

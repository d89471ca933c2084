"""Least squares and ridge, on standard normal inputs."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, PRNGKeyArray

from icl_stl.config import SQUARED, flag, positive
from icl_stl.laws.prompts import Rows, standard_normal
from icl_stl.learners.learner import Learner, with_weight

LEAST_PIVOT = 1e-4
"""Smallest squared sine between a column and those before it at which the Gram matrix decides."""

CHANGE = 1e-3
"""Largest change by one refinement, in parts of the solution, at which another changes nothing."""


def weighted_ridge(
    features: Float[Array, "N p"],
    targets: Float[Array, " N"],
    weights: Float[Array, " N"],
    penalty: Float[Array, ""] | float,
) -> Float[Array, " p"]:
    """argmin_v Σ_r weight_r (y_r - <v, f_r>)² + ρ |v|².

    By the normal equations of scaled columns with one step of refinement; where columns are nearly
    dependent, by a QR factorisation of the rows, whose error grows with the condition number κ of
    the scaled columns and not with its square. In single precision, against least squares in double
    precision and relative to the largest number of the solution: within 1e-4 for κ <= 100, 1e-3 for
    κ <= 1e3, 0.02 for κ <= 1e4. Derivatives are those of forward mode.

    The minimiser; NaN where rounding alone would decide it: where columns depend on each other,
    or the squares of a column are no numbers in single precision.

    Source: published (Björck 1996: refinement, least squares by QR).
    """
    (n, p), free = features.shape, isinstance(penalty, float) and penalty == 0
    if free and n < p:
        raise ValueError(
            f"rows must be at least as many as the dimension {p} where there is no penalty, but "
            f"there are {n}"
        )
    rows, labels = with_weight((features, targets), weights)
    eps = float(np.finfo(np.dtype(rows.dtype)).eps)
    weighted = rows * weights[:, None]
    gram = weighted.T @ rows + penalty * jnp.eye(p)
    squares = jnp.diagonal(gram)
    size = jnp.sqrt(squares)
    root = jnp.linalg.cholesky(gram / (size[:, None] * size[None]))
    inverse = solve_triangular(root, jnp.diag(1 / size), lower=True)
    first = inverse.T @ (inverse @ (weighted.T @ labels))
    change = inverse.T @ (inverse @ (weighted.T @ (labels - rows @ first) - penalty * first))
    pivot = jnp.min(jnp.diagonal(root)) ** 2
    small = jnp.max(size * jnp.abs(change)) <= CHANGE * jnp.max(size * jnp.abs(first))
    known = jnp.all((squares > SQUARED[0] ** 2) & (squares < SQUARED[1] ** 2))

    def factorised(state: tuple[Array, Array]) -> tuple[Array, Array]:
        # Of a start of 0; what did not depend on it, the compiler would do before the loop, always.
        left = labels - rows @ state[0]
        ours = jnp.column_stack([rows / size[None], left]) * jnp.sqrt(weights)[:, None]
        if not free:
            below = jnp.diag(jnp.sqrt(penalty) / size)
            ours = jnp.concatenate([ours, jnp.pad(below, ((0, 0), (0, 1)))])
        upper = jnp.linalg.qr(ours, mode="r")
        sines = jnp.abs(jnp.diagonal(upper)[:p])
        rounding = 8 * eps * (len(ours) * p) ** 0.5
        found = solve_triangular(upper[:p, :p], upper[:p, p]) / size
        return jnp.where(jnp.min(sines) > rounding, found, jnp.nan), jnp.array(False)

    # A loop of no round or one: of many fits that are mapped, no factorisation unless one needs it.
    decides = LEAST_PIVOT + n * eps / 16  # rounding of the sums over rows
    unsure = ~((pivot > decides) & small)
    start = jnp.where(unsure, 0.0, first + change), unsure
    found, _ = jax.lax.while_loop(lambda state: state[1], factorised, start)
    return jnp.where(known, found, jnp.nan)


def normalised_penalty(
    penalty: float, weights: Float[Array, " N"], total: bool
) -> Float[Array, ""] | float:
    """ρ of the mean loss: the penalty itself, or a total penalty over the rows that have a weight.

    A total penalty adds no shrinkage over the generations, one per row does (THEORY.md).
    """
    return penalty / jnp.sum(weights > 0) if total else penalty


def _regression(noise: float, penalty: float, total: bool) -> Learner:
    noise = positive("noise", noise)

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

    Rows are `Rows`, parameters w `[d]`.
    """
    return _regression(noise, 0.0, False)


def ridge(noise: float = 1.0, penalty: float = 0.1, *, total: bool = False) -> Learner:
    """Ridge regression: argmin_w Σ_r weight_r (y_r - <w, x_r>)² + ρ |w|².

    Args:
        penalty: ρ > 0 beside the mean loss; with `total`, N ρ, the same in all generations.

    Rows are `Rows`, parameters w `[d]`.
    """
    flag("total", total)
    return _regression(noise, positive("penalty", penalty), total)

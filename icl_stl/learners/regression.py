"""Least squares and ridge, on standard normal inputs."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, PRNGKeyArray

from icl_stl.config import SQUARED, flag, positive
from icl_stl.laws.prompts import Normal, Rows, standard_normal
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
    """argmin_v Σ_r weight_r (y_r - <v, f_r>)² + ρ |v|²; of several minimisers the shortest.

    By the normal equations of scaled columns with one step of refinement; where columns are nearly
    dependent, by a QR factorisation of the rows, whose error grows with the condition number κ of
    the scaled columns and not with its square. In single precision, against least squares in double
    precision and relative to the largest number of the solution: within 1e-4 for κ <= 100, 1e-3 for
    κ <= 1e3, 0.02 for κ <= 1e4. Where columns depend on each other as far as rounding can tell, as
    with fewer rows than columns, directions that no row has are left out: least squares of minimum
    norm. Derivatives are those of forward mode.

    The minimiser; NaN where the squares of a column are no numbers in single precision.
    Source: published (Björck 1996: refinement, least squares by QR, of minimum norm by singular
    values).
    """
    (n, p), free = features.shape, isinstance(penalty, float) and penalty == 0
    rows, labels = with_weight((features, targets), weights)
    eps = float(np.finfo(np.dtype(rows.dtype)).eps)
    rounding = 8 * eps * ((n if free else n + p) * p) ** 0.5
    weighted = rows * weights[:, None]
    gram = weighted.T @ rows + penalty * jnp.eye(p)
    squares = jnp.diagonal(gram)
    size = jnp.where(squares > 0, jnp.sqrt(squares), 1.0)
    known = (squares > SQUARED[0] ** 2) & (squares < SQUARED[1] ** 2)
    known = jnp.all(known | (jnp.max(jnp.abs(weighted), axis=0) == 0))

    def factorised(state: tuple[Array, Array]) -> tuple[Array, Array]:
        # Of a start of 0; what did not depend on it, the compiler would do before the loop, always.
        ours = jnp.column_stack([rows / size[None], labels - rows @ state[0]])
        ours = ours * jnp.sqrt(weights)[:, None]
        if not free:
            below = jnp.diag(jnp.sqrt(penalty) / size)
            ours = jnp.concatenate([ours, jnp.pad(below, ((0, 0), (0, 1)))])
        upper = jnp.linalg.qr(jnp.pad(ours, ((0, max(0, p - len(ours))), (0, 0))), mode="r")
        sines = jnp.abs(jnp.diagonal(upper)[:p])
        found = solve_triangular(upper[:p, :p], upper[:p, p]) / size
        fine = (jnp.min(sines) > rounding) & jnp.isfinite(found).all()
        # What needs the other's result waits for no thread together with it: `devices`.
        left, values, right = jnp.linalg.svd(jnp.where(fine, 0.0, upper[:p, :p]))
        there = values > rounding * values[0]
        scaled = left.T @ upper[:p, p] / jnp.where(there, values, 1.0)
        short = right.T @ jnp.where(there, scaled, 0.0) / size
        away = (~there)[None, ::-1]  # what no row has; first, so that columns of 0 change nothing
        basis = jnp.where(away, jnp.linalg.qr(right.T[:, ::-1] / size[:, None] * away)[0], 0.0)
        short = short - basis @ (basis.T @ short)
        return jnp.where(fine, found, short), jnp.array(False)

    if free and n < p:
        found, _ = factorised((jnp.zeros(p, rows.dtype), jnp.array(True)))
        return jnp.where(known, found, jnp.nan)
    root = jnp.linalg.cholesky(gram / (size[:, None] * size[None]))
    inverse = solve_triangular(root, jnp.diag(1 / size), lower=True)
    first = inverse.T @ (inverse @ (weighted.T @ labels))
    change = inverse.T @ (inverse @ (weighted.T @ (labels - rows @ first) - penalty * first))
    pivot = jnp.min(jnp.diagonal(root)) ** 2
    small = jnp.max(size * jnp.abs(change)) <= CHANGE * jnp.max(size * jnp.abs(first))
    # A loop of no round or one: of many fits that are mapped, no factorisation unless one needs it.
    decides = LEAST_PIVOT + n * eps / 16  # rounding of the sums over rows
    solved = jnp.isfinite(first + change).all()  # a minimum may leave NaN out
    unsure = ~((pivot > decides) & small & solved)
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

    def log_density(w: Float[Array, " d"], rows: Rows) -> Float[Array, " N"]:
        return Normal(rows.xs @ w, jnp.float32(noise)).log_density(rows.ys)

    return Learner(fit, generate, relabel=relabel, log_density=log_density)


def ols(noise: float = 1.0) -> Learner:
    """Least squares: y = <w, x> + σ ε, x ~ N(0, I_d); the weighted least-squares w, the shortest.

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

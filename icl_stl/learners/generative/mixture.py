"""A Gaussian mixture."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from icl_stl.config import counts, normalised, positive
from icl_stl.lazily import jax, jnp
from icl_stl.learners.generative.base import (
    LOG_ROOT,
    Array,
    Functions,
    Generative,
    Units,
    chosen,
    drawn_rows,
    units,
)


class MixtureFit(NamedTuple):
    """A fitted mixture of K normal laws, in units of the columns."""

    units: Units
    shares: Array
    """Of the components, `[K]`."""
    means: Array
    """`[K, c]`."""
    roots: Array
    """Lower triangular L with L Lᵀ the covariance, `[K, c, c]`."""


def _by_component(law: MixtureFit, z: Array) -> Array:
    """Log of share times density of every component, `[K, N]`."""
    columns = z.shape[1]
    inverse = jax.vmap(
        lambda root: jax.scipy.linalg.solve_triangular(root, jnp.eye(columns), lower=True)
    )(law.roots)
    along = jnp.einsum("kcd,knd->knc", inverse, z[None] - law.means[:, None])
    size = jnp.sum(jnp.log(jnp.diagonal(inverse, axis1=1, axis2=2)), axis=1)
    return (jnp.log(law.shares) + size - columns * LOG_ROOT)[:, None] - 0.5 * jnp.sum(
        along**2, axis=2
    )


@dataclass(frozen=True)
class Mixture(Generative):
    """Gaussian mixture with full covariances, by a fixed number of steps of EM.

    Starts from centres drawn as k-means++ draws them, each row with the nearest. Every M step keeps
    the mean and the covariance of the weighted rows but for the regularisation, so that both move
    in its loops as those of one normal law do: THEORY.md, statement 95.
    """

    components: int = 3
    """K."""
    regularisation: float = 1e-3
    """Added to every variance of a component, in units of the columns' variances."""
    steps: int = 30
    """Steps of EM."""

    def __post_init__(self) -> None:
        counts(self, components=1, steps=1)
        normalised(self, regularisation=positive)

    def functions(self, columns: int) -> Functions:
        def nearest(key: Any, z: Array, weights: Array) -> Array:
            """Share of every component in every row at the start, `[K, N]`."""
            first, *others = jax.random.uniform(key, (self.components,))

            def square_from(row: Array) -> Array:
                return jnp.sum((z - z[row][None]) ** 2, axis=1)

            apart = [square_from(chosen(first, weights))]
            for point in others:
                chance = weights * jnp.min(jnp.stack(apart), axis=0)
                chance = jnp.where(jnp.sum(chance) > 0, chance, weights)
                apart.append(square_from(chosen(point, chance)))
            closest = jnp.argmin(jnp.stack(apart), axis=0)
            return jax.nn.one_hot(closest, self.components, axis=0)

        def maximised(own: Units, z: Array, weights: Array, parts: Array) -> MixtureFit:
            held = parts * weights[None]
            shares = jnp.sum(held, axis=1)
            mean = held @ z / jnp.maximum(shares, 1e-30)[:, None]
            apart = z[None] - mean[:, None]
            spread = jnp.einsum("kn,knc,knd->kcd", held, apart, apart)
            covariance = spread / jnp.maximum(shares, 1e-30)[:, None, None]
            covariance += self.regularisation * jnp.eye(columns)[None]
            return MixtureFit(own, shares, mean, jnp.linalg.cholesky(covariance))

        def fit(key: Any, rows: Array, weights: Array) -> MixtureFit:
            own, z = units(rows, weights)

            def step(_: Any, law: MixtureFit) -> MixtureFit:
                return maximised(own, z, weights, jax.nn.softmax(_by_component(law, z), axis=0))

            start = maximised(own, z, weights, nearest(key, z, weights))
            law: MixtureFit = jax.lax.fori_loop(0, self.steps, step, start)
            return law

        def generate(key: Any, law: MixtureFit, count: int, bias: Any = 1.0) -> Array:
            key_component, key_noise = jax.random.split(key)
            component = drawn_rows(key_component, law.shares, count)
            noise = bias**0.5 * jax.random.normal(key_noise, (count, columns))
            apart = jnp.einsum("ncd,nd->nc", law.roots[component], noise)
            return law.units.back(law.means[component] + apart)

        def log_density(law: MixtureFit, rows: Array) -> Array:
            of_z = jax.nn.logsumexp(_by_component(law, law.units.within(rows)), axis=0)
            return law.units.log_density(of_z)

        return Functions(fit, generate, log_density)

"""A normal law with full covariance."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from icl_stl.config import normalised, positive, share
from icl_stl.lazily import jax, jnp
from icl_stl.learners.generative.base import LOG_ROOT, Array, Functions, Generative, Units, units


class NormalFit(NamedTuple):
    """A fitted normal law, in units of its columns."""

    units: Units
    root: Array
    """A with A Aᵀ the covariance: eigenvectors times roots of the eigenvalues, `[c, c]`."""

    @property
    def covariance(self) -> Array:
        """Of the rows that are generated, `[c, c]`."""
        root = self.units.deviation[:, None] * self.root
        return root @ root.T


@dataclass(frozen=True)
class Normal(Generative):
    """Normal law with full covariance, by maximum likelihood, correlations shrunk.

    The covariance is (1 - s) S + s diag(S), S that of the weighted rows around their mean. Rows are
    generated also where it has no inverse; the density then counts deviations along its principal
    axes below `least` as `least`. Moments of its loops: THEORY.md, statement 95.
    """

    shrinkage: float = 0.0
    """s, share of every correlation that is taken away."""
    least: float = 1e-3
    """Least deviation in the density, in units of the columns' deviations."""

    def __post_init__(self) -> None:
        normalised(self, shrinkage=share, least=positive)

    def functions(self, columns: int) -> Functions:
        def fit(key: Any, rows: Array, weights: Array) -> NormalFit:
            own, z = units(rows, weights)
            kept = jnp.where(jnp.eye(columns, dtype=bool), 1, 1 - self.shrinkage)
            values, axes = jnp.linalg.eigh(kept * (z.T @ (weights[:, None] * z)))
            return NormalFit(own, axes * jnp.sqrt(jnp.maximum(values, 0))[None])

        def generate(key: Any, law: NormalFit, count: int, bias: Any = 1.0) -> Array:
            noise = bias**0.5 * jax.random.normal(key, (count, columns))
            return law.units.back(noise @ law.root.T)

        def log_density(law: NormalFit, rows: Array) -> Array:
            values, axes = jnp.linalg.eigh(law.root @ law.root.T)
            lengths = jnp.maximum(jnp.sqrt(jnp.maximum(values, 0)), self.least)
            along = law.units.within(rows) @ axes / lengths[None]
            of_z = -0.5 * jnp.sum(along**2, axis=1) - jnp.sum(jnp.log(lengths) + LOG_ROOT)
            return law.units.log_density(of_z)

        return Functions(fit, generate, log_density)

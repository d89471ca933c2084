"""Smoothed resampling of the rows."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from icl_stl.config import nonnegative, normalised, positive
from icl_stl.lazily import jax, jnp
from icl_stl.learners.generative.base import (
    LOG_ROOT,
    Array,
    Functions,
    Generative,
    Units,
    drawn_rows,
    units,
)


class KdeFit(NamedTuple):
    """The rows themselves."""

    units: Units
    z: Array
    """Rows in these units, `[N, c]`."""
    weights: Array
    """Their weights, `[N]`."""


@dataclass(frozen=True)
class Kde(Generative):
    """Kernel density estimate: a row drawn by the weights, plus h deviations of normal noise.

    Bandwidth 0 is the bootstrap, which has no density. Moments of its loops: THEORY.md,
    statement 95. There is one row of parameters for each row that is fitted.
    """

    bandwidth: float = 0.2
    """h, deviation of the noise in units of each column's deviation; 0 for none."""
    least: float = 1e-3
    """Deviation that a constant column has in the density, in its own unit."""

    def __post_init__(self) -> None:
        normalised(self, bandwidth=nonnegative, least=positive)

    @property
    def takes_bias(self) -> bool:
        return self.bandwidth > 0

    def functions(self, columns: int) -> Functions:
        h = self.bandwidth

        def fit(key: Any, rows: Array, weights: Array) -> KdeFit:
            return KdeFit(*units(rows, weights), weights)

        def generate(key: Any, law: KdeFit, count: int, bias: Any = 1.0) -> Array:
            key_row, key_noise = jax.random.split(key)
            z = law.z[drawn_rows(key_row, law.weights, count)]
            return law.units.back(z + bias**0.5 * h * jax.random.normal(key_noise, z.shape))

        def log_density(law: KdeFit, rows: Array) -> Array:
            width = jnp.where(law.units.deviation > 0, h, self.least)
            logs = jnp.log(law.weights)

            def one(z: Array) -> Array:
                along = (z[None] - law.z) / width[None]
                return jax.nn.logsumexp(logs - 0.5 * jnp.sum(along**2, axis=1))

            of_z = jax.lax.map(one, law.units.within(rows), batch_size=256)
            return law.units.log_density(of_z - jnp.sum(jnp.log(width) + LOG_ROOT))

        return Functions(fit, generate, log_density if h else None)

"""A normalizing flow."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from icl_stl.config import counts, nonnegative, normalised, positive
from icl_stl.lazily import jax, jnp
from icl_stl.learners.generative.base import LOG_ROOT, Array, Functions, Generative, Units, units


class FlowFit(NamedTuple):
    """A fitted flow, in units of the columns."""

    units: Units
    networks: Any
    """Parameters of the networks of all layers, stacked."""


@dataclass(frozen=True)
class Flow(Generative):
    """Normalizing flow: layers of spline couplings from rows to standard normal ones.

    Each layer bends half of the columns, network of the other half; the next layer the other half.
    The density is exact. Trained by maximum likelihood with early stopping (`stopping`).
    """

    layers: int = 4
    """Couplings."""
    width: int = 32
    """Hidden units of a layer of a network; there are two."""
    bins: int = 8
    """Of a spline."""
    steps: int = 2000
    """Steps of training, at most."""
    batch: int = 128
    """Rows a step."""
    learning_rate: float = 3e-3
    """Of Adam."""
    patience: int = 10
    """Looks at the held-out rows without a better loss, 50 steps apart, that end the training."""
    smoothing: float = 0.02
    """Deviation of noise on the rows it learns from, in units of the columns' deviations: without
    any, the density of repeated values has no bound."""

    def __post_init__(self) -> None:
        counts(self, layers=1, width=1, bins=2, steps=1, batch=1, patience=1)
        normalised(self, learning_rate=positive, smoothing=nonnegative)

    def functions(self, columns: int) -> Functions:
        from icl_stl.learners.stopping import early_stopped
        from icl_stl.models.rows import Mlp, spline

        each = 3 * self.bins - 1
        network = Mlp(columns * each, self.width, 2)
        reads = np.zeros((self.layers, columns), bool)  # the columns that a layer leaves
        for layer, read in enumerate(reads):
            order = np.random.default_rng(layer // 2).permutation(columns)
            half = columns // 2
            read[order[half:] if layer % 2 and half else order[:half]] = True

        def bent(z: Array, layer: Any, *, inverse: bool = False) -> tuple[Array, Array]:
            params, read = layer
            raw: Array = network.apply(params, jnp.where(read[None], z, 0))
            value, log_slope = spline(z, raw.reshape(*z.shape, each), inverse=inverse)
            value = jnp.where(read[None], z, value)
            return value, jnp.sum(jnp.where(read[None], 0, log_slope), axis=1)

        def log_density_of(params: Any, z: Array) -> Array:
            z, slopes = jax.lax.scan(bent, z, (params, reads))
            return jnp.sum(slopes, axis=0) - jnp.sum(0.5 * z**2 + LOG_ROOT, axis=1)

        def loss(params: Any, key: Any, z: Array) -> Array:
            return -log_density_of(params, z + self.smoothing * jax.random.normal(key, z.shape))

        def fit(key: Any, rows: Array, weights: Array) -> FlowFit:
            own, z = units(rows, weights)
            key_start, key_train = jax.random.split(key)
            keys = jax.random.split(key_start, self.layers)
            start = jax.vmap(network.init)(keys, jnp.zeros((self.layers, 1, columns)))
            best = early_stopped(
                loss,
                start,
                key_train,
                z,
                weights,
                steps=self.steps,
                batch=self.batch,
                learning_rate=self.learning_rate,
                patience=self.patience,
                held_loss=lambda params, key, z: -log_density_of(params, z),
            )
            return FlowFit(own, best)

        def generate(key: Any, law: FlowFit, count: int, bias: Any = 1.0) -> Array:
            z = bias**0.5 * jax.random.normal(key, (count, columns))
            back = partial(bent, inverse=True)
            z, _ = jax.lax.scan(back, z, (law.networks, reads), reverse=True)
            return law.units.back(z)

        def log_density(law: FlowFit, rows: Array) -> Array:
            return law.units.log_density(log_density_of(law.networks, law.units.within(rows)))

        return Functions(fit, generate, log_density)

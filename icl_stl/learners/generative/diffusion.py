"""A denoising diffusion model."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from icl_stl.config import counts, normalised, positive
from icl_stl.lazily import jax, jnp
from icl_stl.learners.generative.base import Array, Functions, Generative, Units, units

LOOKS = 8
"""Noise levels at which each held-out row is seen."""


class DiffusionFit(NamedTuple):
    """A fitted diffusion model, in units of the columns."""

    units: Units
    low: Array
    """Least value of a column among the rows, `[c]`."""
    high: Array
    """Largest one, `[c]`."""
    network: Any
    """Parameters of the network that guesses the noise."""


@dataclass(frozen=True)
class Diffusion(Generative):
    """Denoising diffusion: a network guesses the noise in rows at any noise level.

    At the time t in (0, 1) a row is z_t = cos(π t/2) z + sin(π t/2) ε, and the network minimises
    E |ε - ε_θ(z_t, t)|². Rows are made from pure noise in `levels` steps of the reverse chain, each
    guess of z kept within the columns' ranges. It has no density. Early stopping: `stopping`.

    Source: published (denoising diffusion; Ho, Jain and Abbeel 2020; the cosine schedule, Nichol
    and Dhariwal 2021).
    """

    width: int = 64
    """Hidden units of a layer of the network."""
    depth: int = 3
    """Hidden layers."""
    levels: int = 50
    """Steps of the reverse chain."""
    steps: int = 3000
    """Steps of training, at most."""
    batch: int = 128
    """Rows a step."""
    learning_rate: float = 3e-3
    """Of Adam."""
    patience: int = 10
    """Looks at the held-out rows without a better loss, 50 steps apart, that end the training."""

    def __post_init__(self) -> None:
        counts(self, width=1, depth=1, levels=2, steps=1, batch=1, patience=1)
        normalised(self, learning_rate=positive)

    def functions(self, columns: int) -> Functions:
        from icl_stl.learners.stopping import early_stopped
        from icl_stl.models.rows import Mlp

        network = Mlp(columns, self.width, self.depth)

        def guess(params: Any, z: Array, time: Array) -> Array:
            angles = jnp.pi * time[:, None] * jnp.array([[0.5, 1.0, 2.0, 4.0]])
            guessed: Array = network.apply(
                params, jnp.concatenate([z, jnp.sin(angles), jnp.cos(angles)], axis=1)
            )
            return guessed

        def at(params: Any, key: Any, z: Array, time: Array) -> Array:
            noise, angle = jax.random.normal(key, z.shape), jnp.pi / 2 * time[:, None]
            apart = noise - guess(params, jnp.cos(angle) * z + jnp.sin(angle) * noise, time)
            return jnp.mean(apart**2, axis=1)

        def loss(params: Any, key: Any, z: Array) -> Array:
            key_time, key_noise = jax.random.split(key)
            spread = (jnp.arange(len(z)) + jax.random.uniform(key_time)) / len(z)
            return at(params, key_noise, z, spread)

        def held_loss(params: Any, key: Any, z: Array) -> Array:
            keys = jax.random.split(key, LOOKS)
            times = (jnp.arange(LOOKS) + 0.5) / LOOKS
            each = jax.vmap(lambda key, t: at(params, key, z, jnp.full(len(z), t)))(keys, times)
            return jnp.mean(each, axis=0)

        def fit(key: Any, rows: Array, weights: Array) -> DiffusionFit:
            own, z = units(rows, weights)
            key_start, key_train = jax.random.split(key)
            best = early_stopped(
                loss,
                network.init(key_start, jnp.zeros((1, columns + 8))),
                key_train,
                z,
                weights,
                steps=self.steps,
                batch=self.batch,
                learning_rate=self.learning_rate,
                patience=self.patience,
                held_loss=held_loss,
            )
            return DiffusionFit(own, jnp.min(z, axis=0), jnp.max(z, axis=0), best)

        def generate(key: Any, law: DiffusionFit, count: int, bias: Any = 1.0) -> Array:
            times = np.linspace(1, 0, self.levels + 1)[:-1] * (1 - 0.5 / self.levels)
            clean, noise = np.cos(np.pi / 2 * times), np.sin(np.pi / 2 * times)
            less = np.append(noise[1:], 0.0)  # the noise after each step
            kept = np.append(clean[1:], 1.0)
            new = less / noise * np.sqrt(1 - (clean / kept) ** 2)
            chain = np.stack([times, clean, noise, kept, np.sqrt(less**2 - new**2), new], axis=1)

            def step(z: Array, own: tuple[Array, Array]) -> tuple[Array, None]:
                (time, clean, noise, kept, old, new), key = own
                guessed = guess(law.network, z, jnp.full(count, time))
                start = jnp.clip((z - noise * guessed) / clean, law.low[None], law.high[None])
                guessed = (z - clean * start) / noise
                drawn = bias**0.5 * jax.random.normal(key, z.shape)
                return kept * start + old * guessed + new * drawn, None

            key, key_start = jax.random.split(key)
            keys = jax.random.split(key, self.levels)
            start = bias**0.5 * jax.random.normal(key_start, (count, columns))
            z, _ = jax.lax.scan(step, start, (jnp.asarray(chain, jnp.float32), keys))
            return law.units.back(z)

        return Functions(fit, generate)

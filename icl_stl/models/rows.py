"""Networks that read rows of numbers, and what they bend."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

BOUND = 5.0
"""Splines bend within so many deviations of the mean."""
LEAST = 1e-3
"""Least share of a bin in the width and height of a spline."""


class Mlp(nn.Module):
    """Layers of one width with SiLU between them; the last one starts at 0."""

    features: int
    """Numbers that come out."""
    width: int
    depth: int
    """Hidden layers."""

    @nn.compact
    def __call__(self, rows: Float[Array, "n p"]) -> Float[Array, "n q"]:
        """Every row by itself."""
        for _ in range(self.depth):
            rows = nn.silu(nn.Dense(self.width)(rows))
        return nn.Dense(self.features, kernel_init=nn.initializers.zeros)(rows)


def spline(
    x: Float[Array, "*n"], raw: Float[Array, "*n q"], *, inverse: bool = False
) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """A rational-quadratic spline of [-B, B] onto itself, the identity outside.

    Args:
        x: Numbers, `[...]`.
        raw: What says widths and heights of J bins and slopes between them, `[..., 3 J - 1]`; the
            identity for zeros.
        inverse: Whether to invert it.

    Returns:
        Its values, and the log of the slope of the spline there (not of its inverse).

    Source: published (neural spline flows; Durkan, Bekasov, Murray and Papamakarios 2019).
    """
    bins = (raw.shape[-1] + 1) // 3
    shares = jax.nn.softmax(raw[..., : 2 * bins].reshape(*raw.shape[:-1], 2, bins), axis=-1)
    sizes = 2 * BOUND * (LEAST + (1 - LEAST * bins) * shares)
    ends = jnp.cumsum(sizes, axis=-1) - BOUND
    slopes = LEAST + (1 - LEAST) * jax.nn.softplus(raw[..., 2 * bins :] + np.log(np.e - 1))
    slopes = jnp.pad(slopes, [(0, 0)] * (raw.ndim - 1) + [(1, 1)], constant_values=1)
    inside = jnp.abs(x) < BOUND
    at = jnp.where(inside, x, 0)
    own = ends[..., int(inverse), :-1]
    index = jnp.sum(at[..., None] >= own, axis=-1, keepdims=True)

    def of(values: Array) -> Array:
        return jnp.take_along_axis(values, index, axis=-1)[..., 0]

    width, height = of(sizes[..., 0, :]), of(sizes[..., 1, :])
    left, low = of(ends[..., 0, :]) - width, of(ends[..., 1, :]) - height
    here, there, mean = of(slopes[..., :-1]), of(slopes[..., 1:]), height / width
    bend = here + there - 2 * mean
    if inverse:
        up = at - low
        a, b, c = height * (mean - here) + up * bend, height * here - up * bend, -mean * up
        part = -2 * c / (b + jnp.sqrt(jnp.maximum(b**2 - 4 * a * c, 0)))
        part = jnp.clip(part, 0, 1)
        value = left + part * width
    else:
        part = jnp.clip((at - left) / width, 0, 1)
        over = height * (mean * part**2 + here * part * (1 - part))
        value = low + over / (mean + bend * part * (1 - part))
    rise = there * part**2 + 2 * mean * part * (1 - part) + here * (1 - part) ** 2
    log_slope = jnp.log(rise) + 2 * jnp.log(mean / (mean + bend * part * (1 - part)))
    return jnp.where(inside, value, x), jnp.where(inside, log_slope, 0)

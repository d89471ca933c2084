"""The mean of clipped normal data: every constant of the bound is known."""

from dataclasses import dataclass
from typing import Any

from icl_stl.config import normalised, require, scale
from icl_stl.lazily import jax, jnp
from icl_stl.problems.base import Scalar
from icl_stl.problems.gaussian_mean import Located


@dataclass(frozen=True)
class ClippedMean(Located):
    """The mean of N(0, σ²) from data clipped to [-B, B], loss (clip(z) - μ)²/(4 B²) in [0, 1].

    Every constant of the bound is known: M = 1, b = 2, κ = 2 B/(σ √(2π)).
    """

    clip: float = 1.0
    """B, largest size of a row that counts."""
    noise: float = 1.0
    """σ, deviation of the normal law."""

    def __post_init__(self) -> None:
        normalised(self, noise=scale, clip=scale)
        right = f"from 1e-3 to 1e6 times the noise {self.noise}"
        require(1e-3 <= self.clip / self.noise <= 1e6, "clip", self.clip, right)

    def make_learner(self) -> Any:
        from icl_stl import learners

        return learners.gaussian_mean(self.noise, self.clip)

    def loss(self, params: Any, rows: Any) -> Any:
        return (jnp.clip(rows, -self.clip, self.clip) - params) ** 2 / (4 * self.clip**2)

    def risk(self, truth: Any, params: Any) -> Scalar:
        first, second = self._moments(truth)
        return (second - 2 * params * first + params**2) / (4 * self.clip**2)

    def _moments(self, mean: Any) -> tuple[Scalar, Scalar]:
        """First two moments of N(mean, σ²) clipped to [-B, B]."""
        noise, clip = self.noise, self.clip
        cut = clip / noise
        low, high = -cut - mean / noise, cut - mean / noise
        norm, density = jax.scipy.stats.norm.cdf, jax.scipy.stats.norm.pdf
        inside, below, above = norm(high) - norm(low), norm(low), norm(-high)
        first = mean * inside + noise * (density(low) - density(high)) + clip * (above - below)
        second = (
            (mean**2 + noise**2) * inside
            + noise**2 * (low * density(low) - high * density(high))
            + 2 * mean * noise * (density(low) - density(high))
            + clip**2 * (above + below)
        )
        return first, second

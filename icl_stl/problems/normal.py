"""Means of normal laws: what `gaussian_mean` and `clipped_mean` share."""

from typing import Any

from icl_stl.lazily import jax, jnp
from icl_stl.problems.base import Scalar, Solvable
from icl_stl.problems.total_variation import sampled_eps


class Located(Solvable):
    """A learner of the mean of N(0, σ²) that generates with the known σ; the drift is exact."""

    noise: float

    def truth(self, key: Any) -> Scalar:
        return jnp.float32(0.0)

    def draw(self, key: Any, truth: Any, count: int) -> Any:
        return self.learner.generate(key, truth, count)

    def excess(self, truth: Any, params: Any) -> Scalar:
        return (params - truth) ** 2

    def log_density(self, params: Any, rows: Any) -> Any:
        return -0.5 * ((rows - params) / self.noise) ** 2

    real_log_density = log_density
    eps = sampled_eps

    def drift(self, key: Any, truth: Any, params: Any) -> Scalar:
        return jax.scipy.special.erf(jnp.abs(params - truth) / (8**0.5 * self.noise))

"""Regression with w ~ N(0, I_d): what least squares and ridge share."""

from typing import Any

from icl_stl.lazily import jax, jnp
from icl_stl.problems.base import Scalar, Solvable
from icl_stl.problems.total_variation import sampled_eps


class Regression(Solvable):
    """y = <w, x> + σ ε, x ~ N(0, I_d); squared loss; the drift is exact."""

    dim: int
    noise: float

    def size(self, rows: float, runs: float) -> float:
        return rows * (self.dim + 1) + self.dim**2

    def truth(self, key: Any) -> Any:
        return jax.random.normal(key, (self.dim,))

    def draw(self, key: Any, truth: Any, count: int) -> Any:
        return self.learner.generate(key, truth, count)

    def loss(self, params: Any, rows: Any) -> Any:
        return (rows.ys - rows.xs @ params) ** 2

    def risk(self, truth: Any, params: Any) -> Scalar:
        return self.noise**2 + jnp.sum((params - truth) ** 2)

    synthetic_risk = risk

    def excess(self, truth: Any, params: Any) -> Scalar:
        return jnp.sum((params - truth) ** 2)

    def log_density(self, params: Any, rows: Any) -> Any:
        return -0.5 * ((rows.ys - rows.xs @ params) / self.noise) ** 2

    real_log_density = log_density
    eps = sampled_eps

    def drift(self, key: Any, truth: Any, params: Any) -> Scalar:
        return 2 / jnp.pi * jnp.arctan(jnp.sqrt(jnp.sum((params - truth) ** 2)) / (2 * self.noise))

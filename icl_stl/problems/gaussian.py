"""Mean and variance of a normal law."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from icl_stl import references, regimes
from icl_stl.config import flag, normalised, scale
from icl_stl.lazily import jnp
from icl_stl.problems.base import Scalar, Solvable, from_first
from icl_stl.problems.observed import sampled_drift, sampled_eps


@dataclass(frozen=True)
class Gaussian(Solvable):
    """Mean and variance of N(0, σ²); squared loss (z - μ)², the excess is that of the mean."""

    noise: float = 1.0
    """σ, deviation of the normal law."""
    unbiased: bool = False
    """Multiply the variance by N/(N - 1), N the rows with a weight; for equal weights."""

    flat: ClassVar[Any] = {"gaussian-variance": {"noise": 0.5}}

    def __post_init__(self) -> None:
        normalised(self, noise=scale)
        flag("unbiased", self.unbiased)

    def truth(self, key: Any) -> Any:
        from icl_stl.laws.prompts import Normal

        return Normal(jnp.float32(0.0), jnp.float32(self.noise))

    def loss(self, params: Any, rows: Any) -> Any:
        return (rows - params.mean) ** 2

    def risk(self, truth: Any, params: Any) -> Scalar:
        return truth.std**2 + (params.mean - truth.mean) ** 2

    def excess(self, truth: Any, params: Any) -> Scalar:
        return (params.mean - truth.mean) ** 2

    def log_density(self, params: Any, rows: Any) -> Any:
        std = jnp.maximum(params.std, np.finfo(np.float32).tiny)  # also after a collapse
        return -0.5 * ((rows - params.mean) / std) ** 2 - jnp.log(std)

    real_log_density = log_density
    drift, eps = sampled_drift, sampled_eps

    def closed_form(self, regime: regimes.Regime, samples: int, generations: int) -> Any:
        mixing = references.Mixing.of(regime, samples, generations)
        if mixing is None:
            return from_first(self.noise**2 / samples, generations)
        return references.mean_variance_mixed(mixing, self.noise, self.unbiased).mean_error

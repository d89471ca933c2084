"""Mean and variance of a normal law."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from icl_stl import references, regimes
from icl_stl.config import flag, normalised, sampling_bias, scale
from icl_stl.lazily import jax, jnp
from icl_stl.problems.base import Biased, Scalar, Solvable, from_first
from icl_stl.problems.observed import sampled_drift, sampled_eps

WITHIN = 1.959963984540054
"""Deviations from its mean within which a normal row is with probability 95 %."""


@dataclass(frozen=True)
class Gaussian(Biased, Solvable):
    """Mean and variance of N(0, σ²); squared loss (z - μ)², the excess is that of the mean."""

    noise: float = 1.0
    """σ, deviation of the normal law."""
    unbiased: bool = False
    """Multiply the variance by N/(N - 1), N the rows with a weight; for equal weights."""

    flat: ClassVar[Any] = {
        "gaussian-variance": {"noise": 0.5, "unbiased": False, "sampling_bias": 1.0}
    }

    def __post_init__(self) -> None:
        normalised(self, noise=scale, sampling_bias=sampling_bias)
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

    def drawn(self, params: Any) -> Any:
        return params._replace(std=self.sampling_bias**0.5 * params.std)

    def synthetic_risk(self, previous: Any, params: Any) -> Scalar:
        return self.risk(self.drawn(previous), params)

    def log_density(self, params: Any, rows: Any) -> Any:
        return self.real_log_density(self.drawn(params), rows)

    def real_log_density(self, truth: Any, rows: Any) -> Any:
        std = jnp.maximum(truth.std, np.finfo(np.float32).tiny)  # also after a collapse
        return -0.5 * ((rows - truth.mean) / std) ** 2 - jnp.log(std)

    drift, eps = sampled_drift, sampled_eps

    def quality(self, truth: Any, params: Any) -> dict[str, Scalar]:
        """Of the fit: its variance and squared W2 distance; of rows drawn from it: the precision,
        the share of them within the central 95 % of the real law, over 95 %.
        """
        distance = self.excess(truth, params) + (params.std - truth.std) ** 2
        std = jnp.maximum(self.drawn(params).std, np.finfo(np.float32).tiny)
        apart, edge = params.mean - truth.mean, WITHIN * truth.std
        below = jax.scipy.special.ndtr
        inside = below((edge - apart) / std) - below((-edge - apart) / std)
        return {"variance": params.std**2, "w2": distance, "precision": inside / 0.95}

    def quality_form(self, regime: regimes.Regime, samples: int, generations: int) -> Any:
        known = self._moments(regime, samples, generations)
        return {} if known is None else {"variance": known.variance}

    def closed_form(self, regime: regimes.Regime, samples: int, generations: int) -> Any:
        known = self._moments(regime, samples, generations)
        return from_first(self.noise**2 / samples, generations) if known is None else known[0]

    def _moments(self, regime: regimes.Regime, samples: int, generations: int) -> Any:
        own = self.noise, self.unbiased, self.sampling_bias
        if isinstance(regime, regimes.Verified):
            mixing = references.Mixing.of(regime.inner, samples, generations)
            if regime.keep != "confidence" or mixing is None or mixing.history:
                return None
            return references.mean_variance_surest(mixing, self.noise, regime.keep_rate, *own[1:])
        mixing = references.Mixing.of(regime, samples, generations)
        if mixing is None:
            return None
        return references.mean_variance_mixed(mixing, *own)

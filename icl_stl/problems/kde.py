"""Smoothed resampling of numbers."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from icl_stl import references, regimes
from icl_stl.config import normalised, scale
from icl_stl.lazily import jax, jnp
from icl_stl.problems.base import Scalar, Solvable, from_first
from icl_stl.problems.gaussian import WITHIN

RARE, BETWEEN = 0.1, 0.9
"""Share of the smaller component of the real law; share of the variance that is between both."""


@dataclass(frozen=True)
class Kde(Solvable):
    """Smoothed resampling: a row of the training set plus N(0, h²), a kernel density estimate.

    Rows are numbers of a law with mean 0 and variance σ²: two normal components, one row in ten of
    the smaller, far from the others. Squared loss (z - mean)², the excess is that of the mean of
    the generator. Parameters are a `learners.laws.Resampled`.
    Source: derived here, setting of Khelifa, Turner and Venkataramanan 2026: THEORY.md section 29.
    """

    noise: float = 1.0
    """σ, deviation of the real law."""
    bandwidth: float = 0.2
    """h, deviation of the noise on a row, unit of the rows, the same in every generation."""

    flat: ClassVar[Any] = {"kde": {"noise": 1.0, "bandwidth": 0.2}}

    def __post_init__(self) -> None:
        normalised(self, noise=scale, bandwidth=scale)

    @property
    def components(self) -> tuple[tuple[float, float], tuple[float, float], float]:
        """Shares and means of the components of the real law, and their deviation."""
        away = self.noise * (BETWEEN * RARE / (1 - RARE)) ** 0.5
        means = -away, away * (1 - RARE) / RARE
        return (1 - RARE, RARE), means, self.noise * (1 - BETWEEN) ** 0.5

    def truth(self, key: Any) -> Any:
        return ()

    def draw(self, key: Any, truth: Any, count: int) -> Any:
        key_which, key_noise = jax.random.split(key)
        _, means, own = self.components
        rare = jax.random.uniform(key_which, (count,)) < RARE
        noise = own * jax.random.normal(key_noise, (count,))
        return jnp.where(rare, means[1], means[0]) + noise

    def mean(self, params: Any) -> Scalar:
        """The mean of a generator."""
        return params.weights @ params.rows

    def variance(self, params: Any) -> Scalar:
        """The variance of a generator."""
        apart = params.rows - self.mean(params)
        return params.weights @ apart**2 + self.bandwidth**2

    def best(self, truth: Any) -> Any:
        from icl_stl.learners.laws import Resampled

        return Resampled(jnp.zeros(1), jnp.ones(1))

    def loss(self, params: Any, rows: Any) -> Any:
        return (rows - self.mean(params)) ** 2

    def risk(self, truth: Any, params: Any) -> Scalar:
        return self.noise**2 + self.excess(truth, params)

    def excess(self, truth: Any, params: Any) -> Scalar:
        return self.mean(params) ** 2

    def synthetic_risk(self, previous: Any, params: Any) -> Scalar:
        return self.variance(previous) + (self.mean(params) - self.mean(previous)) ** 2

    def quality(self, truth: Any, params: Any) -> dict[str, Scalar]:
        """Of the generator: its variance, its third and fourth moment about the real mean, and its
        precision, the share of its rows within 1.96 deviations of that, over that of real rows.
        """
        rows, weights, square = params.rows, params.weights, self.bandwidth**2
        edge, below = WITHIN * self.noise, jax.scipy.special.ndtr
        inside = below((edge - rows) / self.bandwidth) - below((-edge - rows) / self.bandwidth)
        moments = (
            weights @ (rows**3 + 3 * square * rows),
            weights @ (rows**4 + 6 * square * rows**2 + 3 * square**2),
        )
        names = "variance", "precision", "third_moment", "fourth_moment"
        shown = self.variance(params), weights @ inside / self.known(0)["inside"], *moments
        return dict(zip(names, shown, strict=True))

    def known(self, smoothings: Any) -> dict[str, Any]:
        """Of p * N(0, k h²), p the real law and k of any shape: the share of rows within 1.96 σ
        (`inside`), the third and the fourth moment.
        """
        from scipy.special import ndtr

        shares, means, own = self.components
        square = own**2 + np.asarray(smoothings, float)[..., None] * self.bandwidth**2
        a, p, edge = np.array(means), np.array(shares), WITHIN * self.noise
        inside = ndtr((edge - a) / square**0.5) - ndtr((-edge - a) / square**0.5)
        third, fourth = a**3 + 3 * a * square, a**4 + 6 * a**2 * square + 3 * square**2
        return {"inside": inside @ p, "third": third @ p, "fourth": fourth @ p}

    def quality_form(self, regime: regimes.Regime, samples: int, generations: int) -> Any:
        moments = self._moments(regime, samples, generations)
        if moments is None:
            return {}
        weights = regimes.mixing_weights(regime, samples, generations)
        mixture = references.resampled_mixture(weights)
        found = {k: mixture @ v for k, v in self.known(np.arange(generations + 2)).items()}
        precision = found["inside"] / self.known(0)["inside"]
        known = {"variance": moments.variance, "precision": precision}
        return known | {"third_moment": found["third"], "fourth_moment": found["fourth"]}

    def closed_form(self, regime: regimes.Regime, samples: int, generations: int) -> Any:
        known = self._moments(regime, samples, generations)
        return from_first(self.noise**2 / samples, generations) if known is None else known[0]

    def _moments(self, regime: regimes.Regime, samples: int, generations: int) -> Any:
        mixing = references.Mixing.of(regime, samples, generations)
        if mixing is None:
            return None
        return references.mean_variance_mixed(mixing, self.noise, added=self.bandwidth**2)

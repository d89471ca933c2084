"""The mean of a normal law."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from icl_stl import references, regimes
from icl_stl.config import normalised, sampling_bias, scale
from icl_stl.lazily import jax, jnp
from icl_stl.problems.base import Biased, Foreign, Scalar, Solvable, bias_of, distance, from_first
from icl_stl.problems.observed import sampled_drift, sampled_eps


class Located(Solvable):
    """A learner of the mean of N(0, σ²) that generates with the known σ; the drift is exact."""

    noise: float

    def truth(self, key: Any) -> Scalar:
        return jnp.float32(0.0)

    def excess(self, truth: Any, params: Any) -> Scalar:
        return (params - truth) ** 2

    def log_density(self, params: Any, rows: Any) -> Any:
        bias = bias_of(self)
        return -0.5 * (((rows - params) / self.noise) ** 2 / bias + np.log(bias))

    def real_log_density(self, truth: Any, rows: Any) -> Any:
        return -0.5 * ((rows - truth) / self.noise) ** 2

    eps = sampled_eps

    def drift(self, key: Any, truth: Any, params: Any) -> Scalar:
        if bias_of(self) != 1:
            return sampled_drift(self, key, truth, params)
        return jax.scipy.special.erf(jnp.abs(params - truth) / (8**0.5 * self.noise))


@dataclass(frozen=True)
class GaussianMean(Biased, Foreign, Located):
    """The mean of N(0, σ²), σ known, squared loss (z - μ)²; the drift is exact."""

    noise: float = 1.0
    """σ, deviation of the normal law."""

    flat: ClassVar[Any] = {"gaussian": {"noise": 0.5, "sampling_bias": 1.0, "foreign": None}}

    def __post_init__(self) -> None:
        normalised(self, noise=scale, sampling_bias=sampling_bias, foreign=distance)

    def loss(self, params: Any, rows: Any) -> Any:
        return (rows - params) ** 2

    def risk(self, truth: Any, params: Any) -> Scalar:
        return self.noise**2 + (params - truth) ** 2

    def other(self) -> Any:
        return np.float32(self.foreign)

    def synthetic_risk(self, previous: Any, params: Any) -> Scalar:
        return self.sampling_bias * self.noise**2 + (params - self.writer(previous)) ** 2

    def closed_form(self, regime: regimes.Regime, samples: int, generations: int) -> Any:
        n_syn, bias = regime.synthetic_size(samples), self.sampling_bias
        if self.foreign is not None:
            mixing = references.Mixing.of(regime, samples, generations)
            if mixing is None or mixing.drawn:
                return from_first(self.noise**2 / samples, generations)
            return references.mean_foreign(mixing, self.noise, self.foreign, bias)
        loop = samples, n_syn, self.noise, generations
        if isinstance(regime, regimes.FreshReal):
            return references.mean_fresh(*loop, regime.share(1), bias=bias)
        if isinstance(regime, regimes.Curated):
            return self._curated(regime, loop)
        known, first = self._known(regime, loop), self.noise**2 / samples
        if bias == 1 or known is None:
            return known
        if isinstance(regime, regimes.AccumulateSubsample | regimes.Hidden | regimes.Verified):
            return from_first(first, generations)
        return first + bias * (known - first)  # the error of the first real rows is not biased

    def _curated(self, regime: regimes.Curated, loop: tuple[int, int, float, int]) -> Any:
        """With a linear reward, among rows of the last generation."""
        slope, inner = regime.reward[0], regime.inner
        plain = isinstance(inner, regimes.Replace | regimes.Augment | regimes.FreshReal)
        linear = not any(regime.reward[1:]) and abs(slope) * self.noise <= references.STEEPEST
        if not (plain and linear and self.sampling_bias == 1):
            return from_first(self.noise**2 / loop[0], loop[-1])
        share = regime.share(1)
        return references.curated_mean(*loop, slope, share, fresh=inner.fresh_real).error

    def _known(self, regime: regimes.Regime, loop: tuple[int, int, float, int]) -> Any:
        """Without a bias."""
        samples, n_syn, noise, generations = loop
        shares = regimes.real_shares(regime, samples, generations)[1:]
        match regime:
            case regimes.RealOnly():
                return from_first(self.noise**2 / samples, generations, stays=True)
            case regimes.Replace():
                return references.mean_replace(*loop)
            case regimes.Augment():
                return references.mean_augment(*loop, regime.weight)
            case regimes.AccumulateSubsample():
                return references.mean_accumulate_subsample(*loop)
            case regimes.AccumulateFresh():
                return references.mean_accumulate(*loop)
            case regimes.Anchored():
                return references.mean_anchored(*loop, regime.alpha)
            case regimes.Hidden():
                sizes = [samples, *regime.sizes(samples, generations)]
                return references.mean_hidden(self.noise, sizes, shares)
            case regimes.Varying():
                sizes = regime.sizes(samples, generations)
                return references.mean_varying(self.noise, samples, sizes, shares)
            case regimes.Verified(inner=regimes.Replace(), keep="region", keep_centre=(centre,)):
                known = references.mean_region(
                    samples, n_syn, noise, regime.keep_radius, abs(centre)
                )
                return np.pad(known, (0, generations), constant_values=np.nan)[: generations + 1]
        return None

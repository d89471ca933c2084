"""The mean of a normal law."""

from dataclasses import dataclass
from typing import Any, ClassVar

from icl_stl import references, regimes
from icl_stl.config import normalised, scale
from icl_stl.lazily import jax, jnp
from icl_stl.problems.base import Scalar, Solvable, from_first
from icl_stl.problems.observed import sampled_eps


class Located(Solvable):
    """A learner of the mean of N(0, σ²) that generates with the known σ; the drift is exact."""

    noise: float

    def truth(self, key: Any) -> Scalar:
        return jnp.float32(0.0)

    def excess(self, truth: Any, params: Any) -> Scalar:
        return (params - truth) ** 2

    def log_density(self, params: Any, rows: Any) -> Any:
        return -0.5 * ((rows - params) / self.noise) ** 2

    real_log_density = log_density
    eps = sampled_eps

    def drift(self, key: Any, truth: Any, params: Any) -> Scalar:
        return jax.scipy.special.erf(jnp.abs(params - truth) / (8**0.5 * self.noise))


@dataclass(frozen=True)
class GaussianMean(Located):
    """The mean of N(0, σ²), σ known, squared loss (z - μ)²; the drift is exact."""

    noise: float = 1.0
    """σ, deviation of the normal law."""

    flat: ClassVar[Any] = {"gaussian": {"noise": 0.5}}

    def __post_init__(self) -> None:
        normalised(self, noise=scale)

    def loss(self, params: Any, rows: Any) -> Any:
        return (rows - params) ** 2

    def risk(self, truth: Any, params: Any) -> Scalar:
        return self.noise**2 + (params - truth) ** 2

    def closed_form(self, regime: regimes.Regime, samples: int, generations: int) -> Any:
        n_syn = regime.synthetic_size(samples)
        loop = samples, n_syn, self.noise, generations
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
            case regimes.FreshReal():
                return references.mean_fresh(*loop, regime.share(1))
            case regimes.Anchored():
                return references.mean_anchored(*loop, regime.alpha)
            case regimes.Hidden():
                sizes = [samples, *regime.sizes(samples, generations)]
                return references.mean_hidden(self.noise, sizes, shares)
            case regimes.Varying():
                sizes = regime.sizes(samples, generations)
                return references.mean_varying(self.noise, samples, sizes, shares)
        return None

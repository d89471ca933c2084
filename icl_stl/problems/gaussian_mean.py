"""The mean of a normal law."""

from dataclasses import dataclass
from typing import Any, ClassVar

from icl_stl import references
from icl_stl.config import normalised, scale
from icl_stl.problems.base import Scalar, from_first
from icl_stl.problems.normal import Located
from icl_stl.regimes import (
    AccumulateFresh,
    AccumulateSubsample,
    Anchored,
    Augment,
    FreshReal,
    RealOnly,
    Regime,
    Replace,
)


@dataclass(frozen=True)
class GaussianMean(Located):
    """The mean of N(0, σ²), σ known, squared loss (z - μ)²; the drift is exact."""

    noise: float = 1.0
    """σ, deviation of the normal law."""

    flat: ClassVar[Any] = {"gaussian": {"noise": 0.5}}

    def __post_init__(self) -> None:
        normalised(self, noise=scale)

    def make_learner(self) -> Any:
        from icl_stl import learners

        return learners.gaussian_mean(self.noise)

    def loss(self, params: Any, rows: Any) -> Any:
        return (rows - params) ** 2

    def risk(self, truth: Any, params: Any) -> Scalar:
        return self.noise**2 + (params - truth) ** 2

    synthetic_risk = risk

    def closed_form(self, regime: Regime, samples: int, generations: int) -> Any:
        n_syn = regime.synthetic_size(samples)
        loop = samples, n_syn, self.noise, generations
        match regime:
            case RealOnly():
                return from_first(self.noise**2 / samples, generations, stays=True)
            case Replace():
                return references.mean_replace(*loop)
            case Augment():
                return references.mean_augment(*loop, regime.weight)
            case AccumulateSubsample():
                return references.mean_accumulate_subsample(*loop)
            case AccumulateFresh():
                return references.mean_accumulate(*loop)
            case FreshReal():
                return references.mean_fresh(*loop, regime.share(1))
            case Anchored():
                return references.mean_anchored(*loop, regime.alpha)
        return None

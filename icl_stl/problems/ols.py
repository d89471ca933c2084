"""Least squares."""

from dataclasses import dataclass
from typing import Any, ClassVar

from icl_stl import references
from icl_stl.config import normalised, task_noise, whole
from icl_stl.problems.base import from_first
from icl_stl.problems.regression import Regression
from icl_stl.regimes import (
    Accumulate,
    AccumulateFresh,
    AccumulateSubsample,
    Augment,
    AugmentSameInputs,
    FreshReal,
    RealOnly,
    Regime,
    Replace,
)


@dataclass(frozen=True)
class Ols(Regression):
    """Least squares with w ~ N(0, I_d), squared loss; the drift is exact."""

    dim: int = 10
    """d, dimension of an input."""
    noise: float = 1.0
    """σ, label noise."""

    flat: ClassVar[Any] = {"ols": {"dim": 2, "noise": 0.5}}

    def __post_init__(self) -> None:
        normalised(self, dim=lambda name, value: whole(name, value, 1))
        normalised(self, noise=task_noise)

    @property
    def fewest(self) -> int:
        return self.dim + 2  # for a mean of the excess

    def make_learner(self) -> Any:
        from icl_stl import learners

        return learners.ols(self.noise)

    def closed_form(self, regime: Regime, samples: int, generations: int) -> Any:
        n, n_syn, last = samples, regime.synthetic_size(samples), generations
        loop = n, n_syn, self.dim, self.noise, last
        first = references.ols_single_fit(n, self.dim, self.noise)
        repeated = n_syn % n == 0
        match regime:
            case RealOnly():
                return from_first(first, last, stays=True)
            case Replace():
                return references.ols_replace(*loop)
            case AugmentSameInputs():
                if repeated:
                    return references.ols_augment_same_inputs(*loop, regime.weight)
            case Augment(weight=None):
                return references.ols_augment_fresh_inputs(*loop)
            case Accumulate():
                if repeated:
                    return references.ols_accumulate_same_inputs(*loop)
            case AccumulateFresh() if not isinstance(regime, AccumulateSubsample):
                return references.ols_accumulate_fresh_inputs(*loop)
            case FreshReal(weight=None):
                return references.ols_fresh_real(*loop)
        return from_first(first, last)

"""Zeros and ones."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from icl_stl import references, regimes
from icl_stl.config import amplification, injection, normalised, require, share
from icl_stl.lazily import jnp
from icl_stl.problems.base import Scalar, Solvable, from_first
from icl_stl.references import bernoulli

LEAST_CHANCE = 1e-4
"""Smallest chance of a symbol of zeros and ones; uniform draws are multiples of 2^-23."""

ENUMERATED = 90_000
"""Largest n n_syn for which the law of bits is enumerated."""

TABLED = 3 * 10**7
"""Most numbers in the tables of such an enumeration where all rows are kept, or real ones new."""

ROUNDING = 1e-12
"""By how much an amplified share of ones may leave [0, 1] and not be clipped."""


@dataclass(frozen=True)
class Bernoulli(Solvable):
    """The amplifier on zeros and ones, squared loss (z - θ)²; total variations are exact."""

    kappa: float = 1.0
    """κ, amplification of the share of ones."""
    probability: float = 0.5
    """p, chance of a one."""
    centre: float = 0.5
    """c, the share that is passed on as it is."""
    injected: float = 0.0
    """e, an error that is added in every generation."""

    flat: ClassVar[Any] = {"bernoulli": {"kappa": 1.0, "injected": 0.0}}

    def __post_init__(self) -> None:
        normalised(self, kappa=amplification, injected=injection)
        normalised(self, probability=share, centre=share)
        p = self.probability
        drawn = p in (0, 1) or LEAST_CHANCE <= p <= 1 - LEAST_CHANCE
        whom = f"0, 1, or in [{LEAST_CHANCE:g}, 1 - {LEAST_CHANCE:g}], or draws would round it"
        require(drawn, "probability", p, whom)

    def truth(self, key: Any) -> Scalar:
        return jnp.float32(self.probability)

    def loss(self, params: Any, rows: Any) -> Any:
        return (rows - params) ** 2

    def risk(self, truth: Any, params: Any) -> Scalar:
        return truth * (1 - params) ** 2 + (1 - truth) * params**2

    def excess(self, truth: Any, params: Any) -> Scalar:
        return (params - truth) ** 2

    def drift(self, key: Any, truth: Any, params: Any) -> Scalar:
        return jnp.abs(params - truth)

    def eps(self, key: Any, truth: Any, previous: Any, params: Any, share: Any) -> Scalar:
        return jnp.abs(params - share * truth - (1 - share) * previous)

    def closed_form(self, regime: regimes.Regime, samples: int, generations: int) -> Any:
        p, kappa, last = self.probability, self.kappa, generations
        mixing = references.Mixing.of(regime, samples, last)
        low = self.centre * (1 - kappa) + self.injected
        if mixing and low >= -ROUNDING and low + kappa <= 1 + ROUNDING:  # never clipped
            law, offset = np.array([1 - p, p]), np.array([1 - kappa - low, low])
            return references.law_affine(mixing, law, kappa, offset).error / 2
        n_syn = max(regime.synthetic_size(samples), 1)
        own = p, kappa, getattr(regime, "weight", None), self.centre, self.injected
        replace = isinstance(regime, regimes.Replace)
        loop = bernoulli.BernoulliLoop(samples, n_syn, *own, replace=replace)
        if samples * n_syn > ENUMERATED:
            return None
        match regime:
            case regimes.Replace() | regimes.Augment():
                return bernoulli.drift(loop, last).square
            case regimes.FreshReal() if samples * n_syn**2 <= TABLED:
                laws = bernoulli.last_laws(loop, last)
            case regimes.AccumulateFresh() if last**2 * (samples + n_syn) ** 2 <= TABLED:
                drawn = isinstance(regime, regimes.AccumulateSubsample)
                laws = bernoulli.pooled_laws(loop, last, drawn=drawn)
            case _:
                first = float(bernoulli.drift(loop, 0).square[0])
                return from_first(first, last, stays=isinstance(regime, regimes.RealOnly))
        return np.array([one.probability @ (one.support - p) ** 2 for one in laws])

"""A law on symbols."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from icl_stl import references, regimes
from icl_stl.config import normalised, pseudo_counts, require, sampling_bias, whole
from icl_stl.lazily import jax, jnp
from icl_stl.problems.base import Biased, Scalar, Solvable, from_first

MOST_SYMBOLS = 10**5
"""Symbols of a flat law: more are a slip of the pen."""


@dataclass(frozen=True)
class Categorical(Biased, Solvable):
    """A law on K symbols, Brier loss |e_z - θ|²; total variations are exact."""

    probabilities: tuple[float, ...] = (0.1,) * 10
    """The real law."""
    pseudo_count: float = 0.0
    """Added to every count; 1 is Laplace's rule."""

    flat: ClassVar[Any] = {
        "categorical": {"symbols": 10, "pseudo_count": 0.0, "sampling_bias": 1.0}
    }
    flat_help: ClassVar[Any] = {"symbols": "Symbols, equally likely."}

    def __post_init__(self) -> None:
        try:
            known = bool(np.isclose(sum(self.probabilities), 1) and min(self.probabilities) >= 0)
        except TypeError:
            known = False
        if not known:
            raise ValueError(
                "probabilities must be at least 0 and sum to 1, but they are "
                f"{self.probabilities!r}"
            )
        normalised(self, pseudo_count=pseudo_counts, sampling_bias=sampling_bias)

    @classmethod
    def from_flat(cls, word: str, **options: Any) -> "Categorical":
        symbols = whole("symbols", options.pop("symbols"), 2)
        require(symbols <= MOST_SYMBOLS, "symbols", symbols, f"at most {MOST_SYMBOLS}")
        return cls((1 / symbols,) * symbols, **options)

    def size(self, rows: float, runs: float) -> float:
        return rows * len(self.probabilities)

    def make_learner(self) -> Any:
        from icl_stl import learners

        return learners.categorical(len(self.probabilities), self.pseudo_count)

    def truth(self, key: Any) -> Any:
        return jnp.array(self.probabilities, jnp.float32)

    def loss(self, params: Any, rows: Any) -> Any:
        return 1 - 2 * params[rows] + params @ params

    def risk(self, truth: Any, params: Any) -> Scalar:
        return 1 - 2 * truth @ params + params @ params

    def excess(self, truth: Any, params: Any) -> Scalar:
        return jnp.sum((params - truth) ** 2)

    def drawn(self, params: Any) -> Any:
        from icl_stl.learners.laws import powered

        return powered(params, self.sampling_bias)

    def synthetic_risk(self, previous: Any, params: Any) -> Scalar:
        return self.risk(self.drawn(previous), params)

    def drift(self, key: Any, truth: Any, params: Any) -> Scalar:
        return 0.5 * jnp.sum(jnp.abs(self.drawn(params) - truth))

    def quality(self, truth: Any, params: Any) -> dict[str, Scalar]:
        """The entropy of what is drawn, in nats."""
        return {"entropy": jnp.sum(jax.scipy.special.entr(self.drawn(params)))}

    def eps(self, key: Any, truth: Any, previous: Any, params: Any, share: Any) -> Scalar:
        training = share * truth + (1 - share) * self.drawn(previous)
        return 0.5 * jnp.sum(jnp.abs(self.drawn(params) - training))

    def closed_form(self, regime: regimes.Regime, samples: int, generations: int) -> Any:
        law, count, last = np.array(self.probabilities), self.pseudo_count, generations
        n_syn = regime.synthetic_size(samples)
        if self.sampling_bias != 1:
            plain, alone = replace(self, sampling_bias=1.0), regimes.RealOnly()
            first = float(plain.closed_form(alone, samples, 0)[0])
            return from_first(first, last, stays=isinstance(regime, regimes.RealOnly))
        if count:
            return self._smoothed(law, regime, samples, n_syn, last)
        first = (1 - float(law @ law)) / samples
        match regime:
            case regimes.RealOnly():
                return from_first(first, last, stays=True)
            case regimes.Replace():
                return references.law_replace(law, samples, n_syn, last).error
            case regimes.Augment():
                return references.law_augment(law, samples, n_syn, last, regime.weight).error
            case regimes.AccumulateSubsample():
                return from_first(first, last)
            case regimes.AccumulateFresh():
                return references.law_accumulate(law, samples, n_syn, last).error
            case regimes.Anchored():
                return references.law_anchored(law, samples, n_syn, last, regime.alpha).error
        return from_first(first, last)

    def _smoothed(self, law: Any, regime: regimes.Regime, n: int, n_syn: int, last: int) -> Any:
        count = self.pseudo_count
        start = references.smoothed_replace(law, n, max(n_syn, 1), count, 0).error[0]
        match regime:
            case regimes.RealOnly():
                return from_first(start, last, stays=True)
            case regimes.Replace():
                return references.smoothed_replace(law, n, n_syn, count, last).error
            case regimes.Augment() if regime.weight is None:
                return references.smoothed_augment(law, n, n_syn, count, last).error
            case regimes.AccumulateFresh() if not isinstance(regime, regimes.AccumulateSubsample):
                return references.smoothed_accumulate(law, n, n_syn, count, last).error
        return from_first(start, last)

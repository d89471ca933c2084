"""A law on symbols."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from icl_stl import references, regimes
from icl_stl.config import normalised, pseudo_counts, require, sampling_bias, whole
from icl_stl.lazily import jax, jnp
from icl_stl.problems.base import Biased, Scalar, Solvable, from_first


def scheduled_law(law: Any, regime: regimes.Scheduled, samples: int, last: int) -> Any:
    """E |p_i - p|^2 of empirical laws where shares and numbers of rows change."""
    shares = regimes.real_shares(regime, samples, last)[1:]
    match regime:
        case regimes.Hidden():
            return references.law_hidden(law, [samples, *regime.sizes(samples, last)], shares)
        case regimes.Varying():
            return references.law_varying(law, samples, regime.sizes(samples, last), shares)
    return None


MOST_SYMBOLS = 10**5
"""Symbols of a flat law: more are a slip of the pen."""

MOST_CHANCES = 2**24
"""Chances of one number of symbols for another, where the surest are edited, as far as counted."""


CHAINS = 3 * 10**7
"""Most work for which the number of symbols left is enumerated."""


@dataclass(frozen=True)
class Categorical(Biased, Solvable):
    """A law on K symbols, Brier loss |e_z - θ|²; total variations are exact."""

    probabilities: tuple[float, ...] = (0.1,) * 10
    """The real law."""
    pseudo_count: float = 0.0
    """Added to every count; 1 is Laplace's rule."""

    flat: ClassVar[Any] = {
        "categorical": {
            **{"symbols": 10, "probabilities": (), "pseudo_count": 0.0},
            "sampling_bias": 1.0,
        }
    }
    flat_help: ClassVar[Any] = {
        "symbols": "Symbols, equally likely.",
        "probabilities": "The real law, instead of symbols.",
    }

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
        require(len(self.probabilities) > 1, "probabilities", self.probabilities, "two or more")
        normalised(self, pseudo_count=pseudo_counts, sampling_bias=sampling_bias)

    @classmethod
    def from_flat(cls, word: str, **options: Any) -> "Categorical":
        law, usual = options.pop("probabilities"), cls.flat[word]["symbols"]
        symbols = whole("symbols", options.pop("symbols"), 2)
        if law:
            right = f"as many as there are probabilities ({len(law)}), or not given"
            require(symbols in (usual, len(law)), "symbols", symbols, right)
            return cls(tuple(law), **options)
        require(symbols <= MOST_SYMBOLS, "symbols", symbols, f"at most {MOST_SYMBOLS}")
        return cls((1 / symbols,) * symbols, **options)

    @property
    def fewest(self) -> int:
        return 1

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

    def observe(
        self, key: Any, truth: Any, held_out: Any, generation: Any, *, one_step: bool = True
    ) -> dict[str, Any]:
        seen = super().observe(key, truth, held_out, generation, one_step=one_step)
        return {**seen, "symbols_left": jnp.sum(generation.params > 0).astype(jnp.float32)}

    @property
    def law(self) -> NDArray[np.float64]:
        """The real law, with sum 1 to rounding."""
        law = np.array(self.probabilities)
        return np.asarray(law / law.sum())

    def closed_form(self, regime: regimes.Regime, samples: int, generations: int) -> Any:
        law, count = self.law, self.pseudo_count
        biased = self.sampling_bias != 1 and not isinstance(regime, regimes.RealOnly)
        if not count and not biased:
            if isinstance(regime, regimes.Edit) and samples > 1:
                return _edited(law, regime, samples, generations)
            if isinstance(regime, regimes.Scheduled):
                return scheduled_law(law, regime, samples, generations)
            if isinstance(regime, regimes.Curated):
                return _curated(law, regime, samples, generations)
        known = None if biased else references.Mixing.of(regime, samples, generations)
        mixing = known or references.Mixing(np.ones(1), samples, 1)  # generation 0 alone
        size = mixing.rows + count * len(law)
        scale, offset = mixing.rows / size, count / size[:, None]
        error = references.law_affine(mixing, law, scale, offset).error
        return error if known else from_first(error[0], generations)

    def symbols_left(self, regime: regimes.Regime, samples: int, generations: int) -> Any:
        """Mean number of symbols of which the law of a generation has any, `[G + 1]`; nan where
        it is unknown, or costly.
        """
        law, n_syn = self.law, max(regime.synthetic_size(samples), 1)
        if self.pseudo_count:
            return np.full(generations + 1, float(len(law)))
        start = from_first(references.law_symbols(law, samples, n_syn, 0, 1.0)[0], generations)
        mixing = references.Mixing.of(regime, samples, max(generations, 1))
        if mixing is None or mixing.drawn or self.sampling_bias != 1:
            return start
        w = float(mixing.shares[1])
        chains = mixing.fresh or w == 0
        work = n_syn**2 * len({*self.probabilities}) * (generations + (w > 0) * samples)
        if chains and (mixing.history or work > CHAINS):
            return start
        return references.law_symbols(law, samples, n_syn, generations, w, mixing.fresh)


def _edited(law: Any, regime: regimes.Edit, n: int, last: int) -> Any:
    """The closed form of symbols that are edited by lot, or of which the surest are."""
    if regime.threshold is None:
        return references.law_edit(law, n, regime.counts(n, last))
    least = regime.threshold
    if regime.edits or least <= 0.5 or (1 - least) * n**2 > MOST_CHANCES:
        return from_first((1 - float(law @ law)) / n, last)
    return references.law_edit_sure(law, n, least, last)


def _curated(law: Any, regime: regimes.Curated, n: int, last: int) -> Any:
    """The closed form of symbols weighed by a reward, where their counts can be enumerated."""
    inner, n_syn, share = regime.inner, regime.synthetic_size(n), regime.share(1)
    plain = isinstance(inner, regimes.Replace | regimes.Augment | regimes.FreshReal)
    few = references.curated_states(len(law), n, n_syn, share) <= references.MOST_STATES
    if not (plain and few):
        return from_first((1 - float(law @ law)) / n, last)
    reward = np.zeros(len(law))
    given = regime.reward[: len(law)]
    reward[: len(given)] = given
    fresh = inner.fresh_real
    return references.curated_law_loop(law, reward, n, n_syn, last, share, fresh=fresh).error

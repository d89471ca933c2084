"""The end of a uniform law, learned from the largest row."""

from dataclasses import dataclass
from typing import Any, ClassVar

from icl_stl import references, regimes
from icl_stl.config import nonnegative, normalised, positive
from icl_stl.lazily import jnp
from icl_stl.problems.base import Scalar, Solvable, from_first


@dataclass(frozen=True)
class Maximum(Solvable):
    """U[0, θ], θ = 1, fitted by (1 + c N^-b) times the largest of N rows: consistent for b > 0.

    With c = 0 it is the maximum likelihood. Where all rows are kept, the error stays bounded if
    c = 0 or b > 1/2 and grows without end otherwise. Loss (z - θ/2)², excess the squared error of
    θ/2; the drift is exact.
    Source: derived here, setting of Barzilai and Shamir 2025: THEORY.md section 31.
    """

    inflation: float = 1.0
    """c, by which the largest row is raised; 0 for the maximum likelihood."""
    decay: float = 0.25
    """b, power of the number of rows by which that falls."""

    flat: ClassVar[Any] = {"maximum": {"inflation": 1.0, "decay": 0.25}}

    def __post_init__(self) -> None:
        normalised(self, inflation=nonnegative, decay=positive)

    def truth(self, key: Any) -> Scalar:
        return jnp.float32(1.0)

    def loss(self, params: Any, rows: Any) -> Any:
        return (rows - params / 2) ** 2

    def risk(self, truth: Any, params: Any) -> Scalar:
        return truth**2 / 12 + self.excess(truth, params)

    def excess(self, truth: Any, params: Any) -> Scalar:
        return (params - truth) ** 2 / 4

    def drift(self, key: Any, truth: Any, params: Any) -> Scalar:
        return 1 - jnp.minimum(params, truth) / jnp.maximum(params, truth)

    def closed_form(self, regime: regimes.Regime, samples: int, generations: int) -> Any:
        how = self.inflation, self.decay
        first = float(references.maximum_once(samples, *how)) / 4
        if isinstance(regime, regimes.RealOnly):
            return from_first(first, generations, stays=True)
        kept = isinstance(regime, regimes.AccumulateFresh)
        if not kept or isinstance(regime, regimes.AccumulateSubsample):
            return from_first(first, generations)
        n_syn = regime.synthetic_size(samples)
        return references.maximum_kept(samples, n_syn, generations, *how) / 4

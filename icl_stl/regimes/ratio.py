"""Regimes that are given by λ, the synthetic rows of a generation per real row."""

from dataclasses import dataclass

from icl_stl.regimes.base import Regime, check_positive, whole_rows


@dataclass(frozen=True)
class ByRatio(Regime):
    """What they share; n_syn = λ n."""

    lam: float = 1.0
    """λ, rows a generation per row of the real set."""

    def __post_init__(self) -> None:
        check_positive("lam", self.lam)

    def synthetic_size(self, samples: int) -> int:
        return whole_rows(samples, self.lam, "lam", self.lam, lambda lam: lam)

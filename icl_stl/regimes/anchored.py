"""A constant share of the real set beside the rows of all generations."""

from dataclasses import dataclass
from typing import ClassVar

from icl_stl.regimes.base import Regime, check_positive, check_share, whole_rows

__all__ = ["Anchored"]


@dataclass(frozen=True)
class Anchored(Regime):
    """A constant share α of the real set; all past generations share the rest equally."""

    alpha: float = 0.5
    """Share of the real law in the objective."""
    lam: float = 1.0
    """λ, rows a generation per row of the real set."""
    name: ClassVar[str] = "anchored"
    keeps_history: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_share("alpha", self.alpha, "for equal rows use 'accumulate-fresh'")
        check_positive("lam", self.lam)

    def synthetic_size(self, samples: int) -> int:
        return whole_rows(samples, self.lam, "lam", self.lam, lambda lam: lam)

    def share(self, generation: int) -> float:
        return self.alpha

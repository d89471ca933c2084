"""The real set alone."""

from dataclasses import dataclass
from typing import ClassVar

from icl_stl.regimes.base import Regime

__all__ = ["RealOnly"]


@dataclass(frozen=True)
class RealOnly(Regime):
    """The real set alone, fitted anew in every generation: M_{i-1} = D_0, no self-consumption."""

    name: ClassVar[str] = "real-only"

    def synthetic_size(self, samples: int) -> int:
        return 0

    def share(self, generation: int) -> float:
        return 1.0

"""The last generation's rows alone."""

from dataclasses import dataclass
from typing import ClassVar

from icl_stl.regimes.ratio import ByRatio

__all__ = ["Replace"]


@dataclass(frozen=True)
class Replace(ByRatio):
    """The last generation's rows alone: M_{i-1} = D_θ_{i-1}."""

    name: ClassVar[str] = "replace"

    def share(self, generation: int) -> float:
        return 0.0

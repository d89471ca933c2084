"""Ridge regression."""

from dataclasses import dataclass
from typing import Any, ClassVar

from icl_stl.config import flag, normalised, positive
from icl_stl.problems.ols import Regression


@dataclass(frozen=True)
class Ridge(Regression):
    """Ridge regression with w ~ N(0, I_d), squared loss; the drift is exact."""

    penalty: float = 0.1
    """ρ beside the mean loss."""
    total: bool = False
    """Whether the penalty stands beside the sum of the losses: N ρ, the same in all generations."""

    flat: ClassVar[Any] = {"ridge": {"dim": 2, "noise": 0.5, "penalty": 0.1}}

    def __post_init__(self) -> None:
        super().__post_init__()
        normalised(self, penalty=positive)
        flag("total", self.total)

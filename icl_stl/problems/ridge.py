"""Ridge regression."""

from dataclasses import dataclass
from typing import Any, ClassVar

from icl_stl.config import flag, normalised, positive, task_noise, whole
from icl_stl.problems.regression import Regression


@dataclass(frozen=True)
class Ridge(Regression):
    """Ridge regression with w ~ N(0, I_d), squared loss; the drift is exact."""

    dim: int = 10
    """d, dimension of an input."""
    noise: float = 1.0
    """σ, label noise."""
    penalty: float = 0.1
    """ρ beside the mean loss."""
    total: bool = False
    """Whether the penalty stands beside the sum of the losses: N ρ, the same in all generations."""

    flat: ClassVar[Any] = {"ridge": {"dim": 2, "noise": 0.5, "penalty": 0.1}}

    def __post_init__(self) -> None:
        normalised(self, dim=lambda name, value: whole(name, value, 1), penalty=positive)
        normalised(self, noise=task_noise)
        flag("total", self.total)

    def make_learner(self) -> Any:
        from icl_stl import learners

        return learners.ridge(self.noise, self.penalty, total=self.total)

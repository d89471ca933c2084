"""The real set and the rows of all generations."""

from dataclasses import dataclass
from typing import Any, ClassVar

from icl_stl.regimes.base import Step
from icl_stl.regimes.ratio import ByRatio

__all__ = ["Accumulate", "AccumulateFresh", "AccumulateSubsample"]


@dataclass(frozen=True)
class AccumulateFresh(ByRatio):
    """The real set and the rows of all past generations, new inputs in each, every row alike."""

    name: ClassVar[str] = "accumulate-fresh"
    keeps_history: ClassVar[bool] = True

    def share(self, generation: int) -> float:
        return 1 / (1 + generation * self.lam)


@dataclass(frozen=True)
class Accumulate(AccumulateFresh):
    """As `AccumulateFresh`, but synthetic rows have the inputs of the real rows, in turn."""

    name: ClassVar[str] = "accumulate"
    reuses_inputs: ClassVar[bool] = True


@dataclass(frozen=True)
class AccumulateSubsample(AccumulateFresh):
    """n rows drawn without replacement from all that `AccumulateFresh` has: a fixed budget."""

    name: ClassVar[str] = "accumulate-subsample"

    def mix(self, step: Step) -> tuple[Any, Any]:
        return step.drawn(super().mix(step))

    def training_size(self, samples: int, generation: int) -> int:
        return samples

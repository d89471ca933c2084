"""A constant real set of falling weight beside the last generation's rows, of growing number."""

from dataclasses import dataclass
from typing import Any, ClassVar

from icl_stl.regimes.base import Regime, Step, check_positive, whole_rows
from icl_stl.regimes.scheduled import Scheduled

__all__ = ["Varying"]


@dataclass(frozen=True)
class Varying(Scheduled):
    """The constant real set, of weight α_i = α/(i+1)^q, plus λ n i^r rows of the last generation.

    M_{i-1} = α_i D_0 + (1 - α_i) D_θ_{i-1}; the weights are those of the objective, whatever the
    numbers of rows.
    """

    lam: float = 1.0
    """λ, synthetic rows of generation 1 per real row."""
    name: ClassVar[str] = "varying"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("lam", self.lam)

    def sizes(self, samples: int, generations: int) -> list[int]:
        """Synthetic rows that generations 1..G are trained on."""
        first = whole_rows(samples, self.lam, "lam", self.lam, lambda lam: lam)
        return [self.grown(first, i) for i in range(1, generations + 1)]

    def synthetic_size(self, samples: int) -> int:
        return self.sizes(samples, self.until)[-1]

    def mix(self, step: Step) -> tuple[Any, Any]:
        first = self.sizes(step.samples, 1)[0]
        return Regime.mix(self, step._replace(n_syn=self.grown_now(first, step.index)))

    def training_size(self, samples: int, generation: int) -> int:
        return samples + self.sizes(samples, generation)[-1]

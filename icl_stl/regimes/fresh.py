"""New real rows in every generation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from icl_stl.regimes.augment import Augment
from icl_stl.regimes.base import check_weight, one_of_both
from icl_stl.regimes.ratio import ByRatio

__all__ = ["FreshReal"]


@dataclass(frozen=True)
class FreshReal(ByRatio):
    """n new real rows each generation plus the last generation's rows.

    The law of the training set is that of `Augment`; only that the real rows are new.
    """

    weight: float | None = None
    """w, share of the real law in the objective; the share of real rows if not given."""
    name: ClassVar[str] = "fresh"
    fresh_real: ClassVar[bool] = True
    other_options: ClassVar[Mapping[str, str]] = {"alpha": "Share of real rows, instead of lam."}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weight(self.weight)

    @classmethod
    def from_options(
        cls, *, alpha: float | None = None, lam: float | None = None, **options: Any
    ) -> "FreshReal":
        one_of_both(alpha, lam)
        if alpha is not None:
            return cls((1 - Augment(alpha).alpha) / alpha, **options)
        return cls(**options) if lam is None else cls(lam, **options)

    def share(self, generation: int) -> float:
        return 1 / (1 + self.lam) if self.weight is None else self.weight

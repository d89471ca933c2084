"""A constant real set beside the last generation's rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from icl_stl.regimes.base import (
    Regime,
    check_positive,
    check_share,
    check_weight,
    one_of_both,
    whole_rows,
)

__all__ = ["Augment", "AugmentSameInputs"]


@dataclass(frozen=True)
class Augment(Regime):
    """The constant real set plus the last generation's rows.

    M_{i-1} = α D_0 + (1 - α) D_θ_{i-1}, with α = n/(n + n_syn) in (0, 1) if every row counts alike.
    With `weight` w the objective is w (mean over real rows) + (1 - w) (mean over synthetic rows).
    """

    alpha: float = 0.5
    """Share of real rows."""
    weight: float | None = None
    """Share of the real law in the objective, if it is not the share of real rows."""
    name: ClassVar[str] = "augment"
    other_options: ClassVar[Mapping[str, str]] = {
        "lam": "Synthetic rows a generation per real row, instead of alpha."
    }

    def __post_init__(self) -> None:
        check_share(
            "alpha",
            self.alpha,
            "without real data use the regime 'replace', without synthetic data 'real-only'",
        )
        check_weight(self.weight)

    @classmethod
    def from_lam(cls, lam: float, weight: float | None = None) -> "Augment":
        """From λ = n_syn/n, synthetic rows per real row."""
        check_positive("lam", lam)
        if 1 / (1 + lam) == 1:
            raise ValueError(
                f"lam must be more than 1e-16, but it is {lam!r}; without synthetic data use "
                "'real-only'"
            )
        return cls(1 / (1 + lam), weight)

    @classmethod
    def from_options(
        cls, *, alpha: float | None = None, lam: float | None = None, **options: Any
    ) -> "Augment":
        one_of_both(alpha, lam)
        if lam is not None:
            return cls.from_lam(lam, **options)
        return cls(**options) if alpha is None else cls(alpha, **options)

    def synthetic_size(self, samples: int) -> int:
        alpha, back = self.alpha, lambda lam: 1 / (1 + lam)
        return whole_rows(samples, (1 - alpha) / alpha, "alpha", alpha, back)

    def share(self, generation: int) -> float:
        return self.alpha if self.weight is None else self.weight


@dataclass(frozen=True)
class AugmentSameInputs(Augment):
    """As `Augment`, but synthetic rows have the inputs of the real rows, in turn."""

    name: ClassVar[str] = "augment-same-inputs"
    reuses_inputs: ClassVar[bool] = True

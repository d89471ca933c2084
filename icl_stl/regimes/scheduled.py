"""Regimes whose real share and number of rows change with the generation."""

from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from icl_stl.regimes.base import Regime, check_positive

MOST = 10**4
"""Generations after which no number of rows grows any more."""


@dataclass(frozen=True)
class Scheduled(Regime):
    """What they share: α_i = α/(i+1)^q, and numbers of rows that grow like i^r up to a generation.

    A program has places for the most rows; those of earlier generations have no weight.
    """

    alpha: float = 0.5
    """α, in (0, 1]: the real share of generation i is α/(i+1)^q."""
    alpha_decay: float = 0.0
    """q, at least 0, of the real share."""
    growth: float = 0.0
    """r, at least 0: generation i has i^r times the rows of generation 1."""
    until: int = 20
    """The generation after which the number of rows grows no more."""

    def __post_init__(self) -> None:
        check_positive("alpha", self.alpha)
        for name, fine, right in (
            ("alpha", self.alpha <= 1, "in (0, 1]"),
            *(
                (name, isfinite(power) and power >= 0, "a number of at least 0")
                for name, power in (("alpha_decay", self.alpha_decay), ("growth", self.growth))
            ),
            ("until", self.until in range(1, MOST + 1), f"a whole number in 1..{MOST}"),
        ):
            if not fine:
                raise ValueError(f"{name} must be {right}, but it is {getattr(self, name)!r}")
        object.__setattr__(self, "until", int(self.until))

    def share(self, generation: int) -> float:
        return float(self.alpha * (generation + 1.0) ** -self.alpha_decay)

    def grown(self, rows: int, generation: int) -> int:
        """So many rows of generation 1 in a later one: rows i^r, rounded."""
        growth: float = min(generation, self.until) ** self.growth
        return max(1, round(rows * growth))

    def grown_now(self, rows: int, index: Any) -> Any:
        """The same where the generation is a number of JAX."""
        import jax.numpy as jnp  # noqa: PLC0415  (a regime is described without JAX)

        table = np.array([self.grown(rows, i) for i in range(1, self.until + 1)], np.int32)
        return jnp.asarray(table)[jnp.clip(index, 1, self.until) - 1]

    @property
    def mixes_last(self) -> bool:
        return True

"""Synthetic rows that are weighed by a reward."""

from dataclasses import dataclass
from math import isfinite
from typing import Any, ClassVar

from icl_stl.config import require
from icl_stl.lazily import jax, jnp
from icl_stl.regimes.base import Step
from icl_stl.regimes.selecting import Selecting

__all__ = ["Curated"]


@dataclass(frozen=True)
class Curated(Selecting):
    """The rows of another regime, of which a synthetic one counts in proportion to e^r.

    r is the reward of a row, the sum of those of its labels, coordinates or symbols. It is what is
    left of choosing one of many rows by a Bradley-Terry model.

    Source: published: Ferbach et al. 2024; its laws derived here: THEORY.md section 28.
    """

    reward: tuple[float, ...] = (1.0,)
    """Of symbols, the reward of each, 0 where there is none; of numbers and labels z the b_1, b_2,
    ... of r = b_1 z + b_2 z² + ..."""
    name: ClassVar[str] = "curated"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "reward", tuple(self.reward))  # a file of settings has lists
        fine = bool(self.reward) and all(map(isfinite, self.reward))
        require(fine, "reward", self.reward, "at least one number, each finite")

    def weigh(self, step: Step, rows: Any, there: Any) -> Any:
        rewards = self.rewards(rows)
        return jnp.exp(rewards - jnp.max(jnp.where(there, rewards, -jnp.inf)))

    def rewards(self, rows: Any) -> Any:
        """The reward of every row, `[N]`."""
        labels = getattr(rows, "ys", rows)
        labels = jax.tree.leaves(labels)[0]
        if jnp.issubdtype(labels.dtype, jnp.integer):
            each = jnp.asarray(self.reward).at[labels].get(mode="fill", fill_value=0.0)
        else:
            each = labels * jnp.polyval(jnp.asarray(self.reward[::-1]), labels)
        return jnp.sum(each.reshape(len(each), -1), axis=1)

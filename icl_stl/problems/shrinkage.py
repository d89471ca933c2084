"""Least squares at each visit."""

from dataclasses import dataclass
from typing import Any

from icl_stl.problems.orthogonal import Orthogonal


@dataclass(frozen=True)
class Shrinkage(Orthogonal):
    """In-context regression by least squares at each visit, orthogonal design."""

    dim: int = 2
    """d, dimension of an input."""
    repeats: int = 4
    """n, visits of each direction: a prompt holds n d examples."""
    noise: float = 0.5
    """σ, label noise."""
    prior_scale: float = 1.0
    """τ, deviation of a coordinate of a task."""
    plug_in: bool = True
    """Write labels with the deviation σ instead of the predictive one."""

    def make_learner(self) -> Any:
        from icl_stl import learners

        law = self.dim, self.repeats, self.noise
        return learners.shrinkage(*law, plug_in=self.plug_in)

"""The Bayes predictor with a fitted prior."""

from dataclasses import dataclass
from typing import Any, ClassVar

from icl_stl.config import require, whole
from icl_stl.problems.orthogonal import Orthogonal


@dataclass(frozen=True)
class EmpiricalBayes(Orthogonal):
    """In-context regression by the Bayes predictor with a fitted prior, orthogonal design."""

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

    flat: ClassVar[Any] = {
        "empirical-bayes": {"dim": 2, "context": 8, "noise": 0.5, "plug_in": False}
    }

    @classmethod
    def from_flat(cls, word: str, **options: Any) -> "EmpiricalBayes":
        context = whole("context", options.pop("context"), 1)
        dim = whole("dim", options["dim"], 1)
        require(context % dim == 0, "context", context, f"a multiple of dim = {dim}")
        return cls(repeats=context // dim, **options)

    def make_learner(self) -> Any:
        from icl_stl import learners

        law = self.dim, self.repeats, self.noise
        return learners.empirical_bayes(*law, plug_in=self.plug_in)

"""Loops in which every total variation is known. No JAX."""

from dataclasses import dataclass
from typing import ClassVar

from icl_stl.config import require, whole
from icl_stl.lab.experiments import Experiment
from icl_stl.laws import LinearRegression


@dataclass(frozen=True)
class KnownLoops(Experiment):
    """Loops in which every total variation is known: `known_loops`."""

    runner: ClassVar[str] = "icl_stl.studies.transformer.loops:run_experiment"
    generation_axis: ClassVar[int | None] = 2
    task: LinearRegression
    """The real law."""
    shares: tuple[float, ...]
    """Shares of the real law in the objective; 0 is the regime `replace`."""
    samples: int
    """n, real prompts, beside as many synthetic ones."""
    held_out: int
    """Real prompts, and as many generated ones, on which a generation is measured."""
    generations: int
    """G, generations after generation 0."""
    injected: float
    """What a fit adds to the shift of the means, in predictive deviations."""
    runs: int
    """Whole loops for each share."""

    def __post_init__(self) -> None:
        for name, least in (("samples", 1), ("held_out", 2), ("generations", 0), ("runs", 1)):
            whole(name, getattr(self, name), least)
        require(
            bool(self.shares) and all(0 <= share < 1 for share in self.shares),
            "shares",
            self.shares,
            "numbers in [0, 1), at least one",
        )
        require(self.injected > 0, "injected", self.injected, "a positive number")

    @property
    def words(self) -> str:
        return f"known total variation, n{self.samples}"

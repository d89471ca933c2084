"""Loops of the transformer at many sizes. No JAX."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from icl_stl.config import require, whole
from icl_stl.lab.experiments import OfOneSize


@dataclass(frozen=True)
class SizedTransformers(OfOneSize):
    """Loops of the transformer at one size, in a fixed or a fresh real set."""

    runner: ClassVar[str] = "icl_stl.studies.convergence.loops:run_experiment"
    world: Literal["fixed", "fresh"]
    """The real set stays; or n new real prompts in every generation."""
    generations: int
    """G, generations after generation 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("generations", self.generations, 0)
        require(self.world in ("fixed", "fresh"), "world", self.world, "'fixed' or 'fresh'")

    @property
    def words(self) -> str:
        return f"transformer, {self.world}, n{self.size.samples}, {self.size.n_syn} synthetic"


@dataclass(frozen=True)
class SizedNeighbours(OfOneSize):
    """Fits to real sets that differ in one prompt, and what their generators pass on."""

    runner: ClassVar[str] = "icl_stl.studies.convergence.loops:run_neighbours"
    generation_axis: ClassVar[int | None] = None
    neighbours: int
    """Random prompts that are replaced, one at a time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("neighbours", self.neighbours, 1)
        most = f"at most the samples ({self.size.samples})"
        require(self.neighbours <= self.size.samples, "neighbours", self.neighbours, most)
        whole("n_syn", self.size.n_syn, 1)

    @property
    def words(self) -> str:
        return f"transformer, neighbours, n{self.size.samples}"

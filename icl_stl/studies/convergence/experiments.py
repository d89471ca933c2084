"""Loops of the transformer at many sizes, and fits beside them. No JAX."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from icl_stl.config import require, whole
from icl_stl.lab.experiments import OfOneSize


@dataclass(frozen=True)
class SizedTransformers(OfOneSize):
    """Loops of the transformer at one size; every generation is kept when it is finished."""

    runner: ClassVar[str] = "icl_stl.studies.convergence.loops:run_experiment"
    world: Literal["fixed", "fresh", "streamed", "refits"]
    """The real set stays; or n new real prompts in every generation; or these, and in generation 0
    as many real prompts as there are places for; or every generation after 0 is fitted beside the
    prompts of generation 0, each with randomness of its own."""
    generations: int
    """G, generations after generation 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("generations", self.generations, 0)
        known = ("fixed", "fresh", "streamed", "refits")
        require(self.world in known, "world", self.world, f"one of {known}")

    @property
    def pieces(self) -> int:
        return self.generations + 1

    @property
    def words(self) -> str:
        size = self.size
        weight = "" if size.weight is None else f" weight {size.weight:g}"
        return f"transformer, {self.world}, n{size.samples}{weight}, {size.n_syn} synthetic"


@dataclass(frozen=True)
class Distilled(OfOneSize):
    """Independent fits to one real set, their average, and fits beside prompts of all of them."""

    runner: ClassVar[str] = "icl_stl.studies.convergence.loops:run_distilled"
    members: int
    """K, fits to the real set."""
    n_syns: tuple[int, ...]
    """Synthetic prompts beside the real set, for one more fit each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("members", self.members, 2)
        for count in self.n_syns:
            whole("n_syns", count, 1)
            most = f"at most the places for it ({self.places.n_syn})"
            require(count <= self.places.n_syn, "n_syns", count, most)

    @property
    def pieces(self) -> int:
        return self.members

    @property
    def words(self) -> str:
        return f"transformer, distilled from {self.members}, n{self.size.samples}"

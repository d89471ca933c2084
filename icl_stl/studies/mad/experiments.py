"""Loops whose generators are sampled with several biases. No JAX."""

from dataclasses import dataclass
from typing import ClassVar

from icl_stl.config import normalised, one_of, sampling_bias, whole
from icl_stl.lab.experiments import Experiment

LEARNERS = ("symbols", "mixture", "prompts")
"""Learners of which no exact law is known with a bias."""
LOOPS = {"replace": (0.0, True), "augment": (0.5, False), "fresh": (0.5, True)}
"""The loops of MAD: share of real rows from generation 1 on, whether these are new."""


@dataclass(frozen=True)
class BiasedLoops(Experiment):
    """The three loops of MAD of one learner, with several sampling biases, the same randomness."""

    runner: ClassVar[str] = "icl_stl.studies.mad.loops:biased_loops"
    generation_axis: ClassVar[int | None] = 2
    learner: str
    """One of `LEARNERS`."""
    biases: tuple[float, ...]
    """s of each loop of a run."""
    samples: int
    """n, real rows, and synthetic rows of a generation."""
    generations: int
    """G."""
    runs: int
    """Independent runs."""

    def __post_init__(self) -> None:
        one_of("learner", self.learner, LEARNERS)
        check = lambda name, own: tuple(sampling_bias(name, one) for one in own)  # noqa: E731
        normalised(self, biases=check)
        for name in ("samples", "generations", "runs"):
            whole(name, getattr(self, name), 1)

    @property
    def words(self) -> str:
        return f"{self.learner} with sampling bias, n{self.samples}"

"""Fits to real prompts alone, many beside each other. No JAX."""

from dataclasses import dataclass, replace
from typing import ClassVar

from icl_stl.config import require, whole
from icl_stl.lab.experiments import Experiment
from icl_stl.problems import InContext


@dataclass(frozen=True)
class SingleFits(Experiment):
    """Fits to independent real sets of several sizes, seen on the same held-out prompts."""

    runner: ClassVar[str] = "icl_stl.studies.plateau.loops:run_fits"
    generation_axis: ClassVar[int | None] = None
    problem: InContext
    """Prompts, network, training and held-out prompts."""
    samples: tuple[int, ...]
    """Real prompts of a fit; the smaller sets are the first prompts of the largest."""
    runs: int
    """Independent sets and seeds."""

    def __post_init__(self) -> None:
        whole("runs", self.runs, 2)
        require(bool(self.samples), "samples", self.samples, "at least one size")
        for n in self.samples:
            whole("samples", n, 1)

    @property
    def words(self) -> str:
        return f"single fits, n{', '.join(map(str, self.samples))}"


def streamed(problem: InContext, longer: int = 1) -> tuple[InContext, int]:
    """The problem in which every step sees new prompts, n = ∞, and how many prompts that takes.

    Args:
        problem: Prompts, network, training.
        longer: How many times as many steps.
    """
    training = problem.training
    training = replace(training, steps=longer * training.steps, once=True)
    return replace(problem, training=training), training.steps * training.batch

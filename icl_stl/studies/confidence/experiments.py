"""Loops of prompts, filtered by several rules. No JAX."""

from dataclasses import dataclass
from typing import ClassVar

from icl_stl.config import require, whole
from icl_stl.lab.experiments import Experiment
from icl_stl.problems import EmpiricalBayes, InContext

Rule = tuple[float, bool]
"""Share of the synthetic prompts that is kept; whether by the model's confidence, else by lot."""


@dataclass(frozen=True)
class FilteredLoops(Experiment):
    """Loops on synthetic prompts alone, as many as real ones, of which each rule keeps a part.

    All rules of a run have the same real set, generation 0 and randomness.
    """

    runner: ClassVar[str] = "icl_stl.studies.confidence.loops:filtered_loops"
    generation_axis: ClassVar[int | None] = 2
    problem: InContext | EmpiricalBayes
    """Prompts and learner."""
    rules: tuple[Rule, ...]
    """One loop of a run for each."""
    samples: int
    """n, real prompts, and synthetic ones of a generation before any is dropped."""
    generations: int
    """G, generations after generation 0."""
    runs: int
    """Independent runs."""

    def __post_init__(self) -> None:
        for name in ("samples", "generations", "runs"):
            whole(name, getattr(self, name), 1)
        for rate, _ in self.rules:
            require(1 / self.samples <= rate <= 1, "rules", self.rules, "shares of a prompt to 1")

    @property
    def words(self) -> str:
        name = self.problem.words
        return f"{name}, {len(self.rules)} filters, n{self.samples}"

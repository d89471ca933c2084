"""Least squares whose labels are edited by several schedules, all in one program. No JAX."""

from dataclasses import dataclass
from typing import ClassVar

from icl_stl.config import require, whole
from icl_stl.lab.experiments import Experiment
from icl_stl.problems import Ols
from icl_stl.regimes import Edit


@dataclass(frozen=True)
class Schedules(Experiment):
    """Loops of one problem under several regimes `Edit`, with the same randomness in each run.

    What is observed is the `excess`: `[runs, regimes, G + 1]`.
    """

    runner: ClassVar[str] = "icl_stl.studies.editing.loops:run_schedules"
    generation_axis: ClassVar[int | None] = 2
    problem: Ols
    """Real law and learner."""
    regimes: tuple[Edit, ...]
    """Which labels are edited, and how."""
    samples: int
    """n, rows."""
    generations: int
    """G, generations after generation 0."""
    runs: int
    """Independent runs."""

    def __post_init__(self) -> None:
        for name, least in (("samples", 1), ("runs", 1), ("generations", 0)):
            whole(name, getattr(self, name), least)
        fine = bool(self.regimes) and all(type(one) is Edit for one in self.regimes)
        require(fine, "regimes", self.regimes, "regimes Edit, at least one")
        for one in self.regimes:
            one.synthetic_size(self.samples)
            require(one.threshold is None, "threshold", one.threshold, "left out in least squares")

    @property
    def words(self) -> str:
        return f"{len(self.regimes)} schedules of {self.problem.words}, edit, n{self.samples}"

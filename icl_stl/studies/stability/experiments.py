"""Loops whose real sets differ in one row. No JAX."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from icl_stl.config import require, whole
from icl_stl.lab.experiments import Experiment, OfOneSize, check_problem
from icl_stl.problems import Categorical, LinearAttention, Problem
from icl_stl.regimes import Regime


@dataclass(frozen=True)
class NeighbouringLoops(Experiment):
    """Pairs of solvable loops whose real sets differ in one row."""

    runner: ClassVar[str] = "icl_stl.studies.stability.loops:run_loops"
    problem: Problem
    """Real law and learner."""
    regime: Regime
    """The data regime."""
    samples: int
    """n, real rows."""
    generations: int
    """G, generations after generation 0."""
    runs: int
    """Independent pairs."""
    coupling: Literal["common", "maximal"] = "common"
    """Common random numbers, right for distances of parameters; or the maximal coupling of laws on
    symbols, right for total variation and for numbers of rows."""
    contraction: bool = False
    """Whether the terms of the contraction of linear attention are recorded."""

    def __post_init__(self) -> None:
        check_problem(self.problem)
        for name in ("samples", "runs"):
            whole(name, getattr(self, name), 1)
        whole("generations", self.generations, 0)
        self.regime.synthetic_size(self.samples)
        require(
            self.coupling == "common" or isinstance(self.problem, Categorical),
            "coupling",
            self.coupling,
            "'common' unless the problem is 'categorical'",
        )
        require(
            isinstance(self.problem, LinearAttention) or not self.contraction,
            "contraction",
            self.contraction,
            "False unless the problem is 'linear_attention'",
        )

    @property
    def words(self) -> str:
        where = f"{self.regime.name}, n{self.samples}, {self.coupling}"
        return f"neighbours of {self.problem.words}, {where}"


@dataclass(frozen=True)
class NeighbouringTransformers(OfOneSize):
    """Loops of the transformer, each beside loops whose real set differs in one prompt."""

    runner: ClassVar[str] = "icl_stl.studies.stability.loops:run_transformers"
    generations: int
    """G, generations after generation 0."""
    neighbours: int
    """Neighbours of a loop that swap a random prompt for a new one."""
    searched: int = 0
    """Neighbours whose swaps are searched for: `loops.searched_swaps`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("neighbours", self.neighbours, 1)
        for name in ("generations", "searched"):
            whole(name, getattr(self, name), 0)
        for name in ("neighbours", "searched"):
            value, n = getattr(self, name), self.size.samples
            require(value <= n, name, value, f"at most the samples ({n})")
        whole("n_syn", self.size.n_syn, 1)

    @property
    def words(self) -> str:
        share = f"share {self.size.share:.3g}"
        return f"neighbours of the transformer, {share}, n{self.size.samples}"

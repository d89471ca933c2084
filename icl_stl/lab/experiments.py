"""Experiments: what is to be run, as validated descriptions without JAX; and what runs each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Literal, NamedTuple

from icl_stl.config import one_of, require, whole
from icl_stl.descriptions import key
from icl_stl.lab.results import Arrays
from icl_stl.problems import InContext, Problem
from icl_stl.regimes import Augment, AugmentSameInputs, FreshReal, Regime


class Kept(NamedTuple):
    """Where arrays are kept between runs; by default nowhere."""

    load: Callable[[], Arrays | None] = lambda: None
    """What there is, if it was made by the same."""
    save: Callable[[Arrays], None] = lambda arrays: None
    """Keep these in the place of what there is."""
    forget: Callable[[], None] = lambda: None
    """Keep nothing any more."""


NOWHERE = Kept()


class Experiment:
    """Independent runs of one kind. Every kind is a frozen dataclass, hence hashable."""

    runner: ClassVar[str] = ""
    """`module:function`, (experiment, seed) -> arrays, imported when it runs; a kind without has a
    `run` of its own."""
    runs: int
    """Independent runs: the first axis of all that is observed."""
    generation_axis: ClassVar[int | None] = 1
    """Which axis of what is observed are the generations, if any."""

    @property
    def pieces(self) -> int:
        """How many pieces it is run in, such as generations, each kept when it is finished."""
        return 1

    @property
    def made_in(self) -> str:
        """The module that runs it."""
        return self.runner.partition(":")[0] or type(self).__module__

    def run(self, seed: int, *pieces: Any) -> Arrays:
        """What it observes: arrays by name, the runs first.

        Args:
            pieces: Of what has several: where finished ones are `Kept`, and what is called when one
                begins, with how many are finished.
        """
        function = getattr(import_module(self.made_in), self.runner.partition(":")[2])
        found: Arrays = function(self, seed, *pieces)
        return found

    @property
    def words(self) -> str:
        """What it is, in a few words."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """A readable name that no other experiment has: its words and what it is, digested."""
        return "-".join((*self.words.replace(",", "").split(), key(self, "experiment")[:16]))


@dataclass(frozen=True)
class Loops(Experiment):
    """Many independent loops of one problem: arrays `[runs, G + 1]` by name."""

    runner: ClassVar[str] = "icl_stl.lab.solvable:run_experiment"
    problem: Problem
    """Real law and learner."""
    regime: Regime
    """The data regime."""
    samples: int
    """n, real rows."""
    generations: int
    """G, generations after generation 0."""
    runs: int
    """Independent loops."""
    observe: Literal["risks", "measurements", "identity", "certificate", "implied"] = "measurements"
    """What is recorded of every generation: `measurements`, what the problem observes (excess, gap,
    drift, one-step error, as far as it knows them); `risks`, the same without the one-step error;
    `identity`, the terms of the gap identity; `certificate`, what the certificate of linear
    attention asks for; `implied`, the task variance that prompts show, and the excess."""

    def __post_init__(self) -> None:
        check_problem(self.problem)
        for name in ("samples", "runs"):
            whole(name, getattr(self, name), 1)
        whole("generations", self.generations, 0)
        self.regime.synthetic_size(self.samples)
        one_of("observe", self.observe, tuple(OBSERVED))
        lacking = [name for name in OBSERVED[self.observe] if getattr(self.problem, name) is None]
        right = f"one that knows its {' and '.join(lacking)}, to observe {self.observe!r}"
        require(not lacking, "problem", self.problem.name, right)
        require(
            self.observe != "identity" or type(self.regime) is Augment,
            "regime",
            self.regime,
            "Augment, with new synthetic inputs, for the terms of the gap identity",
        )

    @property
    def words(self) -> str:
        return f"{self.problem.words}, {self.regime.name}, n{self.samples}, {self.observe}"


OBSERVED: Mapping[str, tuple[str, ...]] = {
    **{"measurements": (), "risks": (), "certificate": ("risk",)},
    **{"identity": ("risk", "synthetic_risk"), "implied": ("implied", "excess")},
}
"""What may be observed of loops, and what a problem must know for it."""


def check_problem(problem: Any) -> None:
    """Refuse what is no problem, or cannot be hashed."""
    right = "a problem of icl_stl.problems, or of a class that derives from its Problem"
    require(isinstance(problem, Problem), "problem", problem, right)
    try:
        hash(problem)
    except TypeError as error:
        right = "a frozen dataclass whose fields can be hashed, as tuples and numbers can"
        raise ValueError(f"problem must be {right}, but of {problem.name!r} {error}") from None


@dataclass(frozen=True)
class Job:
    """Whole loops of one problem, followed generation by generation: `runs.run_loops`."""

    problem: Problem
    """Real law and learner."""
    samples: int
    """n, real rows of a replicate."""
    generations: int
    """Generations after generation 0."""
    replicates: int
    """Whole loops, each with its own real set."""

    def __post_init__(self) -> None:
        check_problem(self.problem)
        for name, least in (("samples", 1), ("generations", 0), ("replicates", 1)):
            whole(name, getattr(self, name), least)


@dataclass(frozen=True)
class LoopSize:
    """How many rows one loop of `SizedLoops` has."""

    samples: int
    """n, real rows."""
    n_syn: int
    """Synthetic rows a generation; 0 for none."""
    weight: float | None = None
    """Share of the real law in the objective; n/(n + n_syn) if not given."""

    def __post_init__(self) -> None:
        whole("samples", self.samples, 1)
        whole("n_syn", self.n_syn, 0)
        weight = self.weight
        require(weight is None or 0 <= weight <= 1, "weight", weight, "in [0, 1]")
        require(weight is None or self.n_syn > 0 or weight == 1, "weight", weight, "1 if n_syn = 0")

    @property
    def share(self) -> float:
        """Share of the real law in the objective."""
        return self.samples / (self.samples + self.n_syn) if self.weight is None else self.weight


@dataclass(frozen=True)
class SizedLoops(Experiment):
    """Loops of one problem at many sizes, all of a run with the same randomness."""

    runner: ClassVar[str] = "icl_stl.lab.solvable:run_sizes"
    generation_axis: ClassVar[int | None] = 2
    problem: Problem
    """Real law and learner."""
    world: Literal["fixed", "fresh", "same-inputs"]
    """The real set stays; or n new real rows in every generation; or it stays and synthetic rows
    have its inputs, in turn."""
    sizes: tuple[LoopSize, ...]
    """The loops of a run; the largest decides how many rows are drawn."""
    generations: int
    """G, generations after generation 0."""
    runs: int
    """Independent runs of all sizes."""
    observe: Literal["risks", "measurements"] = "risks"
    """`risks` (excess, gap, drift), or `measurements`, the same and the one-step error."""

    def __post_init__(self) -> None:
        check_problem(self.problem)
        require(self.world in WORLDS, "world", self.world, f"one of {tuple(WORLDS)}")
        require(bool(self.sizes), "sizes", self.sizes, "at least one size")
        whole("runs", self.runs, 1)
        whole("generations", self.generations, 0)

    @property
    def samples(self) -> int:
        """Places for real rows."""
        return max(size.samples for size in self.sizes)

    @property
    def regime(self) -> Regime:
        """The regime with places for the largest size."""
        return WORLDS[self.world](max(1, *(size.n_syn for size in self.sizes)) / self.samples)

    @property
    def rows(self) -> tuple[tuple[int, int, float], ...]:
        """(n, n_syn, share) of each size."""
        return tuple((size.samples, size.n_syn, size.share) for size in self.sizes)

    @property
    def words(self) -> str:
        count = len(self.sizes)
        return f"{count} sizes of {self.problem.words}, {self.world}, n{self.samples}"


WORLDS: dict[str, Callable[[float], Regime]] = {
    "fixed": Augment.from_lam,
    "fresh": FreshReal,
    "same-inputs": AugmentSameInputs.from_lam,
}
"""λ -> the regime of a world."""


@dataclass(frozen=True)
class OfOneSize(Experiment):
    """Loops of the transformer at one size; one program serves all sizes with the same places.

    Loops of all sizes have the same real prompts and randomness as far as they go.
    """

    problem: InContext
    """Prompts, network, training (the same steps for every size) and held-out prompts."""
    size: LoopSize
    """The prompts there are."""
    places: LoopSize
    """The most that the program has places for."""
    runs: int
    """Whole loops."""

    def __post_init__(self) -> None:
        whole("runs", self.runs, 1)
        whole("places.n_syn", self.places.n_syn, 1)
        for name in ("samples", "n_syn"):
            most = getattr(self.places, name)
            value = getattr(self.size, name)
            require(value <= most, name, value, f"at most the places for it ({most})")

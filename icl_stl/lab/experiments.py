"""Experiments: what is to be run, as validated descriptions without JAX.

`laboratory` runs them; claims and scripts name what they need in these words.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from icl_stl.config import (
    LinearRegression,
    Preset,
    QueryArchitecture,
    Training,
    require,
    whole,
)
from icl_stl.descriptions import key
from icl_stl.problems import Categorical, InContext, LinearAttention, Problem
from icl_stl.regimes import Augment, AugmentSameInputs, FreshReal, Regime

IN_CONTEXT = ("ridge", "least_squares", "linear_attention")


class Experiment:
    """Independent runs of one kind. Every kind is a frozen dataclass, hence hashable."""

    runs: int
    """Independent runs: the first axis of all that is observed."""
    generation_axis: ClassVar[int | None] = 1
    """Which axis of what is observed are the generations, if any."""

    @property
    def words(self) -> str:
        """What it is, in a few words."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """A readable name that no other experiment has: its words and what it is, digested.

        Raises:
            ValueError: If it cannot be told from others: `descriptions.describe`.
        """
        return "-".join((*self.words.replace(",", "").split(), key(self, "experiment")[:16]))


@dataclass(frozen=True)
class Loops(Experiment):
    """Many independent loops of one problem: arrays `[runs, G + 1]` by name."""

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
        _check_problem(self.problem)
        for name in ("samples", "runs"):
            whole(name, getattr(self, name), 1)
        whole("generations", self.generations, 0)
        self.regime.synthetic_size(self.samples)
        require(
            self.observe != "identity" or type(self.regime) is Augment,
            "regime",
            self.regime,
            "Augment, with new synthetic inputs, for the terms of the gap identity",
        )

    @property
    def words(self) -> str:
        return f"{self.problem.words}, {self.regime.name}, n{self.samples}, {self.observe}"


def _check_problem(problem: Any) -> None:
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
        _check_problem(self.problem)
        for name, least in (("samples", 1), ("generations", 0), ("replicates", 1)):
            whole(name, getattr(self, name), least)


def job_of(preset: Preset) -> Job:
    """The main job of a preset."""
    problem = InContext(preset.task, preset.architecture, preset.training, preset.held_out)
    return Job(problem, preset.samples, preset.generations, preset.replicates)


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
        _check_problem(self.problem)
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
class NeighbouringLoops(Experiment):
    """Pairs of solvable loops whose real sets differ in one row."""

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
        _check_problem(self.problem)
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
class _OfOneSize(Experiment):
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


@dataclass(frozen=True)
class NeighbouringTransformers(_OfOneSize):
    """Loops of the transformer, each beside loops whose real set differs in one prompt."""

    generations: int
    """G, generations after generation 0."""
    neighbours: int = 8
    """Neighbours of a loop that swap a random prompt for a new one."""
    searched: int = 4
    """Neighbours whose swaps are searched for: `stability.searched_swaps`."""
    passing: int = 2
    """Neighbours that swap a prompt in generation 0 alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("neighbours", self.neighbours, 1)
        for name in ("generations", "searched", "passing"):
            whole(name, getattr(self, name), 0)
        most = f"at most the neighbours ({self.neighbours})"
        require(self.passing <= self.neighbours, "passing", self.passing, most)
        for name in ("neighbours", "searched"):
            value, n = getattr(self, name), self.size.samples
            require(value <= n, name, value, f"at most the samples ({n})")
        whole("n_syn", self.size.n_syn, 1)

    @property
    def words(self) -> str:
        share = f"share {self.size.share:.3g}"
        return f"neighbours of the transformer, {share}, n{self.size.samples}"


@dataclass(frozen=True)
class SizedTransformers(_OfOneSize):
    """Loops of the transformer at one size, in a fixed or a fresh real set."""

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
class SizedNeighbours(_OfOneSize):
    """Fits to real sets that differ in one prompt, and what their generators pass on."""

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


@dataclass(frozen=True)
class Regeneration(Experiment):
    """Prompts of the orthogonal design that are read and written again, in several variants."""

    dim: int
    """d."""
    repeats: int
    """n, visits of each direction."""
    noise: float
    """σ."""
    prior_scale: float
    """τ."""
    prompts: int
    """Prompts of a generation."""
    generations: int
    """G, generations after the real prompts."""
    alphas: tuple[float, ...]
    """Shares of real prompts beside which the prior is fitted again."""
    runs: int
    """Independent runs."""

    def __post_init__(self) -> None:
        for name in ("dim", "repeats", "prompts", "generations", "runs"):
            whole(name, getattr(self, name), 1)

    @property
    def words(self) -> str:
        return f"prompts written again, n{self.prompts}"


@dataclass(frozen=True)
class LayerPrompts(Experiment):
    """Refits of one number to real prompts and to those that linear attention writes with it."""

    generation_axis: ClassVar[int | None] = 2
    dim: int
    """d."""
    noise: float
    """σ of the real law."""
    prior_scale: float
    """τ."""
    noises: tuple[tuple[float, ...], ...]
    """For each generator, the deviations with which it writes: one for each label of a prompt."""
    start: float
    """γ_0."""
    alpha: float
    """Share of real prompts."""
    prompts: int
    """Real prompts, and as many written ones."""
    generations: int
    """G, refits."""
    runs: int
    """Independent runs."""

    def __post_init__(self) -> None:
        for name in ("dim", "prompts", "generations", "runs"):
            whole(name, getattr(self, name), 1)
        require(
            len({len(one) for one in self.noises}) == 1 and self.labels >= 2,
            "noises",
            self.noises,
            "generators with equally many labels, at least 2",
        )
        require(0 <= self.alpha <= 1, "alpha", self.alpha, "in [0, 1]")

    @property
    def labels(self) -> int:
        """L, labels of a prompt."""
        return len(self.noises[0])

    @property
    def words(self) -> str:
        return f"prompts of linear attention, n{self.prompts}, alpha {self.alpha}"


@dataclass(frozen=True)
class PlugInLoops(Experiment):
    """Loops of the transformer that writes labels with the noise σ alone."""

    generation_axis: ClassVar[int | None] = 2
    problem: InContext
    """Prompts and network."""
    samples: int
    """n, real prompts, and synthetic ones of a generation."""
    shares: tuple[float, ...]
    """Shares of the real law in the objective; 0 is the regime `replace`."""
    generations: int
    """G."""
    runs: int
    """Whole loops for each share, those of the main job's first replicates."""

    def __post_init__(self) -> None:
        for name in ("samples", "generations", "runs"):
            whole(name, getattr(self, name), 1)
        require(min(self.shares) >= 0, "shares", self.shares, "at least 0")
        require(max(self.shares) <= 1, "shares", self.shares, "at most 1")

    @property
    def words(self) -> str:
        return f"plug-in transformer, n{self.samples}"


@dataclass(frozen=True)
class KnownLoops(Experiment):
    """Loops in which every total variation is known: `known_loops`."""

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


@dataclass(frozen=True)
class ContextLoops(Experiment):
    """Loops of frozen predictors in their own context, one for each share that is kept.

    All predictors and shares of one prompt, and both loops of a pair, have the same randomness.
    """

    generation_axis: ClassVar[int | None] = 3
    task: LinearRegression
    """The real law; m examples a prompt."""
    predictors: tuple[tuple[str, float], ...]
    """Names of ideal predictors, of `IN_CONTEXT`, each with its setting: λ of `ridge`, c of
    `linear_attention` with Γ = c I; `least_squares` has none."""
    kept: tuple[int, ...]
    """k, examples that keep their real labels; one loop for each."""
    generations: int
    """G, generations after generation 0."""
    runs: int
    """Independent prompts, or networks."""
    relabel_noise: float = 0.0
    """s, deviation of the noise on new labels."""
    fresh: Literal["none", "inputs", "all"] = "none"
    """What is drawn anew in every generation: nothing, the inputs of the relabelled examples, or
    the real examples too."""
    change: Literal["none", "start", "first"] = "none"
    """What the second loop of a pair starts from: there is none; other labels on the examples that
    will be relabelled; a label of the first example that is one larger."""
    network: QueryArchitecture | None = None
    """A network, trained in every run, that loops before the ideal predictors."""
    training: Training | None = None
    """How it is trained."""
    prompts: int = 1
    """Prompts that each network is given."""

    def __post_init__(self) -> None:
        m = self.task.context
        for name, least in (("runs", 1), ("prompts", 1), ("generations", 0)):
            whole(name, getattr(self, name), least)
        for predictor, setting in self.predictors:
            require(predictor in IN_CONTEXT, "predictor", predictor, f"one of {IN_CONTEXT}")
            require(setting >= 0, "setting", setting, "a number of at least 0")
        require(
            bool(self.kept) and all(0 <= k <= m for k in self.kept),
            "kept",
            self.kept,
            f"whole numbers in 0..{m}",
        )
        law = self.task.noise_law
        require(law == "gaussian", "noise_law", law, "'gaussian' in a loop in the context")
        noise = self.relabel_noise
        require(noise >= 0, "relabel_noise", noise, "a number of at least 0")
        require(
            self.change != "first" or self.fresh != "all",
            "change",
            self.change,
            "'none' or 'start' where real examples are drawn anew",
        )
        require(
            (self.network is None) == (self.training is None),
            "training",
            self.training,
            "given with a network, and only then",
        )

    @property
    def words(self) -> str:
        names = ["network"] * (self.network is not None) + [name for name, _ in self.predictors]
        what = {"none": [], "inputs": ["fresh inputs"], "all": ["all fresh"]}[self.fresh]
        return ", ".join(["context", *names, *what, f"m{self.task.context}"]).replace("_", " ")


@dataclass(frozen=True)
class CertifiedNetworks(Experiment):
    """Networks that answer queries: trained, then certified, searched and sampled."""

    generation_axis: ClassVar[int | None] = None
    task: LinearRegression
    """The real law; m is its context."""
    architecture: QueryArchitecture
    """What the networks are."""
    training: Training
    """How they are trained."""
    runs: int
    """Networks, each from its own seed."""
    restarts: int
    """Starts of a search."""
    search_steps: int
    """Gradient steps of a search."""
    prompts: int
    """Prompts with a random replacement."""
    contexts: tuple[int, ...]
    """Context lengths at which the same weights are used."""
    long_prompts: int
    """Prompts of these lengths."""
    label_bound: float = 3.0
    """B_y, in units of a label's deviation."""

    def __post_init__(self) -> None:
        for name in ("runs", "restarts", "search_steps", "prompts", "long_prompts"):
            whole(name, getattr(self, name), 1)
        require(self.label_bound > 0, "label_bound", self.label_bound, "a positive number")

    @property
    def words(self) -> str:
        a = self.architecture
        extras = ", norm" * a.norm + ("" if a.cap is None else f", cap {a.cap:g}")
        return f"certified networks, {a.depth} layers, {a.attention} {a.kind}{extras}"

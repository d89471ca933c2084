"""Experiments: what is to be run, as validated descriptions without JAX.

`laboratory` runs them; claims and scripts name what they need in these words.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

from icl_stl.config import LinearRegression, QueryArchitecture, Training, require
from icl_stl.regimes import Augment, Regime

PROBLEMS = (
    "bernoulli",
    "gaussian_mean",
    "clipped_mean",
    "gaussian",
    "categorical",
    "ols",
    "ridge",
    "linear_attention",
)


IN_CONTEXT = ("ridge", "least_squares", "linear_attention")


class Experiment:
    """Independent runs of one kind. Every kind is a frozen dataclass, hence hashable."""

    runs: int
    """Independent runs: the first axis of all that is observed."""

    @property
    def words(self) -> str:
        """What it is, in a few words."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """A readable name that no other experiment has."""
        digest = sha256(repr(self).encode()).hexdigest()[:8]
        return "-".join((*self.words.replace(",", "").split(), digest))


@dataclass(frozen=True)
class SolvableLoops(Experiment):
    """Many independent loops of one solvable problem."""

    problem: str
    """A name in `problems.PROBLEMS`."""
    regime: Regime
    """The data regime."""
    samples: int
    """n, real rows."""
    generations: int
    """G, generations after generation 0."""
    runs: int
    """Independent loops."""
    settings: tuple[tuple[str, Any], ...] = ()
    """Arguments of the problem, by name."""
    observe: Literal["risks", "measurements", "identity", "influence", "certificate"] = "risks"
    """What is recorded of every generation: `risks` (excess, gap, drift); `measurements`, the same
    and the one-step error;
    `identity`, the terms of the gap identity; `influence`, the distance between the generators of
    two loops whose real sets differ in one row; `certificate`, what the certificate of linear
    attention asks for."""

    def __post_init__(self) -> None:
        require(self.problem in PROBLEMS, "problem", self.problem, f"one of {PROBLEMS}")
        for name in ("samples", "runs"):
            value = getattr(self, name)
            require(value >= 1, name, value, "a whole number of at least 1")
        require(
            self.generations >= 0, "generations", self.generations, "a whole number of at least 0"
        )
        self.regime.synthetic_size(self.samples)
        require(
            self.observe != "identity" or type(self.regime) is Augment,
            "regime",
            self.regime,
            "Augment, with new synthetic inputs, for the terms of the gap identity",
        )

    @property
    def words(self) -> str:
        what = f"{self.problem}, {self.regime.name}, n{self.samples}, {self.observe}"
        return what.replace("_", " ")


@dataclass(frozen=True)
class ContextLoops(Experiment):
    """Loops of frozen predictors in their own context, one for each share that is kept.

    All predictors and shares of one prompt, and both loops of a pair, have the same randomness.
    """

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
        for name in ("runs", "prompts"):
            value = getattr(self, name)
            require(value >= 1, name, value, "a whole number of at least 1")
        require(
            self.generations >= 0, "generations", self.generations, "a whole number of at least 0"
        )
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

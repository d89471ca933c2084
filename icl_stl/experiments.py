"""Experiments: what is to be run, as validated descriptions without JAX.

`laboratory` runs them; claims and scripts name what they need in these words.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

from icl_stl.config import LinearRegression, require
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
    """Loops of a frozen predictor in its own context, one for each share that is kept.

    All shares of one prompt, and both loops of a pair, have the same randomness.
    """

    task: LinearRegression
    """The real law; m examples a prompt."""
    predictor: Literal["ridge", "least_squares", "linear_attention"]
    """The frozen predictor."""
    kept: tuple[int, ...]
    """k, examples that keep their real labels; one loop for each."""
    generations: int
    """G, generations after generation 0."""
    runs: int
    """Independent prompts."""
    setting: float = 0.0
    """λ of ridge, c of linear attention with Γ = c I."""
    relabel_noise: float = 0.0
    """s, deviation of the noise on new labels."""
    fresh: Literal["none", "inputs", "all"] = "none"
    """What is drawn anew in every generation: nothing, the inputs of the relabelled examples, or
    the real examples too."""
    change: Literal["none", "start", "first", "last"] = "none"
    """What the second loop of a pair starts from: the same; other labels on the examples that will
    be relabelled; a label one larger in the first example, or in the last."""

    def __post_init__(self) -> None:
        m = self.task.context
        require(self.runs >= 1, "runs", self.runs, "a whole number of at least 1")
        require(
            self.generations >= 0, "generations", self.generations, "a whole number of at least 0"
        )
        require(
            bool(self.kept) and all(0 <= k <= m for k in self.kept),
            "kept",
            self.kept,
            f"whole numbers in 0..{m}",
        )
        for name in ("setting", "relabel_noise"):
            value = getattr(self, name)
            require(value >= 0, name, value, "a number of at least 0")
        require(
            self.change in ("none", "start") or self.fresh == "none",
            "change",
            self.change,
            "'none' or 'start' where examples are drawn anew",
        )

    @property
    def words(self) -> str:
        parts = ["context", self.predictor, *([f"fresh {self.fresh}"] * (self.fresh != "none"))]
        return " ".join([*parts, f"m{self.task.context}"]).replace("_", " ")

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
class CertifiedNetworks(Experiment):
    """Networks that answer queries: trained, then certified, searched and sampled."""

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
            value = getattr(self, name)
            require(value >= 1, name, value, "a whole number of at least 1")
        require(self.label_bound > 0, "label_bound", self.label_bound, "a positive number")

    @property
    def words(self) -> str:
        a = self.architecture
        extras = ", norm" * a.norm + ("" if a.cap is None else f", cap {a.cap:g}")
        return f"certified networks, {a.depth} layers, {a.attention} {a.kind}{extras}"

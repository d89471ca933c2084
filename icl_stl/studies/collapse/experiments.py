"""Loops of generators that forget their uncertainty. No JAX."""

from dataclasses import dataclass
from typing import ClassVar

from icl_stl.config import require, whole
from icl_stl.lab.experiments import Experiment
from icl_stl.problems import InContext


@dataclass(frozen=True)
class Regeneration(Experiment):
    """Prompts of the orthogonal design that are read and written again, in several variants."""

    runner: ClassVar[str] = "icl_stl.studies.collapse.loops:regenerate"
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

    runner: ClassVar[str] = "icl_stl.studies.collapse.loops:layer_prompts"
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

    runner: ClassVar[str] = "icl_stl.studies.collapse.loops:plug_in_loops"
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

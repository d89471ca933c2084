"""Presets: one size of the main job each. Without JAX."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from icl_stl.config import (
    NADAM,
    Architecture,
    QueryArchitecture,
    Training,
    counts,
    flag,
    is_number,
    normalised,
    one_of,
    positive,
    require,
    whole,
)
from icl_stl.lab.experiments import Job
from icl_stl.laws import LinearRegression
from icl_stl.problems import InContext
from icl_stl.regimes import Augment, Regime, Replace


@dataclass(frozen=True)
class StabilitySize:
    """Loops of the transformer from neighbouring real sets. Steps are equal for every n."""

    task: LinearRegression = LinearRegression(dim=1, context=4)
    architecture: Architecture = Architecture()
    training: Training = Training(steps=200)
    samples: tuple[int, ...] = (250, 1000, 4000)
    """The sizes n of the real set."""
    shares: tuple[float, ...] = (0.5, 0.2)
    """The constant shares α of real prompts; loops without real prompts are followed, too."""
    everywhere: bool = False
    """Whether there are loops of all shares at every n; else, but for the first share and none, at
    the middle one alone."""
    generations: int = 3
    replicates: int = 4
    """Whole loops, each with its neighbours."""
    neighbours: int = 2
    """Random prompts that are replaced."""
    searched: int = 0
    """Replacements that are searched for."""
    held_out: int = 500
    """Real prompts, and as many generated ones, on which neighbours are compared."""

    @property
    def middle(self) -> int:
        """The n at which loops of all shares are compared."""
        return sorted(self.samples)[len(self.samples) // 2]

    def sizes(self, share: float) -> tuple[int, ...]:
        """The n of the loops with this share."""
        rest = self.samples if self.everywhere else (self.middle,)
        return self.samples if share in (0, self.shares[0]) else rest

    def __post_init__(self) -> None:
        different = len(self.samples) > 1 and len(set(self.samples)) == len(self.samples)
        what = "at least two different sizes, to fit a slope to"
        require(different, "samples", self.samples, what)
        counts(self, replicates=1, generations=1, neighbours=1, searched=0, held_out=2)
        flag("everywhere", self.everywhere)
        fine = bool(self.shares) and all(share > 0 for share in self.shares)
        require(fine, "shares", self.shares, "at least one share above 0")
        for n in self.samples:
            whole("samples", n, 1)
            for share in self.shares:
                Augment(share).synthetic_size(n)


@dataclass(frozen=True)
class ArchitectureSize:
    """Loops from neighbouring real sets, for one architecture and what differs from it."""

    task: LinearRegression = LinearRegression(dim=1, context=3)
    base: QueryArchitecture = QueryArchitecture(depth=2, width=16, heads=2, mlp=32, norm=True)
    training: Training = Training(steps=200, batch=32)
    cap: float = 1.0
    """Cap of the spectral norms of the capped network."""
    samples: int = 500
    share: float = 0.5
    """α; loops without real prompts are followed, too."""
    generations: int = 2
    replicates: int = 4
    neighbours: int = 2
    searched: int = 0
    held_out: int = 250
    compared: int = 2
    """How many of the differences are tried, the last ones; each is a program to compile."""

    @property
    def variants(self) -> dict[str, QueryArchitecture]:
        """The base and, one at a time, what may make a difference."""
        base = self.base
        depth = base.depth
        every = {
            f"base: {depth} layers, width {base.width}, {base.heads} heads, full softmax": base,
            f"{depth // 2} of {depth} layers": replace(base, depth=depth // 2),
            f"width {2 * base.width}": replace(base, width=2 * base.width, mlp=2 * base.mlp),
            f"{2 * base.heads} heads": replace(base, heads=2 * base.heads),
            f"norms capped at {self.cap:g}": replace(base, cap=self.cap),
            "linear attention": replace(base, kind="linear"),
            "causal attention": replace(base, attention="causal"),
        }
        own, *others = every.items()
        return dict([own, *others[len(others) - self.compared :]])

    def __post_init__(self) -> None:
        require(self.base.depth >= 2, "base", self.base, "of at least two layers")
        counts(self, samples=1, generations=1, replicates=1, neighbours=1)
        counts(self, searched=0, held_out=2)
        known = self.compared in range(1, 7) and not isinstance(self.compared, bool)
        require(known, "compared", self.compared, "a whole number in 1..6")
        normalised(self, cap=positive)
        Augment(self.share).synthetic_size(self.samples)


@dataclass(frozen=True)
class CollapseSizes:
    """Sizes of the claim about generators that forget their uncertainty."""

    prompts: int = 2000
    """Prompts of a generation in the orthogonal design."""
    runs: int = 200
    """Independent loops of it."""
    transformer_runs: int = 3
    """Whole loops of the plug-in transformer for each share."""
    transformer_generations: int = 3
    """Generations of it after generation 0."""

    def __post_init__(self) -> None:
        counts(self, prompts=1, runs=1, transformer_runs=1, transformer_generations=1)


@dataclass(frozen=True)
class CertificateSizes:
    """Networks whose stability is certified, searched and sampled."""

    networks: int = 4
    """Networks of one architecture, each from its own seed."""
    context: int = 10
    """m, examples of a prompt."""
    width: int = 16
    """Dimension of the residual stream; twice as many hidden units."""
    training: Training = replace(NADAM, steps=250, batch=64)
    """Training on new real prompts."""
    restarts: int = 24
    """Starts of a search."""
    search_steps: int = 60
    """Gradient steps of a search."""
    prompts: int = 1000
    """Prompts with a random replacement."""
    contexts: tuple[int, ...] = (10, 40, 160)
    """Context lengths at which the same weights are used."""
    long_prompts: int = 40
    """Prompts of these lengths."""

    def __post_init__(self) -> None:
        counts(self, networks=1, context=2, width=2, restarts=1)
        counts(self, search_steps=1, prompts=1, long_prompts=1)
        known = len(self.contexts) > 1 and all(type(m) is int and m >= 1 for m in self.contexts)
        require(known, "contexts", self.contexts, "at least two whole numbers of at least 1")


@dataclass(frozen=True)
class ContextSizes:
    """Sizes of the loops in the context."""

    designs: int = 400
    """Prompts of an ideal predictor where each gives an exact number."""
    runs: int = 8000
    """Prompts where means are compared."""
    networks: int = 4
    """Networks, each trained by itself."""
    prompts: int = 24
    """Prompts that a network is given."""
    generations: int = 20
    """Generations of the loops of networks."""
    network: QueryArchitecture = QueryArchitecture(depth=2, width=16, heads=2, mlp=32)
    """What the networks are."""
    training: Training = replace(NADAM, steps=1500, learning_rate=5e-3, weight_decay=0.01)
    """How they are trained."""

    def __post_init__(self) -> None:
        counts(self, designs=3, runs=3, networks=3)
        counts(self, prompts=1, generations=1)


@dataclass(frozen=True)
class ConvergenceSize:
    """The main job's learner at other real and synthetic sizes.

    Steps are equal for all sizes. Of the main job's own size there are its own loops.
    """

    samples: tuple[int, ...] = (250, 1000)
    """The sizes n of the real set at which loops with a constant share of it are followed."""
    generations: int = 4
    """G, generations after generation 0."""
    without_real: bool = False
    """Whether loops without real data are followed, too, at all of these sizes."""
    lam_samples: tuple[int, ...] = ()
    """The sizes n at which the amount of synthetic data is varied."""
    lams: tuple[float, ...] = (0, 1, 4)
    """Synthetic prompts per real one, λ; 0 for real prompts alone."""
    lam_generations: int = 3
    """Generations after generation 0 of these loops."""
    replicates: int = 6
    """Whole loops of each size n."""
    lam_replicates: int = 10
    """Whole loops of each amount of synthetic data."""

    def __post_init__(self) -> None:
        for name, least in (("samples", 1), ("lam_samples", 0), ("lams", 2)):
            values = getattr(self, name)
            different = len(values) >= least and len(set(values)) == len(values)
            require(different, name, values, f"at least {least} different numbers")
        fine = all(is_number(lam) and lam >= 0 for lam in self.lams)
        require(fine, "lams", self.lams, "numbers of at least 0")
        require(0 in self.lams, "lams", self.lams, "numbers with 0, real prompts alone, among them")
        counts(self, generations=1, lam_generations=1, replicates=3, lam_replicates=3)
        flag("without_real", self.without_real)
        for name in ("samples", "lam_samples"):
            for n in getattr(self, name):
                whole(name, n, 1)
        for n in self.lam_samples:
            for lam in self.lams:
                require(lam * n >= 1 or not lam, "lams", lam, f"0, or a prompt beside n = {n}")


@dataclass(frozen=True)
class FitSizes:
    """Fits to real prompts alone, and loops of a larger task."""

    samples: tuple[int, ...] = (250, 1000, 4000, 16_000)
    """Real prompts of a fit; beside these, fits that see new prompts in every step."""
    runs: int = 6
    """Independent fits of each size."""
    longer: int = 0
    """How many times as many steps a fit without limit of prompts has, too; 0 for none."""
    larger: Training | None = None
    """Training on prompts of 8 examples of 2 dimensions, 4 layers deep; None for none."""

    def __post_init__(self) -> None:
        counts(self, runs=2, longer=0)
        require(bool(self.samples), "samples", self.samples, "at least one size")


@dataclass(frozen=True)
class NetworkSize:
    """Loops of the main job's learner whose risk is bounded, generations 0 and 1 at alpha = 1/2."""

    samples: tuple[int, ...] = (250, 1000, 4000, 16_000)
    """The sizes n of the real set."""
    replicates: int = 3
    """Whole loops of each size."""

    def __post_init__(self) -> None:
        counts(self, replicates=3)
        different = len(self.samples) > 0 and len(set(self.samples)) == len(self.samples)
        require(different, "samples", self.samples, "at least one size, each once")
        for n in self.samples:
            whole("samples", n, 1)


@dataclass(frozen=True)
class ConfidenceSize:
    """Loops of the transformer without real prompts that keep some of their own."""

    training: Training = Training(steps=200)
    samples: int = 500
    """n, real prompts, and synthetic ones before any is dropped."""
    generations: int = 1
    replicates: int = 12
    """Whole loops; every filter starts from the same first fit."""
    held_out: int = 1000

    def __post_init__(self) -> None:
        counts(self, samples=2, generations=1, replicates=3, held_out=2)


@dataclass(frozen=True)
class Preset:
    """One size of the main job. Presets differ in numbers only."""

    name: str
    task: LinearRegression = LinearRegression(dim=1, context=4)
    architecture: Architecture = Architecture()
    training: Training = Training()
    samples: int = 4000
    """n, real prompts of a replicate."""
    generations: int = 8
    """Generations after generation 0."""
    replicates: int = 12
    """Whole loops, each with its own real set."""
    shares: tuple[float, ...] = (0.2, 0.5)
    """The constant shares α of real prompts."""
    held_out: int = 2000
    """Fresh real prompts, and as many generated ones, on which a generation is measured."""
    pairs: tuple[str, ...] = ("first",)
    """Generations of a loop beside which pairs of fits are made: `first`, `last`, or both."""
    fits: FitSizes = FitSizes()
    """Single fits of the transformer."""
    solvable_runs: int = 10_000
    """Loops of a solvable problem."""
    stability: StabilitySize = StabilitySize()
    """Loops from neighbouring real sets."""
    architectures: ArchitectureSize = ArchitectureSize()
    """The same, by architecture."""
    collapse: CollapseSizes = CollapseSizes()
    """Sizes of the claim `predictive_collapse`."""
    certificates: CertificateSizes = CertificateSizes()
    """Networks that are certified."""
    in_context: ContextSizes = ContextSizes()
    """Loops in the context."""
    convergence: ConvergenceSize = ConvergenceSize()
    """The same learner at other sizes."""
    network: NetworkSize = NetworkSize()
    """The same learner, its risk bounded."""
    confidence: ConfidenceSize = ConfidenceSize()
    """Loops of the transformer on the prompts that it is surest of."""

    def __post_init__(self) -> None:
        counts(self, samples=1, generations=0, replicates=1, held_out=2, solvable_runs=1)
        for place in self.pairs:
            one_of("pairs", place, ("first", "last"))
        once = len(set(self.shares)) == len(self.shares)
        require(once, "shares", self.shares, "different numbers, one loop for each")
        for regime in self.regimes:
            regime.synthetic_size(self.samples)
        beside = self.convergence
        own = f"other sizes than the main job's ({self.samples})"
        require(self.samples not in beside.samples, "convergence.samples", beside.samples, own)

    @property
    def regimes(self) -> tuple[Regime, ...]:
        """The data regimes of the main job, each run from the same real sets and seeds.

        What real prompts alone give is generation 0 of all.
        """
        return (*(Augment(share) for share in self.shares), Replace())


def _made(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """A dataclass from tables of numbers; what they do not say is its default, `NADAM` for that."""
    if kind is Training and values.get("optimiser") == "nadam":
        return replace(NADAM, **values)
    kinds = get_type_hints(kind)

    def one(name: str, value: Any) -> Any:
        if isinstance(value, dict):
            either = get_args(kinds[name]) or (kinds[name],)  # a class, or it or None
            return _made(either[0], value)
        return tuple(value) if isinstance(value, list) else value

    return kind(**{name: one(name, value) for name, value in values.items()})


PRESETS: dict[str, Preset] = {
    name: _made(Preset, {"name": name, **values})
    for name, values in tomllib.loads(
        Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    ).items()
}
"""All presets by name: `presets.toml`."""


def job_of(preset: Preset) -> Job:
    """The main job of a preset."""
    problem = InContext(preset.task, preset.architecture, preset.training, preset.held_out)
    return Job(problem, preset.samples, preset.generations, preset.replicates)

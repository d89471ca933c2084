"""Grids of settings: what a sweep runs, read from a small file and checked whole. Needs no JAX.

A grid is a TOML or JSON file. Every option of a `[[grid]]` block is a value or a list of values,
and the block stands for the product of its lists; several blocks stand for their union; options
before the blocks belong to all of them. `seed = { first = 0, count = 100 }` is a list of whole
numbers. Two cells that say the same thing are one setting.

    generations = 3
    steps = 100

    [[grid]]
    samples = [250, 1000]
    alpha = [0.25, 0.5]
    learning_rate = [0.01, 0.02]
    seed = { first = 0, count = 10 }

    [[grid]]
    regime = "replace"
    samples = 1000
    seed = [0, 1, 2]
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import product
from math import inf, prod
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from icl_stl import problems
from icl_stl.config import (
    Architecture,
    LinearRegression,
    Training,
    amplification,
    check_single,
    injection,
    meant,
    prior_noise,
    pseudo_counts,
    require,
    scale,
    task_noise,
)
from icl_stl.descriptions import canonical
from icl_stl.lab.experiments import Loops
from icl_stl.regimes import (
    MAD_LOOPS,
    Accumulate,
    AccumulateFresh,
    AccumulateSubsample,
    Anchored,
    Augment,
    AugmentSameInputs,
    FreshReal,
    RealOnly,
    Regime,
    Replace,
)
from icl_stl.tables import read_options

MOST = 10**5
"""Settings of one block, at most, and symbols of a law: more are a slip of the pen."""

TERABYTE = 1e12
"""Bytes that no setting needs."""

SolvableName = Literal[
    "ols",
    "ridge",
    "lsa",
    "empirical-bayes",
    "gaussian",
    "gaussian-variance",
    "categorical",
    "bernoulli",
]
RegimeName = Literal[
    "augment",
    "augment-same-inputs",
    "replace",
    "accumulate",
    "accumulate-fresh",
    "accumulate-subsample",
    "fresh",
    "anchored",
    "real-only",
    "mad-fully-synthetic",
    "mad-synthetic-augmentation",
    "mad-fresh-data",
]

_SHARED = ("learner", "regime", "samples", "alpha", "lam", "weight", "generations", "seed")
_LINEAR = ("dim", "noise")
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "transformer": (
        *(*_SHARED, *_LINEAR, "context", "depth", "width", "heads", "steps", "batch"),
        *("learning_rate", "weight_decay", "held_out"),
    ),
    "ols": (*_SHARED, *_LINEAR, "runs"),
    "ridge": (*_SHARED, *_LINEAR, "penalty", "runs"),
    "lsa": (*_SHARED, *_LINEAR, "context", "penalty", "generator", "law", "runs"),
    "empirical-bayes": (*_SHARED, *_LINEAR, "context", "plug_in", "runs"),
    "gaussian": (*_SHARED, "noise", "runs"),
    "gaussian-variance": (*_SHARED, "noise", "runs"),
    "categorical": (*_SHARED, "symbols", "pseudo_count", "runs"),
    "bernoulli": (*_SHARED, "kappa", "injected", "runs"),
}
"""The options that each learner has a use for; others are refused, not ignored."""

PROBLEM_OF = {
    "ols": "ols",
    "ridge": "ridge",
    "lsa": "linear_attention",
    "empirical-bayes": "empirical_bayes",
    "gaussian": "gaussian_mean",
    "gaussian-variance": "gaussian",
    "categorical": "categorical",
    "bernoulli": "bernoulli",
}
"""The problem of every solvable learner, a name in `problems.PROBLEMS`."""

_PENALTIES = {"ridge": 0.1, "lsa": 0.001}

_BY_LAM: Mapping[str, Callable[[float], Regime]] = {
    "replace": Replace,
    "accumulate": Accumulate,
    "accumulate-fresh": AccumulateFresh,
    "accumulate-subsample": AccumulateSubsample,
}
_BY_SHARE = ("augment", "augment-same-inputs", "fresh")
OF_TRANSFORMER = (Augment, AugmentSameInputs, FreshReal, Replace, RealOnly)
"""Regimes of the transformer: those without the rows of all generations."""


def regime_of(
    name: str, alpha: float | None = None, lam: float | None = None, weight: float | None = None
) -> Regime:
    """The data regime that these options describe.

    Args:
        name: Its name, or that of one of `regimes.MAD_LOOPS`.
        alpha: Share of real rows, or of the real law (anchored; 0.5 if not given).
        lam: Synthetic rows a generation per real row; 1 if neither is given.
        weight: w in [0, 1] of the objective; every row alike if not given.

    Raises:
        ValueError: If there is no such regime, it has no use for an option that is given, or alpha
            and lam both are.
    """
    names = get_args(RegimeName)
    require(name in names, "regime", name, f"one of {', '.join(names)}{meant(name, names)}")
    plain = name in MAD_LOOPS or name == "real-only"
    for option, value, allowed in (
        ("alpha", alpha, name in _BY_SHARE or name == "anchored"),
        ("lam", lam, not plain),
        ("weight", weight, name in _BY_SHARE),
    ):
        require(allowed or value is None, option, value, f"left out with the regime {name!r}")
    if plain:
        return MAD_LOOPS.get(name, RealOnly())
    if name in _BY_LAM:
        return _BY_LAM[name](1.0 if lam is None else lam)
    if name == "anchored":
        return Anchored(0.5 if alpha is None else alpha, 1.0 if lam is None else lam)
    if alpha is not None and lam is not None:
        raise ValueError(f"alpha = {alpha} and lam = {lam} say the same thing: give one of them")
    kind = AugmentSameInputs if name == "augment-same-inputs" else Augment
    if alpha is None:
        lam = 1.0 if lam is None else lam
        if name == "fresh":
            return FreshReal(lam, weight)
        some = not lam > 0 or 1 / (1 + lam) < 1
        require(some, "lam", lam, "more than 1e-16; without synthetic data use 'real-only'")
        return kind.from_lam(lam, weight)
    regime = kind(alpha, weight)
    return FreshReal((1 - alpha) / alpha, weight) if name == "fresh" else regime


def synthetic_size(regime: Regime, samples: int, lam: float | None = None) -> int:
    """`Regime.synthetic_size`, with the option that was given in the message.

    Args:
        regime: The data regime.
        samples: n.
        lam: Synthetic rows a generation per real row, if it was made from that.

    Raises:
        ValueError: If that is no whole number.
    """
    require(samples >= 1, "samples", samples, "a whole number of at least 1")
    given = regime if lam is None else Replace(lam)
    try:
        given.synthetic_size(samples)
        return regime.synthetic_size(samples)
    except OverflowError:
        name = "alpha" if isinstance(given, Augment) else "lam"
        raise ValueError(
            f"{name} = {getattr(given, name)!r} asks for more synthetic rows beside samples = "
            f"{samples} real ones than can be counted; that must be a whole number"
        ) from None


def _numbers_at_once(
    learner: str, size: Mapping[str, float], keeps_history: bool
) -> list[tuple[float, tuple[str, ...]]]:
    """How many numbers a loop must hold at once, part by part, each with what it grows with."""
    kept = size["generations"] if keeps_history else 1.0
    rows = size["samples"] * (1 + kept * size["lam"])
    of_rows = ("samples", "lam", *(["generations"] if keeps_history else []))
    dim, context, runs = size["dim"], size["context"], size["runs"]
    found: list[tuple[float, tuple[str, ...]]] = []
    found.append(((size["generations"] + 1) * runs, ("generations", "runs")))
    if learner in ("transformer", "bayes"):
        prompt, of_prompt = context * (dim + 1) * runs, ("context", "dim", "runs")
        found.append((rows * prompt, (*of_rows, *of_prompt)))
        found.append((2 * size["held_out"] * prompt, ("held_out", *of_prompt)))
    else:
        linear = {"ols": dim + 1, "ridge": dim + 1, "lsa": context * (dim + 1) + dim**2}
        width = linear | {"empirical-bayes": context, "categorical": size["symbols"]}
        found.append((rows * width.get(learner, 1.0), (*of_rows, "dim", "context", "symbols")))
        found.append((dim ** {"ols": 2, "ridge": 2, "lsa": 4}.get(learner, 0), ("dim",)))
    if learner == "transformer":
        steps, batch, heads = size["steps"], size["batch"], size["heads"]
        weights = 36 * size["depth"] * size["width"] ** 2 * runs  # with two moments of each
        found.append((weights, ("depth", "width", "runs")))
        found.append((steps * batch, ("steps", "batch")))
        found.append((batch * heads * context**2, ("batch", "heads", "context")))
    return found


def refuse_terabytes(
    learner: str, options: Mapping[str, Any], regime: Regime, limit: float = TERABYTE
) -> None:
    """Refuse a loop whose numbers alone need more memory than there is.

    Args:
        learner: Its name.
        options: Options by name, as those of `Setting`; `runs` counts loops that are there at once.
        regime: The data regime.
        limit: Bytes that there are.

    Raises:
        ValueError: If it needs more; the message names the option that is farthest from what is
            usual.
    """
    usual: dict[str, Any] = {field.name: field.default for field in fields(Setting)} | {"lam": 1.0}
    counts = [name for name in usual if _KINDS[name] is int]
    size = {name: float(min(max(0, options.get(name) or 0), 10**30)) for name in counts}
    size["lam"] = regime.synthetic_size(options["samples"]) / size["samples"]
    floats, names = max(_numbers_at_once(learner, size, regime.keeps_history))
    option = max(names, key=lambda name: size[name] / float(usual[name] or 1))
    value = options.get(option)
    if option == "lam" and value is None:
        option, value = "alpha", options.get("alpha")
    gigabytes = 4 * floats / 1e9
    require(
        4 * floats <= limit,
        option,
        value,
        f"smaller, since its numbers alone would take {gigabytes:,.0f} GB of memory, of which "
        f"there are {limit / 1e9:,.0f}",
    )


@dataclass(frozen=True)
class Setting:
    """One setting: a loop of the transformer, or `runs` loops of a solvable learner.

    Raises:
        ValueError: If an option has no such type or value, two of them contradict each other, or
            the learner has no use for one that is given; the message names it and what is right.
    """

    learner: Literal["transformer", SolvableName] = "transformer"
    """What is trained."""
    regime: RegimeName = "augment"
    """What a generation is trained on."""
    samples: int = 1000
    """n, real rows."""
    alpha: float | None = None
    """Share of real rows (augment, augment-same-inputs, fresh), instead of lam; of the real law
    (anchored, 0.5 if not given)."""
    lam: float | None = None
    """Synthetic rows a generation per real row; 1 if neither alpha nor lam is given."""
    weight: float | None = None
    """w in [0, 1] of the objective w (mean over real rows) + (1-w) (mean over synthetic rows)."""
    generations: int = 5
    """G, generations after generation 0."""
    seed: int = 0
    """Seed of everything."""
    dim: int = LinearRegression.dim
    """d, dimension of an input."""
    context: int = LinearRegression.context
    """m, examples in a prompt."""
    noise: float = LinearRegression.noise
    """σ, label noise; deviation of the normal law."""
    depth: int = Architecture.depth
    """Layers of the transformer."""
    width: int = Architecture.width
    """Its width."""
    heads: int = Architecture.heads
    """Attention heads of a layer."""
    steps: int = Training.steps
    """Optimiser steps of a generation."""
    batch: int = Training.batch
    """Prompts a step."""
    learning_rate: float = Training.learning_rate
    """Peak learning rate."""
    weight_decay: float = Training.weight_decay
    """Decoupled weight decay."""
    held_out: int = 2000
    """Fresh prompts on which a generation of the transformer is measured."""
    runs: int = 1000
    """Independent loops of a solvable learner."""
    penalty: float | None = None
    """ρ beside the mean loss (ridge 0.1, lsa 0.001 if not given)."""
    generator: Literal["query", "autoregressive"] = "query"
    """Which labels lsa writes: the query's, or all."""
    law: Literal["gaussian", "sphere"] = "gaussian"
    """Real law of lsa."""
    plug_in: bool = False
    """Write labels with the noise alone (empirical-bayes)."""
    kappa: float = 1.0
    """κ, amplification of the bernoulli learner."""
    injected: float = 0.0
    """Error that the bernoulli learner adds in every generation."""
    symbols: int = 10
    """Symbols of the categorical learner, equally likely."""
    pseudo_count: float = 0.0
    """Added to every count of the categorical learner."""

    def __post_init__(self) -> None:
        for name, kind in _KINDS.items():
            object.__setattr__(self, name, _typed(name, getattr(self, name), kind))
        if self.penalty is None:
            object.__setattr__(self, "penalty", _PENALTIES.get(self.learner))
        used = OPTIONS[self.learner]
        for field in fields(self):
            given = getattr(self, field.name)
            require(
                field.name in used or given == field.default,
                field.name,
                given,
                f"left out with the learner {self.learner!r}",
            )
        require(0 <= self.seed < 2**31, "seed", self.seed, "a whole number in [0, 2^31)")
        require(self.generations >= 0, "generations", self.generations, "at least 0")
        require(self.samples >= 1, "samples", self.samples, "a whole number of at least 1")
        n_syn = synthetic_size(self.rule, self.samples, self.lam)
        loops = 1 if self.learner == "transformer" else self.runs
        refuse_terabytes(self.learner, vars(self) | {"runs": loops}, self.rule)
        if self.learner == "transformer":
            _ = self.task, self.architecture, self.training
            require(self.held_out >= 2, "held_out", self.held_out, "a whole number of at least 2")
            require(
                type(self.rule) in OF_TRANSFORMER,
                "regime",
                self.regime,
                "one that does not keep the rows of all generations with the learner 'transformer'",
            )
            return
        self._check_solvable(n_syn)

    def _check_solvable(self, n_syn: int) -> None:
        """Refuse what the solvable learner cannot be run with."""
        least = {"dim": 1, "context": 1, "symbols": 2, "samples": 2, "runs": 1}
        for name, smallest in least.items():
            value = getattr(self, name)
            require(value >= smallest, name, value, f"a whole number of at least {smallest}")
        for name, most in (("symbols", MOST), ("runs", 2**31 - 1)):
            value = getattr(self, name)
            require(value <= most, name, value, f"a whole number of at most {most}")
        scale("noise", self.noise)
        penalty = self.penalty
        require(penalty is None or penalty > 0, "penalty", penalty, "a positive number")
        amplification(self.kappa)
        injection(self.injected)
        pseudo_counts(self.pseudo_count)
        if self.learner in ("ols", "ridge"):
            task_noise(self.noise)
        if self.learner == "empirical-bayes":
            prior_noise(self.noise, 1.0)
            whole = self.context % self.dim == 0
            require(whole, "context", self.context, f"a multiple of dim = {self.dim}")
        if self.learner == "lsa":
            prior_scale = 1.0 if self.law == "gaussian" else self.dim**-0.5
            _ = LinearRegression(self.dim, self.context + 1, self.noise, prior_scale)
        if self.learner == "ols":
            alone = type(self.rule) is Replace or self.weight == 0
            rows = {"samples": self.samples, **({"lam": n_syn} if alone else {})}
            enough = f"enough for dim + 2 = {self.dim + 2} rows in every fit"
            for name, count in rows.items():
                require(count >= self.dim + 2, name, count, enough)
        _ = self.experiment

    @property
    def rule(self) -> Regime:
        """The data regime."""
        return regime_of(self.regime, self.alpha, self.lam, self.weight)

    @property
    def n_syn(self) -> int:
        """Synthetic rows of a generation."""
        return self.rule.synthetic_size(self.samples)

    @property
    def real_share(self) -> float:
        """Share of the real law in the objective of generation 1."""
        return float(self.rule.share(1))

    @property
    def task(self) -> LinearRegression:
        """The transformer's real law."""
        return LinearRegression(self.dim, self.context, self.noise)

    @property
    def architecture(self) -> Architecture:
        """The transformer's network."""
        return Architecture(self.depth, self.width, self.heads)

    @property
    def training(self) -> Training:
        """How the transformer is fitted."""
        return Training(self.steps, self.batch, self.learning_rate, self.weight_decay)

    @property
    def problem(self) -> problems.Problem:
        """The problem of a solvable learner."""
        linear: dict[str, Any] = {"dim": self.dim, "noise": self.noise}
        match self.learner:
            case "ols":
                return problems.Ols(**linear)
            case "ridge":
                return problems.Ridge(**linear, penalty=self.penalty or 0.1)
            case "lsa":
                return problems.LinearAttention(
                    **linear,
                    examples=self.context,
                    law=self.law,
                    penalty=self.penalty or 0.001,
                    generator=self.generator,
                )
            case "empirical-bayes":
                repeats = max(1, self.context // self.dim)
                return problems.EmpiricalBayes(**linear, repeats=repeats, plug_in=self.plug_in)
            case "gaussian":
                return problems.GaussianMean(self.noise)
            case "gaussian-variance":
                return problems.Gaussian(self.noise)
            case "categorical":
                law = (1 / self.symbols,) * self.symbols
                return problems.Categorical(law, self.pseudo_count)
            case _:
                return problems.Bernoulli(self.kappa, injected=self.injected)

    @property
    def experiment(self) -> Loops:
        """The loops of a solvable learner, all but their seed."""
        return Loops(self.problem, self.rule, self.samples, self.generations, self.runs)

    @property
    def columns(self) -> dict[str, Any]:
        """What ran, by name: the options that were used, and what alpha, lam and weight come to.

        Equal for two settings exactly if they are the same.
        """
        own = {
            name: getattr(self, name)
            for name in OPTIONS[self.learner]
            if name not in ("alpha", "lam", "weight")
        }
        own["regime"] = self.rule.name
        own["n_syn"], own["real_share"] = self.n_syn, self.real_share
        return {name: own[name] for name in COLUMNS if name in own}


_KINDS: Mapping[str, Any] = get_type_hints(Setting)
COLUMNS = tuple(
    column
    for name in _KINDS
    if name not in ("lam", "weight")
    for column in (("n_syn", "real_share") if name == "alpha" else (name,))
)
"""The columns that describe a setting, in the order of a table."""


def _typed(name: str, value: Any, kind: Any) -> Any:
    """The value, a whole number made a number where one is asked for; of no other type."""
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        known = f"one of {', '.join(choices)}{meant(value, choices)}"
        require(value in choices, name, value, known)
        return value
    if kind is bool:
        require(isinstance(value, bool), name, value, "true or false")
        return value
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind is int:
        require(whole, name, value, "a whole number")
        require(abs(value) < 2**63, name, value, "a whole number of at most 2^63")
        return value
    if value is None and type(None) in get_args(kind):
        return None
    require(whole or isinstance(value, float), name, value, "a number")
    require(-inf < value < inf, name, value, "a finite number")
    if name not in ("alpha", "lam"):  # they are never part of a program
        check_single(name, value)
    return float(value) + 0.0  # -0.0 and 0 are one setting


def in_words(columns: Mapping[str, Any]) -> str:
    """What a setting is, in one line."""
    return ", ".join(f"{name} {value}" for name, value in columns.items())


# --- files ---------------------------------------------------------------------------------------


def _values(name: str, entry: Any) -> list[Any]:
    """The values of one option of a block."""
    if isinstance(entry, dict):
        whole = {k: v for k, v in entry.items() if type(v) is int}
        require(
            set(entry) == set(whole) == {"first", "count"} and whole["count"] >= 1,
            name,
            entry,
            "a value, a list, or { first = 0, count = 10 } in whole numbers",
        )
        require(whole["count"] <= MOST, name, entry, f"at most {MOST} values")
        return list(range(whole["first"], whole["first"] + whole["count"]))
    if not isinstance(entry, list):
        return [entry]
    require(bool(entry), name, entry, "a value, or a list of at least one")
    return entry


def _block_cells(block: Mapping[str, Any]) -> Iterator[Setting]:
    """The settings of one block, every one of them checked."""
    for name in block:
        if name not in _KINDS:
            close = meant(name, _KINDS).strip(" ()")
            known = close or f"there are {', '.join(_KINDS)}"
            raise ValueError(f"{name!r} is no option of a setting: {known}")
    values = {name: _values(name, entry) for name, entry in block.items()}
    cells = prod(map(len, values.values()))
    require(cells <= MOST, "the product of the lists", cells, f"at most {MOST} settings")
    varied = [name for name, several in values.items() if len(several) > 1]
    for cell in product(*values.values()):
        options = dict(zip(values, cell, strict=True))
        try:
            setting = Setting(**options)
            for name, given in options.items():  # also where the default is written out
                used = name in OPTIONS[setting.learner]
                require(used, name, given, f"left out with the learner {setting.learner!r}")
        except ValueError as error:
            here = ", ".join(f"{name} = {options[name]!r}" for name in varied)
            raise ValueError(f"{error}" + (f" (where {here})" if here else "")) from None
        yield setting


def grid_settings(content: Any) -> tuple[Setting, ...]:
    """The different settings of a grid, in its order.

    Args:
        content: The content of a grid file: options, and the blocks as `grid`.

    Raises:
        ValueError: If any setting of it is wrong; the message names block, option and value.
    """
    require(isinstance(content, dict), "a grid", content, "a table of options")
    common = {name: entry for name, entry in content.items() if name != "grid"}
    blocks = content.get("grid", [{}])
    tables = isinstance(blocks, list) and all(isinstance(block, dict) for block in blocks)
    require(tables and bool(blocks), "grid", blocks, "[[grid]] blocks of options")
    found: dict[str, Setting] = {}
    for number, block in enumerate(blocks, 1):
        try:
            for setting in _block_cells({**common, **block}):
                found.setdefault(canonical(setting.columns), setting)
        except ValueError as error:
            raise ValueError(f"grid {number}: {error}") from None
    return tuple(found.values())


def read_grid(path: Path) -> tuple[Setting, ...]:
    """The settings of a grid file.

    Raises:
        ValueError: See `tables.read_options`, `grid_settings`; the message names the file.
    """
    content = read_options(path, "grid")
    filled = content not in ({}, [])
    require(filled, "grid", str(path), "a file of at least one option, as samples = 1000")
    try:
        return grid_settings(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None

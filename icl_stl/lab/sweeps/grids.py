"""Settings: what a loop or a sweep runs, checked whole; grids of them, read from a small file.

A grid is a TOML or JSON file. Every option of a `[[grid]]` block is a value or a list of values,
and the block stands for the product of its lists; several blocks stand for their union; options
before the blocks belong to all of them. `seed = { first = 0, count = 100 }` is a list of whole
numbers. Two cells that say the same thing are one setting. Needs no JAX.

    generations = 3
    steps = 100

    [[grid]]
    samples = [250, 1000]
    alpha = [0.25, 0.5]
    learning_rate = [0.01, 0.02]
    seed = { first = 0, count = 10 }

    [[grid]]
    problem = "mine.py:Mine"
    regime = ["replace", "mine.py:Halving"]
    samples = 1000
    seed = [0, 1, 2]

The options of a learner, a problem or a regime are those that `icl-stl list` shows; those of a
user's file are the fields of its classes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field
from functools import cached_property, lru_cache
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from icl_stl import members
from icl_stl.code import is_own
from icl_stl.config import meant, require
from icl_stl.descriptions import Json, canonical, describe
from icl_stl.lab.experiments import Loops
from icl_stl.members import Chosen, Option, typed
from icl_stl.problems import InContext, Problem, Solvable
from icl_stl.regimes import REGIMES, Augment, Regime, Replace, real_share, synthetic_size
from icl_stl.tables import read_options

MOST = 10**5
"""Settings of one block, at most: more are a slip of the pen."""

TERABYTE = 1e12
"""Bytes that no setting needs."""

COMMON: Mapping[str, Option] = {
    "learner": Option(str, "transformer", ""),
    "problem": Option(str, "", ""),
    "regime": Option(str, "augment", ""),
    "real": Option(str, "", ""),
    "command": Option(str, "", ""),
    "prompts_from": Option(str, "", ""),
    "samples": Option(int, 1000, "n, real rows."),
    "generations": Option(int, 5, "Generations after generation 0."),
    "seed": Option(int, 0, "Seed of everything."),
    "runs": Option(int, None, "Independent loops, each with its own real set."),
}
"""The options of every setting."""

HEAD = ("learner", "problem", "regime", "samples", "n_syn", "real_share", "generations", "seed")
COLUMNS = (*HEAD, *members.FLAT_OPTIONS, "runs")
"""The columns that describe a setting, in the order of a table; fields of others come after."""
MEASURED = (
    *("excess_risk", "excess_risk_stderr", "excess_risk_closed_form", "excess_nll"),
    *("risk", "risk_stderr", "gap", "gap_stderr", "drift", "drift_stderr", "eps", "eps_stderr"),
    *("nll", "nll_stderr", "implied_task_variance", "training_loss"),
)
"""Measured columns of the table; each is empty where it is not known.

excess_risk: excess squared error of the transformer, mean over the positions of a prompt (squared
units of a label); excess risk of another problem. risk: where no excess is known, on held-out rows
if need be. excess_nll: nats a label. gap: risk on the real law less that on the training set
(bounded loss in [0, 1], or the problem's own). drift, eps: total variation of the generated law
from the real law, of whole prompts, and from the training law, in [0, 1]. training_loss, nll: nats
a label or row. Standard errors are over the held-out prompts of the one loop of the transformer,
over the loops of another problem.
"""
PLACES = ("n_syn", "real_share", "generation", "rows", "reason", *MEASURED)
"""Columns that no field of a member may be taken for."""


@dataclass(frozen=True)
class Setting:
    """Loops of a problem in a regime: in a sweep one of the transformer, `runs` of another."""

    problem: Problem
    regime: Regime
    samples: int
    """n, real rows."""
    generations: int
    """G, generations after generation 0."""
    seed: int
    runs: int
    """Independent loops."""
    columns: Mapping[str, Any] = field(compare=False)
    """What it is, by name: the options that it was made of, and what alpha, lam and weight are."""
    given: Mapping[str, Any] = field(compare=False)
    """The options."""

    def __reduce__(self) -> Any:
        # Another process loads a user's file anew.
        return setting, (dict(self.given),)

    @property
    def prompts(self) -> InContext | None:
        """Its problem, if it is one of prompts: of that a sweep runs one loop."""
        return self.problem if isinstance(self.problem, InContext) else None

    @property
    def ours(self) -> bool:
        """Whether problem and regime are of this package."""
        return all(is_own(type(one).__module__) for one in (self.problem, self.regime))

    @property
    def solvable(self) -> bool:
        """Whether its problem is one of this package that is solved exactly."""
        return is_own(type(self.problem).__module__) and isinstance(self.problem, Solvable)

    @property
    def learner(self) -> str:
        """What its problem is called."""
        named = ("learner", "command", "problem")
        return str(next(self.columns[name] for name in named if self.columns.get(name)))

    @property
    def n_syn(self) -> int:
        """Synthetic rows of a generation."""
        return synthetic_size(self.regime, self.samples)

    def share(self, generation: int) -> float:
        """The share of the real law in the objective of a generation; for 0, that of 1."""
        return real_share(self.regime, self.samples, max(generation, 1))

    @property
    def experiment(self) -> Loops:
        """All but the seed."""
        return Loops(self.problem, self.regime, self.samples, self.generations, self.runs)

    @cached_property
    def identity(self) -> Json:
        """Equal for two settings exactly if they are the same, however they were described."""
        return {
            "problem": _described(self.problem),
            "regime": _described(self.regime)
            if type(self.regime) not in REGIMES.values() or {*vars(self.regime)} - SAID
            else [self.regime.name, self.n_syn, self.share(1)],
            **{name: getattr(self, name) for name in ("samples", "generations", "seed", "runs")},
        }


SAID = {"alpha", "lam", "weight"}
"""Fields of a regime of the package that n_syn and the real share say."""


@lru_cache(maxsize=4096)
def _described(member: Problem | Regime) -> Json:
    return describe(member, "a setting")


def setting(given: Mapping[str, Any], limit: float = TERABYTE, *, one: bool = True) -> Setting:
    """The setting that options describe.

    Args:
        given: Options by name: `COMMON`, and those of what `learner` or `problem`, and `regime`,
            name. What is left out has its default.
        limit: Bytes of memory that there are.
        one: Whether there is one loop of the transformer, as in a sweep.

    Raises:
        ValueError: If an option has no such value, two of them contradict each other, or nothing
            has a use for one; the message names it and what would be right.
    """
    of = members.chosen(given)
    known = {**COMMON, **of.options}
    of.refuse_others(given)
    for name in given:
        if name not in known:
            close = meant(name, known).strip(" ()") or f"there are {', '.join(known)}"
            raise ValueError(f"{name!r} is no option of a setting: {close}")
    values = {name: typed(name, value, known[name].kind) for name, value in given.items()}
    numbers = [*COMMON][len(members.NAMED) :]
    common = {name: values.get(name, known[name].default) for name in numbers}
    for name, fine, right in (
        ("seed", 0 <= common["seed"] < 2**31, "a whole number in [0, 2^31)"),
        ("generations", common["generations"] >= 0, "at least 0"),
        ("samples", common["samples"] >= 1, "a whole number of at least 1"),
    ):
        require(fine, name, common[name], right)
    missing = [n for n, one in of.options.items() if one.default is MISSING and n not in values]
    require(not missing, ", ".join(missing), "not there", "given, since there is no default")
    own = {n: values.get(n, one.default) for n, one in of.problem.options.items()}
    problem = of.problem.made(own)
    if "samples" not in values:
        common["samples"] = problem.usual_samples or common["samples"]
    given_to_it = {name: value for name, value in values.items() if name in of.regime.options}
    regime = of.regime.made(given_to_it)
    n_syn = _synthetic(regime, common["samples"], given_to_it)
    problem.check(regime, common["samples"], common["generations"])
    alone = isinstance(problem, InContext) and one
    word = f"left out with the {of.problem.option} {of.problem.words!r}"
    require(not alone or "runs" not in given, "runs", given.get("runs"), word)
    if common["runs"] is None:
        common["runs"] = 1 if alone else type(problem).usual_runs
    runs = common["runs"]
    require(runs >= 1, "runs", runs, "a whole number of at least 1")
    _refuse_terabytes({**values, **common}, of, problem, regime, limit)
    require(runs < 2**31, "runs", runs, f"a whole number of at most {2**31 - 1}")
    _refuse_few(problem, regime, common["samples"], n_syn)
    columns = _columns(of, regime, values, common)
    if alone:
        del columns["runs"]
    whole = {named.option: named.words for named in of if named.option in given}  # paths of files
    return Setting(problem, regime, **common, columns=columns, given={**given, **whole})


def _synthetic(regime: Regime, samples: int, given: Mapping[str, Any]) -> int:
    """n_syn; what is refused is named as it was given."""
    lam = given.get("lam")
    ours = type(regime) in REGIMES.values()
    asked = Replace(lam) if ours and lam is not None else regime
    try:
        return synthetic_size(asked, samples) and synthetic_size(regime, samples)
    except OverflowError:
        name = "alpha" if isinstance(asked, Augment) else "lam"
        if getattr(regime, "growth", 0):
            name, asked = "growth", regime
        raise ValueError(
            f"{name} = {getattr(asked, name)!r} asks for more synthetic rows beside samples = "
            f"{samples} real ones than can be counted; that must be a whole number"
        ) from None


def _refuse_few(problem: Problem, regime: Regime, samples: int, n_syn: int) -> None:
    """Refuse fewer rows than a fit needs."""
    few, rows = problem.fewest, {"samples": samples}
    if n_syn and type(regime) in REGIMES.values() and regime.share(1) == 0:
        rows["lam"] = n_syn
    for name, count in rows.items():
        right = f"at least {few}: enough for the {few} rows that every fit needs"
        require(count >= few, name, count, right)


def _refuse_terabytes(
    values: Mapping[str, Any], of: Chosen, problem: Problem, regime: Regime, limit: float
) -> None:
    """Refuse what needs more memory than there is; named is the option farthest from its default.

    Raises:
        ValueError: If it does.
    """
    samples, runs, last = (float(values[name]) for name in ("samples", "runs", "generations"))
    kept = last if regime.keeps_history else 1.0
    rows = samples + kept * synthetic_size(regime, int(samples))
    floats = max(problem.size(rows, runs), (last + 1) * runs)
    if 4 * floats <= limit:
        return
    usual = {name: one.default for name, one in {**COMMON, **of.options}.items()}
    usual |= {"lam": 1.0, "runs": float(type(problem).usual_runs)}
    counts = {n: v for n, v in values.items() if isinstance(v, int | float) and n != "seed"}
    if values.get("alpha"):
        counts["alpha"] = 1 / values["alpha"]
    name = max(counts, key=lambda name: counts[name] / (usual.get(name) or 1))
    right = f"smaller, since its numbers alone would take {4 * floats / 1e9:,.0f} GB of memory, of "
    require(False, name, values[name], f"{right}which there are {limit / 1e9:,.0f}")


def _columns(
    of: Chosen, regime: Regime, values: Mapping[str, Any], common: Mapping[str, Any]
) -> dict[str, Any]:
    """What a setting is, by column."""
    own = {of.problem.option: of.problem.title, **common}
    own |= {name: values[name] for name in ("real", "prompts_from") if name in values}
    ours = type(regime) in REGIMES.values()
    of_regime = {n: o for n, o in of.regime.options.items() if not (ours and n in SAID)}
    options = {**of.problem.options, **of_regime}
    own |= {name: values.get(name, one.default) for name, one in options.items()}
    own["regime"] = regime.name if ours else of.regime.title
    for named in of:
        users = () if named.title == named.words else named.options
        taken = sorted({*users} & {*PLACES})
        require(not taken, f"a field of {named.words}", taken, "no column of a table of results")
    own["n_syn"] = synthetic_size(regime, common["samples"])
    own["real_share"] = real_share(regime, common["samples"], 1)
    ordered = [*(name for name in COLUMNS if name in own), *own]
    return {name: own[name] for name in dict.fromkeys(ordered)}


def in_words(columns: Mapping[str, Any]) -> str:
    """What a setting is, in one line."""
    return ", ".join(f"{name} {value}" for name, value in columns.items())


def _values(name: str, entry: Any, tuples: set[str]) -> list[Any]:
    """The values of one option of a block; a list of plain values is one of a tuple."""
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
    plain = name in tuples and not any(isinstance(one, list) for one in entry)
    return [entry] if plain else entry


def _block_cells(block: Mapping[str, Any], folder: Path | None) -> Iterator[Setting]:
    """The settings of one block, every one of them checked."""
    for name in ("real", "command", "prompts_from"):
        single = "left out in a sweep: give each setting to icl-stl loop"
        require(name not in block, name, block.get(name), single)
    names = {
        name: [_beside(one, folder) for one in _values(name, block[name], set())]
        for name in ("learner", "problem", "regime", "of")
        if name in block
    }
    every = [
        members.chosen(dict(zip(names, some, strict=True))) for some in product(*names.values())
    ]
    known = {**COMMON}
    for of in every:
        known |= of.options
    tuples = {name for name, one in known.items() if members.several(one.kind)}
    values = names | {n: _values(n, entry, tuples) for n, entry in block.items() if n not in names}
    cells = prod(map(len, values.values()))
    require(cells <= MOST, "the product of the lists", cells, f"at most {MOST} settings")
    varied = [name for name, several in values.items() if len(several) > 1]
    for cell in product(*values.values()):
        options = dict(zip(values, cell, strict=True))
        try:
            yield setting(options)
        except ValueError as error:
            here = ", ".join(f"{name} = {options[name]!r}" for name in varied)
            raise ValueError(f"{error}" + (f" (where {here})" if here else "")) from None


def _beside(words: Any, folder: Path | None) -> Any:
    """The file of a member beside the grid, if it is there; else where the command runs."""
    path = str(words).rpartition(":")[0]
    there = folder is not None and path.endswith(".py") and (folder / path).is_file()
    return str(folder / words) if there else words


def grid_settings(content: Any, folder: Path | None = None) -> tuple[Setting, ...]:
    """The different settings of a grid, in its order.

    Args:
        content: The content of a grid file: options, and the blocks as `grid`.
        folder: Where it is.

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
            for one in _block_cells({**common, **block}, folder):
                found.setdefault(canonical(one.identity), one)
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
        return grid_settings(content, path.parent)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None

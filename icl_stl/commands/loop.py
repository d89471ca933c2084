"""One self-consuming loop of your choice: a live table, a result file and a figure.

What is trained is a learner of this package by its word, or a problem, ours by name or your own as
`FILE.py:NAME`; so is the regime. Their fields are options. Every setting has a run folder of its
own under runs/, so a stopped run, started again with the same options, goes on after the last
finished generation. Nobody else may write the folder meanwhile. Loops whose numbers stop being
finite are counted; a mean of the others says of how many it is. The exit status is 1 if a
generation has no loop left.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING, field, make_dataclass
from functools import lru_cache
from hashlib import sha256
from math import isfinite, isnan
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.live import Live
from rich.table import Table as Shown

from icl_stl import console, members, profile
from icl_stl.commands import replacing
from icl_stl.commands.running import run_folder, start_jax
from icl_stl.cores import memory
from icl_stl.data import SHIPPED
from icl_stl.lab import results
from icl_stl.lab.experiments import Job
from icl_stl.lab.sweeps import grids
from icl_stl.lab.sweeps.grids import Setting
from icl_stl.learners.generative import GENERATIVE
from icl_stl.members import Option
from icl_stl.problems import (
    PROBLEMS,
    Categorical,
    Gaussian,
    InContext,
    expected_excess,
    expected_quality,
)
from icl_stl.problems.base import bias_of
from icl_stl.problems.table import LEVEL, Table, TablePrompts
from icl_stl.regimes import MAD_LOOPS, REGIMES, training_size

Row = dict[str, Any]

NAMES = {
    "learner": "What is trained, with options of its own: "
    + ", ".join(members.LEARNERS)
    + "; with --real one of "
    + ", ".join(GENERATIVE)
    + ", or FILE.py:NAME, a class with "
    "fit(rows, weights=None) and sample(count, seed).",
    "problem": f"Instead of a learner: {', '.join(PROBLEMS)}, or FILE.py:NAME, a class that "
    "derives from icl_stl.problems.Problem; its fields are options.",
    "regime": f"What a generation is trained on: {', '.join((*REGIMES, *MAD_LOOPS))}, or "
    "FILE.py:NAME, a class that derives from icl_stl.regimes.Regime; its fields are options.",
    "real": "Rows to learn from, a part of them held out: a file (.csv, .npy, .npz, .txt) or one "
    f"of {', '.join(SHIPPED)}.",
    "command": "Instead of a learner, with --real: a program that reads rows from {train} and "
    "writes {count} rows to {out}; {seed} is a number.",
    "prompts_from": "Prompts of rows of such a file, the label the column --target, for the "
    "transformer.",
}
FRESH = tyro.conf.FlagCreatePairsOff[bool]


def arguments_for(words: Sequence[str]) -> tuple[type, list[str]]:
    """The options of this command, those of what it names too, and the words as tyro reads them.

    A tuple may be given as `0.1,0.2`, as `0.1 0.2`, or by its option several times.

    Raises:
        ValueError: If there is no such learner, problem or regime, or it has no such option.
    """
    given: dict[str, Any] = {console.field_of(w): True for w in words if w[:2] == "--"}
    given |= {console.field_of(option): value for option, value in console.given(words)}
    of = members.chosen({name: str(given[name]) for name in (*NAMES, "of") if name in given})
    idle = of.idle(given)
    words = _without(words, idle)
    of.refuse_others({name: value for name, value in given.items() if name not in idle})
    runs = f"Independent loops; {getattr(of.problem.kind, 'usual_runs', 1)} if not given."
    common = {name: grids.COMMON[name] for name in ("samples", "generations", "seed")}
    if "real" in given:
        all_of_them = "n, real rows; if not given all but those held out or kept to replace others."
        common["samples"] = Option(int | None, None, all_of_them)
    options = {
        **{name: Option(str | None, None, text) for name, text in NAMES.items()},
        **common,
        **{"runs": Option(int | None, None, runs), **of.options},
        **replacing.OPTIONS,
        "json": Option(Path | None, None, "Write the result here too."),
        "fresh": Option(FRESH, False, "Forget what the run folder holds and start anew."),
    }
    fields: list[Any] = []
    for name, (kind, default, words_of_it) in options.items():
        told: Any = Annotated[kind, tyro.conf.arg(help=words_of_it or None)]
        fields.append((name, told, *(() if default is MISSING else (field(default=default),))))
    made = make_dataclass("Arguments", fields, frozen=True, kw_only=True)
    about = (f"{one.words}: {str(one.kind.__doc__).splitlines()[0]}" for one in of)
    made.__doc__ = "\n\n".join(("Run one self-consuming loop many times.", *about))
    tuples = {name for name, one in options.items() if members.several(one.kind)}
    return made, _with_tuples(words, tuples)


def _without(words: Sequence[str], names: set[str]) -> list[str]:
    """The words without these options and their values."""
    kept, keeps = [], True
    for word in words:
        keeps = console.field_of(word.partition("=")[0]) not in names if word[:2] == "--" else keeps
        kept += [word] * keeps
    return kept


def _with_tuples(words: Sequence[str], tuples: set[str]) -> list[str]:
    """The words, with the values of each tuple in one place."""
    others: list[str] = []
    found: dict[str, list[str]] = {}
    own: list[str] | None = None
    for word in words:
        option, _, value = word.partition("=")
        if word.startswith("--"):
            within = console.field_of(option) in tuples
            own = found.setdefault(option.replace("_", "-"), []) if within else None
        if own is None:
            others.append(word)
        else:
            own += [v for v in (value if word[:2] == "--" else word).split(",") if v]
    return [*others, *(word for option, values in found.items() for word in (option, *values))]


Arguments = arguments_for(())[0]
"""The options of the transformer."""


def settings_of(arguments: Any) -> tuple[Setting, Row]:
    """The setting that was asked for, and its options: null where only other learners have one."""
    apart = ("json", "fresh", *replacing.OPTIONS)  # what the loop does not depend on
    said = {n: v for n, v in vars(arguments).items() if n not in apart}
    usual = type(arguments).__dataclass_fields__
    given = {n: v for n, v in said.items() if v != usual[n].default}
    setting = grids.setting(given, memory() or grids.TERABYTE, one=False)
    if "samples" not in given and (most := replacing.most_samples(arguments, setting.problem)):
        setting = grids.setting(given | {"samples": most}, memory() or grids.TERABYTE, one=False)
    said |= {"samples": setting.samples}
    for name in ("real", "command", "prompts_from"):
        if said[name] is None:
            del said[name]
    if "real" in given or "prompts_from" in given:
        said = {n: v for n, v in said.items() if n != "problem" and (n != "learner" or v)}
        said["rows"] = getattr(setting.problem, "digest", None)
        said |= {} if "real" in given else {"learner": setting.learner}
    elif "problem" in given:
        del said["learner"]
    else:
        others = dict.fromkeys((*members.FLAT_OPTIONS, *members.REGIME_OPTIONS))
        said = {**others, **said, "learner": setting.learner}
        del said["problem"]
    known = {n: v + 0.0 if isinstance(v, float) else v for n, v in said.items()}  # -0.0 is 0
    return setting, {**known, "regime": said["regime"] or "augment", "runs": setting.runs}


def alive(result: results.LoopResult, runs: int) -> list[NDArray[np.intp]]:
    """The loops that are finite up to each generation."""
    last = np.full(runs, result.generations + 1)
    for failure in result.failures:
        last[failure.replicate] = failure.generation or 0
    return [np.flatnonzero(last > i) for i in range(result.generations + 1)]


def mean_of(values: Any) -> tuple[float | None, float | None]:
    """Mean and standard error; None where there is none."""
    if values is None:
        return None, None
    some = np.asarray(values, np.float64)
    return float(some.mean()), float(some.std(ddof=1) / some.size**0.5) if some.size > 1 else None


MORE = ("support", "entropy", "variance", "w2", "precision", "third_moment", "fourth_moment")
"""Numbers of some problems beside those of all: `Problem.quality`."""


def known_number(value: float) -> float | None:
    """A number for JSON; None where it is none."""
    return float(value) if isfinite(value) else None


symbols_left = lru_cache(maxsize=4)(Categorical.symbols_left)
"""The mean number of symbols that are left, enumerated once for all generations."""


def numbers(result: results.LoopResult, setting: Setting, i: int, closed: float) -> Row:
    """What is said of generation i of any problem, means over the loops; null where unknown."""
    seen = {name: values[:, i] for name, values in result.observations.items()}
    excess, error = mean_of(seen.get("excess"))
    known = known_number(closed)
    row: Row = {"excess_risk": {"mean": excess, "stderr": error, "closed_form": known}}
    if "symbols_left" in seen:
        assert isinstance(setting.problem, Categorical)
        loops = setting.regime, setting.samples, result.generations
        left = known_number(symbols_left(setting.problem, *loops)[i])
        mean, error = mean_of(seen["symbols_left"])
        row["symbols_left"] = {"mean": mean, "stderr": error, "expected": left}
    for name in ("gap", "drift", "eps", *(("nll",) if "nll" in seen else ())):
        row[name], row[f"{name}_stderr"] = mean_of(seen.get(name))
    if isinstance(setting.problem, Table | TablePrompts):
        for name in ("held_out_loss", "energy"):
            mean, error = mean_of(seen.get(name))
            row[name] = {"mean": mean, "stderr": error}
        for name, of in {"tv_lower": "tv", "one_step_lower": "eps"}.items():
            value, low = (mean_of(seen.get(f"{of}_{end}"))[0] for end in ("value", "low"))
            row[name] = {"value": value, "low": low, "level": LEVEL}
    for name in ("risk", *MORE):
        if name in seen:
            mean, error = mean_of(seen[name])
            row[name] = {"mean": mean, "stderr": error}
    own = setting.experiment
    forms = expected_quality(own.problem, own.regime, own.samples, own.generations)
    for name, form in forms.items():
        row[name]["closed_form"] = known_number(form[i])
    return row


def of_prompts(result: results.LoopResult, problem: InContext, i: int) -> Row:
    """What is said of generation i of prompts."""
    from icl_stl.intervals import empirical_bernstein
    from icl_stl.studies.transformer.claims import drift_bound

    known = "eps" in result.observations  # not where all generations are mixed
    half = empirical_bernstein(result["drift_variance"], problem.held_out)
    excess, error = mean_of(result["excess_squared_risk"][:, i].mean(-1))
    row: Row = {"excess_risk": {"mean": excess, "stderr": error, "closed_form": None}}
    row["excess_nll"], _ = mean_of(result["excess_nll"][:, i])
    row["drift"], row["drift_stderr"] = mean_of(result["drift"][:, i, -1])
    row["within_loop_half_width"], _ = mean_of(half[:, i, -1])
    row["bound"], _ = mean_of(drift_bound(result)[:, i, -1] if known else None)
    row["eps"], row["eps_stderr"] = mean_of(result["eps"][:, i, -1] if known else None)
    row["gap"], _ = mean_of((result["risk"] - result["training_risk"])[:, i])
    row["implied_task_variance"], _ = mean_of(result["implied_task_variance"][:, i])
    loss = float(result["training_loss"][:, i].mean())
    return {**row, "training_loss": None if isnan(loss) else loss}


def summary(result: results.LoopResult, setting: Setting, closed: Any) -> list[Row]:
    """What is said of every generation; null where there is no number.

    Each mean is over the loops that are finite so far, `loops` of them; where there is none left
    nothing is said.
    """
    rows: list[Row] = []
    for i, kept in enumerate(alive(result, setting.runs)):
        if not kept.size:
            break
        some, of = result.replicates(kept.tolist()), setting.prompts
        own = of_prompts(some, of, i) if of else numbers(some, setting, i, closed[i])
        count = training_size(setting.regime, setting.samples, i)
        rows.append({"generation": i, "loops": kept.size, "n_train": count, **own})
    return rows


def profile_of(result: results.LoopResult, setting: Setting) -> profile.Profile:
    """Which definitions of collapse the loop meets; of the loops that are finite to the end."""
    kept, last = alive(result, setting.runs), result.generations
    if not last or not kept[-1].size:
        return {}
    some = result.replicates(kept[-1].tolist()).observations
    names = {"excess": "excess", "variance": "variance", "symbols_left": "support"}
    names |= {"implied_task_variance": "task_variance"}
    seen = {to: np.asarray(some[name], float) for name, to in names.items() if name in some}
    if setting.prompts:
        seen["excess"] = np.asarray(some["excess_squared_risk"], float).mean(-1)
    elif loss := next((name for name in ("held_out_loss", "risk") if name in some), ""):
        seen |= {} if "excess" in seen else {"loss": np.asarray(some[loss], float)}
    if "precision" in some and isinstance(setting.problem, Gaussian):
        outside = 1 - (1 - profile.BEYOND) * np.asarray(some["precision"], float)
        seen["tails"] = outside < profile.LEFT * profile.BEYOND
    of = setting.experiment
    return profile.of_loop(of.problem, of.regime, of.samples, last, seen)


PROMPTS = {
    **{"prompts": ("n_train", "d"), "drift TV": ("drift", ".3f"), "bound": ("bound", ".3f")},
    **{"one-step TV": ("eps", ".3f"), "excess NLL": ("excess_nll", ".4f")},
    **{"excess squared error": ("excess_risk", ".4f"), "gap": ("gap", "+.4f")},
    "implied task variance": ("implied_task_variance", ".3f"),
}
ROWS = {
    **{"rows": ("n_train", "d"), "held-out loss": ("held_out_loss", ".5g")},
    **{"gap": ("gap", "+.4g"), "energy distance": ("energy", ".4f")},
    **{"TV at least": ("tv_lower", ".3f"), "one-step TV at least": ("one_step_lower", ".3f")},
}
OTHERS = {
    **{"rows": ("n_train", "d"), "excess risk": ("excess_risk", ".5g")},
    **{"closed form": ("closed_form", ".5g"), "risk": ("risk", ".5g"), "gap": ("gap", "+.4g")},
    **{"drift TV": ("drift", ".4f"), "one-step TV": ("eps", ".4f")},
    **{"symbols left": ("symbols_left", ".4g"), "expected": ("expected", ".4g")},
}
"""Columns of a table: what they show of a row, and how."""
MAYBE = ("risk", "one-step TV at least", "symbols left", "expected")
"""Those that are left out where there is nothing to show."""


def table(rows: Sequence[Row], title: str, setting: Setting) -> Shown:
    """The generations so far; without columns of which nothing is known."""

    def cell(row: Row, name: str, style: str) -> str:
        of_it, _, form = name.rpartition(":")
        value = row[of_it or "excess_risk"][form] if form == "closed_form" else row.get(name)
        value = value["low"] if name.endswith("_lower") and value else value
        value = row.get("symbols_left", {}).get(name) if name == "expected" else value
        error = None
        if isinstance(value, dict):
            value, error = value["mean"], value["stderr"]
        if value is None:
            return "-"
        shown = "" if error is None or setting.prompts else f" ± {error:.2g}"
        return f"{value:{style}}{shown}"

    columns = PROMPTS if setting.prompts else OTHERS
    columns = ROWS if isinstance(setting.problem, Table | TablePrompts) else columns
    # Without a sampling bias, but for texts and smoothed rows, they are in the file alone.
    apart = {"support", "third_moment"}
    shown_more = rows and (bias_of(setting.problem) != 1 or apart & rows[0].keys())
    for name in MORE if shown_more else ():
        if name in rows[0]:
            columns = {**columns, name: (name, ".5g")}
            if "closed_form" in rows[0][name]:
                columns[f"{name}, closed form"] = (f"{name}:closed_form", ".5g")
    cells = {n: [cell(row, *what) for row in rows] for n, what in columns.items()}
    cells = {"generation": [str(row["generation"]) for row in rows]} | {
        name: own for name, own in cells.items() if name not in MAYBE or {*own} - {"-"}
    }
    if any(row["loops"] < setting.runs for row in rows):
        cells["mean of"] = [f"{row['loops']} of {setting.runs} loops" for row in rows]
    shown = Shown(title=title, title_justify="left")
    for name in cells:
        shown.add_column(name, justify="right")
    for own in zip(*cells.values(), strict=True):
        shown.add_row(*own)
    return shown


def loops_of(
    setting: Setting, folder: Any, show: Callable[[results.LoopResult], Shown], title: str
) -> results.LoopResult:
    """The loops, run or taken from the folder.

    Problems of this package that are solved exactly run by the thousand in one program, which takes
    a third of the time; all others generation by generation, each kept as soon as it is finished.
    """
    from icl_stl.lab import runs, solvable

    problem, regime, n, last = setting.problem, setting.regime, setting.samples, setting.generations
    if setting.solvable:
        known = folder.load("observed")
        if known is None:
            solvable.check_fit(problem, regime, n, last)
            with console.progress(title) as report:
                known = solvable.run_experiment(setting.experiment, setting.seed, report)
            folder.save("observed", known)
        return results.LoopResult(regime, n, known)
    job, screen = Job(problem, n, last, setting.runs), console.console()
    options = {"seed": setting.seed, "folder": folder}

    def run(**more: Any) -> results.LoopResult:
        if isinstance(problem, Table) and problem.outside:
            from icl_stl.lab import outside

            return outside.run_loops(job, regime, **options, **more)
        (found,) = runs.run_loops(job, [regime], **options, **more).values()
        return found

    if not screen.is_terminal:
        with console.progress(title) as report:
            return run(report=report)
    with Live(console=screen, auto_refresh=False, transient=True) as live:

        def watch(result: results.LoopResult) -> None:
            live.update(console.fitted(show(result), screen), refresh=True)

        return run(watch=watch)


def in_words(out: Path, failures: Sequence[results.Failure]) -> list[str]:
    """The first loops that failed, and why, where a model outside JAX has said so."""
    from icl_stl.lab.outside import reason

    some = failures[: results.MOST_NAMED]
    return [": ".join(filter(None, (str(one), reason(out, one)))) for one in some]


def _drawn(
    out: Path, setting: Setting, result: results.LoopResult, rows: Sequence[Row], title: str
) -> Path | None:
    """The picture of the loop, if there is a generation to show."""
    from icl_stl.studies.drawing import Stored
    from icl_stl.studies.figures import DRAWINGS
    from icl_stl.studies.solvable.figures import excess_curve
    from icl_stl.style import write_figure

    if not rows:
        return None
    if not setting.prompts:
        write_figure(lambda: excess_curve(rows, title), out / "excess")
        return out / "excess.svg"
    # Without one-step errors, where all generations are mixed, the drift has no bound to show.
    name = "drift" if "eps" in result.observations else "in_context_error"
    stored = Stored(setting.prompts.task, {result.label: result}, {})
    write_figure(lambda: DRAWINGS[name].draw(stored), out / name)
    return out / f"{name}.svg"


def main(arguments: Any) -> int:
    """Run the loop; the exit status."""
    setting, settings = settings_of(arguments)
    asked = replacing.plan(arguments, setting)
    label = results.label(setting.regime, setting.samples)
    what = settings.get("learner") or settings.get("command") or setting.problem.name
    source = settings.get("real") or settings.get("prompts_from")
    what += f" of {source}" if source else ""
    kept = json.dumps([settings, setting.identity], sort_keys=True).encode()
    name = re.sub(r"[^A-Za-z0-9._+-]", "_", f"{what[:60]}-{label}")
    out = Path("runs") / f"loop-{name}-{sha256(kept).hexdigest()[:10]}"
    if arguments.json is not None:
        results.check_file(arguments.json, "json")
    title = f"{what}, {label}, n = {setting.samples}, {setting.runs} loops"
    with run_folder(out, "the run folder", fresh=arguments.fresh):
        start_jax()
        from icl_stl.lab import runs
        from icl_stl.report.page import write_report

        of = setting.experiment
        closed = expected_excess(of.problem, of.regime, of.samples, of.generations)
        outside = isinstance(of.problem, Table) and of.problem.outside
        runner = "solvable" if setting.solvable else "outside" if outside else "runs"
        identity = runs.identity(
            {"setting": setting.identity}, setting.runs, setting.seed, f"icl_stl.lab.{runner}"
        )
        folder = runs.Folder(out, identity, fresh=arguments.fresh)

        def shown(result: results.LoopResult) -> Shown:
            return table(summary(result, setting, closed), title, setting)

        result = loops_of(setting, folder, shown, f"{what}, {label}")
        rows, failures = summary(result, setting, closed), result.failures
        collapse = profile_of(result, setting)
        named = in_words(out, failures)
        content = {
            "schema": results.SCHEMA,
            "settings": settings,
            "versions": identity["versions"],
            "failed": named,
            "failed_loops": {"count": len(failures), "of": setting.runs},
            "generations": rows,
            "collapse": profile.as_json(collapse),
            **replacing.measured(asked, setting.seed, folder),
        }
        for path in (out / "loop.json", arguments.json):
            if path is not None:
                results.write_json(path, content)
        if not setting.solvable:
            results.write_table(out / "loops.csv", {result.label: result})
        figure = _drawn(out, setting, result, rows, title)
        page = write_report(out)
    console.show(table(rows, title, setting))
    print("\n".join(profile.in_words(collapse)), end="\n" * bool(collapse))
    replacing.show(content)
    for one in named:
        print(f"failed: {one}")
    if failures:
        print(f"failed: {results.failed_in_words(failures, setting.runs, what)}")
    print(", ".join(map(str, filter(None, (out / "loop.json", figure, page)))))
    return int(len(rows) <= setting.generations)

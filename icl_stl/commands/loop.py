"""One self-consuming loop of your choice: a live table, a result file and a figure.

What is trained is a learner of this package by its word, or a problem, ours by name or your own as
`FILE.py:NAME`; so is the regime. Their fields are options. Every setting has a run folder of its
own under runs/, so a stopped run, started again with the same options, goes on after the last
finished generation. Nobody else may write the folder meanwhile. Loops whose numbers stop being
finite are counted; a mean of the others says of how many it is. The exit status is 1 if a
generation has no loop left.
"""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, field, make_dataclass
from hashlib import sha256
from math import isnan
from pathlib import Path
from typing import Annotated, Any, get_origin

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.live import Live
from rich.table import Table

from icl_stl import console, members
from icl_stl.code import is_own
from icl_stl.commands.running import run_folder, start_jax
from icl_stl.lab import results
from icl_stl.lab.experiments import Job
from icl_stl.lab.sweeps import grids
from icl_stl.lab.sweeps.grids import Setting
from icl_stl.members import Option
from icl_stl.problems import PROBLEMS, expected_excess
from icl_stl.regimes import MAD_LOOPS, REGIMES, training_size

Row = dict[str, Any]

NAMES = {
    "learner": "What is trained, with options of its own: " + ", ".join(members.LEARNERS),
    "problem": f"Instead of a learner: {', '.join(PROBLEMS)}, or FILE.py:NAME, a class that "
    "derives from icl_stl.problems.Problem; its fields are options.",
    "regime": f"What a generation is trained on: {', '.join((*REGIMES, *MAD_LOOPS))}, or "
    "FILE.py:NAME, a class that derives from icl_stl.regimes.Regime; its fields are options.",
}


# --- arguments -----------------------------------------------------------------------------------


def arguments_for(words: Sequence[str]) -> tuple[type, list[str]]:
    """The options of this command, those of what it names too, and the words as tyro reads them.

    A tuple may be given as `0.1,0.2`, as `0.1 0.2`, or by its option several times.

    Raises:
        ValueError: If there is no such learner, problem or regime, or it has no such option.
    """
    given = {console.field_of(word): True for word in words if word[:2] == "--"}
    given |= {console.field_of(option): value for option, value in console.given(words)}
    named = {name: given[name] for name in ("learner", "problem", "regime") if name in given}
    of = members.chosen({name: str(value) for name, value in named.items()})
    of.refuse_others(given)
    common = {
        name: Option(str | None, None if name != "regime" else "augment", text)
        for name, text in NAMES.items()
    }
    common |= {name: grids.COMMON[name] for name in ("samples", "generations", "seed")}
    usual = of.problem.kind.usual_runs  # type: ignore[attr-defined]
    common["runs"] = Option(
        int | None, None, f"{grids.COMMON['runs'].help[:-1]}; {usual} if not given."
    )
    options = common | of.options
    fields: list[Any] = [
        (
            name,
            Annotated[one.kind, tyro.conf.arg(help=one.help or None)],
            *(() if one.default is MISSING else (field(default=one.default),)),
        )
        for name, one in options.items()
    ]
    where = tyro.conf.arg(metavar="FILE", help="Write the result here too.")
    anew = tyro.conf.arg(help="Forget what the run folder holds and start anew.")
    fields.append(("json", Annotated[Path | None, where], field(default=None)))
    fields.append(
        ("fresh", Annotated[tyro.conf.FlagCreatePairsOff[bool], anew], field(default=False))
    )
    made = make_dataclass("Arguments", fields, frozen=True, kw_only=True)
    about = (f"{one.words}: {str(one.kind.__doc__).splitlines()[0]}" for one in of)
    made.__doc__ = "\n\n".join(("Run one self-consuming loop many times.", *about))
    tuples = {name for name, one in options.items() if get_origin(one.kind) is tuple}
    return made, _with_tuples(words, tuples)


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


def memory() -> float:
    """Bytes of memory of this machine."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return grids.TERABYTE


def settings_of(arguments: Any) -> tuple[Setting, dict[str, Any]]:
    """The setting that was asked for, and what of it stands in the result.

    An option that a learner does not have, and another has, is null there.

    Raises:
        ValueError: If anything is wrong with it.
    """
    said = {n: v for n, v in vars(arguments).items() if n not in ("json", "fresh")}
    usual = {n: one.default for n, one in type(arguments).__dataclass_fields__.items()}
    chosen = ("learner", "problem", "regime")
    given = {n: v for n, v in said.items() if v is not None and (n in chosen or v != usual[n])}
    setting = grids.setting(given, memory(), one=False)
    if "problem" in given:
        del said["learner"]
    else:
        del said["problem"]
        others = dict.fromkeys((*members.FLAT_OPTIONS, *members.REGIME_OPTIONS))
        said = {**others, **said, "learner": setting.learner}
    known = {n: v + 0.0 if isinstance(v, float) else v for n, v in said.items()}  # -0.0 is 0
    return setting, {**known, "runs": setting.runs}


# --- what is said of a generation ----------------------------------------------------------------


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


def numbers(result: results.LoopResult, setting: Setting, i: int, closed: float) -> Row:
    """What is said of generation i of any problem, means over the loops; null where unknown."""
    seen = {name: values[:, i] for name, values in result.observations.items()}
    excess, error = mean_of(seen.get("excess"))
    known = None if isnan(closed) else closed
    row: Row = {"excess_risk": {"mean": excess, "stderr": error, "closed_form": known}}
    for name in ("gap", "drift", "eps", *(("nll",) if "nll" in seen else ())):
        row[name], row[f"{name}_stderr"] = mean_of(seen.get(name))
    if "problem" in setting.columns:
        mean, error = mean_of(seen.get("risk"))
        row["risk"] = {"mean": mean, "stderr": error}
    return row


def prompts(result: results.LoopResult, setting: Setting, i: int) -> Row:
    """What is said of generation i of prompts."""
    from icl_stl.intervals import empirical_bernstein
    from icl_stl.studies.transformer.claims import drift_bound

    known = "eps" in result.observations  # not where all generations are mixed
    half = empirical_bernstein(result["drift_variance"], setting.problem.held_out)
    excess, error = mean_of(result["excess_squared_risk"][:, i].mean(-1))
    drift, drift_error = mean_of(result["drift"][:, i, -1])
    eps, eps_error = mean_of(result["eps"][:, i, -1] if known else None)
    loss = float(result["training_loss"][:, i].mean())
    return {
        "excess_risk": {"mean": excess, "stderr": error, "closed_form": None},
        "excess_nll": float(result["excess_nll"][:, i].mean()),
        "drift": drift,
        "drift_stderr": drift_error,
        "within_loop_half_width": float(half[:, i, -1].mean()),
        "bound": float(drift_bound(result)[:, i, -1].mean()) if known else None,
        "eps": eps,
        "eps_stderr": eps_error,
        "gap": float((result["risk"] - result["training_risk"])[:, i].mean()),
        "implied_task_variance": float(result["implied_task_variance"][:, i].mean()),
        "training_loss": None if isnan(loss) else loss,
    }


def summary(result: results.LoopResult, setting: Setting, closed: Any) -> list[Row]:
    """What is said of every generation; null where there is no number.

    Each mean is over the loops that are finite so far, `loops` of them; where there is none left
    nothing is said.
    """
    rows = []
    for i, kept in enumerate(alive(result, setting.runs)):
        if not kept.size:
            break
        some = result.replicates(kept.tolist())
        own = (
            prompts(some, setting, i)
            if setting.of_prompts
            else numbers(some, setting, i, closed[i])
        )
        count = training_size(setting.regime, setting.samples, i)
        rows.append({"generation": i, "loops": kept.size, "n_train": count, **own})
    return rows


def table(rows: Sequence[Row], title: str, setting: Setting) -> Table:
    """The generations so far."""

    def number(name: str, style: str) -> Callable[[Row], str]:
        return lambda row: "-" if row[name] is None else format(row[name], style)

    def measured(name: str) -> Callable[[Row], str]:
        def words(row: Row) -> str:
            mean, error = row[name]["mean"], row[name]["stderr"]
            return f"{mean:.5g}" + ("" if error is None else f" ± {error:.2g}")

        return words

    columns = {"generation": number("generation", "d")}
    if setting.of_prompts:
        columns |= {
            "prompts": number("n_train", "d"),
            "drift TV": number("drift", ".3f"),
            "bound": number("bound", ".3f"),
            "one-step TV": number("eps", ".3f"),
            "excess NLL": number("excess_nll", ".4f"),
            "excess squared error": lambda row: f"{row['excess_risk']['mean']:.4f}",
            "gap": number("gap", "+.4f"),
            "implied task variance": number("implied_task_variance", ".3f"),
        }
    else:
        columns["rows"] = number("n_train", "d")
        if any(row["excess_risk"]["mean"] is None for row in rows):
            columns["risk, held out"] = measured("risk")
        else:
            columns["excess risk"] = measured("excess_risk")
            closed = number("closed_form", ".5g")
            columns["closed form"] = lambda row: closed(row["excess_risk"])
        columns["gap"] = number("gap", "+.4g")
        columns |= {"drift TV": number("drift", ".4f"), "one-step TV": number("eps", ".4f")}
    if any(row["loops"] < setting.runs for row in rows):
        columns["mean of"] = lambda row: f"{row['loops']} of {setting.runs} loops"
    shown = Table(title=title, title_justify="left")
    for name in columns:
        shown.add_column(name, justify="right")
    for row in rows:
        shown.add_row(*(text(row) for text in columns.values()))
    return shown


# --- running -------------------------------------------------------------------------------------


def together(setting: Setting) -> bool:
    """Whether all loops run in one program, not generation by generation."""
    return is_own(type(setting.problem).__module__) and not setting.of_prompts


def loops_of(
    setting: Setting, folder: Any, show: Callable[[results.LoopResult], Table], title: str
) -> results.LoopResult:
    """The loops, run or taken from the folder.

    Problems of this package that are solved exactly run by the thousand in one program, which takes
    a third of the time; all others generation by generation, each kept as soon as it is finished.
    """
    from icl_stl.lab import runs, solvable

    problem, regime, n, last = setting.problem, setting.regime, setting.samples, setting.generations
    if not (is_own(type(problem).__module__) and is_own(type(regime).__module__)):
        check = solvable.check_mix if setting.of_prompts else solvable.check_fit
        check(problem, regime, n, last)
    if together(setting):
        known = folder.load("observed")
        if known is None:
            with console.progress(title) as report:
                known = solvable.run_experiment(setting.experiment, setting.seed, report)
            folder.save("observed", known)
        return results.LoopResult(regime, n, known)
    job, screen = Job(problem, n, last, setting.runs), console.console()
    options = {"seed": setting.seed, "folder": folder}
    if not screen.is_terminal:
        with console.progress(title) as report:
            (found,) = runs.run_loops(job, [regime], report=report, **options).values()
            return found
    with Live(console=screen, auto_refresh=False, transient=True) as live:

        def watch(result: results.LoopResult) -> None:
            live.update(console.fitted(show(result), screen), refresh=True)

        (found,) = runs.run_loops(job, [regime], watch=watch, **options).values()
        return found


def draw(result: results.LoopResult, rows: Sequence[Row], setting: Setting, title: str) -> Any:
    """The name of the figure, and what draws it."""
    from icl_stl.studies.drawing import Stored
    from icl_stl.studies.figures import DRAWINGS
    from icl_stl.studies.solvable.figures import excess_curve

    if not setting.of_prompts:
        return "excess", lambda: excess_curve(rows, title)
    # Without one-step errors, where all generations are mixed, the drift has no bound to show.
    name = "drift" if "eps" in result.observations else "in_context_error"
    stored = Stored(setting.problem.task, {result.label: result}, {})
    return name, lambda: DRAWINGS[name].draw(stored)


def main(arguments: Any) -> int:
    """Run the loop; the exit status."""
    setting, settings = settings_of(arguments)
    label = results.label(setting.regime, setting.samples)
    what = settings.get("learner") or setting.problem.name
    kept = json.dumps([settings, setting.identity], sort_keys=True).encode()
    name = re.sub(r"[^A-Za-z0-9._+-]", "_", f"loop-{what}-{label}-{sha256(kept).hexdigest()[:10]}")
    out = Path("runs") / name
    if arguments.json is not None:
        results.check_file(arguments.json, "json")
    title = f"{what}, {label}, n = {setting.samples}, {setting.runs} loops"
    with run_folder(out, "the run folder", fresh=arguments.fresh):
        start_jax()
        from icl_stl.lab import runs
        from icl_stl.style import write_figure

        closed = expected_excess(
            setting.problem, setting.regime, setting.samples, setting.generations
        )
        module = f"icl_stl.lab.{'solvable' if together(setting) else 'runs'}"
        identity = runs.identity({"setting": setting.identity}, setting.runs, setting.seed, module)
        folder = runs.Folder(out, identity, fresh=arguments.fresh)

        def shown(result: results.LoopResult) -> Table:
            return table(summary(result, setting, closed), title, setting)

        result = loops_of(setting, folder, shown, f"{what}, {label}")
        rows, failures = summary(result, setting, closed), result.failures
        content: Mapping[str, Any] = {
            "schema": results.SCHEMA,
            "settings": settings,
            "versions": identity["versions"],
            "failed": [str(failure) for failure in failures[: results.MOST_NAMED]],
            "failed_loops": {"count": len(failures), "of": setting.runs},
            "generations": rows,
        }
        for path in (out / "loop.json", arguments.json):
            if path is not None:
                results.write_json(path, content)
        if not together(setting):
            results.write_table(out / "loops.csv", {result.label: result})
        figure = ""
        if rows:
            figure, drawing = draw(result, rows, setting, title)
            write_figure(drawing, out / figure)
    console.show(table(rows, title, setting))
    for failure in failures[: results.MOST_NAMED]:
        print(f"failed: {failure}")
    if failures:
        print(f"failed: {results.failed_in_words(failures, setting.runs, what)}")
    print(f"{out}/loop.json" + (f", {out}/{figure}.svg" if figure else ""))
    return int(len(rows) <= setting.generations)

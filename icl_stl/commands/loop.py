"""One self-consuming loop of your choice: a live table, a result file and a figure.

Every setting has a run folder of its own under runs/, so a stopped run, started again with the same
options, goes on after the last finished generation. Nobody else may write the folder meanwhile.
Loops whose numbers stop being finite are counted; a mean of the others says of how many it is.
The exit status is 1 if a generation has no loop left.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from math import isfinite, isnan
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.live import Live
from rich.table import Table

from icl_stl import console
from icl_stl.commands.running import run_folder, start_jax
from icl_stl.config import Architecture, LinearRegression, Training, require
from icl_stl.descriptions import describe
from icl_stl.lab import results
from icl_stl.lab.experiments import Job, Loops
from icl_stl.lab.sweeps.grids import (
    OPTIONS,
    PROBLEM_OF,
    TERABYTE,
    RegimeName,
    Setting,
    SolvableName,
    refuse_terabytes,
    regime_of,
    synthetic_size,
)
from icl_stl.problems import InContext, expected_excess
from icl_stl.regimes import Regime, training_size

TRANSFORMER_RUNS = 4
RUNS = 1000


@dataclass(frozen=True)
class Arguments:
    """Run one self-consuming loop many times."""

    learner: Literal["transformer", "bayes", SolvableName] = "transformer"
    """What is trained: a transformer; the Bayes predictor, which knows the real law; least squares;
    ridge; linear self-attention; the Bayes predictor with a fitted prior, on inputs that visit each
    direction in turn; the mean of a normal law, or its mean and variance; a law on
    symbols; an amplifier of zeros and ones."""
    regime: RegimeName = "augment"
    """What a generation is trained on. augment: real set + last synthetic rows; replace: last
    synthetic rows; accumulate: real set + all synthetic rows; accumulate-subsample: n rows of
    those; fresh: n new real rows + last synthetic rows; anchored: a constant share of the real set,
    the rest on all synthetic rows. augment-same-inputs and accumulate reuse the real inputs. mad-*:
    the three loops of Alemohammad et al. 2023."""
    dim: int = LinearRegression.dim
    """d, dimension of an input."""
    context: int = LinearRegression.context
    """m, examples in a prompt (for lsa before the query)."""
    samples: int = 1000
    """n, real rows: prompts, examples or numbers."""
    alpha: float | None = None
    """Share of real rows (augment, augment-same-inputs, fresh), instead of lam; of the real law
    (anchored, 0.5 if not given)."""
    lam: float | None = None
    """Synthetic rows a generation per real row; 1 if neither alpha nor lam is given."""
    weight: float | None = None
    """w in [0, 1] of the objective w (mean over real rows) + (1-w) (mean over synthetic rows), in
    augment, augment-same-inputs and fresh; every row alike if not given."""
    noise: float = LinearRegression.noise
    """σ, label noise; deviation of the normal law."""
    generations: int = 5
    """Generations after generation 0."""
    runs: int | None = None
    """Independent loops, each with its own real set: 4 of the transformer, 1000 of others."""
    seed: int = 0
    """Seed of everything."""
    penalty: float | None = None
    """ρ beside the mean loss (ridge 0.1, lsa 0.001)."""
    generator: Literal["query", "autoregressive"] = "query"
    """Which labels lsa writes: the query's, or all."""
    law: Literal["gaussian", "sphere"] = "gaussian"
    """Real law of lsa: all normal, or inputs and tasks on spheres with uniform noise."""
    plug_in: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write labels with the noise alone, not the predictive deviation (empirical-bayes)."""
    kappa: float = 1.0
    """κ, amplification of the bernoulli learner."""
    injected: float = 0.0
    """Error that the bernoulli learner adds in every generation."""
    symbols: int = 10
    """Symbols of the categorical learner, equally likely."""
    pseudo_count: float = 0.0
    """Added to every count of the categorical learner; 1 is Laplace's rule."""
    steps: int = Training.steps
    """Optimiser steps of a generation (transformer)."""
    depth: int = Architecture.depth
    """Layers of the transformer."""
    width: int = Architecture.width
    """Width of the transformer."""
    heads: int = Architecture.heads
    """Attention heads of a layer."""
    held_out: int = 2000
    """Fresh prompts on which a generation of the transformer is measured."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the result here too."""
    fresh: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Forget what the run folder holds and start anew."""


def refuse_options_of_others(arguments: Arguments) -> None:
    """Refuse an option that the learner has no use for."""
    used = {*OPTIONS["transformer" if arguments.learner == "bayes" else arguments.learner], "runs"}
    if arguments.learner == "bayes":
        used -= {"depth", "width", "heads", "steps"}
    for field in dataclasses.fields(arguments):
        given = getattr(arguments, field.name)
        fine = given == field.default or field.name in used | {"json", "fresh"}
        require(fine, field.name, given, f"left out with the learner {arguments.learner!r}")


def memory() -> float:
    """Bytes of memory of this machine."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return TERABYTE


def chosen_experiment(arguments: Arguments, regime: Regime) -> Loops:
    """The loops of a solvable learner that the options describe."""
    options = {name: getattr(arguments, name) for name in OPTIONS[arguments.learner]}
    runs = RUNS if arguments.runs is None else arguments.runs
    setting = Setting(**options | {"runs": runs})
    refuse_terabytes(arguments.learner, vars(setting), regime, memory())
    return setting.experiment


def chosen_job(arguments: Arguments, regime: Regime) -> tuple[InContext, Job]:
    """The problem of an in-context learner, and its loops, that the options describe."""
    runs = TRANSFORMER_RUNS if arguments.runs is None else arguments.runs
    require(runs >= 1, "runs", runs, "at least 1")
    network = Architecture(arguments.depth, arguments.width, arguments.heads)
    problem = InContext(
        LinearRegression(arguments.dim, arguments.context, arguments.noise),
        None if arguments.learner == "bayes" else network,
        Training(steps=arguments.steps),
        arguments.held_out,
    )
    job = Job(problem, arguments.samples, arguments.generations, runs)
    options = vars(arguments) | {"runs": runs, "batch": problem.training.batch}
    refuse_terabytes(arguments.learner, options, regime, memory())
    return problem, job


def alive(
    failures: Sequence[results.Failure], runs: int, generations: int
) -> list[NDArray[np.intp]]:
    """The loops that are finite up to each generation."""
    last = np.full(runs, generations + 1)
    for failure in failures:
        last[failure.replicate] = failure.generation or 0
    return [np.flatnonzero(last > i) for i in range(generations + 1)]


def _stderr(values: results.Floats) -> float | None:
    return float(values.std(ddof=1) / values.size**0.5) if values.size > 1 else None


def summary(result: results.LoopResult, job: Job, held_out: int) -> list[dict[str, Any]]:
    """What is said of every generation, means over the loops; null where there is no number.

    Each mean is over the loops that are finite so far, `loops` of them; where there is none left
    nothing is said.
    """
    from icl_stl.intervals import empirical_bernstein
    from icl_stl.studies.transformer.claims import drift_bound

    left = alive(result.failures, job.replicates, result.generations)
    known = "eps" in result.observations  # not where all generations are mixed
    every, rows = result, []
    for i, kept in enumerate(left):
        if not kept.size:
            break
        result = every.replicates(kept.tolist())
        bound = drift_bound(result) if known else None
        half = empirical_bernstein(result["drift_variance"], held_out)
        excess = result["excess_squared_risk"].mean(-1)
        loss = float(result["training_loss"][:, i].mean())
        rows.append(
            {
                "generation": i,
                "loops": kept.size,
                "n_train": training_size(result.regime, job.samples, i),
                "excess_risk": {
                    "mean": float(excess[:, i].mean()),
                    "stderr": _stderr(excess[:, i]),
                    "closed_form": None,
                },
                "excess_nll": float(result["excess_nll"][:, i].mean()),
                "drift": float(result["drift"][:, i, -1].mean()),
                "drift_stderr": _stderr(result["drift"][:, i, -1]),
                "within_loop_half_width": float(half[:, i, -1].mean()),
                "bound": None if bound is None else float(bound[:, i, -1].mean()),
                "eps": float(result["eps"][:, i, -1].mean()) if known else None,
                "eps_stderr": _stderr(result["eps"][:, i, -1]) if known else None,
                "gap": float((result["risk"] - result["training_risk"])[:, i].mean()),
                "implied_task_variance": float(result["implied_task_variance"][:, i].mean()),
                "training_loss": None if isnan(loss) else loss,
            }
        )
    return rows


def table(rows: list[dict[str, Any]], title: str, runs: int) -> Table:
    """The generations so far."""
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "generation": lambda row: str(row["generation"]),
        "prompts": lambda row: str(row["n_train"]),
        "drift TV": lambda row: f"{row['drift']:.3f}",
        "bound": lambda row: _number(row["bound"], ".3f"),
        "one-step TV": lambda row: _number(row["eps"], ".3f"),
        "excess NLL": lambda row: f"{row['excess_nll']:.4f}",
        "excess squared error": lambda row: f"{row['excess_risk']['mean']:.4f}",
        "gap": lambda row: f"{row['gap']:+.4f}",
        "implied task variance": lambda row: f"{row['implied_task_variance']:.3f}",
    }
    return _table(columns, rows, title, runs)


def _number(value: float | None, style: str) -> str:
    return "-" if value is None else format(value, style)


def _table(
    columns: dict[str, Callable[[dict[str, Any]], str]],
    rows: list[dict[str, Any]],
    title: str,
    runs: int,
) -> Table:
    if any(row["loops"] < runs for row in rows):
        columns["mean of"] = lambda row: f"{row['loops']} of {runs} loops"
    shown = Table(title=title, title_justify="left")
    for name in columns:
        shown.add_column(name, justify="right")
    for row in rows:
        shown.add_row(*(text(row) for text in columns.values()))
    return shown


def solvable_summary(
    experiment: Loops,
    observed: results.Arrays,
    failures: Sequence[results.Failure],
) -> list[dict[str, Any]]:
    """What is said of every generation of a solvable loop: see `summary`."""
    known = expected_excess(
        experiment.problem, experiment.regime, experiment.samples, experiment.generations
    )
    rows = []
    for i, kept in enumerate(alive(failures, experiment.runs, experiment.generations)):
        if not kept.size:
            break
        seen = {name: values[kept, i].astype(np.float64) for name, values in observed.items()}
        closed = float(known[i])
        row: dict[str, Any] = {
            "generation": i,
            "loops": kept.size,
            "n_train": training_size(experiment.regime, experiment.samples, i),
            "excess_risk": {
                "mean": float(seen["excess"].mean()),
                "stderr": _stderr(seen["excess"]),
                "closed_form": closed if isfinite(closed) else None,
            },
        }
        for name in ("gap", "drift", "eps"):
            numbers = seen.get(name)
            row[name] = None if numbers is None else float(numbers.mean())
            row[f"{name}_stderr"] = None if numbers is None else _stderr(numbers)
        rows.append(row)
    return rows


def solvable_table(rows: list[dict[str, Any]], title: str, runs: int) -> Table:
    """The generations of a solvable loop."""

    def excess(row: dict[str, Any]) -> str:
        error = row["excess_risk"]["stderr"]
        return f"{row['excess_risk']['mean']:.5g}" + ("" if error is None else f" ± {error:.2g}")

    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "generation": lambda row: str(row["generation"]),
        "rows": lambda row: str(row["n_train"]),
        "excess risk": excess,
        "closed form": lambda row: _number(row["excess_risk"]["closed_form"], ".5g"),
        "gap": lambda row: _number(row["gap"], "+.4g"),
        "drift TV": lambda row: _number(row["drift"], ".4f"),
        "one-step TV": lambda row: _number(row["eps"], ".4f"),
    }
    return _table(columns, rows, title, runs)


def folder_of(arguments: Arguments, name: str) -> tuple[Path, dict[str, Any]]:
    """Where this loop is kept, and its settings; the result file is seen to be writable."""
    settings = {
        key: value + 0.0 if isinstance(value, float) else value  # -0.0 is 0
        for key, value in dataclasses.asdict(arguments).items()
        if key not in ("json", "fresh")
    }
    digest = sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]
    if arguments.json is not None:
        results.check_file(arguments.json, "json")
    return Path("runs") / f"loop-{arguments.learner}-{name}-{digest}", settings


def write_result(
    out: Path,
    arguments: Arguments,
    settings: dict[str, Any],
    versions: dict[str, str],
    rows: list[dict[str, Any]],
    failures: Sequence[results.Failure],
    runs: int,
) -> None:
    """The result as JSON, in the run folder and where it was asked for."""
    content = {
        "schema": results.SCHEMA,
        "settings": settings,
        "versions": versions,
        "failed": [str(failure) for failure in failures[: results.MOST_NAMED]],
        "failed_loops": {"count": len(failures), "of": runs},
        "generations": rows,
    }
    for path in (out / "loop.json", arguments.json):
        if path is not None:
            results.write_json(path, content)


def tell(
    out: Path,
    arguments: Arguments,
    failures: Sequence[results.Failure],
    runs: int,
    figure: str,
) -> None:
    """Which loops failed, and which files there are."""
    for failure in failures[: results.MOST_NAMED]:
        print(f"failed: {failure}")
    if failures:
        print(f"failed: {results.failed_in_words(failures, runs, arguments.learner)}")
    print(f"{out}/loop.json" + (f", {out}/{figure}.svg" if figure else ""))


def run_solvable(arguments: Arguments, regime: Regime) -> int:
    """Run loops of a solvable learner; the exit status."""
    experiment = chosen_experiment(arguments, regime)
    out, settings = folder_of(arguments, results.label(regime, arguments.samples))
    with run_folder(out, "the run folder", fresh=arguments.fresh):
        start_jax()
        from icl_stl.lab import runs, solvable
        from icl_stl.studies.solvable.figures import excess_curve
        from icl_stl.style import write_figure

        of = {"experiment": experiment.name}
        identity = runs.identity(of, experiment.runs, arguments.seed, solvable.__name__)
        folder = runs.Folder(out, identity, fresh=arguments.fresh)
        observed = folder.load("observed", describe(experiment))
        if observed is None:
            with console.progress(f"{arguments.learner}, {regime.name}") as report:
                observed = solvable.run_experiment(experiment, arguments.seed, report)
            folder.save("observed", observed, describe(experiment))
        failures = results.failures_of(experiment.name, observed)
        rows = solvable_summary(experiment, observed, failures)
        runs_of = experiment.runs
        title = f"{arguments.learner}, {regime.name}, n = {arguments.samples}, {runs_of} loops"
        write_result(out, arguments, settings, identity["versions"], rows, failures, runs_of)
        if rows:
            write_figure(lambda: excess_curve(rows, title), out / "excess")
    console.show(solvable_table(rows, title, runs_of))
    tell(out, arguments, failures, runs_of, "excess" if rows else "")
    return int(len(rows) <= experiment.generations)


def run_transformer(arguments: Arguments, regime: Regime) -> int:
    """Run loops of an in-context learner, with a live table; the exit status."""
    problem, job = chosen_job(arguments, regime)
    label = results.label(regime, job.samples)
    out, settings = folder_of(arguments, label)
    title = f"{arguments.learner}, {label}, n = {job.samples}, {job.replicates} loops"
    with run_folder(out, "the run folder", fresh=arguments.fresh):
        start_jax()
        from icl_stl.lab import runs
        from icl_stl.studies.drawing import Stored
        from icl_stl.studies.figures import DRAWINGS
        from icl_stl.style import write_figure

        identity = runs.identity({"job": describe(job)}, job.replicates, arguments.seed)
        folder = runs.Folder(out, identity, fresh=arguments.fresh)
        screen = console.console()
        run = partial(runs.run_loops, job, [regime], seed=arguments.seed, folder=folder)
        if screen.is_terminal:
            with Live(console=screen, auto_refresh=False, transient=True) as live:

                def watch(result: results.LoopResult) -> None:
                    shown = table(summary(result, job, problem.held_out), title, job.replicates)
                    live.update(console.fitted(shown, screen), refresh=True)

                loops = run(report=lambda *said: None, watch=watch)
        else:
            with console.progress(f"{arguments.learner}, {label}") as report:
                loops = run(report=report)
        result, runs_of = loops[label], job.replicates
        rows = summary(result, job, problem.held_out)
        write_result(out, arguments, settings, identity["versions"], rows, result.failures, runs_of)
        results.write_table(out / "loops.csv", loops)
        # Without one-step errors, where all generations are mixed, the drift has no bound to show.
        name = "drift" if "eps" in result.observations else "in_context_error"
        if rows:
            stored = Stored(problem.task, loops, {})
            write_figure(lambda: DRAWINGS[name].draw(stored), out / name)
    console.show(table(rows, title, runs_of))
    tell(out, arguments, result.failures, runs_of, name if rows else "")
    return int(len(rows) <= job.generations)


def main(arguments: Arguments) -> int:
    """Run the loop; the exit status."""
    seed = arguments.seed
    require(0 <= seed < 2**31, "seed", seed, "a whole number in [0, 2^31)")
    refuse_options_of_others(arguments)
    regime = regime_of(arguments.regime, arguments.alpha, arguments.lam, arguments.weight)
    synthetic_size(regime, arguments.samples, arguments.lam)
    run = run_solvable if arguments.learner in PROBLEM_OF else run_transformer
    return run(arguments, regime)

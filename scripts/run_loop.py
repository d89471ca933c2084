"""One self-consuming loop of your choice: a live table, a result file and a figure.

Every setting has a run folder of its own under runs/, so a stopped run, started again with the same
options, goes on after the last finished generation. Exit status 0, or 2 for bad usage.
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from math import isnan
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.live import Live
from rich.table import Table

from icl_stl import console, results
from icl_stl.claims.transformer import drift_bound
from icl_stl.config import Architecture, LinearRegression, Preset, Training
from icl_stl.intervals import empirical_bernstein
from icl_stl.regimes import Augment, RealOnly, Regime, Replace, training_size

DEFAULT_ALPHA = 0.5


@dataclass(frozen=True)
class Arguments:
    """Run one self-consuming loop."""

    learner: Literal["transformer", "bayes"] = "transformer"
    """What is trained: a transformer, or the Bayes predictor, which knows the real law."""
    regime: Literal["augment", "replace", "real-only"] = "augment"
    """What a generation is trained on: real set + last synthetic, last synthetic, real set."""
    dim: int = LinearRegression.dim
    """d, dimension of an input."""
    context: int = LinearRegression.context
    """m, examples in a prompt."""
    samples: int = 1000
    """n, real prompts."""
    alpha: float | None = None
    """Share of real prompts (regime augment; 0.5 if neither alpha nor lam is given)."""
    lam: float | None = None
    """Synthetic prompts per real prompt (regime augment), instead of alpha."""
    noise: float = LinearRegression.noise
    """σ, label noise."""
    generations: int = 5
    """Generations after generation 0."""
    runs: int = 4
    """Independent loops, each with its own real set."""
    seed: int = 0
    """Seed of everything."""
    steps: int = Training.steps
    """Optimiser steps of a generation."""
    depth: int = Architecture.depth
    """Layers of the transformer."""
    width: int = Architecture.width
    """Width of the transformer."""
    heads: int = Architecture.heads
    """Attention heads of a layer."""
    held_out: int = 2000
    """Fresh prompts on which a generation is measured."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the result here too."""
    fresh: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Forget what the run folder holds and start anew."""


def chosen_regime(arguments: Arguments) -> Regime:
    """The regime that the options describe."""
    alpha, lam = arguments.alpha, arguments.lam
    if arguments.regime == "augment":
        if alpha is not None and lam is not None:
            raise ValueError(
                f"alpha = {alpha} and lam = {lam} say the same thing: give one of them"
            )
        if lam is not None:
            return Augment.from_lam(lam)
        return Augment(DEFAULT_ALPHA if alpha is None else alpha)
    for name, value in (("alpha", alpha), ("lam", lam)):
        if value is not None:
            raise ValueError(
                f"{name} must be left out with the regime {arguments.regime!r}, but it is {value}"
            )
    return Replace() if arguments.regime == "replace" else RealOnly()


def chosen_preset(arguments: Arguments, regime: Regime) -> Preset:
    """The sizes that the options describe."""
    if not 0 <= arguments.seed < 2**31:
        raise ValueError(f"seed must be in [0, 2^31), but it is {arguments.seed}")
    if arguments.runs < 1:
        raise ValueError(f"runs must be at least 1, but it is {arguments.runs}")
    preset = Preset(
        "loop",
        task=LinearRegression(arguments.dim, arguments.context, arguments.noise),
        architecture=Architecture(arguments.depth, arguments.width, arguments.heads),
        training=Training(steps=arguments.steps),
        samples=arguments.samples,
        generations=arguments.generations,
        replicates=arguments.runs,
        shares=(),
        held_out=arguments.held_out,
    )
    regime.synthetic_size(preset.samples)
    return preset


def _stderr(values: results.Floats) -> float | None:
    return float(values.std(ddof=1) / values.size**0.5) if values.size > 1 else None


def summary(result: results.LoopResult, preset: Preset) -> list[dict[str, Any]]:
    """What is said of every generation, means over the loops; null where there is no number.

    Loops that failed are left out; if all did, nothing is said.
    """
    failed = {failure.replicate for failure in result.failures}
    kept = [r for r in range(preset.replicates) if r not in failed]
    if not kept:
        return []
    result = result.replicates(kept)
    bound = drift_bound(result)
    half = empirical_bernstein(result["drift_variance"], preset.held_out)
    excess = result["excess_squared_risk"].mean(-1)
    rows = []
    for i in range(result.generations + 1):
        loss = float(result["training_loss"][:, i].mean())
        rows.append(
            {
                "generation": i,
                "n_train": training_size(result.regime, preset.samples, i),
                "excess_risk": {
                    "mean": float(excess[:, i].mean()),
                    "stderr": _stderr(excess[:, i]),
                    "closed_form": None,
                },
                "excess_nll": float(result["kl"][:, i, -1].mean() / preset.task.context),
                "drift": float(result["drift"][:, i, -1].mean()),
                "drift_stderr": _stderr(result["drift"][:, i, -1]),
                "within_loop_half_width": float(half[:, i, -1].mean()),
                "bound": float(bound[:, i, -1].mean()),
                "eps": float(result["eps"][:, i, -1].mean()),
                "gap": float((result["risk"] - result["training_risk"])[:, i].mean()),
                "implied_task_variance": float(result["implied_task_variance"][:, i].mean()),
                "training_loss": None if isnan(loss) else loss,
            }
        )
    return rows


def table(rows: list[dict[str, Any]], title: str) -> Table:
    """The generations so far."""
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "generation": lambda row: str(row["generation"]),
        "prompts": lambda row: str(row["n_train"]),
        "drift TV": lambda row: f"{row['drift']:.3f}",
        "bound": lambda row: f"{row['bound']:.3f}",
        "one-step TV": lambda row: f"{row['eps']:.3f}",
        "excess NLL": lambda row: f"{row['excess_nll']:.4f}",
        "excess squared error": lambda row: f"{row['excess_risk']['mean']:.4f}",
        "gap": lambda row: f"{row['gap']:+.4f}",
        "implied task variance": lambda row: f"{row['implied_task_variance']:.3f}",
    }
    shown = Table(title=title, title_justify="left")
    for name in columns:
        shown.add_column(name, justify="right")
    for row in rows:
        shown.add_row(*(text(row) for text in columns.values()))
    return shown


def main(arguments: Arguments) -> int:
    """Run the loop; the exit status."""
    try:
        regime = chosen_regime(arguments)
        preset = chosen_preset(arguments, regime)
        name = results.label(regime, preset.samples)
        settings = {
            key: value
            for key, value in dataclasses.asdict(arguments).items()
            if key not in ("json", "fresh")
        }
        digest = sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]
        out = Path("runs") / f"loop-{arguments.learner}-{name}-{digest}"
        if arguments.json is not None:
            if arguments.json.is_dir():
                raise ValueError(f"json must be a file, but {arguments.json} is a folder")
            results.make_folder(arguments.json.absolute().parent, "the folder of json")
        results.make_folder(out)
        from icl_stl import runs  # noqa: PLC0415  (loads JAX: only when the arguments are good)

        runs.use_all_cores(runs.default_cache())
        identity = runs.identity(preset, arguments.learner, arguments.seed)
        folder = runs.Folder(out, identity, fresh=arguments.fresh)
    except ValueError as error:
        console.refuse(str(error))

    learner = runs.make_learner(preset, arguments.learner)
    screen = console.console()
    title = f"{arguments.learner}, {name}, n = {preset.samples}, {preset.replicates} loops"
    with Live(console=screen, auto_refresh=False) as live:

        def watch(result: results.LoopResult) -> None:
            if screen.is_terminal:
                live.update(table(summary(result, preset), title), refresh=True)

        def report(text: str, done: int, total: int) -> None:
            if not screen.is_terminal:
                print(f"{done:3d}/{total}  {text}", file=sys.stderr, flush=True)

        loops = runs.run_loops(
            preset,
            learner,
            [regime],
            seed=arguments.seed,
            folder=folder,
            report=report,
            watch=watch,
        )
        result = loops[name]
        rows = summary(result, preset)
        live.update(table(rows, title), refresh=True)
    for failure in result.failures:
        print(f"failed: {failure}")

    content = {
        "schema": results.SCHEMA,
        "settings": settings,
        "versions": identity["versions"],
        "failed": [str(failure) for failure in result.failures],
        "generations": rows,
    }
    for path in (out / "loop.json", arguments.json):
        if path is not None:
            results.write_json(path, content)
    results.write_table(out / "loops.csv", loops)
    from icl_stl import plots  # noqa: PLC0415

    figure = out / "drift.svg"
    stored = plots.Stored(preset.task, loops, {})
    for suffix in ("svg", "png") if rows else ():
        drawn = plots.rendered(plots.DRAWINGS["drift"], stored, suffix)
        results.write_atomically(figure.with_suffix(f".{suffix}"), drawn)
    print(f"{out}/loop.json" + (f", {figure}" if rows else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments)))

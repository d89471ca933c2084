"""What a fit of the transformer costs and how good it is, by optimiser, steps, batch, size and n.

Every row is one setting: fits of the package's own learner, measured by `measure.observation` on
held-out real prompts. Seconds are core-seconds of one fit without its compilation, of one thread;
those of another machine or under load differ by one factor, so `cost` says them in units of the
row `reference`, 1000 steps of 64 by NAdam, timed beside every row.

    python paper_checks/training.py    # writes training.json and TRAINING.md; 20 minutes

Rows that training.json has are kept: remove it to make all anew.
"""

import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from icl_stl.config import NADAM, Architecture, Training
from icl_stl.lab import runs
from icl_stl.laws import LinearRegression
from icl_stl.learners import in_context
from icl_stl.loops import Generation
from icl_stl.measure import draw_held_out, observation
from icl_stl.problems import InContext
from icl_stl.regimes import Augment, FreshReal, Regime

HERE = Path(__file__).parent
HELD_OUT = 4000
"""Real prompts, and as many generated ones, on which a fit is measured."""

MOST = 16_000
"""Places for prompts, so that all n share a program."""

SIZES = (250, 1000, 4000, 16_000)
"""n of the table of decays."""

LEARNER = replace(Training(), steps=800)
SMALL, LARGE, SHORT = LinearRegression(1, 4), LinearRegression(2, 8), LinearRegression(2, 4)
REFERENCE = replace(NADAM, steps=1000, batch=64, weight_decay=0.03, warmup=0.05)
OTHERS = {
    "AdEMAMix": lambda: optax.contrib.scale_by_ademamix(b2=0.95, b3=0.99, alpha=5.0),
    "Lion": optax.scale_by_lion,
}
"""Optimisers of optax that were tried and not kept."""


class Trial(NamedTuple):
    """One setting."""

    table: str
    name: str
    training: Training
    n: int = 4000
    task: LinearRegression = SMALL
    architecture: Architecture = Architecture()
    other: str = ""
    """The optimiser instead of the training's."""
    seeds: int = 2


def trials() -> list[Trial]:
    """All settings."""
    muon = replace(REFERENCE, optimiser="muon")
    found = [
        Trial("optimiser", f"{name}, rate {rate:g}", replace(of, learning_rate=rate), other=other)
        for name, of, other, rates in (
            ("Muon", muon, "", (1e-2, 2e-2, 4e-2)),
            ("NAdam", REFERENCE, "", (1e-2, 2e-2, 4e-2)),
            ("AdEMAMix", REFERENCE, "AdEMAMix", (1e-3, 5e-3)),
            ("Lion", REFERENCE, "Lion", (5e-4, 2e-3)),
        )
        for rate in rates
    ]
    found += [
        Trial(
            "steps and batch",
            f"{steps} steps of {batch}",
            replace(LEARNER, steps=steps, batch=batch),
            n,
        )
        for steps, batch, n in (
            (400, 64, 4000),
            (800, 64, 4000),
            (1200, 64, 4000),
            (1200, 64, 16_000),
            (1600, 64, 4000),
            (1600, 64, 16_000),
            (800, 32, 4000),
            (1600, 32, 4000),
            (400, 128, 4000),
        )
    ]
    found += [
        Trial("size", f"{depth} layers, width {width}", LEARNER, architecture=shape)
        for shape in (Architecture(1), Architecture(3), Architecture(2, 48))
        for depth, width in [(shape.depth, shape.width)]
    ]
    found += [
        Trial("average", f"over {share:.0%} of the steps", replace(LEARNER, average=share), n)
        for share in (0.0, 0.15, 0.25)
        for n in (250, 4000)
    ]
    found += [Trial("decay", "falling with n", LEARNER, n) for n in SIZES]
    found += [
        Trial("decay", f"{decay:g}", replace(LEARNER, weight_decay=decay, prior_rows=0.0), n)
        for n in SIZES
        for decay in (0.03, 0.1, 0.3)
    ]
    found += [
        Trial(
            "d = 2",
            f"{task.context} examples, {depth} layers, {steps} steps",
            replace(LEARNER, steps=steps),
            n,
            task,
            Architecture(depth),
            seeds=1,
        )
        for task, depth, steps, n in (
            (SHORT, 2, 800, 4000),
            (SHORT, 3, 1600, 16_000),
            (LARGE, 2, 1600, 4000),
            (LARGE, 3, 1600, 4000),
            (LARGE, 4, 800, 4000),
            (LARGE, 4, 1600, 4000),
        )
    ]
    return found


def program_of(trial: Trial) -> Trial:
    """What trials of one program have in common: all but rates, n and seeds."""
    training = replace(trial.training, learning_rate=1e-2, weight_decay=0.1)
    return Trial("", "", training, MOST, trial.task, trial.architecture, trial.other, 0)


@lru_cache(maxsize=4)
def compiled_fit(program: Trial) -> tuple[Any, float]:
    """The fit, a function of key, rows, weights and both rates; core-seconds of its compilation."""
    problem = InContext(program.task, program.architecture, program.training)
    usual = in_context._direction
    if program.other:
        in_context._direction = lambda sides: OTHERS[program.other]()
    try:
        shapes = jax.eval_shape(lambda: rows_of(program, 0))
        fit = jax.jit(
            lambda key, rows, weights, *r: problem.make_learner(*r).fit(key, rows, weights)
        )
        lowered = fit.lower(*shapes, np.float32(0), np.float32(0))
        began = time.process_time()
        return lowered.compile(), time.process_time() - began
    finally:
        in_context._direction = usual


def rows_of(trial: Trial, seed: int) -> Any:
    """Key, real prompts and weights of a fit, with places for the most."""
    data = trial.task.draw(jax.random.key(100 + seed), (), MOST)
    there = jnp.arange(MOST) < trial.n
    return jax.random.key(seed), data, jnp.where(there, 1 / trial.n, 0.0)


def seconds(trial: Trial, seed: int) -> tuple[Any, float]:
    """What is fitted, and core-seconds of it."""
    fit, _ = compiled_fit(program_of(trial))
    given = jax.block_until_ready(rows_of(trial, seed))
    rates = np.float32(trial.training.learning_rate), np.float32(trial.training.weight_decay)
    began = time.process_time()
    found = jax.block_until_ready(fit(*given, *rates))
    return found, time.process_time() - began


@lru_cache(maxsize=4)
def measure(task: LinearRegression, architecture: Architecture) -> Any:
    """A function of fitted parameters: nats a label, total variation of whole prompts."""
    learner = InContext(task, architecture).learner
    held_out = draw_held_out(task, jax.random.key(7), HELD_OUT)
    few = task.draw(jax.random.key(8), (), 2)

    @jax.jit
    def observe(params: Any) -> Any:
        seen = Generation(params, params, few, jnp.full(2, 0.5), 0)
        found = observation(task, learner, held_out, jax.random.key(9), seen)
        return jnp.stack([found["excess_nll"], found["drift"][-1]])

    return observe


def measured(trial: Trial) -> dict[str, Any]:
    """One row of the table."""
    _, compiling = compiled_fit(program_of(trial))
    quality, took, unit = [], [], []
    for seed in range(trial.seeds):
        fitted, cost = seconds(trial, seed)
        took.append(cost)
        unit.append(seconds(Trial("", "", REFERENCE), seed)[1])
        quality.append(np.asarray(measure(trial.task, trial.architecture)(fitted)))
    nats, variation = np.mean(quality, axis=0)
    return {
        "table": trial.table,
        "name": trial.name,
        "n": trial.n,
        "nats": round(float(nats), 4),
        "variation": round(float(variation), 4),
        "seconds": round(min(took), 2),
        "cost": round(min(took) / min(unit), 2),
        "compiling": round(compiling, 1),
        "fits": trial.seeds,
    }


class Loops(NamedTuple):
    """Three loops at a share of one half, five generations after the first."""

    name: str
    training: Training
    n: int
    regime: Regime = Augment(0.5)


def loops() -> list[Loops]:
    """All of them."""
    streamed = replace(LEARNER, once=True)
    return [
        *(Loops("800 steps", LEARNER, n) for n in (250, 4000)),
        Loops("streamed", streamed, LEARNER.steps * LEARNER.batch // 2, FreshReal(1.0)),
    ]


def followed(one: Loops) -> dict[str, Any]:
    """Excess and total variation of every generation, means of three loops."""
    problem = InContext(SMALL, Architecture(), one.training, HELD_OUT)
    replicates = runs.draw_replicates(problem, one.n, 3, 0)
    start = runs.before_generation_0(problem, one.regime, replicates, 5)
    step = runs.generation_step(problem, one.regime)
    seen = runs.follow(step, replicates, start, runs.Numbers(np.float32(0.5)).each(3), 5)
    own = seen["excess_nll"]
    return {
        "name": one.name,
        "n": one.n,
        "nats": np.mean(own, axis=0).round(4).tolist(),
        "variation": np.mean(seen["drift"][..., -1], axis=0).round(3).tolist(),
        "last": own[:, -1].round(4).tolist(),
    }


def rows(jobs: list[Trial]) -> list[dict[str, Any]]:
    """Rows of the table that share a program."""
    found = []
    for one in jobs:
        found.append(measured(one))
        print(json.dumps(found[-1]), flush=True)
    return found


def one_core(free: Any) -> None:
    """Keep a worker on a core of its own: XLA then starts one thread."""
    os.sched_setaffinity(0, {free.get()})


def page(found: dict[str, Any]) -> str:
    """The tables in Markdown."""
    lines = [PREFACE.format(held_out=HELD_OUT)]
    for table in dict.fromkeys(one["table"] for one in found["fits"]):
        lines += [f"## By {table}", "", HEAD, RULE]
        for one in found["fits"]:
            if one["table"] == table:
                lines.append(
                    f"| {one['name']} | {one['n']} | {one['nats']:.4f} | {one['variation']:.3f} "
                    f"| {one['seconds']:.2f} | {one['cost']:.2f} | {one['compiling']:.1f} |"
                )
        lines.append("")
    lines += [LOOPS]
    for one in found.get("loops", ()):
        nats = ", ".join(f"{x:.4f}" for x in one["nats"])
        lines.append(f"| {one['name']} | {one['n']} | {nats} | {one['variation'][-1]:.3f} |")
    return "\n".join(lines) + "\n"


PREFACE = """# Training: quality against seconds

Made by `python paper_checks/training.py`. Excess over the Bayes predictor, nats a label, and total
variation of whole prompts from the real law, on {held_out} held-out and as many generated prompts;
means of two fits, d = 2 of one. Core-seconds of one fit without compilation, on a shared machine;
cost in units of 1000 steps of 64 by NAdam, timed beside it on the same core. What is not said is
the default of `Training` but 800 steps, d = 1, 4 examples, 2 layers of width 32 with 4 heads. The
table by optimiser: 1000 steps of 64, decay 0.03, no average.
"""

HEAD = "| setting | n | nats a label | total variation | core-seconds | cost | compiling |"
RULE = "| --- | --- | --- | --- | --- | --- | --- |"

LOOPS = """## In loops

Three loops beside equally many synthetic prompts, generations 0 to 5.

| setting | n | nats a label, by generation | total variation at the end |
| --- | --- | --- | --- |"""


def main() -> None:
    """Run all and write both files."""
    context, cores = get_context("spawn"), sorted(os.sched_getaffinity(0))
    free = context.Manager().Queue()
    for core in cores:
        free.put(core)
    file = HERE / "training.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    known = {place_of(one): one for one in found.get("fits", ())}
    missing = [one for one in trials() if place_of(one._asdict()) not in known]
    groups = [
        [one for one in missing if program_of(one) == program]
        for program in dict.fromkeys(map(program_of, missing))
    ]
    with ProcessPoolExecutor(len(cores), context, one_core, (free,)) as pool:
        for made in pool.map(rows, groups):
            known |= {place_of(one): one for one in made}
            fits = [known[at] for one in trials() if (at := place_of(one._asdict())) in known]
            found["fits"] = fits
            write(found)
        if not found.get("loops"):
            write(found | {"loops": [*pool.map(followed, loops())]})


def place_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """What tells rows apart."""
    return row["table"], row["name"], row["n"]


def write(found: dict[str, Any]) -> None:
    """Both files."""
    text = json.dumps(found).replace("}, {", "},\n{")
    (HERE / "training.json").write_text(text + "\n", encoding="utf-8")
    (HERE / "TRAINING.md").write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()

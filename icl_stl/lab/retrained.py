"""Fits to real sets with replaced rows, for `replaced`: of any problem, and of models outside JAX.

Every copy is one call of the programs that loops use, `runs.generation_step` or
`outside.fit_generation`, of all draws and seeds; it is kept in the run folder when it is finished.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from icl_stl import code
from icl_stl.data import spread
from icl_stl.devices import Report, Spread, on_host, over_replicates
from icl_stl.lab import outside, replaced, runs
from icl_stl.lab.experiments import Job
from icl_stl.lab.replaced import SEEDS, Replacement, Row
from icl_stl.lab.runs import Folder, Replicate, State
from icl_stl.problems import Problem
from icl_stl.problems.table import Table, standardised
from icl_stl.regimes import RealOnly, synthetic_size

COMPARED = 500
"""Generated rows that stand for a law that has no density."""
SEED, COPY = 2**28, 2**29
"""What keys are folded with: + seed, + replaced rows."""

Tell = Callable[[str, int], None]
Both = Callable[[Any, Tell], list[Any]]
"""(real sets, what is told of every step) -> what the models of both generations became."""


@lru_cache(maxsize=64)
def replacing(problem: Problem, samples: int, count: int) -> Spread:
    """Replicates -> their real sets, so many rows of each replaced."""

    def one(replicate: Replicate) -> Any:
        key_rows, key_places = jax.random.split(jax.random.fold_in(replicate.key, COPY + count))
        new = problem.draw_others(key_rows, replicate.truth, samples, count)
        places = jax.random.permutation(key_places, samples)[:count]
        return jax.tree.map(lambda a, b: a.at[places].set(b), replicate.real, new)

    return over_replicates(one, quick_compilation=True)


@lru_cache(maxsize=16)
def scoring(problem: Problem) -> Spread:
    """Replicates -> the rows whose losses are looked at."""

    def one(replicate: Replicate) -> Any:
        key, truth, _, held_out = replicate
        return problem.to_score(jax.random.fold_in(key, COPY), truth, held_out)

    return over_replicates(one, quick_compilation=True)


@lru_cache(maxsize=16)
def losses(problem: Problem) -> Spread:
    """(parameters, rows) -> their losses."""
    return over_replicates(problem.loss, quick_compilation=True)


@lru_cache(maxsize=16)
def writing(problem: Problem) -> Spread:
    """(keys, parameters) -> generated rows."""

    def one(key: Any, params: Any) -> Any:
        own = jax.random.fold_in(key, COPY)
        return problem.learner.generate(own, params, COMPARED)

    return over_replicates(one, quick_compilation=True)


def _inside(plan: Replacement, chains: Replicate, rows: Any) -> Both:
    problem, n = plan.problem, plan.samples
    job = Job(problem, n, 1, len(chains.key))
    state = runs.before_generation_0(problem, RealOnly(), chains, 1)
    kept = runs.before_generation_0(problem, plan.regime, chains, 1).kept
    smallest = synthetic_size(plan.regime, n)

    def step(index: int, real: Any, state: State) -> State:
        regime = plan.regime if index else RealOnly()
        program, _ = runs.program_of(job, regime, smallest)
        numbers = runs.numbers_of(job, regime, smallest, index)
        args = chains._replace(real=real), state, numbers, np.int32(index)
        return State(runs.generation_step(problem, program)(*args)[0].params, kept)

    def both(real: Any, tell: Tell) -> list[Any]:
        tell("generation 0", 0)
        first = step(0, real, state)
        tell("generation 1", job.replicates)
        second = step(1, chains.real, first)
        if rows is None:
            return [writing(problem)(chains.key, one.params) for one in (first, second)]
        return [losses(problem)(one.params, rows) for one in (first, second)]

    return both


def _outside(plan: Replacement, chains: Replicate, seed: int, out: Path) -> Both:
    problem: Any = plan.problem
    n_syn = synthetic_size(plan.regime, plan.samples)
    kept = runs.before_generation_0(problem, plan.regime, chains, 1).kept

    def both(real: Any, tell: Tell) -> list[Any]:
        runs_, found = len(chains.key), []
        state = State(np.zeros((runs_, n_syn + COMPARED, real.shape[2])), kept)
        for index, rows in enumerate((real, chains.real)):
            of = problem, plan.regime, index, chains._replace(real=rows), state
            fits = lambda words, done, g=index: tell(words, g * runs_ + done)  # noqa: E731
            made = outside.fit_generation(*of, seed=seed, out=out, tell=fits)
            state = State(made.rows, kept)
            found.append(made.rows[:, n_syn:] if made.losses is None else made.losses)
        return found

    return both


def retrain(
    plan: Replacement, *, seed: int, folder: Folder, report: Report = lambda text, done, total: None
) -> Row:
    """Fit what the plan says, or take it from the folder, and estimate: `replaced.estimated`."""
    problem: Any = plan.problem
    outer = isinstance(problem, Table) and problem.outside
    with jax.enable_x64(True) if outer else nullcontext():
        points = _points(plan, seed, folder, report, outer)
    points = points.reshape(*points.shape[:2], SEEDS, plan.draws, *points.shape[3:])
    if points.ndim == 5:
        found = replaced.squares(points, replaced.of_losses)
        return replaced.estimated(plan, found, of_losses=True)
    if problem.sheet.symbols:
        flat = problem.sheet._replace(rows=points.reshape(-1, points.shape[-1]))
        points = spread(flat)[0].reshape(*points.shape[:-1], -1)
    elif outer:
        points, _ = standardised(np, points, problem.sheet.rows)
    return replaced.estimated(plan, replaced.squares(points, replaced.of_rows), of_losses=False)


def _points(
    plan: Replacement, seed: int, folder: Folder, report: Report, outer: bool
) -> NDArray[Any]:
    """What all models became: `[2 generations, copies + 1, seeds and draws, ...]`."""
    problem: Any = plan.problem
    drawn = on_host(runs.draw_replicates(problem, plan.samples, plan.draws, seed))

    def twice(tree: Any) -> Any:
        return jax.tree.map(lambda a: np.concatenate([a] * SEEDS), tree)

    keys = [jax.vmap(lambda k, s=s: jax.random.fold_in(k, s))(drawn.key) for s in (SEED, SEED + 1)]
    chains = Replicate(jnp.concatenate(keys), *map(twice, drawn[1:]))
    if outer:
        both = _outside(plan, chains, seed, folder.path / "replaced")
    else:
        known = not isinstance(problem, Table) or problem.learner.log_density is not None
        both = _inside(plan, chains, twice(on_host(scoring(problem)(drawn))) if known else None)
    origin = runs.origin(Job(problem, plan.samples, 1, plan.draws), seed, plan.regime)
    origin["source"] = code.digest(__name__)
    found = []
    for j, count in enumerate((0, *plan.rows)):
        kept = folder.kept(f"replaced-{count}-{plan.draws}-draws", origin, again=True)
        own = kept.load()
        if own is None:
            real = on_host(replacing(problem, plan.samples, count)(drawn)) if count else drawn.real
            before = 2 * j * len(keys) * plan.draws
            tell = lambda text, done, k=count, b=before: report(  # noqa: E731
                f"{k} rows replaced, {text}", b + done, plan.fits
            )
            own = {"points": np.stack([np.asarray(a) for a in both(twice(real), tell)])}
            kept.save(own)
        found.append(own["points"])
    report("measured", plan.fits, plan.fits)
    return np.stack(found, axis=1).astype(np.float64)

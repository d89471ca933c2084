"""Fits to real sets with replaced rows, for `replaced`: of any problem, and of models outside JAX.

All draws and seeds of one number of replaced rows are fitted together, and kept in the run folder.
"""

from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from icl_stl import code
from icl_stl.data import spread
from icl_stl.devices import Report, Spread, on_host, over_replicates
from icl_stl.lab import outside, replaced
from icl_stl.lab.experiments import Job
from icl_stl.lab.replaced import SEEDS, Replacement, Row
from icl_stl.lab.runs import Folder, Replicate, State, draw_replicates, origin
from icl_stl.loops import first_generation, next_generation, room_for_rows
from icl_stl.problems import Problem
from icl_stl.problems.table import Table, standardised
from icl_stl.regimes import Regime, synthetic_size

COMPARED = 500
"""Generated rows that stand for a law without a density."""
SEED, COPY = 2**28, 2**29
"""Keys are folded with it: + seed, for fits; + replaced rows."""


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
def fitting(problem: Problem, regime: Regime, scored: bool) -> Spread:
    """(replicates, seeds, real sets of generation 0) -> losses, or rows, of both generations."""
    learner = problem.learner

    def one(replicate: Replicate, seed: Any, replaced: Any) -> Any:
        key, (_, truth, real, held_out) = jax.random.fold_in(replicate.key, seed), replicate
        rows = problem.to_score(replicate.key, truth, held_out) if scored else ()
        more: dict[str, Any] = {"kept": room_for_rows(regime, real, 1)}
        more["draw_real"] = lambda key, count: problem.draw(key, truth, count)
        first = first_generation(key, learner, replaced).params
        second = next_generation(key, learner, regime, real, first, 1, **more).params
        if scored:
            return tuple(problem.loss(params, rows) for params in (first, second))
        own = jax.random.fold_in(key, COPY)
        return tuple(learner.generate(own, params, COMPARED) for params in (first, second))

    return over_replicates(one)


def fit_outside(
    plan: Replacement, chains: Replicate, replaced: Any, seed: int, folder: Folder, tell: Any
) -> list[Any]:
    """Losses, or rows, of both generations of models outside JAX."""
    problem: Any = plan.problem
    count, n_syn = len(chains.key), synthetic_size(plan.regime, plan.samples)
    pool = np.zeros((count, n_syn + COMPARED, replaced.shape[2]))
    kept = [room_for_rows(plan.regime, jnp.asarray(rows), 1) for rows in chains.real]
    state, found = State(pool, np.stack(kept) if plan.regime.keeps_rows else ()), []
    for index, real in enumerate((replaced, chains.real)):

        def told(text: str, done: int, g: int = index) -> None:
            tell(text, g * count + done)

        made = outside.fit_generation(
            *(problem, plan.regime, index, chains._replace(real=real), state),
            seed=seed,
            out=folder.path / "replaced",
            tell=told,
        )
        state = state._replace(params=made.rows)
        found.append(made.rows[:, n_syn:] if made.losses is None else made.losses)
    return found


def retrain(
    plan: Replacement, *, seed: int, folder: Folder, report: Report = lambda text, done, total: None
) -> Row:
    """Fit what the plan says, or take it from the folder: κ and b, by `replaced.estimated`."""
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
    drawn = on_host(draw_replicates(problem, plan.samples, plan.draws, seed))
    seeds = np.repeat(SEED + np.arange(SEEDS), plan.draws)

    def each(tree: Any) -> Any:
        return jax.tree.map(lambda a: jnp.concatenate([a] * SEEDS), tree)

    chains = each(drawn)
    scored = not isinstance(problem, Table) or (not outer and problem.learner.log_density)
    program = None if outer else fitting(problem, plan.regime, bool(scored))
    made_by = origin(Job(problem, plan.samples, 1, plan.draws), seed, plan.regime)
    made_by["source"] = code.digest(__name__)
    found = []
    for j, count in enumerate((0, *plan.rows)):
        kept = folder.kept(f"replaced-{count}-{plan.draws}-draws", made_by, again=True)
        own = kept.load()
        if own is None:

            def tell(text: str, done: int, j: int = j, count: int = count) -> None:
                report(f"{count} rows replaced, {text}", 2 * j * len(seeds) + done, plan.fits)

            tell("both generations", 0)
            real = each(replacing(problem, plan.samples, count)(drawn)) if count else chains.real
            if program is None:
                keyed = chains._replace(key=jax.vmap(jax.random.fold_in)(chains.key, seeds))
                both = fit_outside(plan, on_host(keyed), on_host(real), seed, folder, tell)
            else:
                both = program(chains, seeds, real)
            own = {"points": np.stack([np.asarray(one) for one in both])}
            kept.save(own)
        found.append(own["points"])
    report("measured", plan.fits, plan.fits)
    return np.stack(found, axis=1).astype(np.float64)

"""Loops of models outside JAX, generation by generation: `runs.run_loops` for classes and commands.

Real rows, regimes and keys are those of every loop; a program of JAX mixes rows, in double
precision, and each model is fitted out of it. What a generation hands to the next are the rows that
its model wrote at once: those to learn from and those to compare, so that a run folder keeps all
that a stopped run needs and nothing is unpickled. Commands run beside each other, one a core;
classes one after the other, since they share the random states of their packages.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from icl_stl.cores import available_cores
from icl_stl.data import Task, UnfitError, Written, stop_commands
from icl_stl.descriptions import key
from icl_stl.devices import Report, Spread, on_host, over_replicates
from icl_stl.lab.experiments import Job
from icl_stl.lab.results import Arrays, Failure, LoopResult, label, write_atomically
from icl_stl.lab.runs import Folder, FollowedLoop, Replicate, State, Watch, draw_replicates, origin
from icl_stl.learners import Learner
from icl_stl.loops import check_mix, next_generation, real_rows, room_for_rows
from icl_stl.problems import Problem
from icl_stl.problems.table import MOST_COMPARED, threads_of_arrays
from icl_stl.regimes import Regime, real_share, synthetic_size

ROWS = Learner(
    fit=lambda key, rows, weights: (rows, weights),
    generate=lambda key, rows, count: rows[:count],
    relabel=lambda key, rows, real: rows[: real.shape[0]],
)
"""Rows that were written stand for their model; a fit hands out what there is to fit."""


@lru_cache(maxsize=16)
def mixing(problem: Problem, regime: Regime) -> Spread:
    """(replicates, state, share, i) -> training rows, their weights, kept rows; i >= 1."""

    def step(replicate: Replicate, state: State, share: Any, index: Any) -> Any:
        key, truth, real, _ = replicate
        draw = lambda key, count: problem.draw(key, truth, count)  # noqa: E731
        more: dict[str, Any] = {"kept": state.kept, "draw_real": draw, "share": share}
        found = next_generation(key, ROWS, regime, real, state.params, index, **more)
        return found.training_set, found.row_weights, found.kept

    return over_replicates(step, shared=2)


def run_loops(
    job: Job,
    regime: Regime,
    *,
    seed: int,
    folder: Folder,
    report: Report = lambda text, done, total: None,
    watch: Watch = lambda result: None,
) -> LoopResult:
    """Run all replicates, or take up where the folder left off.

    A fit that fails for good ends its loop, whose numbers are NaN from there on: `reason` says why.

    Raises:
        ValueError: If the regime gives rows different weights and the model takes none.
    """
    with jax.enable_x64(True):
        return _run(job, regime, seed, folder, report, watch)


def _run(
    job: Job, regime: Regime, seed: int, folder: Folder, report: Report, watch: Watch
) -> LoopResult:
    problem: Any = job.problem
    n, last, count = job.samples, job.generations, job.replicates
    replicates = draw_replicates(problem, n, count, seed)
    _, _, real, held_out = on_host(replicates)
    one = jax.tree.map(lambda a: a[0], replicates)
    check_mix(one.key, ROWS, regime, real_rows(one.real), last)
    n_syn, compared = synthetic_size(regime, n), min(held_out.shape[1], MOST_COMPARED)
    pool = np.zeros((count, n_syn + compared, real.shape[2]))
    kept = [room_for_rows(regime, jnp.asarray(rows), last) for rows in real]
    state = State(pool, np.stack(kept) if regime.keeps_history else ())
    name = f"{label(regime, n)}-{key(regime)[:16]}"
    loop = FollowedLoop(folder.kept(name, origin(job, seed, regime)), state)
    while (index := loop.generations) <= last:

        def tell(words: str, done: int, index: int = index) -> None:
            report(words, index * count + done, (last + 1) * count)

        of = problem, regime, index, replicates, loop.state
        pool, losses, history = fit_generation(*of, seed=seed, out=folder.path, tell=tell)
        seen: Arrays = {} if losses is None else {"held_out_loss": losses.mean(1)}
        seen = problem.completed(held_out, {**seen, "rows": pool[:, n_syn:]})
        loop.add(State(pool, history), seen)
        watch(LoopResult(regime, n, loop.observations))
    report("measured", (last + 1) * count, (last + 1) * count)
    return LoopResult(regime, n, loop.observations)


class Fitted(NamedTuple):
    """What the models of one generation wrote; NaN where one could not be fitted."""

    rows: Any
    """`[R, count, columns]`."""
    losses: Any
    """-ln p of the held-out rows, `[R, H]`; None without a density."""
    kept: Any
    """The rows of all generations so far, for a regime that keeps them."""


def fit_generation(
    problem: Any,
    regime: Regime,
    index: int,
    replicates: Replicate,
    state: State,
    *,
    seed: int,
    out: Path,
    tell: Callable[[str, int], None],
) -> Fitted:
    """Fit one generation of all replicates whose rows in `state` are finite.

    Args:
        state: What the generation before wrote, as many rows as are to be written.
        out: Where models leave what they leave behind.
        tell: Called with each fit that is finished, and how many were before.
    """
    _, _, real, held_out = on_host(replicates)
    n = real.shape[1]
    rows, weights, history = real, np.full(real.shape[:2], 1 / n), state.kept
    if index:
        share = np.float64(real_share(regime, n, index))
        own = replicates, state, share, np.int32(index)
        rows, weights, history = on_host(mixing(problem, regime)(*own))
    tasks = {}
    for r in np.flatnonzero(np.isfinite(state.params).all(axis=(1, 2))).tolist():
        place, there = place_of(out, index, r), weights[r] > 0
        own_weights = _own_weights(problem.model, regime, index, weights[r][there])
        of = (seed, r, index), problem.sheet, held_out[r], place
        tasks[r] = Task(rows[r][there], own_weights, state.params.shape[1], *of)
    pool = np.full(state.params.shape, np.nan)
    losses = np.full(held_out.shape[:2], np.nan) if problem.model.has_density else None
    for done, (r, made) in enumerate(_fitted(problem.model, tasks)):
        words = f"generation {index}, run {r}"
        tell(words, done)
        if isinstance(made, Written):
            pool[r] = made.rows
            if losses is not None:
                losses[r] = made.losses
        else:
            path = reason_path(tasks[r].place)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, f"{words}: {problem.model.words}: {made}\n".encode())
    return Fitted(pool, losses, history)


def _own_weights(model: Any, regime: Regime, index: int, weights: Any) -> Any:
    """The weights that a model is given; None if it takes none, and all are alike."""
    if model.takes_weights:
        return weights
    if not np.allclose(weights, weights[0]):
        raise ValueError(
            f"regime must be one whose rows all count alike, since {model.words!r} takes no "
            f"weights, but in generation {index} of {regime.name!r} they are from "
            f"{weights.min():g} to {weights.max():g}"
        )
    return None


def _fitted(model: Any, tasks: dict[int, Task]) -> Iterator[tuple[int, Written | UnfitError]]:
    """What came of each task, as it comes."""

    def written(task: Task) -> Written | UnfitError:
        try:
            found: Written = model.written(task)
            return found
        except UnfitError as error:
            return error

    if not model.at_once:
        with threads_of_arrays(model.threads):
            yield from ((r, written(task)) for r, task in tasks.items())
        return
    with ThreadPoolExecutor(len(available_cores())) as threads:
        futures = {threads.submit(written, task): r for r, task in tasks.items()}
        try:
            for one in as_completed(futures):
                yield futures[one], one.result()
        except BaseException:
            for one in futures:
                one.cancel()
            stop_commands()
            raise


def place_of(out: Path, generation: int, replicate: int) -> Path:
    """Where a model of a run folder leaves what it leaves behind."""
    return out / "models" / f"generation-{generation}-run-{replicate}"


def reason_path(place: Path) -> Path:
    """The file that says why a model failed."""
    return place.with_name(f"{place.name}.failed")


def reason(out: Path, failure: Failure) -> str:
    """Why a loop of a run folder failed; empty if nothing more is known."""
    path = reason_path(place_of(out, failure.generation or 0, failure.replicate))
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""

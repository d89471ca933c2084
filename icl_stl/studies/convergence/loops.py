"""Loops of the transformer at many real and synthetic sizes: one program for all of them.

A program has places for the most prompts of each kind; a smaller loop leaves places empty
(`loops.Sizes`), beside a fixed real set or new real prompts. So a curve over sizes costs one
compilation, and all of its loops share their prompts and randomness.
"""

from functools import lru_cache
from threading import Lock
from typing import Any, NamedTuple

import jax
import numpy as np

from icl_stl.devices import on_host, over_replicates
from icl_stl.lab.experiments import LoopSize
from icl_stl.lab.results import Arrays
from icl_stl.lab.runs import (
    Replicate,
    State,
    before_generation_0,
    draw_replicates,
    follow,
    generation_step,
    numbers_of_size,
)
from icl_stl.measure import differences, parameter_distance
from icl_stl.models.causal import Params
from icl_stl.problems import InContext
from icl_stl.regimes import FreshReal
from icl_stl.studies.convergence.experiments import SizedNeighbours, SizedTransformers


class Program(NamedTuple):
    """Loops of one network with places for so many prompts."""

    step: Any
    """(replicates, state, numbers, i) -> state, observations: compiled."""
    compare: Any
    """(replicates, fits of generation 0 side by side, of generation 1) -> `measure.differences` of
    the former from the first of them; `passed`, what is left of their distances in the latter."""
    draw: Any
    """(replicates) -> new real prompts, as many as there are real ones."""
    nothing: State
    """Before generation 0, of all loops."""


def _distances(fits: Params) -> Any:
    """Distances of the weights of the first fit from those of the others."""
    own, others = (jax.tree.map(lambda a, k=k: a[k], fits.weights) for k in (0, slice(1, None)))
    return jax.vmap(lambda other: parameter_distance(own, other))(others)


def comparison(problem: InContext) -> Any:
    """Fits of one loop beside each other: (replicate, fits, what was fitted to their rows)."""
    task, learner = problem.task, problem.learner

    def compare(replicate: Replicate, first: Params, second: Params) -> dict[str, Any]:
        own = jax.tree.map(lambda a: a[0], first)
        key = jax.random.fold_in(replicate.key, 2**31 - 2)
        fresh = learner.generate(key, own, problem.held_out)
        test, bayes = replicate.held_out
        seen = differences(task, learner, first, lambda fit: fit.weights, test, bayes, fresh)
        return {**seen._asdict(), "passed": _distances(second) / _distances(first)}

    return compare


_MAKING = Lock()


@lru_cache(maxsize=8)
def _program(problem: InContext, places: LoopSize, runs: int) -> Program:
    regime = FreshReal(places.n_syn / places.samples)
    replicates = on_host(draw_replicates(problem, places.samples, runs, 0))
    nothing = before_generation_0(problem, regime, replicates, 0)
    numbers = numbers_of_size(LoopSize(1, 1)).each(runs)
    step = generation_step(problem, regime, parts=True).compiled(
        replicates, nothing, numbers, np.int32(0)
    )

    def draw(replicate: Replicate) -> Any:
        key = jax.random.fold_in(replicate.key, 2**31 - 1)
        return problem.draw(key, (), places.samples)

    compare = over_replicates(comparison(problem), quick_compilation=True)
    drawing = over_replicates(draw, quick_compilation=True)
    return Program(step, compare, drawing, nothing)


def _shared(experiment: SizedTransformers | SizedNeighbours, seed: int) -> tuple[Program, Any]:
    """The program of an experiment, compiled once for whoever waits here too; its replicates."""
    problem, places, runs = experiment.problem, experiment.places, experiment.runs
    with _MAKING:
        program = _program(problem, places, runs)
    return program, on_host(draw_replicates(problem, places.samples, runs, seed))


def run_experiment(experiment: SizedTransformers, seed: int) -> Arrays:
    """What the loops of one size show: `[runs, G + 1]` by name, `[runs, G + 1, P]` of prefixes."""
    program, replicates = _shared(experiment, seed)
    numbers = numbers_of_size(experiment.size, fresh=experiment.world == "fresh")
    together = numbers.each(experiment.runs)
    return follow(program.step, replicates, program.nothing, together, experiment.generations)


def _side_by_side(fits: list[Params]) -> Params:
    """Parameters of several fits, `[R, fits, ...]`."""
    return jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *fits)


def run_neighbours(experiment: SizedNeighbours, seed: int) -> Arrays:
    """What one replaced real prompt moves, `[runs, K]` for each of K prompts.

    Of generation 0: `measure.differences`. `passed`: of the distance between two such fits, as
    generators, how much is left between the fits of generation 1 beside the same real set.
    """
    program, replicates = _shared(experiment, seed)
    numbers = numbers_of_size(experiment.size).each(experiment.runs)

    def step(real: Any, previous: State, index: int) -> State:
        own = replicates._replace(real=real)
        state: State = on_host(program.step(own, previous, numbers, np.int32(index))[0])
        return state

    new = on_host(program.draw(replicates))

    def swapped(k: int) -> Any:
        """The real sets with new prompts in the place of prompt k."""
        here = np.arange(experiment.places.samples) == k
        pick = lambda a, b: np.where(here.reshape(-1, *[1] * (a.ndim - 2)), b, a)  # noqa: E731
        return jax.tree.map(pick, replicates.real, new)

    first = [step(replicates.real, program.nothing, 0)]
    first += [step(swapped(k), program.nothing, 0) for k in range(experiment.neighbours)]
    second = [step(replicates.real, state, 1) for state in first]
    fits = (_side_by_side([state.params for state in some]) for some in (first, second))
    seen = program.compare(replicates, *fits)
    return jax.tree.map(np.asarray, seen)  # type: ignore[no-any-return]

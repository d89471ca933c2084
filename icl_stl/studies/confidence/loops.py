"""Filters of prompts as numbers of one program."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from icl_stl.devices import Spread, many, on_host, over_replicates
from icl_stl.lab.results import Arrays
from icl_stl.lab.solvable import batch_size
from icl_stl.loops import Generation, generation_keys, next_generation, start_of_loop
from icl_stl.measure import observation
from icl_stl.problems import InContext
from icl_stl.regimes import Replace, Selecting, Step
from icl_stl.regimes.selecting import surest
from icl_stl.studies.confidence.experiments import FilteredLoops


@dataclass(frozen=True, eq=False)
class Filtered(Selecting):
    """Keeps the share `rate` of the candidates, the surest or by lot; both may be traced."""

    rate: Any = 1.0
    own: Any = True

    def weigh(self, step: Step, rows: Any, there: Any) -> Any:
        lot = jax.random.uniform(jax.random.fold_in(step.key, 1), there.shape)
        return surest(step.key, -jnp.where(self.own, step.log_density(rows), lot), there, self.rate)


def _run(experiment: FilteredLoops, key: PRNGKeyArray) -> dict[str, Any]:
    """One run of all rules: generation 0, then the generations of each rule, one step for all."""
    problem, n, last = experiment.problem, experiment.samples, experiment.generations
    learner, rules = problem.learner, experiment.rules
    key_loop, _, real, held_out = problem.start(key, n)
    real, zeros = start_of_loop(key_loop, learner, Filtered(), real, last, None)

    def observe(generation: Generation) -> dict[str, Any]:
        if not isinstance(problem, InContext):
            seen = generation.training_set, generation.row_weights
            return {"task_variance": problem.implied(*seen)}
        own = generation_keys(key_loop, generation.index).observe
        found = observation(problem.task, learner, held_out, own, generation, one_step=False)
        return {
            "task_variance": found["implied_task_variance"],
            "excess_nll": found["excess_nll"],
            "diverged_at": found["diverged_at"],
        }

    def step(before: tuple[Any, Any], now: Any) -> Any:
        first, params = before
        rate, own, index = now
        previous = jax.tree.map(lambda a, b: jnp.where(index == 1, a, b), first, params)
        regime, share = Filtered(Replace(), rate, own), jnp.float32(0)
        how: dict[str, Any] = {"from_first": True, "share": share}
        made = next_generation(key_loop, learner, regime, real, previous, index, **how)
        first = jax.tree.map(lambda a, b: jnp.where(index == 0, a, b), made.params, first)
        return (first, made.params), observe(made)

    steps = [(1.0, True, 0)] + [(*rule, i) for rule in rules for i in range(1, last + 1)]
    table = tuple(jnp.array(column) for column in zip(*steps, strict=True))
    seen = jax.lax.scan(step, (zeros, zeros), table)[1]

    def paths(values: Any) -> Any:
        start = jnp.broadcast_to(values[0], (len(rules), 1))
        return jnp.concatenate([start, values[1:].reshape(len(rules), last)], axis=1)

    return {name: paths(values) for name, values in seen.items()}


@lru_cache(maxsize=2)
def _one_by_one(experiment: FilteredLoops) -> Spread:
    def run(index: Any, seed: Any) -> dict[str, Any]:
        return _run(experiment, jax.random.fold_in(jax.random.key(seed), index))

    return over_replicates(run, shared=1)


def filtered_loops(experiment: FilteredLoops, seed: int) -> Arrays:
    """What the prompts of every run, rule and generation show: `[runs, rules, G + 1]`.

    `task_variance`: of the transformer that of fresh prompts, else of those that were kept. Of the
    transformer also `excess_nll`, and `diverged_at`.
    """
    problem, n, runs = experiment.problem, experiment.samples, experiment.runs
    if isinstance(problem, InContext):  # one after the other: a fit fills a core
        index = np.arange(runs, dtype=np.int32)
        found: Arrays = on_host(_one_by_one(experiment)(index, np.int32(seed)))
        return found
    batch = batch_size(problem, Replace(), n, experiment.generations)
    filtered: Arrays = many(_run, experiment, runs, seed=seed, batch=batch)
    return filtered

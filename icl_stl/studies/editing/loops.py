"""Schedules of edits as numbers of one program."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from icl_stl.devices import many
from icl_stl.lab.results import Arrays
from icl_stl.lab.solvable import batch_size, loop
from icl_stl.regimes import Edit, Step
from icl_stl.studies.editing.experiments import Schedules


@dataclass(frozen=True, eq=False)
class Scheduled(Edit):
    """`Edit` whose counts and model are numbers of the program."""

    table: Any = ()
    """Labels edited in generation 0, ..., G."""
    additive: Any = False
    """Whether noise is added to them, else they are replaced."""

    def mix(self, step: Step) -> tuple[Any, Any]:
        return self.edited(step, self.table[step.index], self.additive)


def _run(experiment: Schedules, key: PRNGKeyArray) -> dict[str, Any]:
    """One run of all schedules."""
    problem, n, last = experiment.problem, experiment.samples, experiment.generations
    tables = jnp.array([[0, *regime.counts(n, last)] for regime in experiment.regimes])
    additive = jnp.array([regime.edit_model == "additive" for regime in experiment.regimes])

    def one(table: Any, additive: Any) -> Any:
        regime = Scheduled((), "additive", table=table, additive=additive)  # with places for it
        observe = lambda truth, _, key, generation: problem.excess(truth, generation.params)  # noqa: E731
        return loop(problem, regime, n, last, key, observe)

    return {"excess": jax.vmap(one)(tables, additive)}


def run_schedules(experiment: Schedules, seed: int) -> Arrays:
    """The excess of every run, schedule and generation: `[runs, regimes, G + 1]`."""
    of = experiment.problem, experiment.regimes[0], experiment.samples, experiment.generations
    batch = max(1, batch_size(*of) // len(experiment.regimes))
    found: Arrays = many(_run, experiment, experiment.runs, seed=seed, batch=batch)
    return found

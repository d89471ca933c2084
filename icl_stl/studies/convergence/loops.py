"""Loops of the transformer at many real and synthetic sizes: one program for all of them.

A program has places for the most prompts of each kind; a smaller loop leaves places empty
(`loops.Sizes`), beside a fixed real set or new real prompts. So a curve over sizes costs one
compilation, and all of its loops share their prompts and randomness. Loops are measured on prompts
of their own, and compared with each other on prompts that all of them share.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache
from threading import Lock
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from icl_stl.devices import Spread, on_host, over_replicates
from icl_stl.lab.experiments import NOWHERE, Kept, LoopSize, OfOneSize
from icl_stl.lab.results import Arrays, Floats
from icl_stl.lab.runs import (
    Numbers,
    Replicate,
    State,
    before_generation_0,
    draw_replicates,
    follow,
    generation_step,
    numbers_of_size,
)
from icl_stl.laws.prompts import Normal
from icl_stl.loops import Sizes, generation_keys, next_generation
from icl_stl.measure import (
    HeldOut,
    deficiency,
    draw_held_out,
    normal_kl,
    predictions,
    prefix_log_densities,
)
from icl_stl.models.causal import Params
from icl_stl.problems import InContext
from icl_stl.regimes import Augment, FreshReal
from icl_stl.rows import joined
from icl_stl.studies.convergence.experiments import Distilled, SizedTransformers

SHARED = 1000
"""Prompts on which the predictions of all loops are compared."""


def shared_prompts(problem: InContext) -> HeldOut:
    """Real prompts that are the same for all loops."""
    return draw_held_out(problem.task, jax.random.key(0), SHARED)


def quality(problem: InContext, held_out: HeldOut, laws: Normal) -> dict[str, Any]:
    """How good predicted laws of labels are, by the names of `measure.observation`."""
    prompts, bayes = held_out
    logs = (prefix_log_densities(problem.task, law, prompts) for law in (laws, bayes))
    return {
        "excess_squared_risk": jnp.mean((laws.mean - bayes.mean) ** 2, axis=0),
        "excess_nll": jnp.mean(normal_kl(bayes, laws)),
        "drift": jnp.mean(deficiency(*logs), axis=0),
    }


@dataclass(frozen=True)
class Compared(InContext):
    """Prompts and a network, of which what loops are compared by is observed, and no more.

    `errors`: predicted less Bayes means of the shared prompts, `[SHARED m]`.
    """

    @classmethod
    def of(cls, problem: InContext) -> Self:
        """The same prompts and network."""
        return cls(**{field.name: getattr(problem, field.name) for field in fields(problem)})

    def observe(
        self, key: Any, truth: Any, held_out: Any, generation: Any, **more: Any
    ) -> dict[str, Any]:
        count, shared, fitted = self.held_out, shared_prompts(self), generation.params
        laws = predictions(self.learner, fitted, joined(held_out.prompts, shared.prompts))
        own, other = (jax.tree.map(lambda a, s=s: a[s], laws) for s in _halves(count))
        errors = (other.mean - shared.bayes.mean).ravel()
        seen = quality(self, held_out, own)
        return {**seen, "errors": errors, "diverged_at": fitted.diverged_at}


def _halves(count: int) -> tuple[slice, slice]:
    return slice(count), slice(count, None)


class Program(NamedTuple):
    """Loops of one network with places for so many prompts."""

    step: Any
    """(replicates, state, numbers, i) -> state, observations: compiled."""
    nothing: State
    """Before generation 0, of all loops."""


_MAKING = Lock()


@lru_cache(maxsize=8)
def _program(of: Compared, places: LoopSize, runs: int) -> Program:
    regime = FreshReal(places.n_syn / places.samples)
    replicates = on_host(draw_replicates(of, places.samples, runs, 0))
    nothing = before_generation_0(of, regime, replicates, 0)
    numbers = numbers_of_size(LoopSize(1, 1)).each(runs)
    step = generation_step(of, regime).compiled(replicates, nothing, numbers, np.int32(0))
    return Program(step, nothing)


def shared(
    experiment: OfOneSize, seed: int, kind: type[Compared] = Compared
) -> tuple[Program, Any]:
    """The program of an experiment, compiled once for whoever waits here too; its replicates.

    Args:
        kind: What says what is observed.
    """
    of, places, runs = kind.of(experiment.problem), experiment.places, experiment.runs
    with _MAKING:
        program = _program(of, places, runs)
    return program, on_host(draw_replicates(of, places.samples, runs, seed))


def products(errors: Floats) -> dict[str, Floats]:
    """What the errors of fits, `[R, G + 1, points]`, have in common, by mean products.

    `own`, `[R, G + 1, G + 1]`: of two generations of a loop. `others`, `[R, G + 1]`: of a loop and
    the mean of the other loops, unbiased for the squared bias of a fit.
    """
    errors = errors.astype(np.float64)
    own = np.einsum("rip,rjp->rij", errors, errors) / errors.shape[-1]
    fine = np.isfinite(errors).all(-1, keepdims=True)
    known = np.where(fine, errors, 0.0)
    others = (known.sum(0) - known) / np.maximum(fine.sum(0) - fine, 1)
    return {"own": own, "others": np.mean(errors * others, axis=-1)}


def run_experiment(
    experiment: SizedTransformers,
    seed: int,
    kept: Kept = NOWHERE,
    tell: Callable[[int], None] = lambda finished: None,
) -> Arrays:
    """What the loops of one size show, `[runs, G + 1, ...]` by name: `quality`, `products`."""
    program, replicates = shared(experiment, seed)
    size, world = experiment.size, experiment.world
    first = LoopSize(experiment.places.samples, 0) if world == "streamed" else size

    def numbers(index: int) -> Numbers:
        own = numbers_of_size(size if index else first, fresh=world in ("fresh", "streamed"))
        return own.each(experiment.runs)

    def step(replicates: Any, state: State, numbers: Numbers, index: Any) -> Any:
        new, seen = program.step(replicates, state, numbers, index)
        return (state if world == "refits" and index else new), seen

    last = experiment.generations
    found = follow(step, replicates, program.nothing, numbers, last, kept, tell)
    return products(found.pop("errors")) | found


@lru_cache(maxsize=4)
def _distilling(problem: InContext, places: LoopSize, members: int) -> Spread:
    """(replicates, fits `[R, K, ...]`, numbers, i) -> `quality` of their average, of the new fit.

    The average has the mean of the means of its members, and the variance of their mixture. They
    write equally many prompts.
    """
    learner, regime = problem.learner, Augment.from_lam(places.n_syn / places.samples)

    def distil(replicate: Replicate, fits: Params, numbers: Numbers, index: Any) -> Any:
        key, _, real, held_out = replicate
        keys = jax.random.split(generation_keys(key, index).generate, members)
        count = -(-places.n_syn // members)
        written = jax.lax.map(lambda own: learner.generate(own[0], own[1], count), (keys, fits))
        in_turn = jax.tree.map(
            lambda a: jnp.swapaxes(a, 0, 1).reshape(-1, *a.shape[2:])[: places.n_syn], written
        )
        sizes = Sizes(numbers.samples, numbers.n_syn, numbers.share)
        last = jax.tree.map(lambda a: a[-1], fits)
        new = next_generation(
            key, learner, regime, real, last, index, synthetic=in_turn, sizes=sizes
        )
        laws = jax.lax.map(lambda fit: predictions(learner, fit, held_out.prompts), fits)
        mean = laws.mean.mean(0)
        apart = laws.mean - mean[None]
        average = Normal(mean, jnp.sqrt(jnp.mean(laws.std**2 + apart**2, axis=0)))
        both = average, predictions(learner, new.params, held_out.prompts)
        seen = [quality(problem, held_out, laws) for laws in both]
        found = jax.tree.map(lambda *two: jnp.stack(two), *seen)
        return found | {"diverged_at": new.params.diverged_at}

    return over_replicates(distil, shared=1)


def run_distilled(
    experiment: Distilled,
    seed: int,
    kept: Kept = NOWHERE,
    tell: Callable[[int], None] = lambda finished: None,
) -> Arrays:
    """`quality` of the average of the fits, then of one more beside so many prompts of theirs.

    `[runs, 1 + n_syns, ...]` by name.
    """
    program, replicates = shared(experiment, seed)
    problem, runs, members = experiment.problem, experiment.runs, experiment.members
    alone = numbers_of_size(LoopSize(experiment.size.samples, 0)).each(runs)

    def step(replicates: Any, state: State, numbers: Numbers, index: Any) -> Any:
        new, _ = program.step(replicates, state, numbers, index)
        return new, dict(enumerate_leaves(new.params))

    seen = follow(step, replicates, program.nothing, alone, members - 1, kept, tell)
    leaves = [seen[name] for name, _ in enumerate_leaves(program.nothing.params)]
    fits = jax.tree.unflatten(jax.tree.structure(program.nothing.params), leaves)
    distil = _distilling(problem, experiment.places, members)
    found = []
    for n_syn in experiment.n_syns:
        numbers = numbers_of_size(LoopSize(experiment.size.samples, n_syn)).each(runs)
        found.append(on_host(distil(replicates, fits, numbers, np.int32(members))))
    diverged = [one.pop("diverged_at") for one in found]
    whole = {
        name: np.stack([found[0][name][:, 0], *(one[name][:, 1] for one in found)], axis=1)
        for name in found[0]
    }
    none = np.full(runs, -1, np.int32)
    return {**whole, "diverged_at": np.stack([none, *diverged], axis=1)}


def enumerate_leaves(params: Params) -> list[tuple[str, Any]]:
    """The arrays of parameters, by names in which they can be kept."""
    return [(f"fit_{k}", leaf) for k, leaf in enumerate(jax.tree.leaves(params))]

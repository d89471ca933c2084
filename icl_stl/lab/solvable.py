"""Exactly solvable loops, by the thousand.

The loop is that of every learner, `loops.self_consume`; what `references` says of it in closed form
makes these loops the oracle of the testbed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from icl_stl.descriptions import key as description
from icl_stl.devices import Report, many
from icl_stl.lab.experiments import Loops, SizedLoops
from icl_stl.lab.results import Arrays
from icl_stl.learners import Data
from icl_stl.loops import Generation, Sizes, generation_keys, self_consume, start_of_loop
from icl_stl.measure import of_whole_prompts
from icl_stl.models.causal import Params
from icl_stl.problems import InContext, Problem
from icl_stl.regimes import Regime, synthetic_size

Observe = Callable[[Any, Any, PRNGKeyArray, Generation], Any]
"""(truth, held-out rows, key, generation) -> a pytree."""


def loop(
    problem: Problem,
    regime: Regime,
    samples: int,
    generations: int,
    key: PRNGKeyArray,
    observe: Observe,
    sizes: Sizes | None = None,
) -> Any:
    """One loop from its key alone: truth, real set, generations; what `observe` sees of them."""
    key_loop, truth, real, held_out = problem.start(key, samples)
    own = problem.learner, real, generations
    seen = lambda key, generation: observe(truth, held_out, key, generation)  # noqa: E731
    draw = lambda key, count: problem.draw(key, truth, count)  # noqa: E731
    return self_consume(key_loop, *own, regime=regime, observe=seen, draw_real=draw, sizes=sizes)


def measurements(problem: Problem, regime: Regime, *, one_step: bool = True) -> Observe:
    """An observer of what the problem records of a generation, one number of each.

    Of prompts of the transformer: `measure.of_whole_prompts`.
    """
    wanted = one_step and regime.mixes_last

    def observe(
        truth: Any, held_out: Any, key: PRNGKeyArray, generation: Generation
    ) -> dict[str, Any]:
        seen = problem.observe(key, truth, held_out, generation, one_step=wanted)
        return of_whole_prompts(seen) if isinstance(problem, InContext) else seen

    return observe


def certificate_terms(problem: Problem) -> Any:
    """An observer of what the certificate of linear attention asks for, and of the gap."""

    def observe(
        truth: Any, held_out: Any, key: PRNGKeyArray, generation: Generation
    ) -> dict[str, Any]:
        gamma = generation.params
        losses = problem.loss(gamma, generation.training_set)
        return {
            "gap": problem.risk(truth, gamma) - generation.row_weights @ losses,
            "to_best": jnp.sqrt(jnp.sum((gamma - problem.best(truth)) ** 2)),
            "to_previous": jnp.sqrt(jnp.sum((gamma - generation.previous) ** 2)),
        }

    return observe


def implied_variances(problem: Problem, samples: int) -> Any:
    """An observer of the task variance that prompts show, and of the excess.

    `fitted`: of the prompts that the generation learned from; `written`: of as many fresh prompts
    from its generator as there are real ones.
    """
    implied = problem.implied
    if implied is None:
        raise ValueError("problem must be one of prompts with a task, but its implied is None")

    def observe(
        truth: Any, held_out: Any, key: PRNGKeyArray, generation: Generation
    ) -> dict[str, Any]:
        fresh = problem.learner.generate(key, generation.params, samples)
        return {
            "fitted": implied(generation.training_set, generation.row_weights),
            "written": implied(fresh, jnp.full(samples, 1 / samples)),
            "excess": problem.excess(truth, generation.params),
        }

    return observe


class Terms(NamedTuple):
    """Terms of the gap identity that one loop shows by itself."""

    gap: Any
    synthetic: Any
    shift: Any


class _Swapped(NamedTuple):
    """One generation of one of two loops whose real sets differ in the first row."""

    params: Params
    direct: Params
    """θ_i refitted with the first real row replaced, synthetic rows kept."""
    own: "Terms"


def _with_row(data: Data, row: Data, at: int) -> Data:
    return jax.tree.map(lambda a, b: a.at[at].set(b), data, row)


def _swapped_pair(
    problem: Problem, regime: Regime, samples: int, generations: int, key: PRNGKeyArray
) -> tuple[_Swapped, Data]:
    """Two loops with shared randomness, real sets differing in row 0; that row."""
    key_truth, key_real, key_loop = jax.random.split(key, 3)
    truth = problem.truth(key_truth)
    drawn = problem.draw(key_real, truth, samples + 1)
    real = jax.tree.map(lambda a: a[:samples], drawn)
    rows = jax.tree.map(lambda a: jnp.stack([a[0], a[samples]]), drawn)
    other = jax.tree.map(lambda a: a[1], rows)
    neighbours = jax.tree.map(lambda a, b: jnp.stack([a, b]), real, _with_row(real, other, 0))

    def observe(key: PRNGKeyArray, generation: Generation) -> _Swapped:
        params, previous, seen, weights, index = generation[:5]
        key_fit = generation_keys(key_loop, index).fit
        direct = problem.learner.fit(key_fit, _with_row(seen, other, 0), weights)
        best, share = problem.best(truth), weights[0] * samples
        later = jnp.where(index == 0, 0.0, 1.0)
        losses, at_best = problem.loss(params, seen), problem.loss(best, seen)
        risk, least = problem.risk(truth, params), problem.risk(truth, best)
        fresh = problem.learner.generate(key, previous, 1)
        old = jax.tree.map(lambda a: a[samples : samples + 1], seen)
        swapped = problem.learner.fit(
            key_fit, _with_row(seen, jax.tree.map(lambda a: a[0], fresh), samples), weights
        )
        # The gaps of the best and of the generating parameters have mean 0: take them out. In
        # generation 0 synthetic rows have no weight and no part.
        known = jnp.concatenate([at_best[:samples], problem.loss(previous, seen)[samples:]])
        zero = share * least + (1 - share) * problem.synthetic_risk(previous, previous)
        return _Swapped(
            params,
            direct,
            Terms(
                gap=risk - zero - weights @ (losses - known),
                synthetic=later * jnp.sum(problem.loss(swapped, old) - problem.loss(params, old)),
                shift=later * (risk - problem.synthetic_risk(previous, params)),
            ),
        )

    def one(real: Data) -> _Swapped:
        seen: _Swapped = self_consume(
            key_loop, problem.learner, real, generations, regime=regime, observe=observe
        )
        return seen

    return jax.vmap(one)(neighbours), jax.tree.map(lambda a: a[:1], rows)


def identity_terms(
    problem: Problem, regime: Regime, samples: int, generations: int, key: PRNGKeyArray
) -> dict[str, Any]:
    """One loop's terms of the gap identity, `[G + 1]` each; generation 0 has the direct part alone.

    Unbiased for the means in E gap = α (direct + indirect) + (1 - α) (synthetic + shift): the loop
    is run again, with shared randomness, from a real set whose first row is drawn anew. Terms of
    mean zero are taken out of the gap, so that it varies less.
    Source: derived here: THEORY.md statement 13.
    """
    pair, first = _swapped_pair(problem, regime, samples, generations, key)

    def at_first(params: Params) -> Any:
        return jax.vmap(lambda one: jnp.sum(problem.loss(one, first)))(params)

    original = jax.tree.map(lambda a: a[0], pair)
    other = jax.tree.map(lambda a: a[1], pair.params)
    base, direct = at_first(original.params), at_first(original.direct)
    return {**original.own._asdict(), "direct": direct - base, "indirect": at_first(other) - direct}


def batch_size(
    problem: Problem, regime: Regime, samples: int, generations: int, floats: int = 2**18
) -> int:
    """Loops that fit in memory of so many numbers at a time."""
    rows = jax.eval_shape(
        lambda key: problem.draw(key, problem.truth(key), samples), jax.random.key(0)
    )
    width = sum(leaf.size for leaf in jax.tree.leaves(rows)) / samples
    kept = generations if regime.keeps_history else 1
    return max(1, int(floats / (width * (samples + kept * synthetic_size(regime, samples)))))


def simulate(
    problem: Problem,
    regime: Regime,
    *,
    samples: int,
    generations: int,
    runs: int,
    seed: int = 0,
    report: Report = lambda text, done, total: None,
) -> Arrays:
    """Excess, gap, drift and one-step error of every generation of many loops: `[runs, G + 1]`."""
    description(regime, "regime")  # programs are kept: one for regimes that compare equal
    check_fit(problem, regime, samples, generations)
    of = problem, regime, samples, generations
    batch = batch_size(*of)
    found: Arrays = many(_measured_loop, of, runs, seed=seed, batch=batch, report=report)
    return found


def check_fit(
    problem: Problem, regime: Regime, samples: int, generations: int, seed: int = 0
) -> None:
    """`loops.start_of_loop` from one real set, since nothing is known inside of a program."""
    key_loop, truth, real, _ = problem.start(jax.random.key(seed), samples)
    draw = lambda key, count: problem.draw(key, truth, count)  # noqa: E731
    start_of_loop(key_loop, problem.learner, regime, real, generations, draw)


def _measured_loop(of: tuple[Problem, Regime, int, int], key: PRNGKeyArray) -> Any:
    """One loop with its `measurements`: of (problem, regime, n, G)."""
    problem, regime = of[:2]
    return loop(*of, key, measurements(problem, regime))


def _run(experiment: Loops, key: PRNGKeyArray) -> Any:
    """One loop of an experiment."""
    problem = experiment.problem
    regime, n, last = experiment.regime, experiment.samples, experiment.generations
    if experiment.observe == "identity":
        return identity_terms(problem, regime, n, last, key)
    if experiment.observe == "certificate":
        observe = certificate_terms(problem)
    elif experiment.observe == "implied":
        observe = implied_variances(problem, n)
    else:
        observe = measurements(problem, regime, one_step=experiment.observe != "risks")
    return loop(problem, regime, n, last, key, observe)


def run_experiment(
    experiment: Loops, seed: int, report: Report = lambda text, done, total: None
) -> Arrays:
    """What an experiment observes: arrays `[runs, G + 1]` by name."""
    problem = experiment.problem
    regime, n, last = experiment.regime, experiment.samples, experiment.generations
    batch, runs = batch_size(problem, regime, n, last), experiment.runs
    found: Arrays = many(_run, experiment, runs, seed=seed, batch=batch, report=report)
    return found


def _run_sizes(experiment: SizedLoops, key: PRNGKeyArray) -> Any:
    """One loop of every size."""
    problem = experiment.problem
    one_step = experiment.observe != "risks"
    regime, n, last = experiment.regime, experiment.samples, experiment.generations
    real, n_syn, share = (jnp.array(column) for column in zip(*experiment.rows, strict=True))

    def one(sizes: Sizes) -> Any:
        observe = measurements(problem, regime, one_step=one_step)
        return loop(problem, regime, n, last, key, observe, sizes)

    return jax.vmap(one)(Sizes(real, n_syn, share.astype(jnp.float32)))


def run_sizes(experiment: SizedLoops, seed: int) -> Arrays:
    """What loops of many sizes show, their randomness shared: `[runs, sizes, G + 1]` by name.

    One program serves all sizes: every loop draws as many rows as the largest, and rows beyond its
    own size have no weight.
    """
    size = batch_size(
        experiment.problem, experiment.regime, experiment.samples, experiment.generations
    )
    batch = max(1, size // len(experiment.sizes))
    found: Arrays = many(_run_sizes, experiment, experiment.runs, seed=seed, batch=batch)
    return found

"""Loops whose generators are sampled with a bias: how good and how diverse their rows are."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import entr
from jaxtyping import PRNGKeyArray
from scipy.stats import norm

from icl_stl.devices import many
from icl_stl.lab.results import Arrays
from icl_stl.learners import Learner, categorical
from icl_stl.learners.generative.mixture import Mixture
from icl_stl.learners.laws import powered
from icl_stl.loops import generation_keys, next_generation, start_of_loop
from icl_stl.problems import EmpiricalBayes
from icl_stl.regimes import FreshReal
from icl_stl.studies.mad.experiments import LOOPS, BiasedLoops

SYMBOLS = 20
WITHIN = 0.95
"""Mass of the real law on the rows that count as precise: its likeliest ones."""
SHARES, MEANS, DEVIATIONS = (0.7, 0.3), (-2.0, 2.0), (1.0, 0.5)
"""The real law of rows: two components, with one row in three of the smaller."""
FLOATS = 2**20


class Observed(NamedTuple):
    """A learner, its real law, and what is seen of a generation: key, θ, s -> numbers by name.

    `distance` to the real law, `precision` (the share of generated rows among its likeliest 95 %,
    over 95 %), and of diversity `spread` and `support`.
    """

    learner: Learner
    draw: Callable[[PRNGKeyArray, int], Any]
    observe: Callable[[PRNGKeyArray, Any, Any], dict[str, Any]]


def _symbols(samples: int) -> Observed:
    """A law p_k of order 1/k: total variation, entropy in nats, symbols left."""
    real = 1 / np.arange(1.0, SYMBOLS + 1)
    law = jnp.asarray(real / real.sum(), jnp.float32)
    likely = np.cumsum(law) - law < WITHIN
    learner = categorical(SYMBOLS)

    def observe(key: PRNGKeyArray, fitted: Any, bias: Any) -> dict[str, Any]:
        drawn = powered(fitted, bias)
        return {
            "distance": jnp.sum(jnp.abs(drawn - law)) / 2,
            "precision": (drawn @ likely) / (law @ likely),
            "spread": jnp.sum(entr(drawn)),
            "support": jnp.sum(drawn > 0).astype(drawn.dtype),
        }

    return Observed(learner, lambda key, count: learner.generate(key, law, count), observe)


def _rows(learner: Learner, samples: int) -> Observed:
    """Numbers of two components: squared W2 of fresh rows, and their variance.

    W2 is that of the sorted rows from as many quantiles of the real law.
    """
    grid = np.linspace(-7, 5, 20_001)
    each = zip(SHARES, MEANS, DEVIATIONS, strict=True)
    density = sum(share * norm.pdf(grid, mean, std) for share, mean, std in each)
    below = np.cumsum(density) / density.sum()
    quantiles = jnp.asarray(np.interp((np.arange(samples) + 0.5) / samples, below, grid))
    order = np.sort(density)[::-1]
    least = float(order[np.searchsorted(np.cumsum(order) / order.sum(), WITHIN)])
    means, deviations = jnp.array(MEANS), jnp.array(DEVIATIONS)

    def draw(key: PRNGKeyArray, count: int) -> Any:
        key_part, key_noise = jax.random.split(key)
        part = (jax.random.uniform(key_part, (count,)) < SHARES[1]).astype(jnp.int32)
        return (means[part] + deviations[part] * jax.random.normal(key_noise, (count,)))[:, None]

    def observe(key: PRNGKeyArray, law: Any, bias: Any) -> dict[str, Any]:
        rows = jnp.sort(learner.generate(key, law, samples, bias=bias)[:, 0])
        z = (rows[:, None] - means) / deviations
        at = jnp.sum(jnp.array(SHARES) * jnp.exp(-(z**2) / 2) / deviations, 1) / np.sqrt(2 * np.pi)
        return {
            "distance": jnp.mean((rows - quantiles) ** 2),
            "precision": jnp.mean(at >= least) / WITHIN,
            "spread": jnp.var(rows),
        }

    return Observed(learner, draw, observe)


def _prompts(samples: int) -> Observed:
    """Prompts of the orthogonal design by the Bayes predictor with a fitted prior, in context.

    The excess squared error of a label is the distance, the task variance of fresh prompts the
    spread; rows are labels, precise within the central 95 % of the real law of each.
    """
    problem = EmpiricalBayes(plug_in=False)
    learner, implied = problem.learner, problem.implied
    even = jnp.full(samples, 1 / samples)
    edge = (
        norm.ppf(0.5 + WITHIN / 2)
        * (problem.dim * problem.prior_scale**2 + problem.noise**2) ** 0.5
    )

    def observe(key: PRNGKeyArray, law: Any, bias: Any) -> dict[str, Any]:
        labels = learner.generate(key, law, samples, bias=bias)
        return {
            "distance": problem.excess((), law),
            "precision": jnp.mean(jnp.abs(labels) < edge) / WITHIN,
            "spread": implied(labels, even),
        }

    return Observed(learner, lambda key, count: problem.draw(key, (), count), observe)


KINDS: dict[str, Callable[[int], Observed]] = {
    "symbols": _symbols,
    "mixture": lambda samples: _rows(Mixture(components=2, steps=10).make(1), samples),
    "prompts": _prompts,
}


def _run(experiment: BiasedLoops, key: PRNGKeyArray) -> dict[str, Any]:
    """One run of all loops and biases, in one program."""
    learner, draw, observe = KINDS[experiment.learner](experiment.samples)
    key_real, key_loop = jax.random.split(key)
    regime, last, biases = FreshReal(), experiment.generations, experiment.biases
    first = draw(key_real, experiment.samples)
    real, zeros = start_of_loop(key_loop, learner, regime, first, last, draw)

    def at(bias: Any, share: Any, fresh: Any) -> dict[str, Any]:
        own = replace(learner, generate=partial(learner.generate, bias=bias))
        how: dict[str, Any] = {"draw_real": draw, "from_first": True}
        how |= {"share": share, "fresh": fresh}

        def step(params: Any, index: Any) -> tuple[Any, dict[str, Any]]:
            made = next_generation(key_loop, own, regime, real, params, index, **how)
            key = generation_keys(key_loop, index).observe
            return made.params, observe(key, made.params, bias)

        seen: dict[str, Any] = jax.lax.scan(step, zeros, jnp.arange(last + 1))[1]
        return seen

    each = jnp.array([(bias, *loop) for loop in LOOPS.values() for bias in biases])
    seen = jax.vmap(at)(each[:, 0], each[:, 1], each[:, 2] > 0)
    found: dict[str, Any] = {}
    for k, loop in enumerate(LOOPS):
        own = slice(k * len(biases), (k + 1) * len(biases))
        found |= {f"{loop}_{name}": values[own] for name, values in seen.items()}
    return found


def biased_loops(experiment: BiasedLoops, seed: int) -> Arrays:
    """How good and diverse rows are: `[runs, biases, G + 1]` by regime and quantity."""
    floats = 2 * experiment.samples * len(experiment.biases) * len(LOOPS)
    batch = max(1, FLOATS // floats)
    found: Arrays = many(_run, experiment, experiment.runs, seed=seed, batch=batch)
    return found

"""Prompts written by a generator that forgets its uncertainty, where `solvable` has no loop for it.

Prompts that are read and written again, prompts that linear attention writes, and the transformer
with the noise alone in place of its predictive deviation.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from icl_stl.devices import many
from icl_stl.lab.results import Arrays
from icl_stl.lab.runs import at_shares
from icl_stl.laws.prompts import standard_normal
from icl_stl.learners.orthogonal import implied_variance, sample_labels
from icl_stl.studies.collapse.experiments import LayerPrompts, PlugInLoops, Regeneration

FLOATS = 2**20
"""Numbers of a batch of runs at a time."""


def _batch(floats: int) -> int:
    return max(1, FLOATS // floats)


def _regenerate(experiment: Regeneration, key: PRNGKeyArray) -> dict[str, Any]:
    """One run of all variants, with common random numbers."""
    dim, n, noise, count = (
        getattr(experiment, name) for name in ("dim", "repeats", "noise", "prompts")
    )
    variance = experiment.prior_scale**2
    own = noise**2 / (n * dim)  # variance of the least-squares task given the task
    even = jnp.full(count, 1 / count)
    draw = partial(
        sample_labels,
        count=count,
        dim=dim,
        repeats=n,
        noise=noise,
        prior_scale=experiment.prior_scale,
    )

    def variant(refits: Any, samples: Any, alpha: Any) -> Any:
        def again(labels: Any, key: Any) -> Any:
            keys = jax.random.split(key, 4)
            seen = implied_variance(labels, even, noise)
            prior = jnp.where(refits, jnp.maximum(seen, 0), variance)
            shrunk = prior / (prior + own)
            read = jax.random.permutation(keys[0], jnp.mean(labels, 1)) / dim**0.5
            error = samples * jnp.sqrt(own * shrunk) * standard_normal(keys[1], count, dim)
            tasks = shrunk * read + error
            written = dim**0.5 * tasks[:, None] + noise * standard_normal(keys[2], count, n, dim)
            is_real = jnp.arange(count) < jnp.round(alpha * count)
            return jnp.where(is_real[:, None, None], draw(keys[3]), written), seen

        key_first, key_rest = jax.random.split(key)
        keys = jax.random.split(key_rest, experiment.generations + 1)
        return jax.lax.scan(again, draw(key_first), keys)[1]

    kinds = jnp.array([(0, 0, 0.0), (0, 1, 0.0), *((1, 0, a) for a in experiment.alphas)])
    frozen, sampled, *refitted = jax.vmap(variant)(*kinds.T)
    named = {f"refitted_{a}": path for a, path in zip(experiment.alphas, refitted, strict=True)}
    return {"frozen": frozen, "sampled": sampled, **named}


def regenerate(experiment: Regeneration, seed: int) -> Arrays:
    """Task variances of prompts that are read and written again: `[runs, G + 1]` by variant.

    Each generation reads prompts in a random order and answers with the posterior mean (`frozen`),
    with a draw from the posterior (`sampled`), or with the posterior mean of a prior fitted to what
    was read, beside a share α of new real prompts (`refitted_α`).
    """
    variants = 2 + len(experiment.alphas)
    floats = experiment.prompts * experiment.repeats * experiment.dim * variants
    found: Arrays = many(_regenerate, experiment, experiment.runs, seed=seed, batch=_batch(floats))
    return found


def _layer(experiment: LayerPrompts, key: PRNGKeyArray) -> dict[str, Any]:
    dim, count, length = experiment.dim, experiment.prompts, experiment.labels
    k = jnp.arange(1, length)

    def sums(xs: Any, ys: Any) -> Any:
        return jnp.cumsum(xs[:, :-1] * ys[:, :-1, None], axis=1)  # B_k, k = 1..L-1

    def products(xs: Any, ys: Any) -> tuple[Any, Any, Any]:
        """Means over prompts of |B_k|², and of both sides of the normal equation."""
        before = sums(xs, ys)
        feature = jnp.einsum("nkd,nkd->nk", xs[:, 1:], before) / k[None]
        squares = jnp.mean(jnp.sum(before**2, -1), 0)
        return squares, jnp.mean(feature * ys[:, 1:], 0).sum(), jnp.mean(feature**2, 0).sum()

    def write(gamma: Any, noises: Any, key: Any) -> tuple[Any, Any]:
        key_xs, key_noise = jax.random.split(key)
        xs = standard_normal(key_xs, count, length, dim)
        noise = noises[:, None] * standard_normal(key_noise, length, count)

        def label(total: Any, visit: Any) -> Any:
            j, x, error = visit
            y = gamma * jnp.sum(x * total, -1) / jnp.maximum(j, 1) + error
            return total + x * y[:, None], y

        start = jnp.zeros((count, dim))
        _, ys = jax.lax.scan(label, start, (jnp.arange(length), jnp.swapaxes(xs, 0, 1), noise))
        return xs, ys.T

    def real(key: Any) -> tuple[Any, Any]:
        keys = jax.random.split(key, 3)
        xs = standard_normal(keys[0], count, length, dim)
        ws = experiment.prior_scale * standard_normal(keys[1], count, dim)
        noise = experiment.noise * standard_normal(keys[2], count, length)
        return xs, jnp.einsum("nkd,nd->nk", xs, ws) + noise

    def refits(noises: Any) -> Any:
        def refit(gamma: Any, key: Any) -> Any:
            key_real, key_written = jax.random.split(key)
            _, real_cross, real_square = products(*real(key_real))
            squares, cross, square = products(*write(gamma, noises, key_written))
            a = experiment.alpha
            new = (a * real_cross + (1 - a) * cross) / (a * real_square + (1 - a) * square)
            return new, {"gamma": new, "squares": squares}

        keys = jax.random.split(key, experiment.generations)
        return jax.lax.scan(refit, jnp.float32(experiment.start), keys)[1]

    seen: dict[str, Any] = jax.vmap(refits)(jnp.array(experiment.noises))
    return seen


def layer_prompts(experiment: LayerPrompts, seed: int) -> Arrays:
    """Refits of one number γ to real prompts and those that the layer writes.

    For each of the V generators, with common random numbers: `gamma`, γ_1..γ_G, `[runs, V, G]`;
    `squares`, E|B_k|² of the prompts that generation g < G wrote, k = 1..L-1, `[runs, V, G, L-1]`.
    """
    floats = experiment.prompts * experiment.labels * experiment.dim * len(experiment.noises)
    found: Arrays = many(_layer, experiment, experiment.runs, seed=seed, batch=_batch(floats))
    return found


def plug_in_loops(experiment: PlugInLoops, seed: int) -> Arrays:
    """Loops of the transformer that writes labels with the noise alone, from the main job's keys.

    Each array is `[runs, shares, G + 1]`: `implied_task_variance`, `excess_squared_risk` (mean over
    positions) and `drift` of whole prompts. Generation 0 is fitted as the main job's.
    """
    e, problem = experiment, replace(experiment.problem, plug_in=True)
    seen = at_shares(problem, e.samples, e.shares, e.generations, e.runs, seed)
    return {
        "implied_task_variance": seen["implied_task_variance"],
        "excess_squared_risk": seen["excess_squared_risk"].mean(-1),
        "drift": seen["drift"][..., -1],
        "diverged_at": seen["diverged_at"],
    }

"""Recursive stability, measured: loops from real sets that differ in one row.

Nothing is assumed of the learner. Two loops share all their randomness, or, where rows are counted,
are coupled maximally; what one replaced real row moves is followed from generation to generation. A
maximum over the rows tried is a LOWER bound on the supremum that recursive stability asks for: it
can refute a constant and never certify one.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from icl_stl.config import QueryArchitecture
from icl_stl.devices import Spread, many, over_replicates
from icl_stl.lab.results import Arrays
from icl_stl.lab.solvable import batch_size
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import Prompts, bayes_predictive, sample_prompts
from icl_stl.learners import Data, maximal_coupling
from icl_stl.learners.attention import features
from icl_stl.loops import Generation, Sizes, coupled
from icl_stl.measure import differences, parameter_distance
from icl_stl.models.query import effective_weights
from icl_stl.problems import Bernoulli, Categorical, LinearAttention, attention_law
from icl_stl.regimes import Augment, real_share
from icl_stl.studies.stability.experiments import NeighbouringLoops, NeighbouringTransformers


def swapped(real: Data, rows: Data, places: Array) -> Data:
    """Real sets `[K + 1, n, ...]`: the given one, then with row k in place `places[k]` of it."""

    def leaf(a: Array, new: Array) -> Array:
        others = jax.vmap(lambda row, place: a.at[place].set(row))(new, places)
        return jnp.concatenate([a[None], others])

    return jax.tree.map(leaf, real, rows)


def share_of_rows(rows: Data, weights: Float[Array, " N"]) -> Float[Array, ""]:
    """Weight of the rows in which two training sets `[2, N, ...]` differ."""
    differ = [
        jnp.any((a[0] != a[1]).reshape(weights.shape[0], -1), axis=1) for a in jax.tree.leaves(rows)
    ]
    return weights @ jnp.any(jnp.stack(differ), axis=0)


def contraction_terms(
    generation: Generation, share: float, samples: int, penalty: float
) -> dict[str, Array]:
    """What the contraction of linear attention asks for, of two loops with shared randomness.

    With B = α Σ' + ρ I (Σ' the second moment of the neighbour's real features), C that of the
    synthetic ones times 1 - α, and residuals r at the loop's own Γ, in the norm |v|² = vᵀ B v:
    |Δ_i| <= c/(1 + c) |Δ_{i-1}| + |g| / (N √λ_min(B)), c = λ_max(B^-1/2 C B^-1/2) and
    g = φ_k r_k - φ'_k r'_k for the swapped row k = 0.

    Source: derived here: THEORY.md statement 71.
    """
    own, other = (jax.tree.map(lambda a, k=k: a[k], generation.training_set) for k in (0, 1))
    gamma, weights = generation.params[0].ravel(), generation.row_weights[0]
    delta = gamma - generation.params[1].ravel()
    phi_own, phi = features(own), features(other)
    real = phi[:samples]
    base = share * real.T @ real / samples + penalty * jnp.eye(phi.shape[1])
    synthetic = (weights[samples:, None] * phi[samples:]).T @ phi[samples:]
    root = jnp.linalg.cholesky(base)
    inner = jax.scipy.linalg.solve_triangular(root, synthetic, lower=True)
    inner = jax.scipy.linalg.solve_triangular(root, inner.T, lower=True)
    c = jnp.linalg.eigvalsh(inner)[-1]
    first = phi_own[0] * (own.ys[0, -1] - phi_own[0] @ gamma)
    second = phi[0] * (other.ys[0, -1] - phi[0] @ gamma)
    least = jnp.linalg.eigvalsh(base)[0]
    return {
        "distance": jnp.sqrt(delta @ base @ delta),
        "contraction": c / (1 + c),
        "injected": weights[0] * jnp.linalg.norm(first - second) / jnp.sqrt(least),
    }


def neighbouring_loops(experiment: NeighbouringLoops, key: PRNGKeyArray) -> dict[str, Any]:
    """One pair of solvable loops whose real sets differ in row 0: `[G + 1]` each.

    `parameters`, their Euclidean distance; `tv` between the generators, where it is known; `rows`,
    the weight of the rows in which the training sets differ. Among symbols the first is swapped for
    the last, elsewhere a row for a new one of the real law.
    """
    problem, regime, n = experiment.problem, experiment.regime, experiment.samples
    key_truth, key_real, key_loop = jax.random.split(key, 3)
    truth = problem.truth(key_truth)
    drawn = problem.draw(key_real, truth, n + 1)
    real, row = jax.tree.map(lambda a: a[:n], drawn), jax.tree.map(lambda a: a[n:], drawn)
    if isinstance(problem, Bernoulli | Categorical):  # the first symbol for the last
        real, row = real.at[0].set(0), jnp.full_like(row, max(1, jnp.size(truth) - 1))

    def observe(key: PRNGKeyArray, generation: Generation) -> dict[str, Any]:
        first, second = (jax.tree.map(lambda a, k=k: a[k], generation.params) for k in (0, 1))
        weights = generation.row_weights[0]
        seen = {
            "parameters": parameter_distance(first, second),
            "rows": share_of_rows(generation.training_set, weights),
        }
        if problem.drift is not None:
            seen["tv"] = problem.drift(key, second, first)
        if experiment.contraction and isinstance(problem, LinearAttention):
            share = real_share(regime, n, 1)
            seen |= contraction_terms(generation, share, n, problem.penalty)
        return seen

    found: dict[str, Any] = coupled(
        key_loop,
        problem.learner,
        swapped(real, row, jnp.zeros(1, int)),
        experiment.generations,
        regime=regime,
        observe=observe,
        draw_real=lambda key, count: problem.draw(key, truth, count),
        generate_jointly=maximal_coupling if experiment.coupling == "maximal" else None,
    )
    return found


def run_loops(experiment: NeighbouringLoops, seed: int) -> Arrays:
    """What many pairs of solvable loops show: `[runs, G + 1]`."""
    size = batch_size(
        experiment.problem, experiment.regime, experiment.samples, experiment.generations
    )
    found: Arrays = many(
        neighbouring_loops, experiment, experiment.runs, seed=seed, batch=max(1, size // 2)
    )
    return found


CANDIDATES = 512
"""New prompts among which a swap is searched for."""


def searched_swaps(
    task: LinearRegression, real: Prompts, samples: Any, candidates: Prompts, count: int
) -> tuple[Prompts, Array]:
    """The swaps that would move the best linear self-attention most; their places.

    Of all pairs of one of the first n = `samples` real prompts and a candidate of the real law,
    those whose gradients Σ_k (y_k - g x_kᵀ h) h x_kᵀ, h = (1/k) Σ_{j<k} x_j y_j, are farthest
    apart, one for each of `count` places. A search by a stand-in for the transformer, cheap enough
    for every loop.
    """
    g = attention_law(task).scale

    def gradients(prompts: Prompts) -> Float[Array, "E p"]:
        pairs = prompts.xs * prompts.ys[..., None]
        before = jnp.cumsum(pairs, axis=1) - pairs
        h = before / jnp.maximum(jnp.arange(task.context), 1)[None, :, None]
        rest = prompts.ys - g * jnp.sum(prompts.xs * h, axis=-1)
        return jnp.einsum("ekd,ekf,ek->edf", h, prompts.xs, rest).reshape(len(rest), -1)

    own, other = gradients(real), gradients(candidates)
    apart = jnp.sum((own[:, None] - other[None]) ** 2, axis=-1)
    apart = jnp.where(jnp.arange(len(own))[:, None] < samples, apart, -1.0)
    places = jax.lax.top_k(apart.max(axis=1), count)[1]
    chosen = jnp.argmax(apart[places], axis=1)
    return jax.tree.map(lambda a: a[chosen], candidates), places


def neighbouring_transformers(
    experiment: NeighbouringTransformers, key: PRNGKeyArray, sizes: Sizes
) -> dict[str, Any]:
    """One transformer loop beside its neighbours: `[G + 1, K]`, the K of one loop side by side.

    Of the experiment all counts but its size, which is given by itself: one program serves all
    sizes with the same places. The first `neighbours` swap a random real prompt for a new one, the
    `searched` others make the swaps of `searched_swaps`. What is recorded: `measure.differences`.
    """
    problem, n = experiment.problem, experiment.places.samples
    task, learner = problem.task, problem.learner
    key_real, key_places, key_loop = jax.random.split(key, 3)
    # One draw for all: each takes a while to compile.
    ends = np.cumsum((n, experiment.neighbours, problem.held_out, CANDIDATES))
    drawn = sample_prompts(task, key_real, int(ends[-1]))
    real, new, test, candidates = (
        jax.tree.map(lambda a, own=slice(end - count, end): a[own], drawn)
        for count, end in zip(np.diff(ends, prepend=0), ends, strict=True)
    )
    lottery = jax.random.uniform(key_places, (n,))
    lottery = jnp.where(jnp.arange(n) < sizes.samples, lottery, -1.0)
    places = jax.lax.top_k(lottery, experiment.neighbours)[1]
    found, found_places = searched_swaps(task, real, sizes.samples, candidates, experiment.searched)
    rows = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), new, found)
    bayes = jax.vmap(lambda prompt: bayes_predictive(task, prompt))(test)

    def acting(fitted: Any) -> Any:
        """The matrices that act, where the network has factors and caps."""
        if isinstance(problem.architecture, QueryArchitecture):
            return effective_weights(problem.architecture, fitted.weights)
        return fitted.weights

    def observe(key: PRNGKeyArray, generation: Generation) -> dict[str, Any]:
        own = jax.tree.map(lambda a: a[0], generation.params)
        fresh = learner.generate(key, own, problem.held_out)
        compared = differences(task, learner, generation.params, acting, test, bayes, fresh)
        return compared._asdict()

    seen: dict[str, Any] = coupled(
        key_loop,
        learner,
        swapped(real, rows, jnp.concatenate([places, found_places])),
        experiment.generations,
        regime=Augment.from_lam(experiment.places.n_syn / n),
        observe=observe,
        sizes=sizes,
        over=_one_by_one if jax.default_backend() == "cpu" else jax.vmap,
    )
    return seen


def _one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function mapped over the first axis of its arguments, one after the other."""
    return lambda *args: jax.lax.map(lambda own: function(*own), args)


@lru_cache(maxsize=16)
def _program(experiment: NeighbouringTransformers) -> Spread:
    """(replicate numbers, seed, sizes) -> what these loops show, whatever the size."""

    def one(index: Any, seed: Any, sizes: Sizes) -> dict[str, Any]:
        key = jax.random.fold_in(jax.random.key(seed), index)
        return neighbouring_transformers(experiment, key, sizes)

    return over_replicates(one, shared=2, quick_compilation=True)


def run_transformers(experiment: NeighbouringTransformers, seed: int) -> Arrays:
    """What loops of transformers and their neighbours show: `[runs, G + 1, ...]`."""
    size = experiment.size
    sizes = Sizes(np.int32(size.samples), np.int32(size.n_syn), np.float32(size.share))
    program = _program(replace(experiment, size=experiment.places))
    found = program(np.arange(experiment.runs, dtype=np.int32), np.int32(seed), sizes)
    return {name: np.asarray(values) for name, values in found.items()}

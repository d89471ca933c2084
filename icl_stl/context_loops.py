"""Context loops by the thousand: frozen predictors that relabel their own context.

The loop is `loops.relabel_context`. All shares that are kept run in one program, with the same
randomness, each from two starts if the experiment says how they differ.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from icl_stl.devices import Report, many
from icl_stl.experiments import ContextLoops
from icl_stl.loops import Predict, relabel_context
from icl_stl.results import Arrays
from icl_stl.tasks import Prompts, sample_inputs, sample_noise, sample_tasks, standard_normal


def ridge(penalty: float = 0.0) -> Predict:
    """The ideal ridge predictor, f(x) = xᵀ (Xᵀ X + λ I)^{-1} Xᵀ y.

    Args:
        penalty: λ >= 0; the posterior mean for λ = σ²/τ². With 0, least squares, the inputs must
            span the space.
    """

    def predict(
        xs: Float[Array, "m d"], ys: Float[Array, " m"], query: Float[Array, " d"]
    ) -> Float[Array, ""]:
        gram = xs.T @ xs + penalty * jnp.eye(xs.shape[1])
        return query @ jax.scipy.linalg.solve(gram, xs.T @ ys, assume_a="pos")

    return predict


def linear_attention(gamma: Float[Array, "d d"] | float) -> Predict:
    """Linear attention, f(x) = xᵀ Γ (1/m) Σ_i x_i y_i.

    Args:
        gamma: Γ, or a number c for c I. The best one is m/(m + d + 1 + σ²/τ²) for normal inputs.
    """

    def predict(
        xs: Float[Array, "m d"], ys: Float[Array, " m"], query: Float[Array, " d"]
    ) -> Float[Array, ""]:
        moment = xs.T @ ys / ys.shape[0]
        return query @ (gamma @ moment if jnp.ndim(gamma) else gamma * moment)

    return predict


def context_pair(
    experiment: ContextLoops,
    predict: Predict,
    queries: Float[Array, "Q d"],
    key: PRNGKeyArray,
) -> dict[str, Any]:
    """The loops of one prompt, for every share that is kept, and their coupled twins.

    Args:
        experiment: What is run.
        predict: The frozen predictor.
        queries: Where it is asked in every generation.
        key: Randomness of prompt and loops.

    Returns:
        `task` `[d]`, `xs` `[m, d]`, `ys` `[m]`: the prompt; `shift` `[m]`, how the labels of the
        twin differ at the start; `predictions` and `changed` `[K, G + 1, Q]`, of the loop and of
        its twin; `inputs` `[K, G + 1, m, d]` if they are drawn anew beside a fixed real set.
    """
    task, count = experiment.task, experiment.task.context
    key_task, key_prompt, key_shift, key_loop = jax.random.split(key, 4)
    weights = sample_tasks(task, key_task, 1)[0]

    def draw_inputs(key: PRNGKeyArray, rows: int) -> Float[Array, "rows d"]:
        return sample_inputs(task, key, rows)

    def draw_real(key: PRNGKeyArray, rows: int) -> Prompts:
        key_xs, key_noise = jax.random.split(key)
        xs = draw_inputs(key_xs, rows)
        return Prompts(xs, xs @ weights + task.noise * sample_noise(task, key_noise, (rows,)))

    real = draw_real(key_prompt, count)
    shift = {
        "none": lambda: jnp.zeros(count),
        "start": lambda: OTHER * standard_normal(key_shift, count),
        "first": lambda: jnp.zeros(count).at[0].set(1.0),
        "last": lambda: jnp.zeros(count).at[-1].set(1.0),
    }[experiment.change]()

    def observe(key: PRNGKeyArray, context: Prompts) -> dict[str, Any]:
        asked = jax.vmap(lambda query: predict(context.xs, context.ys, query))(queries)
        shown = {"inputs": context.xs} if experiment.fresh == "inputs" else {}
        return {"predictions": asked, **shown}

    def loop(kept: Any, ys: Float[Array, " m"]) -> dict[str, Any]:
        found: dict[str, Any] = relabel_context(
            key_loop,
            predict,
            Prompts(real.xs, ys),
            experiment.generations,
            kept=kept,
            observe=observe,
            noise=experiment.relabel_noise,
            draw_inputs=None if experiment.fresh == "none" else draw_inputs,
            draw_real=draw_real if experiment.fresh == "all" else None,
        )
        return found

    def starts(kept: Any) -> dict[str, Any]:
        if experiment.change == "none":
            return loop(kept, real.ys)
        moved = shift
        if experiment.change == "start":
            moved = jnp.where(jnp.arange(count) < kept, 0.0, shift)
        both = jax.vmap(loop, (None, 0))(kept, jnp.stack([real.ys, real.ys + moved]))
        found = jax.tree.map(lambda a: a[0], both)
        return {**found, "changed": both["predictions"][1]}

    found: dict[str, Any] = jax.vmap(starts)(jnp.array(experiment.kept))
    return {"task": weights, "xs": real.xs, "ys": real.ys, "shift": shift, **found}


OTHER = 10.0
"""Deviation of what is added to the labels of a twin that starts elsewhere."""

PREDICTORS = {
    "ridge": ridge,
    "least_squares": lambda setting: ridge(),
    "linear_attention": linear_attention,
}
"""The ideal predictors by name: functions of an experiment's setting."""


def run_experiment(
    experiment: ContextLoops,
    seed: int,
    report: Report = lambda text, done, total: None,
) -> Arrays:
    """What an experiment observes, arrays `[runs, ...]` by name: see `context_pair`.

    The ideal predictors are linear in the query and asked at the unit vectors: their predictions
    are their weights.
    """
    predict = PREDICTORS[experiment.predictor](experiment.setting)
    queries = jnp.eye(experiment.task.dim)
    found: Arrays = many(
        lambda key: context_pair(experiment, predict, queries, key),
        experiment.runs,
        seed=seed,
        batch=1000,
        report=report,
    )
    return found

"""Context loops by the thousand: frozen predictors that relabel their own context.

The loop is `loops.relabel_context`. All shares that are kept run in one program, with the same
randomness, each from two starts if the experiment says how they differ.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from icl_stl.config import QueryArchitecture
from icl_stl.devices import Report, many
from icl_stl.lab.results import Arrays
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import Prompts, standard_normal
from icl_stl.learners import fit_query_model
from icl_stl.learners.regression import weighted_ridge
from icl_stl.loops import Predict, relabel_context
from icl_stl.models.causal import Params
from icl_stl.models.query import effective_weights, read_query
from icl_stl.studies.context_loop.experiments import ContextLoops


def ridge(penalty: float = 0.0) -> Predict:
    """The ideal ridge predictor, f(x) = xᵀ (Xᵀ X + λ I)^{-1} Xᵀ y.

    Args:
        penalty: λ >= 0; the posterior mean for λ = σ²/τ². With 0, least squares, of minimum norm
            where the inputs do not span the space.
    """

    def predict(
        xs: Float[Array, "m d"], ys: Float[Array, " m"], query: Float[Array, " d"]
    ) -> Float[Array, ""]:
        count = ys.shape[0]
        even = jnp.full(count, 1 / count)
        return query @ weighted_ridge(xs, ys, even, penalty / count)

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


def trained(task: LinearRegression, network: QueryArchitecture, params: Params) -> Predict:
    """The mean that a trained network reads at a query: see `query_models.query_law`."""
    weights, deviation = effective_weights(network, params), task.label_variance**0.5

    def predict(
        xs: Float[Array, "m d"], ys: Float[Array, " m"], query: Float[Array, " d"]
    ) -> Float[Array, ""]:
        mean: Array = deviation * read_query(network, weights, xs, ys / deviation, query)[0]
        return mean

    return predict


def _scaled(law: str, radius: float, normals: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
    """Normal vectors as they are, or on the sphere of this radius."""
    if law == "gaussian":
        return normals
    on_sphere: Array = normals * (radius / jnp.linalg.norm(normals, axis=-1, keepdims=True))
    return on_sphere


def context_loops(
    experiment: ContextLoops,
    predictors: Sequence[Predict],
    queries: Float[Array, "Q d"] | None,
    key: PRNGKeyArray,
) -> dict[str, Any]:
    """The loops of one prompt: of every predictor, for every share that is kept, and their twins.

    Args:
        experiment: What is run.
        predictors: The frozen predictors, P.
        queries: Where they are asked in every generation; inputs of the real law if not given.
        key: Randomness of prompt and loops.
    Returns: `task` `[d]`, `xs` `[m, d]`, `ys` `[m]`, `queries` `[Q, d]`: the prompt; `shift` `[m]`,
        how the labels of a twin differ at the start, where its example is relabelled or the first;
        `predictions` and, of the twins, `changed` `[P, K, G + 1, Q]`; `inputs` `[K, G + 1, m, d]`
        if they are drawn anew beside a fixed real set.
    """
    task, count, d = experiment.task, experiment.task.context, experiment.task.dim
    key_prompt, key_loop = jax.random.split(key)
    # One draw for all that a prompt needs: each costs a second of compilation.
    normals = standard_normal(key_prompt, count + QUERIES + 1, d + 2)
    if experiment.one_input:
        rows = jnp.arange(count)
        rows = jnp.where(rows < experiment.kept[0], 0, rows)
        normals = normals.at[:count, :d].set(normals[rows, :d])

    def inputs_of(drawn: Float[Array, "n e"]) -> Float[Array, "n d"]:
        return _scaled(task.inputs, d**0.5, drawn[:, :d])

    weights = _scaled(task.tasks, d**0.5, normals[-1, :d]) * task.prior_scale

    def real_of(drawn: Float[Array, "n e"]) -> Prompts:
        xs = inputs_of(drawn)
        return Prompts(xs, xs @ weights + task.noise * drawn[:, d])

    real = real_of(normals[:count])
    asked_at = inputs_of(normals[count:-1]) if queries is None else queries
    shift = jnp.zeros(count)
    if experiment.change == "first":
        shift = shift.at[0].set(1.0)
    if experiment.change == "start":
        shift = OTHER * normals[:count, d + 1]

    def draw_inputs(key: PRNGKeyArray, rows: int) -> Float[Array, "rows d"]:
        return inputs_of(standard_normal(key, rows, d))

    def draw_real(key: PRNGKeyArray, rows: int) -> Prompts:
        return real_of(standard_normal(key, rows, d + 1))

    def loop(predict: Predict, kept: Any, ys: Float[Array, " m"]) -> dict[str, Any]:
        def observe(key: PRNGKeyArray, context: Prompts) -> dict[str, Any]:
            asked = jax.vmap(lambda query: predict(context.xs, context.ys, query))(asked_at)
            shown = {"inputs": context.xs} if experiment.fresh == "inputs" else {}
            return {"predictions": asked, **shown}

        found: dict[str, Any] = relabel_context(
            key_loop,
            predict,
            Prompts(real.xs, ys),
            experiment.generations,
            kept=kept,
            observe=observe,
            noise=experiment.relabel_noise,
            clip=CLIP * task.label_variance**0.5 if cut_off else None,
            draw_inputs=None if experiment.fresh == "none" else draw_inputs,
            draw_real=draw_real if experiment.fresh == "all" else None,
        )
        return found

    def pair(predict: Predict, kept: Any) -> dict[str, Any]:
        if experiment.change == "none":
            return loop(predict, kept, real.ys)
        moved = shift
        if experiment.change == "start":
            moved = jnp.where(jnp.arange(count) < kept, 0.0, shift)
        starts = jnp.stack([real.ys, real.ys + moved])
        both = jax.vmap(lambda ys: loop(predict, kept, ys))(starts)
        changed = both["predictions"][1]
        return {**jax.tree.map(lambda a: a[0], both), "changed": changed}

    cut_off = experiment.one_input or experiment.network is not None
    kept = jnp.array(experiment.kept)
    found = [jax.vmap(partial(pair, predict))(kept) for predict in predictors]
    inputs = {"inputs": found[0]["inputs"]} if "inputs" in found[0] else {}
    paths = {name: jnp.stack([own[name] for own in found]) for name in set(found[0]) - {"inputs"}}
    prompt = {"task": weights, "xs": real.xs, "ys": real.ys, "queries": asked_at}
    return {**prompt, "shift": shift, **inputs, **paths}


OTHER = 10.0
"""Deviation of what is added to the labels of a twin that starts elsewhere."""

CLIP = 3.0
"""Largest new label where they are cut off, in deviations of a real one."""

QUERIES = 8
"""Inputs of the real law that a network is asked at."""

PREDICTORS: Mapping[str, Callable[[float], Predict]] = {
    "ridge": ridge,
    "least_squares": lambda setting: ridge(),
    "linear_attention": linear_attention,
}
"""The ideal predictors by name: functions of their setting."""


def run_experiment(
    experiment: ContextLoops, seed: int, report: Report = lambda text, done, total: None
) -> Arrays:
    """What an experiment observes, arrays `[runs, ...]` by name: see `context_loops`.

    Ideal predictors are linear in the query and asked at the unit vectors: their predictions are
    their weights. With a network a run has a second axis, its prompts, and `loss` `[runs]`.
    """
    found: Arrays = many(_run, experiment, experiment.runs, seed=seed, batch=1000, report=report)
    return found


def _run(experiment: ContextLoops, key: PRNGKeyArray) -> dict[str, Any]:
    """One run of an experiment."""
    task, network = experiment.task, experiment.network
    ideal = [PREDICTORS[name](setting) for name, setting in experiment.predictors]
    if network is None or experiment.training is None:
        return context_loops(experiment, ideal, jnp.eye(task.dim), key)
    key_fit, key_prompts = jax.random.split(key)
    fitted = fit_query_model(task, network, experiment.training)(key_fit)
    predictors = [trained(task, network, fitted.weights), *ideal]
    each = jax.vmap(partial(context_loops, experiment, predictors, None))
    found = each(jax.random.split(key_prompts, experiment.prompts))
    return {**found, "loss": fitted.loss}

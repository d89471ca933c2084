"""Measuring a generation against the real law, without binning and without fitted densities.

Everything about laws is measured for prefixes of j labels too: the total variation of whole prompts
saturates as prompts grow. All functions are pure; those with keys draw fresh prompts.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from icl_stl.config import require
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import Normal, Prompts, bayes_predictive, sample_prompts
from icl_stl.learners import Fitted, Learner
from icl_stl.loops import Generation
from icl_stl.models.causal import Params, in_chunks
from icl_stl.rows import joined

LOSS_RANGE = 1.0
"""M, the range of the bounded loss."""


class Estimate(NamedTuple):
    """Mean and sample variance of values observed on i.i.d. prompts, both `[*n]`."""

    mean: Float[Array, "*n"]
    variance: Float[Array, "*n"]


def _estimate(values: Float[Array, " E *n"]) -> Estimate:
    return Estimate(jnp.mean(values, axis=0), jnp.var(values, axis=0, ddof=1))


def deficiency(log_p: Float[Array, "*n"], log_q: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """(1 - p/q)_+, whose mean under q is TV(p, q); in [0, 1].

    Source: published (a standard identity, TV = E_q (1 - p/q)_+).
    """
    return -jnp.expm1(jnp.minimum(log_p - log_q, 0.0))


def predictions(
    learner: Learner, params: Params, prompts: Prompts, there: Bool[Array, " E"] | None = None
) -> Normal:
    """The law of every label of every prompt, `[E, m]`, computed in chunks of equal size.

    A chunk of which no prompt is `there` costs nothing, and its laws mean nothing.
    """
    if learner.predict is None:
        raise ValueError("learner must be an in-context learner, but its predict is None")
    laws: Normal = in_chunks(partial(learner.predict, params), prompts, there)
    for name, own in zip(Normal._fields, laws, strict=True):
        shape = prompts.ys.shape
        require(
            own.shape == shape, f"{name} of learner.predict", own.shape, f"of the shape {shape}"
        )
    return laws


def prefix_log_densities(
    task: LinearRegression, laws: Normal, prompts: Prompts
) -> Float[Array, "E prefixes"]:
    """Log-density of the first j labels given the inputs, for each of the task's prefixes j."""
    cumulated = jnp.cumsum(laws.log_density(prompts.ys), axis=-1)
    return cumulated[:, jnp.array(task.prefixes) - 1]


def normal_kl(p: Normal, q: Normal) -> Float[Array, "*n"]:
    """Kullback-Leibler divergence KL(p || q) between normal laws, in nats."""
    ratio = p.std / q.std
    return -jnp.log(ratio) + (ratio**2 + ((p.mean - q.mean) / q.std) ** 2 - 1) / 2


def bounded_loss(task: LinearRegression, laws: Normal, prompts: Prompts) -> Float[Array, " E"]:
    """Clipped squared error of a prompt, in [0, M] with M = 1.

    mean_k min{1, (y_k - mean_k)² / (4 v)}, v = d τ² + σ² the marginal variance of a label.
    """
    errors = (prompts.ys - laws.mean) ** 2 / (4 * task.label_variance)
    return jnp.mean(jnp.minimum(errors, LOSS_RANGE), axis=-1)


def implied_task_variance(task: LinearRegression, prompts: Prompts) -> Float[Array, ""]:
    """The variance of a task coordinate that the labels of generated prompts imply.

    The mean over prompts and pairs j < k of y_j y_k <x_j, x_k> / d. Since E <x, x'>² = d for both
    laws of inputs and E[y_j y_k | x_j, x_k] = τ² <x_j, x_k> under D_0, its expectation is τ² there.
    """
    scaled = prompts.ys[..., None] * prompts.xs
    # The sum of <a_j, a_k> over j < k is (|sum_j a_j|² - sum_j |a_j|²) / 2.
    pairs = (jnp.sum(jnp.sum(scaled, -2) ** 2, -1) - jnp.sum(scaled**2, (-2, -1))) / 2
    m = task.context
    return jnp.mean(pairs) / (task.dim * m * (m - 1) / 2)


class HeldOut(NamedTuple):
    """Fresh real prompts and what the Bayes predictor says of them."""

    prompts: Prompts
    bayes: Normal


def draw_held_out(task: LinearRegression, key: PRNGKeyArray, count: int) -> HeldOut:
    """Draw `count` fresh real prompts, to be shared by all generations of a loop."""
    prompts = sample_prompts(task, key, count)
    return HeldOut(prompts, jax.vmap(lambda prompt: bayes_predictive(task, prompt))(prompts))


class Measurements(NamedTuple):
    """What is measured of one generation; P prefixes, context length m."""

    drift: Estimate
    """T_i = TV(D_θ_i, D_0) of each prefix: `[P]`."""
    eps: Estimate | None
    """ε_i = TV(D_θ_i, M_{i-1}) of each prefix: `[P]`; None if M_{i-1} is not known."""
    kl: Float[Array, " P"]
    """KL(D_0 || D_θ_i) of each prefix, nats."""
    mixture_kl: Float[Array, " P"] | None
    """KL(D_0 || M_{i-1}) of each prefix, nats, at most ln(1/α); 0 where M_{i-1} is D_0, None if it
    is not known."""
    excess_squared_risk: Float[Array, " m"]
    """E (mean_k - Bayes mean_k)², the excess squared error at each position k."""
    bayes_squared_risk: Float[Array, " m"]
    """E (σ² + x_kᵀ S_k x_k), the squared error of the Bayes predictor at each position k."""
    risk: Float[Array, ""]
    """Bounded loss on the real law."""
    training_risk: Float[Array, ""]
    """Bounded loss on the generation's own training set."""
    implied_task_variance: Float[Array, ""]
    """Of prompts generated by θ_i."""


def measure_generation(
    task: LinearRegression,
    learner: Learner,
    held_out: HeldOut,
    key: PRNGKeyArray,
    generation: Generation,
    *,
    real_share: Any | None,
) -> Measurements:
    """Measure one generation against the real law and against the mixture it was trained on.

    TV(D_θ_i, D_0) = E_{D_0} (1 - p_θ_i/p_0)_+ on the real test prompts, and
    TV(D_θ_i, M_{i-1}) = E_{D_θ_i} (1 - p_M/p_θ_i)_+ on as many fresh prompts from D_θ_i, with
    p_M = α p_0 + (1 - α) p_θ_{i-1}: both unbiased, both in [0, 1]. The law of the inputs cancels.
    KL is Rao-Blackwellised: the mean over real prompts of Σ_k KL(Bayes law of y_k || model law);
    that of the mixture is the mean of ln p_0 - ln p_M over them.

    Args:
        real_share: α, the share of D_0 in M_{i-1}, i >= 1. If it is 1, and for generation 0, the
            training law is D_0 and ε_i is T_i by definition: one estimate serves both. None if
            generations before the last one are in M_{i-1}: then ε_i is not measured. It may be
            traced.
    Source: published (total variation as a mean of bounded density ratios; the chain rule of KL).
    """
    test, rows = held_out.prompts, generation.training_set
    count = test.ys.shape[0]
    fresh = learner.generate(key, generation.params, count)
    # One call for all prompts that θ_i reads: one compilation, one pass.
    there = jnp.concatenate([jnp.full(2 * count, True), generation.row_weights > 0])
    all_laws = predictions(learner, generation.params, joined(test, fresh, rows), there)
    on_test, on_fresh, on_rows = (
        _cut(all_laws, where)
        for where in (slice(0, count), slice(count, 2 * count), slice(2 * count, None))
    )

    log_real = prefix_log_densities(task, held_out.bayes, test)
    drift = _estimate(deficiency(prefix_log_densities(task, on_test, test), log_real))
    eps: Estimate | None = drift if real_share is not None else None
    mixture_kl = None if real_share is None else jnp.zeros(len(task.prefixes))
    traced = isinstance(real_share, jax.Array)
    if real_share is not None and (traced or real_share < 1):
        both = joined(test, fresh)
        log_mixture = prefix_log_densities(
            task, predictions(learner, generation.previous, both), both
        )
        if traced or real_share > 0:
            bayes = jax.vmap(lambda prompt: bayes_predictive(task, prompt))(fresh)
            log_mixture = jnp.logaddexp(
                jnp.log(real_share)
                + jnp.concatenate([log_real, prefix_log_densities(task, bayes, fresh)]),
                jnp.log1p(-real_share) + log_mixture,
            )
        of_test, of_fresh = log_mixture[:count], log_mixture[count:]
        eps = _estimate(deficiency(of_fresh, prefix_log_densities(task, on_fresh, fresh)))
        of_real_law = (jnp.asarray(generation.index) == 0) | (jnp.asarray(real_share) == 1)
        eps = jax.tree.map(lambda own, other: jnp.where(of_real_law, own, other), drift, eps)
        mixture_kl = jnp.where(of_real_law, 0.0, jnp.mean(log_real - of_test, axis=0))

    chain = jnp.cumsum(jnp.mean(normal_kl(held_out.bayes, on_test), axis=0))
    return Measurements(
        drift=drift,
        eps=eps,
        kl=chain[jnp.array(task.prefixes) - 1],
        mixture_kl=mixture_kl,
        excess_squared_risk=jnp.mean((on_test.mean - held_out.bayes.mean) ** 2, axis=0),
        bayes_squared_risk=jnp.mean(held_out.bayes.std**2, axis=0),
        risk=jnp.mean(bounded_loss(task, on_test, test)),
        training_risk=jnp.sum(generation.row_weights * bounded_loss(task, on_rows, rows)),
        implied_task_variance=implied_task_variance(task, fresh),
    )


def observation(
    task: LinearRegression,
    learner: Learner,
    held_out: HeldOut,
    key: PRNGKeyArray,
    generation: Generation,
    *,
    one_step: bool = True,
) -> dict[str, Any]:
    """Everything that is recorded of a generation of prompts, by name.

    Those of `Measurements`, of an estimate `name` and `name_variance`; `excess_nll`, the mean of
    KL(D_0 || D_θ_i) over the labels of a prompt, nats a label; `training_loss`, the mean loss of
    the last tenth of the training, nats a label (nan without training); `diverged_at`, the training
    step with the first loss that is not finite (-1 if none).

    Args:
        one_step: Whether the one-step error has a meaning: not where generations before the last
            are in the training law.
    """
    share = generation.real_share
    known = share if one_step else None
    seen = measure_generation(task, learner, held_out, key, generation, real_share=known)
    named: dict[str, Any] = {}
    for name, value in seen._asdict().items():
        if isinstance(value, Estimate):
            named[name], named[f"{name}_variance"] = value
        elif value is not None:
            named[name] = value
    named["excess_nll"] = seen.kl[-1] / task.context
    fitted = generation.params
    trained = isinstance(fitted, Fitted)
    named["training_loss"] = fitted.loss if trained else jnp.array(jnp.nan)
    named["diverged_at"] = fitted.diverged_at if trained else jnp.array(-1)
    return named


def of_whole_prompts(seen: dict[str, Any]) -> dict[str, Any]:
    """One number of each quantity of `observation`: means over positions, laws of whole prompts."""
    found: dict[str, Any] = {"excess": seen["excess_squared_risk"].mean(-1)}
    found["gap"] = seen["risk"] - seen["training_risk"]
    found |= {name: seen[name][..., -1] for name in ("drift", "eps") if name in seen}
    same = ("excess_nll", "implied_task_variance", "diverged_at")
    return found | {name: seen[name] for name in same}


def _cut(tree: Any, rows: slice) -> Any:
    """These rows."""
    return jax.tree.map(lambda a: a[rows], tree)


def pair_bias(
    first: Float[Array, "*n"], second: Float[Array, "*n"], target: Float[Array, "*n"]
) -> Float[Array, ""]:
    """Squared bias ||E f - t||² of a fit whose predicted means are seen twice, unbiased: <f - t,
    f' - t>, f and f' fits of one law with independent rows and seeds.

    The mean over prompts and positions, in squared units of a label; it may be negative.

    Source: published (U-statistics).
    """
    return jnp.mean((first - target) * (second - target))


def pair_variance(first: Float[Array, "*n"], second: Float[Array, "*n"]) -> Float[Array, ""]:
    """Variance E ||f - E f||² of the same fits: ||f - f'||²/2, unbiased."""
    return jnp.mean((first - second) ** 2) / 2


def parameter_distance(params: Params, others: Params) -> Float[Array, ""]:
    """Euclidean distance between two parameters."""
    squares = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), params, others)
    return jnp.sqrt(sum(jax.tree.leaves(squares)))


class Differences(NamedTuple):
    """How K fitted models differ from the model they are neighbours of; P prefixes."""

    predictions: Float[Array, " K"]
    """Mean squared change of the predicted means, over positions and prompts of the real law:
    squared units of a label."""
    parameters: Float[Array, " K"]
    """Euclidean distance of the weights that act, over the length of the model's own."""
    tv: Float[Array, "K P"]
    """TV(D_θ', D_θ) of each prefix."""
    loss_mean: Float[Array, " K"]
    """Mean change of the bounded loss over prompts of the real law."""
    loss_max: Float[Array, " K"]
    """Its largest change over these prompts: a lower bound on the supremum."""
    excess_nll: Float[Array, ""]
    """Excess negative log-likelihood of the model itself over the Bayes predictor, nats a label."""


def differences(
    task: LinearRegression,
    learner: Learner,
    params: Params,
    acting: Callable[[Params], Params],
    test: Prompts,
    bayes: Normal,
    fresh: Prompts,
) -> Differences:
    """Compare in-context models, as laws and as predictors, with the first of them.

    Args:
        acting: The weights by which the parameters of one model are compared.
        fresh: Prompts generated by the first model.

    Returns:
        The differences. Total variations are unbiased means of (1 - p_θ'/p_θ)_+ over `fresh`.
    """
    both: Prompts = joined(test, fresh)
    laws = jax.lax.map(lambda one: predictions(learner, one, both), params)
    count = test.ys.shape[0]
    on_test = jax.tree.map(lambda a: a[:, :count], laws)
    on_fresh = jax.tree.map(lambda a: a[:, count:], laws)
    losses = jax.vmap(lambda law: bounded_loss(task, law, test))(on_test)
    logs = jax.vmap(lambda law: prefix_log_densities(task, law, fresh))(on_fresh)
    change = jnp.abs(losses[1:] - losses[:1])
    weights = jax.vmap(acting)(params)
    own, others = (jax.tree.map(lambda a, k=k: a[k], weights) for k in (0, slice(1, None)))
    length = parameter_distance(own, jax.tree.map(jnp.zeros_like, own))
    excess = normal_kl(bayes, jax.tree.map(lambda a: a[0], on_test))
    return Differences(
        predictions=jnp.mean((on_test.mean[1:] - on_test.mean[:1]) ** 2, axis=(1, 2)),
        parameters=jax.vmap(lambda other: parameter_distance(own, other))(others) / length,
        tv=jax.vmap(lambda own: jnp.mean(deficiency(own, logs[0]), axis=0))(logs[1:]),
        loss_mean=jnp.mean(change, axis=1),
        loss_max=jnp.max(change, axis=1),
        excess_nll=jnp.mean(excess),
    )

"""Linear self-attention, fitted by ridge in closed form."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from icl_stl.config import flag, one_of, positive
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import Prompts, sample_inputs, sample_noise, sample_prompts
from icl_stl.learners.learner import Learner
from icl_stl.learners.regression import normalised_penalty, weighted_ridge


def summaries(prompts: Prompts) -> Float[Array, "N d"]:
    """Summaries h = (1/k) Σ_j x_j y_j of the k examples before the query, which comes last."""
    k = prompts.ys.shape[1] - 1
    return jnp.einsum("nkd,nk->nd", prompts.xs[:, :k], prompts.ys[:, :k]) / k


def features(prompts: Prompts) -> Float[Array, "N p"]:
    """vec(x_q hᵀ), p = d²: the prediction x_qᵀ Γ h is linear in them."""
    query, h = prompts.xs[:, -1], summaries(prompts)
    return (query[:, :, None] * h[:, None]).reshape(len(query), -1)


def linear_attention(
    task: LinearRegression,
    *,
    std: float,
    penalty: float = 1e-3,
    total: bool = False,
    generator: Literal["query", "autoregressive"] = "query",
) -> Learner:
    """Linear self-attention: predicts the last label of a prompt as x_qᵀ Γ h, h = (1/k) Σ x_j y_j.

    Γ = argmin Σ_rows weight (y_q - x_qᵀ Γ h)² + ρ |Γ|², in closed form.

    Args:
        task: The real law; a prompt has k = context - 1 examples and the query.
        std: s > 0, the deviation of generated labels.
        penalty: ρ > 0 beside the mean loss; with `total`, N ρ, the same in all generations.
        generator: `query`: examples and query input of the real law, the query's label
            x_qᵀ Γ h + s η; `autoregressive`: inputs of the real law, every label
            x_jᵀ Γ h_{j-1} + s η from the generated labels before it, h_0 = 0. η has the law of the
            task's noise.

    Rows are `Prompts`, parameters Γ `[d, d]`. It relabels the query or all examples.
    """
    std, penalty = positive("std", std), positive("penalty", penalty)
    flag("total", total)
    one_of("generator", generator, ("query", "autoregressive"))

    def fit(
        key: PRNGKeyArray, prompts: Prompts, weights: Float[Array, " N"]
    ) -> Float[Array, "d d"]:
        rho = normalised_penalty(penalty, weights, total)
        gamma = weighted_ridge(features(prompts), prompts.ys[:, -1], weights, rho)
        return gamma.reshape(task.dim, task.dim)

    def relabel_query(key: PRNGKeyArray, gamma: Float[Array, "d d"], prompts: Prompts) -> Prompts:
        label = features(prompts) @ gamma.ravel()
        label = label + std * sample_noise(task, key, label.shape)
        return prompts._replace(ys=prompts.ys.at[:, -1].set(label))

    def relabel_all(key: PRNGKeyArray, gamma: Float[Array, "d d"], prompts: Prompts) -> Prompts:
        noise = std * sample_noise(task, key, prompts.ys.shape)

        def write(
            sums: Float[Array, "N d"], example: tuple[Array, Array, Array]
        ) -> tuple[Float[Array, "N d"], Float[Array, " N"]]:
            before, x, eta = example
            y = jnp.einsum("nd,de,ne->n", x, gamma, sums) / jnp.maximum(before, 1) + eta
            return sums + x * y[:, None], y

        examples = (
            jnp.arange(prompts.ys.shape[1], dtype=jnp.float32),
            jnp.swapaxes(prompts.xs, 0, 1),
            noise.T,
        )
        _, ys = jax.lax.scan(write, jnp.zeros_like(prompts.xs[:, 0]), examples)
        return prompts._replace(ys=ys.T)

    def generate_query(key: PRNGKeyArray, gamma: Float[Array, "d d"], count: int) -> Prompts:
        key_prompts, key_label = jax.random.split(key)
        return relabel_query(key_label, gamma, sample_prompts(task, key_prompts, count))

    def generate_all(key: PRNGKeyArray, gamma: Float[Array, "d d"], count: int) -> Prompts:
        key_xs, key_ys = jax.random.split(key)
        xs = sample_inputs(task, key_xs, count, task.context)
        return relabel_all(key_ys, gamma, Prompts(xs, jnp.zeros(xs.shape[:2])))

    if generator == "query":
        return Learner(fit, generate_query, relabel=relabel_query)
    return Learner(fit, generate_all, relabel=relabel_all)

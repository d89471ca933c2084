"""The real law D_0 of linear-regression prompts: sampling, exact density, exact Bayes predictive.

D_0: w with E[w wᵀ] = τ² I_d, x_k i.i.d. with E[x xᵀ] = I_d, y_k = <w, x_k> + σ ε_k, ε_k of mean 0
and variance 1. Densities and the Bayes predictor are those of normal tasks and normal noise.
"""

from math import prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from icl_stl.laws import LinearRegression


class Prompts(NamedTuple):
    """In-context examples: `xs: [..., m, d]`, `ys: [..., m]`."""

    xs: Float[Array, "*n m d"]
    ys: Float[Array, "*n m"]


class Rows(NamedTuple):
    """Examples of one task, for regression: `xs: [n, d]`, `ys: [n]`."""

    xs: Float[Array, "n d"]
    ys: Float[Array, " n"]


class Normal(NamedTuple):
    """Normal laws, `mean` and `std` of one shape."""

    mean: Float[Array, "*n"]
    std: Float[Array, "*n"]

    def log_density(self, y: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """Log-density at y, in nats."""
        return -0.5 * (((y - self.mean) / self.std) ** 2 + jnp.log(2 * jnp.pi * self.std**2))


def standard_normal(key: PRNGKeyArray, *shape: int) -> Float[Array, "*shape"]:
    """Draws of N(0, 1), the bits of `jax.random.normal`; under `vmap` three times as fast."""
    flat = jax.random.normal(key, (prod(shape),))
    drawn: Array = jax.lax.optimization_barrier(flat)  # not to be drawn again where it is read
    return drawn.reshape(shape)


def sample_inputs(
    task: LinearRegression, key: PRNGKeyArray, *shape: int
) -> Float[Array, "*shape d"]:
    """Inputs `[*shape, d]`: N(0, I_d), or uniform on the sphere of radius √d."""
    xs = standard_normal(key, *shape, task.dim)
    if task.inputs == "sphere":
        xs = xs * jnp.sqrt(task.dim / jnp.sum(xs**2, axis=-1, keepdims=True))
    return xs


def sample_tasks(task: LinearRegression, key: PRNGKeyArray, count: int) -> Float[Array, "n d"]:
    """Tasks w `[count, d]`: N(0, τ² I_d), or uniform on the sphere of radius τ √d."""
    ws = task.prior_scale * standard_normal(key, count, task.dim)
    if task.tasks == "sphere":
        norm = jnp.sqrt(jnp.sum(ws**2, axis=-1, keepdims=True))
        ws = ws * (task.prior_scale * task.dim**0.5 / norm)
    return ws


def sample_noise(
    task: LinearRegression, key: PRNGKeyArray, shape: tuple[int, ...]
) -> Float[Array, "*shape"]:
    """Noise ε of mean 0 and variance 1: N(0, 1), or uniform on [-√3, √3]."""
    if task.noise_law == "uniform":
        return jax.random.uniform(key, shape, minval=-(3**0.5), maxval=3**0.5)
    return standard_normal(key, *shape)


def sample_prompts(task: LinearRegression, key: PRNGKeyArray, count: int) -> Prompts:
    """Prompts of the real law: `xs: [count, m, d]`, `ys: [count, m]`, a task w drawn for each."""
    key_xs, key_ws, key_noise = jax.random.split(key, 3)
    xs = sample_inputs(task, key_xs, count, task.context)
    ws = sample_tasks(task, key_ws, count)
    noise = task.noise * sample_noise(task, key_noise, (count, task.context))
    return Prompts(xs, jnp.einsum("nmd,nd->nm", xs, ws) + noise)


class Posterior(NamedTuple):
    """N(mean, covariance), the law of the task w given the examples so far: `[d]`, `[d, d]`."""

    mean: Float[Array, " d"]
    covariance: Float[Array, "d d"]


def prior(task: LinearRegression) -> Posterior:
    """The law of the task before any example, N(0, τ² I_d).

    Raises:
        ValueError: If tasks or noise are not normal: then there is no exact predictor.
    """
    if (task.tasks, task.noise_law) != ("gaussian", "gaussian"):
        raise ValueError(
            "tasks and noise_law must be 'gaussian' for the exact Bayes predictor, but they are "
            f"{task.tasks!r} and {task.noise_law!r}"
        )
    return Posterior(jnp.zeros(task.dim), task.prior_scale**2 * jnp.eye(task.dim))


def posterior_update(
    task: LinearRegression, posterior: Posterior, x: Float[Array, " d"], y: Float[Array, ""]
) -> Posterior:
    """One more example, a rank-one update without an inverse.

    With s = xᵀ S x and gain g = S x / (σ² + s): w <- w + g (y - <w, x>), S <- S - g (S x)ᵀ.

    Source: published (textbook recursive least squares).
    """
    cov_x = posterior.covariance @ x
    gain = cov_x / (task.noise**2 + x @ cov_x)
    return Posterior(
        posterior.mean + gain * (y - x @ posterior.mean),
        posterior.covariance - jnp.outer(gain, cov_x),
    )


def posterior_predictive(
    task: LinearRegression, posterior: Posterior, x: Float[Array, " d"]
) -> Normal:
    """The law of a label at x: N(<w, x>, σ² + xᵀ S x)."""
    return Normal(x @ posterior.mean, jnp.sqrt(task.noise**2 + x @ posterior.covariance @ x))


def bayes_predictive(task: LinearRegression, prompt: Prompts) -> Normal:
    """The exact law of y_k given x_1, ..., x_k and y_1, ..., y_{k-1}, for every k: `[m]`.

    Labels drawn from it one after the other have exactly the real law.

    Source: published (the chain rule of densities; Gaussian linear regression).
    """

    def read(posterior: Posterior, example: Prompts) -> tuple[Posterior, Normal]:
        law = posterior_predictive(task, posterior, example.xs)
        return posterior_update(task, posterior, example.xs, example.ys), law

    return jax.lax.scan(read, prior(task), prompt)[1]


def label_log_densities(task: LinearRegression, prompts: Prompts) -> Float[Array, "n m"]:
    """Log-density of y_k given x_{1:k} and y_{<k} under D_0, in nats.

    The sum over k is the log-density of all labels given the inputs, that over k <= j the one of
    the prefix of j labels.
    """
    laws = jax.vmap(lambda prompt: bayes_predictive(task, prompt))(prompts)
    return laws.log_density(prompts.ys)

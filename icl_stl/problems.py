"""Exactly solvable problems: a real law, a learner of it and their exact risks."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from icl_stl import learners
from icl_stl.config import (
    LinearRegression,
    one_of,
    prior_noise,
    require,
    scale,
    share,
    task_noise,
    whole,
)
from icl_stl.learners import Data, Learner
from icl_stl.learners.orthogonal import (
    bayes_shrinkage,
    implied_variance,
    label_law,
    sample_labels,
)
from icl_stl.models import Params
from icl_stl.tasks import Normal, Rows, sample_prompts

Scalar = Any

LEAST_CHANCE = 1e-4
"""Smallest chance of a symbol of zeros and ones; uniform draws are multiples of 2^-23."""

TV_ROWS = 32
"""Rows drawn for a total variation that has no closed form."""


class Solvable(NamedTuple):
    """A real law, a learner of it and what is known of both exactly."""

    learner: Learner
    truth: Callable[[PRNGKeyArray], Any]
    """key -> the parameter of the real law of one loop."""
    draw: Callable[[PRNGKeyArray, Any, int], Data]
    """key, truth, count -> rows of the real law."""
    loss: Callable[[Params, Data], Float[Array, " N"]]
    """θ, rows -> ℓ(θ, row)."""
    risk: Callable[[Any, Params], Scalar]
    """truth, θ -> E ℓ(θ, z) under the real law."""
    synthetic_risk: Callable[[Params, Params], Scalar]
    """θ', θ -> E ℓ(θ, z) under D_θ'."""
    excess: Callable[[Any, Params], Scalar]
    """truth, θ -> how much worse θ is than the best."""
    best: Callable[[Any], Params] = lambda truth: truth
    """truth -> the best θ."""
    drift: Callable[[PRNGKeyArray, Any, Params], Scalar] | None = None
    """key, truth, θ -> TV(D_θ, D_0), exact or an unbiased estimate."""
    eps: Callable[[PRNGKeyArray, Any, Params, Params, Any], Scalar] | None = None
    """key, truth, θ', θ, α -> TV(D_θ, α D_0 + (1 - α) D_θ'), exact or an unbiased estimate."""
    implied: Callable[[Data, Float[Array, " N"]], Scalar] | None = None
    """rows, weights -> the task variance that prompts show."""


def _sampled(
    learner: Learner,
    log_density: Callable[[Params, Data], Float[Array, " N"]],
    real: Callable[[Any], Params],
) -> tuple[Any, Any]:
    """Unbiased total variations E_{D_θ} (1 - q/p_θ)_+ on fresh rows of D_θ."""

    def deficiency(log_q: Array, log_p: Array) -> Scalar:
        return jnp.mean(jnp.maximum(-jnp.expm1(log_q - log_p), 0))

    def drift(key: PRNGKeyArray, truth: Any, params: Params) -> Scalar:
        rows = learner.generate(key, params, TV_ROWS)
        return deficiency(log_density(real(truth), rows), log_density(params, rows))

    def eps(key: PRNGKeyArray, truth: Any, previous: Params, params: Params, share: Any) -> Scalar:
        rows = learner.generate(key, params, TV_ROWS)
        mixture = jnp.logaddexp(
            jnp.log(share) + log_density(real(truth), rows),
            jnp.log1p(-share) + log_density(previous, rows),
        )
        return deficiency(mixture, log_density(params, rows))

    return drift, eps


def bernoulli(
    kappa: float = 1.0, *, probability: float = 0.5, centre: float = 0.5, injected: float = 0.0
) -> Solvable:
    """The amplifier on zeros and ones, squared loss (z - θ)²; total variations are exact."""
    probability = share("probability", probability)
    drawn = probability in (0, 1) or LEAST_CHANCE <= probability <= 1 - LEAST_CHANCE
    whom = f"0, 1, or in [{LEAST_CHANCE:g}, 1 - {LEAST_CHANCE:g}], or draws would round it"
    require(drawn, "probability", probability, whom)
    learner = learners.bernoulli(kappa, centre, injected)

    def risk(p: Any, theta: Any) -> Scalar:
        return p * (1 - theta) ** 2 + (1 - p) * theta**2

    return Solvable(
        learner,
        truth=lambda key: jnp.float32(probability),
        draw=learner.generate,
        loss=lambda theta, rows: (rows - theta) ** 2,
        risk=risk,
        synthetic_risk=risk,
        excess=lambda p, theta: (theta - p) ** 2,
        drift=lambda key, p, theta: jnp.abs(theta - p),
        eps=lambda key, p, previous, theta, share: jnp.abs(
            theta - share * p - (1 - share) * previous
        ),
    )


def gaussian_mean(noise: float = 1.0) -> Solvable:
    """The mean of N(0, σ²), σ known, squared loss (z - μ)²; the drift is exact."""
    noise = scale("noise", noise)
    learner = learners.gaussian_mean(noise)

    def risk(real: Any, mean: Any) -> Scalar:
        return noise**2 + (mean - real) ** 2

    return _located(learner, noise, lambda mean, rows: (rows - mean) ** 2, risk)


def clipped_mean(clip: float = 1.0, noise: float = 1.0) -> Solvable:
    """The mean of N(0, σ²) from data clipped to [-B, B], loss (clip(z) - μ)²/(4 B²) in [0, 1].

    Every constant of the bound is known: M = 1, b = 2, κ = 2 B/(σ √(2π)).
    """
    noise, clip = scale("noise", noise), scale("clip", clip)
    cut = clip / noise
    require(1e-3 <= cut <= 1e6, "clip", clip, f"from 1e-3 to 1e6 times the noise {noise}")
    learner = learners.gaussian_mean(noise, clip)

    def moments(mean: Any) -> tuple[Scalar, Scalar]:
        """First two moments of N(mean, σ²) clipped to [-B, B]."""
        low, high = -cut - mean / noise, cut - mean / noise
        norm, density = jax.scipy.stats.norm.cdf, jax.scipy.stats.norm.pdf
        inside, below, above = norm(high) - norm(low), norm(low), norm(-high)
        first = mean * inside + noise * (density(low) - density(high)) + clip * (above - below)
        second = (
            (mean**2 + noise**2) * inside
            + noise**2 * (low * density(low) - high * density(high))
            + 2 * mean * noise * (density(low) - density(high))
            + clip**2 * (above + below)
        )
        return first, second

    def risk(real: Any, mean: Any) -> Scalar:
        first, second = moments(real)
        return (second - 2 * mean * first + mean**2) / (4 * clip**2)

    def loss(mean: Any, rows: Any) -> Any:
        return (jnp.clip(rows, -clip, clip) - mean) ** 2 / (4 * clip**2)

    return _located(learner, noise, loss, risk)


def _located(learner: Learner, noise: float, loss: Any, risk: Any) -> Solvable:
    """A learner of the mean of N(0, σ²) that generates with the known σ."""
    _, eps = _sampled(
        learner, lambda mean, rows: -0.5 * ((rows - mean) / noise) ** 2, lambda truth: truth
    )
    return Solvable(
        learner,
        truth=lambda key: jnp.float32(0.0),
        draw=learner.generate,
        loss=loss,
        risk=risk,
        synthetic_risk=risk,
        excess=lambda real, mean: (mean - real) ** 2,
        drift=lambda key, real, mean: jax.scipy.special.erf(
            jnp.abs(mean - real) / (8**0.5 * noise)
        ),
        eps=eps,
    )


def gaussian(noise: float = 1.0, *, unbiased: bool = False) -> Solvable:
    """Mean and variance of N(0, σ²); squared loss (z - μ)², the excess is that of the mean."""
    noise = scale("noise", noise)
    learner = learners.gaussian(unbiased=unbiased)
    drift, eps = _sampled(learner, _log_normal, lambda truth: truth)
    return Solvable(
        learner,
        truth=lambda key: Normal(jnp.float32(0.0), jnp.float32(noise)),
        draw=learner.generate,
        loss=lambda law, rows: (rows - law.mean) ** 2,
        risk=lambda real, law: real.std**2 + (law.mean - real.mean) ** 2,
        synthetic_risk=lambda real, law: real.std**2 + (law.mean - real.mean) ** 2,
        excess=lambda real, law: (law.mean - real.mean) ** 2,
        drift=drift,
        eps=eps,
    )


def _log_normal(law: Normal, rows: Float[Array, " N"]) -> Float[Array, " N"]:
    std = jnp.maximum(law.std, np.finfo(np.float32).tiny)  # also after a collapse
    return -0.5 * ((rows - law.mean) / std) ** 2 - jnp.log(std)


def categorical(
    probabilities: tuple[float, ...] = (0.1,) * 10, *, pseudo_count: float = 0.0
) -> Solvable:
    """A law on K symbols, Brier loss |e_z - θ|²; total variations are exact."""
    try:
        known = bool(np.isclose(sum(probabilities), 1) and min(probabilities) >= 0)
    except TypeError:
        known = False
    if not known:
        raise ValueError(
            f"probabilities must be at least 0 and sum to 1, but they are {probabilities!r}"
        )
    learner = learners.categorical(len(probabilities), pseudo_count)

    def risk(law: Any, theta: Any) -> Scalar:
        return 1 - 2 * law @ theta + theta @ theta

    return Solvable(
        learner,
        truth=lambda key: jnp.array(probabilities, jnp.float32),
        draw=learner.generate,
        loss=lambda theta, rows: 1 - 2 * theta[rows] + theta @ theta,
        risk=risk,
        synthetic_risk=risk,
        excess=lambda law, theta: jnp.sum((theta - law) ** 2),
        drift=lambda key, law, theta: 0.5 * jnp.sum(jnp.abs(theta - law)),
        eps=lambda key, law, previous, theta, share: (
            0.5 * jnp.sum(jnp.abs(theta - share * law - (1 - share) * previous))
        ),
    )


def _regression(learner: Learner, dim: int, noise: float) -> Solvable:
    def risk(truth: Any, w: Any) -> Scalar:
        return noise**2 + jnp.sum((w - truth) ** 2)

    _, eps = _sampled(
        learner,
        lambda w, rows: -0.5 * ((rows.ys - rows.xs @ w) / noise) ** 2,
        lambda truth: truth,
    )

    def loss(w: Any, rows: Rows) -> Float[Array, " N"]:
        squared: Array = (rows.ys - rows.xs @ w) ** 2
        return squared

    return Solvable(
        learner,
        truth=lambda key: jax.random.normal(key, (dim,)),
        draw=learner.generate,
        loss=loss,
        risk=risk,
        synthetic_risk=risk,
        excess=lambda truth, w: jnp.sum((w - truth) ** 2),
        drift=lambda key, truth, w: (
            2 / jnp.pi * jnp.arctan(jnp.sqrt(jnp.sum((w - truth) ** 2)) / (2 * noise))
        ),
        eps=eps,
    )


def ols(dim: int = 10, noise: float = 1.0) -> Solvable:
    """Least squares with w ~ N(0, I_d), squared loss; the drift is exact."""
    dim, noise = whole("dim", dim, 1), task_noise(noise)
    return _regression(learners.ols(noise), dim, noise)


def ridge(
    dim: int = 10, noise: float = 1.0, *, penalty: float = 0.1, total: bool = False
) -> Solvable:
    """Ridge regression with w ~ N(0, I_d), squared loss; the drift is exact."""
    dim, noise = whole("dim", dim, 1), task_noise(noise)
    return _regression(learners.ridge(noise, penalty, total=total), dim, noise)


class AttentionLaw(NamedTuple):
    """What the best linear self-attention reaches: risk R* + s_h |Γ - g I|²."""

    scale: float
    """g, the best Γ is g I."""
    curvature: float
    """s_h = E|h|²/d."""
    risk: float
    """R*, squared error of the best."""


def attention_law(task: LinearRegression) -> AttentionLaw:
    """The population optimum of linear self-attention on k = context - 1 examples and a query.

    s_h = E|h|²/d = (τ² (k - 1 + f) + σ²)/k, E[x xᵀ x xᵀ] = f I: f = d + 2 for normal inputs, d on
    the sphere; g = τ²/s_h; R* = σ² + τ² d (1 - g).

    Source: derived here: THEORY.md, linear attention.
    """
    k, d = task.context - 1, task.dim
    fourth = d if task.inputs == "sphere" else d + 2  # E[x xᵀ x xᵀ] = fourth · I
    variance = task.prior_scale**2
    curvature = (variance * (k - 1 + fourth) + task.noise**2) / k
    scale = variance / curvature
    return AttentionLaw(scale, curvature, task.noise**2 + variance * d * (1 - scale))


def attention_task(
    dim: int, examples: int, noise: float, law: Literal["gaussian", "sphere"]
) -> LinearRegression:
    """The real law of prompts of k examples and a query."""
    if law == "gaussian":
        return LinearRegression(dim, examples + 1, noise)
    return LinearRegression(
        dim,
        examples + 1,
        noise,
        prior_scale=dim**-0.5,
        inputs="sphere",
        tasks="sphere",
        noise_law="uniform",
    )


def linear_attention(
    dim: int = 4,
    examples: int = 20,
    noise: float = 0.5,
    *,
    law: Literal["gaussian", "sphere"] = "sphere",
    penalty: float = 1e-3,
    total: bool = False,
    generator: Literal["query", "autoregressive"] = "query",
) -> Solvable:
    """Linear self-attention on the squared error of the query's label.

    With the generator `query` the labels have the deviation √R* of the best predictor's error; the
    risk under D_Γ' is then s² + s_h |Γ - Γ'|². With `autoregressive` it is not known.

    Args:
        dim: d.
        examples: k, examples before the query.
        noise: σ.
        law: `gaussian`: inputs, tasks N(0, I_d) and noise normal; `sphere`: inputs on the sphere of
            radius √d, unit tasks, uniform noise, as the certificate assumes.
        penalty: ρ, see `learners.linear_attention`.
        total: See there.
        generator: See there.
    """
    dim, examples = whole("dim", dim, 1), whole("examples", examples, 1)
    one_of("law", law, ("gaussian", "sphere"))
    task = attention_task(dim, examples, noise, law)
    population = attention_law(task)
    learner = learners.linear_attention(
        task, std=population.risk**0.5, penalty=penalty, total=total, generator=generator
    )
    best = population.scale * jnp.eye(dim)

    def excess(truth: Any, gamma: Any) -> Scalar:
        return population.curvature * jnp.sum((gamma - best) ** 2)

    def loss(gamma: Any, prompts: Any) -> Float[Array, " N"]:
        predicted = learners.attention.features(prompts) @ gamma.ravel()
        squared: Array = (prompts.ys[:, -1] - predicted) ** 2
        return squared

    known = generator == "query"
    return Solvable(
        learner,
        truth=lambda key: (),
        draw=lambda key, truth, count: sample_prompts(task, key, count),
        loss=loss,
        risk=lambda truth, gamma: population.risk + excess((), gamma),
        synthetic_risk=lambda previous, gamma: (
            population.risk + population.curvature * jnp.sum((gamma - previous) ** 2)
            if known
            else jnp.full((), jnp.nan)
        ),
        excess=excess,
        best=lambda truth: best,
    )


def _orthogonal(
    learner: Learner, dim: int, repeats: int, noise: float, prior_scale: float
) -> Solvable:
    """Prompts of the orthogonal design, squared error averaged over the labels of a prompt."""
    best = bayes_shrinkage(prior_scale**2, dim, repeats, noise, plug_in=False)
    squares = dim * prior_scale**2 + noise**2 / jnp.maximum(
        jnp.arange(repeats), 1
    )  # E(mean of k labels)²

    def excess(truth: Any, params: Any) -> Scalar:
        return jnp.sum(((params.factors - best.factors) ** 2 * squares)[1:]) / repeats

    def synthetic_risk(previous: Any, params: Any) -> Scalar:
        def read(square: Any, visit: Any) -> Any:  # E(sum of the labels before)²
            k, own, factor, std = visit
            before = square / jnp.maximum(k, 1) ** 2
            then = square * (1 + own / jnp.maximum(k, 1)) ** 2 + std**2
            return then, std**2 + (own - factor) ** 2 * before

        visits = (jnp.arange(repeats), previous.factors, params.factors, previous.std)
        return jnp.mean(jax.lax.scan(read, jnp.float32(0.0), visits)[1])

    drift, eps = _sampled(
        learner,
        lambda params, labels: jnp.sum(label_law(params, labels).log_density(labels), (-2, -1)),
        lambda truth: best,
    )
    return Solvable(
        learner,
        truth=lambda key: (),
        draw=lambda key, truth, count: sample_labels(key, count, dim, repeats, noise, prior_scale),
        loss=lambda params, labels: jnp.mean(
            (labels - label_law(params, labels).mean) ** 2, (-2, -1)
        ),
        risk=lambda truth, params: jnp.mean(best.std**2) + excess(truth, params),
        synthetic_risk=synthetic_risk,
        excess=excess,
        best=lambda truth: best,
        drift=drift,
        eps=eps,
        implied=lambda labels, weights: implied_variance(labels, weights, noise),
    )


def empirical_bayes(
    dim: int = 2,
    repeats: int = 4,
    noise: float = 0.5,
    *,
    prior_scale: float = 1.0,
    plug_in: bool = True,
) -> Solvable:
    """In-context regression by the Bayes predictor with a fitted prior, orthogonal design.

    Total variations are those of whole prompts; the real law always has the predictive deviation.

    Args:
        dim: d.
        repeats: n; a prompt holds n d examples.
        noise: σ.
        prior_scale: τ.
        plug_in: Write labels with the deviation σ instead of the predictive one.
    """
    dim, repeats = whole("dim", dim, 1), whole("repeats", repeats, 1)
    prior_scale = scale("prior_scale", prior_scale)
    noise = prior_noise(noise, prior_scale)
    learner = learners.empirical_bayes(dim, repeats, noise, plug_in=plug_in)
    return _orthogonal(learner, dim, repeats, noise, prior_scale)


def shrinkage(
    dim: int = 2,
    repeats: int = 4,
    noise: float = 0.5,
    *,
    prior_scale: float = 1.0,
    plug_in: bool = True,
) -> Solvable:
    """In-context regression by least squares at each visit, orthogonal design.

    Arguments as `empirical_bayes`.
    """
    dim, repeats = whole("dim", dim, 1), whole("repeats", repeats, 1)
    prior_scale = scale("prior_scale", prior_scale)
    noise = prior_noise(noise, prior_scale)
    learner = learners.shrinkage(dim, repeats, noise, plug_in=plug_in)
    return _orthogonal(learner, dim, repeats, noise, prior_scale)


PROBLEMS: dict[str, Callable[..., Solvable]] = {
    "bernoulli": bernoulli,
    "gaussian_mean": gaussian_mean,
    "clipped_mean": clipped_mean,
    "gaussian": gaussian,
    "categorical": categorical,
    "ols": ols,
    "ridge": ridge,
    "linear_attention": linear_attention,
    "empirical_bayes": empirical_bayes,
    "shrinkage": shrinkage,
}
"""All problems by name."""

"""Exactly solvable loops: a real law, a learner and their exact risks; thousands of loops at once.

The loop is that of every learner, `loops.self_consume`; what `references` says of it in closed form
makes these loops the oracle of the testbed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import Array, Float, PRNGKeyArray

from icl_stl import learners
from icl_stl.config import LinearRegression
from icl_stl.learners import Data, Learner
from icl_stl.loops import Generation, self_consume
from icl_stl.models import Params
from icl_stl.regimes import Regime
from icl_stl.results import Arrays
from icl_stl.tasks import Normal, Rows, sample_prompts

Scalar = Any
Report = Callable[[str, int, int], None]

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
    drift: Callable[[PRNGKeyArray, Any, Params], Scalar] | None = None
    """key, truth, θ -> TV(D_θ, D_0), exact or an unbiased estimate."""
    eps: Callable[[PRNGKeyArray, Any, Params, Params, Any], Scalar] | None = None
    """key, truth, θ', θ, α -> TV(D_θ, α D_0 + (1 - α) D_θ'), exact or an unbiased estimate."""


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
    learner = learners.gaussian_mean(noise)
    _, eps = _sampled(
        learner, lambda mean, rows: -0.5 * ((rows - mean) / noise) ** 2, lambda truth: truth
    )

    def risk(real: Any, mean: Any) -> Scalar:
        return noise**2 + (mean - real) ** 2

    return Solvable(
        learner,
        truth=lambda key: jnp.float32(0.0),
        draw=learner.generate,
        loss=lambda mean, rows: (rows - mean) ** 2,
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
    return -0.5 * ((rows - law.mean) / law.std) ** 2 - jnp.log(law.std)


def categorical(
    probabilities: tuple[float, ...] = (0.1,) * 10, *, pseudo_count: float = 0.0
) -> Solvable:
    """A law on K symbols, Brier loss |e_z - θ|²; total variations are exact."""
    if not np.isclose(sum(probabilities), 1) or min(probabilities) < 0:
        raise ValueError(f"probabilities must sum to 1, but they are {probabilities!r}")
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
    return _regression(learners.ols(noise), dim, noise)


def ridge(
    dim: int = 10, noise: float = 1.0, *, penalty: float = 0.1, total: bool = False
) -> Solvable:
    """Ridge regression with w ~ N(0, I_d), squared loss; the drift is exact."""
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


def linear_attention(
    task: LinearRegression,
    *,
    penalty: float = 1e-3,
    total: bool = False,
    generator: str = "query",
) -> Solvable:
    """Linear self-attention on the squared error of the query's label.

    With the generator `query` the labels have the deviation √R* of the best predictor's error; the
    risk under D_Γ' is then s² + s_h |Γ - Γ'|². With `autoregressive` it is not known.
    """
    law = attention_law(task)
    learner = learners.linear_attention(
        task,
        std=law.risk**0.5,
        penalty=penalty,
        total=total,
        generator=generator,  # type: ignore[arg-type]
    )
    best = law.scale * jnp.eye(task.dim)

    def excess(truth: Any, gamma: Any) -> Scalar:
        return law.curvature * jnp.sum((gamma - best) ** 2)

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
        risk=lambda truth, gamma: law.risk + excess((), gamma),
        synthetic_risk=lambda previous, gamma: (
            law.risk + law.curvature * jnp.sum((gamma - previous) ** 2)
            if known
            else jnp.full((), jnp.nan)
        ),
        excess=excess,
    )


# --- loops ---------------------------------------------------------------------------------------


def loop(
    problem: Solvable,
    regime: Regime,
    samples: int,
    generations: int,
    key: PRNGKeyArray,
    observe: Callable[[Any, PRNGKeyArray, Generation], Any],
) -> Any:
    """One loop from its key alone: truth, real set, generations; what `observe` sees of them.

    Args:
        problem: Real law and learner.
        regime: The data regime.
        samples: n.
        generations: G.
        key: Key of the loop.
        observe: (truth, key, generation) -> a pytree.
    """
    key_truth, key_real, key_loop = jax.random.split(key, 3)
    truth = problem.truth(key_truth)
    return self_consume(
        key_loop,
        problem.learner,
        problem.draw(key_real, truth, samples),
        generations,
        regime=regime,
        observe=lambda key, generation: observe(truth, key, generation),
        draw_real=lambda key, count: problem.draw(key, truth, count),
    )


def measurements(problem: Solvable, regime: Regime, samples: int) -> Any:
    """An observer of the numbers of every generation: excess, gap and, where known, drift and eps.

    The one-step error is that of the last generation's law; a regime that keeps all rows has none.
    """

    def observe(truth: Any, key: PRNGKeyArray, generation: Generation) -> dict[str, Any]:
        params = generation.params
        losses = problem.loss(params, generation.training_set)
        seen = {
            "excess": problem.excess(truth, params),
            "gap": problem.risk(truth, params) - generation.row_weights @ losses,
        }
        key_drift, key_eps = jax.random.split(key)
        if problem.drift is not None:
            seen["drift"] = problem.drift(key_drift, truth, params)
        if problem.eps is not None and not regime.keeps_history:
            later = regime.real_share(samples, 1)
            share = jnp.where(generation.index == 0, 1.0, later)
            seen["eps"] = problem.eps(key_eps, truth, generation.previous, params, share)
        return seen

    return observe


def many(
    run: Callable[[PRNGKeyArray], Any],
    runs: int,
    *,
    seed: int,
    batch: int,
    report: Report = lambda text, done, total: None,
) -> Any:
    """Many independent runs: `vmap` over a batch, batches over all devices, compiled once.

    Run r has the key `fold_in(key(seed), r)`, so more runs keep the first ones. The width of a
    batch may change the last bits.

    Args:
        run: A function of a key.
        runs: How many.
        seed: Seed of all.
        batch: Runs at a time on one device, at most.
        report: Called before each round of batches.

    Returns:
        What `run` returns, with a new first axis `[runs]`, as NumPy arrays.
    """
    devices = jax.devices()
    rounds = -(-runs // (batch * len(devices)))
    width = -(-runs // (rounds * len(devices)))
    mesh = jax.make_mesh((len(devices),), ("runs",), (AxisType.Auto,), devices=devices)
    axis = PartitionSpec("runs")
    spread = jax.jit(
        jax.shard_map(
            jax.vmap(lambda index: run(jax.random.fold_in(jax.random.key(seed), index))),
            mesh=mesh,
            in_specs=axis,
            out_specs=axis,
            check_vma=False,
        )
    )
    parts = []
    for done in range(rounds):
        report("loops", done * width * len(devices), runs)
        start = done * width * len(devices)
        parts.append(
            jax.tree.map(np.asarray, spread(jnp.arange(start, start + width * len(devices))))
        )
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:runs], *parts)


def batch_size(
    problem: Solvable, regime: Regime, samples: int, generations: int, floats: int = 2**22
) -> int:
    """Loops that fit in memory of so many numbers at a time."""
    rows = jax.eval_shape(
        lambda key: problem.draw(key, problem.truth(key), samples), jax.random.key(0)
    )
    width = sum(leaf.size for leaf in jax.tree.leaves(rows)) / samples
    kept = generations if regime.keeps_history else 1
    return max(1, int(floats / (width * (samples + kept * regime.synthetic_size(samples)))))


def simulate(
    problem: Solvable,
    regime: Regime,
    *,
    samples: int,
    generations: int,
    runs: int,
    seed: int = 0,
    report: Report = lambda text, done, total: None,
) -> Arrays:
    """Excess, gap, drift and one-step error of every generation of many loops: `[runs, G + 1]`.

    Args:
        problem: Real law and learner.
        regime: The data regime.
        samples: n.
        generations: G.
        runs: Independent loops.
        seed: Seed of all.
        report: Called before each round.
    """
    observe = measurements(problem, regime, samples)
    found: Arrays = many(
        lambda key: loop(problem, regime, samples, generations, key, observe),
        runs,
        seed=seed,
        batch=batch_size(problem, regime, samples, generations),
        report=report,
    )
    return found

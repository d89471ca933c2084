"""What is recorded of a generation of any problem, and total variations from two densities."""

from typing import Any

from icl_stl.config import require
from icl_stl.lazily import jax, jnp
from icl_stl.problems.base import Problem, Scalar

ROWS = 32
"""Rows drawn for one of them."""


def _deficiency(log_q: Any, log_p: Any) -> Scalar:
    """The mean of (1 - q/p)_+, which under p is TV(p, q)."""
    return jnp.mean(jnp.maximum(-jnp.expm1(log_q - log_p), 0))


def sampled_drift(problem: Problem, key: Any, truth: Any, params: Any) -> Scalar:
    """TV(D_θ, D_0) = E_{D_θ} (1 - p_0/p_θ)_+ on fresh rows of D_θ."""
    rows = problem.learner.generate(key, params, ROWS)
    return _deficiency(problem.real_log_density(truth, rows), problem.log_density(params, rows))


def sampled_eps(
    problem: Problem, key: Any, truth: Any, previous: Any, params: Any, share: Any
) -> Scalar:
    """TV(D_θ, α D_0 + (1 - α) D_θ') = E_{D_θ} (1 - p_M/p_θ)_+ on fresh rows of D_θ."""
    rows = problem.learner.generate(key, params, ROWS)
    mixture = jnp.logaddexp(
        jnp.log(share) + problem.real_log_density(truth, rows),
        jnp.log1p(-share) + problem.log_density(previous, rows),
    )
    return _deficiency(mixture, problem.log_density(params, rows))


def numbers(
    problem: Problem, key: Any, truth: Any, held_out: Any, generation: Any, *, one_step: bool = True
) -> dict[str, Scalar]:
    """The numbers of a generation of any problem, as far as there are any.

    `excess`, risk above the least, where it is known, else `risk`; `gap`, risk less the mean
    training loss, weighted; `drift` and `eps`, total variations from the real law and from the
    training law, where they are known or follow from two densities; `nll`, mean of -ln p_θ, where
    that of D_θ alone is known. A risk that is not known is the mean loss of held-out rows.
    """
    from icl_stl.rows import row_count, rows_of

    params, rows, weights = generation.params, generation.training_set, generation.row_weights
    key_drift, key_eps = jax.random.split(key)
    densities = problem.log_density is not None and problem.real_log_density is not None

    def losses(rows: Any) -> Any:
        count = row_count(rows)
        return rows_of("problem.loss", problem.loss(params, rows), jnp.zeros(count), count)

    risk = jnp.mean(losses(held_out)) if problem.risk is None else problem.risk(truth, params)
    training = weights @ jnp.where(weights > 0, losses(rows), 0)
    seen = {"risk": risk} if problem.excess is None else {"excess": problem.excess(truth, params)}
    seen["gap"] = risk - training
    if problem.drift is not None:
        seen["drift"] = problem.drift(key_drift, truth, params)
    elif densities:
        seen["drift"] = sampled_drift(problem, key_drift, truth, params)
    between = key_eps, truth, generation.previous, params, generation.real_share
    if one_step and problem.eps is not None:
        seen["eps"] = problem.eps(*between)
    elif one_step and densities:
        seen["eps"] = sampled_eps(problem, *between)
    if problem.log_density is not None and not densities:
        seen["nll"] = -jnp.mean(problem.log_density(params, held_out))
    for name, value in seen.items():
        asked = {"gap": "risk", "nll": "log_density"}.get(name, name)
        require(jnp.shape(value) == (), f"problem.{asked}", jnp.shape(value), "of the shape ()")
    return seen

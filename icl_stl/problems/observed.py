"""What is recorded of a generation of any problem."""

from typing import Any

from icl_stl.config import require
from icl_stl.lazily import jax, jnp
from icl_stl.problems.base import Problem, Scalar
from icl_stl.problems.total_variation import sampled_drift, sampled_eps


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

"""What is recorded of a generation of any problem, and total variations from two densities."""

from typing import Any

from icl_stl.config import require
from icl_stl.lazily import jax, jnp
from icl_stl.problems.base import Foreign, Problem, Scalar, Solvable, foreign_of, learner_of

ROWS = 32
"""Rows drawn for one of them."""


def _deficiency(log_q: Any, log_p: Any) -> Scalar:
    """The mean of (1 - q/p)_+, which under p is TV(p, q)."""
    return jnp.mean(jnp.maximum(-jnp.expm1(log_q - log_p), 0))


def _one_a_row(name: str, values: Any, rows: Any) -> Any:
    from icl_stl.rows import row_count, rows_of

    count = row_count(rows)
    return rows_of(f"problem.{name}", values, jnp.zeros(count), count)


def _log_density(problem: Problem, params: Any, rows: Any) -> Any:
    return _one_a_row("log_density", problem.log_density(params, rows), rows)


def _real_log_density(problem: Problem, truth: Any, rows: Any) -> Any:
    return _one_a_row("real_log_density", problem.real_log_density(truth, rows), rows)


def _own(problem: Problem) -> Any:
    """The learner whose rows are those of D_θ."""
    return learner_of(problem, own=True) if foreign_of(problem) is not None else problem.learner


def sampled_drift(problem: Problem, key: Any, truth: Any, params: Any) -> Scalar:
    """TV(D_θ, D_0) = E_{D_θ} (1 - p_0/p_θ)_+ on fresh rows of D_θ."""
    rows = _own(problem).generate(key, params, ROWS)
    return _deficiency(_real_log_density(problem, truth, rows), _log_density(problem, params, rows))


def sampled_eps(
    problem: Problem, key: Any, truth: Any, previous: Any, params: Any, share: Any
) -> Scalar:
    """TV(D_θ, α D_0 + (1 - α) D_θ') = E_{D_θ} (1 - p_M/p_θ)_+ on fresh rows of D_θ."""
    rows = _own(problem).generate(key, params, ROWS)
    previous = problem.writer(previous) if isinstance(problem, Foreign) else previous
    mixture = jnp.logaddexp(
        jnp.log(share) + _real_log_density(problem, truth, rows),
        jnp.log1p(-share) + _log_density(problem, previous, rows),
    )
    return _deficiency(mixture, _log_density(problem, params, rows))


def numbers(
    problem: Problem, key: Any, truth: Any, held_out: Any, generation: Any, *, one_step: bool = True
) -> dict[str, Scalar]:
    """The numbers of a generation of any problem, as far as there are any.

    `excess`, risk above the least, where it is known; `risk`, but not where a problem of the
    package knows its excess; `gap`, risk less the mean training loss, weighted; `drift` and `eps`,
    total variations from the real law and from the training law, where they are known or follow
    from two densities; what `quality` says; `nll`, mean of -ln p_θ, where that of D_θ alone is
    known. A risk that is not known is the mean loss of held-out rows.
    """
    params, rows, weights = generation.params, generation.training_set, generation.row_weights
    key_drift, key_eps = jax.random.split(key)
    densities = problem.log_density is not None and problem.real_log_density is not None

    def losses(rows: Any) -> Any:
        return _one_a_row("loss", problem.loss(params, rows), rows)

    risk = jnp.mean(losses(held_out)) if problem.risk is None else problem.risk(truth, params)
    training = weights @ jnp.where(weights > 0, losses(rows), 0)
    seen = {} if problem.excess is None else {"excess": problem.excess(truth, params)}
    if problem.excess is None or not isinstance(problem, Solvable):
        seen["risk"] = risk
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
    if problem.quality is not None:
        seen |= problem.quality(truth, params)
    if problem.log_density is not None and not densities:
        seen["nll"] = -jnp.mean(_log_density(problem, params, held_out))
    for name, value in seen.items():
        asked = {"gap": "risk", "nll": "log_density"}.get(name, name)
        require(jnp.shape(value) == (), f"problem.{asked}", jnp.shape(value), "of the shape ()")
    return seen

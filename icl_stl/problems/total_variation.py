"""Total variations that have no closed form, unbiased, from two densities."""

from typing import Any

from icl_stl.lazily import jnp
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

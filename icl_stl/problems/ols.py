"""Least squares."""

from dataclasses import dataclass
from typing import Any, ClassVar

from icl_stl import references, regimes
from icl_stl.config import normalised, task_noise, whole
from icl_stl.lazily import jax, jnp
from icl_stl.problems.base import Scalar, Solvable, from_first
from icl_stl.problems.observed import sampled_eps


@dataclass(frozen=True)
class Regression(Solvable):
    """y = <w, x> + σ ε, x ~ N(0, I_d); squared loss; the drift is exact."""

    dim: int = 10
    """d, dimension of an input."""
    noise: float = 1.0
    """σ, label noise."""

    def __post_init__(self) -> None:
        normalised(self, dim=lambda name, value: whole(name, value, 1), noise=task_noise)

    def size(self, rows: float, runs: float) -> float:
        return rows * (self.dim + 1) + self.dim**2

    def truth(self, key: Any) -> Any:
        return jax.random.normal(key, (self.dim,))

    def loss(self, params: Any, rows: Any) -> Any:
        return (rows.ys - rows.xs @ params) ** 2

    def risk(self, truth: Any, params: Any) -> Scalar:
        return self.noise**2 + jnp.sum((params - truth) ** 2)

    def excess(self, truth: Any, params: Any) -> Scalar:
        return jnp.sum((params - truth) ** 2)

    def log_density(self, params: Any, rows: Any) -> Any:
        return -0.5 * ((rows.ys - rows.xs @ params) / self.noise) ** 2

    real_log_density = log_density
    eps = sampled_eps

    def drift(self, key: Any, truth: Any, params: Any) -> Scalar:
        return 2 / jnp.pi * jnp.arctan(jnp.sqrt(jnp.sum((params - truth) ** 2)) / (2 * self.noise))


@dataclass(frozen=True)
class Ols(Regression):
    """Least squares with w ~ N(0, I_d), squared loss; the drift is exact."""

    flat: ClassVar[Any] = {"ols": {"dim": 2, "noise": 0.5}}

    @property
    def fewest(self) -> int:
        return self.dim + 2  # for a mean of the excess

    def closed_form(self, regime: regimes.Regime, samples: int, generations: int) -> Any:
        n, n_syn, last = samples, regime.synthetic_size(samples), generations
        loop = n, n_syn, self.dim, self.noise, last
        first = references.ols_single_fit(n, self.dim, self.noise)
        repeated = n_syn % n == 0
        match regime:
            case regimes.RealOnly():
                return from_first(first, last, stays=True)
            case regimes.Replace():
                return references.ols_replace(*loop)
            case regimes.AugmentSameInputs():
                if repeated:
                    return references.ols_augment_same_inputs(*loop, regime.weight)
            case regimes.Augment(weight=None):
                return references.ols_augment_fresh_inputs(*loop)
            case regimes.Accumulate():
                if repeated:
                    return references.ols_accumulate_same_inputs(*loop)
            case regimes.AccumulateFresh() if not isinstance(regime, regimes.AccumulateSubsample):
                return references.ols_accumulate_fresh_inputs(*loop)
            case regimes.FreshReal(weight=None):
                return references.ols_fresh_real(*loop)
            case regimes.Edit(threshold=None, edit_model=model):
                of = references.ols_edit_replace, references.ols_edit_additive
                edits = regime.counts(n, last)
                return of[model == "additive"](n, self.dim, self.noise, edits)
        return from_first(first, last)

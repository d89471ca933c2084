"""Least squares."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from icl_stl import references, regimes
from icl_stl.config import normalised, require, task_noise, whole
from icl_stl.lazily import jax, jnp
from icl_stl.problems.base import KNOWN, Foreign, Scalar, Solvable, distance, from_first
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
class Ols(Foreign, Regression):
    """Least squares with w ~ N(0, I_d), squared loss; the drift is exact.

    With fewer rows than dimensions it is that of minimum norm. Beside another model w = 0, of which
    the errors of least squares are independent, and that model is c e_1.
    """

    flat: ClassVar[Any] = {"ols": {"dim": 2, "noise": 0.5, "foreign": None}}

    def __post_init__(self) -> None:
        super().__post_init__()
        normalised(self, foreign=distance)

    @property
    def fewest(self) -> int:
        return 1

    def truth(self, key: Any) -> Any:
        return jnp.zeros(self.dim) if self.foreign is not None else super().truth(key)

    def other(self) -> Any:
        return self.foreign * np.eye(1, self.dim, dtype=np.float32)[0]

    def synthetic_risk(self, previous: Any, params: Any) -> Scalar:
        return self.risk(self.writer(previous), params)

    def check(self, regime: regimes.Regime, samples: int, generations: int) -> None:
        sizes = {"samples": samples}
        n_syn = regime.synthetic_size(samples) if type(regime) in KNOWN else 0
        n_syn = min(n_syn, samples) if regime.reuses_inputs else n_syn  # different inputs
        if n_syn and regime.share(1) == 0:
            sizes["lam"] = n_syn
        for name, count in sizes.items():
            low, high = self.dim - 2, self.dim + 2
            at_most = f"at most {low}, or " if low > 0 else ""
            right = f"{at_most}at least {high}: enough for the {high} rows that give the error of "
            right += f"least squares in {self.dim} dimensions a mean; fewer, of minimum norm, do so"
            require(not low < count < high, name, count, right)

    def closed_form(self, regime: regimes.Regime, samples: int, generations: int) -> Any:
        n, n_syn, last = samples, regime.synthetic_size(samples), generations
        loop, enough = (n, n_syn, self.dim, self.noise, last), self.dim + 2
        if self.dim - 2 < n < enough:
            return None
        first = float(references.ols_min_norm_replace(n, enough, *loop[2:4], 0)[0])
        repeated = n_syn % n == 0
        if n < enough or self.foreign is not None:
            return (self._of_few if self.foreign is None else self._foreign)(regime, first, loop)
        match regime:
            case regimes.RealOnly():
                return from_first(first, last, stays=True)
            case regimes.Replace() if not self.dim - 2 < n_syn < enough:
                return references.ols_min_norm_replace(*loop)
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

    def _foreign(self, regime: regimes.Regime, first: float, loop: Any) -> Any:
        """`closed_form` where another model writes the synthetic rows."""
        n, n_syn, *_, last = loop
        mixing = references.Mixing.of(regime, n, last)
        alike = getattr(regime, "weight", None) is None and not isinstance(regime, regimes.Anchored)
        repeats = regime.reuses_inputs and n_syn % n > 0
        few = min(n, n if regime.share(1) else n_syn) < self.dim + 2
        if mixing is None or mixing.drawn or few or not alike or repeats:
            return from_first(first, last)
        how = {"same_inputs": regime.reuses_inputs}
        return references.ols_foreign(mixing, self.dim, self.noise, self.foreign or 0.0, **how)

    def _of_few(self, regime: regimes.Regime, first: float, loop: Any) -> Any:
        """`closed_form` of at most d - 2 real rows."""
        n, n_syn, dim, _, last = loop
        match regime:
            case regimes.RealOnly():
                return from_first(first, last, stays=True)
            case regimes.Accumulate() | regimes.AugmentSameInputs() if n_syn % n == 0:
                weights = regimes.mixing_weights(regime, n, last)
                return references.ols_min_norm_same_inputs(weights, *loop[:4])
            case regimes.Replace() if not dim - 2 < n_syn < dim + 2:
                return references.ols_min_norm_replace(*loop)
            case regimes.FreshReal(weight=None) if not dim - 2 < n + n_syn < dim + 2:
                return references.ols_min_norm_fresh(*loop)
        return from_first(first, last)

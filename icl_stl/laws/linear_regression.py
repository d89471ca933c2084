"""Prompts of a linear regression."""

from dataclasses import dataclass
from typing import Any, Literal

from icl_stl.config import counts, normalised, one_of, prior_noise, scale
from icl_stl.laws.base import Law
from icl_stl.lazily import jax


@dataclass(frozen=True)
class LinearRegression(Law):
    """The real law D_0 of prompts: y_k = <w, x_k> + σ ε_k for k = 1..m, one task w a prompt."""

    dim: int = 2
    """d, the dimension of an input."""
    context: int = 8
    """m, the in-context examples of a prompt."""
    noise: float = 0.5
    """σ, standard deviation of the label noise."""
    prior_scale: float = 1.0
    """τ, the deviation of a coordinate of the task w."""
    inputs: Literal["gaussian", "sphere"] = "gaussian"
    """x ~ N(0, I_d), or uniform on the sphere of radius √d; E[x xᵀ] = I_d either way."""
    tasks: Literal["gaussian", "sphere"] = "gaussian"
    """w ~ N(0, τ² I_d), or uniform on the sphere of radius τ √d; E[w wᵀ] = τ² I_d either way."""
    noise_law: Literal["gaussian", "uniform"] = "gaussian"
    """ε ~ N(0, 1), or uniform on [-√3, √3]: mean 0 and variance 1 either way."""

    def __post_init__(self) -> None:
        counts(self, dim=1, context=2)
        normalised(self, noise=scale, prior_scale=scale)
        prior_noise(self.noise, self.prior_scale)
        for name, other in (("inputs", "sphere"), ("tasks", "sphere"), ("noise_law", "uniform")):
            one_of(name, getattr(self, name), ("gaussian", other))

    @property
    def label_variance(self) -> float:
        """Var y = d τ² + σ², the marginal variance of a label."""
        return self.dim * self.prior_scale**2 + self.noise**2

    @property
    def prefixes(self) -> tuple[int, ...]:
        """The prefix lengths at which laws are compared: 1, 2, 4, 8, ... and the whole prompt."""
        powers = [2**p for p in range(self.context.bit_length()) if 2**p < self.context]
        return (*powers, self.context)

    def draw(self, key: Any, truth: Any, count: int) -> Any:
        """Prompts, a task drawn for each: `prompts.sample_prompts`."""
        from icl_stl.laws.prompts import sample_prompts

        return sample_prompts(self, key, count)

    def predict(self, rows: Any) -> Any:
        """What the Bayes predictor says of every label: `prompts.bayes_predictive`."""
        from icl_stl.laws.prompts import bayes_predictive

        return jax.vmap(lambda prompt: bayes_predictive(self, prompt))(rows)

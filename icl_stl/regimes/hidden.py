"""Rows whose sources are hidden: each is real or synthetic by lot."""

from dataclasses import dataclass
from typing import Any, ClassVar

from icl_stl.regimes.base import Step
from icl_stl.regimes.scheduled import Scheduled

__all__ = ["Hidden"]


@dataclass(frozen=True)
class Hidden(Scheduled):
    """Rows by lot: each of n i^r is new and real with probability α_i, else the last generation's.

    Rows of M_{i-1} = α_i D_0 + (1 - α_i) D_θ_{i-1}, independent given θ_{i-1}; nothing says which
    of them are real.
    Source: published: Kanabar and Gastpar 2025 (the setting); Bakshi and Chakraborty 2026 (its
        laws of symbols).
    """

    alpha: float = 0.2
    """α, in (0, 1]: a row of generation i is real with probability α/(i+1)^q."""
    name: ClassVar[str] = "hidden"
    fresh_real: ClassVar[bool] = True

    def sizes(self, samples: int, generations: int) -> list[int]:
        """Rows that generations 1..G are trained on."""
        return [self.grown(samples, i) for i in range(1, generations + 1)]

    def synthetic_size(self, samples: int) -> int:
        return self.grown(samples, self.until)

    def real_size(self, samples: int) -> int:
        return self.grown(samples, self.until)

    def mix(self, step: Step) -> tuple[Any, Any]:
        import jax  # noqa: PLC0415  (a regime is described without JAX)
        import jax.numpy as jnp  # noqa: PLC0415

        places = self.synthetic_size(step.samples)
        real = jax.random.uniform(step.key, (places,)) < step.share

        def chosen(a: Any, b: Any) -> Any:
            return jnp.where(real.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

        rows = jax.tree.map(chosen, step.real, step.synthetic)
        return step.mixed((rows, self.grown_now(step.samples, step.index), 1.0))

    def training_size(self, samples: int, generation: int) -> int:
        return self.grown(samples, generation)

"""Problems of one's own: the mean of an exponential law, of which all or nothing is known."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from icl_stl.learners import Learner
from icl_stl.problems import Problem


def fit(key, rows, weights):
    return weights @ rows


def generate(key, params, count):
    return params + jax.random.exponential(key, (count,)) - 1


@dataclass(frozen=True)
class Nothing(Problem):
    """The place of an exponential law, of which nothing else is known."""

    place: float = 1.0
    """Where the law begins, plus its mean."""
    kind: Literal["square", "absolute"] = "square"
    """Which loss."""
    spare: tuple[float, ...] = (1.0,)
    """Numbers without a use."""

    @property
    def learner(self):
        return Learner(fit, generate)

    def draw(self, key, truth, count):
        return generate(key, self.place, count)

    def loss(self, params, rows):
        apart = rows - params
        return apart**2 if self.kind == "square" else jnp.abs(apart)


@dataclass(frozen=True)
class Everything(Nothing):
    """The same, with its excess, its distance and its closed form."""

    def risk(self, truth, params):
        return 1 + self.excess(truth, params)

    def excess(self, truth, params):
        return (params - self.place) ** 2

    def drift(self, key, truth, params):
        return -jnp.expm1(-jnp.abs(params - self.place))

    def closed_form(self, regime, samples, generations):
        if regime.name != "replace":
            return None
        return [(i + 1) / samples for i in range(generations + 1)]

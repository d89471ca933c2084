"""Loops of generative learners whose real law is known, at many amounts of synthetic rows."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from icl_stl.lab.experiments import LoopSize, SizedLoops
from icl_stl.lazily import jax, jnp
from icl_stl.learners.generative.base import Generative
from icl_stl.learners.generative.flow import Flow
from icl_stl.learners.generative.mixture import Mixture
from icl_stl.problems import Problem
from icl_stl.studies.presets import Preset

CENTRES, DEVIATIONS, SHARE = ((-1.0, -1.0), (2.0, 2.0)), (1.0, 0.3), 0.7
"""Of two normal laws in the plane, whose columns are independent; the share of the first."""
JUDGED_ON = 4096
"""Rows on which the excess is a mean: the same in all loops, so that amounts are compared there."""


MIXTURE = Mixture(2)
FLOW = Flow(layers=2, width=16, steps=500)


@dataclass(frozen=True)
class Clouds(Problem):
    """Rows of a mixture of two normal laws in the plane; the loss is -ln p, its excess E ln p_0/p.

    The excess is over fixed rows, drawn once.
    """

    model: Generative = MIXTURE
    """What is fitted."""

    @property
    def learner(self) -> Any:
        return self.model.make(2)

    @property
    def words(self) -> str:
        return self.model.name

    def draw(self, key: Any, truth: Any, count: int) -> Any:
        key_cloud, key_noise = jax.random.split(key)
        first = jax.random.bernoulli(key_cloud, SHARE, (count, 1))
        centre = jnp.where(first, jnp.array([CENTRES[0]]), jnp.array([CENTRES[1]]))
        return centre + jnp.array([DEVIATIONS]) * jax.random.normal(key_noise, (count, 2))

    def loss(self, params: Any, rows: Any) -> Any:
        return -self.learner.log_density(params, rows)

    def real_log_density(self, truth: Any, rows: Any) -> Any:
        """Log-density of every row, `[N]`."""
        scale = jnp.array([DEVIATIONS])
        each = [
            jax.scipy.stats.norm.logpdf(rows, jnp.array([centre]), scale).sum(axis=1)
            for centre in CENTRES
        ]
        return jnp.logaddexp(np.log(SHARE) + each[0], np.log1p(-SHARE) + each[1])

    def excess(self, truth: Any, params: Any) -> Any:
        rows = jnp.asarray(fixed_rows())
        return jnp.mean(self.real_log_density(truth, rows) + self.loss(params, rows))


@cache
def fixed_rows() -> Any:
    """The rows on which an excess is measured."""
    with jax.ensure_compile_time_eval():
        return np.asarray(Clouds().draw(jax.random.key(0), (), JUDGED_ON))


SAMPLES = {"mixture": 50, "flow": 100}
"""n."""
LAMS = (0, 0.5, 1, 2, 4, 8, 16)
WORLDS = ("fixed", "fresh")


def generative_loops(preset: Preset) -> tuple[SizedLoops, ...]:
    """Loops of mixtures and flows, where transformers are trained at many amounts, too."""
    size = preset.convergence
    if len(size.lams) < len(LAMS):
        return ()
    each: Any = WORLDS
    few = size.lam_generations, 2 * size.lam_replicates
    return tuple(
        SizedLoops(Clouds(model), world, _sizes(SAMPLES[model.name]), *of)
        for model, of in ((MIXTURE, (10, 10 * few[1])), (FLOW, few))
        for world in each
    )


def _sizes(n: int) -> tuple[LoopSize, ...]:
    return tuple(LoopSize(n, round(lam * n)) for lam in LAMS)

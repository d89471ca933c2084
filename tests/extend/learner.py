"""A learner of one's own: the mean of an exponential law; its figure is the default one.

Given the mean R of n real rows, with n rows of the last generation beside them,

    θ_i - R = 1/2 [(θ_{i-1} - R) + θ_{i-1} (S_i - 1)],    E S_i = 1, Var S_i = 1/n,

so that u_i = E(θ_i - R)² obeys u_i = [u_{i-1} + (b² (1 + 1/n) + u_{i-1})/n]/4, u_0 = 0, and
E(θ_i - b)² = b²/n + u_i.
"""

from dataclasses import dataclass

import jax

from icl_stl.learners import Learner
from icl_stl.problems import Problem
from icl_stl.regimes import Augment, Replace
from icl_stl.studies import Cell, Claim, Judged, Loops

B, N, LAST = 2.0, 20, 3


@dataclass(frozen=True)
class Exponential(Problem):
    """Rows of mean b; all but b is known."""

    b: float = B
    learner = Learner(
        fit=lambda key, rows, weights: weights @ rows,
        generate=lambda key, theta, count: theta * jax.random.exponential(key, (count,)),
    )

    def draw(self, key, truth, count):
        return self.b * jax.random.exponential(key, (count,))

    def loss(self, params, rows):
        return (rows - params) ** 2

    def excess(self, truth, params):
        return (params - self.b) ** 2


def loops(preset):
    return tuple(Loops(Exponential(), r, N, LAST, 4000) for r in (Augment(0.5), Replace()))


def judge(evidence):
    real, alone = (evidence.experiments[one]["excess"] for one in loops(evidence.preset))
    u, cells, control = 0.0, [], []
    for i in range(LAST + 1):
        exact, keys = B**2 / N + u, {"generation": i, "rows": N}
        cells.append(Cell(real[:, i] - exact, real[:, i], exact, keys, "equal", exact / 8))
        margins, keys = alone[:, i] - exact, {**keys, "family": "no real rows"}
        control.append(Cell(margins, alone[:, i], exact, keys, "equal", exact / 8))
        u = (u + (B**2 * (1 + 1 / N) + u) / N) / 4
    return Judged(cells, control, [])


WORDS = "The mean of an exponential law errs as derived in every generation."
CLAIMS = [Claim("exponential_mean", WORDS, "derived", "no real rows", judge, experiments=loops)]

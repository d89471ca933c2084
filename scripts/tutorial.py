"""A learner and a bound of one's own, from loops to a report: read it, then change it.

`python scripts/tutorial.py` runs it; whatever the file, `icl-stl reproduce --study FILE.py` does.

Rows are numbers z of Laplace's law with scale b: |z| is exponential with mean b. The learner is the
maximum-likelihood scale, which the package does not have. It learns from its own rows beside a
constant real set; how far it strays is derived by hand and judged on thousands of loops.
"""

import sys
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from icl_stl.learners import Learner
from icl_stl.problems import Problem
from icl_stl.regimes import Augment, Replace
from icl_stl.studies import Cell, Claim, Evidence, Judged, Loops

b, n, m, G = 2.0, 50, 50, 10  # scale, real and synthetic rows, generations after generation 0
alpha = n / (n + m)


def fit(key: Any, rows: Any, weights: Any) -> Any:
    """1. The learner: rows, whose weights sum to 1, give the scale of greatest likelihood."""
    return weights @ abs(rows)


def generate(key: Any, theta: Any, count: int) -> Any:
    """A scale gives rows of D_θ. Both functions are pure, and written for a single loop."""
    return theta * jax.random.laplace(key, (count,))


@dataclass(frozen=True)
class LaplaceScale(Problem):
    """2. The problem: real law, learner, loss; what else it knows is recorded of a generation."""

    b: float = b
    learner = Learner(fit, generate)

    def draw(self, key: Any, truth: Any, count: int) -> Any:
        return generate(key, self.b, count)

    def loss(self, params: Any, rows: Any) -> Any:
        return (params - abs(rows)) ** 2

    def excess(self, truth: Any, params: Any) -> Any:
        return (params - self.b) ** 2


BESIDE, ALONE = (Loops(LaplaceScale(), r, n, G, 40_000) for r in (Augment(alpha), Replace()))

# 3. The theory. R, the mean of |z| over the real rows, has E R = b and Var R = b²/n. The |z| of m
#    rows of D_θ are θ times exponentials of mean 1; S_i, the mean of these, has E S_i = 1 and
#    Var S_i = 1/m. The fit is linear in |z|: θ_0 = R and, α = 0 standing for no real rows,
#        θ_i = α R + (1 - α) θ_{i-1} S_i,    so that E(θ_i | R) = R by induction.
#    Subtract R: θ_i - R = (1 - α) [(θ_{i-1} - R) + θ_{i-1} (S_i - 1)]. In the square the cross term
#    has mean 0, as S_i is independent of the past. So u_i = E(θ_i - R)² obeys u_0 = 0,
#        u_i = (1 - α)² [u_{i-1} + E θ_{i-1}²/m],    where E θ_{i-1}² = b² (1 + 1/n) + u_{i-1},
#    since θ_{i-1} - R and R are uncorrelated; likewise E(θ_i - b)² = b²/n + u_i, exactly.


def squared_error(alpha: float, power: int = 2) -> Any:
    """E(θ_i - b)² of generations 0..G; any power of 1 - α but 2 is wrong."""
    u = [0.0]
    for _ in range(G):
        u.append((1 - alpha) ** power * (u[-1] + (b**2 * (1 + 1 / n) + u[-1]) / m))
    return b**2 / n + np.array(u)


#    u_i grows to the fixed point of its recursion. With m = n (1 - α)/α this gives, for α > 0,
#        E(θ_i - b)² <= b² (3 - 2 α) / ((2 - α) n - (1 - α))    in every generation.
#    W₁(D_θ, D_b) = |θ - b|: the coupling (θ x, b x) attains it, and z -> |z|, which is 1-Lipschitz,
#    shows that none does better. By Jensen's inequality the root bounds the mean distance:
bound = np.full(G + 1, b * ((3 - 2 * alpha) / ((2 - alpha) * n - (1 - alpha))) ** 0.5)

# 4. The judgement: cells whose margins, one a loop, have a mean above 0 (a bound), or within a
#    tolerance of 0 (an equation). What is false is tested alike, and every family of it rejected.
SQUARE, DISTANCE = "E(θ - b)²", "E W₁"


def cells(what: str, values: Any, theory: Any, regime: str, **family: str) -> list[Cell]:
    """One statement in all generations."""
    found = []
    for i, (own, exact) in enumerate(zip(values.T, theory, strict=True)):
        keys = {"quantity": what, "regime": regime, "generation": i, **family}
        if what == SQUARE:
            found.append(Cell(own - exact, own, exact, keys, "equal", exact / 20))
        else:
            found.append(Cell(exact - own, own, exact, keys))
    return found


def judge(evidence: Evidence) -> Judged:
    """What was derived, and what is false."""
    real, none = (evidence.experiments[loops]["excess"].astype(float) for loops in (BESIDE, ALONE))
    right = cells(SQUARE, real, squared_error(alpha), "real rows")
    right += cells(SQUARE, none, squared_error(0), "no real rows")
    right += cells(DISTANCE, real**0.5, bound, "real rows")
    wrong = cells(SQUARE, real, squared_error(alpha, 1), "real rows", family="1 - α not squared")
    wrong += cells(DISTANCE, real**0.5, bound / 2, "real rows", family="half the bound")
    wrong += cells(DISTANCE, none**0.5, bound, "no real rows", family="bound without real rows")
    return Judged(right, wrong, [])


STATEMENT = "The error of a refitted scale is as derived; beside real rows it stays within a bound."
CONTROL = "1 - α not squared; half the bound; the bound without real rows"
experiments = lambda preset: (BESIDE, ALONE)  # noqa: E731
CLAIMS = [
    Claim("laplace_scale", STATEMENT, "derived here", CONTROL, judge, experiments=experiments)
]

if __name__ == "__main__":  # 5. loops, verdicts, a figure, the report
    from icl_stl.commands import run

    words = ["--preset", "tiny", "--study", __file__, "--out", "runs/tutorial", *sys.argv[1:]]
    sys.exit(run("reproduce", words))

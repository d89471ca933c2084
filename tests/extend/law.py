"""A real law of one's own for a learner of the package: a mean of rows that are not normal.

The learner believes in N(θ, σ²); its error follows from second moments alone, so that the closed
form of normal rows, here that of `GaussianMean`, holds for rows of Laplace's law of deviation σ.
"""

from dataclasses import dataclass

import jax
from matplotlib.figure import Figure

from icl_stl.problems import GaussianMean
from icl_stl.regimes import Augment, Replace
from icl_stl.studies import Cell, Claim, Judged, Loops

N, LAST = 30, 3


@dataclass(frozen=True)
class LaplaceRows(GaussianMean):
    """Rows μ + Laplace's noise of deviation σ; how far laws are apart is not known."""

    drift = eps = None

    def draw(self, key, truth, count):
        return truth + self.noise / 2**0.5 * jax.random.laplace(key, (count,))


def loops(preset):
    return tuple(Loops(LaplaceRows(), r, N, LAST, 4000) for r in (Augment(0.5), Replace()))


def judge(evidence):
    cells, control = [], []
    for one in loops(evidence.preset):
        excess, regime = evidence.experiments[one]["excess"], one.regime.name
        exact = GaussianMean().closed_form(one.regime, N, LAST)
        for i in range(LAST + 1):
            keys, values = {"regime": regime, "generation": i}, excess[:, i]
            cells.append(Cell(values - exact[i], values, exact[i], keys, "equal", exact[i] / 8))
            keys, wrong = {**keys, "family": regime}, 1.5 * exact[i]
            control.append(Cell(values - wrong, values, wrong, keys, "equal", wrong / 8))
    return Judged(cells, control, [])


def figure(entry):
    """Error by generation, measured (points) and in closed form (lines): second moments decide."""
    ax = (drawn := Figure(figsize=(5, 3.5))).subplots()
    for regime in dict.fromkeys(cell["regime"] for cell in entry["cells"]):
        own = [cell for cell in entry["cells"] if cell["regime"] == regime]
        ax.plot([c["generation"] for c in own], [c["measured"] for c in own], "o", label=regime)
        ax.plot([c["generation"] for c in own], [c["bound"] for c in own], "k-")
    ax.legend()
    return drawn


WORDS = "The error of a mean depends on the second moments of its rows alone."
CLAIM = Claim("other_law", WORDS, "derived here", "half more", judge, experiments=loops)
CLAIMS, FIGURES = {"law": CLAIM}, {CLAIM.name: figure}

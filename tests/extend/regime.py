"""A regime of one's own, with `mix`: only the first k of the last generation's rows are kept.

A mean of n rows of variance σ² errs by σ²/n; each generation adds σ²/k of its own:
E(θ_i - μ)² = σ² (1/n + i/k).
"""

from dataclasses import dataclass

from icl_stl.problems import GaussianMean
from icl_stl.regimes import Regime
from icl_stl.studies import Cell, Claim, Judged, Loops

N, K, LAST = 40, 10, 4


@dataclass(frozen=True)
class FirstRows(Regime):
    """No real rows; k of the synthetic ones."""

    k: int = K
    """Rows of the last generation that are kept."""
    name = "first-rows"

    def synthetic_size(self, samples):
        return samples

    def share(self, generation):
        return 0.0

    def mix(self, step):
        return step.mixed((step.synthetic, self.k, 1.0))


def loops(preset):
    return (Loops(GaussianMean(), FirstRows(), N, LAST, 4000, "risks"),)


def judge(evidence):
    (excess,) = (evidence.experiments[one]["excess"] for one in loops(evidence.preset))
    cells, control = [], []
    for i in range(LAST + 1):
        exact, every, keys = 1 / N + i / K, (1 + i) / N, {"generation": i, "n": N, "k": K}
        cells.append(Cell(excess[:, i] - exact, excess[:, i], exact, keys, "equal", exact / 8))
        keys = {**keys, "family": "all rows"}
        control.append(Cell(excess[:, i] - every, excess[:, i], every, keys, "equal", every / 8))
    return Judged(cells, control, [{"name": "k", "value": K, "provenance": "certified"}])


WORDS = "Where k rows of a generation are kept, each adds σ²/k to the error of a mean."
CLAIMS = (Claim("first_rows", WORDS, "derived here", "all kept", judge, experiments=loops),)

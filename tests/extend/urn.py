"""A study with an experiment of its own that is no loop of a learner: Pólya's urn.

n balls, half of them white; t times a ball is drawn and put back with another of its colour. The
share of white balls has the mean 1/2 and the variance t/(4 (n + 1) (n + t)).
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from icl_stl.studies import Cell, Claim, Experiment, Judged

N = 10


@dataclass(frozen=True)
class Urns(Experiment):
    """Urns, each by itself."""

    draws: int = 20
    runs: int = 4000

    @property
    def words(self):
        return f"urns, n{N}"

    def run(self, seed):
        rng, shares = np.random.default_rng(seed), [np.full(self.runs, 0.5)]
        for t in range(self.draws):
            white = (N + t) * shares[-1] + (rng.random(self.runs) < shares[-1])
            shares.append(white / (N + t + 1))
        return {"share": np.stack(shares, axis=1)}


def judge(evidence):
    (shares,) = (evidence.experiments[Urns()][name] for name in ("share",))
    squares, cells, control = (shares - 0.5) ** 2, [], []
    for t in (5, 10, 20):
        exact, keys, values = t / (4 * (N + 1) * (N + t)), {"draws": t}, squares[:, t]
        cells.append(Cell(values - exact, values, exact, keys, "equal", exact / 8))
        wrong, keys = t / (4 * (N + t)) / N, {**keys, "family": "N instead of N + 1, no tolerance"}
        control.append(Cell(wrong / 1.2 - values, values, wrong, keys))
    return Judged(cells, control, [])


def figure(entry):
    """Variance of the share of white balls by draws (points, intervals) on the derived curve."""
    ax, t = (drawn := Figure(figsize=(5, 3.5))).subplots(), np.arange(21)
    ax.plot(t, t / (4 * (N + 1) * (N + t)), "k-", label="derived")
    for cell in entry["cells"]:
        ax.plot([cell["draws"]] * 2, [cell["low"], cell["high"]], "C0-")
        ax.plot(cell["draws"], cell["measured"], "C0o")
    ax.set(xlabel="draws", ylabel="variance")
    return drawn


WORDS = "The variance of an urn's share of white balls is t/(4 (n + 1) (n + t))."
CLAIMS = [Claim("urn", WORDS, "Pólya", "a smaller one", judge, experiments=lambda p: (Urns(),))]
FIGURES = {"urn": figure}

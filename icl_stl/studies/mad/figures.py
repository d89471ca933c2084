"""The figure of the admissible amount of synthetic rows, drawn from its cells alone."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icl_stl.studies.drawing import Stored, chosen, column, constants_of, grouped, of_cells, points
from icl_stl.style import MARKERS, PALETTE, plain_log

NAME = "sampling_bias"
SHOWN = {
    "symbols": ("entropy, nats", "distance", "total variation"),
    "prompts": ("task variance", "precision", "precision, over that of the real law"),
}
"""Learners of the panels: their diversity, the kind of quality and its words."""


def _limits(ax: Axes, stored: Stored) -> None:
    """The distance by the amount of synthetic rows."""
    (curves,) = [c["value"] for c in constants_of(stored, NAME) if "limits" in c["name"]]
    counts = np.array(curves["n_syn"])
    for k, s in enumerate(key for key in curves if key != "n_syn"):
        ax.plot(counts, curves[s], color=PALETTE[k], label=f"s = {s}")
    measured = chosen(stored, NAME, "second order")
    words = f"generation {measured[0]['generation']:g}, s = {measured[0]['bias']:g}"
    points(ax, measured, column(measured, "n_syn"), "k", words)
    (alone,) = chosen(stored, NAME, "alone")
    ax.axhline(alone["bound"], color="0.35", linestyle="--", label="real rows alone")
    ax.set_xscale("log")
    plain_log(ax.xaxis, (1,))
    if (alone["bound"] or 0) > 0:
        ax.set_ylim(0, 3.2 * alone["bound"])
    ax.set_xlabel(f"synthetic rows beside {alone['n']:g} new real ones")
    ax.set_ylabel("squared W2 from the real law, σ²")
    ax.set_title("normal law, mean and variance")
    ax.legend(fontsize=8)


def _trade(ax: Axes, stored: Stored, learner: str) -> None:
    """Quality and diversity of each loop, by bias."""
    spread = chosen(stored, NAME, "spread", loop=learner)
    words, kind, own_words = SHOWN[learner]
    pairs = [*zip(spread, chosen(stored, NAME, kind, loop=learner), strict=True)]
    for k, ((regime,), own) in enumerate(grouped([x for x, _ in pairs], "regime").items()):
        other = [y for _, y in pairs if y["regime"] == regime]
        x, y = column(own, "measured"), column(other, "measured")
        half = [(column(some, "high") - column(some, "low")) / 2 for some in (own, other)]
        ax.errorbar(x, y, half[1], half[0], color=PALETTE[k], marker=MARKERS[k], label=regime)
        for cell, a, b in zip(own, x, y, strict=True):
            ax.annotate(f"{cell['bias']:g}", (a, b), (3, 4), textcoords="offset points", fontsize=8)
    ax.set_xlabel(f"diversity: {words}")
    ax.set_ylabel(own_words)
    ax.set_title(f"{learner}, generation {spread[0]['generation']:g}")
    ax.legend(fontsize=8)


def _draw(stored: Stored) -> Figure:
    """Left: limit of the squared W2 distance by the amount of synthetic rows, sampling bias s.
    Others: quality against diversity at each s, by loop. Bars: intervals of the claim.
    """
    figure = Figure(figsize=(13, 4.2))
    left, *others = figure.subplots(1, 1 + len(SHOWN))
    _limits(left, stored)
    for ax, learner in zip(others, SHOWN, strict=True):
        _trade(ax, stored, learner)
    return figure


DRAWINGS = of_cells({NAME: _draw})

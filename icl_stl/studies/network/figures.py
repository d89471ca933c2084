"""The figure of the bounds on the risk of a network, from the claim's cells alone."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icl_stl.studies.drawing import Stored, chosen, column, of_cells
from icl_stl.studies.network.claims import CONSTANTS, KINDS, M
from icl_stl.style import MARKERS, PALETTE, plain_log

CLAIM = "network_bound"


def _draw(stored: Stored) -> Figure:
    """Bounds on the risk of a transformer, generation 1, α = 1/2; above the line M a bound says
    nothing. Right, at the largest n: each bound, and what it would be if one of its constants were
    0.
    """
    figure = Figure(figsize=(12.4, 4.0))
    left, right = figure.subplots(1, 2)
    ends = [(M, "M, the largest loss", "k")]
    for k, (kind, words) in enumerate(KINDS.items()):
        cells = sorted(chosen(stored, CLAIM, kind), key=lambda cell: float(cell["n"]))
        sizes = column(cells, "n")
        bound, risk = column(cells, "bound"), column(cells, "measured")
        left.plot(sizes, bound, color=PALETTE[k], marker=MARKERS[k])
        ends.append((bound[-1], words, PALETTE[k]))
        _without(right, stored, k, kind, sizes[-1], bound[-1])
    left.plot(sizes, risk, color="0.35")
    left.plot(sizes, np.full(sizes.shape, M), color="k", linewidth=1)
    left.set_xscale("log")
    left.set_xticks(sizes, [f"{n:g}" for n in sizes])
    left.minorticks_off()
    left.set_xlim(right=left.get_xlim()[1] ** 1.35)
    left.set_yscale("log")
    plain_log(left.yaxis, (1, 3))
    _named(left, sizes[-1], [*ends, (risk[-1], "risk, measured", "0.35")])
    left.set_xlabel("real prompts n, and as many synthetic ones")
    left.set_ylabel("risk, clipped squared error")
    right.axvline(M, color="k", linewidth=1)
    right.set_xscale("log")
    plain_log(right.xaxis)
    right.set_yticks(range(len(KINDS)), [words.replace(" ", "\n", 1) for words in KINDS.values()])
    right.set_ylim(len(KINDS) - 0.5, -0.5)
    right.set_xlabel(f"bound at n = {sizes[-1]:g}")
    handles = dict(zip(*reversed(right.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles, loc="outside right center")
    return figure


def _named(ax: Axes, x: float, ends: list[tuple[float, str, str]]) -> None:
    """Names of curves where they end, moved up where they would lie on each other."""
    low, high = np.log(ax.get_ylim())
    place = low
    for y, words, colour in sorted(ends):
        place = max(place + 0.055 * (high - low), np.log(y))
        at: dict[str, Any] = {"xytext": (7, 0), "textcoords": "offset points"}
        ax.annotate(words, (x, np.exp(place)), **at, va="center", color=colour, fontsize=9)


def _without(ax: Axes, stored: Stored, k: int, kind: str, n: float, bound: float) -> None:
    ax.plot([bound], [k], "|", color="k", markersize=18, markeredgewidth=2, label="the bound")
    for cell in chosen(stored, CLAIM, "without", of=kind, n=n):
        c = list(CONSTANTS).index(cell["without"])
        look = {"color": PALETTE[c], "marker": MARKERS[c], "linestyle": ""}
        words = f"without {CONSTANTS[cell['without']]}"
        ax.plot([cell["measured"]], [k - 0.24 + 0.12 * c], markersize=6, label=words, **look)


DRAWINGS = of_cells({CLAIM: _draw})

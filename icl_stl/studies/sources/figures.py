"""Figures of the claims about hidden sources and changing shares, drawn from their cells alone."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icl_stl.studies.drawing import Stored, chosen, column, grouped, of_cells, points
from icl_stl.style import MARKERS, PALETTE


def _curves(ax: Axes, stored: Stored, claim: str, kind: str, key: str, words: str) -> None:
    """Measured means with their intervals, and closed forms, by the values of a key."""
    for k, ((name,), cells) in enumerate(grouped(chosen(stored, claim, kind), key).items()):
        x = column(cells, "generation")
        label = words.format(name)
        points(ax, cells, x, PALETTE[k], label, MARKERS[k])
        ax.plot(x, column(cells, "bound"), color=PALETTE[k], linewidth=1)
    ax.set_xlabel("generation")


def _draw_hidden_sources(stored: Stored) -> Figure:
    """Squared error by stage: points measured with 95 % intervals, lines in closed form. Left: rows
    real by lot, with the interpolating estimator's bound. Right: everything kept; dotted: exponent
    -2α, real rows alone -1.
    """
    claim, figure = "hidden_sources", Figure(figsize=(9.4, 4.2))
    left, right = figure.subplots(1, 2)
    _curves(left, stored, claim, "stages", "estimator", "{}")
    limits = chosen(stored, claim, "bound")
    x = column(limits, "generation")
    left.plot(x, column(limits, "bound"), "k--", label="bound, interpolating")
    left.plot(x, column(limits, "oracle"), "k:", label="least, sources known")
    left.set_ylabel("n times squared error")
    left.set_title(f"hidden sources, α = {limits[0]['alpha']:g}")
    left.set_ylim(bottom=0)
    _curves(right, stored, claim, "kept", "alpha", "α = {:g}")
    for k, ((alpha,), cells) in enumerate(grouped(chosen(stored, claim, "kept"), "alpha").items()):
        x, first = column(cells, "generation"), cells[1]
        slope = -min(1.0, 2 * alpha)
        line = first["bound"] * (x / first["generation"]) ** slope
        right.plot(x, line, ":", color=PALETTE[k], label=f"exponent {slope:g}")
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_ylabel("squared error")
    right.set_title("everything kept")
    left.set_xticks(np.arange(0, 21, 5))
    for ax in (left, right):
        ax.legend(fontsize=8)
    return figure


def _draw_varying_shares(stored: Stored) -> Figure:
    """Shares α/(i+1)^q, rows n i^r; points measured with 95 % intervals, lines: closed form, or
    bounds, which bits attain. Left: symbols on both sides of the threshold. Middle: drift. Right:
    influence of one real row.
    """
    claim, figure = "varying_shares", Figure(figsize=(11.4, 3.9))
    left, middle, right = figure.subplots(1, 3)
    _curves(left, stored, claim, "sides", "side", "{}")
    left.axhline(1, color="0.35", linewidth=0.8)
    left.set_ylabel("squared error over that of generation 0")
    left.set_title("symbols: q = 1/2, r = 1 and q = 1, r = 1/2")
    for ax, kind, title in (
        (middle, "drift over injected error", "bits, one-sided errors"),
        (right, "n gamma", "neighbouring bits"),
    ):
        _curves(ax, stored, claim, kind, "loop", "measured")
        ax.set_ylabel(kind.replace("gamma", "γ"))
        ax.set_title(title)
    for ax in (left, middle, right):
        ax.set_ylim(bottom=0)
        ax.set_xticks(np.arange(0, 21, 5))
        ax.legend(fontsize=8)
    return figure


DRAWINGS = of_cells(
    {"hidden_sources": _draw_hidden_sources, "varying_shares": _draw_varying_shares}
)

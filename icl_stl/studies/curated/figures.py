"""The figure of curated rows, drawn from its cells and constants alone."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from icl_stl.studies.drawing import Stored, chosen, column, constants_of, grouped, of_cells, points
from icl_stl.style import MARKERS, PALETTE

NAME = "curated_rows"


def _rewards(ax: Axes, stored: Stored) -> None:
    """E e^r of laws that are fitted without error, and their limits."""
    curves, limits = (c["value"] for c in constants_of(stored, NAME))
    for k, (alpha, path) in enumerate(curves.items()):
        words = f"real share {alpha}" if float(alpha) else "no real rows"
        ax.plot(range(len(path)), path, color=PALETTE[k], label=words)
        if alpha in limits:
            ax.axhline(limits[alpha], color=PALETTE[k], linestyle="--", linewidth=0.9)
    ax.set_ylabel("mean of e^r")
    ax.legend(fontsize=9)


def _errors(ax: Axes, stored: Stored, loop: str) -> None:
    cells = [c for c in chosen(stored, NAME, "error") if c["loop"].startswith(loop)]
    for k, ((regime,), own) in enumerate(grouped(cells, "regime").items()):
        x = column(own, "generation")
        points(ax, own, x, PALETTE[k], regime, MARKERS[k])
        ax.plot(x, column(own, "bound"), "--", color=PALETTE[k], linewidth=1)
    ax.set_ylim(0)
    ax.legend(fontsize=9)


def _draw(stored: Stored) -> Figure:
    """A reward draws the law away. Left: mean of e^r without sampling; dashed: where it ends.
    Middle, right: squared error of a law on three symbols and of a mean; dashed: exact. Bars: the
    claim's intervals.
    """
    figure = Figure(figsize=(12.6, 4.1))
    axes = figure.subplots(1, 3)
    _rewards(axes[0], stored)
    for ax, loop, words in (
        (axes[1], "categorical", "squared error of three symbols"),
        (axes[2], "gaussian mean", "squared error of the mean, σ²"),
    ):
        _errors(ax, stored, loop)
        ax.set_ylabel(words)
    for ax in axes:
        ax.set_xlabel("generation")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


DRAWINGS = of_cells({NAME: _draw})

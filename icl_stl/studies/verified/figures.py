"""The figure of verified rows, drawn from its cells and constants alone."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from icl_stl.studies.drawing import Stored, chosen, column, constants_of, grouped, of_cells, points
from icl_stl.style import PALETTE

NAME = "verified_rows"


def _constant(stored: Stored, name: str) -> Any:
    return next(c["value"] for c in constants_of(stored, NAME) if c["name"] == name)


def _near(ax: Axes, stored: Stored) -> None:
    """The error of a mean whose verifier is nearly right, by generation."""
    path = chosen(stored, NAME, "path")
    x = column(path, "generation")
    ax.plot(x, column(path, "bound"), color=PALETTE[0], label="law, to first order")
    points(ax, path, x, PALETTE[0], "measured")
    ax.axhline(
        _constant(stored, "error of one fit"), color="0.35", ls="--", label="real rows alone"
    )
    ax.set_ylabel("squared error of the mean, σ²")
    ax.set_title("within σ of a verifier's number")
    ax.set_ylim(0)


def _fading(ax: Axes, stored: Stored) -> None:
    """The variance of a normal law by its own confidence."""
    for k, ((share,), own) in enumerate(grouped(chosen(stored, NAME, "variance"), "alpha").items()):
        x = column(own, "generation")
        ax.plot(x, column(own, "bound"), color=PALETTE[k])
        points(ax, own, x, PALETTE[k], f"real share {share:g}")
    ax.set_yscale("log")
    ax.set_ylabel("mean fitted variance, σ²")
    ax.set_title("the surest 80 % kept")


def _learned(ax: Axes, stored: Stored) -> None:
    """How often right labels are learned, by the share of wrong ones."""
    curves, limits = _constant(stored, "right labels learned"), _constant(stored, "threshold of p")
    cells = chosen(stored, NAME, "learned")
    for k, (name, limit) in enumerate(limits.items()):
        for j, own in enumerate(words for words in curves if name in words):
            ax.plot(curves["p"], curves[own], (":", "-")[j % 2], color=PALETTE[k], label=own)
        ax.axvline(limit, color=PALETTE[k], linestyle="--", linewidth=0.8)
    for k, cell in enumerate(cells):
        value = cell["measured"]
        shown = 1 - value if "not" in cell["quantity"] else value
        ax.plot(cell["p"], shown, "o", color=PALETTE[k])
    ax.set_xlabel("share p of wrong labels")
    ax.set_ylabel("chance that most kept are right")
    ax.set_title("an oracle with errors")
    ax.legend(fontsize=8)


def _draw(stored: Stored) -> Figure:
    """Left: a nearly right verifier gains first, then its bias stays. Middle: variance by the
    model's own confidence. Right: an oracle that keeps wrong rows at rate ψ; dashed: thresholds.
    Lines: laws; bars: intervals of the claim.
    """
    figure = Figure(figsize=(13, 4.2))
    left, middle, right = figure.subplots(1, 3)
    _near(left, stored)
    _fading(middle, stored)
    _learned(right, stored)
    for ax in (left, middle):
        ax.set_xlabel("generation")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend(fontsize=8)
    return figure


DRAWINGS = of_cells({NAME: _draw})

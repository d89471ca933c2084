"""The figure of smoothed resampling, drawn from its cells alone."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icl_stl.studies.drawing import Stored, chosen, column, constants_of, grouped, of_cells, points
from icl_stl.style import MARKERS, PALETTE

NAME = "smoothed_resampling"


def _densities(ax: Axes, stored: Stored) -> None:
    (curves,) = [c["value"] for c in constants_of(stored, NAME) if "densities" in c["name"]]
    names = [key for key in curves if key != "z"]
    for k, name in enumerate(names):
        dashed = "--" if "limit" in name else "-"
        ax.plot(curves["z"], curves[name], dashed, color=PALETTE[k], label=name)
    ax.set_xlabel("row, σ")
    ax.set_ylabel("density of the mean law, 1/σ")
    ax.set_ylim(bottom=0)


def _variances(ax: Axes, stored: Stored) -> None:
    found = grouped(chosen(stored, NAME, "variance"), "regime", "alpha")
    for k, ((regime, alpha), cells) in enumerate(found.items()):
        curve = cells[0]["curve"]
        ax.plot(np.arange(len(curve)), curve, color=PALETTE[k], linewidth=1.2)
        label = f"{regime}, α = {alpha:g}" if alpha else regime
        points(ax, cells, column(cells, "generation"), PALETTE[k], label, MARKERS[k])
    ax.set_ylabel("variance of the generator, σ²")


def _modes(ax: Axes, stored: Stored) -> None:
    for k, ((order,), cells) in enumerate(grouped(chosen(stored, NAME, "mode"), "order").items()):
        curve = np.array(cells[0]["curve"])
        ax.plot(np.arange(len(curve)), curve, color=PALETTE[k], linewidth=1.2)
        at = column(cells, "generation")
        points(ax, cells, at, PALETTE[k], f"mode {order:g}", MARKERS[k])
    ax.set_ylabel("Hermite mode of the standardised row")
    ax.set_ylim(bottom=0)


def _draw(stored: Stored) -> Figure:
    """Left: densities of mean laws without real rows, and limits beside a real share α. Middle:
    variance of the generator. Right: Hermite modes without real rows. Curves are exact; bars:
    intervals of the claim.
    """
    figure = Figure(figsize=(13, 4.2))
    left, *others = figure.subplots(1, 3)
    _densities(left, stored)
    for ax, draw in zip(others, (_variances, _modes), strict=True):
        draw(ax, stored)
        ax.set_xlabel("generation")
        ax.set_xticks(range(4))
    for ax in (left, *others):
        ax.legend(fontsize=8)
    return figure


DRAWINGS = of_cells({NAME: _draw})

"""The figure of the claim about loops in the context, drawn from its cells alone."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icl_stl.studies.drawing import Cell, Stored, cells_of, of_cells, points
from icl_stl.style import MARKERS, PALETTE

CLAIM = "context_loop"


def _chosen(stored: Stored, loop: str, kind: str) -> list[Cell]:
    where = {"loop": loop, "kind": kind}
    return [
        cell
        for cell in cells_of(stored, CLAIM)
        if all(cell.get(key) == value for key, value in where.items())
    ]


def _looks(stored: Stored) -> dict[int, int]:
    """A colour and a marker for each number of kept examples."""
    kept = sorted({int(cell["kept"]) for cell in cells_of(stored, CLAIM)})
    return {k: place for place, k in enumerate(kept)}


def _share(cell: Cell) -> str:
    return f"αm = {cell['kept']} of {cell['m']}"


def _curve(ax: Axes, cell: Cell, look: int, label: str, values: Sequence[float]) -> None:
    ax.plot(
        np.arange(len(values)),
        values,
        color=PALETTE[look],
        marker=MARKERS[look],
        markevery=max(1, len(values) // 8),
        markersize=4,
        label=label,
    )


def _dashed(ax: Axes, values: Sequence[float], look: int) -> None:
    ax.plot(np.arange(len(values)), values, "--", color=PALETTE[look], linewidth=1.3, zorder=4)


def _generations(ax: Axes, title: str, words: str) -> None:
    ax.set_title(title)
    ax.set_xlabel("generation")
    ax.set_ylabel(words)
    ax.set_yscale("log")


def _draw_ridge(ax: Axes, stored: Stored, looks: Mapping[int, int]) -> None:
    for cell in _chosen(stored, "ridge", "left"):
        look = looks[cell["kept"]]
        _curve(ax, cell, look, _share(cell), cell["curve"])
        _dashed(ax, cell["rate"] ** np.arange(len(cell["curve"])), look)
    _generations(ax, "ridge: distance to ridge on the kept labels", "distance left (median)")
    ax.legend(loc="lower left")


def _draw_attention(ax: Axes, stored: Stored, looks: Mapping[int, int]) -> None:
    for cell in _chosen(stored, "linear attention", "threshold"):
        if cell["kept"] not in (0, 3):
            continue
        for which, style in (("largest", 1), ("typical", 0)):
            look = looks[cell["kept"]] + 4 * style
            label = f"α = {cell['alpha']:.2g}: (1-α)ρ = {cell[f'factor_{which}']:.2f}"
            _curve(ax, cell, look, label, cell[f"loop_{which}"])
            ax.plot(np.arange(len(cell[f"path_{which}"])), cell[f"path_{which}"], "k--", lw=1)
    _generations(ax, "linear attention, fixed inputs", "|weights| / |weights at 0|")
    ax.plot([], [], "k--", linewidth=1, label="recursion")
    ax.legend(loc="upper left")


def _draw_rare(ax: Axes, stored: Stored, looks: Mapping[int, int]) -> None:
    for cell in _chosen(stored, "linear attention", "rare"):
        look = looks[cell["kept"]]
        if cell["kept"] == 0:
            continue
        mean, square, typical = cell["factors"]
        _curve(ax, cell, look, "mean over loops", cell["curve"])
        _dashed(ax, cell["recursion"], look)
        x = np.arange(len(cell["median"]))
        ax.plot(x, cell["median"], color="0.35", marker="v", markersize=4, label="median")
        ax.set_title(
            f"linear attention, new examples, α = {cell['alpha']:.2g}\nfactors: mean {mean:.3f}, "
            f"square {square:.3f}, typical {typical:.3f}",
            fontsize=9,
        )
    _generations(ax, ax.get_title(), "mean square of the weights")
    ax.title.set_fontsize(9)
    ax.legend(loc="upper left")


def _draw_one_kept(ax: Axes, stored: Stored, looks: Mapping[int, int]) -> None:
    for cell in _chosen(stored, "ridge", "blind"):
        _curve(ax, cell, looks[cell["kept"]], f"{_share(cell)}, all of one input", cell["curve"])
        _dashed(ax, [cell["limit_error"]] * len(cell["curve"]), looks[cell["kept"]])
    _generations(ax, "ridge, where no kept input looks; limit for all", "squared error")
    ax.legend(loc="lower right")


def _draw_influence(ax: Axes, stored: Stored, looks: Mapping[int, int]) -> None:
    cells = [c for c in _chosen(stored, "network", "influence") if c["kept"]]
    alpha = np.array([cell["alpha"] for cell in cells])
    points(ax, cells, alpha, PALETTE[0], "networks", "o")
    ridge = [cell["bound"] for cell in cells]
    ax.plot(alpha, ridge, "s", color=PALETTE[1], markersize=5, mfc="none", label="ridge, same")
    every = [cell for cell in cells if cell["kept"] == cell["m"]]
    if every:
        ax.plot(alpha, every[0]["measured"] / alpha, "k:", label="1/α")
    ax.set_xscale("log")
    ax.set_xticks(alpha, [f"{a:g}" for a in alpha])
    ax.minorticks_off()
    ax.set_xlabel("share α of kept examples")
    ax.set_yscale("log")
    ax.set_ylabel("influence of one real label")
    generation = cells[0]["generation"] if cells else 0
    ax.set_title(f"networks and ridge, generation {generation}")
    ax.legend(loc="lower left")


def _draw_networks(ax: Axes, stored: Stored, looks: Mapping[int, int]) -> None:
    for cell in _chosen(stored, "network", "error"):
        look = looks[cell["kept"]]
        _curve(ax, cell, look, _share(cell), cell["curve"])
        _dashed(ax, cell["ridge"], look)
    _generations(ax, "networks (solid), ridge (dashed)", "squared error (median)")
    ax.legend(loc="upper left", fontsize=8)


PANELS = (_draw_ridge, _draw_attention, _draw_rare, _draw_one_kept, _draw_influence, _draw_networks)


def _draw(stored: Stored) -> Figure:
    """A frozen predictor relabels its own context, but for a share α of real labels. Ridge
    converges as predicted (dashed), but learns nothing where no kept input looks; linear attention
    explodes where (1 - α)ρ exceeds 1. Networks are findings.
    """
    figure = Figure(figsize=(13.2, 7.6))
    looks = _looks(stored)
    for ax, panel in zip(figure.subplots(2, 3).ravel(), PANELS, strict=True):
        panel(ax, stored, looks)
    return figure


DRAWINGS = of_cells({CLAIM: _draw})

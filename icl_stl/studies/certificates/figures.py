"""The figure of the certificates of networks in context, from the cells of `claims.json` alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icl_stl.studies.drawing import Cell, Stored, chosen, grouped, of_cells
from icl_stl.style import MARKERS, PALETTE

GREY = "0.35"
CLAIM = "context_certificate"
SENSITIVITIES = {"kappa": "label sensitivity", "row_sum": "row sum"}


def _networks(stored: Stored) -> dict[str, list[Cell]]:
    """The cells that compare certified and found changes, by architecture."""
    cells = chosen(stored, CLAIM, "change")
    return {name: found for (name,), found in grouped(cells, "loop").items()}


def _curves(stored: Stored) -> dict[str, Cell]:
    return {str(c["loop"]): c for c in chosen(stored, CLAIM, "contexts")}


def _short(name: str) -> str:
    return name.replace(", ", "\n", 1).replace("causal layers", "causal\nlayers")


def _draw(stored: Stored) -> Figure:
    """What one in-context example can do to trained networks: the certificate lies above the
    worst replacement found, and that above random ones. Right: longer contexts with the same
    weights, and positions; below: labels alone. Dotted: the range of labels.
    """
    groups = _networks(stored)
    names = [_short(name) for name in groups]
    figure = Figure(figsize=(11.5, 8))
    (changes, contexts), (labels, positions) = figure.subplots(2, 2)
    _draw_changes(changes, groups)
    _draw_contexts(contexts, stored)
    _draw_sensitivities(labels, stored, list(groups))
    _draw_positions(positions, groups)
    for ax in (changes, labels):
        ax.set_yscale("log")
        ax.set_xticks(range(len(names)), names, fontsize=8)
        ax.grid(axis="x", visible=False)
        for g in range(1, len(names)):
            ax.axvline(g - 0.5, color=GREY, linewidth=0.4)
    return figure


def _trivial(ax: Axes, value: float) -> None:
    ax.axhline(value, color="k", linestyle=":", linewidth=1.2, label="2 B_y: range of labels")


def _draw_changes(ax: Axes, groups: Mapping[str, Sequence[Cell]]) -> None:
    parts: tuple[tuple[str, str, int, str], ...] = (
        ("certified", "bound", 1, "v"),
        ("worst found (lower bound)", "measured", 0, "o"),
        ("random, 99 % quantile", "typical_q99", 2, "s"),
        ("random, mean", "typical", 3, "D"),
    )
    for p, (label, key, colour, marker) in enumerate(parts):
        for g, cells in enumerate(groups.values()):
            x = g - 0.3 + 0.2 * p + np.linspace(-0.06, 0.06, len(cells))
            y = [cell[key] for cell in cells]
            named = label if g == 0 else None
            ax.plot(x, y, marker, color=PALETTE[colour], markersize=4.5, label=named)
    _trivial(ax, next(iter(groups.values()))[0]["trivial"])
    ax.set_ylabel("change of the prediction, √v")
    ax.set_title("one example replaced")
    ax.legend(fontsize=8, loc="upper left")


def _draw_contexts(ax: Axes, stored: Stored) -> None:
    curves = _curves(stored)
    trivial = next(iter(curves.values()))["trivial"]
    x = np.array(next(iter(curves.values()))["contexts"], float)
    for k, (name, cell) in enumerate(curves.items()):
        look: dict[str, Any] = {"color": PALETTE[k], "marker": MARKERS[k], "markersize": 4.5}
        ax.plot(x, cell["curve"], label=name, **look)
        certified = np.array(cell["certified_curve"], float)
        if certified.min() < trivial:
            ax.plot(x, certified, linestyle="--", **look)
    start = 1.6 * max(cell["curve"][0] for cell in curves.values())
    ax.plot(x, start * x[0] / x, color="k", linewidth=1, label="slope -1")
    ax.plot([], [], color=GREY, linestyle="--", label="certified, if ever below 2 B_y")
    _trivial(ax, trivial)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xticks(x, [f"{m:g}" for m in x])
    ax.minorticks_off()
    ax.set_xlabel("examples in the context")
    ax.set_ylabel("mean change, random replacement, √v")
    ax.set_title("the same weights in longer contexts")
    ax.legend(fontsize=7, loc="lower left")


def _draw_sensitivities(ax: Axes, stored: Stored, names: Sequence[str]) -> None:
    for w, (kind, what) in enumerate(SENSITIVITIES.items()):
        for g, name in enumerate(names):
            cells = chosen(stored, CLAIM, kind, loop=name)
            x = g - 0.2 + 0.4 * w + np.linspace(-0.1, 0.1, len(cells))
            for key, marker, of in (("bound", "v", "certified"), ("measured", "o", "found")):
                own: dict[str, Any] = {
                    "color": PALETTE[w],
                    "label": f"{what}, {of}" if g == 0 else None,
                }
                ax.plot(x, [cell[key] for cell in cells], marker, markersize=4.5, **own)
    ax.set_ylabel("change per unit of labels")
    ax.set_title("label sensitivity m |∂f/∂y|, row sum Σ |∂f/∂y|")
    ax.legend(fontsize=8, loc="upper left")


def _draw_positions(ax: Axes, groups: Mapping[str, Sequence[Cell]]) -> None:
    for name, cells in groups.items():
        if len(cells[0]["by_position"]["found"]) == 1:
            continue
        seen = ("certified", 1, "v"), ("found", 0, "o"), ("typical", 3, "D")
        for what, colour, marker in seen:
            rows = np.array([cell["by_position"][what] for cell in cells])
            look: dict[str, Any] = {"color": PALETTE[colour]}
            for row in rows:
                ax.plot(range(rows.shape[1]), row, alpha=0.3, linewidth=0.8, **look)
            ax.plot(range(rows.shape[1]), rows.mean(0), marker=marker, label=what, **look)
        ax.set_title(f"{name}: by position")
        ax.set_xticks(range(rows.shape[1]), ["first", "middle", "last"][: rows.shape[1]])
    ax.set_yscale("log")
    ax.set_xlabel("replaced example")
    ax.set_ylabel("change of the prediction, √v")
    ax.legend(fontsize=8)


DRAWINGS = of_cells({CLAIM: _draw})

"""What `icl-stl benchmark` measured: shares of the ceiling, and how costs grow."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icl_stl.style import MARKERS, PALETTE, plain_log


def _shares(ax: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Median share of the ceiling by size, one marker a contestant, whiskers over rounds."""
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    names = list(dict.fromkeys(row["contestant"] for row in rows))
    for index, name in enumerate(names):
        own = [row for row in rows if row["contestant"] == name]
        shares = [row["share of the ceiling"] for row in own]
        median, low, high = (
            np.array([share[key] for share in shares]) for key in ("median", "low", "high")
        )
        offset = (index - (len(names) - 1) / 2) * 0.1
        ax.errorbar(
            [sizes.index(row["size"]) + offset for row in own],
            median,
            yerr=[median - low, high - median],
            fmt=MARKERS[index],
            color=PALETTE[index],
            capsize=2,
            label=name,
        )
    ax.set_xticks(range(len(sizes)), sizes)
    ax.set_xlim(-0.5, len(sizes) - 0.5)
    ax.set_ylim(0, 1)
    ax.set_ylabel("share of the matmul ceiling")
    ax.set_title("training: useful operations over the ceiling")
    ax.legend()


def _growth(ax: Axes, part: Mapping[str, Any]) -> None:
    """Median cost over the cost at the smallest value, against that value."""
    axes = list(dict.fromkeys(row["axis"] for row in part["rows"]))
    for index, axis in enumerate(axes):
        own = [row for row in part["rows"] if row["axis"] == axis]
        x = np.array([row["at"] + (axis == "generations") for row in own], float)
        cost = np.array([row["ms"]["median"] for row in own])
        slope = part["ratios"][f"exponent in {axis}"]["median"]
        ax.plot(
            x / x[0],
            cost / cost[0],
            marker=MARKERS[index],
            color=PALETTE[index],
            label=f"{axis}: exponent {slope:.2f}",
        )
    ax.set_xscale("log")
    ax.set_yscale("log")
    plain_log(ax.xaxis)
    plain_log(ax.yaxis)
    ax.set_xlabel("over the smallest value")
    ax.set_ylabel("cost over that at the smallest value")
    ax.set_title("growth of the cost")
    ax.legend()


def speeds(parts: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Shares of the ceiling in training beside the growth of costs, as far as they are there."""
    rows = [
        {**row, "contestant": row["contestant"].removeprefix("training, ")}
        for row in parts.get("speed", {"rows": []})["rows"]
        if row["contestant"].startswith("training, ") and "share of the ceiling" in row
    ]
    growth = parts.get("growth", {"rows": []})
    panels = [bool(rows), bool(growth["rows"])]
    if not any(panels):
        return Figure()
    figure = Figure(figsize=(5.5 * sum(panels), 4))
    axes = figure.subplots(1, sum(panels), squeeze=False)[0]
    if rows:
        _shares(axes[0], rows)
    if growth["rows"]:
        _growth(axes[-1], growth)
    return figure

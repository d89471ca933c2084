"""The picture of the table of definitions, drawn from its constant alone."""

from typing import Any

from matplotlib.figure import Figure

from icl_stl import profile
from icl_stl.studies.drawing import Stored, chosen, constants_of, of_cells
from icl_stl.style import PALETTE

NAME = "profile"
LOOKS = {
    "10": ("o", PALETTE[2], "met by generation 10"),
    "30": ("s", PALETTE[1], "by 30"),
    "100": ("^", PALETTE[0], "by 100"),
    "never": ("_", "0.45", "not met"),
    "undecided": ("x", "0.45", "undecided"),
}
"""When a definition is met: marker, colour and words."""


def _when(verdict: Any) -> str:
    """The key of `LOOKS` of a verdict."""
    words = verdict["by"]
    first = next((i for i, word in words.items() if word == "met"), None)
    return first or ("undecided" if "undecided" in words.values() else "never")


def _draw(stored: Stored) -> Figure:
    """Which loops (rows) meet which definition of collapse (columns), and by which generation.
    In a ring: measured; beside it the share of loops without tails, or the task variance left.
    Empty: not known, or nothing to lose.
    """
    (table,) = [c["value"] for c in constants_of(stored, NAME) if "n =" in c["name"]]
    names = [*profile.DEFINITIONS]
    figure = Figure(figsize=(8.5, 1.9 + 0.235 * len(table)))
    ax = figure.subplots()
    for y, row in enumerate(table):
        for x, name in enumerate(names):
            verdict = row["definitions"].get(name)
            if verdict is None:
                continue
            marker, colour, _ = LOOKS[_when(verdict)]
            ax.plot(x, y, marker, color=colour, markersize=7)
            if not verdict["exact"]:
                ax.plot(x, y, "o", color="0.2", markersize=12, fillstyle="none")
            same = chosen(stored, NAME, name, loop=row["loop"], regime=row["regime"])
            for cell in [c for c in same if c["verdict"] == "finding"][-1:]:
                ax.text(x + 0.18, y, f"{cell['measured']:.3g}", fontsize=9, va="center")
    for marker, colour, words in LOOKS.values():
        ax.plot([], [], marker, color=colour, markersize=7, label=words)
    ax.plot([], [], "o", color="0.2", markersize=12, fillstyle="none", label="measured")
    loops = [row["loop"] for row in table]
    for y in range(1, len(table)):
        if loops[y] != loops[y - 1]:
            ax.axhline(y - 0.5, color="0.6", linewidth=0.8)
    titles = [f"{loop}, {row['regime']}" for loop, row in zip(loops, table, strict=True)]
    ax.set_yticks(range(len(table)), titles)
    columns = [profile.DEFINITIONS[name].title for name in names]
    ax.set_xticks(range(len(names)), columns, fontsize=9, rotation=35, ha="left")
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.grid(False)
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.set_ylim(len(table) - 0.4, -0.6)
    figure.legend(loc="outside lower center", ncols=6, fontsize=9)
    return figure


DRAWINGS = of_cells({NAME: _draw})

"""Figures of what a constant share of real data leaves of the error."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icl_stl.regimes import Augment
from icl_stl.studies.drawing import (
    Cell,
    Drawing,
    Look,
    Stored,
    band,
    cells_of,
    column,
    generations,
    grouped,
    looks_of,
    name_of,
    of_cells,
    points,
)
from icl_stl.studies.plateau.answers import draw_answers
from icl_stl.studies.plateau.claims import errors
from icl_stl.style import MARKERS, PALETTE, pale, plain_log


def _kind(stored: Stored, claim: str, kind: str) -> list[Cell]:
    return [cell for cell in cells_of(stored, claim) if cell["kind"] == kind]


def _draw_level(stored: Stored) -> Figure:
    """Does a constant share prevent collapse? Left: error, predicted in squares (dark) and by
    a + λ o (1 - ρ^i) (hatched), bound (dash at the end). Middle: divergence; dashed, of the mixture
    that was learned from. Bands: 95 %.
    """
    figure = Figure(figsize=(12.4, 3.9))
    axes = figure.subplots(1, 3)
    looks = looks_of(stored.loops)
    for name, result in stored.loops.items():
        look, x = looks[name], generations(axes[0], result)
        band(axes[0], x, errors(result), look, name_of(result))
        _draw_predicted(axes[0], stored, float(result.regime.share(1)), look)
        generations(axes[1], result)
        band(axes[1], x, result["kl"][..., -1], look, "")
        mixed = result["mixture_kl"][..., -1].mean(0)
        if isinstance(result.regime, Augment):
            axes[1].plot(x[1:], mixed[1:], "--", color=look.colour, linewidth=1.2)
        generations(axes[2], result)
        band(axes[2], x, result["drift"][..., -1], look, "")
        band(axes[2], x, result["drift"][..., 0], Look(look.colour, ""), "")
    for ax, words in zip(
        axes,
        (
            "root mean squared error of predictions",
            "KL from the real law, whole prompts (nats)",
            "total variation: whole prompts, first label",
        ),
        strict=True,
    ):
        ax.set_ylabel(words)
        ax.set_ylim(0, None)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def _draw_predicted(ax: Axes, stored: Stored, alpha: float, look: Look) -> None:
    """The predicted levels with their intervals, and the bound on the last generation."""
    for kind, style in (
        ("straight", {"facecolor": "none", "edgecolor": pale(look.colour), "hatch": "///"}),
        ("squares", {"facecolor": look.colour, "alpha": 0.45}),
    ):
        own = [c for c in _kind(stored, "plateau_level", kind) if c["alpha"] == alpha]
        if own:
            keys = ("generation", "predicted", "predicted_half")
            i, mean, half = (column(own, key) for key in keys)
            ax.fill_between(i, mean - half, mean + half, linewidth=0, **style)
    for cell in _kind(stored, "plateau_level", "level"):
        if cell["alpha"] == alpha:
            bound = {"marker": "_", "markersize": 16, "color": look.colour, "linestyle": ""}
            ax.plot([cell["generation"]], [cell["bound"] ** 0.5], **bound)


def _draw_injected(stored: Stored) -> Figure:
    """Injected error of a generation, by share of real prompts: measured, beside the mixture
    of its ends (line) up to 10 % (shaded); the ends are real prompts alone and replace.
    """
    figure = Figure(figsize=(5.6, 3.9))
    ax = figure.subplots()
    cells = [c for c in _kind(stored, "injected_error", "injected") if c["direction"] == "at most"]
    points(ax, cells, column(cells, "alpha"), PALETTE[0], "measured")
    ends = [(c["from_self"], c["from_real"]) for c in cells][:1] or [(0.0, 0.0)]
    line = np.array(ends[0])
    ax.plot([0, 1], line, color="0.3", linewidth=1.2, label="α u(1) + (1 - α) u(0)")
    ax.fill_between([0, 1], 0.9 * line, 1.1 * line, color="0.5", alpha=0.2, linewidth=0)
    ax.plot([0, 1], line, "kD", markersize=5, label="replace, real prompts alone")
    ax.set_xlabel("share α of real prompts")
    ax.set_ylabel("injected error, $x_i - (1 - α) x_{i-1}$")
    ax.set_ylim(0, None)
    ax.legend()
    return figure


def _draw_margins(stored: Stored, claim: str, kind: str, words: str) -> Figure:
    """What is measured of the last generations, beside what is allowed."""
    figure = Figure(figsize=(5.6, 3.6))
    ax = figure.subplots()
    cells = _kind(stored, claim, kind)
    for k, cell in enumerate(cells):
        allowed = cell["tolerance"] if "tolerance" in cell else cell["bound"]
        low = -allowed if "tolerance" in cell else 0.0
        ax.fill_between([k - 0.3, k + 0.3], low, allowed, color="0.5", alpha=0.2, linewidth=0)
        points(ax, [cell], [k], PALETTE[k], "")
    ax.axhline(0, color="0.3", linewidth=0.8)
    ax.set_xticks(range(len(cells)), [f"α = {cell['alpha']:g}" for cell in cells])
    ax.set_xlim(-0.6, len(cells) - 0.4)
    ax.set_ylabel(words)
    return figure


def _draw_relaxation(stored: Stored) -> Figure:
    """Growth of the error between the middle and the last quarter of the generations, less that
    of a constant injected error; shaded: what is allowed. With fewer than 20 generations it is
    shown, not judged.
    """
    return _draw_margins(stored, "relaxation", "relaxation", "growth beyond relaxation")


def _draw_plateau(stored: Stored) -> Figure:
    """Mean error of the last quarter of the generations less that of the third; shaded: what is
    allowed. With fewer than 20 generations it is shown, not judged.
    """
    return _draw_margins(stored, "plateau", "error", "last quarter less third")


PARTS = {"excess": "squared error", "squared_bias": "squared bias", "variance": "variance"}


def _draw_parts(stored: Stored) -> Figure:
    """What the squared error of one fit consists of, by real prompts n. Lines: fits that see new
    prompts in every step, where n has no limit (dotted: with more steps). Intervals: 95 %.
    """
    cells = cells_of(stored, "error_parts")
    large = [cell for cell in cells if cell["kind"] == "larger excess_nll"]
    figure = Figure(figsize=(5.6 + 4.0 * bool(large), 3.9))
    axes = figure.subplots(1, 1 + bool(large), squeeze=False)[0]
    ax = axes[0]
    for k, (kind, words) in enumerate(PARTS.items()):
        own = [c for c in cells if c["kind"] == kind and "n" in c]
        points(ax, own, column(own, "n") * (1 + 0.04 * (k - 1)), PALETTE[k], words, MARKERS[k])
        for name, style in (("streamed", "-"), ("longer", ":")):
            level = [c["measured"] for c in cells if c["kind"] == kind and c.get("fits") == name]
            for value in level:
                ax.axhline(value, color=PALETTE[k], linestyle=style, linewidth=1)
    ax.set_xscale("log")
    ax.set_yscale("log")
    plain_log(ax.xaxis, (1, 3))
    plain_log(ax.yaxis, (1, 2, 5))
    ax.set_xlabel("real prompts n")
    ax.set_ylabel("squared units of a label")
    ax.legend()
    if large:
        _draw_larger(axes[1], large)
    return figure


def _draw_larger(ax: Axes, cells: list[Cell]) -> None:
    """Excess NLL of the larger task by generation."""
    for k, ((alpha,), own) in enumerate(grouped(cells, "alpha").items()):
        words = f"real share α = {alpha:g}" if alpha else "replace"
        points(ax, own, column(own, "generation"), PALETTE[k], words, MARKERS[k])
    ax.set_xlabel("generation")
    ax.set_ylabel("excess NLL (nats a label)")
    ax.set_title("2 dimensions, 8 examples, 4 layers")
    ax.set_ylim(0, None)
    ax.legend()


DRAWINGS: dict[str, Any] = {
    "answers": Drawing(draw_answers, needs_claim="plateau_level"),
    "plateau_level": Drawing(_draw_level, needs_claim="plateau_level"),
    **of_cells(
        {
            "injected_error": _draw_injected,
            "relaxation": _draw_relaxation,
            "plateau": _draw_plateau,
            "error_parts": _draw_parts,
        }
    ),
}
"""Figures of these claims by name."""

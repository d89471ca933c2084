"""Figures of the transformer's loops and of the claims about them."""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from icl_stl.regimes import real_share
from icl_stl.studies.drawing import (
    Cell,
    Drawing,
    Look,
    Stored,
    band,
    cells_of,
    generations,
    looks_of,
    name_of,
    of_cells,
    points,
)
from icl_stl.studies.transformer.claims import CALIBRATED, PLANTED, drift_bound
from icl_stl.style import PALETTE

VACUOUS = 0.9
"""A bound on a total variation above this says next to nothing."""


def headline_prefix(stored: Stored) -> int:
    """Index of the longest prefix whose bound stays below `VACUOUS` in every regime."""
    worst = np.max([drift_bound(result).mean(0).max(0) for result in stored.loops.values()], axis=0)
    informative = np.flatnonzero(worst < VACUOUS)
    return int(informative[-1]) if informative.size else 0


def _draw_drift(stored: Stored) -> Figure:
    """Drift from the real law (solid) and the recursion on measured one-step errors (dashed),
    by prefix; grey: bounds that say nearly nothing. With real prompts alone the bound is the
    drift by definition. Bands: 95 % intervals over whole loops.
    """
    first = headline_prefix(stored)
    prefixes = stored.task.prefixes[first:]
    figure = Figure(figsize=(4.4 * len(prefixes) + 0.8, 4.0))
    axes = figure.subplots(1, len(prefixes), squeeze=False)[0]
    looks = looks_of(stored.loops)
    for p, (ax, prefix) in enumerate(zip(axes, prefixes, strict=True), start=first):
        top = 0.0
        for name, result in stored.loops.items():
            x = generations(ax, result)
            band(ax, x, result["drift"][..., p], looks[name], name_of(result))
            bound = drift_bound(result)[..., p].mean(0)
            ax.plot(x, bound, color=looks[name].colour, linestyle="--", linewidth=1.2)
            top = max(top, float(bound.max()))
        ax.set_title(
            f"first {prefix} labels" + (f", bound below {VACUOUS}" if top < VACUOUS else "")
        )
        ax.set_ylim(0, 1.08 * top if top < VACUOUS else 1.4)
        if top >= VACUOUS:
            ax.axhspan(VACUOUS, 1.4, color="0.5", alpha=0.15, linewidth=0)
            ax.text(
                0,
                1.34,
                f"above {VACUOUS} the bound is nearly, above 1 wholly vacuous",
                va="center",
                fontsize=9,
                color="0.3",
            )
    axes[0].set_ylabel("total variation to the real law")
    axes[0].plot([], [], color="0.3", linestyle="--", label="bound (drift recursion)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(5, len(labels)))
    return figure


def _errors(stored: Stored, *, known: bool = False) -> dict[str, list[Cell]]:
    """Cells of the triangle by loop, or of known total variations; none of what has no cells."""
    cells = [c for c in cells_of(stored, "one_step_error") if ("loop" in c) == known]
    own = {
        name: [
            cell
            for cell in cells
            if cell["regime"] == result.regime.name
            and cell["alpha"] == real_share(result.regime, result.samples, 1)
        ]
        for name, result in stored.loops.items()
    }
    return {name: found for name, found in own.items() if found}


def _draw_one_step_error(stored: Stored) -> Figure:
    """Measured one-step errors (points) and bounds (dashed; grey: vacuous). Below: errors and
    drifts where they are known, measured over exact, beside what is allowed (grey) and factors
    that must be noticed (dashed). Bars: 5 % a side.
    """
    prefixes = list(stored.task.prefixes)
    columns = 2
    rows = -(-len(prefixes) // columns)
    figure = Figure(figsize=(4.4 * columns + 0.6, 2.9 * (rows + 1) + 0.6))
    filled: list[Any] = [*prefixes, *["."] * (-len(prefixes) % columns)]
    panels = [filled[columns * row : columns * (row + 1)] for row in range(rows)]
    axes = figure.subplot_mosaic([*panels, ["known"] * columns])
    looks = looks_of(stored.loops)
    loops = _errors(stored)
    for p, prefix in enumerate(prefixes):
        ax = axes[prefix]
        for k, (name, cells) in enumerate(loops.items()):
            own = [cell for cell in cells if cell["prefix"] == prefix]
            x = np.array([cell["generation"] for cell in own])
            aside = 0.12 * (k - (len(loops) - 1) / 2)
            label = name_of(stored.loops[name])
            colour, marker = looks[name]
            points(ax, own, x + aside, colour, label, marker)
            bound = [cell["bound"] for cell in own]
            ax.plot(x, bound, color=colour, linestyle="--", linewidth=1.2)
            hollow = {"markersize": 4, "markerfacecolor": "none"}
            ax.plot(x, bound, color=colour, linestyle="", marker=marker, **hollow)
            ax.set_xticks(x)
        ax.set_title("first label" if prefix == 1 else f"first {prefix} labels")
        ax.set_ylim(0, None)
        if (top := ax.get_ylim()[1]) > 1:  # there bounds are vacuous
            ax.axhspan(1, top, color="0.5", alpha=0.15, linewidth=0)
            ax.set_ylim(0, top)
        if p % columns == 0:
            ax.set_ylabel("total variation")
        if p + columns >= len(prefixes):
            ax.set_xlabel("generation")
    axes[prefixes[0]].plot([], [], color="0.3", linestyle="--", label="bound (triangle)")
    handles, labels = axes[prefixes[0]].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(4, len(labels)))
    ax = axes["known"]
    for name, cells in _errors(stored, known=True).items():
        points(ax, cells, [c["exact"] for c in cells], *looks[name][:1], "", looks[name].marker)
    ax.axhspan(1 - CALIBRATED, 1 + CALIBRATED, color="0.5", alpha=0.15, linewidth=0)
    for factor in PLANTED:
        ax.axhline(factor, color="0.3", linestyle="--", linewidth=1)
    ax.set_xlabel("total variation where it is known")
    ax.set_ylabel("measured / exact")
    return figure


def _draw_predictive_sampling(stored: Stored) -> Figure:
    """The task variance that generated prompts imply, over the prior's. Left: with the model's
    own deviation and with the noise alone, beside the exact Bayes predictor (ticks) and what is
    allowed (shaded). Right: by generation, a finding.
    """
    claim = "predictive_sampling"
    panels = 2 if stored.loops else 1
    figure = Figure(figsize=(4.6 * panels, 3.9))
    axes = figure.subplots(1, panels, width_ratios=[1, 1.6][:panels], sharey=True, squeeze=False)[0]
    ax = axes[0]
    for at, cell in enumerate(cells_of(stored, claim)):
        colour, exact, allowed = PALETTE[at], cell["bound"], cell["tolerance"]
        points(ax, [cell], [at], colour, "" if at else "transformer")
        low, high = exact - allowed, exact + allowed
        ax.fill_between([at - 0.3, at + 0.3], low, high, color=colour, alpha=0.12, linewidth=0)
        label = None if at else "exact Bayes predictor"
        ax.plot([at + 0.15], [exact], "k_", markersize=14, label=label)
    ax.set_xticks([0, 1], ["predictive\ndeviation", "noise alone\n(plug-in)"])
    ax.set_xlim(-0.5, 1.5)
    ax.set_ylim(0, 1.35)
    ax.set_ylabel("implied task variance / prior's")
    ax.set_title("prompts of generation 0")
    ax.legend(loc="center left", bbox_to_anchor=(0.0, 0.42))
    if stored.loops:
        looks = looks_of(stored.loops)
        for name, result in stored.loops.items():
            x = generations(axes[1], result)
            ratio = result["implied_task_variance"] / stored.task.prior_scale**2
            band(axes[1], x, ratio, looks[name], name_of(result))
        axes[1].set_title("predictive deviation, by generation (a finding)")
        axes[1].legend(ncols=2)
    return figure


def _draw_in_context_error(stored: Stored) -> Figure:
    """Squared error on fresh real prompts after 0, 1, ... examples, by generation, above that
    of the exact Bayes predictor (dashed). Bands: 95 % intervals over whole loops, each point by
    itself.
    """
    count = len(stored.loops)
    figure = Figure(figsize=(3.0 * count + 0.4, 3.4))
    axes = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    for ax, result in zip(axes, stored.loops.values(), strict=True):
        bayes = result["bayes_squared_risk"][:, 0]
        x = np.arange(1, bayes.shape[-1] + 1)
        shown = sorted({0, min(1, result.generations), result.generations // 2, result.generations})
        shades = mpl.colormaps["viridis"](np.linspace(0, 0.85, len(shown)))
        for i, shade in zip(shown, shades, strict=True):
            risk = bayes + result["excess_squared_risk"][:, i]
            band(ax, x, risk, Look(shade), f"generation {i}")
        ax.plot(x, bayes.mean(0), "k--", linewidth=1.4, label="exact Bayes predictor")
        ax.set_title(name_of(result))
        ax.set_xlabel("position in the prompt")
        ax.set_xticks(x if len(x) < 12 else x[::4])
    axes[0].set_ylabel("squared error on real prompts")
    axes[0].set_ylim(0, None)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5)
    return figure


def _draw_quality(stored: Stored) -> Figure:
    """Findings. Left: excess negative log-likelihood on real prompts. Right: risk on the real
    law minus risk on the generation's own training set, clipped squared error. Bands: 95 %
    intervals over whole loops, each point by itself.
    """
    figure = Figure(figsize=(9.2, 3.7))
    axes = figure.subplots(1, 2)
    looks = looks_of(stored.loops)
    for name, result in stored.loops.items():
        x = generations(axes[0], result)
        excess = result["kl"][..., -1] / stored.task.context
        band(axes[0], x, excess, looks[name], name_of(result))
        generations(axes[1], result)
        gap = result["risk"] - result["training_risk"]
        band(axes[1], x, gap, looks[name], name_of(result))
    axes[0].set_ylabel("excess NLL over Bayes (nats a label)")
    axes[0].set_ylim(0, None)
    axes[1].set_ylabel("risk on the real law - risk on the training set")
    axes[1].axhline(0, color="0.3", linewidth=0.8)
    axes[0].legend()
    axes[0].set_title("how good the model is")
    axes[1].set_title("generalization gap, loss in [0, 1]")
    return figure


def _box(ax: Axes, x: float, y: float, text: str, colour: Any, width: float = 2.2) -> None:
    ax.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - 0.42),
            width,
            0.84,
            boxstyle="round,pad=0.08",
            facecolor=mpl.colors.to_rgba(colour, 0.18),
            edgecolor=colour,
            linewidth=1.4,
        )
    )
    ax.text(x, y, text, ha="center", va="center", fontsize=10)


def _arrow(
    ax: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    text: str = "",
    *,
    at: tuple[float, float] = (0, 0),
    bend: float = 0.0,
) -> None:
    ax.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=14,
            color="0.25",
            linewidth=1.3,
            connectionstyle=f"arc3,rad={bend}",
        )
    )
    if text:
        ax.text(*at, text, ha="center", va="center", fontsize=9.5, color="0.25")


def _draw_loop(stored: Stored) -> Figure:
    """The self-consuming loop. A transformer is fitted to real prompts, generates prompts of
    its own, and its successor is fitted to a mixture of both, generation after generation.
    """
    figure = Figure(figsize=(8.6, 3.7))
    ax = figure.subplots()
    ax.set_axis_off()
    ax.set_xlim(0, 9.9)
    ax.set_ylim(0, 4.4)
    real, mixed, model, made, law = (PALETTE[k] for k in (0, 4, 1, 2, 3))
    _box(ax, 1.4, 3.5, "real law $D_0$\nlinear regression", law)
    _box(ax, 1.4, 1.3, "real set $S_0$\nn prompts, kept", real)
    _box(ax, 4.9, 1.3, "training set\nshare α real", mixed)
    _box(ax, 8.4, 1.3, "transformer $θ_i$\nlearns in context", model)
    _box(ax, 8.4, 3.5, "its own prompts\nfrom $D_{θ_i}$", made)
    _arrow(ax, (1.4, 2.98), (1.4, 1.84), "sampled once", at=(2.15, 2.4))
    _arrow(ax, (2.62, 1.3), (3.7, 1.3))
    _arrow(ax, (6.12, 1.3), (7.2, 1.3), "fit", at=(6.65, 1.55))
    _arrow(ax, (8.4, 1.84), (8.4, 2.98), "generate", at=(9.05, 2.4))
    _arrow(ax, (7.2, 3.3), (4.9, 1.84), "next generation i + 1", at=(4.35, 2.6), bend=0.25)
    _arrow(
        ax,
        (7.2, 3.75),
        (2.62, 3.75),
        "drift  $T_i$ = TV($D_{θ_i}$, $D_0$):  measured, and bounded",
        at=(4.9, 4.0),
    )
    ax.text(
        4.95,
        0.3,
        "an error of one generation enters the next training set with weight 1 - α",
        ha="center",
        fontsize=9.5,
        color="0.25",
    )
    return figure


DRAWINGS = {
    "loop": Drawing(_draw_loop, needs_loops=False),
    "drift": Drawing(_draw_drift),
    "one_step_error": Drawing(_draw_one_step_error, needs_claim="one_step_error"),
    **of_cells({"predictive_sampling": _draw_predictive_sampling}),
    "in_context_error": Drawing(_draw_in_context_error),
    "quality": Drawing(_draw_quality),
}
"""Figures of the transformer by name; a claim's figure has the claim's name."""

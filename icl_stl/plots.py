"""Figures, drawn from stored results alone: vector and bitmap, the same bytes every time."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from icl_stl.claims.transformer import KEPT, LOST, drift_bound
from icl_stl.config import LinearRegression
from icl_stl.console import claims_markdown
from icl_stl.intervals import t_half_width, t_test
from icl_stl.results import (
    Floats,
    LoopResult,
    read_json,
    read_table,
    write_atomically,
    write_json,
)

VACUOUS = 0.9
"""A bound on a total variation above this says next to nothing."""

STYLE: dict[str, Any] = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "savefig.dpi": 150,
    "svg.fonttype": "none",
    "svg.hashsalt": "icl_stl",
}

_PALETTE = mpl.color_sequences["petroff8"]


@dataclass(frozen=True)
class Stored:
    """What figures are drawn from: the loops of a run folder and its judged claims."""

    task: LinearRegression
    loops: Mapping[str, LoopResult]
    claims: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Drawing:
    """A figure and what to see in it."""

    draw: Callable[[Stored], Figure]
    caption: Callable[[Stored], str]
    needs_loops: bool = True
    needs_claim: str | None = None


# --- pieces --------------------------------------------------------------------------------------


def _colours(loops: Mapping[str, LoopResult]) -> dict[str, Any]:
    """One colour a regime: the same in every figure of these loops."""
    return dict(zip(loops, _PALETTE, strict=False))


def _name(result: LoopResult) -> str:
    words = {"real-only": "real only", "replace": "replace (no real prompts)"}
    if result.regime.name in words:
        return words[result.regime.name]
    return f"real share α = {result.label.removeprefix('augment-')}"


def _band(ax: Axes, x: Any, values: Floats, colour: Any, label: str, **line: Any) -> None:
    """Mean over replicates `[R, X]` with its 95 % Student band."""
    mean = values.mean(0)
    ax.plot(x, mean, color=colour, label=label, marker="o", markersize=3.5, **line)
    if len(values) < 2:
        return
    half = np.array([t_half_width(t_test(v).stderr, v.size, 0.025) for v in values.T])
    ax.fill_between(x, mean - half, mean + half, color=colour, alpha=0.18, linewidth=0)


def _generations(ax: Axes, result: LoopResult) -> np.ndarray:
    x = np.arange(result.generations + 1)
    ax.set_xlabel("generation")
    ax.set_xticks(x if len(x) < 12 else x[::2])
    return x


def headline_prefix(stored: Stored) -> int:
    """Index of the longest prefix whose bound stays below `VACUOUS` in every regime."""
    worst = np.max([drift_bound(result).mean(0).max(0) for result in stored.loops.values()], axis=0)
    informative = np.flatnonzero(worst < VACUOUS)
    return int(informative[-1]) if informative.size else 0


def _replicates(stored: Stored) -> int:
    return int(next(iter(stored.loops.values())).observations["diverged_at"].shape[0])


def _bands(stored: Stored) -> str:
    return (
        f"Points are means over {_replicates(stored)} whole loops, bands 95 % Student intervals "
        "(each point by itself)."
    )


# --- figures -------------------------------------------------------------------------------------


def _draw_drift(stored: Stored) -> Figure:
    first = headline_prefix(stored)
    prefixes = stored.task.prefixes[first:]
    figure = Figure(figsize=(4.4 * len(prefixes) + 0.8, 4.0))
    axes = figure.subplots(1, len(prefixes), squeeze=False)[0]
    colours = _colours(stored.loops)
    for p, (ax, prefix) in enumerate(zip(axes, prefixes, strict=True), start=first):
        top = 0.0
        for name, result in stored.loops.items():
            x = _generations(ax, result)
            _band(ax, x, result["drift"][..., p], colours[name], _name(result))
            bound = drift_bound(result)[..., p].mean(0)
            ax.plot(x, bound, color=colours[name], linestyle="--", linewidth=1.2)
            top = max(top, float(bound.max()))
        ax.set_title(
            f"first {prefix} labels" + (f", bound below {VACUOUS}" if top < VACUOUS else "")
        )
        ax.set_ylim(0, 1.08 * top if top < VACUOUS else 1.4)
        if top >= VACUOUS:
            ax.axhspan(VACUOUS, 1.4, color="0.5", alpha=0.15, linewidth=0)
            ax.text(0, 1.34, "the bound says nothing here", va="center", fontsize=9, color="0.3")
    axes[0].set_ylabel("total variation to the real law")
    axes[0].plot([], [], color="0.3", linestyle="--", label="bound (drift recursion)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(5, len(labels)))
    return figure


def _caption_drift(stored: Stored) -> str:
    p = headline_prefix(stored)
    parts = []
    for result in stored.loops.values():
        ratio = drift_bound(result)[:, -1, p].mean() / result["drift"][:, -1, p].mean()
        parts.append(f"{ratio:.2f} ({_name(result)})")
    return (
        "Drift of every generation from the real law (solid) and the drift recursion on the "
        f"measured one-step errors (dashed), first {stored.task.prefixes[p]} labels of a prompt: "
        "the longest prefix whose bound stays below "
        f"{VACUOUS}; for longer prefixes the bound becomes vacuous (grey). Bound over measured in "
        f"the last generation: {', '.join(parts)}. With real prompts alone the bound is the "
        f"measured drift by definition. {_bands(stored)}"
    )


def _draw_constant_real_share(stored: Stored) -> Figure:
    figure = Figure(figsize=(5.6, 3.9))
    ax = figure.subplots()
    colours = _colours(stored.loops)
    for name, result in stored.loops.items():
        if result.label == "real-only":
            continue
        x = _generations(ax, result)
        whole = result["drift"][..., -1]
        _band(ax, x[2:], (whole - whole[:, 2:3])[:, 2:], colours[name], _name(result))
    tolerance = next(
        constant["value"]
        for constant in stored.claims["constant_real_share"]["constants"]
        if constant["name"] == "growth tolerance"
    )
    ax.axhline(
        tolerance, color="0.3", linestyle="--", linewidth=1.2, label="tolerance of the claim"
    )
    ax.axhline(0, color="0.3", linewidth=0.8)
    ax.set_ylabel("drift since generation 2, whole prompts")
    ax.legend()
    return figure


def _caption_constant_real_share(stored: Stored) -> str:
    cells = stored.claims["constant_real_share"]["cells"]
    parts = [
        f"{cell['measured']:+.3f} [{cell['low']:+.3f}, {cell['high']:+.3f}] "
        + (f"(α = {cell['alpha']:g})" if cell["alpha"] else "(replace)")
        for cell in cells
    ]
    return (
        "How much the total variation of whole prompts grows after generation 2. With a constant "
        "share of real prompts it has to stay below the dashed line, without it has to rise. "
        f"Growth up to the last generation with its simultaneous interval: {', '.join(parts)}. "
        f"{_bands(stored)}"
    )


def _draw_predictive_sampling(stored: Stored) -> Figure:
    claim = stored.claims["predictive_sampling"]
    panels = 2 if stored.loops else 1
    figure = Figure(figsize=(4.6 * panels, 3.9))
    axes = figure.subplots(1, panels, width_ratios=[1, 1.6][:panels], sharey=True, squeeze=False)[0]
    exact = {
        constant["name"].rpartition(" ")[2]: constant["value"]
        for constant in claim["constants"]
        if "Bayes" in constant["name"]
    }
    ax = axes[0]
    for column, generator in enumerate(("predictive", "plug_in")):
        cell = next(c for c in claim["cells"] if c["generator"] == generator)
        errors = [[cell["measured"] - cell["low"]], [cell["high"] - cell["measured"]]]
        ax.errorbar(
            [column],
            [cell["measured"]],
            yerr=errors,
            fmt="o",
            capsize=4,
            color=_PALETTE[column],
            label="transformer" if column == 0 else None,
        )
        ax.plot(
            [column + 0.15],
            [exact[generator]],
            "k_",
            markersize=14,
            label="exact Bayes predictor" if column == 0 else None,
        )
    ax.set_xticks([0, 1], ["predictive\ndeviation", "noise alone\n(plug-in)"])
    ax.set_xlim(-0.5, 1.5)
    ax.axhspan(*KEPT, color=_PALETTE[0], alpha=0.12, linewidth=0)
    ax.axhline(LOST, color=_PALETTE[1], linestyle="--", linewidth=1)
    ax.set_ylim(0, 1.35)
    ax.set_ylabel("implied task variance / prior's")
    ax.set_title("prompts of generation 0")
    ax.legend(loc="center left", bbox_to_anchor=(0.0, 0.52))
    if stored.loops:
        colours = _colours(stored.loops)
        for name, result in stored.loops.items():
            x = _generations(axes[1], result)
            ratio = result["implied_task_variance"] / stored.task.prior_scale**2
            _band(axes[1], x, ratio, colours[name], _name(result))
        axes[1].set_title("predictive deviation, by generation (a finding)")
        axes[1].legend(ncols=2)
    return figure


def _caption_predictive_sampling(stored: Stored) -> str:
    cells = {c["generator"]: c for c in stored.claims["predictive_sampling"]["cells"]}
    predictive, plug_in = cells["predictive"], cells["plug_in"]
    return (
        "The task variance that generated prompts imply, over the prior's. Left: with the model's "
        f"own predictive deviation {predictive['measured']:.2f} of it is kept (claim: shaded), "
        f"with the noise alone {plug_in['measured']:.2f} (claim: below the dashed line); bars are "
        "the claim's simultaneous intervals, ticks the exact Bayes predictor. Right: how it goes "
        "on from generation to generation; no theorem speaks of a trained transformer here."
    )


def _draw_in_context_error(stored: Stored) -> Figure:
    count = len(stored.loops)
    figure = Figure(figsize=(3.0 * count + 0.4, 3.4))
    axes = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    for ax, result in zip(axes, stored.loops.values(), strict=True):
        bayes = result["bayes_squared_risk"][:, 0]
        x = np.arange(1, bayes.shape[-1] + 1)
        shown = sorted({0, 1, result.generations // 2, result.generations})
        shades = mpl.colormaps["viridis"](np.linspace(0, 0.85, len(shown)))
        for i, shade in zip(shown, shades, strict=True):
            risk = bayes + result["excess_squared_risk"][:, i]
            _band(ax, x, risk, shade, f"generation {i}")
        ax.plot(x, bayes.mean(0), "k--", linewidth=1.4, label="exact Bayes predictor")
        ax.set_title(_name(result))
        ax.set_xlabel("position in the prompt")
        ax.set_xticks(x if len(x) < 12 else x[::4])
    axes[0].set_ylabel("squared error on real prompts")
    axes[0].set_ylim(0, None)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5)
    return figure


def _caption_in_context_error(stored: Stored) -> str:
    last = [
        f"{result['excess_squared_risk'][:, -1].mean():.3f} ({_name(result)})"
        for result in stored.loops.values()
    ]
    first = next(iter(stored.loops.values()))["excess_squared_risk"][:, 0].mean()
    return (
        "In-context learning by generation: squared error of the predicted label on fresh real "
        "prompts after 0, 1, ... examples, above the exact Bayes predictor (dashed). Excess over "
        f"Bayes, mean over positions: {first:.3f} in generation 0, in the last generation "
        f"{', '.join(last)}. {_bands(stored)}"
    )


def _draw_quality(stored: Stored) -> Figure:
    figure = Figure(figsize=(9.2, 3.7))
    axes = figure.subplots(1, 2)
    colours = _colours(stored.loops)
    for name, result in stored.loops.items():
        x = _generations(axes[0], result)
        excess = result["kl"][..., -1] / stored.task.context
        _band(axes[0], x, excess, colours[name], _name(result))
        _generations(axes[1], result)
        gap = result["risk"] - result["training_risk"]
        _band(axes[1], x, gap, colours[name], _name(result))
    axes[0].set_ylabel("excess NLL over Bayes (nats a label)")
    axes[0].set_ylim(0, None)
    axes[1].set_ylabel("risk on the real law - risk on the training set")
    axes[1].axhline(0, color="0.3", linewidth=0.8)
    axes[0].legend()
    axes[0].set_title("how good the model is")
    axes[1].set_title("generalization gap, loss in [0, 1]")
    return figure


def _caption_quality(stored: Stored) -> str:
    first = next(iter(stored.loops.values()))["kl"][:, 0, -1].mean() / stored.task.context
    return (
        "Findings, no theorem speaks. Left: excess negative log-likelihood on real prompts, "
        f"{first:.3f} nats a label in generation 0. Right: risk on the real law minus empirical "
        "risk on the generation's own training set, clipped squared error in [0, 1]. "
        f"{_bands(stored)}"
    )


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
    figure = Figure(figsize=(8.6, 3.7))
    ax = figure.subplots()
    ax.set_axis_off()
    ax.set_xlim(0, 9.9)
    ax.set_ylim(0, 4.4)
    real, mixed, model, made, law = (_PALETTE[k] for k in (0, 4, 1, 2, 3))
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
    "loop": Drawing(
        _draw_loop,
        lambda stored: (
            "The self-consuming loop. A transformer is fitted to real prompts, generates prompts "
            "of its own, and its successor is fitted to a mixture of both, generation after "
            "generation."
        ),
        needs_loops=False,
    ),
    "drift": Drawing(_draw_drift, _caption_drift),
    "constant_real_share": Drawing(
        _draw_constant_real_share, _caption_constant_real_share, needs_claim="constant_real_share"
    ),
    "predictive_sampling": Drawing(
        _draw_predictive_sampling,
        _caption_predictive_sampling,
        needs_loops=False,
        needs_claim="predictive_sampling",
    ),
    "in_context_error": Drawing(_draw_in_context_error, _caption_in_context_error),
    "quality": Drawing(_draw_quality, _caption_quality),
}
"""All figures of the main job by name; a claim's figure has the claim's name."""


# --- files ---------------------------------------------------------------------------------------


def rendered(drawing: Drawing, stored: Stored, suffix: str) -> bytes:
    """The figure as a file, `svg` or `png`; the same results give the same bytes."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        figure = drawing.draw(stored)
        buffer = io.BytesIO()
        metadata = {"Date": None, "Creator": None} if suffix == "svg" else {"Software": None}
        figure.savefig(buffer, format=suffix, metadata=metadata)
    return buffer.getvalue()


def drawings(stored: Stored) -> dict[str, Drawing]:
    """The figures that these results suffice for."""
    return {
        name: drawing
        for name, drawing in DRAWINGS.items()
        if (stored.loops or not drawing.needs_loops)
        and (
            drawing.needs_claim is None
            or stored.claims.get(drawing.needs_claim, {}).get("constants")  # it could be judged
        )
    }


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return sha256(path.read_bytes()).hexdigest()


def draw_all(stored: Stored, out: Path, sources: Sequence[Path]) -> list[str]:
    """Draw every figure into a folder, with a page of captions and a manifest.

    Args:
        stored: The results.
        out: The folder.
        sources: The files in it that the figures are drawn from.

    Returns:
        Names of the figures drawn.
    """
    page = ["# Figures", "", "Drawn by `scripts/make_figures.py` from the files beside them.", ""]
    page += [*claims_markdown(list(stored.claims.values())), ""]
    drawn = drawings(stored)
    files: dict[str, str] = {}
    for name, drawing in drawn.items():
        for suffix in ("svg", "png"):
            path = out / f"{name}.{suffix}"
            write_atomically(path, rendered(drawing, stored, suffix))
            files[path.name] = digest(path)
        page += [f"## {name}", "", f"![{name}]({name}.svg)", "", drawing.caption(stored), ""]
    write_atomically(out / "README.md", "\n".join(page).encode())
    manifest = {
        "matplotlib": mpl.__version__,
        "sources": {path.name: digest(path) for path in sources},
        "figures": files,
    }
    write_json(out / "manifest.json", manifest)
    return list(drawn)


def mismatches(stored: Stored, folder: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    """Why the figures and results in a folder do not belong together, one line each.

    Sources and figures must be the files that the manifest names, every figure must be there and,
    where Matplotlib is the version that drew them, drawing anew must give the same vector files.
    """
    for kind in ("sources", "figures"):
        for name, recorded in manifest[kind].items():
            path = folder / name
            if not path.is_file():
                yield f"{name} is missing"
            elif digest(path) != recorded:
                yield f"{name} is not the file that the manifest was written with"
    for name, drawing in drawings(stored).items():
        if f"{name}.svg" not in manifest["figures"]:
            yield f"{name} was never drawn from these results"
        elif manifest["matplotlib"] == mpl.__version__:
            path = folder / f"{name}.svg"
            if path.is_file() and path.read_bytes() != rendered(drawing, stored, "svg"):
                yield f"{name}.svg is not what these results give; run scripts/make_figures.py"


def read_stored(folder: Path) -> tuple[Stored, list[Path]]:
    """The results of a run folder, and the files they were read from.

    Raises:
        ValueError: If a file is missing or damaged; the message names it.
    """
    config, claims, table = (folder / name for name in ("config.json", "claims.json", "loops.csv"))
    preset = read_json(config)["preset"]
    entries = {entry["name"]: entry for entry in read_json(claims)["claims"]}
    loops = read_table(table, preset["samples"]) if table.exists() else {}
    sources = [config, claims, *([table] if loops else [])]
    return Stored(LinearRegression(**preset["task"]), loops, entries), sources


def draw_folder(folder: Path) -> list[str]:
    """Draw all figures of a run folder into it; their names."""
    stored, sources = read_stored(folder)
    return draw_all(stored, folder, sources)


def check_folder(folder: Path) -> list[str]:
    """Why figures and results of a run folder do not belong together; empty if they do."""
    stored, _ = read_stored(folder)
    return list(mismatches(stored, folder, read_json(folder / "manifest.json")))

"""Figures of the claims about solvable loops, drawn from the cells of `claims.json` alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from icl_stl.studies.drawing import (
    Cell,
    Stored,
    chosen,
    column,
    grouped,
    interval,
    of_cells,
    points,
)
from icl_stl.studies.solvable.claims import QUANTILE
from icl_stl.style import MARKERS, PALETTE, pale, plain_log

NAMES = {
    "bernoulli": "bits",
    "gaussian mean": "Gaussian mean",
    "clipped mean": "clipped Gaussian mean",
    "ols": "OLS",
}
"""Loops as a figure calls them, where the claims call them otherwise."""

GREY = "0.35"


def _loop(cell: Cell) -> str:
    loop = str(cell["loop"])
    return NAMES.get(loop, loop).replace("kappa", "κ")


def _generation_axis(ax: Axes, shown: Sequence[float] | np.ndarray, *, log: bool = False) -> None:
    """Ticks at the generations shown; a logarithmic axis where they are far apart."""
    ticks = sorted({int(i) for i in shown})
    if log:
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(ticks, [str(i) for i in ticks])
    ax.set_xlabel("generation")


def _interval(cell: Cell, form: str = "+.3f") -> str:
    return interval(cell, form)


def _once(cells: Sequence[Cell]) -> list[Cell]:
    """One cell a generation where several share one measurement: that with the widest interval."""
    widest: dict[int, Cell] = {}
    for cell in cells:
        kept = widest.get(cell["generation"])
        if kept is None or cell["level"] < kept["level"]:
            widest[cell["generation"]] = cell
    return [widest[i] for i in sorted(widest)]


def _equalities(cells: Sequence[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell.get("test") == "equal"]


PARTS = (
    ("α direct", "", 0),
    ("α indirect", "///", 4),
    ("(1 - α) synthetic", "\\\\\\", 2),
    ("(1 - α) shift", "xx", 1),
)
"""The four parts as they are stacked: name, hatch, colour."""


def _draw_gap_identity(stored: Stored) -> Figure:
    """The expected generalization gap (points) and, beside it, the four parts that add up to
    it; black lines: the parts in closed form. Bits have no sampling error; the stronger their
    amplifier, the more of the gap is shift.
    """
    loops = grouped(chosen(stored, "gap_identity", "gap"), "loop")
    columns = min(3, len(loops))
    rows = -(-len(loops) // columns)
    figure = Figure(figsize=(3.3 * columns + 0.4, 2.75 * rows + 0.6))
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for ax in list(axes)[len(loops) :]:
        ax.set_axis_off()
    known = grouped(chosen(stored, "gap_identity", "part"), "loop", "generation")
    for k, ((name,), cells) in enumerate(loops.items()):
        ax = axes[k]
        x = column(cells, "generation")
        parts = np.array([cell["parts"] for cell in cells])
        for p, (label, hatch, colour) in enumerate(PARTS):
            below = np.where(parts[:, :p] * parts[:, p : p + 1] > 0, parts[:, :p], 0).sum(1)
            ax.bar(
                x - 0.14,
                parts[:, p],
                0.42,
                bottom=below,
                color=pale(PALETTE[colour]),
                edgecolor=PALETTE[colour],
                hatch=hatch,
                linewidth=0.8,
                label=label,
            )
        for cell in cells:
            forms = [c["bound"] for c in known.get((name, cell["generation"]), ())]
            if len(forms) == len(PARTS):
                shares = (cell["alpha"],) * 2 + (1 - cell["alpha"],) * 2
                levels = np.cumsum([w * v for w, v in zip(shares, forms, strict=True)])
                start = cell["generation"] - 0.4
                ax.hlines(levels, start, start + 0.52, color="k", linewidth=1.8)
        points(ax, cells, x + 0.26, "k", "gap, left side")
        ax.plot([], [], color="k", linewidth=1.8, label="parts in closed form")
        _generation_axis(ax, x)
        ax.axhline(0, color=GREY, linewidth=0.8)
        exact = all(cell.get("test") == "exact" for cell in cells)
        ax.set_title(f"{_loop(cells[0])}, n = {cells[0]['n']}" + (" (exact)" if exact else ""))
        if k % columns == 0:
            ax.set_ylabel("expected gap")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure


def _sides(cells: Sequence[Cell]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Generations, 95 % quantile of the gap, its bound."""
    rate = cells[0].get("test") == "rate"
    measured, bound = ("gap_quantile", "gap_bound") if rate else ("measured", "bound")
    return column(cells, "generation"), column(cells, measured), column(cells, bound)


def _tightness(cells: Sequence[Cell]) -> np.ndarray:
    """Bound over measured by generation; nan where the quantile is not positive."""
    _, measured, bound = _sides(cells)
    return np.where(measured > 0, bound / np.where(measured > 0, measured, 1), np.nan)


def gap_series(stored: Stored) -> tuple[dict[str, list[Cell]], dict[str, list[Cell]], list[Any]]:
    """Curves of the figure by label: of bits, tightest and loosest a loss, of the others, the rest.

    Returns:
        Bits, other loops, and the cells of bits that are neither tightest nor loosest.
    """
    quantiles = chosen(stored, "generalization_gap", QUANTILE)
    cells = [cell for cell in quantiles if cell.get("form") != "localised"]
    ends_of: dict[str, list[Cell]] = {}
    rest: list[Any] = []
    bits = [cell for cell in cells if cell["loop"].startswith("bits")]
    for (loss,), of_loss in grouped(bits, "loss").items():
        curves = sorted(
            grouped(of_loss, "loop", "alpha").values(), key=lambda c: float(np.mean(_tightness(c)))
        )
        ends = {"tightest": curves[0], **({"loosest": curves[-1]} if len(curves) > 1 else {})}
        for word, curve in ends.items():
            where = f"{_loop(curve[0]).partition(', ')[2]}, α = {curve[0]['alpha']:g}"
            ends_of[f"{loss}, {word}: {where}"] = curve
        rest += curves[1:-1]
    others = {}
    for curve in grouped([c for c in cells if c not in bits], "loop", "alpha").values():
        others[f"{_loop(curve[0])}, α = {curve[0]['alpha']:g}, n = {curve[0]['n']}"] = curve
    return ends_of, others, rest


def _draw_generalization_gap(stored: Stored) -> Figure:
    """The gap's 95 % quantile (solid), its bound by stability or certificate (dashed) and the
    localised one (dotted), each with probability 95 %; below, bound over measured: 1 is attained.
    Of bits: tightest and loosest loop a loss. Crosses: vacuous.
    """
    bits, others, rest = gap_series(stored)
    quantiles = chosen(stored, "generalization_gap", QUANTILE)
    sharp = [cell for cell in quantiles if cell.get("form") == "localised"]
    localised = grouped(sharp, "loop", "alpha", "quantity")
    figure = Figure(figsize=(9.4, 7.4))
    axes = figure.subplots(2, 2, sharex="col", sharey="row")
    titles = ("bits: both sides exact", "Gaussian mean: both sides exact; the others: sampled")
    for place, (series, title) in enumerate(zip((bits, others), titles, strict=True)):
        top, bottom = axes[:, place]
        for curve in rest if place == 0 else ():
            bottom.plot(
                _sides(curve)[0], _tightness(curve), color="0.75", linewidth=1, label="other bits"
            )
        shown: set[float] = set()
        for k, (label, curve) in enumerate(series.items()):
            x, measured, bound = _sides(curve)
            shown |= set(x)
            look = {"color": PALETTE[k], "marker": MARKERS[k], "markersize": max(3, 8 - k)}
            top.plot(x, measured, **look, label=label)
            top.plot(x, bound, **look, linestyle="--", markerfacecolor="none")
            empty = np.array([cell.get("vacuous", False) for cell in curve])
            top.plot(x[empty], bound[empty], "kx", markersize=9)
            bottom.plot(x, _tightness(curve), **look, linestyle="-.")
            same = localised.get(tuple(curve[0][key] for key in ("loop", "alpha", "quantity")), [])
            if same:
                top.plot(x, _sides(same)[2], **look, linestyle=":", markerfacecolor="none")
                bottom.plot(x, _tightness(same), **look, linestyle=":")
        if any(cell.get("vacuous") for curve in series.values() for cell in curve):
            top.plot([], [], "kx", markersize=9, label="vacuous: at least the largest loss")
        top.plot([], [], "k-", label="95 % quantile of the gap")
        top.plot([], [], "k--", label="its bound")
        top.plot([], [], "k:", label="its localised bound")
        for ax in (top, bottom):
            ax.set_yscale("log")
            plain_log(ax.yaxis)
            _generation_axis(ax, list(shown), log=True)
        top.set_xlabel("")
        bottom.axhline(1, color=GREY, linewidth=1)
        top.set_title(title)
        top.legend(loc="lower center", bbox_to_anchor=(0.5, 1.07))
        if place == 0 and rest:
            bottom.plot([], [], color="0.75", linewidth=1, label="other bits loops")
            handles, labels = bottom.get_legend_handles_labels()
            bottom.legend(handles[-1:], labels[-1:], loc="center right")
    axes[0, 0].set_ylabel("generalization gap")
    axes[1, 0].set_ylabel("bound / measured")
    return figure


def _power(ax: Axes, x: np.ndarray, cell: Cell, k: int, label: str) -> None:
    """Points of a curve, the fitted power of x, and a guide line of the claimed one, set off."""
    y = np.array(cell["curve"])
    ax.plot(x, y, MARKERS[k], color=PALETTE[k], markersize=5.5, label=label)
    if not (np.isfinite(cell["measured"]) and np.all(y > 0)):  # no logarithm, no exponent
        return
    centre, level = np.log(x).mean(), np.log(y).mean()
    fit = np.exp(level + cell["measured"] * (np.log(x) - centre))
    guide = np.exp(level + cell["bound"] * (np.log(x) - centre))
    ax.plot(x, fit, color=PALETTE[k], linewidth=1.2)
    ax.plot(x, 0.8 * guide, color=GREY, linestyle="--", linewidth=1)


def _draw_rates(stored: Stored) -> Figure:
    """Left: with real rows drift and gap fall like a power of n. Middle: without, drift grows
    like the number of generations. Lines: fitted; dashed: claimed. Right: with real rows drift
    stops at 1/α times the injected error.
    """
    in_n, in_i = (chosen(stored, "rates", kind) for kind in ("in n", "in i"))
    saturation = grouped(chosen(stored, "rates", "saturation"), "alpha").values()
    figure = Figure(figsize=(13.2, 4.7))
    axes = figure.subplots(1, 3)
    for k, cell in enumerate(in_n):
        label = f"{cell['what']} ({_loop(cell)}): {_interval(cell)}"
        _power(axes[0], np.array(cell["n"], float), cell, k, label)
    for cell in in_n[:1]:
        axes[0].set_xscale("log")
        axes[0].set_xticks(cell["n"], [str(n) for n in cell["n"]])
    axes[0].set_xlabel("n, real rows")
    axes[0].set_ylabel("drift (total variation), gap")
    axes[0].set_title("at a constant share: like n to the power -a")
    for k, cell in enumerate(in_i):
        x = np.arange(1, len(cell["curve"]) + 1.0)
        _power(axes[1], x, cell, k, f"drift ({_loop(cell)}): {_interval(cell)}")
        axes[1].set_xscale("log")
    axes[1].set_xlabel("generation + 1")
    axes[1].set_ylabel("drift (total variation)")
    axes[1].set_title("without real data: like i + 1")
    for ax in axes[:2]:
        ax.plot(
            [], [], color=GREY, linestyle="--", linewidth=1, label="slope of the claim, set off"
        )
        ax.set_yscale("log")
        ax.xaxis.set_minor_locator(NullLocator())
        plain_log(ax.yaxis)
    plain_log(axes[1].xaxis)
    for k, cells in enumerate(saturation):
        x = column(cells, "generation")
        label = f"α = {cells[0]['alpha']:g}"
        points(axes[2], cells, x, PALETTE[k], label, MARKERS[k])
        axes[2].plot(x, column(cells, "bound"), color=PALETTE[k], linestyle="--", linewidth=1.2)
        axes[2].axhline(cells[0]["limit"], color=PALETTE[k], linestyle=":", linewidth=1.5)
        _generation_axis(axes[2], x, log=True)
    axes[2].plot([], [], color="k", linestyle="--", linewidth=1.2, label="closed form")
    axes[2].plot([], [], color="k", linestyle=":", linewidth=1.5, label="limit 1/α")
    axes[2].set_ylim(0, None)
    axes[2].set_ylabel("drift / injected error")
    axes[2].set_title("with real data: up to 1/α")
    for ax in axes:
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.08))
    return figure


KINDS = {
    "accumulate": "all data kept",
    "accumulate-subsample": "fixed budget from the pool",
    "accumulate-fresh": "all data kept, fresh inputs",
}


def _kind(cell: Cell) -> str:
    regime = str(cell["regime"])
    same = ", same inputs" if (cell["loop"], regime) == ("ols", "accumulate") else ""
    return f"{_loop(cell)}: {KINDS.get(regime, regime)}{same}"


def _accumulation(stored: Stored, kind: str) -> list[list[Cell]]:
    """Cells of a kind by loop and regime."""
    return list(grouped(chosen(stored, "accumulation", kind), "loop", "regime").values())


def _limits(stored: Stored, kind: str) -> dict[int, float]:
    """What closed forms are compared with, by generation."""
    cells = chosen(stored, "accumulation", f"limit of the {kind}")
    return {cell["generation"]: cell["bound"] for cell in cells}


def _draw_accumulation(stored: Stored) -> Figure:
    """Left: where all data are kept, excess risk over that of one fit stays below π²/6; drawn
    from the pool at a fixed size it goes above. Right: drift stays below the harmonic number,
    which one-sided errors attain.
    """
    figure = Figure(figsize=(9.8, 4.9))
    left, right = figure.subplots(1, 2)
    for k, cells in enumerate(_accumulation(stored, "excess")):
        x = column(cells, "generation")
        side = {"gaussian mean": -1, "ols": 1}.get(cells[0]["loop"], 0)  # these two agree
        aside = x * 1.03 ** (side if cells[0]["regime"] == "accumulate" else 0)
        points(left, cells, aside, PALETTE[k], _kind(cells[0]), MARKERS[k])
        left.plot(x, column(cells, "bound"), color=PALETTE[k], linestyle="--", linewidth=1.2)
        _generation_axis(left, x, log=True)
    for limit in sorted(set(_limits(stored, "excess").values())):
        left.axhline(limit, color="k", linestyle=":", linewidth=1.5)
    left.plot([], [], color="k", linestyle="--", linewidth=1.2, label="closed form")
    left.plot([], [], color="k", linestyle=":", linewidth=1.5, label="π²/6")
    left.set_ylabel("excess risk / that of one fit")
    left.set_title("excess risk")
    harmonic = _limits(stored, "drift")
    for k, cells in enumerate(_accumulation(stored, "drift")):
        x, known = column(cells, "generation"), column(cells, "bound")
        colour, marker = (PALETTE[0], MARKERS[0]) if k == 0 else (PALETTE[7], MARKERS[4])
        points(right, cells, x, colour, f"{_loop(cells[0])}: {cells[0]['quantity']}", marker)
        right.plot(x, known, color=colour, linestyle="--", linewidth=1.2)
        _generation_axis(right, x, log=True)
    right.plot(list(harmonic), list(harmonic.values()), "k:", linewidth=1.5, label="$H_{i+1}$")
    right.plot([], [], color="k", linestyle="--", linewidth=1.2, label="closed form")
    right.set_ylim(0, None)
    right.set_ylabel("drift / error of the first generation")
    right.set_title("drift (total variation)")
    for ax in (left, right):
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.07))
    return figure


def _sides_of_threshold(stored: Stored) -> dict[str, Cell]:
    """The exponent's cell below and above the threshold."""
    cells = chosen(stored, "real_share_threshold", "exponent")
    return {cell["family"]: cell for cell in cells}


def _draw_real_share_threshold(stored: Stored) -> Figure:
    """N times the influence of one real row on the law of bits, by generation. Below the
    threshold (1 - α)κ = 1 the curves of all n are that of the recursion (dashed); above it they
    grow with n.
    """
    figure = Figure(figsize=(9.4, 4.1))
    axes = figure.subplots(1, 2, sharey=True)
    sides = _sides_of_threshold(stored)
    sizes = sorted({n for cell in sides.values() for n in cell["n"]})
    for ax, (side, cell) in zip(axes, sides.items(), strict=False):
        for n, curve in zip(cell["n"], cell["curve"], strict=True):
            k = sizes.index(n)
            ax.plot(
                np.arange(len(curve)),
                curve,
                color=PALETTE[k],
                marker=MARKERS[k],
                markevery=(k, 5),
                markersize=5,
                label=f"n = {n}",
            )
        if side == "below":
            known = chosen(stored, "real_share_threshold", "recursion")
            x = column(known, "generation")
            points(ax, known, x, PALETTE[sizes.index(max(cell["n"]))], "", "")
            ax.plot(x, column(known, "bound"), "k--", linewidth=1.4, label="recursion", zorder=4)
        ax.set_title(
            f"{side}: (1 - α)κ = {cell['strength']:.3g}, α = {cell['alpha']:.3g}\n"
            f"exponent of nγ in n: {_interval(cell)}"
        )
        ax.set_xlabel("generation")
        ax.set_yscale("log")
        ax.legend(loc="upper left" if side == "below" else "lower right")
        plain_log(ax.yaxis)
    axes[0].set_ylabel("nγ, influence of one real row times n")
    return figure


def _mad(stored: Stored) -> dict[tuple[Any, ...], dict[tuple[Any, ...], list[Cell]]]:
    """Cells of the excess by problem, then by kind of loop."""
    cells = chosen(stored, "mad_loops", "excess")
    return {problem: grouped(own, "mad") for problem, own in grouped(cells, "loop").items()}


def _draw_mad_loops(stored: Stored) -> Figure:
    """The loops of the MAD paper: excess risk over that of one fit. A fully synthetic loop
    grows like i + 1; a fixed real set beside synthetic rows stops below 1.5; fresh real rows
    bring it below 1.
    """
    problems = _mad(stored)
    names = list(dict.fromkeys(name for kinds in problems.values() for (name,) in kinds))
    figure = Figure(figsize=(4.7 * len(problems) + 0.3, 4.6))
    axes = figure.subplots(1, len(problems), sharey=True, squeeze=False)[0]
    for ax, kinds in zip(axes, problems.values(), strict=True):
        for (name,), cells in kinds.items():
            k, shown = names.index(name), _once(cells)
            x = column(shown, "generation")
            beside = {"synthetic augmentation": -1, "synthetic augmentation, 4 : 1": 1}
            aside = beside.get(name, 0)  # these two are nearly the same
            points(ax, shown, x * 1.03**aside, PALETTE[k], name, MARKERS[k])
            if known := _equalities(cells):
                joined = column(known, "generation"), column(known, "bound")
                alone = {"marker": "_", "markersize": 14} if len(known) == 1 else {}
                ax.plot(*joined, color=PALETTE[k], linestyle="--", linewidth=1.2, **alone)
            _generation_axis(ax, x, log=True)
        for level in (1, 1.5):
            ax.axhline(level, color="k", linestyle=":", linewidth=1.5)
            ax.annotate(
                f"{level:g}",
                (1, level),
                xycoords=("axes fraction", "data"),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
            )
        ax.set_yscale("log")
        plain_log(ax.yaxis)
        first = next(iter(kinds.values()))[0]
        ax.set_title(f"{_loop(first)}, n = {first['n']}")
    axes[0].set_ylabel("excess risk / that of one fit")
    axes[0].plot([], [], color="k", linestyle="--", linewidth=1.2, label="closed form")
    axes[0].plot([], [], color="k", linestyle=":", linewidth=1.5, label="1 and 1.5 times one fit")
    shown_as: dict[Any, Any] = {}  # a kind of loop may be in one panel only
    for ax in axes:
        shown_as |= dict(zip(*ax.get_legend_handles_labels()[::-1], strict=True))
    figure.legend(list(shown_as.values()), list(shown_as), loc="outside upper center", ncols=3)
    return figure


DRAWINGS = of_cells(
    {
        "gap_identity": _draw_gap_identity,
        "generalization_gap": _draw_generalization_gap,
        "rates": _draw_rates,
        "accumulation": _draw_accumulation,
        "real_share_threshold": _draw_real_share_threshold,
        "mad_loops": _draw_mad_loops,
    }
)


SHOWN = {
    **{"excess_risk": "excess risk", "risk": "risk on held-out rows"},
    **{"held_out_loss": "loss of held-out rows, nats a row"},
    "energy": "energy distance from held-out rows",
}
"""What a loop of one's own is drawn by: the first of these that is known, and in words."""


def excess_curve(rows: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Excess risk of a loop by generation, beside its closed form; or what is `SHOWN` instead."""
    figure = Figure(figsize=(5.6, 3.9))
    ax = figure.subplots()
    x = np.array([row["generation"] for row in rows])
    none = {"mean": None}
    name = next(name for name in SHOWN if rows[0].get(name, none)["mean"] is not None)
    known, risks = name == "excess_risk", [row[name] for row in rows]
    mean = np.array([risk["mean"] for risk in risks])
    error = 2 * np.array([risk["stderr"] or 0.0 for risk in risks])
    ax.errorbar(
        x, mean, yerr=error, fmt="o", capsize=3, color=PALETTE[0], label="measured, ± 2 errors"
    )
    exact = [row["excess_risk"]["closed_form"] for row in rows]
    closed = np.array([np.nan if value is None else value for value in exact])
    if known and np.isfinite(closed).any():
        ax.plot(x, closed, "k--", marker="_", linewidth=1.2, label="closed form")
    ax.set_xlabel("generation")
    ax.set_ylabel(SHOWN[name])
    ax.set_ylim(0 if known else None, None)
    ax.set_title(title)
    ax.legend()
    return figure

"""The page of one loop: `loop.json` in words, in figures and as a table. Needs no JAX.

Intervals are Student's over the loops, 95 %. The bound on the drift is the recursion of one-step
errors, which is linear, so that their means bound the mean drift; its parts are what the errors of
generation 0, of later ones and of the generation itself contribute. Where the excess risk is a
squared distance and the real share is constant, the law in squares x_i^2 = x_0^2 + (x_1^2 - x_0^2)
(1 - rho^{2i})/(1 - rho^2) predicts the curve from its first two generations.
"""

import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from icl_stl import bounds, members
from icl_stl.config import require
from icl_stl.intervals import LEVEL, t_half_width
from icl_stl.lab import results
from icl_stl.lab.results import Floats
from icl_stl.learners.generative import GENERATIVE
from icl_stl.problems import PROBLEMS
from icl_stl.regimes import MAD_LOOPS, REGIMES, Regime, mixing_weights, real_share
from icl_stl.report.pieces import (
    Json,
    commands,
    definitions,
    environment,
    escaped,
    figure,
    filled,
    number,
    settings,
    table,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FILE = "loop.json"
"""What tells the folder of a loop."""

SIZE = (4.7, 3.7)
"""Inches of a figure: on a screen of 390 pixels its letters keep 9."""

QUANTITIES: Mapping[str, tuple[str, str]] = {
    "excess_risk": ("excess risk", "How much worse than the best model a generation is."),
    "held_out_loss": ("held-out loss", "Mean loss of rows that no generation has seen."),
    "energy": ("energy distance", "Distance of generated rows to rows that none has seen."),
    "tv_lower": (
        "total variation, at least",
        "What a classifier tells apart: the law of generated rows is at least so far from the real "
        "one. Points: estimated; dashed: certified.",
    ),
    "one_step_lower": (
        "one-step error, at least",
        "The law of generated rows is at least so far from the one that the generation was trained "
        "on. Points: estimated; dashed: certified.",
    ),
    "drift": ("drift", "Total variation between the generated law and the real one."),
    "gap": ("gap", "Risk on the real law less mean loss on the training set."),
    "eps": ("one-step error", "Total variation between the generated law and the training law."),
    "risk": ("risk", "Mean loss of fresh rows of the real law."),
    "nll": ("NLL", "Mean negative log-likelihood of fresh rows of the real law, in nats."),
    "excess_nll": ("excess NLL", "Nats a label above those of the Bayes predictor."),
    "training_loss": ("training loss", "Mean loss of the last training steps, in nats."),
    "implied_task_variance": ("implied task variance", "The task variance that prompts show."),
}
"""What a generation may have, the first that is known first: its name, what it is."""

_NO_QUANTITY = ("generation", "loops", "n_train", "bound", "within_loop_half_width")


class Curve(NamedTuple):
    """A quantity by generation, means over the loops; nan where there is none."""

    mean: Floats
    half: Floats
    """Half of the 95 % interval."""


def curves_of(rows: Sequence[Json]) -> dict[str, Curve]:
    """Every quantity that is known of any generation, in the order of `QUANTITIES`."""
    names = dict.fromkeys([*QUANTITIES, *(name for row in rows for name in row)])
    known = {
        name: [_measured(row, name) for row in rows]
        for name in names
        if name not in _NO_QUANTITY and not name.endswith("_stderr")
    }
    return {
        name: Curve(*np.array(pairs, float).T)
        for name, pairs in known.items()
        if any(mean is not None for mean, _ in pairs)
    }


def _measured(row: Json, name: str) -> tuple[float | None, float | None]:
    """The mean of a quantity and half of its interval; None where unknown."""
    value, error = row.get(name), row.get(f"{name}_stderr")
    if isinstance(value, Mapping):
        error = value.get("stderr")
        value = value.get("mean", value.get("value"))
    if error is not None and row["loops"] > 1:
        error = t_half_width(error, row["loops"], LEVEL / 2)
    return value, error


def _column(rows: Sequence[Json], name: str, *within: str) -> Floats:
    """One entry of every generation, nan where there is none."""
    found: list[Any] = [row.get(name) for row in rows]
    for key in within:
        found = [one.get(key) if isinstance(one, Mapping) else None for one in found]
    return np.array(found, float)


class Known(NamedTuple):
    """What is known of a loop beside its measured means: nan, or None, where nothing is."""

    closed: Floats
    """Closed form of the mean excess risk."""
    parts: Floats | None
    """The bound on the drift by its parts `PARTS`: `[G + 1, 3]`."""
    predicted: Curve | None
    """The law in squares."""
    level: Curve | None
    """Where it ends, a single number."""


PARTS = ("error of generation 0", "errors of generations between", "its own error")


def known_of(set_to: Json, rows: Sequence[Json], curves: Mapping[str, Curve]) -> Known:
    """Closed form, bound and prediction, as far as they are known.

    Bound and prediction are of means over the same loops in all generations: none if some failed.
    """
    regime, samples = _regime(set_to), set_to["samples"]
    if len({row["loops"] for row in rows}) > 1:
        regime = None
    parts = predicted = level = None
    eps = curves["eps"].mean if "eps" in curves else np.array([math.nan])
    if regime is not None and (eps >= 0).all():
        terms = bounds.drift_recursion(eps, mixing_weights(regime, samples, len(rows) - 1)).terms
        own = np.diag(terms) * (np.arange(len(rows)) > 0)
        first = terms[:, 0]
        parts = np.stack([first, terms.sum(1) - first - own, own], 1)
    squared = _is_refitted(set_to) and "excess_risk" in curves and len(rows) > 1
    if squared and regime is not None and regime.mixes_last and _is_steady(regime, samples, rows):
        alpha = real_share(regime, samples, 1)
        predicted = in_squares(alpha, curves["excess_risk"], np.arange(len(rows)))
        if 0 < alpha < 1:
            level = in_squares(alpha, curves["excess_risk"], np.inf)
    return Known(_column(rows, "excess_risk", "closed_form"), parts, predicted, level)


def in_squares(alpha: float, excess: Curve, generation: Any) -> Curve:
    """The law in squares through generations 0 and 1; its interval as if they were independent.

    They share the real set, so that the interval is wider than it need be.
    """
    start, first = excess.mean[:2] ** 0.5
    rise = first**2 - start**2
    # What the first fit's noise takes away in the law is what a rise below 0 stands for.
    lost = (-rise / (alpha * (2 - alpha))) ** 0.5 if rise < 0 else 0.0
    law = {"o": 0.0, "s": max(rise, 0.0) ** 0.5}
    unit = bounds.plateau_in_squares(alpha, generation, a=0.0, o=0.0, s=1.0) ** 2
    mean = bounds.plateau_in_squares(alpha, generation, a=start, first_noise=lost, **law) ** 2
    half = np.hypot((1 - unit) * excess.half[0], unit * excess.half[1])
    return Curve(np.asarray(mean), np.asarray(half))


def _is_refitted(set_to: Json) -> bool:
    """Whether its problem is one of this package, whose excess risks are squared distances of fits
    to the rows of one generation.
    """
    kinds = {**members.LEARNERS, **PROBLEMS}
    return getattr(kinds.get(set_to.get("learner", set_to.get("problem"))), "refits", False)


def _is_steady(regime: Regime, samples: int, rows: Sequence[Json]) -> bool:
    """Whether all generations after generation 0 have one share and one number of rows."""
    later = range(1, len(rows))
    return len({(real_share(regime, samples, i), rows[i]["n_train"]) for i in later}) == 1


def _regime(set_to: Json) -> Regime | None:
    """The regime of the settings; None if it is not of this package: no code is run for a page."""
    name = set_to["regime"]
    if name not in {*REGIMES, *MAD_LOOPS}:
        return None
    named = members.regime(name, set_to.get("of"))
    made: Regime = named.made({key: set_to.get(key) for key in named.options})
    return made


# --- figures -------------------------------------------------------------------------------------


def _drawn(name: str, curve: Curve, rows: Sequence[Json], known: Known) -> "Figure":
    """One quantity by generation with its interval, and what is known of it."""
    from matplotlib.figure import Figure  # noqa: PLC0415  (a run's page draws nothing)
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    from icl_stl.style import PALETTE, literal  # noqa: PLC0415

    drawing = Figure(figsize=SIZE)
    ax = drawing.subplots()
    x = _column(rows, "generation")
    if name == "drift":
        _draw_bound(ax, x, known)
    half = np.nan_to_num(curve.half)
    look = {"markersize": 4, "linewidth": 1.2, "capsize": 2.5, "color": PALETTE[0], "zorder": 3}
    words = "measured" + ", 95 % interval" * bool(half.any())
    ax.errorbar(x, curve.mean, half if half.any() else None, fmt="o-", label=words, **look)
    if name == "excess_risk":
        _draw_excess(ax, x, known)
    low = _column(rows, name, "low")
    if np.isfinite(low).any():
        level = max(_column(rows, name, "level"))
        ax.plot(x, low, "k--", marker="_", linewidth=1.2, label=f"certified, {level:.0%}")
    ax.set_xlabel("generation")
    ax.set_ylabel(literal(_words(name)))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    drawing.legend(loc="outside lower center", ncols=2)
    return drawing


def _draw_excess(ax: "Axes", x: Floats, known: Known) -> None:
    from icl_stl.style import PALETTE  # noqa: PLC0415

    if np.isfinite(known.closed).any():
        ax.plot(x, known.closed, "k--", marker="_", linewidth=1.2, label="closed form")
    if known.predicted is not None:
        mean, half = known.predicted
        ax.plot(x, mean, ":", color=PALETTE[1], linewidth=1.8, label="law in squares")
        if np.isfinite(half).any():
            ax.fill_between(x, mean - half, mean + half, color=PALETTE[1], alpha=0.18, linewidth=0)
    if known.level is not None:
        ax.axhline(
            float(known.level.mean),
            color=PALETTE[2],
            linestyle="-.",
            linewidth=1.2,
            label="its level",
        )
    ax.set_ylim(bottom=0)


def _draw_bound(ax: "Axes", x: Floats, known: Known) -> None:
    from icl_stl.style import PALETTE, pale  # noqa: PLC0415

    if known.parts is None:
        return
    colours: Any = [pale(PALETTE[k]) for k in (1, 4, 3)]
    ax.stackplot(x, known.parts.T, labels=PARTS, colors=colours)
    ax.plot(x, known.parts.sum(1), "k--", marker="_", linewidth=1.2, label="bound")


def _words(name: str) -> str:
    return QUANTITIES.get(name, (name.replace("_", " "), ""))[0]


def _title(words: str) -> str:
    return words[0].upper() + words[1:]


def _caption(name: str, known: Known) -> str:
    """What to see in a figure."""
    said = [QUANTITIES.get(name, ("", f"{_title(_words(name))} by generation."))[1]]
    if name == "excess_risk" and known.predicted is not None:
        said.append("Dotted: the law in squares, predicted from generations 0 and 1.")
    if name == "drift" and known.parts is not None:
        said.append("Dashed: the bound from one-step errors; shaded: its parts, stacked.")
    return " ".join(said)


def pictures(draw: Mapping[str, Callable[[], "Figure"]], captions: Mapping[str, str]) -> str:
    """Figures side by side where there is room."""
    from icl_stl.style import svg_of  # noqa: PLC0415

    found = (
        f"<div>{figure(name, svg_of(one).decode(), captions[name], kind='fitted')}</div>"
        for name, one in draw.items()
    )
    return f'<div class="charts">\n{chr(10).join(found)}\n</div>'


# --- words ---------------------------------------------------------------------------------------


def _name(set_to: Json) -> str:
    """What was trained, in the regime."""
    what = set_to.get("learner") or set_to.get("command") or set_to.get("problem")
    return f"{what}" + (f" of {set_to['real']}" if set_to.get("real") else "")


def _docs(set_to: Json) -> Iterable[tuple[str, str]]:
    """What learner and regime are, where this package says it."""
    kinds: dict[str, Any] = {**PROBLEMS, **members.LEARNERS, **GENERATIVE}
    what = str(set_to.get("learner") or set_to.get("problem"))
    if what in kinds:
        yield "Learner", f"{what}: {str(kinds[what].__doc__).splitlines()[0]}"
    regime = _regime(set_to)
    about = "a regime of your own" if regime is None else str(type(regime).__doc__).splitlines()[0]
    yield "Regime", f"{set_to['regime']}: {about}"


def _said(content: Json, curves: Mapping[str, Curve], known: Known) -> Iterable[tuple[str, str]]:
    """What was run and what came out, in words."""
    set_to, rows = content["settings"], content["generations"]
    yield from _docs(set_to)
    regime = _regime(set_to)
    share = "" if regime is None else f", real share {number(_share(regime, set_to))}"
    yield (
        "Run",
        f"{set_to['runs']} independent loops from n = {set_to['samples']} real rows each, "
        f"generations 0 to {set_to['generations']}{share}, seed {set_to['seed']}",
    )
    failed = content["failed_loops"]
    if failed["count"]:
        words = "; ".join(map(str, content["failed"]))
        yield (
            "Failed",
            f"{failed['count']} of {failed['of']} loops; means are over the others: {words}",
        )
    if not rows:
        yield "Result", "no loop was left in generation 0"
    last = rows[-1]["generation"] if rows else 0
    for name, (mean, half) in curves.items():
        ends = dict.fromkeys((0, len(rows) - 1))
        values = (f"{_pair(mean[i], half[i])} in generation {rows[i]['generation']}" for i in ends)
        yield _title(_words(name)), ", ".join(values)
    if math.isfinite(known.closed[-1] if rows else math.nan):
        yield "Closed form", f"{number(known.closed[-1])} in generation {last}"
    if known.parts is not None:
        parts = zip(PARTS, map(number, known.parts[-1].tolist()), strict=True)
        words = ", ".join(f"{part} {value}" for part, value in parts)
        bound = float(known.parts[-1].sum())
        nothing = ", above 1, so that it says nothing" if bound > 1 else ""
        yield "Bound on the drift", f"{number(bound)}{nothing}: {words}"
    if known.predicted is not None:
        words = f"{_pair(*(values[-1] for values in known.predicted))} in generation {last}"
        words += "" if known.level is None else f", {_pair(*known.level)} in the limit"
        yield "Law in squares, from generations 0 and 1: no bound", words


def _share(regime: Regime, set_to: Json) -> Any:
    """The real share, of the first and the last generation if it varies."""
    ends = {real_share(regime, set_to["samples"], i) for i in (1, max(set_to["generations"], 1))}
    return sorted(ends, reverse=True)


def _pair(mean: Any, half: Any) -> str:
    return number(float(mean)) + (f" ± {number(float(half))}" if math.isfinite(half) else "")


def _numbers(rows: Sequence[Json], curves: Mapping[str, Curve], known: Known) -> str:
    """Every number of every generation."""
    columns: dict[str, Any] = {
        "generation": [row["generation"] for row in rows],
        "loops": [row["loops"] for row in rows],
        "rows": [row.get("n_train") for row in rows],
    }
    for name, (mean, half) in curves.items():
        columns[_words(name)] = mean.tolist()
        if np.isfinite(half).any():
            columns[f"± of {_words(name)}"] = half.tolist()
        low = _column(rows, name, "low")
        if np.isfinite(low).any():
            columns[f"{_words(name)}, certified"] = low.tolist()
    if np.isfinite(known.closed).any():
        columns["closed form"] = known.closed.tolist()
    if known.predicted is not None:
        columns["law in squares"] = known.predicted.mean.tolist()
    if known.parts is not None:
        columns["bound on the drift"] = known.parts.sum(1).tolist()
        columns |= dict(zip(PARTS, known.parts.T.tolist(), strict=True))
    lines = [[escaped(number(v)) for v in row] for row in zip(*columns.values(), strict=True)]
    caption = "Means over the loops (±: half of the 95 % interval)"
    return table([*columns], lines, caption, counted=[*columns])


def command_of(set_to: Json) -> str:
    """The command that runs the loop again."""
    words = ["icl-stl loop"]
    for name, value in set_to.items():
        if name == "rows" or value in (None, False, []):
            continue
        option = f"--{name.replace('_', '-')}"
        told = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        words.append(option if value is True else f"{option} {shlex.quote(told)}")
    return " \\\n    ".join(words)


_NEEDED = ("settings", "versions", "failed", "failed_loops", "generations")


def page(folder: Path) -> str:
    """The page of the folder of a loop."""
    path = folder / FILE
    content = results.read_json(path)
    for name in _NEEDED:
        fine = isinstance(content, Mapping) and name in content
        require(fine, str(path), "damaged", f"what icl-stl loop has written, with {name!r} in it")
    set_to, rows = content["settings"], content["generations"]
    try:
        return _page(content, set_to, rows)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error!r}") from None


def _page(content: Json, set_to: Json, rows: Sequence[Json]) -> str:
    curves = curves_of(rows)
    known = known_of(set_to, rows, curves)
    regime, samples = _regime(set_to), set_to["samples"]
    label = set_to["regime"] if regime is None else results.label(regime, samples)
    name = f"{_name(set_to)}, {label}, n = {samples}"
    named = {_words(key).replace(" ", "_"): key for key in curves}
    draw = {one: partial(_drawn, key, curves[key], rows, known) for one, key in named.items()}
    captions = {one: _caption(key, known) for one, key in named.items()}
    own = {key: value for key, value in set_to.items() if value is not None}
    sections = {
        "title": escaped(f"Self-consuming loop: {name}"),
        "heading": "A self-consuming loop",
        "headline": escaped(f"{name}, {set_to['runs']} loops"),
        "run": definitions(_said(content, curves, known)),
        "configuration": settings(own, "Every setting"),
        "environment": environment(content["versions"].items()),
        "reproduce": commands([command_of(set_to)]),
    }
    if curves:
        sections["figures"] = pictures(draw, captions)
        sections["numbers"] = _numbers(rows, curves, known)
    return filled(sections)

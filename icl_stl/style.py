"""The look of every figure, and figures as files: the same bytes every time."""

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from icl_stl.lab.results import sha256_of, write_atomically

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


class _Endless(tuple[str, ...]):
    """As many as are asked for: after the last comes the first again."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(index % len(self) if isinstance(index, int) else index)


PALETTE = _Endless(
    ("#1845fb", "#ff5e02", "#c91f16", "#c849a9", "#adad7d", "#86c8dd", "#578dff", "#656364")
)
"""Petroff's eight colours, told apart with every kind of colour vision."""

MARKERS = _Endless(("o", "s", "^", "D", "v", "P", "X", "*", "h"))
"""A marker beside every colour, so that curves are told apart without it: one more than colours, so
that of the first 72 no two look the same."""


def pale(colour: Any) -> tuple[float, ...]:
    """A light shade that is opaque: vector files show no hatch on a translucent one."""
    return tuple(1 - 0.45 * (1 - part) for part in mpl.colors.to_rgb(colour))


def literal(text: str) -> str:
    """Words as they are: a figure would read what is between two dollar signs as a formula."""
    return text.replace("$", r"\$")


def plain_log(axis: Any, subs: Sequence[float] = (1, 2, 5)) -> None:
    """A logarithmic axis whose ticks are written out."""
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
    axis.set_minor_locator(NullLocator())


def svg_of(draw: Callable[[], Figure]) -> bytes:
    """A figure as a vector file; the same results give the same bytes."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE), np.errstate(all="ignore"):  # type: ignore[arg-type]
        # Of when and by what it was made the file says nothing.
        draw().savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return lean(buffer.getvalue().decode()).encode()


def lean(svg: str) -> str:
    """What Matplotlib draws as SVG, in less than half the bytes: the same picture.

    Places are rounded to 0.01 points, every style is written once, as a class, and only what is
    referred to has a name. One element a line.
    """
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    reference = r'(?<=xlink:href="#)[^"]+|(?<=url\(#)[^)]+'
    referred = dict.fromkeys(re.findall(reference, svg))
    names = {old: f"r{k}" for k, old in enumerate(referred)}
    classes: dict[str, str] = {}

    def attribute(found: re.Match[str]) -> str:
        key, value = found[1], found[2]
        if key == "id":
            return f' id="{names[value]}"' if value in names else ""
        if key == "style":
            value = re.sub(r"'DejaVu Sans', [^;]*sans-serif", "DejaVu Sans, sans-serif", value)
            return f' class="{classes.setdefault(value, f"s{len(classes)}")}"'
        if key in ("d", "x", "y", "transform"):
            value = " ".join(re.sub(r"\d+\.\d{3,}", _rounded, value).split())
        return f' {key}="{value}"'

    def element(found: re.Match[str]) -> str:
        named = re.sub(reference, lambda name: names[name[0]], found[0])
        return re.sub(r'\s([\w:-]+)="([^"]*)"', attribute, named)

    svg = re.sub(r"<\w[^<>]*>", element, svg)  # no text is touched
    sheet = "".join(f"\n.{name}{{{style}}}" for style, name in classes.items())
    svg = re.sub(r"(?<=>)\s+(?=<)", "\n", svg)
    return re.sub(
        r"<svg[^>]*>", lambda found: f"{found[0]}\n<style>{sheet}\n</style>", svg, count=1
    )


def _rounded(found: re.Match[str]) -> str:
    return f"{float(found[0]):.2f}".rstrip("0").rstrip(".")


def write_figure(draw: Callable[[], Figure], path: Path) -> dict[str, str]:
    """Write a figure as `path.svg`; its digest by the name of the file."""
    file = path.with_name(f"{path.name}.svg")
    write_atomically(file, svg_of(draw))
    return {file.name: sha256_of(file)}

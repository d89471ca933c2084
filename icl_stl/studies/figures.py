"""Figures as files, drawn from stored results alone: the same bytes every time."""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from icl_stl.config import LinearRegression
from icl_stl.console import claims_markdown
from icl_stl.lab.results import read_json, read_table, write_atomically, write_json
from icl_stl.studies.certificates import figures as certificates
from icl_stl.studies.collapse import figures as collapse
from icl_stl.studies.context_loop import figures as context_loop
from icl_stl.studies.convergence import figures as convergence
from icl_stl.studies.drawing import STYLE, Drawing, Stored
from icl_stl.studies.solvable import figures as solvable
from icl_stl.studies.stability import figures as stability
from icl_stl.studies.synthetic import figures as synthetic
from icl_stl.studies.transformer import figures as transformer

DRAWINGS = {
    name: drawing
    for room in (
        *(transformer, solvable, stability, convergence, synthetic),
        *(certificates, context_loop, collapse),
    )
    for name, drawing in room.DRAWINGS.items()
}
"""All figures of the main job by name; a claim's figure has the claim's name."""


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
    return {file.name: digest(file)}


def _judged(entry: Mapping[str, Any], has_loops: bool) -> bool:
    """Whether a claim could be judged; a figure without loops needs its cells."""
    return bool(entry.get("constants")) and (has_loops or bool(entry.get("cells")))


def drawings(stored: Stored) -> dict[str, Drawing]:
    """The figures that these results suffice for."""
    return {
        name: drawing
        for name, drawing in DRAWINGS.items()
        if (stored.loops or not drawing.needs_loops)
        and (
            drawing.needs_claim is None
            or _judged(stored.claims.get(drawing.needs_claim, {}), drawing.needs_loops)
        )
    }


def caption_of(drawing: Drawing, stored: Stored) -> str:
    """What to see in a figure; of a claim in which replicates failed, that they did."""
    with np.errstate(all="ignore"):  # what has no value has no ratio, and is said to have none
        caption = drawing.caption(stored)
    if stored.claims.get(drawing.needs_claim or "", {}).get("failed"):
        caption += " Replicates failed: all numbers of the claim are of the others alone."
    return caption


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
        files |= write_figure(partial(drawing.draw, stored), out / name)
        caption = caption_of(drawing, stored)
        page += [f"## {name}", "", f"![{name}]({name}.svg)", "", caption, ""]
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
            anew = svg_of(partial(drawing.draw, stored))
            if path.is_file() and path.read_bytes() != anew:
                yield f"{name}.svg is not what these results give; run icl-stl figures"


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

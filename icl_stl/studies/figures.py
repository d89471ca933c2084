"""A run folder's figures, drawn from its results alone: captions, manifest, and their check."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib as mpl

from icl_stl.lab.results import read_json, read_table, sha256_of, write_atomically, write_json
from icl_stl.laws import LinearRegression
from icl_stl.studies.claims import TOPICS
from icl_stl.studies.drawing import Drawing, Stored, by_default
from icl_stl.studies.study import Study
from icl_stl.studies.table import claims_markdown
from icl_stl.style import svg_of, write_figure

DRAWINGS: dict[str, Drawing] = {
    name: drawing
    for topic in TOPICS
    for name, drawing in import_module(f"{topic}.figures").DRAWINGS.items()
}
"""All figures of the main job by name; a claim's figure has the claim's name."""


def _judged(entry: Mapping[str, Any], has_loops: bool) -> bool:
    """Whether a claim could be judged; a figure without loops needs its cells."""
    return bool(entry.get("constants")) and (has_loops or bool(entry.get("cells")))


def drawings(stored: Stored, studies: Sequence[Study] = ()) -> dict[str, Drawing]:
    """The figures that these results suffice for, those of users' studies last.

    Raises:
        ValueError: If a claim is of a study that is not given; the message names it.
    """
    found = {
        name: drawing
        for name, drawing in DRAWINGS.items()
        if (stored.loops or (drawing.needs_claim and not drawing.needs_loops))
        and (
            drawing.needs_claim is None
            or _judged(stored.claims.get(drawing.needs_claim, {}), drawing.needs_loops)
        )
    }
    given = {name: study for study in studies for name in study.claims}
    for name, entry in stored.claims.items():
        if file := entry.get("study"):
            if name not in given:
                raise ValueError(f"study must name {file}, which {name} is of, to draw its figure")
            if entry["cells"]:
                found[name] = _of_study(given[name], name)
    return found


def _of_study(study: Study, name: str) -> Drawing:
    """A study's own figure of a claim, or the default."""
    own = study.figures.get(name)
    if own is None:
        return by_default(name)

    def draw(stored: Stored) -> Any:
        return own(stored.claims[name])

    draw.__doc__ = own.__doc__
    return Drawing(draw, needs_claim=name)


def caption_of(drawing: Drawing, stored: Stored) -> str:
    """What to see in a figure; that replicates failed, where some did."""
    caption = drawing.caption
    if stored.failed and drawing.needs_loops:
        failed = ", ".join(f"{count} of {name}" for name, count in stored.failed.items())
        caption += f" Loops that failed are left out: {failed}."
    if stored.claims.get(drawing.needs_claim or "", {}).get("failed"):
        caption += " Replicates failed: all numbers of the claim are of the others alone."
    return caption


def draw_all(
    stored: Stored, out: Path, sources: Sequence[Path], studies: Sequence[Study] = ()
) -> list[str]:
    """Draw every figure into a folder, with a page of captions and a manifest.

    Args:
        stored: The results.
        out: The folder.
        sources: The files in it that the figures are drawn from.
        studies: Users' studies whose claims are among the results.

    Returns:
        Names of the figures drawn.
    """
    page = ["# Figures", "", "Drawn by `icl-stl figures` from the files beside them.", ""]
    page += [*claims_markdown(list(stored.claims.values())), ""]
    drawn = drawings(stored, studies)
    files: dict[str, str] = {}
    for name, drawing in drawn.items():
        files |= write_figure(partial(drawing.draw, stored), out / name)
        caption = caption_of(drawing, stored)
        page += [f"## {name}", "", f"![{name}]({name}.svg)", "", caption, ""]
    write_atomically(out / "README.md", "\n".join(page).encode())
    manifest = {
        "matplotlib": mpl.__version__,
        "sources": {path.name: sha256_of(path) for path in sources},
        "figures": files,
    }
    write_json(out / "manifest.json", manifest)
    return list(drawn)


def mismatches(
    stored: Stored, folder: Path, manifest: Mapping[str, Any], studies: Sequence[Study] = ()
) -> Iterator[str]:
    """Why the figures and results in a folder do not belong together, one line each.

    Sources and figures must be the files that the manifest names, every figure must be there and,
    where Matplotlib is the version that drew them, drawing anew must give the same vector files.
    """
    for kind in ("sources", "figures"):
        for name, recorded in manifest[kind].items():
            path = folder / name
            if not path.is_file():
                yield f"{name} is missing"
            elif sha256_of(path) != recorded:
                yield f"{name} is not the file that the manifest was written with"
    for name, drawing in drawings(stored, studies).items():
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


def draw_folder(folder: Path, studies: Sequence[Study] = ()) -> list[str]:
    """Draw all figures of a run folder into it; their names."""
    stored, sources = read_stored(folder)
    return draw_all(stored, folder, sources, studies)


def check_folder(folder: Path, studies: Sequence[Study] = ()) -> list[str]:
    """Why figures and results of a run folder do not belong together; empty if they do."""
    stored, _ = read_stored(folder)
    return list(mismatches(stored, folder, read_json(folder / "manifest.json"), studies))

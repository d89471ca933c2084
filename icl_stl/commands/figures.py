"""Redraw all figures from stored results alone, or check that both belong together."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from icl_stl.config import require
from icl_stl.lab import results

if TYPE_CHECKING:
    from icl_stl.studies import Study

SOURCES = ("claims.json", "loops.csv", "config.json")


@dataclass(frozen=True)
class Arguments:
    """Redraw every figure of a run folder from its config.json, claims.json and loops.csv."""

    results: Path = Path("figures")
    """The run folder; figures/ if not given."""
    check: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Draw nothing; fail if the figures are not those of the results."""
    force: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Draw results that were changed since they were last drawn, or never were."""
    study: Annotated[
        tuple[Path, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="FILE.py")
    ] = ()
    """A study of your own whose claims are among the results."""


def check(folder: Path, studies: Sequence["Study"] = ()) -> list[str]:
    """Why the figures are not those of the results; empty if they are."""
    results.read_json(folder / "manifest.json")
    # Digests first: what is damaged need not be read or drawn.
    names = dict.fromkeys((*SOURCES, *results.recorded_digests(folder)))
    changed = results.not_vouched_for(folder, names)
    wrong = [
        f"{name} is not the file that the manifest was written with"
        if (folder / name).exists()
        else f"{name} is missing"
        for name in changed
    ]
    if wrong:
        return wrong
    from icl_stl.studies.figures import check_folder

    return check_folder(folder, studies)


def draw(folder: Path, force: bool, studies: Sequence["Study"] = ()) -> list[str]:
    """Draw all figures anew, of results that nobody changed; their names."""
    changed = results.not_vouched_for(folder, SOURCES)
    if changed and not force:
        raise ValueError(
            f"results must be as the main job left them, but {folder / changed[0]} "
            "is not the file that manifest.json was written with: it was changed, or the run was "
            "stopped before it had drawn; run that again, or give --force to draw what is there"
        )
    from icl_stl.studies.figures import draw_folder

    try:
        return draw_folder(folder, studies)
    except (AttributeError, KeyError, TypeError) as error:
        if not changed:
            raise
        raise ValueError(f"{folder / changed[0]} is damaged: {error!r}") from None


def main(arguments: Arguments) -> int:
    """Draw or check; the exit status."""
    folder = arguments.results
    require(not (arguments.check and arguments.force), "force", True, "left out with check")
    results.read_json(folder / "config.json")
    from icl_stl.studies.study import load_all

    studies = load_all(arguments.study)
    if arguments.check:
        wrong = check(folder, studies)
        for line in wrong:
            print(f"{folder}: {line}", file=sys.stderr)
        print(f"{folder}: {'no match' if wrong else 'figures match results'}")
        return int(bool(wrong))
    results.make_folder(folder, "results")
    with results.sole_writer(folder, "results"):
        drawn = draw(folder, arguments.force, studies)
    print(f"{folder}: {', '.join(drawn)}")
    return 0

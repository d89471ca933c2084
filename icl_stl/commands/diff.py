"""What two runs say differently."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from icl_stl.config import require


@dataclass(frozen=True)
class Arguments:
    """Compare two run folders: settings, versions, verdicts, numbers beyond their intervals.

    Exit status 1 if a verdict, a control or a number with an interval differs.
    """

    first: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="A")]]
    """A folder that reproduce has left behind."""
    second: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="B")]]
    """Another one."""
    json: Path | None = None
    """Write what differs to this file, too."""


def said(value: Any) -> str:
    """A value in words; a measured number with its interval."""
    if value is None:
        return "-"
    if isinstance(value, dict) and "measured" in value:
        low, high = value["low"], value["high"]
        interval = "" if None in (low, high) else f" [{low:.3g}, {high:.3g}]"
        return f"{value['measured']:.4g}{interval}"
    return str(value)


def main(arguments: Arguments) -> int:
    """Compare; the exit status."""
    from icl_stl.lab.results import check_file, write_json
    from icl_stl.studies.comparison import compare

    for name, folder in (("A", arguments.first), ("B", arguments.second)):
        require(folder.is_dir(), name, str(folder), "the folder of a run")
    if arguments.json is not None:
        check_file(arguments.json, "json")
    found = compare(arguments.first, arguments.second)
    if arguments.json is not None:
        changes = [change._asdict() for change in found.changes]
        write_json(arguments.json, {**found._asdict(), "changes": changes})
    for change in (change for change in found.changes if change.what != "single"):
        print(f"{change.what:<8} {change.name}: {said(change.first)} -> {said(change.second)}")
    kinds = [change.what for change in found.changes]
    print(
        f"{kinds.count('verdict')} verdicts, {kinds.count('control')} controls and "
        f"{kinds.count('number')} of {found.compared} numbers differ beyond their intervals, "
        f"{kinds.count('single')} that have none; "
        f"{found.alone[0]} numbers stand in A alone, {found.alone[1]} in B alone"
    )
    return int(found.differ)

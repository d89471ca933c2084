"""The folder of a run, a loop or a sweep as one HTML page, to read or to send."""

from dataclasses import dataclass
from pathlib import Path

from icl_stl.report import page as report
from icl_stl.report.junit import write_junit
from icl_stl.report.sweeps import Axes


@dataclass(frozen=True)
class Arguments:
    """Write the report of a folder that reproduce, loop or sweep has left behind."""

    results: Path = Path("figures")
    """The folder; figures/ if not given."""
    out: Path | None = None
    """The page; report.html in the folder if not given."""
    junit: Path | None = None
    """Of a run: its claims as JUnit XML, to this file, too. A violated one is a failure, an
    inconclusive one skipped."""
    x: str | None = None
    """Of a sweep: what is drawn along the axis, any setting that varies, or the generation; the
    numeric setting with most values if not given."""
    y: str | None = None
    """Of a sweep: the column of sweep.csv that is drawn; excess_risk, held_out_loss or the first
    that is known if not given."""
    generation: str | None = None
    """Of a sweep: a generation by its number, or last."""
    colour: str | None = None
    """Of a sweep: the setting that has a line for each of its values."""


def main(arguments: Arguments) -> int:
    """Write the page; the exit status."""
    own = arguments
    if own.junit is not None:
        write_junit(own.results, own.junit)
    axes = Axes(own.x, own.y, own.generation, own.colour)
    path = report.write_report(own.results, own.out, axes)
    print(f"{path} ({path.stat().st_size / 1e6:.2f} MB)")
    return 0

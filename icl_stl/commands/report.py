"""A run folder as one HTML page that needs nothing else, to read or to send."""

from dataclasses import dataclass
from pathlib import Path

from icl_stl.report import page as report


@dataclass(frozen=True)
class Arguments:
    """Write the report of a run folder: claims, figures, numbers and sliders for the bounds."""

    results: Path = Path("figures")
    """The run folder; figures/ if not given."""
    out: Path | None = None
    """The page; report.html in the run folder if not given."""


def main(arguments: Arguments) -> int:
    """Write the page; the exit status."""
    path = report.write_report(arguments.results, arguments.out)
    print(f"{path} ({path.stat().st_size / 1e6:.2f} MB)")
    return 0

"""Write a run folder as one HTML page that needs nothing else, to read or to send."""

import sys
from dataclasses import dataclass
from pathlib import Path

from icl_stl import console
from icl_stl.report import page as report


@dataclass(frozen=True)
class Arguments:
    """Write the report of a run folder: claims, figures, numbers and sliders for the bounds."""

    results: Path = Path(__file__).resolve().parent.parent / "figures"
    """The run folder; the committed results if not given."""
    out: Path | None = None
    """The page; report.html in the run folder if not given."""


def main(arguments: Arguments) -> int:
    """Write the page; the exit status."""
    try:
        path = report.write_report(arguments.results, arguments.out)
    except ValueError as error:
        console.refuse(str(error))
    except OSError as error:
        console.stopped_by(error)
    print(f"{path} ({path.stat().st_size / 1e6:.2f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main(console.arguments_of(Arguments)))

"""Redraw all figures from stored results alone, or check that both belong together."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from icl_stl import console, plots


@dataclass(frozen=True)
class Arguments:
    """Redraw every figure of a run folder from its config.json, claims.json and loops.csv."""

    results: Path = Path(__file__).resolve().parent.parent / "figures"
    """The run folder; the committed results if not given."""
    check: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Draw nothing; fail if the figures are not those of the results."""


def main(arguments: Arguments) -> int:
    """Draw or check; the exit status."""
    try:
        if arguments.check:
            wrong = plots.check_folder(arguments.results)
            for line in wrong:
                print(f"{arguments.results}: {line}", file=sys.stderr)
            print(f"{arguments.results}: {'no match' if wrong else 'figures match results'}")
            return int(bool(wrong))
        print(f"{arguments.results}: {', '.join(plots.draw_folder(arguments.results))}")
    except ValueError as error:
        console.refuse(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments)))

"""Redraw all figures of a run folder, or check them: `icl-stl figures`."""

import sys

from icl_stl.commands import run

if __name__ == "__main__":
    sys.exit(run("figures"))

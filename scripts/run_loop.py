"""One self-consuming loop of your choice: `icl-stl loop`."""

import sys

from icl_stl.commands import run

if __name__ == "__main__":
    sys.exit(run("loop"))

"""How fast this machine runs the package: `icl-stl benchmark`."""

import sys

from icl_stl.commands import run

if __name__ == "__main__":
    sys.exit(run("benchmark"))

"""How many synthetic rows to generate: `icl-stl plan`."""

import sys

from icl_stl.commands import run

if __name__ == "__main__":
    sys.exit(run("plan"))

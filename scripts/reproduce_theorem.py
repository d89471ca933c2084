"""The main job: `icl-stl reproduce`."""

import sys

from icl_stl.commands import run

if __name__ == "__main__":
    sys.exit(run("reproduce"))

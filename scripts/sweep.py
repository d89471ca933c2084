"""Thousands of loops of your choice: `icl-stl sweep`."""

import sys

from icl_stl.commands import run

if __name__ == "__main__":
    sys.exit(run("sweep"))

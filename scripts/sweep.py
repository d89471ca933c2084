"""Thousands of loops of your choice: `icl-stl sweep`."""

from icl_stl.commands import run

if __name__ == "__main__":
    raise SystemExit(run("sweep"))

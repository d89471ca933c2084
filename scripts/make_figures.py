"""Redraw all figures of a run folder, or check them: `icl-stl figures`."""

from icl_stl.commands import run

if __name__ == "__main__":
    raise SystemExit(run("figures"))

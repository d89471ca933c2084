"""How fast this machine runs the package: `icl-stl benchmark`."""

from icl_stl.commands import run

if __name__ == "__main__":
    raise SystemExit(run("benchmark"))

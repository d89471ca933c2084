"""One self-consuming loop of your choice: `icl-stl loop`."""

from icl_stl.commands import run

if __name__ == "__main__":
    raise SystemExit(run("loop"))

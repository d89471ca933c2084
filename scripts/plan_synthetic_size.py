"""How many synthetic rows to generate: `icl-stl plan`."""

from icl_stl.commands import run

if __name__ == "__main__":
    raise SystemExit(run("plan"))

"""The main job: `icl-stl reproduce`."""

from icl_stl.commands import run

if __name__ == "__main__":
    raise SystemExit(run("reproduce"))

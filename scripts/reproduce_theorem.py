"""The main job: run the loops, judge the claims, draw the figures, print a table.

Exit status 0 when no claim is violated, 1 when one is, 2 for bad usage. A stopped run, started
again, goes on after the last finished generation and ends with the same numbers.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from icl_stl import console, results
from icl_stl.claims import CLAIMS, Claim, Evidence, judge
from icl_stl.claims.judging import Json
from icl_stl.config import PRESETS, Preset


@dataclass(frozen=True)
class Arguments:
    """Reproduce the theorem: measure self-consuming loops and judge the claims."""

    preset: Literal["tiny", "quick", "default", "long", "paper"] = "default"
    """Size of the job: tiny shows that it runs, quick fits CI, long takes an evening, paper wants a
    GPU."""
    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CLAIM ...")] = ()
    """Judge these claims alone, and keep what the folder says of others; --list names them."""
    list: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """List the claims with their statements and exit."""
    out: Path | None = None
    """Run folder; runs/PRESET if not given."""
    seed: int = 0
    """Seed of everything."""
    fresh: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Forget what the run folder holds and start anew."""


def chosen_claims(names: tuple[str, ...]) -> list[Claim]:
    """The claims of these names, all if there are none."""
    for name in names:
        if name not in CLAIMS:
            raise ValueError(f"only must name claims among {', '.join(CLAIMS)}, but it is {name!r}")
    return [claim for name, claim in CLAIMS.items() if not names or name in names]


def measure(
    preset: Preset, claims: list[Claim], arguments: Arguments, out: Path
) -> tuple[Evidence, dict[str, str]]:
    """Run, or take from the folder, all that these claims need."""
    # These load JAX: only when the arguments are known to be good.
    from icl_stl import devices, laboratory, runs  # noqa: PLC0415

    devices.use_all_cores(devices.default_cache())
    identity = runs.identity(preset, "transformer", arguments.seed)
    folder = runs.Folder(out, identity, fresh=arguments.fresh)
    regimes = {regime: None for claim in claims for regime in claim.regimes(preset)}
    ordered = [regime for regime in preset.regimes if regime in regimes]
    learner = runs.make_learner(preset, "transformer")
    wants_generators = any(claim.generators for claim in claims)
    loops, generators = {}, {}
    if ordered or wants_generators:
        with console.progress("transformer") as report:
            loops = runs.run_loops(
                preset, learner, ordered, seed=arguments.seed, folder=folder, report=report
            )
            if wants_generators:
                report("both generators of generation 0", 1, 1)
                generators = runs.implied_variances_by_generator(
                    preset, seed=arguments.seed, folder=folder
                )
    wanted = [experiment for claim in claims for experiment in claim.experiments(preset)]
    with console.progress("experiments") as report:
        experiments = laboratory.run_experiments(
            wanted,
            arguments.seed,
            stored=lambda name: folder.load(f"experiment-{name}"),
            store=lambda name, arrays: folder.save(f"experiment-{name}", arrays),
            report=report,
        )
    return Evidence(preset, loops, generators, experiments), identity["versions"]


def with_earlier(judged: list[Json], out: Path) -> list[Json]:
    """Judged claims beside those that the folder has of the others, in the order of `CLAIMS`."""
    path = out / "claims.json"
    earlier = results.read_json(path)["claims"] if path.exists() else []
    known = {entry["name"]: entry for entry in (*earlier, *judged)}
    return [known[name] for name in CLAIMS if name in known]


def main(arguments: Arguments) -> int:
    """Run the job; the exit status."""
    start = time.monotonic()
    if arguments.list:
        for name, claim in CLAIMS.items():
            print(f"{name}\n    {claim.statement}\n    source: {claim.source}")
        return 0
    try:
        claims = chosen_claims(arguments.only)
        if not 0 <= arguments.seed < 2**31:
            raise ValueError(f"seed must be in [0, 2^31), but it is {arguments.seed}")
        preset = PRESETS[arguments.preset]
        out = arguments.out or Path("runs") / preset.name
        results.make_folder(out)
        evidence, versions = measure(preset, claims, arguments, out)
    except ValueError as error:
        console.refuse(str(error))

    judged = [judge(claim, evidence) for claim in claims]
    entries = with_earlier(judged, out) if arguments.only and not arguments.fresh else judged
    if evidence.loops:
        results.write_table(out / "loops.csv", evidence.loops)
    results.write_json(
        out / "claims.json",
        {
            "schema": results.SCHEMA,
            "preset": preset.name,
            "seed": arguments.seed,
            "versions": versions,
            "seconds": round(time.monotonic() - start, 1),
            "claims": entries,
        },
    )
    from icl_stl import plots  # noqa: PLC0415

    drawn = plots.draw_folder(out)
    console.console().print(console.claims_table(entries))
    for failure in sorted({failure for entry in entries for failure in entry["failed"]}):
        print(f"left out: {failure}")
    print(f"{out}/claims.json, figures: {', '.join(drawn)} ({time.monotonic() - start:.0f} s)")
    return int(any(entry["verdict"] == "violated" for entry in entries))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments)))

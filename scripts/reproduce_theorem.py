"""The main job: run the loops, judge the claims, draw the figures, print a table.

Exit status 0 when no claim is violated, 1 when one is, 2 for bad usage or a file that cannot be
read or written. A stopped run, started again, goes on after the last finished generation and ends
with the same numbers. Nobody else may write the folder meanwhile.
"""

import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from icl_stl import console
from icl_stl.config import meant, require
from icl_stl.lab import results
from icl_stl.studies import Claim, Evidence, judge
from icl_stl.studies.claims import CLAIMS
from icl_stl.studies.judging import Json
from icl_stl.studies.presets import PRESETS, Preset, job_of
from icl_stl.studies.study import judged_by
from icl_stl.studies.table import claims_table


@dataclass(frozen=True)
class Arguments:
    """Measure self-consuming loops and judge claims of the form of the paper's theorem."""

    preset: Literal["tiny", "quick", "default", "long", "paper"] = "default"
    """Size of the job: tiny shows that it runs, quick fits CI, long takes half an hour or more,
    paper wants a GPU."""
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
            raise ValueError(
                f"only must name claims among {', '.join(CLAIMS)}, but it is {name!r}"
                f"{meant(name, CLAIMS)}"
            )
    return [claim for name, claim in CLAIMS.items() if not names or name in names]


def measure(
    preset: Preset, claims: list[Claim], arguments: Arguments, out: Path
) -> tuple[Evidence, dict[str, str]]:
    """Run, or take from the folder, all that these claims need."""
    # These load JAX: only when the arguments are known to be good.
    from icl_stl import devices
    from icl_stl.lab import runs  # noqa: PLC0415
    from icl_stl.studies import laboratory

    devices.use_all_cores(devices.default_cache())
    job, of = job_of(preset), {"preset": asdict(preset), "learner": "transformer"}
    identity = runs.identity(of, preset.replicates, arguments.seed)
    folder = runs.Folder(out, identity, fresh=arguments.fresh)
    regimes = {regime: None for claim in claims for regime in claim.regimes(preset)}
    ordered = [regime for regime in preset.regimes if regime in regimes]
    wants_generators = any(claim.generators for claim in claims)
    loops, generators = {}, {}
    if ordered or wants_generators:
        with console.progress("transformer") as report:
            loops = runs.run_loops(job, ordered, seed=arguments.seed, folder=folder, report=report)
            if wants_generators:
                report("both generators of generation 0", 1, 1)
                generators = runs.implied_variances_by_generator(
                    job, seed=arguments.seed, folder=folder
                )
    wanted = [experiment for claim in claims for experiment in claim.experiments(preset)]
    with console.progress("experiments") as report:
        experiments = laboratory.run_experiments(
            wanted,
            arguments.seed,
            # Another's study is made again, and nothing else with it.
            stored=lambda name, by: folder.load(f"experiment-{name}", by, again=True),
            store=lambda name, arrays, by: folder.save(f"experiment-{name}", arrays, by),
            report=report,
        )
    return Evidence(preset, loops, generators, experiments), identity["versions"]


def earlier_claims(out: Path, claims: list[Claim], preset: Preset) -> list[Json]:
    """What the folder says of other claims than these; its loops are shown too if these need none.

    Raises:
        ValueError: If numbers would be taken from a file that is not the one that the folder's
            figures were drawn from, or other code judged another claim.
    """
    path, table = out / "claims.json", out / "loops.csv"
    again = {claim.name for claim in claims}
    try:
        said = results.read_json(path) if path.exists() else {"claims": [], "code": {}}
        entries: list[Json] = said["claims"]
        others = {entry["name"]: entry for entry in entries if entry["name"] not in again}
        code = {name: said.get("code", {}).get(name) for name in others}
    except (AttributeError, KeyError, TypeError):
        raise ValueError(f"{path} is damaged: it has no claims") from None
    keeps_loops = table.exists() and not any(claim.regimes(preset) for claim in claims)
    kept = [*["claims.json"] * bool(others), *["loops.csv"] * keeps_loops, "config.json"]
    changed = results.not_vouched_for(out, kept) if others or keeps_loops else []
    if changed:
        needed = [*others, *["drift"] * (keeps_loops and "drift" not in others)]
        raise ValueError(
            f"only must name more claims, since {out / changed[0]} is not the file that "
            "manifest.json was written with (it was changed, or a run was stopped before it had "
            f"drawn) and would be kept: add {' '.join(needed)}, or --fresh to start anew"
        )
    stale = [n for n in code if n in CLAIMS and code[n] != judged_by(CLAIMS[n], preset)]
    if stale:
        raise ValueError(
            f"only must name more claims, since what {path} says of {', '.join(stale)} was found "
            f"by other code and would be kept: add {' '.join(stale)}, or --fresh to start anew"
        )
    return list(others.values())


def forget(out: Path) -> None:
    """Take away what a folder says, before its configuration may become another."""
    for name in ("claims.json", "loops.csv"):
        (out / name).unlink(missing_ok=True)


def main(arguments: Arguments) -> int:
    """Run the job; the exit status."""
    if arguments.list:
        for name, claim in CLAIMS.items():
            print(f"{name}\n    {claim.statement}\n    source: {claim.source}")
        return 0
    try:
        with ExitStack() as until_the_end:
            return run(arguments, until_the_end)
    except OSError as error:
        console.stopped_by(error)


def run(arguments: Arguments, until_the_end: ExitStack) -> int:
    """Measure, judge and draw; the exit status."""
    start = time.monotonic()
    try:
        claims = chosen_claims(arguments.only)
        seed = arguments.seed
        require(0 <= seed < 2**31, "seed", seed, "a whole number in [0, 2^31)")
        preset = PRESETS[arguments.preset]
        out = arguments.out or Path("runs") / preset.name
        results.make_folder(out)
        until_the_end.enter_context(results.sole_writer(out))
        if arguments.fresh:
            forget(out)
        elif not (out / "config.json").exists() and [*(out / "checkpoints").glob("*.npz")]:
            raise ValueError(
                f"out must be a run folder or a new one, but {out} has checkpoints and no "
                "config.json: give another --out, or --fresh to delete them and start anew"
            )
        results.leave_out_damaged(out / "checkpoints")
        earlier = earlier_claims(out, claims, preset) if arguments.only else []
        evidence, versions = measure(preset, claims, arguments, out)
    except ValueError as error:
        console.refuse(str(error))

    known = {entry["name"]: entry for entry in earlier}
    known |= {claim.name: judge(claim, evidence) for claim in claims}
    entries = [known[name] for name in CLAIMS if name in known]
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
            "code": {name: judged_by(CLAIMS[name], preset) for name in CLAIMS if name in known},
            "claims": entries,
        },
    )
    from icl_stl.report import page as report  # noqa: PLC0415
    from icl_stl.studies import figures

    drawn = figures.draw_folder(out)
    page = report.write_report(out)
    console.console().print(claims_table(entries))
    for failure in sorted({failure for entry in entries for failure in entry["failed"]}):
        print(f"left out: {failure}")
    seconds = f"{time.monotonic() - start:.0f} s"
    print(f"open {page}: claims, live bounds, {len(drawn)} figures; all in {out} ({seconds})")
    return int(any(entry["verdict"] == "violated" for entry in entries))


if __name__ == "__main__":
    sys.exit(main(console.arguments_of(Arguments)))

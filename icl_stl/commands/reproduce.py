"""The main job: run the loops, judge the claims, draw the figures, print a table.

The exit status is 1 when a claim is violated. A stopped run, started again, goes on after the last
finished generation and ends with the same numbers. Nobody else may write the folder meanwhile.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from icl_stl import console
from icl_stl.commands.list import print_claims
from icl_stl.commands.running import run_folder, start_jax
from icl_stl.config import meant, require
from icl_stl.lab import results

if TYPE_CHECKING:
    from icl_stl.studies import Claim, Evidence, Study
    from icl_stl.studies.presets import Preset

Claims = Mapping[str, "Claim"]


@dataclass(frozen=True)
class Arguments:
    """Measure self-consuming loops and judge claims of the form of the paper's theorem."""

    preset: Literal["tiny", "quick", "default", "long", "paper"] = "default"
    """Size of the job: tiny shows that it runs, quick fits CI, long takes half an hour or more,
    paper wants a GPU."""
    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CLAIM ...")] = ()
    """Judge these claims alone, and keep what the folder says of others; --list names them."""
    study: Annotated[
        tuple[Path, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="FILE.py")
    ] = ()
    """A study of your own: its claims are judged, and no others unless --only names them."""
    list: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """List the claims with their statements and exit."""
    out: Path | None = None
    """Run folder; runs/PRESET if not given."""
    seed: int = 0
    """Seed of everything."""
    fresh: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Forget what the run folder holds and start anew."""


def known_claims(studies: Sequence["Study"]) -> Claims:
    """All claims that can be chosen, by name, in the order in which they are shown."""
    from icl_stl.studies.claims import CLAIMS

    return CLAIMS | {name: claim for study in studies for name, claim in study.claims.items()}


def chosen_claims(
    known: Claims, names: Sequence[str], studies: Sequence["Study"] = ()
) -> Sequence["Claim"]:
    """The claims of these names; if there are none, those of the studies, else all."""
    for name in names:
        among = f"claims among {', '.join(known)}"
        if name not in known:
            raise ValueError(f"only must name {among}, but it is {name!r}{meant(name, known)}")
    names = names or [name for study in studies for name in study.claims]
    return [claim for name, claim in known.items() if not names or name in names]


def measure(
    preset: "Preset", claims: Sequence["Claim"], arguments: Arguments, out: Path
) -> tuple["Evidence", dict[str, str]]:
    """Run, or take from the folder, all that these claims need."""
    start_jax()
    from icl_stl.lab import runs
    from icl_stl.studies import Evidence, laboratory
    from icl_stl.studies.presets import job_of

    job, of = job_of(preset), {"preset": asdict(preset), "learner": "transformer"}
    identity = runs.identity(of, preset.replicates, arguments.seed)
    folder = runs.Folder(out, identity, fresh=arguments.fresh)
    regimes = {regime: None for claim in claims for regime in claim.regimes(preset)}
    ordered = [regime for regime in preset.regimes if regime in regimes]
    wants_generators = any(claim.generators for claim in claims)
    loops, generators, pairs = {}, {}, {}
    if ordered or wants_generators:
        with console.progress("transformer") as report:
            loops = runs.run_loops(job, ordered, seed=arguments.seed, folder=folder, report=report)
            if wants_generators:
                report("both generators of generation 0", 1, 1)
                generators = runs.implied_variances_by_generator(
                    job, seed=arguments.seed, folder=folder
                )
        if any(claim.pairs for claim in claims):
            shares = [regime for regime in ordered if 0 < regime.share(1) < 1]
            with console.progress("pairs of fits") as report:
                pairs = runs.pairs_of_fits(
                    job,
                    shares,
                    seed=arguments.seed,
                    folder=folder,
                    places=preset.pairs,
                    report=report,
                )
    wanted = [experiment for claim in claims for experiment in claim.experiments(preset)]
    with console.progress("experiments") as report:
        experiments = laboratory.run_experiments(
            wanted,
            arguments.seed,
            # Another's study is made again, and nothing else with it.
            kept=lambda name, by: folder.kept(f"experiment-{name}", by, again=True),
            report=report,
        )
    return Evidence(preset, loops, generators, experiments, pairs), identity["versions"]


def earlier_claims(
    out: Path, claims: Sequence["Claim"], preset: "Preset", known: Claims
) -> Sequence[dict[str, Any]]:
    """What the folder says of other claims than these; its loops are shown too if these need none.

    Raises:
        ValueError: If numbers would be taken from a file that is not the one that the folder's
            figures were drawn from, or other code judged another claim.
    """
    from icl_stl.studies.study import judged_by

    path, table = out / "claims.json", out / "loops.csv"
    again = {claim.name for claim in claims}
    try:
        said = results.read_json(path) if path.exists() else {"claims": [], "code": {}}
        others = {entry["name"]: entry for entry in said["claims"] if entry["name"] not in again}
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
    if unknown := [name for name in others if name not in known]:
        file = others[unknown[0]].get("study", "the file that it is of")
        raise ValueError(
            f"study must name {file}, too, since {path} has its claim {unknown[0]}, which would be "
            "kept and its figure drawn: add --study, or --fresh to start anew"
        )
    stale = [n for n in code if n in known and code[n] != judged_by(known[n], preset)]
    if stale:
        raise ValueError(
            f"only must name more claims, since what {path} says of {', '.join(stale)} was found "
            f"by other code and would be kept: add {' '.join(stale)}, or --fresh to start anew"
        )
    return [*others.values()]


def forget(out: Path) -> None:
    """Take away what a folder says, before its configuration may become another."""
    for name in ("claims.json", "loops.csv"):
        (out / name).unlink(missing_ok=True)


def main(arguments: Arguments) -> int:
    """Measure, judge and draw; the exit status."""
    start = time.monotonic()
    from icl_stl.studies.presets import PRESETS
    from icl_stl.studies.study import judged_by, load_all

    studies = load_all(arguments.study)
    known, files = known_claims(studies), {n: study.file for study in studies for n in study.claims}
    if arguments.list:
        print_claims(known)
        return 0
    claims = chosen_claims(known, arguments.only, studies)
    seed = arguments.seed
    require(0 <= seed < 2**31, "seed", seed, "a whole number in [0, 2^31)")
    preset = PRESETS[arguments.preset]
    out = arguments.out or Path("runs") / preset.name
    with run_folder(out, fresh=arguments.fresh):
        if arguments.fresh:
            forget(out)
        earlier = earlier_claims(out, claims, preset, known) if arguments.only or studies else []
        evidence, versions = measure(preset, claims, arguments, out)
        from icl_stl.report import page as report
        from icl_stl.studies import figures, judge
        from icl_stl.studies.table import claims_table

        said = {entry["name"]: entry for entry in earlier}
        for claim in claims:
            of = {"study": files[claim.name]} if claim.name in files else {}
            said[claim.name] = judge(claim, evidence) | of
        entries = [said[name] for name in known if name in said]
        if evidence.loops:
            results.write_table(out / "loops.csv", evidence.loops)
        results.write_json(
            out / "claims.json",
            {
                "schema": results.SCHEMA,
                "preset": preset.name,
                "seed": seed,
                "versions": versions,
                "seconds": round(time.monotonic() - start, 1),
                "code": {name: judged_by(known[name], preset) for name in known if name in said},
                "claims": entries,
            },
        )
        drawn, page = figures.draw_folder(out, studies), report.write_report(out)
    console.show(claims_table(entries))
    for failure in sorted({failure for entry in entries for failure in entry["failed"]}):
        print(f"left out: {failure}")
    seconds = f"{time.monotonic() - start:.0f} s"
    print(f"open {page}: claims, live bounds, {len(drawn)} figures; all in {out} ({seconds})")
    return int(any(entry["verdict"] == "violated" for entry in entries))

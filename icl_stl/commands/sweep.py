"""Thousands of loops of your choice: a grid of settings, run here, by workers or on a cluster.

Every setting has a result file of its own, so the same command again runs only what is missing. The
folder ends with sweep.csv, a row for each setting and generation, failures.csv and report.html. One
sweep at a time writes a folder, with as many workers as it likes. The exit status is 1 when some
settings failed.
"""

import sys
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

import tyro

from icl_stl import console
from icl_stl.commands.running import run_folder, start_jax
from icl_stl.config import require
from icl_stl.lab import results
from icl_stl.lab.sweeps import executors, grids, sweeps

SECONDS, QUIET_SECONDS = 0.2, 5.0
"""Between two reports of progress, on a terminal and where there is none."""

FEW = 20
"""Settings, all of kinds that have been run before, from which the time left is told."""

MOST_WORKERS = 1000
"""Of one machine: more are a slip of the pen."""


@dataclass(frozen=True)
class Arguments:
    """Run a grid of settings, or merge sweeps."""

    grid: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="GRID")] = None
    """TOML or JSON file of settings: options of a loop, as values or lists of values; see
    scripts/example_sweep.toml of the repository. May be left out to merge alone."""
    out: Path | None = None
    """Folder of the sweep; runs/sweep-GRID if not given."""
    workers: int = 0
    """Worker processes on this machine, each with its share of the cores; 0 to run in this
    process, on all devices."""
    cluster: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Run by workers of the cluster that this TOML file describes, as scripts/example_cluster.toml
    does."""
    merge: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FOLDER ...")] = ()
    """Add the results of these sweeps before anything is run."""
    at_once: int = 8
    """Settings that a worker is given at a time; on a GPU it trains so many together."""
    retries: int = 2
    """How often a setting that took its worker down is tried again."""
    check: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Check the grid, say how many settings there are and exit."""
    fresh: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Forget what the folder holds and start anew."""


def watched(
    outcomes: Iterable[sweeps.Outcome],
    left: Sequence[grids.Setting],
    done: int,
    report: console.Report,
    kind: Callable[[grids.Setting], Hashable],
) -> Iterator[sweeps.Outcome]:
    """The same outcomes as they come; how many failed is reported, and the time left once known.

    It is known when every kind that is left has begun, and `FEW` settings have come since the last
    of them did: what a first setting takes to compile says nothing of the others.

    Args:
        outcomes: Of the settings that are left.
        left: These settings.
        done: Settings that were done before.
        report: Is told of the first, the last, and once in a while between them.
        kind: Equal for settings that share a program.
    """
    every = SECONDS if sys.stderr.isatty() else QUIET_SECONDS
    total, failed, since, said = done + len(left), 0, 0, -every
    new, start = {kind(setting) for setting in left}, time.monotonic()
    report("0 failed", done, total)
    for outcome in outcomes:
        now, own = time.monotonic(), kind(outcome.setting)
        done, failed, since = done + 1, failed + bool(outcome.error), since + 1
        if own in new:
            new, since, start = new - {own}, 0, now
        if now - said > every or done == total:
            known = not new and since >= FEW
            seconds = f", {(total - done) * (now - start) / since:.0f} s left" if known else ""
            said = now
            report(f"{failed} failed{seconds}", done, total)
        yield outcome


def checked(
    arguments: Arguments,
) -> tuple[tuple[grids.Setting, ...], executors.Cluster | None, Path]:
    """Settings, cluster and folder, all that can be wrong with them seen to."""
    for name, least, most in (
        ("workers", 0, MOST_WORKERS),
        ("at_once", 1, grids.MOST),
        ("retries", 0, grids.MOST),
    ):
        value = getattr(arguments, name)
        require(least <= value <= most, name, value, f"a whole number from {least} to {most}")
    grid, merge, cluster, out = arguments.grid, arguments.merge, None, arguments.out
    if grid is None and (out is None or not merge):
        raise ValueError(
            "GRID must be given, a file of settings; or, to merge alone, --merge with folders and "
            "--out with the folder that they are merged into"
        )
    require(
        arguments.cluster is None or not arguments.workers,
        "workers",
        arguments.workers,
        "left out with --cluster, whose file says how many there are",
    )
    settings = () if grid is None else grids.read_grid(grid)
    if arguments.cluster is not None:
        cluster = executors.read_cluster(arguments.cluster)
    for folder in merge:
        require(folder.is_dir(), "merge", str(folder), "folders of sweeps")
    return settings, cluster, out or Path("runs") / f"sweep-{grid.stem if grid else ''}"


def run(
    settings: Sequence[grids.Setting],
    cluster: executors.Cluster | None,
    out: Path,
    arguments: Arguments,
    outcomes: list[sweeps.Outcome],
) -> None:
    """Run what is missing; what becomes of it is added to the outcomes as soon as it is known."""
    where: AbstractContextManager[Executor | None] = nullcontext()
    workers = arguments.workers
    alone = cluster is None and not workers
    start_jax(used=alone, workers=cluster is None)  # as workers do; numbers depend on it
    from icl_stl.lab.sweeps import batches

    code = batches.code()
    left, damaged = sweeps.prepare(settings, out, code, fresh=arguments.fresh)
    if damaged:
        print(f"{damaged} damaged result files are made again", file=sys.stderr)
    if not left:
        return
    if cluster is not None:
        where = executors.parsl_workers(cluster, out / "parsl")
        workers = cluster.workers * cluster.nodes * cluster.jobs
    elif workers:
        where = executors.local_workers(workers)
    with console.progress("settings") as report, where as executor:
        found = sweeps.run_settings(
            left,
            out,
            code,
            at_once=arguments.at_once,
            executor=executor,
            workers=workers,
            retries=arguments.retries,
        )
        done = len(settings) - len(left)
        for outcome in watched(found, left, done, report, batches.shape_of):
            outcomes.append(outcome)


def main(arguments: Arguments) -> int:
    """Run or merge; the exit status."""
    settings, cluster, out = checked(arguments)
    if arguments.check:
        print(f"{len(settings)} settings")
        return 0
    outcomes: list[sweeps.Outcome] = []
    with run_folder(out, fresh=arguments.fresh):
        try:
            if arguments.merge:
                added = sweeps.merge(arguments.merge, out)
                print(f"{added} results added from {', '.join(map(str, arguments.merge))}")
            if arguments.grid is not None:
                copy = out / f"grid{arguments.grid.suffix.lower()}"
                results.write_atomically(copy, arguments.grid.read_bytes())  # the report shows it
                run(settings, cluster, out, arguments, outcomes)
        except KeyboardInterrupt:
            tell(out, outcomes)
            raise
        failed = tell(out, outcomes)
        if usable(out):
            from icl_stl.report.page import write_report

            print(write_report(out))
        return int(failed > 0)


def usable(out: Path) -> bool:
    """Whether the table has any row below its header."""
    with (out / "sweep.csv").open(encoding="utf-8") as table:
        return len([*islice(table, 2)]) > 1


def tell(out: Path, outcomes: Sequence[sweeps.Outcome]) -> int:
    """Write the tables and say what is in them; how many settings failed."""
    count, failures = sweeps.write_tables(out, outcomes)
    for failure in failures[:10]:
        print(f"failed: {failure.words}")
    named = " (failures.csv)" if failures else ""
    print(f"{out}/sweep.csv: {count} settings, {len(failures)} failed{named}")
    return len(failures)

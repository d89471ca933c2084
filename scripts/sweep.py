"""Thousands of loops of your choice: a grid of settings, run here, by workers or on a cluster.

Every setting has a result file of its own, so the same command again runs only what is missing. The
folder ends with sweep.csv, a row for each setting and generation, and failures.csv. One sweep at a
time writes a folder, with as many workers as it likes. Exit status 0 when all settings are done, 1
when some failed, 2 for bad usage or a file that cannot be read or written, 130 for a sweep stopped
by Ctrl-C.
"""

import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from icl_stl import console
from icl_stl.config import require
from icl_stl.lab import results
from icl_stl.lab.sweeps import executors, grids, sweeps

SECONDS, QUIET_SECONDS = 0.2, 5.0
"""Between two reports of progress, on a terminal and where there is none."""

MOST_WORKERS = 1000
"""Of one machine: more are a slip of the pen."""


@dataclass(frozen=True)
class Arguments:
    """Run a grid of settings, or merge sweeps."""

    grid: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="GRID")] = None
    """TOML or JSON file of settings: options of a loop, as values or lists of values; see
    scripts/example_sweep.toml. May be left out to merge alone."""
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
    outcomes: Iterable[sweeps.Outcome], done: int, total: int, report: console.Report
) -> Iterator[sweeps.Outcome]:
    """The same outcomes as they come; how many failed, the rate and the time left are reported.

    Args:
        outcomes: Of the settings that are left.
        done: Settings that were done before.
        total: All settings of the sweep.
        report: Is told of the first, the last, and once in a while between them.
    """
    every = SECONDS if sys.stderr.isatty() else QUIET_SECONDS
    start, said, before, failed = time.monotonic(), -math.inf, done, 0
    report("0 failed", done, total)
    for outcome in outcomes:
        done, failed = done + 1, failed + bool(outcome.error)
        now = time.monotonic()
        if now - said > every or done == total:
            said, rate = now, (done - before) / (now - start)
            left = f"{(total - done) / rate:.0f} s left"
            report(f"{failed} failed, {rate:.2f} settings/s, {left}", done, total)
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
    grid, merge, cluster = arguments.grid, arguments.merge, None
    if grid is None and not merge:
        raise ValueError("GRID must be given, a file of settings, or --merge with folders")
    require(
        arguments.cluster is None or not arguments.workers,
        "workers",
        arguments.workers,
        "left out with --cluster, whose file says how many there are",
    )
    settings = () if grid is None else grids.read_grid(grid)
    if arguments.cluster is not None:
        cluster = executors.read_cluster(arguments.cluster)
    out = arguments.out
    if out is None:
        if grid is None:
            raise ValueError("out must be given, the folder that the others are merged into")
        out = Path("runs") / f"sweep-{grid.stem}"
    for folder in merge:
        require(folder.is_dir(), "merge", str(folder), "folders of sweeps")
    return settings, cluster, out


def run(
    settings: Sequence[grids.Setting],
    cluster: executors.Cluster | None,
    out: Path,
    arguments: Arguments,
    outcomes: list[sweeps.Outcome],
) -> None:
    """Run what is missing; what becomes of it is added to the outcomes as soon as it is known."""
    # These load JAX: only when the arguments are known to be good.
    from icl_stl import devices  # noqa: PLC0415
    from icl_stl.lab.sweeps import batches

    devices.use_all_cores(devices.default_cache())  # as workers do; numbers depend on it
    code = batches.code()
    left, damaged = sweeps.prepare(settings, out, code, fresh=arguments.fresh)
    if damaged:
        print(f"{damaged} damaged result files are made again", file=sys.stderr)
    if not left:
        return
    where: AbstractContextManager[Executor | None] = nullcontext()
    workers = arguments.workers
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
        for outcome in watched(found, len(settings) - len(left), len(settings), report):
            outcomes.append(outcome)


def main(arguments: Arguments) -> int:
    """Run or merge; the exit status."""
    try:
        with ExitStack() as until_the_end:
            return run_or_merge(arguments, until_the_end)
    except OSError as error:
        console.stopped_by(error)


def run_or_merge(arguments: Arguments, until_the_end: ExitStack) -> int:
    """Run or merge in a folder of its own until the end; the exit status."""
    outcomes: list[sweeps.Outcome] = []
    stopped = False
    try:
        settings, cluster, out = checked(arguments)
        if arguments.check:
            print(f"{len(settings)} settings")
            return 0
        results.make_folder(out)
        until_the_end.enter_context(results.sole_writer(out))
        try:
            if arguments.merge:
                added = sweeps.merge(arguments.merge, out)
                print(f"{added} results added from {', '.join(map(str, arguments.merge))}")
            if settings:
                run(settings, cluster, out, arguments, outcomes)
        except KeyboardInterrupt:
            stopped = True
    except ValueError as error:
        console.refuse(str(error))
    usable, failures = sweeps.write_tables(out, outcomes)
    for failure in failures[:10]:
        print(f"failed: {failure.words}")
    print(f"{out}/sweep.csv: {usable} settings, {len(failures)} failed (failures.csv)")
    if stopped:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main(console.arguments_of(Arguments)))

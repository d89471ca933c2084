"""Tasks for worker processes: what `test_sweeps` lets workers do. Imports nothing heavy."""

import os
import signal
import sys
import time
from pathlib import Path

from icl_stl.lab.sweeps import executors


def deaths(folder, item):
    """How often this item has taken a worker down."""
    return len(list(Path(folder).glob(f"{item}-*")))


def misbehave(task, folder):
    """Each item in turn: `poison` kills its worker, `once` the first time, `wrong` raises."""
    for item in task:
        Path(folder, f"{item}-{time.monotonic_ns()}").touch()
        if item == "wrong":
            raise RuntimeError("this one is wrong")
        if item == "poison" or (item == "once" and deaths(folder, item) == 1):
            os.kill(os.getpid(), signal.SIGKILL)
    return [(item, os.getpid(), sorted(os.sched_getaffinity(0))) for item in task]


def wait_long(task, folder):
    Path(folder, f"worker-{os.getpid()}").touch()
    time.sleep(600)


TASKS = [("a", "poison", "b"), ("once",), ("c", "wrong", "d"), ("e", "f")]


def by_parsl(folder):
    """The same tasks on local workers of parsl, then Ctrl-C; prints what became of them."""
    # Not those of __main__, which workers have not.
    from sweep_tasks import misbehave, wait_long  # noqa: PLC0415

    cluster = executors.Cluster(provider="local", workers=2)
    with executors.parsl_workers(cluster, Path(folder) / "parsl") as executor:
        for found in executors.run_tasks(executor, misbehave, TASKS, (folder,), retries=1):
            lost = isinstance(found, executors.Lost)
            print(found.item if lost else found[0], type(found.error).__name__ if lost else "done")
        executor.submit(wait_long, ("a",), folder)
        while not list(Path(folder).glob("worker-*")):
            time.sleep(0.1)
        os.killpg(0, signal.SIGINT)  # a terminal interrupts all of parsl's processes too
        time.sleep(600)


def abandon(folder):
    """A worker that is busy when its parent is killed."""
    workers = executors.Workers(1)
    workers.submit(wait_long, ("a",), folder)
    time.sleep(600)


if __name__ == "__main__":
    try:
        {"by_parsl": by_parsl, "abandon": abandon}[sys.argv[1]](sys.argv[2])
    except KeyboardInterrupt:
        print("all stopped")

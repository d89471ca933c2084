"""Tasks on worker processes, here or on a cluster, that survive the death of a worker. No JAX.

An executor is one of `concurrent.futures`. `Workers` keeps processes of this machine, each alone in
its pool: a worker that dies takes down the task that it had, and no other. `parsl_workers` are
those of parsl, on this machine or in jobs of Slurm. `run_tasks` gives them tasks and sees to what
is lost.
"""

import multiprocessing
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from signal import SIG_IGN, SIGINT, SIGKILL, signal
from typing import Any, Literal, NamedTuple

from icl_stl.config import meant, require
from icl_stl.cores import cores_of
from icl_stl.tables import read_options

Item = Hashable


class Lost(NamedTuple):
    """An item that no worker finished, and why."""

    item: Any
    error: Exception


def _keep_to(cores: set[int]) -> None:
    if cores:
        os.sched_setaffinity(0, cores)


def _start(cores: set[int]) -> None:
    """In a new worker: keep to its cores, leave Ctrl-C to the parent, end when the parent does."""
    signal(SIGINT, SIG_IGN)
    _keep_to(cores)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


class Workers(ThreadPoolExecutor):
    """So many processes of this machine, pinned to its cores; one that dies is replaced.

    Each is alone in its pool, which a thread of its own waits for: the future of the task that a
    worker had when it died raises `BrokenProcessPool`; no other task is touched.
    """

    def __init__(self, count: int):
        super().__init__(count)
        self._pools: dict[int, ProcessPoolExecutor] = {}
        self._idle: SimpleQueue[int] = SimpleQueue()
        for index in range(count):
            self._idle.put(index)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(self._run, fn, args, kwargs)

    def _run(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        index = self._idle.get()
        try:
            if index not in self._pools:
                cores = cores_of(index, self._max_workers)
                context = multiprocessing.get_context("spawn")
                self._pools[index] = ProcessPoolExecutor(1, context, _start, (cores,))
            return self._pools[index].submit(function, *args, **kwargs).result()
        except BrokenProcessPool:
            self._pools.pop(index).shutdown(wait=False)
            raise
        finally:
            self._idle.put(index)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers: after all tasks, or now, whatever they are doing (`cancel_futures`)."""
        super().shutdown(wait=False, cancel_futures=cancel_futures)
        if cancel_futures:
            for pool in list(self._pools.values()):
                for process in list(pool._processes or {}):
                    with suppress(ProcessLookupError):
                        os.kill(process, SIGKILL)
        super().shutdown(wait=wait)
        for pool in list(self._pools.values()):
            pool.shutdown(wait=wait)


@contextmanager
def local_workers(count: int) -> Iterator[Executor]:
    """So many workers; they are ended at once when the block is left by an error or Ctrl-C."""
    workers = Workers(count)
    try:
        yield workers
    except BaseException:
        workers.shutdown(cancel_futures=True)
        raise
    workers.shutdown()


@dataclass(frozen=True)
class Cluster:
    """Where parsl finds its workers: a TOML or JSON file of these options."""

    provider: Literal["slurm", "local"] = "slurm"
    """Jobs of Slurm; or this machine, to try it out."""
    partition: str = ""
    """Of Slurm; its default if not given."""
    account: str = ""
    """That jobs are charged to."""
    walltime: str = "01:00:00"
    """Of a job. A sweep may take longer: a job that ends is followed by another."""
    nodes: int = 1
    """Nodes of a job."""
    jobs: int = 1
    """Jobs at a time, at most."""
    workers: int = 1
    """Workers a node, each with an equal part of its cores."""
    worker_init: str = ""
    """Shell lines before the workers start, such as the activation of the environment."""
    options: str = ""
    """Further `#SBATCH` lines, such as `#SBATCH --mem=16G`."""

    def __post_init__(self) -> None:
        for name in ("partition", "account", "walltime", "worker_init", "options"):
            require(isinstance(getattr(self, name), str), name, getattr(self, name), "a text")
        for name in ("nodes", "jobs", "workers"):
            value = getattr(self, name)
            require(type(value) is int and value >= 1, name, value, "a whole number of at least 1")
        known = self.provider in ("slurm", "local")
        require(known, "provider", self.provider, "'slurm' or 'local'")
        parts = self.walltime.split(":")
        clock = len(parts) == 3 and all(part.isascii() and part.isdigit() for part in parts)
        require(clock, "walltime", self.walltime, "hours:minutes:seconds, as in 04:00:00")


def read_cluster(path: Path) -> Cluster:
    """The cluster that a file describes."""
    content = read_options(path, "cluster")
    names = [field.name for field in fields(Cluster)]
    require(isinstance(content, dict), f"{path}: cluster", content, "a table of options")
    known = f"one of {', '.join(names)}"
    for name in content:
        fine = name in names
        require(fine, f"{path}: an option of cluster", name, known + meant(name, names))
    if find_spec("parsl") is None:
        raise ValueError("cluster needs parsl: pip install 'icl_stl[cluster]'")
    try:
        return Cluster(**content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


@cache
def keep_own_cores() -> None:
    """In a worker of parsl, once: keep to its cores, as `Workers` do from their start.

    Parsl's own pinning kills workers, again and again, where there are fewer cores than workers.
    """
    rank = os.environ.get("PARSL_WORKER_RANK")
    if rank is not None:
        _keep_to(cores_of(int(rank), int(os.environ["PARSL_WORKER_COUNT"])))


def _parsl(path: str) -> Any:
    """A class of parsl, which is an extra."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(f"parsl.{module}"), name)


@contextmanager
def parsl_workers(cluster: Cluster, folder: Path) -> Iterator[Executor]:
    """An executor on the workers of a cluster; parsl's logs go to the folder.

    The workers must find the package, and the folder of results under the same path.
    """
    local = cluster.provider == "local"
    jobs = {"init_blocks": 1, "max_blocks": cluster.jobs, "worker_init": cluster.worker_init}
    if local:
        provider = _parsl("providers.LocalProvider")(**jobs)
    else:
        provider = _parsl("providers.SlurmProvider")(
            partition=cluster.partition or None,
            account=cluster.account or None,
            walltime=cluster.walltime,
            nodes_per_block=cluster.nodes,
            scheduler_options=cluster.options,
            launcher=_parsl("launchers.SrunLauncher")(),
            **jobs,
        )
    workers = _parsl("executors.HighThroughputExecutor")(
        label="sweep",
        address="127.0.0.1" if local else None,
        max_workers_per_node=cluster.workers,
        provider=provider,
        # Seconds after which the loss of a worker is noticed, and that of a node.
        heartbeat_period=2,
        heartbeat_threshold=30,
    )
    # What is lost is seen to by `run_tasks`, which knows what is in a task.
    config = _parsl("config.Config")(
        executors=[workers],
        retries=0,
        strategy_period=1,  # seconds; jobs are started so late
        run_dir=str(folder),
        initialize_logging=False,
    )
    bin_folder = str(Path(sys.executable).parent)  # parsl's own programs must be found
    os.environ["PATH"] = os.pathsep.join([bin_folder, os.environ.get("PATH", "")])
    # Ctrl-C is for this process: parsl waits for ever for a helper that died of it.
    before = signal(SIGINT, SIG_IGN)
    try:
        executor = _parsl("concurrent.ParslPoolExecutor")(config=config)
    finally:
        signal(SIGINT, before)
    try:
        yield executor
    finally:
        executor.shutdown(wait=False)  # all tasks are done, or not wanted any more


def run_tasks(
    executor: Executor,
    function: Callable[..., list[Any]],
    tasks: Iterable[Sequence[Item]],
    arguments: tuple[Any, ...] = (),
    *,
    retries: int = 2,
) -> Iterator[Any | Lost]:
    """What `function(task, *arguments)` returns for every task, entry by entry, as it comes.

    A task whose worker died is taken apart: every item is then a task of its own, so that the one
    that kills workers does not take others with it. It may do so `retries` times more.

    Args:
        executor: Where tasks run.
        function: Of a module that workers can import.
        tasks: Each a sequence of items.
        arguments: Further arguments, the same for all tasks.
        retries: How often a task of one item is tried again.

    Yields:
        Entries of what the function returned, and a `Lost` for each item that was given up.
    """
    ready: SimpleQueue[tuple[Sequence[Item], Future[Any]]] = SimpleQueue()
    tries: Counter[Item] = Counter()
    waiting = 0

    def submit(task: Sequence[Item]) -> None:
        future = executor.submit(function, task, *arguments)
        future.add_done_callback(lambda done: ready.put((task, done)))

    for task in tasks:
        submit(task)
        waiting += 1
    while waiting:
        task, future = ready.get()
        waiting -= 1
        error = future.exception()
        if error is None:
            yield from future.result()
        elif not isinstance(error, Exception):
            raise error
        elif len(task) > 1:
            for item in task:
                submit((item,))
                waiting += 1
        elif tries[task[0]] < retries:
            tries[task[0]] += 1
            submit(task)
            waiting += 1
        else:
            yield Lost(task[0], error)

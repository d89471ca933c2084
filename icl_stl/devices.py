"""Running a function many times: on all devices, compiled once, compiled programs kept."""

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from icl_stl.config import require
from icl_stl.executors import available_cores

DATA = "data"
"""The axis of devices that share the prompts of a batch."""

COMPILER_OPTIONS = {"xla_backend_optimization_level": 1}
"""Programs here are compiled more often than they run long: the highest level compiles a tenth to a
third longer and, measured on training, generation and solvable loops, is no faster to run."""

QUICK_COMPILATION = {
    **COMPILER_OPTIONS,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}
"""For programs that are run once or twice: compiled in six to seven tenths of the processor time,
measured on solvable loops and small networks; training then takes up to a quarter longer."""

Report = Callable[[str, int, int], None]
"""(what is going on, done, in all) -> None."""


def default_cache() -> Path:
    """Where compiled programs are kept between runs of this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "icl_stl" / "jax"


def use_all_cores(cache: Path | None) -> None:
    """Let replicates spread over all CPU cores of this process and keep compiled programs.

    Call before any work.

    Args:
        cache: Folder of compiled programs, shared by all runs of this user; None for no cache.
    """
    jax.config.update("jax_num_cpu_devices", len(available_cores()))
    jax.config.update("jax_default_matmul_precision", "highest")  # densities, not speed
    jax.config.update("jax_traceback_in_locations_limit", 0)  # a tenth of tracing's time
    if cache is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def quick_options() -> dict[str, Any]:
    """`QUICK_COMPILATION`, where there is such a choice."""
    return QUICK_COMPILATION if jax.default_backend() == "cpu" else COMPILER_OPTIONS


def on_host(tree: Any, filled: int = 0) -> Any:
    """The same arrays out of the devices, so that what is done next concerns one device alone.

    Args:
        tree: Arrays.
        filled: How often the last entry is there once more.
    """

    def array(a: Any) -> Any:
        own = np.asarray(a)
        return np.concatenate([own, *[own[-1:]] * filled]) if filled else own

    def leaf(a: Any) -> Any:
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(jnp.asarray(array(jax.random.key_data(a))))
        return array(a)

    return jax.tree.map(leaf, tree)


class Spread:
    """A program over the first axis of its arguments, that axis shared equally by all devices.

    If it cannot be shared equally, the last replicate is there more than once. That is seen to out
    of the program: in it devices would have to exchange replicates, and two such programs that are
    started together may each hold a device that the other one waits for, for ever.
    """

    def __init__(self, program: Any, shared: int):
        self._program = program
        self._shared = shared
        self._compiled: dict[Any, Spread] = {}
        self._compiling = Lock()

    def __call__(self, *args: Any) -> Any:
        even, count = self._evened(args)
        found = self._program(*even)
        if even is args:
            return found
        return jax.tree.map(lambda a: a[:count], on_host(found))

    def compiled(self, *args: Any) -> "Spread":
        """The same, compiled for arguments like these; once for all that are alike."""
        even = self._evened(args)[0]
        leaves, structure = jax.tree.flatten(even)
        alike = structure, tuple((jax.typeof(a), getattr(a, "sharding", None)) for a in leaves)
        with self._compiling:  # whoever waits here needs the same program
            if alike not in self._compiled:
                self._compiled[alike] = Spread(self._program.lower(*even).compile(), self._shared)
            return self._compiled[alike]

    def _evened(self, args: tuple[Any, ...]) -> tuple[tuple[Any, ...], int]:
        count = jax.tree.leaves(args)[0].shape[0]
        filled = -count % min(len(jax.devices()), count)
        if not filled:
            return args, count
        cut = len(args) - self._shared
        return (*on_host(args[:cut], filled), *args[cut:]), count


def over_replicates(
    function: Callable[..., Any], shared: int = 0, *, quick_compilation: bool = False
) -> Spread:
    """Map a function of one replicate over the first axis of its arguments, on all devices.

    Every device maps over its replicates one after the other (`jax.lax.map`: the bits do not depend
    on how many replicates there are); on an accelerator it takes them together. A program for one
    device alone may be compiled otherwise than one for several and differ from it in rounding.

    Args:
        function: Function of one replicate.
        shared: How many of its last arguments are the same for all replicates.
        quick_compilation: Whether compiling it counts for more than running it.
    """

    def mapped(*args: Any) -> Any:
        cut = len(args) - shared
        common = args[cut:]
        if jax.default_backend() == "cpu":
            return jax.lax.map(lambda own: function(*own, *common), args[:cut])
        return jax.vmap(lambda *own: function(*own, *common))(*args[:cut])

    def spread(*args: Any) -> Any:
        devices = min(len(jax.devices()), jax.tree.leaves(args)[0].shape[0])
        mesh = jax.make_mesh(
            (devices,), ("replicate",), (AxisType.Auto,), devices=jax.devices()[:devices]
        )
        axis = PartitionSpec("replicate")
        specs = (*[axis] * (len(args) - shared), *[PartitionSpec()] * shared)
        run = jax.shard_map(mapped, mesh=mesh, in_specs=specs, out_specs=axis, check_vma=False)
        return run(*args)

    options = quick_options() if quick_compilation else COMPILER_OPTIONS
    return Spread(jax.jit(spread, compiler_options=options), shared)


def data_parallel(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose batches are shared by all devices, of all hosts, which add up gradients.

    For one training too large for one device. The function says which axis is shared:
    `adam_transformer(..., data_axis=DATA)`. All processes of several hosts call it with the same
    arguments, after `jax.distributed.initialize`; all get the whole result. Sums are in another
    order than on one device, so that results differ in rounding.

    Args:
        function: Function of arrays, such as `learner.fit`.
    """
    mesh = jax.make_mesh((len(jax.devices()),), (DATA,), (AxisType.Auto,), devices=jax.devices())
    everywhere = NamedSharding(mesh, PartitionSpec())
    program = jax.jit(function, in_shardings=everywhere, out_shardings=everywhere)

    def shared(*args: Any) -> Any:
        with jax.set_mesh(mesh):
            return program(*args)

    return shared


@lru_cache(maxsize=64)
def _runs(run: Any, of: Any) -> Spread:
    """(numbers of runs, seed, arguments) -> what these runs return, shared by all devices."""
    devices = jax.devices()
    mesh = jax.make_mesh((len(devices),), ("runs",), (AxisType.Auto,), devices=devices)
    axis, everywhere = PartitionSpec("runs"), PartitionSpec()

    def together(indices: Any, seed: Any, arguments: Any) -> Any:
        def one(index: Any) -> Any:
            return run(of, jax.random.fold_in(jax.random.key(seed), index), *arguments)

        return jax.vmap(one)(indices)

    spread = jax.shard_map(
        together,
        mesh=mesh,
        in_specs=(axis, everywhere, everywhere),
        out_specs=axis,
        check_vma=False,
    )
    return Spread(jax.jit(spread, compiler_options=quick_options()), shared=2)


_FINDING = Lock()


def many(
    run: Callable[..., Any],
    of: Any,
    runs: int,
    *arguments: Any,
    seed: int,
    batch: int,
    report: Report = lambda text, done, total: None,
) -> Any:
    """Many independent runs: `vmap` over a batch, batches over all devices.

    Run r has the key `fold_in(key(seed), r)`, so more runs keep the first ones. The width of a
    batch may change the last bits. Compiled once for all seeds and arguments of equal shape, and
    kept for when the same function is run of an equal description again.

    Args:
        run: A function of the description, a key and the arguments.
        of: The description, hashable.
        runs: How many.
        arguments: The same for all runs.
        seed: Seed of all.
        batch: Runs at a time on one device, at most.
        report: Called before each round of batches.

    Returns:
        What `run` returns, with a new first axis `[runs]`, as NumPy arrays.
    """
    for name, value in (("runs", runs), ("batch", batch)):
        require(value >= 1, name, value, "a whole number of at least 1")
    devices = len(jax.devices())
    rounds = -(-runs // (batch * devices))
    together = -(-runs // (rounds * devices)) * devices
    with _FINDING:
        program = _runs(run, of)
    some = (np.arange(together, dtype=np.int32), np.int32(seed), arguments)
    program = program.compiled(*some)
    parts = []
    for start in range(0, rounds * together, together):
        report("loops", start, runs)
        found = program(start + some[0], *some[1:])
        parts.append(jax.tree.map(np.asarray, found))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:runs], *parts)

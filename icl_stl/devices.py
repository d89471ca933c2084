"""Running a function many times: on all devices, compiled once, compiled programs kept.

Linear algebra of a batch may hand its parts to XLA's pool of threads and wait for them in a thread
of that pool (LAPACK before JAX 0.11.2, Fourier transforms still). Where as many wait as there are
threads they wait for ever. It cannot happen here: such programs run one at a time, how many of
their threads may wait at once is read off the compiled program (`waiting`), the pool is made larger
than that before the first device exists (`enough_threads`), and where it is too late for that fewer
devices run the program, or it is refused.
"""

import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec

from icl_stl.config import whole
from icl_stl.cores import available_cores

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

WAITING_CALLS = 4
"""Calls of one device that may wait at once and for which the pool of threads is made to suffice.
Beyond that a program runs on fewer devices. Solvable loops have 1 to 3; more threads cost time."""

FEWEST_THREADS = 17
"""Threads for which a program may have many such calls at once on one device."""

LARGEST_POOL = 256
"""Threads of XLA's pool at most, whatever is asked for."""

SPLITS_LAPACK = jax.__version_info__[:3] < (0, 11, 2)
"""Whether LAPACK calls of this JAX hand parts of a batch to the pool and wait."""

Report = Callable[[str, int, int], None]
"""(what is going on, done, in all) -> None."""


def default_cache() -> Path:
    """Where compiled programs are kept between runs of this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "icl_stl" / "jax"


def use_all_cores(cache: Path | None) -> None:
    """Let replicates spread over all CPU cores of this process and keep compiled programs.

    Call before any work: where JAX has been used already it keeps the devices that it has.
    """
    use_cpu_devices(len(available_cores()))
    jax.config.update("jax_default_matmul_precision", "highest")  # densities, not speed
    jax.config.update("jax_traceback_in_locations_limit", 0)  # a tenth of tracing's time
    if cache is not None:
        keep_programs(cache)


def keep_programs(cache: Path) -> None:
    """Keep compiled programs in a folder, however quick they were to compile."""
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@lru_cache
def _knows(backend: str, option: str, value: Any) -> bool:
    """Whether the compiler has such an option; tried on an empty program, in milliseconds."""
    with suppress(jax.errors.JaxRuntimeError):
        jax.jit(lambda: None).lower().compile(compiler_options={option: value})
        return True
    return False


def options_of(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Those options that the compiler of this JAX knows; the others save time and no more."""
    backend = jax.default_backend()
    return {name: value for name, value in wanted.items() if _knows(backend, name, value)}


def quick_options() -> dict[str, Any]:
    """`QUICK_COMPILATION`, where there is such a choice."""
    cpu = jax.default_backend() == "cpu"
    return options_of(QUICK_COMPILATION if cpu else COMPILER_OPTIONS)


# --- threads that wait ---------------------------------------------------------------------------


def _is_up() -> bool:
    """Whether JAX has made its devices, whose number and threads are then fixed."""
    name = "jax_num_cpu_devices"
    value = jax.config.values[name]
    try:  # JAX refuses another number from then on
        jax.config.update(name, value + 1 if value > 0 else 1)
    except RuntimeError:
        return True
    jax.config.update(name, value)
    return False


def use_cpu_devices(count: int) -> None:
    """So many devices of this machine, with enough threads; before the first device exists."""
    if not _is_up():
        jax.config.update("jax_num_cpu_devices", count)
    elif jax.default_backend() == "cpu" and len(jax.local_devices()) != count:
        warnings.warn(
            f"JAX has been used already in this process and keeps {len(jax.local_devices())} CPU "
            f"devices, not {count}",
            RuntimeWarning,
            stacklevel=3,
        )
    enough_threads()


def enough_threads() -> None:
    """See to it that XLA makes more threads than can wait; nothing where it has its threads.

    The environment variable PJRT_NPROC says how many, unless it asks for enough already.
    """
    if _is_up():
        return
    count = _wanted_devices()
    needed = max(FEWEST_THREADS, count * WAITING_CALLS + 1) if SPLITS_LAPACK else count + 1
    wanted = max(needed, _asked_for() or len(available_cores()))
    os.environ["PJRT_NPROC"] = str(min(wanted, LARGEST_POOL))


def _wanted_devices() -> int:
    """How many CPU devices JAX will make."""
    if (configured := jax.config.values["jax_num_cpu_devices"]) > 0:
        return int(configured)
    flags = os.environ.get("XLA_FLAGS", "")
    given = re.search(r"xla_force_host_platform_device_count=(\d+)", flags)
    return int(given[1]) if given else 1


def _asked_for() -> int:
    """Threads that the environment asks for, as XLA reads it; 0 for none."""
    for name in ("PJRT_NPROC", "NPROC"):
        if os.environ.get(name, "").strip().isdigit():
            return int(os.environ[name])
    return 0


def pool_threads() -> int:
    """How many threads XLA's pool has in this process, which has devices."""
    with suppress(OSError):  # on Linux they can be counted
        names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
        if found := names.count("tf_XLAEigen"):
            return found
    asked = _asked_for() or len(available_cores())
    return min(max(asked, len(jax.local_devices())), LARGEST_POOL)


_WAITS = re.compile(r"\bfft\(" + (r'|custom_call_target="lapack_' if SPLITS_LAPACK else ""))
_COLLECTIVE = re.compile(r"\b(all-reduce|all-gather|all-to-all|reduce-scatter|collective-)")
_CALLED = re.compile(
    r"\b(?:body|condition|to_apply|calls|true_computation|false_computation)=(%[\w.\-]+)"
    r"|\bbranch_computations=\{([^}]*)\}"
)
_NAME = re.compile(r"%[\w.\-]+")
_COMPUTATION = re.compile(r"^(?:ENTRY )?(%[\w.\-]+).*\{\n((?: .*\n|\n)*)\}", re.MULTILINE)


def waiting(program: str) -> int:
    """How many calls of one device may wait for the pool at once, at most.

    Calls of which one needs what the other returns never wait together: the instructions are laid
    in chains of such, and every chain counts as its largest member. What a loop or a branch does
    counts as its own instruction; collectives of a device run one at a time.
    """
    widths: dict[str, int] = {}
    name = ""
    for name, body in _COMPUTATION.findall(program):
        widths[name] = _width(body.splitlines(), widths)
    return widths.get(name, 0) + bool(_COLLECTIVE.search(program))


def _width(body: Sequence[str], widths: dict[str, int]) -> int:
    before: dict[str, set[str]] = {}  # the calls that an instruction needs
    chains: list[tuple[str, int]] = []  # the last call of each chain, and its largest
    for line in body:
        name, _, right = line.partition(" = ")
        name = name.removeprefix("  ROOT ").strip()
        needs = [before[used] for used in _NAME.findall(right) if used in before]
        needed = set[str]().union(*needs)
        called = [n for both in _CALLED.findall(right) for n in _NAME.findall("".join(both))]
        weight = max(bool(_WAITS.search(right)), *(widths.get(n, 0) for n in called), 0)
        if weight:
            ends = (k for k, (last, _) in enumerate(chains) if last in needed)
            place = next(ends, len(chains))
            largest = max([weight, *(most for _, most in chains[place : place + 1])])
            chains[place : place + 1] = [(name, largest)]
            needed = needed | {name}
        before[name] = needed
    return sum(most for _, most in chains)


def _room(waits: int) -> int:
    """On how many devices a program may run of which so many calls may wait at once."""
    threads = pool_threads()
    # A single thread hands out nothing.
    free = not waits or jax.default_backend() != "cpu" or threads == 1
    return sys.maxsize if free else (threads - 1) // waits


def _advice(waits: int, devices: int) -> str:
    room = (LARGEST_POOL - 1) // waits
    return (
        f"{waits} calls of its linear algebra may wait at once on each device, for one of "
        f"{pool_threads()} threads: set the environment variable PJRT_NPROC to "
        f"{min(waits * devices + 1, LARGEST_POOL)} before JAX is used"
        + (f", which suffices for {room} devices" if room < devices else "")
    )


_ALONE = Lock()
"""Held while a program runs that may wait: what two programs wait for adds up."""


def _alike(args: tuple[Any, ...]) -> Any:
    """The same for arguments that one compiled program serves."""
    leaves, structure = jax.tree.flatten(args)
    return structure, tuple((jax.typeof(a), getattr(a, "sharding", None)) for a in leaves)


def on_host(tree: Any, filled: int = 0) -> Any:
    """The same arrays out of the devices, so that what is done next concerns one device alone.

    Args:
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


class Ready:
    """A compiled program that never runs beside another one where both may wait for threads."""

    def __init__(self, program: Any, args: tuple[Any, ...], shared: int, devices: int):
        self._shared = shared
        self.devices = devices
        self._program = program.lower(*self._evened(args)[0]).compile()
        self.waits = waiting(self._program.as_text())

    def memory(self) -> Any:
        """What the compiler knows of the memory that it takes, in bytes."""
        return self._program.memory_analysis()

    def __call__(self, *args: Any) -> Any:
        even, count = self._evened(args)
        if self.waits:
            with _ALONE:
                found = jax.block_until_ready(self._program(*even))
        else:
            found = self._program(*even)
        return found if even is args else jax.tree.map(lambda a: a[:count], on_host(found))

    def _evened(self, args: tuple[Any, ...]) -> tuple[tuple[Any, ...], int]:
        """Arguments whose first axis the devices can share equally, and the length it has."""
        cut = len(args) - self._shared
        count = jax.tree.leaves(args)[0].shape[0] if cut else 0
        filled = -count % self.devices
        return ((*on_host(args[:cut], filled), *args[cut:]) if filled else args), count


class Spread:
    """A program over the first axis of its arguments, that axis shared equally by all devices.

    If it cannot be shared equally, the last replicate is there more than once. That is seen to out
    of the program: in it devices would have to exchange replicates, and two such programs that are
    started together may each hold a device that the other one waits for, for ever.

    Args:
        shared: How many of its last arguments are the same for all.
    """

    def __init__(
        self,
        mapped: Callable[..., Any],
        axis: str,
        shared: int,
        options: Callable[[], Mapping[str, Any]],
    ):
        self._mapped, self._axis, self._shared, self._options = mapped, axis, shared, options
        self._compiled: dict[Any, Ready] = {}
        self._compiling = Lock()

    def __call__(self, *args: Any) -> Any:
        return self.compiled(*args)(*args)

    def compiled(self, *args: Any) -> Ready:
        """The same, compiled for arguments like these; once for all that are alike."""
        everywhere = min(len(jax.devices()), jax.tree.leaves(args)[0].shape[0])
        alike = everywhere, _alike(args)
        with self._compiling:  # whoever waits here needs the same program
            if alike not in self._compiled:
                self._compiled[alike] = self._ready(args, everywhere)
            return self._compiled[alike]

    def _ready(self, args: tuple[Any, ...], everywhere: int) -> Ready:
        made = self._on(everywhere, args)
        while (room := _room(made.waits)) < made.devices:
            advice = _advice(made.waits, everywhere)
            if not room:
                raise ValueError(f"a program cannot run: {advice}")
            warnings.warn(
                f"a program runs on {room} of {everywhere} devices: {advice}",
                RuntimeWarning,
                stacklevel=4,
            )
            made = self._on(room, args)
        return made

    def _on(self, devices: int, args: tuple[Any, ...]) -> Ready:
        """Compiled for so many devices."""
        axis, ours = PartitionSpec(self._axis), jax.devices()[:devices]
        spread = jax.shard_map(
            self._mapped,
            mesh=jax.make_mesh((devices,), (self._axis,), (AxisType.Auto,), devices=ours),
            in_specs=(*[axis] * (len(args) - self._shared), *[PartitionSpec()] * self._shared),
            out_specs=axis,
            check_vma=False,
        )
        program = jax.jit(spread, compiler_options=dict(self._options()))
        return Ready(program, args, self._shared, devices)


def over_replicates(
    function: Callable[..., Any], shared: int = 0, *, quick_compilation: bool = False
) -> Spread:
    """Map a function of one replicate over the first axis of its arguments, on all devices.

    Every device maps over its replicates one after the other (`jax.lax.map`: the bits do not depend
    on how many replicates there are); on an accelerator it takes them together. A program for one
    device alone may be compiled otherwise than one for several and differ from it in rounding.

    Args:
        shared: How many of its last arguments are the same for all replicates.
        quick_compilation: Whether compiling it counts for more than running it.
    """

    def mapped(*args: Any) -> Any:
        cut = len(args) - shared
        common = args[cut:]
        if jax.default_backend() == "cpu":
            return jax.lax.map(lambda own: function(*own, *common), args[:cut])
        return jax.vmap(lambda *own: function(*own, *common))(*args[:cut])

    enough_threads()
    options = quick_options if quick_compilation else lambda: options_of(COMPILER_OPTIONS)
    return Spread(mapped, "replicate", shared, options)


@lru_cache(maxsize=64)
def _runs(run: Any, of: Any) -> Spread:
    """(numbers of runs, seed, arguments) -> what these runs return, shared by all devices."""

    def together(indices: Any, seed: Any, arguments: Any) -> Any:
        def one(index: Any) -> Any:
            return run(of, jax.random.fold_in(jax.random.key(seed), index), *arguments)

        return jax.vmap(one)(indices)

    return Spread(together, "runs", 2, quick_options)


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
        batch: Runs at a time on one device, at most.

    Returns:
        What `run` returns, with a new first axis `[runs]`, as NumPy arrays.
    """
    for name, value in (("runs", runs), ("batch", batch)):
        whole(name, value, 1)
    enough_threads()
    with _FINDING:
        spread = _runs(run, of)
    devices = len(jax.devices())
    while True:
        rounds = -(-runs // (batch * devices))
        together = -(-runs // (rounds * devices)) * devices
        some = (np.arange(together, dtype=np.int32), np.int32(seed), arguments)
        program = spread.compiled(*some)
        if program.devices >= devices:
            break
        devices = program.devices  # no more runs at a time on each, where threads allow fewer
    parts = []
    for start in range(0, rounds * together, together):
        report("loops", start, runs)
        found = program(start + some[0], *some[1:])
        parts.append(jax.tree.map(np.asarray, found))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:runs], *parts)

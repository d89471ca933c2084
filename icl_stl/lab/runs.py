"""Running many replicates of a loop: on all devices, in one folder, saved after every generation.

A replicate is one whole loop with its own real set, held-out prompts and seed. All regimes start
from the same replicates and share generation 0 and every random stream, so that they are compared
pairwise; only more than `loops.AT_ONCE` synthetic rows are drawn in pieces where their number is a
number of the program, as it is without rows of earlier generations or new real ones. What a run
folder holds was made by one configuration; a stopped run continues after its last finished
generation and ends with the same numbers, bit for bit.
"""

import io
import json
import os
import platform
import re
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import jax
import jax.numpy as jnp
import numpy as np

from icl_stl import __version__, code
from icl_stl.config import require
from icl_stl.descriptions import canonical, describe, key
from icl_stl.devices import Ready, Report, Spread, on_host, over_replicates
from icl_stl.lab.experiments import NOWHERE, Job, Kept
from icl_stl.lab.results import Arrays, LoopResult, labels_of, write_atomically, write_json
from icl_stl.laws import LinearRegression
from icl_stl.learners import Learner, tempered
from icl_stl.loops import (
    Sizes,
    check_mix,
    generation_keys,
    next_generation,
    real_rows,
    room_for_rows,
    start_of_loop,
)
from icl_stl.measure import implied_task_variance, pair_bias, pair_variance, predictions
from icl_stl.models.causal import Params
from icl_stl.problems import Problem
from icl_stl.problems.in_context import InContext
from icl_stl.problems.table import Table
from icl_stl.regimes import Augment, RealOnly, Regime, Replace, real_share, synthetic_size
from icl_stl.rows import Data

FORMAT = 3
"""Version of the run folder; another version is refused."""

Watch = Callable[[LoopResult], None]


class Replicate(NamedTuple):
    """What a replicate starts from; with a first axis `[R]`, all replicates."""

    key: jax.Array
    truth: Any
    real: Data
    held_out: Any


def draw_replicate(problem: Problem, samples: int, index: Any, seed: Any) -> Replicate:
    """Replicate r is drawn from `fold_in(key(seed), r)`, so more replicates keep the first ones."""
    key = jax.random.fold_in(jax.random.key(seed), index)
    return Replicate(*problem.start(key, samples))


@lru_cache(maxsize=16)
def _drawing(problem: Problem, samples: int) -> Spread:
    return over_replicates(partial(draw_replicate, problem, samples), shared=1)


def draw_replicates(problem: Problem, samples: int, replicates: int, seed: int) -> Replicate:
    """All replicates under a seed."""
    drawn: Replicate = _drawing(problem, samples)(
        np.arange(replicates, dtype=np.int32), np.int32(seed)
    )
    return drawn


@lru_cache(maxsize=64)
def _shapes_of_one(problem: Problem, regime: Regime, samples: int, generations: int) -> "State":
    def state(key: Any) -> State:
        own, truth, real, _ = problem.start(key, samples)
        draw = lambda key, count: problem.draw(key, truth, count)  # noqa: E731
        real, params = start_of_loop(own, problem.learner, regime, real, generations, draw)
        return State(params, room_for_rows(regime, real, generations))

    shapes: State = jax.eval_shape(state, jax.eval_shape(lambda: jax.random.key(0)))
    return shapes


def before_generation_0(
    problem: Problem, regime: Regime, replicates: Replicate, generations: int
) -> "State":
    """Zeros in place of parameters, and places for rows if the regime keeps them."""
    count, samples = jax.tree.leaves(replicates.real)[0].shape[:2]
    shapes = _shapes_of_one(problem, regime, samples, generations)
    nothing = jax.tree.map(lambda s: np.zeros((count, *s.shape), s.dtype), shapes.params)
    if not regime.keeps_rows:
        return State(nothing)
    room = jax.vmap(lambda real: room_for_rows(regime, real, generations))(replicates.real)
    return State(nothing, jax.tree.map(lambda a, s: a.astype(s.dtype), room, shapes.kept))


class State(NamedTuple):
    """What one generation hands to the next; with a first axis `[R]`, of all replicates."""

    params: Params
    """θ_i."""
    kept: Data = ()
    """The rows of all generations so far, for a regime that keeps them."""


class Numbers(NamedTuple):
    """What loops that share a program differ in: one of each for every replicate, `[R]`."""

    share: Any
    """α_i of this generation, for all but generation 0."""
    samples: Any = None
    """Real rows that there are, where the program has places for more: see `loops.Sizes`."""
    n_syn: Any = None
    """Synthetic rows of a generation that there are."""
    fresh: Any = True
    """Whether real rows are new, in a regime in which they may be."""
    learning_rate: Any = None
    """Instead of the training's, where it is a number of the program."""
    weight_decay: Any = None
    """Likewise."""

    def each(self, replicates: int) -> "Numbers":
        """The same for all replicates."""
        return Numbers(*(None if a is None else np.broadcast_to(a, (replicates,)) for a in self))


def numbers_of_size(size: Any, *, fresh: bool = False) -> Numbers:
    """Of a `LoopSize`."""
    share = np.float32(size.share)
    return Numbers(share, np.int32(size.samples), np.int32(size.n_syn), np.bool_(fresh))


@lru_cache(maxsize=32)
def generation_step(problem: Problem, regime: Regime) -> Spread:
    """One generation of all replicates: (replicates, state, numbers, i) -> state, observations.

    Whoever follows loops from outside a program follows this: whole jobs, loops of many sizes,
    sweeps.
    """

    def step(
        replicate: Replicate, previous: State, numbers: Numbers, index: Any
    ) -> tuple[State, dict[str, Any]]:
        key, truth, real, held_out = replicate
        of, sizes = problem.learner, None
        more: dict[str, Any] = {"one_step": regime.mixes_last}
        if numbers.learning_rate is not None and isinstance(problem, InContext):
            of = problem.make_learner(numbers.learning_rate, numbers.weight_decay)
            of = tempered(of, problem.sampling_bias)
        if numbers.samples is not None:
            sizes = Sizes(numbers.samples, numbers.n_syn, numbers.share)
        own: Any = {"sizes": sizes, "share": numbers.share, "fresh": numbers.fresh}
        own |= {"kept": previous.kept, "from_first": True}
        own["draw_real"] = lambda key, count: problem.draw(key, truth, count)
        generation = next_generation(key, of, regime, real, previous.params, index, **own)
        key = generation_keys(key, index).observe
        seen = problem.observe(key, truth, held_out, generation, **more)
        return State(generation.params, generation.kept), seen

    return over_replicates(step, shared=1)


def follow(
    step: Any,
    replicates: Replicate,
    state: State,
    numbers: Numbers | Callable[[int], Numbers],
    generations: int,
    kept: Kept = NOWHERE,
    tell: Callable[[int], None] = lambda finished: None,
) -> Arrays:
    """All generations of loops with these numbers: what is observed, `[R, G + 1, ...]`.

    Loops that are `kept` go on after their last finished generation; each that begins is told.
    """
    loop = FollowedLoop(kept, state)
    while (index := loop.generations) <= generations:
        tell(index)
        own = numbers(index) if callable(numbers) else numbers
        loop.add(*on_host(step(replicates, loop.state, own, np.int32(index))))
    return loop.observations


def at_shares(
    problem: Problem, samples: int, shares: Sequence[float], generations: int, runs: int, seed: int
) -> Arrays:
    """Loops at several shares beside as many synthetic rows as real ones: `[runs, shares, G + 1]`.

    All from the same real sets and randomness, those of `draw_replicates`.
    """
    regime = Augment(0.5)
    replicates = draw_replicates(problem, samples, runs, seed)
    start = before_generation_0(problem, regime, replicates, 0)
    step, found = generation_step(problem, regime), []
    for share in shares:
        numbers = Numbers(np.float32(share), np.int32(samples), np.int32(samples)).each(runs)
        found.append(follow(step, replicates, start, numbers, generations))
    return {name: np.stack([one[name] for one in found], axis=1) for name in found[0]}


def program_of(job: Job, regime: Regime, smallest: int) -> tuple[Regime, int | None]:
    """The regime whose `generation_step` serves this one, and n_syn if that is one of its numbers.

    A real set beside equally many rows of the last generation is one program, whatever the share;
    real rows alone are in the smallest.
    """
    if type(regime) not in (RealOnly, Augment, Replace):
        return regime, None
    n_syn = synthetic_size(regime, job.samples)
    return Augment.from_lam((n_syn or smallest) / job.samples), n_syn


def identity(
    settings: Mapping[str, Any], replicates: int, seed: int, module: str = "icl_stl.lab.runs"
) -> dict[str, Any]:
    """All that a run's numbers depend on: settings, seed, versions, code, platform.

    Args:
        replicates: How many loops there are at once.
        module: Where the numbers are computed: its code and all that it imports count.
    """
    return {
        "format": FORMAT,
        **settings,
        "seed": seed,
        "versions": versions(),
        "source": code.digest(module),
        "jax": settings_of_jax(),
        "platform": f"{jax.devices()[0].device_kind} {platform.machine()}",
        # A program for one device and one for several round differently.
        "devices": "one" if min(len(jax.devices()), replicates) == 1 else "several",
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that the numbers come from.

    SciPy has the linear algebra of JAX on CPUs, ml_dtypes the rounding of its small types.
    """
    packages = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "ml_dtypes")
    installed = {name: version(name) for name in packages}
    return {"icl_stl": __version__, "python": platform.python_version(), **installed}


SETTINGS = (
    *("enable_x64", "default_matmul_precision", "default_prng_impl", "threefry_partitionable"),
    *("numpy_dtype_promotion", "disable_jit", "disable_most_optimizations", "random_seed_offset"),
)
"""Settings of JAX that are named in an identity; those that concern no number are `SILENT`, the
rest is in it as one digest."""

SILENT = re.compile(
    "cache|debug|log_|logging|trace|check|print|dump|transfer|guard|transport|platform|backend|"
    "devices|distributed|timeout|proxy|error|profil|pgle|warn|report|explain|serialization|export|"
    "compatibility|hlo_source|source_url|garbage|binary|preemption|recoverab|async_dispatch|"
    "client_create|mock|no_execution|context_manager|legacy_prng"
)

ENVIRONMENT = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE")
"""Variables that the compiler or the device reads."""


def settings_of_jax() -> dict[str, Any]:
    """The settings of JAX and of its compiler that numbers depend on, as they are now."""
    values = jax.config.values
    # An attribute says what holds in this thread, such as under `jax.enable_x64`.
    named = {
        name: getattr(jax.config, f"jax_{name}", values.get(f"jax_{name}")) for name in SETTINGS
    }
    others = {
        name: str(value)
        for name, value in values.items()
        if name.removeprefix("jax_") not in SETTINGS and not SILENT.search(name)
    }
    counted = "--xla_force_host_platform_device_count"  # the devices are told apart elsewhere
    flags = {
        name: sorted(f for f in os.environ.get(name, "").split() if not f.startswith(counted))
        for name in ENVIRONMENT
    }
    return {
        **{k: v if isinstance(v, bool | int) else str(v) for k, v in named.items()},
        "others": key(others)[:16],
        **{name: given for name, given in flags.items() if given},
    }


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Where two JSON values differ, as `path: old -> new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted({*old, *new})
        return [d for k in keys for d in differences(old.get(k), new.get(k), f"{path}.{k}")]
    return [] if old == new else [f"{path.lstrip('.')}: {old!r} -> {new!r}"]


class Folder:
    """A run folder of one configuration: `config.json` and one checkpoint a regime."""

    def __init__(self, path: Path, identity: dict[str, Any], *, fresh: bool = False):
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        config = path / "config.json"
        if fresh:
            config.unlink(missing_ok=True)
        new = json.loads(json.dumps(identity))
        if config.exists():
            try:
                old = json.loads(config.read_text(encoding="utf-8"))
            except ValueError:
                old = None
            if old != new:
                changed = "; ".join(differences(old, new)) or "it cannot be read"
                raise ValueError(
                    f"out must be a folder of this configuration, but {path} was made by another "
                    f"({changed}); --fresh forgets what it holds and starts it anew"
                )
        else:
            for stale in self.checkpoints.glob("*.npz"):
                stale.unlink()
            write_json(config, new)

    def save(self, name: str, arrays: Arrays, made_by: Any = None) -> None:
        """Store arrays; the state before this one is kept as a second file."""
        buffer = io.BytesIO()
        told = np.frombuffer(canonical(made_by).encode(), np.uint8)
        np.savez(buffer, **arrays, **{MADE_BY: told})  # type: ignore[arg-type]
        newest = self._path(name)
        if newest.exists():
            newest.replace(self._path(f"{name}.previous"))
        write_atomically(newest, buffer.getvalue())

    def load(self, name: str, made_by: Any = None, *, again: bool = False) -> Arrays | None:
        """The newest state that can be read whole (checksums verified), None if there is none.

        Args:
            made_by: What it must have been made by: see `save`.
            again: Take one that was made by something else for none, with a warning.
        """
        for path in (self._path(name), self._path(f"{name}.previous")):
            try:
                with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                    arrays = {key: stored[key] for key in stored.files}
                told = json.loads(arrays.pop(MADE_BY).tobytes())
            except FileNotFoundError:
                continue
            except (BadZipFile, ValueError, OSError, EOFError, KeyError, zlib.error):
                warnings.warn(f"{path} is damaged and is left out", stacklevel=2)
                continue
            if changed := differences(told, json.loads(canonical(made_by))):
                made = f"{path} was made by something else ({'; '.join(changed)})"
                if not again:
                    raise ValueError(
                        f"out must be a folder of this configuration, but {made}; --fresh "
                        "forgets what it holds and starts it anew"
                    )
                warnings.warn(f"{made} and is made again", stacklevel=2)
                return None
            return arrays
        return None

    def kept(self, name: str, made_by: Any = None, *, again: bool = False) -> Kept:
        """One name of this folder: see `save` and `load`."""

        def forget() -> None:
            for state in (name, f"{name}.previous"):
                self._path(state).unlink(missing_ok=True)

        def save(arrays: Arrays) -> None:
            self.save(name, arrays, made_by)

        return Kept(partial(self.load, name, made_by, again=again), save, forget)

    def _path(self, name: str) -> Path:
        return self.checkpoints / f"{re.sub(r'[^A-Za-z0-9._+-]', '_', name)}.npz"


MADE_BY = "made_by"
"""The array of a checkpoint that says what it was made by."""


class FollowedLoop:
    """The replicates of one regime, generation by generation, in memory and where it is kept."""

    def __init__(self, kept: Kept, state: State):
        self.kept = kept
        stored = kept.load() or {}
        self.empty = state
        self.state = state
        self.observations: Arrays = {}
        if stored:
            leaves, structure = jax.tree.flatten(state)
            saved = [stored.pop(f"params_{index}") for index in range(len(leaves))]
            self.state = jax.tree.unflatten(structure, saved)
            self.observations = stored

    @property
    def generations(self) -> int:
        """How many generations are done."""
        return next(iter(self.observations.values())).shape[1] if self.observations else 0

    def start_from(self, other: "FollowedLoop", regime: Regime) -> None:
        """Take over generation 0 of another regime."""
        self.state = State(other.state.params, self.empty.kept)
        self.observations = {
            key: values[:, :1]
            for key, values in other.observations.items()
            if regime.mixes_last or not key.startswith(("eps", "mixture_kl"))
        }

    def add(self, state: State, observation: Arrays) -> None:
        self.state = state
        new = {key: np.asarray(values)[:, None] for key, values in observation.items()}
        old = self.observations
        self.observations = {
            key: np.concatenate([old[key], values], axis=1) if old else values
            for key, values in new.items()
        }
        leaves = {
            f"params_{index}": np.asarray(leaf) for index, leaf in enumerate(jax.tree.leaves(state))
        }
        self.kept.save({**leaves, **self.observations})


def origin(job: Job, seed: int, regime: Regime | None) -> dict[str, Any]:
    """What a checkpoint of loops is, beside what its folder is; None is generation 0 of all."""
    return {
        "sizes": key((job.samples, job.replicates)),
        "seed": seed,
        "problem": key(job.problem, "problem"),
        "regime": describe(regime, "regime"),
    }


def _try_out(problem: Problem, regimes: Sequence[Regime], one: Replicate, last: int) -> None:
    """Refuse what a loop would not show by itself: see `start_of_loop`."""
    real = real_rows(one.real)
    for regime in regimes:
        if problem.costly:
            check_mix(one.key, problem.learner, regime, real, last)
        else:
            draw = lambda key, count: problem.draw(key, one.truth, count)  # noqa: E731
            start_of_loop(one.key, problem.learner, regime, real, last, draw)


def _start_of(problem: Problem, regimes: Sequence[Regime]) -> Regime:
    """The regime whose program makes generation 0.

    Parameters of a learner of rows may have a place for each row that is fitted.
    """
    return regimes[0] if isinstance(problem, Table) and len(regimes) == 1 else RealOnly()


def run_loops(
    job: Job,
    regimes: Iterable[Regime],
    *,
    seed: int,
    folder: Folder,
    report: Report = lambda text, done, total: None,
    watch: Watch = lambda result: None,
) -> dict[str, LoopResult]:
    """Run all replicates in the given regimes, or take up where the folder left off.

    Returns:
        The results by the label of their regime, such as `augment-0.5`: `results.labels_of`.
    """
    problem, n, last = job.problem, job.samples, job.generations
    chosen = labels_of(regimes, n)
    total = len(chosen) * last + 1
    report("drawing real sets", 0, total)
    replicates = draw_replicates(problem, n, job.replicates, seed)
    _try_out(problem, [*chosen.values()], jax.tree.map(lambda a: a[0], replicates), last)
    smallest = min(filter(None, (synthetic_size(r, n) for r in chosen.values())), default=n)

    def empty(regime: Regime) -> State:
        return before_generation_0(problem, regime, replicates, last)

    def kept(name: str, regime: Regime | None, state: State) -> FollowedLoop:
        file = name if regime is None else f"{name}-{key(regime)[:16]}"
        return FollowedLoop(folder.kept(file, origin(job, seed, regime)), state)

    start = _start_of(problem, [*chosen.values()])
    first = kept("generation-0", None, empty(start))
    loops = {name: kept(name, regime, empty(regime)) for name, regime in chosen.items()}
    done = first.generations + sum(max(0, loop.generations - 1) for loop in loops.values())

    # Generation 0 is one of the regime that uses real data alone: one compilation serves both.
    needed = [r for name, r in chosen.items() if loops[name].generations <= last]
    if not first.generations:
        needed.append(start)
    programs = {program_of(job, regime, smallest)[0]: regime for regime in needed}
    if programs:
        count, of = len(programs), len(needed)
        words = f"{count} program{'s' * (count > 1)}" + f" for {of} regimes" * (of > 1)
        report(f"compiling {words}", done, total)

    def numbers(regime: Regime, index: int) -> Numbers:
        n_syn = program_of(job, regime, smallest)[1]
        share = np.float32(real_share(regime, n, max(index, 1)))
        if n_syn is None:
            return Numbers(share).each(job.replicates)
        return Numbers(share, np.int32(n), np.int32(n_syn)).each(job.replicates)

    def step(regime: Regime) -> Ready:
        program = generation_step(problem, program_of(job, regime, smallest)[0])
        return program.compiled(replicates, empty(regime), numbers(regime, 0), np.int32(0))

    def next_of(regime: Regime, state: State, index: int) -> tuple[State, Arrays]:
        made, seen = step(regime)(replicates, state, numbers(regime, index), np.int32(index))
        return made, problem.completed(replicates.held_out, seen)

    with ThreadPoolExecutor() as threads:
        list(threads.map(step, programs.values()))

    if not first.generations:
        report("all regimes, generation 0", done, total)
        first.add(*next_of(start, first.empty, 0))
        done += 1
    for name, loop in loops.items():
        if not loop.generations:
            loop.start_from(first, chosen[name])
        watch(LoopResult(chosen[name], n, loop.observations))
        while loop.generations <= last:
            index = loop.generations
            report(f"{name}, generation {index}", done, total)
            loop.add(*next_of(chosen[name], loop.state, index))
            done += 1
            watch(LoopResult(chosen[name], n, loop.observations))
    report("measured", total, total)
    return {name: LoopResult(chosen[name], n, loop.observations) for name, loop in loops.items()}


@lru_cache(maxsize=16)
def fits_in_pairs(problem: Problem, regime: Regime) -> Spread:
    """Two fits beside a generation that know nothing of each other but what both are given.

    Function of (replicates, θ_j, numbers, j, k) -> predicted means on the held-out prompts, of two
    fits to so many real prompts and such that θ_j writes, `fits`, `[2, prompts, m]`, and of θ_j,
    `own`; k tells pairs apart.

    Args:
        problem: One whose learner predicts, and whose best predictor is known.
        regime: With places for N = n + n_syn synthetic rows beside the real set.
    """

    def step(
        replicate: Replicate, previous: Params, numbers: Numbers, index: Any, pair: Any
    ) -> dict[str, Any]:
        learner, real, test = problem.learner, replicate.real, replicate.held_out.prompts
        sizes = Sizes(numbers.samples, numbers.n_syn, numbers.share)

        def fitted(k: Any) -> Any:
            own = jax.random.fold_in(replicate.key, 2**30 + 2 * pair + k)
            fit = next_generation(own, learner, regime, real, previous, index + 1, sizes=sizes)
            return predictions(learner, fit.params, test).mean

        both = jax.lax.map(fitted, jnp.arange(2))
        return {"fits": both, "own": predictions(learner, previous, test).mean}

    return over_replicates(step, shared=2)


@jax.jit
@jax.vmap
def constants_of_pairs(best: Any, own: Any, share: Any, alone: Any, mixed: Any, refit: Any) -> Any:
    """What a generation adds, from pairs of fits `[2, ...]` to three laws, by name.

    With f* the best predictor, f that of θ_j, f_0 the fits to the real set alone, f' those to it
    and to what θ_j writes, h those to as many rows that θ_j alone writes, g = E[f_0 | real set]:

    `first`: ||g - f*||²; `first_noise`: E ||f_0 - g||²;
    `refit`: o² = ||E h - f||², what is lost by fitting the model's own output;
    `mixing`: q² = ||E f' - α g - (1 - α) E h||², how far mixing is from averaging;
    `noise`: s² = E ||f' - E f'||²; `refit_noise`: E ||h - E h||²;

    each by `measure.pair_bias` and `pair_variance`, unbiased.
    """
    defect = mixed - share * alone - (1 - share) * refit
    return {
        "first": pair_bias(alone[0], alone[1], best),
        "first_noise": pair_variance(alone[0], alone[1]),
        "refit": pair_bias(refit[0], refit[1], own),
        "mixing": pair_bias(defect[0], defect[1], jnp.zeros_like(own)),
        "noise": pair_variance(mixed[0], mixed[1]),
        "refit_noise": pair_variance(refit[0], refit[1]),
    }


def pairs_of_fits(
    job: Job,
    regimes: Iterable[Regime],
    *,
    seed: int,
    folder: Folder,
    places: Sequence[str] = ("first", "last"),
    report: Report = lambda text, done, total: None,
) -> dict[str, Arrays]:
    """`constants_of_pairs` beside finished loops of `run_loops`, by the label of their regime.

    All places share the fits to the real set alone.

    Args:
        job: The job whose loops are in the folder.
        regimes: Regimes of these loops.
        seed: Their seed.
        folder: Their folder.
        places: Beside which generations: `first`, generation 0, and `last`.
        report: Called before each.

    Returns:
        Arrays `[R, places]` by name.
    """
    problem, n = job.problem, job.samples
    replicates = draw_replicates(problem, n, job.replicates, seed)
    chosen = labels_of(regimes, n)

    def state(name: str, regime: Regime | None) -> State:
        empty = before_generation_0(problem, RealOnly(), replicates, 0)
        file = name if regime is None else f"{name}-{key(regime)[:16]}"
        return FollowedLoop(folder.kept(file, origin(job, seed, regime)), empty).state

    first, found = state("generation-0", None).params, {}
    most = max((synthetic_size(regime, n) for regime in chosen.values()), default=n)
    program = fits_in_pairs(problem, Augment.from_lam((n + most) / n))

    def two(pair: int, previous: Params, size: tuple[float, int], index: int) -> dict[str, Any]:
        numbers = Numbers(np.float32(size[0]), np.int32(n), np.int32(size[1]))
        args = previous, numbers.each(job.replicates), np.int32(index), np.int32(pair)
        found: dict[str, Any] = on_host(program(replicates, *args))
        return found

    alone: list[Any] = []
    done, total = 0, len(chosen) * len(places)
    for name, regime in chosen.items():
        seen = []
        share, n_syn = real_share(regime, n, 1), synthetic_size(regime, n)
        for place in places:
            report(f"{name}, pairs of fits beside its {place} generation", done, total)
            file, made = f"pairs-{place}-{name}-{key(regime)[:16]}", origin(job, seed, regime)
            index, previous = 0, first
            if place == "last":
                index, previous = job.generations, state(name, regime).params
                made |= {"generations": index}
            own = folder.load(file, made)
            if own is None:
                alone = alone or [two(0, first, (1.0, 0), 0)["fits"]]
                mixed = two(1, previous, (share, n_syn), index)
                refit = two(2, previous, (0.0, n + n_syn), index)["fits"]
                best = on_host(replicates.held_out).bayes.mean
                each = np.full(job.replicates, share, np.float32)
                laws = alone[0], mixed["fits"], refit
                own = on_host(constants_of_pairs(best, mixed["own"], each, *laws))
                folder.save(file, own, made)
            seen.append(own)
            done += 1
        found[name] = {k: np.stack([one[k] for one in seen], axis=1) for k in seen[0]}
    report("measured", total, total)
    return found


@lru_cache(maxsize=16)
def _both_generators(task: LinearRegression, learners: tuple[Learner, ...], count: int) -> Spread:
    """(keys, parameters) -> the task variance that the prompts of each learner imply."""

    def both(key: Any, params: Params) -> tuple[Any, ...]:
        prompts = (learner.generate(key, params, count) for learner in learners)
        return tuple(implied_task_variance(task, written) for written in prompts)

    return over_replicates(both, quick_compilation=True)


def implied_variances_by_generator(
    job: Job, *, seed: int, folder: Folder, count: int = 10_000
) -> Arrays:
    """Implied task variance by generator, for generation 0's transformer and the Bayes predictor.

    Each generates `count` prompts in two ways, with the predictive deviation and with the noise σ
    alone (plug-in). Needs a finished generation 0 of prompts in the folder.

    Returns:
        `transformer_predictive`, `transformer_plug_in`, `bayes_predictive`, `bayes_plug_in`,
        each `[R]`.
    """
    problem = job.problem
    require(isinstance(problem, InContext), "problem", problem, "one of prompts")
    assert isinstance(problem, InContext)
    name = f"predictive_sampling-{count}"
    trained = origin(job, seed, None)
    stored = folder.load(name, trained)
    if stored is not None:
        return stored
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 2**31 - 1), job.replicates)
    replicates = draw_replicates(problem, job.samples, job.replicates, seed)
    found: Arrays = {}
    for known, architecture in (("transformer", problem.architecture), ("bayes", None)):
        of = replace(problem, architecture=architecture)
        state = before_generation_0(of, RealOnly(), replicates, 0)
        if state.params:
            state = FollowedLoop(folder.kept("generation-0", trained), state).state
        learners = tuple(replace(of, plug_in=plug_in).learner for plug_in in (False, True))
        predictive, plug_in = _both_generators(problem.task, learners, count)(keys, state.params)
        found[f"{known}_predictive"] = np.asarray(predictive)
        found[f"{known}_plug_in"] = np.asarray(plug_in)
    folder.save(name, found, trained)
    return found

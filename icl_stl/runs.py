"""Running many replicates of a loop: on all devices, in one folder, saved after every generation.

A replicate is one whole loop with its own real set, held-out prompts and seed. All regimes start
from the same replicates and share generation 0 and every random stream, so that they are compared
pairwise. What a run folder holds was made by one configuration; a stopped run continues after its
last finished generation and ends with the same numbers, bit for bit.
"""

import io
import json
import os
import platform
import re
import warnings
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import jax
import jax.numpy as jnp
import numpy as np

from icl_stl import __version__, code
from icl_stl.config import Architecture, LinearRegression, Preset, Training
from icl_stl.descriptions import canonical, describe, key
from icl_stl.devices import Ready, Report, Spread, over_replicates
from icl_stl.learners import Fitted, Learner, adam_transformer, bayes_learner
from icl_stl.loops import Sizes, generation_keys, next_generation, room_for_rows
from icl_stl.measure import (
    Estimate,
    HeldOut,
    Measurements,
    draw_held_out,
    implied_task_variance,
    measure_generation,
)
from icl_stl.models import Params
from icl_stl.regimes import Augment, RealOnly, Regime, Replace, real_share, synthetic_size
from icl_stl.results import Arrays, LoopResult, labels_of, write_atomically, write_json
from icl_stl.tasks import Prompts, sample_prompts

FORMAT = 2
"""Version of the run folder; another version is refused."""

Watch = Callable[[LoopResult], None]


# Learners and programs are made once for all presets that agree in what concerns them: a second run
# in one process compiles nothing.


@lru_cache(maxsize=16)
def _transformer(
    task: LinearRegression, architecture: Architecture, training: Training, plug_in: bool
) -> Learner:
    return adam_transformer(task, architecture, training, plug_in=plug_in)


@lru_cache(maxsize=16)
def _bayes(task: LinearRegression, plug_in: bool) -> Learner:
    return bayes_learner(task, plug_in=plug_in)


def make_learner(preset: Preset, name: str, *, plug_in: bool = False) -> Learner:
    """The learner of this name, `transformer` or `bayes`."""
    if name == "bayes":
        return _bayes(preset.task, plug_in)
    if name == "transformer":
        return _transformer(preset.task, preset.architecture, preset.training, plug_in)
    raise ValueError(f"learner must be 'transformer' or 'bayes', but it is {name!r}")


class Observation(NamedTuple):
    """What is recorded of one generation of one replicate."""

    measurements: Measurements
    training_loss: jax.Array
    """Mean loss of the last tenth of the training, nats a label (NaN without training)."""
    diverged_at: jax.Array
    """Training step with the first loss that is not finite, -1 if none."""


# --- one generation of all replicates ------------------------------------------------------------


class Replicate(NamedTuple):
    """What a replicate starts from; with a first axis `[R]`, all replicates."""

    key: jax.Array
    real: Prompts
    held_out: HeldOut


def draw_replicate(
    task: LinearRegression, samples: int, held_out: int, index: Any, seed: Any
) -> Replicate:
    """Replicate r is drawn from `fold_in(key(seed), r)`, so more replicates keep the first ones."""
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), index), 3)
    real = sample_prompts(task, keys[1], samples)
    return Replicate(keys[0], real, draw_held_out(task, keys[2], held_out))


@lru_cache(maxsize=16)
def _drawing(task: LinearRegression, samples: int, held_out: int) -> Spread:
    return over_replicates(partial(draw_replicate, task, samples, held_out), shared=1)


def draw_replicates(preset: Preset, seed: int) -> Replicate:
    """All replicates of a preset under a seed."""
    draw = _drawing(preset.task, preset.samples, preset.held_out)
    drawn: Replicate = draw(np.arange(preset.replicates, dtype=np.int32), np.int32(seed))
    return drawn


def parameter_shapes(preset: Preset, learner: Learner) -> Params:
    """Shapes of the parameters of all replicates, found without any computation."""
    one = _shapes_of_one(preset.task, learner)
    return jax.tree.map(lambda s: jax.ShapeDtypeStruct((preset.replicates, *s.shape), s.dtype), one)


@lru_cache(maxsize=16)
def _shapes_of_one(task: LinearRegression, learner: Learner) -> Params:
    def fit(key: Any) -> Params:
        return learner.fit(key, sample_prompts(task, key, 1), jnp.ones(1))

    return jax.eval_shape(fit, jax.eval_shape(lambda: jax.random.key(0)))


class State(NamedTuple):
    """What one generation hands to the next; with a first axis `[R]`, of all replicates."""

    params: Params
    """θ_i."""
    kept: Prompts | tuple[()] = ()
    """The prompts of all generations so far, for a regime that keeps them."""


def generation_step(preset: Preset, learner: Learner, regime: Regime) -> Spread:
    """One generation of all replicates: (replicates, state, sizes, α_i, i) -> state, observations.

    With sizes, not None, the regime says no more than how many places there are for prompts, and
    their share takes the place of α_i: see `program_of`. With those of the regime `RealOnly` and
    i = 0 this is generation 0 of every regime.
    """
    return _generation_step(preset.task, preset.samples, preset.held_out, learner, regime)


@lru_cache(maxsize=16)
def _generation_step(
    task: LinearRegression, samples: int, held_out: int, learner: Learner, regime: Regime
) -> Spread:

    def draw_real(key: Any, count: int) -> Prompts:
        return sample_prompts(task, key, count)

    def step(
        replicate: Replicate, previous: State, sizes: Sizes | None, share: Any, index: Any
    ) -> tuple[State, Observation]:
        key, real, test = replicate
        generation = next_generation(
            key,
            learner,
            regime,
            real,
            previous.params,
            index,
            kept=previous.kept,
            draw_real=draw_real,
            sizes=sizes,
            share=share,
        )
        state = State(generation.params, generation.kept)
        key_observe = generation_keys(key, index).observe
        mixed = None if regime.keeps_history else generation.real_share
        measurements = measure_generation(
            task, learner, test, key_observe, generation, real_share=mixed
        )
        fitted = generation.params
        if isinstance(fitted, Fitted):
            return state, Observation(measurements, fitted.loss, fitted.diverged_at)
        return state, Observation(measurements, jnp.array(jnp.nan), jnp.array(-1))

    return over_replicates(step, shared=3)


def program_of(preset: Preset, regime: Regime) -> tuple[Regime, Sizes | None]:
    """The regime whose `generation_step` serves this one, and the sizes to give it.

    A real set beside equally many rows of the last generation is one program, whatever the share;
    real rows alone are in the smallest of a preset's programs.
    """
    n = preset.samples
    if type(regime) not in (RealOnly, Augment, Replace):
        return regime, None
    n_syn = synthetic_size(regime, n)
    places = n_syn or min(filter(None, (synthetic_size(r, n) for r in preset.regimes)))
    sizes = Sizes(np.int32(n), np.int32(n_syn), np.float32(real_share(regime, n, 1)))
    return Augment.from_lam(places / n), sizes


def _named(observation: Observation) -> Arrays:
    """The observation's arrays by name; of an estimate `name` and `name_variance`."""
    arrays: dict[str, Any] = {}
    measurements, *others = observation
    fields = {**measurements._asdict(), **dict(zip(Observation._fields[1:], others, strict=True))}
    for name, value in fields.items():
        if value is None:
            continue
        if isinstance(value, Estimate):
            arrays[name], arrays[f"{name}_variance"] = value
        else:
            arrays[name] = value
    return {name: np.asarray(value) for name, value in arrays.items()}


# --- the run folder ------------------------------------------------------------------------------


def identity(
    preset: Preset, learner: str, seed: int, module: str = "icl_stl.runs"
) -> dict[str, Any]:
    """All that a run's numbers depend on: settings, seed, versions, code, platform.

    Args:
        preset: Sizes.
        learner: The learner, by name.
        seed: Seed of all replicates.
        module: Where the numbers are computed: its code and all that it imports count.
    """
    return {
        "format": FORMAT,
        "preset": asdict(preset),
        "learner": learner,
        "seed": seed,
        "versions": versions(),
        "source": code.digest(module),
        "jax": settings_of_jax(),
        "platform": f"{jax.devices()[0].device_kind} {platform.machine()}",
        # A program for one device and one for several round differently.
        "devices": "one" if min(len(jax.devices()), preset.replicates) == 1 else "several",
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
    """A run folder of one configuration: `config.json` and one checkpoint a regime.

    Raises:
        ValueError: If the folder was made by another configuration; the message says what differs.
    """

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
        """Store arrays; the state before this one is kept as a second file.

        Args:
            name: Of the checkpoint.
            arrays: By name.
            made_by: What they are, beside what the whole folder is, as JSON.
        """
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
            name: Of the checkpoint.
            made_by: What it must have been made by: see `save`.
            again: Take one that was made by something else for none, with a warning.

        Raises:
            ValueError: If it was made by something else.
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

    def _path(self, name: str) -> Path:
        return self.checkpoints / f"{re.sub(r'[^A-Za-z0-9._+-]', '_', name)}.npz"


MADE_BY = "made_by"
"""The array of a checkpoint that says what it was made by."""


# --- running -------------------------------------------------------------------------------------


class _Loop:
    """The replicates of one regime, generation by generation, in memory and in the folder.

    Args:
        name: What it is called.
        file: Its checkpoint.
        made_by: What it is, whole.
        folder: Where it is kept.
        state: Before generation 0.
    """

    def __init__(self, name: str, file: str, made_by: Any, folder: Folder, state: State):
        self.name, self.file, self.made_by, self.folder = name, file, made_by, folder
        stored = folder.load(file, made_by) or {}
        self.empty = state
        self.without_eps = bool(jax.tree.leaves(state.kept))
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
        return self.observations["diverged_at"].shape[1] if self.observations else 0

    def start_from(self, other: "_Loop") -> None:
        """Take over generation 0 of another regime."""
        self.state = State(other.state.params, self.empty.kept)
        self.observations = {
            key: values[:, :1]
            for key, values in other.observations.items()
            if not self.without_eps or not key.startswith("eps")
        }

    def add(self, state: State, observation: Observation) -> None:
        self.state = state
        new = {key: values[:, None] for key, values in _named(observation).items()}
        old = self.observations
        self.observations = {
            key: np.concatenate([old[key], values], axis=1) if old else values
            for key, values in new.items()
        }
        leaves = {
            f"params_{index}": np.asarray(leaf) for index, leaf in enumerate(jax.tree.leaves(state))
        }
        self.folder.save(self.file, {**leaves, **self.observations}, self.made_by)


def _made_by(preset: Preset, learner: Learner, seed: int, regime: Regime | None) -> dict[str, Any]:
    """What a checkpoint of loops is, beside what its folder is; None is generation 0 of all.

    Raises:
        ValueError: If the learner or the regime cannot be told from others.
    """
    sizes = (preset.task, preset.samples, preset.held_out, preset.replicates)
    return {
        "sizes": key(sizes),
        "seed": seed,
        "learner": key(learner, "learner"),
        "regime": describe(regime, "regime"),
    }


def run_loops(
    preset: Preset,
    learner: Learner,
    regimes: Iterable[Regime],
    *,
    seed: int,
    folder: Folder,
    report: Report = lambda text, done, total: None,
    watch: Watch = lambda result: None,
) -> dict[str, LoopResult]:
    """Run all replicates of the given regimes, or take up where the folder left off.

    Args:
        preset: Sizes.
        learner: The learner.
        regimes: Data regimes.
        seed: Seed of all replicates.
        folder: Where every finished generation is stored.
        report: Called before each piece of work.
        watch: Called with the loops of a regime after each generation.

    Returns:
        The results by the label of their regime, such as `augment-0.5`: `results.labels_of`.

    Raises:
        ValueError: If the learner or a regime cannot be told from others, or the folder has loops
            of others.
    """
    chosen = labels_of(regimes, preset.samples)
    total = len(chosen) * preset.generations + 1
    report("drawing real sets", 0, total)
    replicates = draw_replicates(preset, seed)
    shapes = parameter_shapes(preset, learner)
    nothing = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)

    def empty(regime: Regime) -> State:
        if not regime.keeps_history:
            return State(nothing)

        def room(real: Prompts) -> Any:
            return room_for_rows(regime, real, preset.generations)

        return State(nothing, jax.vmap(room)(replicates.real))

    def kept(name: str, regime: Regime | None, state: State) -> _Loop:
        file = name if regime is None else f"{name}-{key(regime)[:16]}"
        return _Loop(name, file, _made_by(preset, learner, seed, regime), folder, state)

    first = kept("generation-0", None, State(nothing))
    loops = {name: kept(name, regime, empty(regime)) for name, regime in chosen.items()}
    done = first.generations + sum(max(0, loop.generations - 1) for loop in loops.values())

    # Generation 0 is one of the regime that uses real data alone: one compilation serves both.
    needed = [r for n, r in chosen.items() if loops[n].generations <= preset.generations]
    if not first.generations:
        needed.append(RealOnly())
    programs = {program_of(preset, regime)[0]: regime for regime in needed}
    if programs:
        report(f"compiling {len(programs)} programs for {len(needed)} regimes", done, total)

    def step(regime: Regime) -> Ready:
        places, sizes = program_of(preset, regime)
        program = generation_step(preset, learner, places)
        return program.compiled(replicates, empty(regime), sizes, np.float32(0), np.int32(0))

    def next_of(regime: Regime, state: State, index: int) -> tuple[State, Observation]:
        sizes = program_of(preset, regime)[1]
        share = np.float32(real_share(regime, preset.samples, index))
        made: tuple[State, Observation] = step(regime)(
            replicates, state, sizes, share, np.int32(index)
        )
        return made

    with ThreadPoolExecutor() as threads:
        list(threads.map(step, programs.values()))

    if not first.generations:
        report("all regimes, generation 0", done, total)
        first.add(*next_of(RealOnly(), first.empty, 0))
        done += 1
    for name, loop in loops.items():
        if not loop.generations:
            loop.start_from(first)
        watch(LoopResult(chosen[name], preset.samples, loop.observations))
        while loop.generations <= preset.generations:
            index = loop.generations
            report(f"{name}, generation {index}", done, total)
            loop.add(*next_of(chosen[name], loop.state, index))
            done += 1
            watch(LoopResult(chosen[name], preset.samples, loop.observations))
    report("measured", total, total)
    return {
        name: LoopResult(chosen[name], preset.samples, loop.observations)
        for name, loop in loops.items()
    }


@lru_cache(maxsize=16)
def _both_generators(task: LinearRegression, learners: tuple[Learner, ...], count: int) -> Spread:
    """(keys, parameters) -> the task variance that the prompts of each learner imply."""

    def both(key: Any, params: Params) -> tuple[Any, ...]:
        prompts = (learner.generate(key, params, count) for learner in learners)
        return tuple(implied_task_variance(task, written) for written in prompts)

    return over_replicates(both, quick_compilation=True)


def implied_variances_by_generator(
    preset: Preset, *, seed: int, folder: Folder, count: int = 10_000
) -> Arrays:
    """Implied task variance by generator, for generation 0's transformer and the Bayes predictor.

    Each generates `count` prompts in two ways, with the predictive deviation and with the noise σ
    alone (plug-in). Needs a finished generation 0 in the folder.

    Returns:
        `transformer_predictive`, `transformer_plug_in`, `bayes_predictive`, `bayes_plug_in`,
        each `[R]`.
    """
    name = f"predictive_sampling-{count}"
    trained = _made_by(preset, make_learner(preset, "transformer"), seed, None)
    stored = folder.load(name, trained)
    if stored is not None:
        return stored
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 2**31 - 1), preset.replicates)
    found: Arrays = {}
    for learner_name in ("transformer", "bayes"):
        structure = parameter_shapes(preset, make_learner(preset, learner_name))
        params = structure
        if structure:
            first = _Loop("generation-0", "generation-0", trained, folder, State(structure))
            params = first.state.params
        learners = tuple(make_learner(preset, learner_name, plug_in=p) for p in (False, True))
        predictive, plug_in = _both_generators(preset.task, learners, count)(keys, params)
        found[f"{learner_name}_predictive"] = np.asarray(predictive)
        found[f"{learner_name}_plug_in"] = np.asarray(plug_in)
    folder.save(name, found, trained)
    return found

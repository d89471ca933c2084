"""Loops of the transformer at many real and synthetic sizes: one program for all of them.

A program has places for the most prompts of each kind; a smaller loop leaves places empty
(`loops.Sizes`), beside a fixed real set or new real prompts. So a curve over sizes costs one
compilation, and all of its loops share their prompts and randomness.
"""

from functools import lru_cache
from threading import Lock
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from icl_stl.config import Architecture, LinearRegression, Preset, Training
from icl_stl.devices import on_host, over_replicates
from icl_stl.experiments import LoopSize, SizedNeighbours, SizedTransformers
from icl_stl.learners import adam_transformer
from icl_stl.loops import Sizes, generation_keys, next_generation
from icl_stl.measure import differences, gap_parts, measure_generation, parameter_distance
from icl_stl.models import Params
from icl_stl.regimes import FreshReal
from icl_stl.results import Arrays
from icl_stl.runs import Replicate, draw_replicates, parameter_shapes
from icl_stl.tasks import sample_prompts

SYNTHETIC = ("synthetic", "shift")
"""Parts of the gap that a loop without synthetic rows does not have."""


class Setting(NamedTuple):
    """What differs between loops that share a program."""

    sizes: Sizes
    """n, n_syn and the share of the real law in later generations."""
    fresh: Any
    """Whether every generation sees new real prompts."""


class Program(NamedTuple):
    """Loops of one network with places for so many prompts."""

    preset: Preset
    """Task, network, training, places for real prompts, held-out prompts and number of loops."""
    step: Any
    """(replicates, θ_{i-1}, setting, i) -> θ_i, observations: compiled."""
    compare: Any
    """(replicates, fits of generation 0 side by side, of generation 1) -> `measure.differences` of
    the former from the first of them; `passed`, what is left of their distances in the latter."""
    draw: Any
    """(replicates) -> new real prompts, as many as there are real ones."""
    nothing: Params
    """Zeros in place of parameters before generation 0, of all loops."""


def generation_step(preset: Preset, places: LoopSize) -> Any:
    """One generation of one loop: (replicate, θ_{i-1}, setting, i) -> θ_i, observations by name."""
    task = preset.task
    learner = adam_transformer(task, preset.architecture, preset.training)
    regime = FreshReal(places.n_syn / places.samples)

    def step(
        replicate: Replicate, previous: Params, setting: Setting, index: Any
    ) -> tuple[Params, dict[str, Any]]:
        key, real, held_out = replicate

        def draw_real(key: Any, count: int) -> Any:
            drawn = sample_prompts(task, key, count)
            return jax.tree.map(lambda a, b: jnp.where(setting.fresh, a, b), drawn, real)

        generation = next_generation(
            key,
            learner,
            regime,
            real,
            previous,
            index,
            draw_real=draw_real,
            from_first=True,
            sizes=setting.sizes,
        )
        key_fresh, key_written = jax.random.split(generation_keys(key, index).observe)
        share = generation.real_share
        seen = measure_generation(task, learner, held_out, key_fresh, generation, real_share=share)
        parts = gap_parts(task, learner, held_out, key_written, generation, places.samples)
        later = {name: jnp.where(share < 1, getattr(parts, name), 0.0) for name in SYNTHETIC}
        assert seen.eps is not None
        return generation.params, {
            "gap": share * parts.real + (1 - share) * sum(later.values()),
            "real": parts.real,
            "excess": parts.excess,
            **later,
            "drift": seen.drift.mean,
            "eps": seen.eps.mean,
            "kl": seen.kl[-1] / task.context,
            "excess_squared_risk": jnp.mean(seen.excess_squared_risk),
            "implied_task_variance": seen.implied_task_variance,
            "diverged_at": generation.params.diverged_at,
        }

    return step


def _distances(fits: Params) -> Any:
    """Distances of the weights of the first fit from those of the others."""
    own, others = (jax.tree.map(lambda a, k=k: a[k], fits.weights) for k in (0, slice(1, None)))
    return jax.vmap(lambda other: parameter_distance(own, other))(others)


def comparison(preset: Preset) -> Any:
    """Fits of one loop beside each other: (replicate, fits, what was fitted to their rows)."""
    task = preset.task
    learner = adam_transformer(task, preset.architecture, preset.training)

    def compare(replicate: Replicate, first: Params, second: Params) -> dict[str, Any]:
        own = jax.tree.map(lambda a: a[0], first)
        key = jax.random.fold_in(replicate.key, 2**31 - 2)
        fresh = learner.generate(key, own, preset.held_out)
        test, bayes = replicate.held_out
        seen = differences(task, learner, first, lambda fit: fit.weights, test, bayes, fresh)
        return {**seen._asdict(), "passed": _distances(second) / _distances(first)}

    return compare


_MAKING = Lock()


@lru_cache(maxsize=8)
def _program(
    task: LinearRegression,
    architecture: Architecture,
    training: Training,
    places: LoopSize,
    runs: int,
    held_out: int,
) -> Program:
    preset = Preset(
        "sizes",
        task=task,
        architecture=architecture,
        training=training,
        samples=places.samples,
        replicates=runs,
        shares=(),
        held_out=held_out,
    )
    shapes = parameter_shapes(preset, adam_transformer(task, architecture, training))
    nothing = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    step = over_replicates(generation_step(preset, places), shared=2).compiled(
        on_host(draw_replicates(preset, 0)),
        nothing,
        _setting(LoopSize(1, 1), "fixed"),
        np.int32(0),
    )

    def draw(replicate: Replicate) -> Any:
        key = jax.random.fold_in(replicate.key, 2**31 - 1)
        return sample_prompts(task, key, places.samples)

    compare = over_replicates(comparison(preset), quick_compilation=True)
    drawing = over_replicates(draw, quick_compilation=True)
    return Program(preset, step, compare, drawing, nothing)


def _setting(size: LoopSize, world: str) -> Setting:
    sizes = Sizes(np.int32(size.samples), np.int32(size.n_syn), np.float32(size.share))
    return Setting(sizes, np.bool_(world == "fresh"))


def _shared_program(experiment: SizedTransformers | SizedNeighbours) -> Program:
    e = experiment
    with _MAKING:  # compiled once, for whoever waits here too
        return _program(e.task, e.architecture, e.training, e.places, e.runs, e.held_out)


def run_experiment(experiment: SizedTransformers, seed: int) -> Arrays:
    """What the loops of one size show: `[runs, G + 1]` by name, `[runs, G + 1, P]` of prefixes."""
    program = _shared_program(experiment)
    replicates = on_host(draw_replicates(program.preset, seed))
    setting, params, seen = _setting(experiment.size, experiment.world), program.nothing, []
    for index in range(experiment.generations + 1):
        made = program.step(replicates, params, setting, np.int32(index))
        params, observed = on_host(made)
        seen.append(observed)
    return jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *seen)  # type: ignore[no-any-return]


def _side_by_side(fits: list[Params]) -> Params:
    """Parameters of several fits, `[R, fits, ...]`."""
    return jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *fits)


def run_neighbours(experiment: SizedNeighbours, seed: int) -> Arrays:
    """What one replaced real prompt moves, `[runs, K]` for each of K prompts.

    Of generation 0: `measure.differences`. `passed`: of the distance between two such fits, as
    generators, how much is left between the fits of generation 1 beside the same real set.
    """
    program = _shared_program(experiment)
    replicates = on_host(draw_replicates(program.preset, seed))
    setting = _setting(experiment.size, "fixed")

    def step(real: Any, previous: Params, index: int) -> Params:
        own = replicates._replace(real=real)
        return on_host(program.step(own, previous, setting, np.int32(index))[0])

    new = on_host(program.draw(replicates))

    def swapped(k: int) -> Any:
        """The real sets with new prompts in the place of prompt k."""
        here = np.arange(program.preset.samples) == k
        pick = lambda a, b: np.where(here.reshape(-1, *[1] * (a.ndim - 2)), b, a)  # noqa: E731
        return jax.tree.map(pick, replicates.real, new)

    first = [step(replicates.real, program.nothing, 0)]
    first += [step(swapped(k), program.nothing, 0) for k in range(experiment.neighbours)]
    second = [step(replicates.real, params, 1) for params in first]
    seen = program.compare(replicates, _side_by_side(first), _side_by_side(second))
    return jax.tree.map(np.asarray, seen)  # type: ignore[no-any-return]

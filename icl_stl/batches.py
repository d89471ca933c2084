"""Running settings of a sweep: one compiled program for all settings of equal shape.

Numbers that a program can take as arguments are: seed, learning rate, weight decay, n, n_syn, the
share of the real law, whether real prompts are new in every generation. What is left is the shape.
A program has places for more prompts than a loop may have (`loops.Sizes`); how many depends on the
setting alone (`places`), never on its neighbours, so that a setting gives the same bits in whatever
sweep it is run: alone or beside others, now or after a restart.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from platform import machine
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from icl_stl import code as code_of
from icl_stl.config import Architecture, LinearRegression, Preset, Training
from icl_stl.devices import default_cache, on_host, over_replicates, use_all_cores
from icl_stl.experiments import SolvableLoops
from icl_stl.grids import Setting
from icl_stl.learners import adam_transformer
from icl_stl.loops import Sizes, generation_keys, next_generation
from icl_stl.measure import measure_generation
from icl_stl.models import Params
from icl_stl.problems import PROBLEMS
from icl_stl.references import lookup
from icl_stl.regimes import AugmentSameInputs, FreshReal, Regime
from icl_stl.results import Arrays, Floats
from icl_stl.runs import (
    Replicate,
    draw_replicate,
    parameter_shapes,
    settings_of_jax,
    versions,
)
from icl_stl.solvable import batch_size, loop, measurements
from icl_stl.tasks import sample_prompts


class Shape(NamedTuple):
    """What settings of the transformer have in common where one program serves them."""

    task: LinearRegression
    architecture: Architecture
    training: Training
    """With the learning rate and weight decay of every setting left out."""
    regime: Regime
    """With places for the synthetic prompts of every setting; its inputs are new or reused."""
    samples: int
    """Places for real prompts."""
    held_out: int


class Numbers(NamedTuple):
    """What they differ in: arguments of the program, one of each for every loop."""

    seed: Any
    sizes: Sizes
    fresh: Any
    """Whether every generation sees new real prompts."""
    learning_rate: Any
    weight_decay: Any


class Program(NamedTuple):
    """Loops of one shape, side by side; compiled."""

    draw: Any
    """numbers -> replicates."""
    step: Any
    """(replicates, θ_{i-1}, numbers, i) -> θ_i, observations by name."""
    nothing: Params
    """Zeros in place of parameters before generation 0."""


def places(rows: int, training: Training) -> int:
    """Places for so many rows: a power of two, 512 or an eighth of what training shows at least.

    So all small sizes share a program, where rows cost little beside training and compilation, and
    larger ones never cost twice what they would alone.
    """
    small = max(512, training.steps * training.batch // 8)
    return 1 << max((max(1, rows) - 1).bit_length(), small.bit_length() - 1)


def shape_of(setting: Setting) -> Shape | SolvableLoops:
    """The shape: settings that share it share a program."""
    if setting.learner != "transformer":
        return setting.experiment
    training = Training(setting.steps, setting.batch)
    samples = places(setting.samples, training)
    lam = places(setting.n_syn, training) / samples
    same_inputs = isinstance(setting.rule, AugmentSameInputs)
    regime = AugmentSameInputs.from_lam(lam) if same_inputs else FreshReal(lam)
    return Shape(setting.task, setting.architecture, training, regime, samples, setting.held_out)


def numbers_of(setting: Setting) -> Numbers:
    """The numbers in which it differs from others of its shape."""
    sizes = Sizes(
        np.int32(setting.samples), np.int32(setting.n_syn), np.float32(setting.real_share)
    )
    return Numbers(
        np.int32(setting.seed),
        sizes,
        np.bool_(setting.rule.fresh_real),
        np.float32(setting.learning_rate),
        np.float32(setting.weight_decay),
    )


# --- the transformer -----------------------------------------------------------------------------


def generation_step(shape: Shape) -> Any:
    """One generation of one loop: (replicate, θ_{i-1}, numbers, i) -> θ_i, observations by name."""
    task = shape.task

    def step(
        replicate: Replicate, previous: Params, numbers: Numbers, index: Any
    ) -> tuple[Params, dict[str, Any]]:
        key, real, held_out = replicate
        learner = adam_transformer(
            task,
            shape.architecture,
            shape.training,
            learning_rate=numbers.learning_rate,
            weight_decay=numbers.weight_decay,
        )

        def draw_real(key: Any, count: int) -> Any:
            drawn = sample_prompts(task, key, count)
            return jax.tree.map(lambda a, b: jnp.where(numbers.fresh, a, b), drawn, real)

        generation = next_generation(
            key,
            learner,
            shape.regime,
            real,
            previous,
            index,
            draw_real=draw_real,
            from_first=True,
            sizes=numbers.sizes,
        )
        seen = measure_generation(
            task,
            learner,
            held_out,
            generation_keys(key, index).observe,
            generation,
            real_share=generation.real_share,
        )
        assert seen.eps is not None
        fitted = generation.params
        return fitted, {
            "excess_risk": jnp.mean(seen.excess_squared_risk),
            "excess_nll": seen.kl[-1] / task.context,
            "drift": seen.drift.mean[-1],
            "drift_stderr": jnp.sqrt(seen.drift.variance[-1] / shape.held_out),
            "eps": seen.eps.mean[-1],
            "eps_stderr": jnp.sqrt(seen.eps.variance[-1] / shape.held_out),
            "gap": seen.risk - seen.training_risk,
            "implied_task_variance": seen.implied_task_variance,
            "training_loss": fitted.loss,
            "diverged_at": fitted.diverged_at,
        }

    return step


def _stacked(settings: Sequence[Setting], width: int) -> Numbers:
    """The numbers of settings, `[width]` each; the last one fills what is left."""
    filled = [*settings, *[settings[-1]] * (width - len(settings))]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *map(numbers_of, filled))  # type: ignore[no-any-return]


@lru_cache(maxsize=4)
def transformer_program(shape: Shape, width: int) -> Program:
    """The program of a shape for so many loops at a time."""
    task, architecture, training, _, samples, held_out = shape
    preset = Preset(
        "sweep",
        task=task,
        architecture=architecture,
        training=training,
        samples=samples,
        replicates=width,
        shares=(),
        held_out=held_out,
    )
    shapes = parameter_shapes(preset, adam_transformer(task, architecture, training))
    nothing = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    some = jax.tree.map(lambda a: np.stack([a] * width), numbers_of(Setting()))
    first = partial(draw_replicate, task, samples, held_out, 0)  # of `runs.draw_replicates`
    draw = over_replicates(lambda numbers: first(numbers.seed)).compiled(some)
    step = over_replicates(generation_step(shape), shared=1)
    return Program(draw, step.compiled(on_host(draw(some)), nothing, some, np.int32(0)), nothing)


def run_transformers(settings: Sequence[Setting], width: int) -> list[Arrays]:
    """What loops of one shape show, at most `width` of them: `[G + 1]` by name for each."""
    shape = shape_of(settings[0])
    assert isinstance(shape, Shape)
    program = transformer_program(shape, width)
    numbers = _stacked(settings, width)
    replicates, params = on_host(program.draw(numbers)), program.nothing
    seen = []
    for index in range(max(setting.generations for setting in settings) + 1):
        made = program.step(replicates, params, numbers, np.int32(index))
        params, observed = on_host(made)
        seen.append(observed)
    stacked = {name: np.stack([one[name] for one in seen], axis=1) for name in seen[0]}
    return [
        {name: values[k, : setting.generations + 1] for name, values in stacked.items()}
        for k, setting in enumerate(settings)
    ]


# --- solvable learners ---------------------------------------------------------------------------


class SolvableProgram(NamedTuple):
    """Loops of one solvable problem, any seed; compiled."""

    call: Any
    """(numbers of the loops `[devices, width]`, seed) -> observations `[devices, width, G + 1]`."""
    devices: int
    width: int


@lru_cache(maxsize=4)
def solvable_program(experiment: SolvableLoops) -> SolvableProgram:
    """The program of an experiment."""
    problem = PROBLEMS[experiment.problem](**dict(experiment.settings))
    regime, n, last = experiment.regime, experiment.samples, experiment.generations
    observe = measurements(problem, regime)

    def chunk(indices: Any, seed: Any) -> Any:
        def one(index: Any) -> Any:
            key = jax.random.fold_in(jax.random.key(seed), index)
            return loop(problem, regime, n, last, key, observe)

        return jax.vmap(one)(indices)

    width = min(experiment.runs, batch_size(problem, regime, n, last))
    devices = min(len(jax.devices()), -(-experiment.runs // width))
    some = np.zeros((devices, width), np.int32)
    call = over_replicates(chunk, shared=1).compiled(some, np.int32(0))
    return SolvableProgram(call, devices, width)


def run_solvable(setting: Setting) -> Arrays:
    """Means and standard errors over the loops of a solvable learner: `[G + 1]` by name.

    `diverged_at` is the first loop with a number that is not finite, -1 if there is none;
    `failed_loops` is how many there are. A mean over the others would be of other loops: it is NaN.
    """
    experiment = setting.experiment
    program = solvable_program(experiment)
    together = program.devices * program.width
    parts = []
    for start in range(0, experiment.runs, together):
        indices = np.arange(start, start + together, dtype=np.int32)
        found = on_host(program.call(indices.reshape(-1, program.width), np.int32(setting.seed)))
        parts.append({k: a.reshape(together, *a.shape[2:]) for k, a in found.items()})
    observed = {
        name: np.concatenate([part[name] for part in parts])[: experiment.runs].astype(np.float64)
        for name in parts[0]
    }
    return {
        **_means(observed),
        "excess_risk_closed_form": lookup.excess_risk(
            experiment.problem,
            experiment.regime,
            experiment.samples,
            experiment.generations,
            dict(experiment.settings),
        ),
    }


def _means(observed: Arrays) -> Arrays:
    """Means and standard errors over loops, `[G + 1]`; nan where one of them is not finite."""
    means: Arrays = {}
    fine = np.all([np.isfinite(a) for a in observed.values()], axis=0)
    for name, values in observed.items():
        known = {"excess": "excess_risk"}.get(name, name)
        means[known], means[f"{known}_stderr"] = mean_and_error(values)
    means["diverged_at"] = np.where(fine.all(0), -1, np.argmin(fine, axis=0))
    means["failed_loops"] = (~fine).sum(0)
    return means


def mean_and_error(values: Floats) -> tuple[Floats, Floats]:
    """Mean over the first axis and its standard error, nan from one value or an infinite one."""
    count = len(values)
    finite = np.isfinite(values).all(0)
    kept = np.where(finite, values, 0.0)
    error = kept.std(axis=0, ddof=1) / count**0.5 if count > 1 else np.full(kept.shape[1:], np.nan)
    return np.where(finite, kept.mean(0), np.nan), np.where(finite, error, np.nan)


# --- where it runs -------------------------------------------------------------------------------


@lru_cache
def use_own_cores() -> None:
    """As `devices.use_all_cores`, once in a worker's life."""
    use_all_cores(default_cache())


# --- batches -------------------------------------------------------------------------------------


def code() -> dict[str, Any]:
    """The versions, the source and the settings of JAX that the numbers come from."""
    return {
        "versions": versions(),
        "source": code_of.digest(__name__),
        "jax": settings_of_jax(),
    }


def width_of(at_once: int) -> int:
    """How many loops of the transformer a program runs: one a device, more on an accelerator."""
    return len(jax.devices()) * (1 if jax.default_backend() == "cpu" else at_once)


def made_on(at_once: int) -> dict[str, Any]:
    """What the last bits depend on beside the setting and the code."""
    return {
        "platform": f"{jax.devices()[0].device_kind} {machine()}",
        "devices": "one" if len(jax.devices()) == 1 else "several",
        "at_once": 1 if jax.default_backend() == "cpu" else at_once,
    }


def run_batch(
    settings: Sequence[Setting], at_once: int
) -> Iterator[tuple[Setting, Arrays | Exception]]:
    """What settings of one shape show, as soon as it is known; an error where there is one.

    Args:
        settings: Settings of one shape.
        at_once: Loops of the transformer on one accelerator at a time.
    """
    together = 1 if settings[0].learner != "transformer" else width_of(at_once)
    for start in range(0, len(settings), together):
        some = settings[start : start + together]
        found: list[Arrays] | Exception
        try:
            if settings[0].learner == "transformer":
                found = run_transformers(some, together)
            else:
                found = [run_solvable(some[0])]
        except Exception as error:
            found = error
        for k, setting in enumerate(some):
            yield setting, found if isinstance(found, Exception) else found[k]

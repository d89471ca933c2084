"""Running settings of a sweep: one compiled program for all settings of equal shape.

Numbers that a program can take as arguments are: seed, learning rate, weight decay, n, n_syn, the
share of the real law, whether real prompts are new in every generation. What is left is the shape.
A program has places for more prompts than a loop may have (`loops.Sizes`); how many depends on the
setting alone (`places`), never on its neighbours, so that a setting gives the same bits in whatever
sweep it is run: alone or beside others, now or after a restart.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from platform import machine
from typing import Any, NamedTuple

import jax
import numpy as np

from icl_stl import code as code_of
from icl_stl.code import is_own
from icl_stl.config import Training
from icl_stl.devices import default_cache, on_host, over_replicates, use_all_cores
from icl_stl.lab.experiments import Loops
from icl_stl.lab.results import Arrays, Floats
from icl_stl.lab.runs import (
    Numbers,
    State,
    before_generation_0,
    draw_replicate,
    follow,
    generation_step,
    settings_of_jax,
    versions,
)
from icl_stl.lab.solvable import batch_size, check_fit, loop, measurements
from icl_stl.lab.sweeps.grids import Setting
from icl_stl.loops import check_mix, real_rows
from icl_stl.measure import of_whole_prompts
from icl_stl.problems import InContext, expected_excess
from icl_stl.regimes import Augment, AugmentSameInputs, FreshReal, RealOnly, Regime, Replace


class Shape(NamedTuple):
    """What settings of the transformer have in common where one program serves them."""

    problem: InContext
    """With the learning rate and weight decay of every setting left out."""
    regime: Regime
    """With places for the synthetic prompts of every setting; its inputs are new or reused."""
    samples: int
    """Places for real prompts."""
    generations: int = 0
    """For which there are places, in a regime that keeps all prompts."""
    filled: bool = False
    """Whether all places are used: the regime is that of its settings, and no other's."""


class Program(NamedTuple):
    """Loops of one shape, side by side; compiled."""

    draw: Any
    """Seeds -> replicates."""
    step: Any
    """(replicates, state, numbers, i) -> state, observations by name."""
    nothing: State
    """Before generation 0."""


def places(rows: int, training: Training) -> int:
    """Places for so many rows: a power of two, 512 or an eighth of what training shows at least.

    So all small sizes share a program, where rows cost little beside training and compilation, and
    larger ones never cost twice what they would alone.
    """
    small = max(512, training.steps * training.batch // 8)
    return 1 << max((max(1, rows) - 1).bit_length(), small.bit_length() - 1)


PLACED = (Augment, AugmentSameInputs, FreshReal, RealOnly, Replace)
"""Regimes that differ in numbers alone, where there are places for more prompts than there are."""


def shape_of(setting: Setting) -> Shape | Loops:
    """The shape: settings that share it share a program."""
    problem, regime = setting.problem, setting.regime
    if not isinstance(problem, InContext):
        return setting.experiment
    usual = Training()
    rates = {name: getattr(usual, name) for name in ("learning_rate", "weight_decay")}
    training = replace(problem.training, **rates)
    problem = replace(problem, training=training)
    if type(regime) not in PLACED:
        kept = setting.generations if regime.keeps_history else 0
        return Shape(problem, regime, setting.samples, kept, filled=True)
    samples = places(setting.samples, training)
    lam = places(setting.n_syn, training) / samples
    same_inputs = isinstance(regime, AugmentSameInputs)
    placed = AugmentSameInputs.from_lam(lam) if same_inputs else FreshReal(lam)
    return Shape(problem, placed, samples)


Row = tuple[float, float, float, int, int, bool]
"""Share, learning rate, weight decay, n, n_syn, whether real prompts are new."""


def _numbers(rows: Sequence[Row], *, filled: bool) -> Numbers:
    share, rate, decay = np.array([row[:3] for row in rows], np.float32).T
    samples, n_syn = np.array([row[3:5] for row in rows], np.int32).T
    fresh = np.array([row[5] for row in rows], np.bool_)
    found = Numbers(share, samples, n_syn, fresh, rate, decay)
    return found._replace(samples=None, n_syn=None) if filled else found


def numbers_of(settings: Sequence[Setting], generation: int, *, filled: bool = False) -> Numbers:
    """The numbers in which they differ from others of their shape: one of each for every one.

    Args:
        settings: Of one shape.
        generation: i, for the share of the real law.
        filled: See `Shape`.
    """
    rows = []
    for one in settings:
        training = getattr(one.problem, "training", Training())
        rates = training.learning_rate, training.weight_decay
        sizes = one.samples, one.n_syn, one.regime.fresh_real
        rows.append((one.share(generation), *rates, *sizes))
    return _numbers(rows, filled=filled)


@lru_cache(maxsize=4)
def transformer_program(shape: Shape, width: int) -> Program:
    """The program of a shape for so many loops at a time."""
    problem, regime, samples, generations, filled = shape
    first = partial(draw_replicate, problem, samples, 0)  # of `runs.draw_replicates`
    some = np.zeros(width, np.int32)
    draw = over_replicates(first).compiled(some)
    replicates = on_host(draw(some))
    if filled:
        key, _, real, _ = jax.tree.map(lambda a: a[0], replicates)
        check_mix(key, problem.learner, regime, real_rows(real), generations)
    nothing = before_generation_0(problem, regime, replicates, generations)
    numbers = _numbers([(1.0, 1.0, 0.0, 1, 1, True)] * width, filled=filled)
    step = generation_step(problem, regime).compiled(replicates, nothing, numbers, np.int32(0))
    return Program(draw, step, nothing)


def run_transformers(settings: Sequence[Setting], width: int) -> list[Arrays]:
    """What loops of one shape show, at most `width` of them: `[G + 1]` by name for each."""
    shape = shape_of(settings[0])
    assert isinstance(shape, Shape)
    program = transformer_program(shape, width)
    filled = [*settings, *[settings[-1]] * (width - len(settings))]
    replicates = on_host(program.draw(np.array([setting.seed for setting in filled], np.int32)))
    last = max(setting.generations for setting in settings)
    numbers = partial(numbers_of, filled, filled=shape.filled)
    seen = follow(program.step, replicates, program.nothing, numbers, last)
    count = shape.problem.held_out
    shown = of_whole_prompts(seen) | {"training_loss": seen["training_loss"]}
    shown["excess_risk"] = shown.pop("excess")
    for name in {"drift", "eps"} & {*seen}:
        shown[f"{name}_stderr"] = np.sqrt(seen[f"{name}_variance"][..., -1] / count)
    return [
        {name: values[k, : setting.generations + 1] for name, values in shown.items()}
        for k, setting in enumerate(settings)
    ]


class SolvableProgram(NamedTuple):
    """Loops of one solvable problem, any seed; compiled."""

    call: Any
    """(numbers of the loops `[devices, width]`, seed) -> observations `[devices, width, G + 1]`."""
    devices: int
    width: int


@lru_cache(maxsize=4)
def solvable_program(experiment: Loops) -> SolvableProgram:
    """The program of an experiment."""
    problem = experiment.problem
    regime, n, last = experiment.regime, experiment.samples, experiment.generations
    observe = measurements(problem, regime)
    if not (is_own(type(problem).__module__) and is_own(type(regime).__module__)):
        check_fit(problem, regime, n, last)

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
    means, of = _means(observed), experiment
    if "excess" in observed:
        law = expected_excess(of.problem, of.regime, of.samples, of.generations)
        means["excess_risk_closed_form"] = law
    return means


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


@lru_cache
def use_own_cores() -> None:
    """As `devices.use_all_cores`, once in a worker's life."""
    use_all_cores(default_cache())


def code() -> dict[str, Any]:
    """The versions, the source and the settings of JAX that the numbers come from."""
    return {"versions": versions(), "source": code_of.digest(__name__), "jax": settings_of_jax()}


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
        at_once: Loops of the transformer on one accelerator at a time.
    """
    together = width_of(at_once) if settings[0].prompts else 1
    for start in range(0, len(settings), together):
        some = settings[start : start + together]
        found: list[Arrays] | Exception
        try:
            if settings[0].prompts:
                found = run_transformers(some, together)
            else:
                found = [run_solvable(some[0])]
        except Exception as error:
            found = error
        for k, setting in enumerate(some):
            yield setting, found if isinstance(found, Exception) else found[k]

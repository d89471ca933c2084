"""This package, measured: what runs in the processes of `benchmarks`.

Each function prepares, compiling and warming up, and returns what measures one round. All use the
public functions alone (`learners`, `runs`, `measure`), as whoever runs a loop does.
"""

import platform
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from icl_stl import devices as devices_module
from icl_stl.benchmark.race import Measures, Size, draw_prompts, peak_memory
from icl_stl.cores import available_cores
from icl_stl.devices import over_replicates
from icl_stl.lab import runs
from icl_stl.lab.experiments import Job
from icl_stl.laws.prompts import Normal, Prompts, bayes_predictive, sample_prompts
from icl_stl.learners import Fitted, Learner, adam_transformer
from icl_stl.measure import normal_kl, predictions
from icl_stl.models.causal import transformer
from icl_stl.problems import InContext
from icl_stl.regimes import Augment

Run = Callable[[], Measures]

REGIME = Augment(0.5)
"""Of the loops that are timed: as many synthetic prompts as real ones."""


def _configure(devices: int, precision: str) -> None:
    devices_module.use_cpu_devices(devices)
    jax.config.update("jax_default_matmul_precision", precision)
    if jax.config.values["jax_disable_most_optimizations"]:  # as `benchmark.py --quick` asks for
        devices_module.COMPILER_OPTIONS.clear()


def _seconds(run: Callable[..., Any], *args: Any) -> float:
    begin = perf_counter()
    jax.block_until_ready(run(*args))
    return perf_counter() - begin


def _timed(run: Callable[[], Any], prompts: int = 0) -> Run:
    return lambda: {"seconds": _seconds(run), "prompts": prompts}


def machine() -> Callable[[], Any]:
    """What JAX runs on."""
    device = jax.devices()[0]
    return lambda: {
        "backend": jax.default_backend(),
        "device": device.device_kind,
        "cores": len(available_cores()),
        "processor": platform.processor() or platform.machine(),
        "versions": runs.versions(),
    }


def ceiling(*, operations: float, precision: str = "highest") -> Run:
    """The fastest of several chains of matrix products, square and tall, of so many operations."""
    _configure(1, precision)
    shapes = [(512, 512), (1024, 1024), (2048, 2048), (8192, 256), (8192, 512)]
    if jax.default_backend() != "cpu":
        shapes += [(4096, 4096), (8192, 8192)]
        operations *= 1000
    chains = []
    for rows, width in shapes:
        times = max(1, round(operations / (2 * rows * width**2)))
        start = jnp.ones((rows, width))
        factor = jnp.full((width, width), 1 / width)

        def chain(a: jax.Array, factor: jax.Array, times: int = times) -> jax.Array:
            product: jax.Array = jax.lax.fori_loop(0, times, lambda _, a: a @ factor, a)
            return product

        program = jax.jit(chain).lower(start, factor).compile()
        jax.block_until_ready(program(start, factor))
        chains.append((program, start, factor, 2.0 * times * rows * width**2))

    def run() -> Measures:
        measured = [(_seconds(program, a, b), done) for program, a, b, done in chains]
        seconds, done = min(measured, key=lambda pair: pair[0] / pair[1])
        return {"seconds": seconds, "operations": done, "peak": peak_memory()}

    return run


def bandwidth(*, megabytes: int, precision: str = "highest") -> Run:
    """A triad over two arrays, which should be far larger than the caches."""
    _configure(1, precision)
    count, times = megabytes * 2**18, 5

    @jax.jit
    def triad(a: jax.Array, b: jax.Array) -> jax.Array:
        total: jax.Array = jax.lax.fori_loop(0, times, lambda _, a: b + 0.5 * a, a)
        return total

    a, b = jnp.ones(count), jnp.ones(count)
    jax.block_until_ready(triad(a, b))
    return lambda: {"seconds": _seconds(triad, a, b), "bytes": 3.0 * 4 * count * times}


def _learner(size: Size, steps: int = 1) -> Learner:
    return adam_transformer(size.task, size.architecture, replace(size.training, steps=steps))


def _stored(size: Size, seed: int, count: int) -> Prompts:
    return Prompts(*map(jnp.asarray, draw_prompts(size.task, seed, count)))


def _initial(size: Size) -> Fitted:
    """Untrained parameters, as fast to use as trained ones."""
    weights = transformer(size.task, size.architecture).init(jax.random.key(0))
    return Fitted(weights, jnp.array(jnp.nan), jnp.array(-1))


def _training(size: Size, trainings: int, steps: int) -> Run:
    """Whole trainings, initialisation included: so many together, on all devices."""
    prompts, weights = _stored(size, 0, size.samples), jnp.full(size.samples, 1 / size.samples)
    fit = over_replicates(_learner(size, steps).fit, shared=2)
    keys = jax.random.split(jax.random.key(0), trainings)
    jax.block_until_ready(fit(keys, prompts, weights))
    return _timed(lambda: fit(keys, prompts, weights), trainings * size.training.batch * steps)


def _generation(size: Size) -> Run:
    """Prompts from the generator."""
    learner, params, key = _learner(size), _initial(size), jax.random.key(1)
    generate = jax.jit(lambda key, params: learner.generate(key, params, size.generated))
    jax.block_until_ready(generate(key, params))
    return _timed(lambda: generate(key, params), size.generated)


def _uncached(size: Size) -> Run:
    """Prompts by a forward pass over whole prompts for each label."""
    learner, params, key = _learner(size), _initial(size), jax.random.key(1)

    def generate(key: jax.Array, params: Fitted) -> Prompts:
        prompts = sample_prompts(size.task, key, size.generated)
        noise = jax.random.normal(key, prompts.ys.shape)

        def label(k: Any, ys: jax.Array) -> jax.Array:  # no law depends on labels after its own
            laws = predictions(learner, params, Prompts(prompts.xs, ys))
            return ys.at[:, k].set(laws.mean[:, k] + laws.std[:, k] * noise[:, k])

        start = jnp.zeros_like(prompts.ys)
        return Prompts(prompts.xs, jax.lax.fori_loop(0, size.task.context, label, start))

    program = jax.jit(generate).lower(key, params).compile()  # a first call would take as long
    return _timed(lambda: program(key, params), size.generated)


def _evaluation(size: Size) -> Run:
    """The law of every label of held-out prompts."""
    learner, params, prompts = _learner(size), _initial(size), _stored(size, 1, size.evaluated)
    laws = jax.jit(lambda params, prompts: predictions(learner, params, prompts))
    jax.block_until_ready(laws(params, prompts))
    return _timed(lambda: laws(params, prompts), size.evaluated)


def speeds(
    size: Size, *, asks: Sequence[str] = ("training",), devices: int = 1, precision: str = "highest"
) -> Callable[..., Measures]:
    """Whatever is asked for of training, one on each device, generation and evaluation."""
    _configure(devices, precision)
    prepare: dict[str, Callable[[], Run]] = {
        "training": lambda: _training(size, devices, size.timed_steps),
        "generation": lambda: _generation(size),
        "uncached": lambda: _uncached(size),
        "evaluation": lambda: _evaluation(size),
    }
    prepared = {what: (prepare[what](), peak_memory()) for what in asks}

    def run(what: str = asks[0]) -> Measures:
        measure, peak = prepared[what]
        return {**measure(), "peak": peak}

    return run


def _job(size: Size, seeds: int, steps: int) -> Job:
    training = replace(size.training, steps=steps)
    problem = InContext(size.task, size.architecture, training, size.evaluated)
    return Job(problem, size.samples, 1, seeds)


def _generation_step(size: Size, seeds: int, steps: int) -> tuple[Any, tuple[Any, ...]]:
    """One generation of many loops (generate, mix, train, measure) and arguments for it."""
    job, n = _job(size, seeds, steps), size.samples
    replicates = runs.draw_replicates(job.problem, n, seeds, 0)
    state = runs.before_generation_0(job.problem, REGIME, replicates, 0)
    numbers = runs.Numbers(np.float32(0.5), np.int32(n), np.int32(n)).each(seeds)
    return runs.generation_step(job.problem, REGIME), (replicates, state, numbers, np.int32(1))


def _loop(size: Size, seeds: int, steps: int) -> Callable[[], Any]:
    """One generation of so many loops, compiled."""
    step, arguments = _generation_step(size, seeds, steps)
    jax.block_until_ready(step(*arguments))
    return lambda: step(*arguments)


def loop(
    size: Size, *, seeds: int, devices: int, together: bool = True, precision: str = "highest"
) -> Run:
    """One generation of so many loops, in one program or one after the other."""
    _configure(devices, precision)
    run_one = _loop(size, seeds if together else 1, size.training.steps)

    def run() -> Measures:
        begin = process_time()
        seconds = sum(_seconds(run_one) for _ in range(1 if together else seeds))
        return {"seconds": seconds, "cpu": process_time() - begin}

    return run


def _count_events() -> tuple[Counter[str], dict[str, float]]:
    """How often JAX's events happen from now on, and how long those last that have a duration."""
    seen: Counter[str] = Counter()
    lasted: dict[str, float] = {}

    def note(event: str, duration_secs: float, **_: str | int) -> None:
        seen[event] += 1
        lasted[event] = lasted.get(event, 0.0) + duration_secs

    jax.monitoring.register_event_listener(lambda event, **_: seen.update([event]))
    jax.monitoring.register_event_duration_secs_listener(note)
    return seen, lasted


def first_result(
    size: Size, *, seeds: int, devices: int, cache: Path | None, precision: str = "highest"
) -> Run:
    """From nothing to the first generation of so many loops, of two steps: seconds, memory."""
    _configure(devices, precision)
    if cache is not None:
        devices_module.keep_programs(cache)
    _, lasted = _count_events()

    def run() -> Measures:
        begin = perf_counter()
        step, arguments = _generation_step(size, seeds, 2)
        program = step.compiled(*arguments)
        jax.block_until_ready(program(*arguments))
        seconds = perf_counter() - begin
        _must_be_heard(lasted)
        found = program.memory()
        return {
            "seconds": seconds,
            "compiling": sum(s for event, s in lasted.items() if "/compile/" in event),
            "temporary": found.temp_size_in_bytes,
            "peak": peak_memory(),
        }

    return run


COMPILED = "/jax/core/compile/backend_compile_duration"
"""JAX's event of a program that was compiled, or read from the cache instead."""
READ = "/jax/compilation_cache/cache_hits"
"""That of one read from the cache."""


def _must_be_heard(events: Mapping[str, float]) -> None:
    """Refuse to count where JAX's event has another name: nothing would look like no program."""
    if not events.get(COMPILED):
        raise RuntimeError(f"JAX {jax.__version__} must tell of compiling as {COMPILED}")


def recompilations(size: Size, *, devices: int, cache: Path, precision: str = "highest") -> Run:
    """Programs compiled by a second run of the same shapes: another seed, everything made anew."""
    _configure(devices, precision)
    devices_module.keep_programs(cache)
    seen, _ = _count_events()
    job = _job(size, devices, 2)

    def once(seed: int) -> tuple[int, int]:
        compiled, read = seen[COMPILED], seen[READ]
        with TemporaryDirectory() as folder:
            run_folder = runs.Folder(Path(folder), {"seed": seed})
            runs.run_loops(job, [REGIME], seed=seed, folder=run_folder)
        read = seen[READ] - read
        return seen[COMPILED] - compiled - read, read

    def run() -> Measures:
        begin = perf_counter()
        once(0)
        _must_be_heard(seen)
        compiled, read = once(1)
        return {"seconds": perf_counter() - begin, "second": compiled, "read": read}

    return run


def growth(
    size: Size, *, axis: str, asks: Sequence[str], steps: int, devices: int, precision: str
) -> Callable[..., Measures]:
    """Seconds at each value of one axis: the context of a training prompt, the samples or seeds of
    a generation of the loop, the generations of a whole loop.
    """
    _configure(devices, precision)
    one = _loop(size, 1, steps) if axis == "generations" else None

    def program(value: int) -> Run:
        if axis == "context":
            task = replace(size.task, context=value)
            train = _training(replace(size, task=task), 1, steps)
            return lambda: {"seconds": train()["seconds"] / (steps * size.training.batch)}
        if axis == "samples":
            return _timed(_loop(replace(size, samples=value), 1, steps))
        if axis == "seeds":
            return _timed(_loop(size, value, steps))
        return lambda: {"seconds": sum(_seconds(one) for _ in range(value + 1)) if one else 0.0}

    programs = {value: program(int(value)) for value in asks}
    return lambda what: programs[what]()


def quality(
    size: Size, *, steps: int, held_out: int, devices: int, precision: str = "highest"
) -> Callable[..., Any]:
    """Laws of labels of held-out prompts by trained models, and how good such laws are.

    Asked for `jobs`, pairs of learning rate and seed, it returns the laws of each, all trained in
    one program. Asked for `laws`, it returns their excess negative log-likelihood over the exact
    Bayes predictor, nats a label: the mean of KL(Bayes law of y_k || law of y_k), which has the
    same expectation and varies less. For None those of the marginal law of a label.
    The prompts trained on are those of the baseline, drawn as `adam_transformer` draws them.
    """
    _configure(devices, precision)
    test, count = _stored(size, 1, held_out), size.training.batch * steps
    bayes = jax.jit(jax.vmap(lambda prompt: bayes_predictive(size.task, prompt)))(test)
    marginal = Normal(jnp.zeros(()), jnp.sqrt(size.task.label_variance))

    def train(key: Any, rate: Any, prompts: Prompts, test: Prompts) -> Normal:
        training = replace(size.training, steps=steps)
        learner = adam_transformer(size.task, size.architecture, training, learning_rate=rate)
        fitted = learner.fit(key, prompts, jnp.full(count, 1 / count))
        return predictions(learner, fitted, test)

    program = over_replicates(train, shared=1)

    def run(jobs: Sequence[tuple[float, int]] = (), laws: Any = None) -> Any:
        if not jobs:
            law = marginal if laws is None else Normal(*map(jnp.asarray, laws))
            return float(jnp.mean(normal_kl(bayes, law)))
        rates, seeds = zip(*jobs, strict=True)
        drawn = [draw_prompts(size.task, 2 + seed, count) for seed in seeds]
        prompts = Prompts(*(jnp.stack(arrays) for arrays in zip(*drawn, strict=True)))
        keys = jax.vmap(jax.random.key)(jnp.array(seeds))
        found = program(keys, jnp.array(rates), prompts, test)
        return list(zip(*map(np.asarray, found), strict=True))

    return run

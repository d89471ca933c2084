"""How fast this machine runs the package, beside its own ceiling and beside plain PyTorch.

Every contestant runs in a process of its own, which it prepares once (compiling, warming up) and
then measures in rounds: all contestants one after the other, again and again, so that the drift of
a busy machine is common to all of them. A ratio is the median over rounds of the ratios within a
round. This module loads neither JAX nor PyTorch; `contestants` and `torch_baseline` do, in their
processes.
"""

import importlib
import importlib.metadata
import importlib.util
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from signal import SIG_IGN, SIGINT, signal
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icl_stl.config import NADAM, Architecture, Training
from icl_stl.cores import available_cores
from icl_stl.laws import LinearRegression
from icl_stl.studies.presets import PRESETS

Measures = dict[str, float]
"""What a contestant says of one round: `seconds` and what it did in them."""

Report = Callable[[str, int, int], None]


_BATCH_64 = replace(NADAM, steps=200, batch=64)


@dataclass(frozen=True)
class Size:
    """A network, a task and how much of everything is timed."""

    name: str
    task: LinearRegression
    architecture: Architecture
    training: Training = _BATCH_64
    """Of one generation of the loop; its batch everywhere."""
    samples: int = 2000
    """n, stored prompts that are trained on."""
    evaluated: int = 1000
    """Held-out prompts."""
    generated: int = 250
    """Prompts generated at a time, and by the baseline also evaluated at a time."""
    timed_steps: int = 60
    """Training steps of a round."""
    baseline_steps: int = 10
    """Those of the baseline, whose steps take longer."""
    heavy: bool = False
    """Whether generation is timed in one round alone, and pinned processes not at all."""
    judged: bool = False
    """Whether trained models are compared with the baseline's."""


_DEFAULT = PRESETS["default"]
_LARGE = LinearRegression(20, 41), Architecture(12, 256, 8), replace(NADAM, steps=4, batch=64)
_OURS = _DEFAULT.task, _DEFAULT.architecture, replace(_DEFAULT.training, steps=1000)

SIZES = {
    size.name: size
    for size in (
        Size("small-11", LinearRegression(5, 11), Architecture(3, 64, 4), judged=True),
        Size("small-20", LinearRegression(5, 20), Architecture(3, 64, 4), judged=True),
        Size("large", *_LARGE, 256, 128, 64, timed_steps=3, baseline_steps=1, heavy=True),
        Size("default", *_OURS, _DEFAULT.samples, _DEFAULT.held_out, 250, 400, baseline_steps=50),
    )
}
"""The field's small and large transformer (Garg et al. 2022), and the default of this package."""


def forward_operations(
    tokens: int, token_width: int, labels: int, architecture: Architecture
) -> float:
    """Useful floating-point operations of a forward pass over a prompt of t tokens of width w.

    2 t w p + 24 L t p² + 4 p (labels): embedding; attention's maps and an MLP of 4 p units in each
    of L layers; mean and deviation of the labels. 2 L p t (t + 1): token j reads j tokens, twice 2
    p operations each. A multiplication and an addition are two; norms, softmax, activations, the
    optimiser and what is behind the causal mask do not count, so a rate of these is what the user
    gets. Training costs three times as much: the backward pass has two products for each one.
    """
    p, depth = architecture.width, architecture.depth
    dense = 2.0 * tokens * token_width * p + 24.0 * depth * tokens * p**2 + 4.0 * p * labels
    return dense + 2.0 * depth * p * tokens * (tokens + 1)


def own_operations(size: Size) -> float:
    """Forward pass of this package's transformer: one token of width 2d + 1 an example."""
    m, d = size.task.context, size.task.dim
    return forward_operations(m, 2 * d + 1, m, size.architecture)


def baseline_operations(size: Size) -> float:
    """Forward pass of the baseline: two tokens of width d + 1 an example."""
    m, d = size.task.context, size.task.dim
    return forward_operations(2 * m, d + 1, m, size.architecture)


def draw_prompts(
    task: LinearRegression, seed: int, count: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Prompts of the real law for every contestant alike: `xs: [count, m, d]`, `ys: [count, m]`."""
    generator = np.random.default_rng(seed)
    m, d = task.context, task.dim
    xs = generator.standard_normal((count, m, d), np.float32)
    ws = np.float32(task.prior_scale) * generator.standard_normal((count, d), np.float32)
    noise = np.float32(task.noise) * generator.standard_normal((count, m), np.float32)
    return xs, np.einsum("nmd,nd->nm", xs, ws) + noise


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median over rounds, with the smallest and the largest."""
    return {"median": float(np.median(values)), "low": min(values), "high": max(values)}


def stderr(values: Sequence[float]) -> float:
    """Standard error of a mean; not a number for one value."""
    return float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("nan")


def ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """Summary of the ratios within rounds, of those rounds that both have."""
    return summary([a / b for a, b in zip(above, below, strict=False)])


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The exponent b of cost = a size^b, by least squares in logarithms."""
    x, y = np.log(np.asarray(sizes, float)), np.log(np.asarray(costs, float))
    return float(np.polyfit(x, y, 1)[0])


class UnavailableError(Exception):
    """A contestant cannot run here; the message says why."""


@dataclass(frozen=True)
class Contestant:
    """What is measured, and where it runs."""

    name: str
    prepare: str
    """`module:function` of this package; it prepares and returns what measures one round."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of that function."""
    cores: tuple[frozenset[int] | None, ...] = (None,)
    """One process each, kept on these cores if not None; several run at the same time."""
    asks: tuple[str, ...] = ()
    """What it measures in every round, given as `what`; one thing without a name if empty."""

    def entries(self) -> list[tuple[str, dict[str, str]]]:
        """Under which name a race keeps what is measured, and how it is asked for."""
        if not self.asks:
            return [(self.name, {})]
        return [(f"{what}, {self.name}", {"what": what}) for what in self.asks]


def one_process_a_core(count: int) -> tuple[frozenset[int] | None, ...]:
    """Where so many processes run: each on a core of its own, where that can be said."""
    if not hasattr(os, "sched_setaffinity"):
        return (None,) * count
    return tuple(frozenset({core}) for core in available_cores()[:count])


def peak_memory() -> float:
    """The largest resident memory of this process so far, bytes; not a number where unknown."""
    try:
        import resource  # noqa: PLC0415  (not on every system)
    except ImportError:
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


_measure: Callable[..., Any]
"""In a contestant's process: what measures one round."""


def _prepare(contestant: Contestant, cores: frozenset[int] | None) -> None:
    global _measure  # noqa: PLW0603  (the process is the contestant's alone)
    if cores is not None:
        os.sched_setaffinity(0, cores)
    module, _, function = contestant.prepare.partition(":")
    prepare = getattr(importlib.import_module(f"icl_stl.benchmark.{module}"), function)
    asks = {"asks": contestant.asks} if contestant.asks else {}
    _measure = prepare(**{**contestant.settings, **asks})


def _ask(question: Mapping[str, Any]) -> Any:
    return _measure(**question)


class Team:
    """The processes of one contestant, started. Whatever is asked of them may be refused, with an
    `UnavailableError`.
    """

    def __init__(self, contestant: Contestant):
        self.contestant = contestant
        context = multiprocessing.get_context("spawn")
        self._pools = [
            ProcessPoolExecutor(1, context, signal, (SIGINT, SIG_IGN)) for _ in contestant.cores
        ]
        self._prepared = [
            pool.submit(_prepare, contestant, cores)
            for pool, cores in zip(self._pools, contestant.cores, strict=True)
        ]

    def ready(self) -> None:
        """Wait until every process has prepared."""
        self._answers(lambda: self._prepared)

    def _answers(self, asked: Callable[[], Sequence[Future[Any]]]) -> list[Any]:
        try:
            return [future.result() for future in asked()]
        except ModuleNotFoundError as error:
            hint = " (pip install 'icl_stl[benchmark]')" if error.name == "torch" else ""
            raise UnavailableError(f"{error.name} is not installed{hint}") from None
        except Exception as error:  # whatever it is, the others go on, and the report says it
            first = str(error).strip().partition("\n")[0]
            raise UnavailableError(f"{type(error).__name__}: {first}"[:300]) from None

    def ask(self, *each: Mapping[str, Any]) -> list[Any]:
        """What every process answers to its question, or to the only one; all work at once."""
        questions = each if len(each) > 1 else (each or ({},)) * len(self._pools)
        pairs = list(zip(self._pools, questions, strict=True))
        return self._answers(lambda: [pool.submit(_ask, dict(one)) for pool, one in pairs])

    def measure(self, **what: Any) -> Measures:
        """One round: all that was done, in the time of the slowest process."""
        answers = self.ask(what)
        total = {name: float(sum(answer[name] for answer in answers)) for name in answers[0]}
        return {**total, "seconds": max(answer["seconds"] for answer in answers)}

    def close(self) -> None:
        """End the processes."""
        for pool in self._pools:
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class Race:
    """What contestants did, round by round, and why others did not run."""

    rounds: dict[str, list[Measures]]
    skipped: dict[str, str]

    def column(self, name: str, what: str = "seconds") -> list[float]:
        """One number of each round."""
        return [measures[what] for measures in self.rounds[name]]

    def rates(self, name: str, what: str = "prompts") -> list[float]:
        """So much a second, in each round."""
        pairs = zip(self.column(name, what), self.column(name), strict=True)
        return [done / seconds for done, seconds in pairs]


def race(
    contestants: Sequence[Contestant],
    rounds: int,
    report: Report,
    once: frozenset[str] = frozenset(),
) -> Race:
    """Prepare all contestants at the same time, then let them run in rounds, one after the other.

    The one that begins changes from round to round. A contestant that fails is left out.

    Args:
        once: What is asked for in the first round alone.
    """
    measured: dict[str, list[Measures]] = {}
    skipped: dict[str, str] = {}
    total = len(contestants) * (1 + rounds)
    with ExitStack() as stack:
        teams = {one.name: stack.enter_context(closing(Team(one))) for one in contestants}

        def leave_out(name: str, reason: Exception) -> None:
            skipped[name] = str(reason)
            for entry, _ in teams[name].contestant.entries():
                measured.pop(entry, None)
            teams.pop(name).close()

        for index, name in enumerate(list(teams)):
            report(f"preparing {name}", index, total)
            try:
                teams[name].ready()
            except UnavailableError as reason:
                leave_out(name, reason)
        for index in range(rounds):
            names = list(teams)
            first = index % max(1, len(names))
            for place, name in enumerate(names[first:] + names[:first]):
                done = len(contestants) * (1 + index) + place
                report(f"round {index + 1}, {name}", done, total)
                time.sleep(0.1)  # threads of the one before may wait busily for a moment
                try:
                    for entry, asked in teams[name].contestant.entries():
                        if not index or asked.get("what") not in once:
                            found = teams[name].measure(**asked)
                            measured.setdefault(entry, []).append(found)
                except UnavailableError as reason:
                    leave_out(name, reason)
        report("done", total, total)
    return Race(measured, skipped)


@dataclass(frozen=True)
class Plan:
    """What is to be measured, and how often."""

    sizes: tuple[Size, ...] = tuple(SIZES.values())
    """Loops that are measured at one size have the last one."""
    repeats: int = 3
    """Rounds."""
    precision: str = "highest"
    """Of matrix products in JAX."""
    operations: float = 1e10
    """Of a matrix product by which the ceiling is measured; a thousand times on an accelerator."""
    megabytes: int = 256
    """Of an array by which bandwidth is measured."""
    compiled: bool = True
    """Whether the baseline is also measured compiled."""
    seeds: int = 8
    """Loops that run together or in turn."""
    quality_steps: int = 1000
    """Training steps after which both sides are judged."""
    quality_rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
    """Learning rates that both sides choose from."""
    quality_seeds: int = 3
    """Trainings that are judged; the first one chooses the learning rate."""
    held_out: int = 1000
    """Prompts on which they are."""
    many_seeds: tuple[int, ...] = (2, 8, 32)
    """Many loops, whose memory is measured and the growth of the cost of their generation."""
    contexts: tuple[int, ...] = (8, 20, 50)
    """m, for the growth of the cost of a training prompt."""
    samples: tuple[int, ...] = (500, 2000, 8000)
    """n, for that of a generation of the loop."""
    generations: tuple[int, ...] = (1, 3, 9)
    """For that of a whole loop."""
    growing_steps: int = 50
    """Training steps where the growth of costs is measured."""
    parts: tuple[str, ...] = ()
    """What is measured, by name; everything if empty."""
    left_out: str = ""
    """What a plan leaves out, in words."""

    @property
    def looped(self) -> Size:
        """The size of the loops that are measured at one size."""
        return self.sizes[-1]


_LITTLE = LinearRegression(1, 4), Architecture(1, 8, 2), replace(NADAM, steps=2, batch=8)
_TINY = Size("tiny", *_LITTLE, 32, 16, 16, timed_steps=2, baseline_steps=2, judged=True)

QUICK = Plan(
    sizes=(_TINY,),
    repeats=1,
    operations=1e8,
    megabytes=1,
    compiled=False,
    seeds=2,
    quality_steps=10,
    quality_rates=(1e-2,),
    quality_seeds=2,
    held_out=16,
    many_seeds=(1, 2),
    contexts=(2, 4),
    samples=(16, 32),
    generations=(1, 2),
    growing_steps=2,
    parts=("ceiling", "speed", "loop", "compiling", "processes"),
    left_out="quick: torch.compile, the real sizes and, unless named, memory, growth and quality",
)
"""Shows that everything runs; its numbers mean nothing."""


@dataclass
class Part:
    """What one part found: rows for people, ratios by name for targets."""

    title: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    """A row's values are words, numbers, or summaries over rounds."""
    ratios: dict[str, dict[str, float]] = field(default_factory=dict)
    """Summaries by name; of rates also the ratio of the best rounds, `best`."""
    notes: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    """Why something was left out, by its name."""

    def skip(self, found: Race, where: str = "") -> None:
        """Say why contestants are missing."""
        self.skipped |= {f"{where}{name}": why for name, why in found.skipped.items()}

    def add_rates(self, size: Size, found: Race, operations: Mapping[str, float]) -> None:
        """A row for every entry: prompts a second, their operations, share of the ceiling."""
        for name in operations:
            if name not in found.rounds:
                continue
            rates = found.rates(name)
            flops = [operations[name] * rate for rate in rates]
            row: dict[str, Any] = {
                "size": size.name,
                "contestant": name,
                "prompts/s": summary(rates),
                "GF/s": summary([flop / 1e9 for flop in flops]),
            }
            if "ceiling" in found.rounds:
                row["share of the ceiling"] = ratio(flops, found.rates("ceiling", "operations"))
                self.ratios[f"{size.name}: {name} / ceiling"] = row["share of the ceiling"]
            row["peak, MB"] = max(found.column(name, "peak")) / 1e6
            self.rows.append(row)
        self.skip(found, f"{size.name}: ")

    def add_ratio(self, label: str, found: Race, above: str, below: str) -> None:
        """Ratio of the prompts a second of two entries, if both ran."""
        if above in found.rounds and below in found.rounds:
            rates, others = found.rates(above), found.rates(below)
            best = max(rates) / max(others)
            self.ratios[f"{label}: {above} / {below}"] = {**ratio(rates, others), "best": best}


def _ours(
    name: str, function: str, plan: Plan, asks: Sequence[Any] = (), **settings: Any
) -> Contestant:
    settings = {"precision": plan.precision, **settings}
    return Contestant(name, f"contestants:{function}", settings, asks=tuple(map(str, asks)))


def measure_ceiling(plan: Plan, report: Report) -> Part:
    """The best rate of float32 matrix products, and the bandwidth of memory."""
    part = Part("What this machine can do")
    own = [
        _ours("matmul, JAX, all cores", "ceiling", plan, operations=plan.operations),
        _ours("memory, JAX, all cores", "bandwidth", plan, megabytes=plan.megabytes),
    ]
    contestants = [*own, Contestant("matmul, PyTorch", "torch_baseline:ceiling")]
    one = one_process_a_core(1)
    if one == (None,):
        part.skipped["one core"] = "no os.sched_setaffinity here"
    else:
        alone = (replace(x, name=x.name.replace("all cores", "one core"), cores=one) for x in own)
        contestants += alone
    found = race(contestants, plan.repeats, report)
    for name in found.rounds:
        what, unit = ("bytes", "GB/s") if name.startswith("memory") else ("operations", "GF/s")
        rates = [rate / 1e9 for rate in found.rates(name, what)]
        part.rows.append({"what": name, "unit": unit, "rate": summary(rates)})
    part.skip(found)
    part.notes = [
        "matmul: float32, of JAX the best of several shapes in every round. Shares of the ceiling "
        "are of JAX's rate on all cores, measured anew in every round of a part.",
        f"memory: a <- b + a / 2 over arrays of {plan.megabytes} MB, three transfers an element.",
    ]
    return part


ACTIVITIES = ("training", "generation", "evaluation")


def measure_speed(plan: Plan, report: Report) -> Part:
    """Training, generation, evaluation beside the baseline; training also once for every core."""
    part = Part("Training, generation and evaluation")
    cores = len(available_cores())
    rivals = ("eager", "compiled")[: 1 + plan.compiled]

    def contestants_of(size: Size, copies: int = 0) -> list[Contestant]:
        """Ours and the baseline's: one on all cores, or as many trainings as there are cores."""
        asks = ("training",) if copies else ACTIVITIES
        end = " x cores" if copies else ""
        whole = asks if copies else (*asks, "uncached")
        settings = {"size": size, "threads": 1 if copies else None}
        where = one_process_a_core(copies) if copies else (None,)
        return [
            _ours(f"ours{end}", "speeds", plan, whole, size=size, devices=copies or 1),
            *(
                Contestant(
                    f"{rival}{end}",
                    "torch_baseline:speeds",
                    {"compiled": rival == "compiled", **settings},
                    where,
                    asks,
                )
                for rival in rivals
            ),
        ]

    for size in plan.sizes:
        contestants = contestants_of(size) + (contestants_of(size, cores) if cores > 1 else [])
        ceiling = _ours("ceiling", "ceiling", plan, operations=plan.operations)
        once = frozenset({"generation", "uncached"} if size.heavy else ())
        found = race([ceiling, *contestants], plan.repeats, report, once)
        cost = {}
        for contestant in contestants:
            forward = own_operations if contestant.name.startswith("ours") else baseline_operations
            for entry, asked in contestant.entries():
                cost[entry] = (3 if asked["what"] == "training" else 1) * forward(size)
        part.add_rates(size, found, dict(sorted(cost.items(), key=lambda c: c[0].split(",")[0])))
        for what, rival, end in product(ACTIVITIES, ("eager", "compiled"), ("", " x cores")):
            part.add_ratio(size.name, found, f"{what}, ours{end}", f"{what}, {rival}{end}")
        part.add_ratio(size.name, found, "generation, ours", "uncached, ours")
        # The last entry of a process is the highest.
        peaks = {entry.split(", ")[-1]: own[0]["peak"] for entry, own in found.rounds.items()}
        part.notes.append(f"{size.name}: {sum(peaks.values()) / 1e9:.1f} GB in all processes.")
    part.notes += [
        "training: of ours whole trainings with initialisation, of the baseline one that goes on; "
        f"one with all threads, or (x cores) {cores} at a time: ours in one program, a device "
        "each, the baseline's in a process of one thread on every core.",
        "generation: labels one after the other, of ours with a cache; uncached: the network read "
        "whole for every label. Eager reads the prompt so far, compiled a whole one.",
        "GF/s count useful operations of each side's own model, in generation one pass a prompt; "
        "the baseline has two tokens an example. Peak: resident memory when that was prepared.",
    ]
    return part


def measure_loop(plan: Plan, report: Report) -> Part:
    """One whole generation of the loop; many loops together and in turn."""
    part, cores = Part("One generation of the loop"), len(available_cores())
    together, turn = f"{plan.seeds} together", f"{plan.seeds} in turn"
    many: dict[str, Any] = {"size": plan.looped, "seeds": plan.seeds, "devices": cores}
    contestants = [
        *(_ours(s.name, "loop", plan, size=s, seeds=1, devices=1) for s in plan.sizes[:-1]),
        *(_ours(n, "loop", plan, together=n == together, **many) for n in (together, turn)),
    ]
    found = race(contestants, plan.repeats, report)
    part.skip(found)
    for contestant in contestants:
        name, size = contestant.name, contestant.settings["size"]
        if name not in found.rounds:
            continue
        row: dict[str, Any] = {"size": size.name, "loops": "1" if name == size.name else name}
        row |= {"n": size.samples, "steps": size.training.steps, "batch": size.training.batch}
        busy = ratio(found.column(name, "cpu"), found.column(name))
        for label, count in ((row["loops"], 1), *([("one of these", plan.seeds)] * (name == turn))):
            seconds = summary([s / count for s in found.column(name)])
            part.rows.append({**row, "loops": label, "s": seconds, "cores kept busy": busy})
    if together in found.rounds and turn in found.rounds:
        short, long = found.column(together), found.column(turn)
        best = min(short) / min(long)
        part.ratios[f"{together} / in turn, seconds"] = {**ratio(short, long), "best": best}
    part.notes = [
        "A generation: n synthetic prompts beside n real ones, a new training, measured on held-out"
        f" prompts. Together: one program over {cores} devices; in turn: the program of one loop, "
        f"called {plan.seeds} times, free to use all cores as well."
    ]
    return part


def measure_compiling(plan: Plan, report: Report) -> Part:
    """The first generation from nothing, from the cache, and what a second run compiles again."""
    cores = len(available_cores())
    part = Part(f"Compiling: the first generation of {cores} loops in a new process")
    for size in plan.sizes:
        found: dict[str, list[Measures]] = {"cold": [], "warm": [], "second run": []}
        for index in range(min(2, plan.repeats) if size == plan.looped else 1):
            with TemporaryDirectory() as folder:
                settings: dict[str, Any] = {"size": size, "devices": cores, "cache": Path(folder)}
                first = _ours("cold", "first_result", plan, **settings, seeds=cores)
                again = _ours("second run", "recompilations", plan, **settings)
                last = [again] * (index == 0 and size == plan.looped)
                one_by_one = race([first, replace(first, name="warm"), *last], 1, report)
            part.skip(one_by_one, f"{size.name}: ")
            for name, measures in one_by_one.rounds.items():
                found[name] += measures
        for name in ("cold", "warm"):
            if found[name]:
                columns = {"to the first result, s": "seconds", "of it compiling, s": "compiling"}
                row = {c: summary([r[key] for r in found[name]]) for c, key in columns.items()}
                row["peak, MB"] = summary([r["peak"] / 1e6 for r in found[name]])
                part.rows.append({"size": size.name, "process": name, **row})
        if found["cold"] and found["warm"]:
            warm, cold = ([r["seconds"] for r in found[name]] for name in ("warm", "cold"))
            part.ratios[f"{size.name}: warm / cold, seconds"] = ratio(warm, cold)
        for counts in found["second run"]:
            part.ratios["programs compiled by a second run"] = summary([counts["second"]])
            part.notes.append(
                f"second run ({size.name}): `run_loops` again, with another seed and folder, in "
                f"one process; {counts['read']:.0f} programs read from the cache do not count."
            )
    part.notes.append(
        "cold: an empty compilation cache; warm: the one that the cold process left. Imports are "
        "not counted, and there are only two training steps. Compiling: tracing, lowering, and "
        "compiling or reading the cache."
    )
    return part


def measure_memory(plan: Plan, report: Report) -> Part:
    """Memory of a generation of many loops."""
    part = Part(f"Memory of one generation of many loops ({plan.looped.name})")
    settings: dict[str, Any] = {"size": plan.looped, "devices": len(available_cores())}
    settings["cache"] = None
    contestants = [
        _ours(str(seeds), "first_result", plan, seeds=seeds, **settings)
        for seeds in plan.many_seeds
    ]
    found = race(contestants, 1, report)
    part.skip(found)
    few, many = map(str, plan.many_seeds[-2:])
    for what in ("temporary", "peak"):
        if {few, many} <= set(found.rounds):
            grown = ratio(found.column(many, what), found.column(few, what))
            part.ratios[f"{what} memory, {many} loops / {few}"] = grown
    for seeds, (measures,) in found.rounds.items():
        row = {f"{what}, MB": measures[what] / 1e6 for what in ("temporary", "peak")}
        part.rows.append({"loops": seeds, **row})
    part.notes = [
        "temporary: what the compiled program needs on one device beside arguments and results, as "
        "XLA says; peak: resident memory of the whole process, compiler included."
    ]
    return part


def measure_processes(plan: Plan, report: Report) -> Part:
    """Trainings in one process on one core, and in two on two."""
    part, cores = Part("Processes"), one_process_a_core(2)
    why = "no os.sched_setaffinity here" if None in cores else "one core"
    if None in cores or len(cores) < 2:
        return replace(part, skipped={"two processes": why})
    names = {"two processes": cores, "one process": cores[:1]}

    def found_by(one: Contestant) -> Race:
        return race([replace(one, name=n, cores=c) for n, c in names.items()], plan.repeats, report)

    for size in plan.sizes:
        if size.heavy:
            part.skipped[size.name] = "it takes too long"
            continue
        found = found_by(_ours("training", "speeds", plan, size=size))
        part.add_rates(size, found, dict.fromkeys(names, 3 * own_operations(size)))
        part.add_ratio(size.name, found, *names)
    found = found_by(_ours("matmul", "ceiling", plan, operations=plan.operations))
    if not found.skipped:
        both, alone = (found.rates(name, "operations") for name in names)
        part.ratios["matmul: two processes / one process"] = ratio(both, alone)
    part.notes = [
        "Each process kept on a core of its own. matmul: the ceilings, which share nothing but the "
        "machine, so what they miss of 2 nobody can reach."
    ]
    return part


def measure_growth(plan: Plan, report: Report) -> Part:
    """Cost against context, samples, generations and seeds, with fitted exponents."""
    part, cores = Part("Growth of the cost"), len(available_cores())
    axes = {
        "context": (plan.contexts, "a training prompt", plan.sizes[0]),
        "samples": (plan.samples, "a generation of the loop", plan.looped),
        "generations": (plan.generations, "a whole loop", plan.looped),
        "seeds": (plan.many_seeds, "a generation of many loops", plan.looped),
    }
    contestants = []
    for axis, (values, _, size) in axes.items():
        settings: dict[str, Any] = {"size": size, "axis": axis, "steps": plan.growing_steps}
        settings["devices"] = cores if axis == "seeds" else 1
        contestants.append(_ours(axis, "growth", plan, values, **settings))
    found = race(contestants, plan.repeats, report)
    part.skip(found)
    for contestant in contestants:
        axis = contestant.name
        values, whose, size = axes[axis]
        entries = [entry for entry, _ in contestant.entries()]
        if entries[0] not in found.rounds:
            continue
        for x, entry in zip(values, entries, strict=True):
            ms = summary([1e3 * s for s in found.column(entry)])
            part.rows.append({"axis": axis, "of": f"{whose}, {size.name}", "at": x, "ms": ms})
        counted = [x + (axis == "generations") for x in values]
        rounds = zip(*(found.column(entry) for entry in entries), strict=True)
        part.ratios[f"exponent in {axis}"] = summary([exponent(counted, r) for r in rounds])
    part.notes = [
        "Exponent b of cost = a x^b by least squares in logarithms, in every round; generation 0 "
        f"counts as one. Steps are fixed (here {plan.growing_steps}), so that of a generation only "
        "generating and measuring grow with the samples."
    ]
    return part


def _excess(
    team: Team, judge: Team, jobs: Sequence[tuple[float, int]], processes: int
) -> list[float]:
    """How well trainings (learning rate, seed) end, shared by the processes of a team."""
    answers = team.ask(*({"jobs": jobs[i::processes]} for i in range(processes)))
    laws = [answers[j % processes][j // processes] for j in range(len(jobs))]
    return [float(judge.ask({"laws": law})[0]) for law in laws]


def measure_quality(plan: Plan, report: Report) -> Part:
    """Excess negative log-likelihood after as many prompts, ours and the baseline's."""
    part = Part("Quality after as many training prompts")
    sizes, cores = [size for size in plan.sizes if size.judged], len(available_cores())
    rates, total, done = plan.quality_rates, 2 * len(sizes), 0
    for size in sizes:
        settings: dict[str, Any] = {"size": size, "steps": plan.quality_steps}
        settings["held_out"] = plan.held_out
        ours = _ours("ours", "quality", plan, devices=cores, **settings)
        ends = one_process_a_core(cores)
        baseline = Contestant("baseline", "torch_baseline:quality", settings, ends)
        found: dict[str, list[float]] = {}
        with closing(Team(ours)) as judge, closing(Team(baseline)) as theirs:
            judge.ready()
            for side, team, processes in (("ours", judge, 1), ("baseline", theirs, len(ends))):
                report(f"{size.name}, {side}", done, total)
                done += 1
                try:
                    team.ready()
                    chosen = _excess(team, judge, [(rate, 0) for rate in rates], processes)
                    best = int(np.argmin(chosen))
                    more = [(rates[best], seed) for seed in range(1, plan.quality_seeds)]
                    found[side] = [chosen[best], *_excess(team, judge, more, processes)]
                except UnavailableError as reason:
                    part.skipped[f"{size.name}: {side}"] = str(reason)
                    continue
                row = {"size": size.name, "side": side, "learning rate": rates[best]}
                row["prompts"] = size.training.batch * plan.quality_steps
                row["excess NLL"] = float(np.mean(found[side]))
                part.rows.append({**row, "standard error": stderr(found[side])})
            (prior,) = judge.ask({"laws": None})
        part.rows.append({"size": size.name, "side": "no training", "excess NLL": prior})
        if len(found) == 2:
            difference = np.mean(found["ours"]) - np.mean(found["baseline"])
            noise = np.hypot(stderr(found["ours"]), stderr(found["baseline"]))
            name = f"{size.name}: (ours - baseline) / noise"
            part.ratios[name] = summary([float(difference / noise)])
    part.notes = [
        "Excess over the exact Bayes predictor, nats a label, on held-out real prompts. Both sides "
        "learn from the same prompts, with warm-up and cosine; the first of "
        f"{plan.quality_seeds} seeds chooses among the learning rates "
        f"{', '.join(f'{rate:g}' for rate in rates)}. No training: labels by their marginal law."
    ]
    report("done", total, total)
    return part


PARTS: dict[str, Callable[[Plan, Report], Part]] = {
    "ceiling": measure_ceiling,
    "speed": measure_speed,
    "loop": measure_loop,
    "compiling": measure_compiling,
    "memory": measure_memory,
    "processes": measure_processes,
    "growth": measure_growth,
    "quality": measure_quality,
}
"""What can be measured, by name."""


def measure(name: str, plan: Plan, report: Report) -> Part:
    """Measure a part; where all of it is impossible here, only why."""
    try:
        return PARTS[name](plan, report)
    except UnavailableError as reason:
        return Part(name.capitalize(), skipped={name: str(reason)})


@dataclass(frozen=True)
class Target:
    """What a ratio is meant to be."""

    part: str
    ratio: str
    bound: float
    aim: float | None = None
    at_least: bool = True


def _both(size: str, rival: str, bound: float, aim: float | None = None) -> tuple[Target, ...]:
    """One training against one, and one a core against one a core."""
    return tuple(
        Target("speed", f"{size}: training, ours{cores} / training, {rival}{cores}", bound, aim)
        for cores in ("", " x cores")
    )


TARGETS = (
    *_both("small-11", "eager", 6, 10),
    *_both("small-11", "compiled", 3.5),
    *_both("small-20", "eager", 6, 10),
    *_both("small-20", "compiled", 3.5),
    Target("speed", "small-20: training, ours / ceiling", 0.38, 0.5),
    Target("speed", "small-20: training, ours x cores / ceiling", 0.38, 0.5),
    *_both("large", "eager", 3.5, 4.5),
    Target("speed", "large: training, ours / ceiling", 0.55, 0.7),
    Target("speed", "large: training, ours x cores / ceiling", 0.55, 0.7),
    Target("quality", "small-11: (ours - baseline) / noise", 2, at_least=False),
    Target("quality", "small-20: (ours - baseline) / noise", 2, at_least=False),
    Target("speed", "small-20: generation, ours / generation, eager", 25),
    Target("speed", "large: generation, ours / generation, eager", 25),
    Target("speed", "large: generation, ours / uncached, ours", 8),
    Target("loop", "8 together / in turn, seconds", 0.6, at_least=False),
    Target("compiling", "programs compiled by a second run", 0, at_least=False),
    Target("compiling", "default: warm / cold, seconds", 0.5, at_least=False),
    Target("memory", "temporary memory, 32 loops / 8", 1.25, at_least=False),
    Target("memory", "peak memory, 32 loops / 8", 1.25, at_least=False),
    Target("processes", "small-20: two processes / one process", 1.8),
    Target("processes", "default: two processes / one process", 1.8),
)
"""What the package is meant to reach, as ratios within one run."""


def judged(parts: Mapping[str, Part]) -> list[dict[str, Any]]:
    """The targets whose parts were measured; the median must reach the bound.

    Where there is a ratio of the best rounds it must reach it too: on a machine that others use
    as well, threads that wait for each other may lose far more in a median round than we do.
    """
    rows = []
    for target in TARGETS:
        if target.part not in parts or target.ratio not in parts[target.part].ratios:
            continue
        found = parts[target.part].ratios[target.ratio]
        values = [found["median"], found.get("best", found["median"])]
        enough = min(values) >= target.bound if target.at_least else max(values) <= target.bound
        aim = "" if target.aim is None else f", aim {target.aim:g}"
        row = {"target": f"{target.part}, {target.ratio}"}
        row["wanted"] = f"{'≥' if target.at_least else '≤'} {target.bound:g}{aim}"
        rows.append({**row, "measured": found, "reached": "yes" if enough else "NO"})
    return rows


def shown(value: Any) -> str:
    """A value of a row in words; of a summary the median, smallest, largest."""
    if isinstance(value, Mapping):
        best = f", best {value['best']:.3g}" if "best" in value else ""
        if value["low"] == value["high"]:
            return f"{value['median']:.3g}{best}"
        return f"{value['median']:.3g} ({value['low']:.3g} to {value['high']:.3g}{best})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table_of(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Column names and the cells of all rows, as words; `-` where a row has no such column."""
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return [columns, *(tuple(shown(row.get(c, "-")) for c in columns) for row in rows)]


def content(machine: Mapping[str, Any], plan: Plan, parts: Mapping[str, Part]) -> dict[str, Any]:
    """Everything that was measured, for programs."""
    return {
        "schema": 1,
        "machine": dict(machine),
        "plan": asdict(plan),
        "forward_operations": {
            size.name: {"ours": own_operations(size), "baseline": baseline_operations(size)}
            for size in plan.sizes
        },
        "targets": judged(parts),
        "parts": {name: asdict(part) for name, part in parts.items()},
    }


def _markdown(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table of rows in Markdown; nothing without any."""
    head, *body = table_of(rows)
    table = [f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *body)]
    return [*table, ""] if rows else []


TARGETS_ARE = (
    "Set before there was this benchmark, against another plain PyTorch script, a slower one than "
    "is compared with here; NO: not reached. One training uses all cores; x cores: as many "
    "trainings as there are cores, on both sides."
)


CAPTION = (
    "Left: useful operations of training over the matrix-product rate of all cores measured in "
    "the same round; medians, and the range over rounds. One training on all cores, or one on "
    "each. Right: cost over that at the smallest value, with the fitted exponents."
)


def page(content: Mapping[str, Any]) -> str:
    """Everything that was measured, for readers: Markdown, from `content` alone."""
    lines = ["# Benchmark", "", "Drawn and written by `scripts/benchmark.py`.", ""]
    lines += [f"- {name}: {value}" for name, value in content["machine"].items()]
    lines += ["", "![speeds](speeds.svg)", "", CAPTION, ""]
    if content["targets"]:
        lines += ["## Targets", "", TARGETS_ARE, "", *_markdown(content["targets"])]
    for part in content["parts"].values():
        ratios = [{"ratio": name, "value": value} for name, value in part["ratios"].items()]
        left_out = [f"- left out: {name}: {why}" for name, why in part["skipped"].items()]
        lines += [f"## {part['title']}", "", *_markdown(part["rows"]), *_markdown(ratios)]
        lines += [*(f"- {note}" for note in part["notes"]), *left_out, ""]
    return "\n".join(lines)


def describe_machine() -> dict[str, Any]:
    """What it was measured on."""
    with closing(Team(Contestant("machine", "contestants:machine"))) as team:
        team.ready()
        (found,) = team.ask()
    versions = found.pop("versions")
    try:
        versions["torch"] = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        versions["torch"] = "not installed"
    return {
        "system": platform.platform(),
        **found,
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }

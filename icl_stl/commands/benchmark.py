"""How fast this machine runs the package: ceilings, training, generation, loops, PyTorch beside.

Everything is measured in processes of its own, contestants in turn, again and again; ratios are
medians of ratios within a round. Writes benchmark.json and speeds.svg. What cannot run here
is left out, and said.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import tyro
from rich.table import Table

from icl_stl import console
from icl_stl.benchmark import race as benchmarks
from icl_stl.commands.running import keeping
from icl_stl.config import meant, require
from icl_stl.lab import results

MOST_REPEATS = 1000
"""More are a slip of the pen."""


@dataclass(frozen=True)
class Arguments:
    """Measure how fast this machine runs the package."""

    only: tuple[str, ...] = ()
    """Parts to measure, all of them if none is given: ceiling, speed, loop, compiling, memory,
    processes, growth, quality."""
    sizes: tuple[str, ...] = ()
    """Sizes to measure at, all of them if none is given: small-11, small-20, large, default. Many
    loops have the last one."""
    repeats: int = benchmarks.Plan.repeats
    """Rounds; medians are over them."""
    quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """One tiny size, one round: shows that all runs, in less than a minute; its numbers mean
    nothing. Without torch.compile, and without memory, growth and quality unless named."""
    matmul_precision: Literal["highest", "high", "default", "tensorfloat32", "bfloat16"] = "highest"
    """Precision of JAX's matrix products, for accelerators."""
    out: Path = Path("runs/benchmark")
    """Folder for benchmark.json and speeds.svg."""


def chosen_plan(arguments: Arguments) -> benchmarks.Plan:
    """What the options ask for."""
    for name, values, known in (
        ("only", arguments.only, benchmarks.PARTS),
        ("sizes", arguments.sizes, benchmarks.SIZES),
    ):
        for value in values:
            words = f"among {', '.join(known)}{meant(value, known)}"
            require(value in known, name, value, words)
    repeats, quick = arguments.repeats, arguments.quick
    require(1 <= repeats <= MOST_REPEATS, "repeats", repeats, f"from 1 to {MOST_REPEATS}")
    require(not (quick and arguments.sizes), "sizes", arguments.sizes, "left out with quick")
    if quick:
        plan = replace(benchmarks.QUICK, precision=arguments.matmul_precision)
    else:
        named = arguments.sizes or tuple(benchmarks.SIZES)
        sizes = tuple(size for name, size in benchmarks.SIZES.items() if name in named)
        plan = benchmarks.Plan(sizes, arguments.repeats, arguments.matmul_precision)
    return replace(plan, parts=arguments.only) if arguments.only else plan


def table(rows: list[dict[str, Any]], title: str) -> Table:
    """Rows of a part."""
    head, *body = benchmarks.table_of(rows)
    shown = Table(title=title, title_justify="left")
    for index, name in enumerate(head):
        shown.add_column(name, justify="left" if index == 0 else "right")
    for cells in body:
        shown.add_row(*cells)
    return shown


def show(part: benchmarks.Part) -> None:
    """What a part found."""
    if part.rows:
        console.show(table(part.rows, part.title))
    if part.ratios:
        rows = [{"ratio": name, "value": value} for name, value in part.ratios.items()]
        console.show(table(rows, ""))
    for line in (*part.notes, *(f"left out: {name}: {why}" for name, why in part.skipped.items())):
        print(line)


def draw(content: dict[str, Any], out: Path) -> None:
    """The figure, if there is anything to show."""
    from icl_stl.benchmark.figure import speeds
    from icl_stl.style import write_figure

    parts = content["parts"]
    if not speeds(parts).axes:
        return
    write_figure(lambda: speeds(parts), out / "speeds")


def main(arguments: Arguments) -> int:
    """Measure; the exit status."""
    plan = chosen_plan(arguments)
    results.make_folder(arguments.out)
    if not arguments.quick:
        return run(plan, arguments)
    with TemporaryDirectory() as cache:  # compile less, and nothing twice
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
        return run(plan, arguments)


def run(plan: benchmarks.Plan, arguments: Arguments) -> int:
    """Measure part after part; what is found is written, then shown; the exit status."""
    try:
        machine, out = benchmarks.describe_machine(), arguments.out
    except benchmarks.UnavailableError as error:
        platforms = os.environ.get("JAX_PLATFORMS", "")
        raise ValueError(
            f"JAX_PLATFORMS must name devices of this machine, but it is {platforms!r}: {error}"
        ) from None
    for name, value in machine.items():
        print(f"{name}: {value}")
    parts: dict[str, benchmarks.Part] = {}
    for name in benchmarks.PARTS:
        if plan.parts and name not in plan.parts:
            continue
        done = f"{out}/benchmark.json has {', '.join(parts) or 'nothing'}"
        with keeping(f"{done}, and the same command starts anew"), console.progress(name) as report:
            parts[name] = benchmarks.measure(name, plan, report)
        content = benchmarks.content(machine, plan, parts)
        results.write_json(out / "benchmark.json", content)
        show(parts[name])
    draw(content, out)
    results.write_atomically(out / "README.md", benchmarks.page(content).encode())
    if targets := benchmarks.judged(parts):
        console.show(table(targets, "targets"))
    if plan.left_out:
        print(f"left out: {plan.left_out}")
    print(f"{out}/benchmark.json")
    return 0

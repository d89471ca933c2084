"""How far the rows of one file are from those of another: a certified bound, and distances.

What is certified holds for all laws, if rows are independent draws; see `icl_stl.distances`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.table import Table

from icl_stl import console
from icl_stl.config import require
from icl_stl.lab import results

if TYPE_CHECKING:
    from icl_stl.distances import Comparison

SHOWN = 8
"""Columns whose distance is shown, those that differ most; the file has all."""


@dataclass(frozen=True)
class Arguments:
    """Measure how far generated rows are from real ones, whatever generated them."""

    real: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="REAL")]
    """Real rows that the model was not trained on: a file (.csv, .npy, .npz, .txt), or a shipped
    table."""
    generated: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="GENERATED")]
    """Generated rows, a file with the same columns."""
    level: float = 0.95
    """Of the certified bound, and of each interval."""
    seed: int = 0
    """Which rows train the classifiers, which permutations are drawn, and which rows are compared
    where there are more than 2,000 (10,000 for the bound)."""
    json: Path | None = None
    """Write all of it here."""


def table(found: "Comparison", level: float) -> Table:
    """What was found, a line each."""
    shown = Table()
    for name in ("", "value", f"{level:.4g} interval", "p if laws are equal", "status"):
        shown.add_column(name, justify="left" if name in ("", "status") else "right")
    bound = found.tv_lower
    shown.add_row(
        "total variation, at least",
        f"{bound.low:.4f}",
        f"estimate {bound.value:.4f}",
        "",
        f"certified (classifier: {bound.classifier})",
    )
    for name, one in (("energy distance", found.energy), ("MMD, squared", found.mmd)):
        ends = f"{one.low:.4g} to {one.high:.4g}"
        shown.add_row(name, f"{one.value:.4g}", ends, f"{one.p:.3f}", "measured")
    shown.add_row("precision", f"{found.precision:.3f}", "", "", "measured")
    shown.add_row("coverage", f"{found.coverage:.3f}", "", "", "measured")
    furthest = sorted(found.w1.items(), key=lambda item: (item[1].p, -item[1].deviations))
    for name, own in furthest[:SHOWN]:
        units = f"{own.deviations:.2g} deviations"
        shown.add_row(f"W1 of {name}", f"{own.value:.4g}", units, f"{own.p:.2f}", "measured")
    return shown


def main(arguments: Arguments) -> int:
    """Compare; the exit status."""
    from icl_stl import data
    from icl_stl.bounds._check import probability
    from icl_stl.distances import compare

    seed, level = arguments.seed, float(probability("level", arguments.level))
    require(0 <= seed < 2**31, "seed", seed, "a whole number in [0, 2^31)")
    if arguments.json is not None:
        results.check_file(arguments.json, "json")
    real = data.read_rows(arguments.real, "real")
    generated = data.read_like(arguments.generated, "generated", real)
    (first, names), (second, _) = data.spread(real), data.spread(generated)
    with console.progress("distance") as report:
        found = compare(first, second, names, level=level, seed=seed, report=report)
    if arguments.json is not None:
        results.write_json(arguments.json, as_json(found))
    console.show(table(found, level))
    if len(found.w1) > SHOWN:
        print(f"W1 of {len(found.w1) - SHOWN} more columns: --json FILE has all")
    certain = f"the total variation of the two laws is at least {found.tv_lower.low:.4f}"
    print(f"with confidence {level:.4g}, if all rows are independent draws: {certain}")
    return 0


def as_json(found: "Comparison") -> dict[str, Any]:
    """What was found, for a file."""
    plain = {
        name: {key: one._asdict() for key, one in value.items()} if name == "w1" else value
        for name, value in found._asdict().items()
    }
    return {"schema": results.SCHEMA} | {
        name: value._asdict() if hasattr(value, "_asdict") else value
        for name, value in plain.items()
    }

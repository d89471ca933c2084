"""Whether the loss of a loop still grows: a verdict that may be read after every generation.

Exit status: 0 settled, 3 growing, 4 undecided; see `icl_stl.watching`.
"""

import re
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.table import Table

from icl_stl import console
from icl_stl.config import require
from icl_stl.lab import results

if TYPE_CHECKING:
    from icl_stl.watching import Losses, Reading

STATUS = {"settled": 0, "growing": 3, "undecided": 4}
"""Exit status of each verdict."""
SHOWN = 20
"""Generations that are shown, the last ones; the file has all."""
SAMPLES = (".csv", ".npy", ".npz", ".txt")
"""Endings of files of samples."""


@dataclass(frozen=True)
class Arguments:
    """Say whether a loop still grows; as often as you like, after every generation."""

    losses: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER_OR_TABLE")]
    """A table (.csv) with the columns generation, loss and stderr, and runs, the loops that these
    were estimated from, if they are few; or with a line for each generation of each loop: loop,
    generation, loss. A run folder of icl-stl loop. Or a folder with a file of samples for each
    generation, its number the last one in the name: the loss is then the energy distance."""
    tolerance: float
    """Growth of the loss a generation up to which the loop counts as settled."""
    column: str | None = None
    """Which column of a table is the loss."""
    real: str | None = None
    """Real rows that samples are compared with: a file, or a shipped table; the samples of the
    first generation if not given."""
    level: float = 0.95
    """Chance that every verdict, of any generation, is true."""
    seed: int = 0
    """Which samples are compared, where a generation has more than 2,000."""
    json: Path | None = None
    """Write all of it here."""


def sample_files(folder: Path, real: str | None) -> dict[int, Path]:
    """The file of each generation."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        is_real = real is not None and Path(real).exists() and path.samefile(real)
        if path.suffix.lower() not in SAMPLES or is_real:
            continue
        number = re.findall(r"\d+", path.stem)
        require(bool(number), "the name of a file of samples", path.name, "one with a generation")
        other = found.setdefault(int(number[-1]), path)
        alone = f"of another generation than {other.name}"
        require(other is path, "the name of a file of samples", path.name, alone)
    few = f"a run folder, or one with files of samples ({', '.join(SAMPLES)}), 2 or more"
    require(len(found) >= 2, "losses", str(folder), few)
    return found


def losses_of(arguments: Arguments) -> "Losses":
    """What the argument holds."""
    from icl_stl import tables, watching

    path, real, column = arguments.losses, arguments.real, arguments.column
    result, loops = path / "loop.json", path / "loops.csv"
    if path.is_dir() and not (result.exists() or loops.exists()):
        require(column is None, "column", column, "left out with samples")
        return _of_samples(sample_files(path, real), real, arguments.seed)
    require(real is None, "real", real, "left out without samples")
    if path.is_dir() and not loops.exists():
        require(column is None, "column", column, "left out where there is no loops.csv")
        return tables.read(result, "losses", lambda t: watching.of_result(tables.json_of(t)))
    if path.is_dir():
        path = loops
    tables.kind_of(path, "losses", (".csv",))
    return tables.read(path, "losses", lambda text: watching.of_table(text, column))


def _of_samples(files: dict[int, Path], real: str | None, seed: int) -> "Losses":
    from icl_stl import data, watching

    first = files[min(files)]
    like = data.read_rows(real, "real") if real else data.read_rows(str(first), "losses")
    read = {i: data.read_like(str(path), "losses", like) for i, path in files.items()}
    rows = {i: data.spread(sheet)[0] for i, sheet in read.items()}
    reference = data.spread(like)[0] if real else None
    with console.progress("watch") as report:
        return watching.of_samples(rows, reference, seed=seed, report=report)


def table(readings: list["Reading"], losses: "Losses", tolerance: float) -> Table:
    """What was known after each generation."""
    shown = Table(title=f"growth a generation, tolerance {tolerance:g}", title_justify="left")
    for name in ("generation", losses.quantity, "window from", "growth", "interval", "verdict"):
        shown.add_column(name, justify="right")
    for one in readings[-SHOWN:]:
        numbers = f"{one.loss:.5g}", str(one.since), f"{one.growth:+.4g}"
        ends = f"{one.low:+.4g} to {one.high:+.4g}"
        shown.add_row(str(one.generation), *numbers, ends, one.verdict)
    return shown


def sentence(last: "Reading", tolerance: float, level: float) -> str:
    """The verdict in words."""
    now = f"between generations {last.since} and {last.generation} it is"
    ends = f"{now} {last.low:.4g} to {last.high:.4g}"
    if last.decided is None:
        return f"undecided: the growth a generation may be above {tolerance:g} or below; {ends}"
    side = {"settled": "below", "growing": "above"}[last.verdict]
    return (
        f"{last.verdict} since generation {last.decided}: growth a generation {side} "
        f"{tolerance:g}; {ends}, with confidence {level:.4g} for all generations together"
    )


def as_json(readings: list["Reading"], losses: "Losses", arguments: Arguments) -> dict[str, Any]:
    """What is known, for a file; null for what is not finite."""
    rows = [
        {k: v if not isinstance(v, float) or isfinite(v) else None for k, v in one.items()}
        for one in (reading._asdict() for reading in readings)
    ]
    last = rows[-1] if rows else {"verdict": "undecided", "decided": None}
    return {
        "schema": results.SCHEMA,
        "quantity": losses.quantity,
        "tolerance": arguments.tolerance,
        "level": arguments.level,
        "verdict": last["verdict"],
        "decided": last["decided"],
        "generations": rows,
    }


def main(arguments: Arguments) -> int:
    """Say whether it grows; the exit status."""
    from icl_stl.watching import check, watch

    seed, tolerance, level = arguments.seed, arguments.tolerance, arguments.level
    require(0 <= seed < 2**31, "seed", seed, "a whole number in [0, 2^31)")
    check(tolerance, level)
    if arguments.json is not None:
        results.check_file(arguments.json, "json")
    losses = losses_of(arguments)
    readings = watch(losses, tolerance, level=level)
    if arguments.json is not None:
        results.write_json(arguments.json, as_json(readings, losses, arguments))
    if not readings:
        print("undecided: there is one generation so far")
        return STATUS["undecided"]
    console.show(table(readings, losses, tolerance))
    print(sentence(readings[-1], tolerance, level))
    return STATUS[readings[-1].verdict]

"""What runs leave behind: arrays by name, a table of all loops, JSON. Needs no JAX.

Files and folders that cannot be used, and files that are missing, damaged or not what they should
be, are a `ValueError` that names them, and the option that asks for them. One that cannot be
written, as on a full disk, is an `OSError`; what was there before is still there.
"""

import csv
import errno
import fcntl
import io
import json
import os
import platform
import re
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from typing import Any, TypeVar, cast
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from icl_stl import regimes
from icl_stl.config import require
from icl_stl.descriptions import canonical, describe, digest, key
from icl_stl.regimes import Anchored, Augment, FreshReal, Regime, Replace, real_share
from icl_stl.tables import json_of, rows_of, text_of

SCHEMA = 1
"""Version of the form of result files, in their `schema`; files of another are not read."""

Arrays = dict[str, NDArray[Any]]
Floats = NDArray[np.float64]
Content = TypeVar("Content")


@dataclass(frozen=True)
class Failure:
    """A replicate whose numbers stopped being finite; no claim about it holds."""

    setting: str
    """Regime or experiment."""
    replicate: int
    generation: int | None
    """None if what was observed has no generations."""
    step: int
    """Training step, -1 if the training was fine or nothing is known of it."""
    quantity: str
    """What is not finite there, if the training was fine."""

    def __str__(self) -> str:
        when = "" if self.generation is None else f" in generation {self.generation}"
        what = f"training step {self.step}" if self.step >= 0 else self.quantity
        return f"{self.setting}, replicate {self.replicate}: not finite{when}, {what}"


def failures_of(setting: str, observed: Arrays, axis: int | None = 1) -> tuple[Failure, ...]:
    """Where the numbers of each replicate first are not finite.

    Args:
        observed: Arrays with the replicates first, of which `diverged_at` says in which step a
            training failed (-1: it did not).
        axis: Which of their axes are the generations, if any. An array with fewer axes is of
            generation 0.
    """
    found: dict[int, Failure] = {}
    for name, values in observed.items():
        trained = name == "diverged_at"
        none = axis is None or values.ndim <= axis
        by: Any = values[:, None] if none else np.moveaxis(values, cast(int, axis), 1)
        by = by.reshape(*by.shape[:2], -1)
        bad = (by >= 0 if trained else ~np.isfinite(by)).any(-1)
        for r in np.flatnonzero(bad.any(1)).tolist():
            first = int(np.argmax(bad[r]))
            earlier = found.get(r)
            if earlier is None or (first, not trained) < (earlier.generation or 0, True):
                step = int(by[r, first].max()) if trained else -1
                found[r] = Failure(setting, r, None if axis is None else first, step, name)
    return tuple(found[r] for r in sorted(found))


MOST_NAMED = 10
"""Failed loops that are named one by one; all are counted."""


def failed_in_words(failures: Sequence[Failure], runs: int, learner: str) -> str:
    """How many loops failed, and when the first did; of at least one failure."""
    first = min(failure.generation or 0 for failure in failures)
    return f"{learner}: {len(failures)} of {runs} loops failed, the first in generation {first}"


@dataclass(frozen=True)
class LoopResult:
    """All replicates of one regime: arrays `[R, G + 1, ...]` by name."""

    regime: Regime
    samples: int
    observations: Arrays

    def __getitem__(self, name: str) -> Floats:
        return self.observations[name].astype(np.float64)

    @property
    def label(self) -> str:
        """The regime with its share, as in `augment-0.5`."""
        return label(self.regime, self.samples)

    @property
    def generations(self) -> int:
        """G, the generations after generation 0."""
        return int(next(iter(self.observations.values())).shape[1]) - 1

    @property
    def failures(self) -> tuple[Failure, ...]:
        """For each replicate the first generation with a number that is not finite."""
        # A learner without training has no training loss.
        own = {name: a for name, a in self.observations.items() if name != "training_loss"}
        return failures_of(self.label, own)

    def replicates(self, kept: Sequence[int]) -> "LoopResult":
        """These replicates alone."""
        own = {name: values[list(kept)] for name, values in self.observations.items()}
        return LoopResult(self.regime, self.samples, own)


def label(regime: Regime, samples: int) -> str:
    """The regime in words, as in `augment-0.5`, `augment-0.5-weight-0.9`, `replace-lam-2.0`.

    For people: regimes of others may share one. `descriptions.key` tells all regimes apart.
    """
    share = float(real_share(regime, samples, 1))
    more = ""
    if isinstance(regime, Augment | FreshReal) and regime.weight is not None:
        share = samples / (samples + regime.synthetic_size(samples))
        more = f"-weight-{float(regime.weight)!r}"
    elif isinstance(regime, Replace | Anchored) and regime.lam != 1:  # elsewhere the share says it
        more = f"-lam-{float(regime.lam)!r}"
    return (f"{regime.name}-{share!r}" if 0 < share < 1 else regime.name) + more


def labels_of(regimes: Iterable[Regime], samples: int) -> dict[str, Regime]:
    """Each regime by its label; by label and key where several regimes have one label."""
    found = {key(regime, "regime"): regime for regime in regimes}
    words = {known: label(regime, samples) for known, regime in found.items()}
    count = Counter(words.values())
    return {
        said if count[said] == 1 else f"{said}-{known[:16]}": found[known]
        for known, said in words.items()
    }


def regime_from(description: Mapping[str, Any]) -> Regime | None:
    """The regime of this `descriptions.describe(regime)`; None if it is not of this package."""
    kind, fields = description["type"], description["fields"]
    if not isinstance(kind, str):
        return None
    own = {f"{one.__module__}.{one.__qualname__}": one for one in regimes.REGIMES.values()}
    fields = {n: regime_from(v) if isinstance(v, Mapping) else v for n, v in fields.items()}
    regime = own[kind](**fields)
    if describe(regime) != description:
        raise ValueError(f"there is no {kind} of {fields}")
    return regime


def make_folder(path: Path, option: str = "out") -> None:
    """Make a folder and see that it can be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        _probe(path)
    except OSError as error:
        raise ValueError(
            f"{option} must be a writable folder, but {path} is not: {error}"
        ) from None


def check_file(path: Path, option: str) -> None:
    """See that `write_atomically` can make this file, and make the folder that it is in."""
    try:
        if path.is_dir():
            raise ValueError(f"{option} must be a file, but {path} is a folder")
        if path.exists() and not path.is_file():  # a device would be replaced by a file
            raise ValueError(f"{option} must be a plain file, but {path} is a device or a pipe")
        make_folder(path.absolute().parent, f"the folder of {option}")
        _probe(path.parent, path.name)
    except OSError as error:
        raise ValueError(
            f"{option} must be a file that can be written, but {path} is not: {error.strerror}"
        ) from None


def _probe(folder: Path, name: str = "") -> None:
    temporary = _temporary(folder / (name or "probe"))
    temporary.write_bytes(b"")
    temporary.unlink()


def _take(descriptor: int) -> bool | None:
    """Lock an open file, unless another has; None where the file system knows no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
            return None
        raise
    return True


def _holder(descriptor: int) -> str:
    """Who has the lock, as it says of itself."""
    for _ in range(20):  # it may have locked and not yet written
        os.lseek(descriptor, 0, os.SEEK_SET)
        if said := os.read(descriptor, 200).decode(errors="replace").strip():
            return said
        time.sleep(0.01)
    return "another process"


def _open_lock(file: Path, option: str) -> int:
    """The lock file of a folder, open, and locked if that can be."""
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            taken = _take(descriptor)
            if taken is None:
                warnings.warn(
                    f"{file.parent} is on a file system without locks: let no other process write "
                    "there",
                    stacklevel=5,
                )
                return descriptor
            if not taken:
                raise ValueError(
                    f"{option} must be a folder that nobody else writes, but {file.parent} is in "
                    f"use by {_holder(descriptor)}; wait for it, or give another folder"
                )
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), file.stat()):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its owner took it away between opening and locking


@contextmanager
def sole_writer(path: Path, option: str = "out") -> Iterator[None]:
    """Nobody else writes this folder: no second process enters such a block before it is left.

    The file `lock` in the folder is locked. The operating system lets go of it when the process
    ends, however it ends, so that a killed run is in nobody's way.
    """
    file = path / "lock"
    try:
        descriptor = _open_lock(file, option)
    except OSError as error:
        raise ValueError(
            f"{option} must be a folder that can be locked, but {path} is not: {error}"
        ) from None
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {platform.node()}\n".encode())
        yield
    finally:
        with suppress(OSError):
            file.unlink()
        os.close(descriptor)


def leave_out_damaged(folder: Path) -> None:
    """Rename checkpoints of which any part is damaged, with a warning, so that none is read.

    What reads arrays parses their headers first, and notices no damage that makes them shorter.
    """
    for path in sorted(folder.glob("*.npz")):
        if not _is_whole(path):
            kept = path.with_name(f"{path.name}.damaged")
            if kept.is_dir():
                rmtree(kept)
            path.replace(kept)
            warnings.warn(f"{path} is damaged and is left out; it is {kept.name} now", stacklevel=2)


def _is_whole(path: Path) -> bool:
    """Whether an `.npz` file holds as many arrays as were stored, with their checksums."""
    try:
        content = path.read_bytes()
        with ZipFile(io.BytesIO(content)) as archive:
            stored = int.from_bytes(content[-12:-10], "little")  # of the end of the directory
            return archive.testzip() is None and len(archive.filelist) == stored
    except (BadZipFile, EOFError, OSError, RuntimeError, ValueError, zlib.error):
        return False


def recorded_digests(folder: Path) -> dict[str, Any]:
    """The digests of sources and figures in the manifest of a run folder; none without one."""
    path = folder / "manifest.json"
    if not path.exists():
        return {}
    manifest = read_json(path)
    kinds = ("matplotlib", "sources", "figures")
    try:
        _, sources, figures = (manifest[kind] for kind in kinds)
        return {**sources, **figures}
    except (KeyError, TypeError):
        raise ValueError(f"{path} is damaged: it has no {', no '.join(kinds)}") from None


def not_vouched_for(folder: Path, names: Iterable[str]) -> list[str]:
    """Which of these files of a folder are not those that its manifest, written last, tells of.

    Args:
        folder: A run folder; without a manifest none of its files is vouched for.
        names: Of files; one that is missing counts if the manifest has it.
    """
    recorded = recorded_digests(folder)
    present = {name: (folder / name).exists() for name in names}
    return [
        name
        for name, there in present.items()
        if recorded.get(name) != (sha256_of(folder / name) if there else None)
    ]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None


def _temporary(path: Path) -> Path:
    """What a file is called until it is whole."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that at any moment it is either the old or the new one, whole."""
    temporary = _temporary(path)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OSError(error.errno, f"cannot be written: {error.strerror}", str(path)) from None


def _read(path: Path, parse: Callable[[str], Content]) -> Content:
    try:
        return parse(text_of(path.read_bytes()))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; run icl-stl reproduce first") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def write_json(path: Path, value: Any) -> None:
    """Write JSON, atomically; a number that JSON does not know is an error.

    Indented down to the fourth level, so that a cell of a claim is one line.
    """
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)
    text = re.sub(r"\n(?: {5,}| {4}(?=[]}]))", "", text)
    write_atomically(path, f"{text}\n".encode())


def read_json(path: Path) -> Any:
    """Read JSON; of the version `SCHEMA` of its form, if it says of which."""
    content = _read(path, json_of)
    schema = content.get("schema", SCHEMA) if isinstance(content, dict) else SCHEMA
    if schema != SCHEMA:
        raise ValueError(
            f"schema must be {SCHEMA}, the version of the form of results that is read here, but "
            f"that of {path} is {schema!r}: run what made it again"
        )
    return content


def write_table(path: Path, results: Mapping[str, LoopResult]) -> None:
    """All loops as CSV: a row for each regime, replicate and generation, exact numbers.

    The column `drift_2` is the third entry of `drift`; a quantity of one number has no suffix. A
    quantity that a regime does not have is empty. `description` is the regime, whole, as JSON.
    """
    rows: list[dict[str, Any]] = []
    for name, result in results.items():
        described = canonical(describe(result.regime, "regime"))
        flat: dict[str, NDArray[Any]] = {}
        for quantity, values in result.observations.items():
            flat |= _columns(quantity, values)
        replicates, generations = next(iter(result.observations.values())).shape[:2]
        for r, i in np.ndindex(replicates, generations):
            numbers = {column: values[r, i].item() for column, values in flat.items()}
            place = {"regime": name, "replicate": r, "generation": i}
            rows.append({**place, **numbers, "description": described})
    names = dict.fromkeys(column for row in rows for column in row if column != "description")
    write_atomically(path, csv_of([*names, "description"], rows))


def csv_of(header: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """A table with exact numbers; empty where a row has no value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        values = (row.get(name) for name in header)
        writer.writerow(
            "" if value is None else value if isinstance(value, str) else repr(value)
            for value in values
        )
    return text.getvalue().encode()


def _columns(quantity: str, values: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """A quantity `[R, G + 1]` or `[R, G + 1, K]` as its columns `[R, G + 1]`."""
    stem, _, suffix = quantity.rpartition("_")
    fine = quantity not in PLACES and not (stem and suffix.isdecimal())
    what = "a name that no place of a row has, without a number at its end"
    require(fine, "quantity", quantity, what)
    require(
        values.ndim in (2, 3) and values.dtype.kind in "iuf" and 0 not in values.shape,
        quantity,
        f"{values.dtype} of shape {values.shape}",
        "numbers of shape [R, G + 1] or [R, G + 1, K], none of them 0",
    )
    if values.ndim == 2:
        return {quantity: values}
    return {f"{quantity}_{k}": values[:, :, k] for k in range(values.shape[2])}


def read_rows(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a table of results as they are written, columns in order, these among them."""
    return [row.cells for row in _read(path, lambda text: rows_of(text, needed, more=True))]


PLACES = ("regime", "replicate", "generation", "description")
"""The columns of a table of loops that are no quantities."""


def read_table(path: Path, samples: int, regimes: Iterable[Regime] = ()) -> dict[str, LoopResult]:
    """The loops of a table written by `write_table`: float64, whole numbers int64.

    Args:
        regimes: The regimes in it that are not of this package: no code is run because a table
            names it.
    """
    read = _read(path, _tables_of)
    given = {key(regime, "regime"): regime for regime in regimes}
    found = {}
    for name, (regime, description, arrays) in read.items():
        whose = regime or given.get(digest(description))
        if whose is None:
            raise ValueError(
                f"regimes must have every regime of {path} that is not of this package, as it was "
                f"when the table was written, but {name!r}, {canonical(description)}, is not there"
            )
        found[name] = LoopResult(whose, samples, arrays)
    return found


def _tables_of(text: str) -> dict[str, tuple[Regime | None, Any, Arrays]]:
    """What `_loops_of` finds in the rows of each regime of a table, in order."""
    if not text.endswith("\n"):  # it is ours, and written whole
        raise ValueError("it ends within a row")
    found: dict[str, list[dict[str, str]]] = {}
    for row in rows_of(text, PLACES, more=True):
        found.setdefault(row.cells["regime"], []).append(row.cells)
    return {name: _loops_of(name, rows) for name, rows in found.items()}


def _loops_of(name: str, rows: Sequence[Mapping[str, str]]) -> tuple[Regime | None, Any, Arrays]:
    """The regime of some rows, unless it is not of this package, what describes it, and arrays."""
    places = [(int(row["replicate"]), int(row["generation"])) for row in rows]
    shape = tuple(1 + max(column) for column in zip(*places, strict=True))
    if places != list(np.ndindex(*shape)):
        raise ValueError(f"the loops of {name} are not all there, in order")
    said = {row["description"] for row in rows}
    if len(said) > 1:
        raise ValueError(f"{name} is described in {len(said)} ways")
    description = json.loads(said.pop())
    quantities: dict[tuple[str, bool], list[NDArray[Any]]] = {}
    for column in (column for column in rows[0] if column not in PLACES):
        cells = [row[column] for row in rows]
        if not any(cells):
            continue  # the regime has no such quantity
        stem, _, suffix = column.rpartition("_")
        one_of_several = bool(stem) and suffix.isdecimal()
        own = quantities.setdefault((stem if one_of_several else column, one_of_several), [])
        if one_of_several and int(suffix) != len(own):
            raise ValueError(f"{name} has no {stem}_{len(own)} before its {column}")
        own.append(_numbers(cells).reshape(shape))
    arrays = {
        quantity: np.stack(columns, axis=-1) if several else columns[0]
        for (quantity, several), columns in quantities.items()
    }
    return regime_from(description), description, arrays


def _numbers(cells: Sequence[str]) -> NDArray[Any]:
    """Exact numbers as `csv_of` writes them, whole ones as such if all are."""
    whole = all(cell.lstrip("-").isdecimal() for cell in cells)
    numbers = [int(cell) if whole else float(cell) for cell in cells]
    for cell, number in zip(cells, numbers, strict=True):
        if repr(number) != cell:
            raise ValueError(f"{cell!r} is no number as it is written here")
    return np.array(numbers, np.int64 if whole else np.float64)

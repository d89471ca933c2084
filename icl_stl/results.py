"""What runs leave behind: arrays by name, a table of all loops, JSON. Needs no JAX."""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icl_stl.regimes import Augment, RealOnly, Regime, Replace, real_share

SCHEMA = 1
"""Version of `claims.json`."""

Arrays = dict[str, NDArray[Any]]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Failure:
    """A replicate whose numbers stopped being finite; it is left out of every verdict."""

    regime: str
    replicate: int
    generation: int
    step: int
    """Training step, -1 if the training was fine and a measurement was not finite."""

    def __str__(self) -> str:
        where = f"training step {self.step}" if self.step >= 0 else "a measurement"
        return (
            f"{self.regime}, replicate {self.replicate}: not finite in generation "
            f"{self.generation}, {where}"
        )


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
        return int(self.observations["diverged_at"].shape[1]) - 1

    @property
    def failures(self) -> tuple[Failure, ...]:
        """For each replicate the first generation with a number that is not finite."""
        step = self.observations["diverged_at"]
        bad = step >= 0
        for name, values in self.observations.items():
            if name != "training_loss":  # a learner without training has none
                bad = bad | ~np.isfinite(values).reshape(*bad.shape, -1).all(-1)
        first = np.argmax(bad, axis=1)
        return tuple(
            Failure(self.label, int(r), int(first[r]), int(step[r, first[r]]))
            for r in np.flatnonzero(bad.any(1))
        )

    def replicates(self, kept: Sequence[int]) -> "LoopResult":
        """These replicates alone."""
        own = {name: values[list(kept)] for name, values in self.observations.items()}
        return LoopResult(self.regime, self.samples, own)


def label(regime: Regime, samples: int) -> str:
    """The regime with its share, as in `augment-0.5`: the name of its files."""
    share = real_share(regime, samples, 1)
    weight = getattr(regime, "weight", None)
    if weight is not None:
        rows = samples / (samples + regime.synthetic_size(samples))
        return f"{regime.name}-{rows!r}-weight-{weight!r}"
    return f"{regime.name}-{share!r}" if 0 < share < 1 else regime.name


def regime_of(label: str) -> Regime:
    """The inverse of `label`, for the regimes of the main job."""
    name, _, share = label.partition("-")
    plain: dict[str, Regime] = {"real-only": RealOnly(), "replace": Replace()}
    if label in plain:
        return plain[label]
    if name == "augment":
        return Augment(float(share))
    raise ValueError(f"regime must be one of real-only, replace, augment-SHARE, not {label!r}")


# --- files ---------------------------------------------------------------------------------------


def make_folder(path: Path, option: str = "out") -> None:
    """Make a folder and see that it can be written.

    Raises:
        ValueError: If it cannot; the message names it and the option that asks for it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".{os.getpid()}.tmp"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise ValueError(
            f"{option} must be a writable folder, but {path} is not: {error}"
        ) from None


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that at any moment it is either the old or the new one, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, indented, atomically; a number that JSON does not know is an error."""
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)
    write_atomically(path, f"{text}\n".encode())


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        ValueError: If there is no such file or it is no JSON; the message names it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; run scripts/reproduce_theorem.py first") from None
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def write_table(path: Path, results: Mapping[str, LoopResult]) -> None:
    """All loops as CSV: a row for each regime, replicate and generation, exact numbers.

    The column `drift_2` is the third entry of `drift`; a quantity of one number has no suffix.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header: list[str] = []
    for name, result in results.items():
        flat = {k: v.reshape(*v.shape[:2], -1) for k, v in result.observations.items()}
        columns = [
            key if values.ndim == 2 else f"{key}_{index}"
            for key, values in result.observations.items()
            for index in range(flat[key].shape[2])
        ]
        if not header:
            header = ["regime", "replicate", "generation", *columns]
            writer.writerow(header)
        replicates, generations = result.observations["diverged_at"].shape
        for r in range(replicates):
            for i in range(generations):
                numbers = [repr(v.item()) for values in flat.values() for v in values[r, i]]
                writer.writerow([name, r, i, *numbers])
    write_atomically(path, text.getvalue().encode())


def read_table(path: Path, samples: int) -> dict[str, LoopResult]:
    """The loops of a table written by `write_table`.

    Raises:
        ValueError: If the file is missing or is no such table; the message names it.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        names = [name for name in rows[0] if name not in {"regime", "replicate", "generation"}]
        quantities: dict[str, list[str]] = {}
        for name in names:
            stem, _, suffix = name.rpartition("_")
            quantities.setdefault(stem if suffix.isdigit() else name, []).append(name)
        results = {}
        for regime in dict.fromkeys(row["regime"] for row in rows):
            own = [row for row in rows if row["regime"] == regime]
            shape = tuple(1 + max(int(row[k]) for row in own) for k in ("replicate", "generation"))
            arrays = {
                stem: np.array([[float(row[c]) for c in columns] for row in own]).reshape(
                    *shape, *([len(columns)] if columns != [stem] else [])
                )
                for stem, columns in quantities.items()
            }
            results[regime] = LoopResult(regime_of(regime), samples, arrays)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; run scripts/reproduce_theorem.py first") from None
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    return results

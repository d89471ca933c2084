"""Sweeps: thousands of independent settings, one result file each. Needs no JAX until they run.

A result file is named by the SHA-256 of its configuration: the setting and the code that it was run
by. It is written whole or not at all, by whoever ran the setting, so that whatever is killed, what
was finished stays; it carries a checksum, so that a damaged one is noticed and made again. Tables
are always made from result files, in an order that depends on the settings alone. What is damaged,
or of other code, is a `ValueError` that names the file or folder and what differs.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from icl_stl.descriptions import canonical, digest
from icl_stl.lab.results import Arrays, csv_of, read_json, write_atomically
from icl_stl.lab.sweeps.executors import Lost, keep_own_cores, run_tasks
from icl_stl.lab.sweeps.grids import COLUMNS, MEASURED, Setting, in_words
from icl_stl.regimes import training_size

SCHEMA = 1
"""Version of a result file."""


class Result(NamedTuple):
    """What is stored of one setting."""

    configuration: dict[str, Any]
    """`setting`: `Setting.identity`; `code`: versions and source."""
    columns: dict[str, Any]
    """`Setting.columns`."""
    made_on: dict[str, Any]
    """What else the last bits depend on: platform, devices."""
    observed: dict[str, list[float | None]]
    """By name, one number a generation; None where it is not finite."""

    @property
    def name(self) -> str:
        """The name of its file."""
        return digest(self.configuration)


class Failure(NamedTuple):
    """A setting without a usable result."""

    setting: dict[str, Any]
    """`Setting.columns`."""
    generation: int | None
    """The first with a number that is not finite, if that is what is wrong."""
    reason: str

    @property
    def words(self) -> str:
        """Setting and reason."""
        return f"{in_words(self.setting)}: {self.reason}"


class Outcome(NamedTuple):
    """What a worker says of a setting: its result is on disk, unless there is an error."""

    setting: Setting
    error: str = ""


def _folder(out: Path) -> Path:
    return out / "results"


def _path(out: Path, name: str) -> Path:
    return _folder(out) / f"{name}.json"


def configuration(setting: Setting, code: Mapping[str, Any]) -> dict[str, Any]:
    """All that a result depends on, up to the last bits."""
    return {"schema": SCHEMA, "setting": setting.identity, "code": dict(code)}


def _plain(values: Any) -> list[float | None]:
    """Exact numbers that JSON knows."""
    return [value if isfinite(value) else None for value in np.asarray(values).tolist()]


def write_result(out: Path, result: Result) -> None:
    """Store a result."""
    content = canonical(result._asdict())
    text = f'{{"checksum":"{digest(result._asdict())}","result":{content}}}\n'
    write_atomically(_path(out, result.name), text.encode())


def read_result(path: Path) -> Result:
    """A stored result."""
    stored = read_json(path)
    try:
        result = Result(**stored["result"])
        whole = stored["checksum"] == digest(stored["result"]) and path.stem == result.name
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise ValueError(f"{path} is damaged: its checksum is wrong")
    return result


def read_results(out: Path) -> tuple[dict[str, Result], list[Path]]:
    """All results of a sweep by name, and the files that are damaged."""
    found, damaged = {}, []
    for path in sorted(_folder(out).glob("*.json")):
        try:
            found[path.stem] = read_result(path)
        except (OSError, ValueError):
            damaged.append(path)
    return found, damaged


def _apart(old: Any, new: Any) -> str:
    """Where two JSON values differ, in words; empty where they do not."""
    if old == new:
        return ""
    from icl_stl.lab.runs import differences  # noqa: PLC0415  (loads JAX: only where it is needed)

    return "; ".join(differences(old, new))


def _other_code(result: Result, code: Mapping[str, Any]) -> str:
    """How the code of a result differs from this code, in words; empty where it does not."""
    wanted = {"schema": SCHEMA, "code": dict(code)}
    return _apart({name: result.configuration[name] for name in wanted}, wanted)


def merge(folders: Sequence[Path], out: Path) -> int:
    """Add the results of other sweeps to a folder; how many are new.

    Nothing is written unless all are whole and by the same code, and give the same numbers.
    """
    parts: dict[Path, dict[str, Result]] = {}
    for folder in dict.fromkeys((out, *folders)):
        parts[folder], damaged = read_results(folder)
        if damaged:
            raise ValueError(f"merge must be of whole sweeps, but {damaged[0]} is damaged")
        if folder in folders and not parts[folder]:
            raise ValueError(f"merge must be folders of sweeps, but {folder} has no results")
    every = [(folder, result) for folder, results in parts.items() for result in results.values()]
    first: dict[str, tuple[Path, Result]] = {}
    for folder, result in every:
        other, old = every[0]
        if apart := _other_code(result, old.configuration["code"]):
            raise ValueError(
                f"merge must be of sweeps by the same code, but {other} and {folder} are not "
                f"({apart})"
            )
        other, old = first.setdefault(result.name, (folder, result))
        if apart := _apart(old.observed, result.observed).partition("; ")[0]:
            made = _apart(old.made_on, result.made_on)
            raise ValueError(
                f"a setting must have the same numbers in both sweeps, but in {other} and "
                f"{folder} it has not ({apart}): {in_words(result.columns)}"
                + (f"; made on other machines ({made})" if made else "")
            )
    new = [result for name, (_, result) in first.items() if name not in parts[out]]
    _folder(out).mkdir(parents=True, exist_ok=True)
    for result in new:
        write_result(out, result)
    return len(new)


def prepare(
    settings: Iterable[Setting], out: Path, code: Mapping[str, Any], *, fresh: bool = False
) -> tuple[tuple[Setting, ...], int]:
    """The settings that are left to run, and how many results were damaged."""
    folder = _folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    if fresh:
        for path in folder.glob("*.json"):
            path.unlink()
    found, damaged = read_results(out)
    for result in found.values():
        if changed := _other_code(result, code):
            raise ValueError(
                f"out must be a folder of this code, but {out} has results by other code "
                f"({changed}); give another --out, or --fresh to start it anew"
            )
    left = tuple(one for one in settings if digest(configuration(one, code)) not in found)
    return left, len(damaged)


def stored_as_they_come(
    settings: Sequence[Setting], out: Path, code: Mapping[str, Any], at_once: int
) -> Iterator[Outcome]:
    """Run settings of one shape and store each result as soon as it is known.

    Results that are there already, of an earlier try, are kept.
    """
    from icl_stl.lab.sweeps import batches  # noqa: PLC0415  (loads JAX)

    apart = _apart(dict(code), batches.code())
    if apart:
        raise ValueError(f"a worker must run the same code, but it does not: {apart}")
    left = []
    for setting in settings:
        try:
            read_result(_path(out, digest(configuration(setting, code))))
            yield Outcome(setting)
        except ValueError:
            left.append(setting)
    for setting, found in batches.run_batch(left, at_once) if left else ():
        if isinstance(found, Exception):
            yield Outcome(setting, _why(found))
            continue
        error, made_on, stored = "", batches.made_on(at_once), _told(setting, found)
        try:
            of = configuration(setting, code)
            write_result(out, Result(of, dict(setting.columns), made_on, stored))
        except OSError as refused:
            error = _why(refused)
        yield Outcome(setting, error)


def _told(setting: Setting, observed: Arrays) -> dict[str, list[float | None]]:
    """What is stored of what was observed: exact numbers that JSON knows, and how many rows."""
    counts = [
        training_size(setting.regime, setting.samples, i) for i in range(setting.generations + 1)
    ]
    return {"rows": list(counts), **{name: _plain(values) for name, values in observed.items()}}


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def run_in_worker(
    settings: Sequence[Setting], out: str, code: Mapping[str, Any], at_once: int
) -> list[Outcome]:
    """`stored_as_they_come` as the task of a process that has its cores to itself."""
    keep_own_cores()
    from icl_stl.lab.sweeps import batches  # noqa: PLC0415  (its threads keep to them too)

    batches.use_own_cores()
    return list(stored_as_they_come(settings, Path(out), code, at_once))


def batches_of(
    settings: Sequence[Setting], at_once: int, workers: int
) -> list[tuple[Setting, ...]]:
    """Settings of equal shape in batches of at most so many, enough of them for all workers."""
    from icl_stl.lab.sweeps.batches import shape_of  # noqa: PLC0415

    groups: dict[Any, list[Setting]] = {}
    for setting in settings:
        groups.setdefault(shape_of(setting), []).append(setting)
    found = []
    for group in groups.values():
        # Loops of one program run as long as the longest of them.
        ordered = sorted(group, key=lambda setting: setting.generations)
        count = max(-(-len(group) // at_once), min(len(group), workers))
        bounds = [len(group) * k // count for k in range(count + 1)]
        found += [tuple(ordered[a:b]) for a, b in pairwise(bounds)]
    return found


def run_settings(
    settings: Sequence[Setting],
    out: Path,
    code: Mapping[str, Any],
    *,
    at_once: int = 8,
    executor: Executor | None = None,
    workers: int = 1,
    retries: int = 2,
) -> Iterator[Outcome]:
    """Run settings and store their results, in this process or by workers.

    Args:
        settings: What is left to run: `prepare`.
        out: Folder of the sweep; workers must find it under the same path.
        code: `batches.code()`.
        at_once: Settings that a worker is given at a time; on an accelerator it runs so many loops
            of the transformer together.
        executor: Where workers are; this process if not given.
        workers: How many of them there are.
        retries: How often a setting that took its worker down is tried again.

    Yields:
        An outcome for each setting, as they come.
    """
    if executor is None:
        for batch in batches_of(settings, max(1, len(settings)), 1):
            yield from stored_as_they_come(batch, out, code, at_once)
        return
    for found in run_tasks(
        executor,
        run_in_worker,
        batches_of(settings, at_once, workers),
        (str(out.absolute()), dict(code), at_once),
        retries=retries,
    ):
        yield Outcome(found.item, _why(found.error)) if isinstance(found, Lost) else found


def failure_of(result: Result) -> Failure | None:
    """What is wrong with a result; None if all that must be finite is.

    Standard errors, closed forms and how many rows a regime chooses may be unknown.
    """
    observed = result.observed
    unknown = ("_stderr", "_closed_form", "rows")
    needed = [values for name, values in observed.items() if not name.endswith(unknown)]
    setting, diverged = result.columns, observed["diverged_at"]
    for i, at in enumerate(diverged):
        known = at is not None and at >= 0
        if known or any(values[i] is None for values in needed):
            where = f"training step {at}" if known else "a measurement"
            if "runs" in setting and known:
                count = observed.get("failed_loops", [None] * (i + 1))[i]
                where = f"{count or 'some'} of {setting['runs']} loops, the first of them {at}"
            return Failure(setting, i, f"not finite in generation {i}, {where}")
    return None


def _order(result: Result) -> tuple[tuple[int, float, str], ...]:
    """Results in the order of their columns, numbers as numbers."""
    own = result.columns
    values = (own.get(name) for name in (*COLUMNS, *sorted({*own} - {*COLUMNS})))
    return tuple(
        (0, -1.0 if value is None else float(value), "")
        if value is None or isinstance(value, int | float)
        else (1, 0.0, str(value))
        for value in values
    )


def _header(names: set[str]) -> list[str]:
    """The columns of settings, in their order."""
    return [*(name for name in COLUMNS if name in names), *sorted(names - {*COLUMNS})]


def table(results: Iterable[Result]) -> bytes:
    """A row for each setting and generation: settings, `MEASURED`; failed settings are left out.

    `rows` is how many rows the generation was fitted on.
    """
    ordered = sorted((r for r in results if failure_of(r) is None), key=_order)
    shown = {name for r in ordered for name in r.observed}
    header = _header({name for r in ordered for name in r.columns})
    header += ["generation", "rows", *(name for name in MEASURED if name in shown)]
    rows = (
        {**result.columns, "generation": i}
        | {name: values[i] for name, values in result.observed.items()}
        for result in ordered
        for i in range(len(result.observed["rows"]))
    )
    return csv_of(header, rows)


def write_tables(out: Path, outcomes: Iterable[Outcome] = ()) -> tuple[int, list[Failure]]:
    """Write `sweep.csv` and `failures.csv` from all results in a folder.

    Args:
        out: Folder of the sweep.
        outcomes: Those of this run, for settings without a result.

    Returns:
        How many settings have a usable result, and the others.
    """
    results = list(read_results(out)[0].values())
    failures = [found for result in sorted(results, key=_order) if (found := failure_of(result))]
    usable = len(results) - len(failures)
    failures += [
        Failure(dict(one.setting.columns), None, one.error) for one in outcomes if one.error
    ]
    write_atomically(out / "sweep.csv", table(results))
    named = {name for failure in failures for name in failure.setting}
    header = [*_header(named), "generation", "reason"]
    rows = [{**f.setting, "generation": f.generation, "reason": f.reason} for f in failures]
    write_atomically(out / "failures.csv", csv_of(header, rows))
    return usable, failures

"""Models outside JAX: a class, or a command, that learns from rows and writes as many as asked.

A class has `fit(rows, weights=None)` and `sample(count, seed)`, rows float64 `[N, columns]`; a new
object is made for every fit. As in scikit-learn, weights may be called `sample_weight`, the seed
`random_state`, `sample` may return a tuple whose first part are the rows, and where it takes no
seed the attribute `random_state` is set; the random states of Python, NumPy and PyTorch, if it is
loaded, are set before every fit. With `score_samples(rows)`, log-densities, it has a loss.

A command is run without a shell, with paths and numbers in the places `{train}`, `{out}`, `{count}`
and `{seed}`. Both files are CSV, as `reading` has it, or arrays where it says `{train.npy}` or
`{out.npy}`; categories are numbers in them.

Weights sum to 1; rows of weight 0 are left out. What takes no weights gets the rows alone. The rows
that a model wrote are shuffled: some write them sorted. Needs no JAX.
"""

import inspect
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from icl_stl import code
from icl_stl.config import meant, positive, require, whole
from icl_stl.data.reading import LARGEST, Sheet, parse_table
from icl_stl.descriptions import version_of
from icl_stl.tables import read_bytes, text_of

Rows = NDArray[Any]


class UnfitError(Exception):
    """A model that could not be fitted, or wrote what it should not; says what."""


class Task(NamedTuple):
    """What a model is asked for."""

    rows: Rows
    """`[N, columns]`, all of them with a weight."""
    weights: Rows | None
    """`[N]`, None where every row counts alike and the model takes none."""
    wanted: int
    """Rows to write."""
    seed: tuple[int, ...]
    """Of this fit alone."""
    sheet: Sheet
    """What the columns are."""
    held_out: Rows
    """Rows to score."""
    place: Path
    """Where what it leaves behind is kept: the beginning of a path."""


class Written(NamedTuple):
    """What a model wrote."""

    rows: Rows
    """`[count, columns]`."""
    losses: Rows | None
    """-ln p of the held-out rows; None without a density."""


def load_file(path: Path | str, option: str = "the file") -> ModuleType:
    """The module that a file of Python is; the same object for the same content.

    Its name carries a digest of its content, so that what it defines is told from what another
    version of the file defined. It may import the files beside it.

    Raises:
        ValueError: If there is no such file, or importing it fails; the message says how.
    """
    file = Path(path).expanduser().resolve()
    require(file.suffix == ".py", option, str(path), "a file of Python, as mine.py")
    if not file.is_file():
        raise ValueError(f"{option} must name a file that exists, but there is no file {path}")
    name = f"{file.stem}_{sha256(file.read_bytes()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ValueError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(file.parent))
    return module


@dataclass(frozen=True)
class Outside:
    """What both kinds share."""

    words: str
    """What was named: `FILE.py:NAME` by its whole path, or the command."""
    digest: str = ""
    """Of the code."""
    retries: int = 0
    """Fits that fail are made again so many times, each time with another seed."""
    time_limit: float | None = None
    """Seconds that one fit may take."""
    threads: int = 1
    """Threads of a class's network or linear algebra: more than one pay for large ones alone. What
    a command uses it decides itself."""

    at_once: ClassVar[bool] = False
    """Whether several fits may run beside each other."""

    def __post_init__(self) -> None:
        whole("retries", self.retries, 0)
        whole("threads", self.threads, 1)
        if self.time_limit is not None:
            positive("time_limit", self.time_limit)

    @property
    def takes_weights(self) -> bool:
        """Whether rows may have different weights."""
        return False

    @property
    def has_density(self) -> bool:
        """Whether it scores rows."""
        return False

    def write(self, task: Task, seeds: tuple[int, int, int]) -> Written:
        """Fit and write; seeds of the fit, of the sample, of the order of rows."""
        raise NotImplementedError

    def written(self, task: Task) -> Written:
        """Fit and write, again if that fails and may be retried; what is wrong is refused.

        Raises:
            UnfitError: If the last try failed, too.
        """
        for attempt in range(self.retries + 1):
            state = np.random.SeedSequence((*task.seed, attempt)).generate_state(3)
            first, second, third = (int(one) >> 1 for one in state)  # below 2^31, as many want
            seeds = first, second, third
            try:
                rows, losses = self.write(task, seeds)
                rows = _fine_rows(rows, task)
                losses = None if losses is None else _fine_losses(losses, len(task.held_out))
            except UnfitError as error:
                last = error
            else:
                order = np.random.default_rng(seeds[2]).permutation(len(rows))
                return Written(rows[order], losses)
        tries = f" ({self.retries + 1} tries)" if self.retries else ""
        raise UnfitError(f"{last}{tries}")


def _fine_rows(rows: Any, task: Task) -> Rows:
    """The rows that a model wrote, seen to be what was asked for."""
    found = _array(rows, "rows")
    shape = task.wanted, task.rows.shape[1]
    if found.ndim == 1 and shape[1] == 1:
        found = found[:, None]
    if found.shape != shape:
        raise UnfitError(f"it must write rows of the shape {shape}, but wrote {found.shape}")
    bad = np.argwhere(~(np.abs(found) <= LARGEST))
    if bad.size:
        row, column = bad[0]
        raise UnfitError(
            f"it must write finite numbers, but row {row + 1}, column {column + 1} "
            f"({task.sheet.names[column]!r}) is {found[row, column]}"
        )
    if symbols := len(task.sheet.symbols):
        strange = found[(found != np.round(found)) | (found < 0) | (found >= symbols)]
        if strange.size:
            right = f"symbols, whole numbers in 0..{symbols - 1}"
            raise UnfitError(f"it must write {right}, but one is {strange[0]}")
    return found


def _fine_losses(losses: Any, count: int) -> Rows:
    found = -_array(losses, "log-densities")
    if found.shape != (count,):
        raise UnfitError(f"score_samples must return {count} numbers, but returned {found.shape}")
    if not np.isfinite(found).all():
        raise UnfitError(
            f"score_samples must return finite numbers, but one is {-found[~np.isfinite(found)][0]}"
        )
    return found


def _array(value: Any, what: str) -> Rows:
    value = value.detach().cpu().numpy() if hasattr(value, "detach") else value  # of PyTorch
    if value is None:
        raise UnfitError(f"it must return {what}, but returned nothing")
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise UnfitError(f"it must return {what}, but returned {str(value)[:60]!r}") from None


# --- a class -------------------------------------------------------------------------------------


def _parameters(function: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


@dataclass(frozen=True)
class FromFile(Outside):
    """A class of a file of Python, or a `Learner` of this package made there."""

    options: tuple[tuple[str, Any], ...] = ()
    """Arguments of the class."""

    @classmethod
    def named(cls, words: str, option: str = "learner") -> "FromFile":
        """What `FILE.py:NAME` says.

        Raises:
            ValueError: If there is no such class, or it cannot learn and write.
        """
        path, _, name = words.rpartition(":")
        module = load_file(path, option)
        own = [n for n, one in vars(module).items() if _is_model(one)]
        right = (
            "FILE.py:NAME of a class with fit(rows, weights=None) and sample(count, seed), or of a "
            f"Learner ({', '.join(own) or 'there is none'}){meant(name, own)}"
        )
        one = getattr(module, name, None)
        if isinstance(one, type):
            lacks = [f"no {m}" for m in ("fit", "sample") if not callable(getattr(one, m, None))]
            right = f"{right}; {name} has {' and '.join(lacks)}"
        require(_is_model(one), option, words, right)
        packages = ((one, version_of(one)) for one in code.packages_of(module.__name__))
        known = repr((code.digest(module.__name__), *packages))
        whole = f"{Path(path).expanduser().resolve()}:{name}"
        return cls(whole, sha256(known.encode()).hexdigest())

    @property
    def kind(self) -> Any:
        """The class, or the `Learner`."""
        path, _, name = self.words.rpartition(":")
        return getattr(load_file(path), name)

    @property
    def is_learner(self) -> bool:
        """Whether it is a `Learner` of this package, in JAX."""
        return not isinstance(self.kind, type)

    @property
    def takes_weights(self) -> bool:
        return self.is_learner or self._weights is not None

    @property
    def has_density(self) -> bool:
        return hasattr(self.kind, "score_samples")

    @property
    def _weights(self) -> str | None:
        known = _parameters(self.kind.fit)
        return next((name for name in ("weights", "sample_weight") if name in known), None)

    def write(self, task: Task, seeds: tuple[int, int, int]) -> Written:
        try:
            with _within(self.time_limit):
                return self._write(task, seeds)
        except UnfitError:
            raise
        except Exception as error:
            raise UnfitError(f"{type(error).__name__}: {str(error).strip()[:500]}") from error

    def _write(self, task: Task, seeds: tuple[int, int, int]) -> Written:
        model = self.kind(**dict(self.options))
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(self.threads)
        _seed(model, seeds[0])
        given = {} if task.weights is None else {str(self._weights): task.weights}
        model = _or_itself(model.fit(task.rows, **given), model)
        losses = model.score_samples(task.held_out) if self.has_density else None
        _seed(model, seeds[1])
        known = _parameters(model.sample)
        by_name = [name for name in ("seed", "random_state") if name in known]
        if by_name:
            found = model.sample(task.wanted, **{by_name[0]: seeds[1]})
        else:
            found = model.sample(task.wanted, *[seeds[1]] * (len(known) > 1))
        return Written(found[0] if isinstance(found, tuple) else found, losses)


def _is_model(one: Any) -> bool:
    """Whether it is a class that learns and writes, or a `Learner`."""
    if isinstance(one, type):
        return callable(getattr(one, "fit", None)) and callable(getattr(one, "sample", None))
    return callable(getattr(one, "fit", None)) and callable(getattr(one, "generate", None))


def _or_itself(returned: Any, model: Any) -> Any:
    """What a fit returned if it can write; some return another object, some nothing."""
    return returned if hasattr(returned, "sample") else model


def _seed(model: Any, seed: int) -> None:
    """Set all random states that there are."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (what others draw from)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
    if hasattr(model, "random_state"):
        model.random_state = seed


@contextmanager
def _within(seconds: float | None) -> Iterator[None]:
    """Stop what takes longer, at the next line of Python that it runs."""
    main = threading.current_thread() is threading.main_thread()
    if seconds is None or not main or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*signalled: Any) -> None:
        raise UnfitError(f"it took longer than time_limit = {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- a command -----------------------------------------------------------------------------------

PLACE = re.compile(r"\{([^{}]*)\}")
FILES = {f"{name}{ending}": name for name in ("train", "out") for ending in ("", ".csv", ".npy")}
"""Places of files, and which they are."""
PLACES = (*FILES, "count", "seed")
"""What may stand in braces."""

_RUNNING: set[int] = set()
"""Groups of processes that run now."""


@dataclass(frozen=True)
class Command(Outside):
    """A program that reads rows from a file and writes as many as asked into another."""

    at_once: ClassVar[bool] = True

    @classmethod
    def named(cls, words: str, option: str = "command") -> "Command":
        """What a command line says.

        Raises:
            ValueError: If a place is missing or unknown, or there is no such program.
        """
        try:
            parts = shlex.split(words)
        except ValueError as error:
            raise ValueError(
                f"{option} must be a command line, but of {words!r}: {error}"
            ) from None
        found = [place for part in parts for place in PLACE.findall(part)]
        for place in found:
            known = f"of the places {', '.join(f'{{{one}}}' for one in PLACES)}"
            require(place in PLACES, option, f"{{{place}}}", f"{known}{meant(place, PLACES)}")
        said = {FILES.get(place, place) for place in found}
        for needed in ("train", "out", "count"):
            right = (
                f"a command line with {{train}}, {{out}} and {{count}}, without {{{needed}}} none"
            )
            require(needed in said, option, words, right)
        program = shutil.which(parts[0])
        require(program is not None, option, parts[0], "a program that there is")
        files = [part for part in parts[1:] if part.endswith(".py")]
        for file in files:
            require(Path(file).is_file(), option, file, "a command whose files exist")
        content = [Path(part).read_bytes() for part in parts[1:] if Path(part).is_file()]
        return cls(words, sha256(b"\n".join(content)).hexdigest())

    def write(self, task: Task, seeds: tuple[int, int, int]) -> Written:
        folder = task.place
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        values = {"count": str(task.wanted), "seed": str(seeds[0])}
        for place, name in FILES.items():
            values[place] = str(folder / f"{name}{'.npy' if place.endswith('.npy') else '.csv'}")
        parts = shlex.split(self.words)
        out = next(p for part in parts for p in PLACE.findall(part) if FILES.get(p) == "out")
        words = [PLACE.sub(lambda found: values[found[1]], part) for part in parts]
        for place in {p for part in parts for p in PLACE.findall(part) if FILES.get(p) == "train"}:
            write_rows(Path(values[place]), task.sheet.names, task.rows)
        log = folder.with_name(f"{folder.name}.log")
        with log.open("ab") as file:
            file.write(f"$ {shlex.join(words)}\n".encode())
            file.flush()
            status = _run(words, file, self.time_limit)
        if status:
            last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1]
            raise UnfitError(f"it must end with status 0, but ended with {status}: {last[:200]}")
        rows = read_written(Path(values[out]), task.sheet.names)
        shutil.rmtree(folder, ignore_errors=True)
        return Written(rows, None)


def _run(words: list[str], log: Any, seconds: float | None) -> int:
    """Run a program whose output goes to a file; its status."""
    start = time.monotonic()
    quiet = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
    try:
        process = subprocess.Popen(words, start_new_session=True, **quiet)
    except OSError as error:
        raise UnfitError(f"it cannot be started: {error.strerror}") from None
    _RUNNING.add(process.pid)
    try:
        status: int = process.wait(seconds)
        return status
    except subprocess.TimeoutExpired:
        took = time.monotonic() - start
        raise UnfitError(
            f"it took longer than time_limit = {seconds:g} seconds ({took:.1f})"
        ) from None
    finally:
        with suppress(OSError):  # itself, and whatever it started
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        _RUNNING.discard(process.pid)


def stop_commands() -> None:
    """End whatever commands run."""
    for group in [*_RUNNING]:
        with suppress(OSError):
            os.killpg(group, signal.SIGKILL)


def write_rows(path: Path, names: tuple[str, ...], rows: Rows) -> None:
    """Rows as a file, CSV or an array; exact numbers."""
    if path.suffix == ".npy":
        np.save(path, rows, allow_pickle=False)
        return
    lines = [",".join(map(repr, row)) for row in rows.astype(np.float64).tolist()]
    lines = [",".join(map(_quoted, names)), *lines] if _are_said(names) else lines
    path.write_text("\n".join((*lines, "")), encoding="utf-8")


def _are_said(names: tuple[str, ...]) -> bool:
    """Whether columns have names, and not only their numbers."""
    return names != tuple(str(k + 1) for k in range(len(names)))


def _quoted(name: str) -> str:
    return f'"{name.replace(chr(34), 2 * chr(34))}"' if {*'",'} & {*name} else name


def read_written(path: Path, names: tuple[str, ...]) -> Rows:
    """The rows that a command wrote."""

    def parse(content: bytes) -> Rows:
        if path.suffix == ".npy":
            return np.asarray(np.load(BytesIO(content), allow_pickle=False))
        sheet = parse_table(text_of(content), (), "auto")
        if sheet.words:
            raise ValueError(f"column {sheet.words[0][0]!r} holds words: {sheet.words[0][1][:3]}")
        if _are_said(sheet.names) and sheet.names != names:
            raise ValueError(f"its columns must be {names}, but they are {sheet.names}")
        return sheet.rows

    try:
        return read_bytes(path, "out", parse, 2**30)
    except (EOFError, ValueError) as error:
        raise UnfitError(str(error)) from None

"""Rows of a file or of a shipped table; what cannot be rows is refused by its place.

A table is CSV by the rules of `tables`, with a first line of names or without; `.npy`, an array
whose first axis are the rows; `.npz`, several such arrays side by side. A column without any number
is one of categories: each of its words becomes its place in alphabetical order, one number in one
column, since columns of zeros and ones would sum to 1 and leave no covariance an inverse. A text
file (`.txt`) becomes rows of symbols, each so many characters, one after the other.

Places are counted as a person counts them, lines and columns from 1.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import sha256
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from icl_stl import tables
from icl_stl.config import meant, require

Header = Literal["auto", "yes", "no"]
"""Whether the first line of a CSV file names the columns; `auto`: if none of it is a number."""

SHIPPED = ("breast-cancer", "diabetes", "digits", "wine")
"""Tables by name, from scikit-learn."""
KINDS = (".csv", ".npy", ".npz", ".txt")
"""Endings of files that are read."""
MISSING = frozenset({"", "na", "n/a", "nan", "null", "?"})
"""Words, in small letters, that stand for no value."""
ENDLESS = frozenset({"inf", "infinity"})
"""Words, in small letters, that are numbers of other programs."""
FEWEST = 4
"""Rows of a file: two to learn from and two that are held out."""
MOST_SYMBOLS = 1000
"""Different characters of a text: more are no text."""
LARGEST = 1e30
"""Largest size of a number: sums of squares of many are finite, in single precision after they
are standardised."""


class Sheet(NamedTuple):
    """Rows of numbers, or of symbols, and what their columns are."""

    rows: NDArray[Any]
    """`[N, columns]`, float64; int32 where they are symbols."""
    names: tuple[str, ...]
    """Of the columns."""
    words: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Each column of categories, and its words in the order of their numbers."""
    symbols: str = ""
    """The characters of a text in the order of their numbers; empty for a table."""

    @property
    def digest(self) -> str:
        """SHA-256 of all of it."""
        content = repr((self.rows.dtype.str, self.rows.shape, *self[1:])).encode()
        return sha256(content + np.ascontiguousarray(self.rows).tobytes()).hexdigest()


@lru_cache(maxsize=16)
def read_rows(
    words: str,
    option: str = "real",
    *,
    categories: tuple[str, ...] = (),
    header: Header = "auto",
    length: int = 32,
    target: bool = False,
) -> Sheet:
    """The rows that an option names.

    Args:
        words: A file, or one of `SHIPPED`.
        option: The option, for messages.
        categories: Columns whose values are words, though they may be numbers.
        header: Whether the first line of a CSV file names the columns.
        length: Symbols in a row of a text.
        target: Whether a shipped table has what is to be predicted as a last column, `target`.

    Raises:
        ValueError: If there is no such file, or it holds something else; the message says where.
    """
    if words in SHIPPED:
        return _with_categories(_shipped(words, option, target), categories)
    if not Path(words).suffix:
        known = f"a file, or one of {', '.join(SHIPPED)}{meant(words, SHIPPED)}"
        require(False, option, words, known)
    path = Path(words).expanduser()
    kind = tables.kind_of(path, option, KINDS)
    parse: Any = {
        ".csv": lambda content: parse_table(tables.text_of(content), categories, header),
        ".npy": lambda content: _with_categories(_arrays({"": _loaded(content)}), categories),
        ".npz": lambda content: _with_categories(_arrays(_loaded_all(content)), categories),
        ".txt": lambda content: _text(tables.text_of(content), length),
    }[kind]
    most = tables.MOST_BYTES if kind in (".csv", ".txt") else 2**30
    sheet: Sheet = tables.read_bytes(path, option, parse, most)
    require(not (categories and sheet.symbols), "categories", categories, "left out with a text")
    few, many = f"a file of at least {FEWEST} rows, since some are held out", len(sheet.rows)
    require(many >= FEWEST, f"{option} {words}", f"one of {many}", few)
    return sheet


def _shipped(name: str, option: str, target: bool) -> Sheet:
    try:
        datasets = import_module("sklearn.datasets")  # an extra; its rows tell versions apart
    except ImportError:
        raise ValueError(
            f"{option} must name a file where scikit-learn is not installed, but it is {name!r}: "
            "pip install 'icl_stl[data]' brings the tables that it ships"
        ) from None
    found = getattr(datasets, f"load_{name.replace('-', '_')}")()
    rows, names = np.asarray(found.data, np.float64), tuple(map(str, found.feature_names))
    if target:
        rows, names = np.column_stack([rows, found.target]), (*names, "target")
    return Sheet(rows, names)


def _place(line: int, column: int, name: str, word: str = "line") -> str:
    said = "" if name == str(column + 1) else f" ({name!r})"
    return f"{word} {line}, column {column + 1}{said}"


def parse_table(text: str, categories: Sequence[str], header: Header) -> Sheet:
    """The rows of a CSV text."""
    lines = tables.cells_of(text)
    number = re.compile(tables.NUMBER)
    first = lines[0][1]
    named = header == "yes" or (
        header == "auto" and not any(number.fullmatch(cell) for cell in first)
    )
    names = tuple(first) if named else tuple(str(k + 1) for k in range(len(first)))
    for k, name in enumerate(names):
        here = f"line {lines[0][0]}: the name of column {k + 1}"
        require(bool(name), here, name, "a word; header no says that the first line is a row")
        require(names.count(name) == 1, here, name, "one that no other column is called")
    _known(categories, names)
    rows = lines[named:]
    require(bool(rows), "the table", "empty", "at least one row below the names")
    for line, cells in rows:
        require(len(cells) == len(names), f"line {line}", cells, f"of {len(names)} values")
    columns, words = [], []
    for k, name in enumerate(names):
        own = [(line, cells[k]) for line, cells in rows]
        for line, cell in own:
            right = "a value: a row without one has to be left out, or filled by you"
            require(cell.lower() not in MISSING, _place(line, k, name), cell, right)
        if name in categories or not any(number.fullmatch(cell) for _, cell in own):
            known, codes = np.unique([cell for _, cell in own], return_inverse=True)
            words.append((name, tuple(map(str, known))))
            columns.append(codes.astype(np.float64))
            continue
        other = "a number, as others of this column are; categories takes its values as words"
        for line, cell in own:
            endless = cell.lower().lstrip("+-") in ENDLESS
            right = f"a number of a size of at most {LARGEST:g}" if endless else other
            require(number.fullmatch(cell) is not None, _place(line, k, name), cell, right)
        values = np.array([float(cell) for _, cell in own])
        _finite(values[:, None], [line for line, _ in own], [(k, name)])
        columns.append(values)
    return Sheet(np.column_stack(columns), names, tuple(words))


def _known(categories: Iterable[str], names: Sequence[str]) -> None:
    for name in categories:
        known = f"columns of the file ({', '.join(names[:20])}){meant(name, names)}"
        require(name in names, "categories", name, known)


def _finite(
    rows: NDArray[Any],
    places: Sequence[int],
    columns: Sequence[tuple[int, str]],
    word: str = "line",
) -> None:
    bad = np.argwhere(~(np.abs(rows) <= LARGEST))
    if bad.size:
        row, column = bad[0]
        here = _place(places[int(row)], *columns[int(column)], word)
        require(False, here, rows[row, column], f"a number of a size of at most {LARGEST:g}")


def _loaded(content: bytes) -> NDArray[Any]:
    """One array of a `.npy` file."""
    try:
        return np.asarray(np.load(BytesIO(content), allow_pickle=False))
    except (EOFError, OSError, ValueError):
        right = "it must hold an array of numbers, as numpy.save writes it: nothing is unpickled"
        raise ValueError(right) from None


def _loaded_all(content: bytes) -> dict[str, NDArray[Any]]:
    """All arrays of a `.npz` file."""
    try:
        with np.load(BytesIO(content), allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (AttributeError, BadZipFile, EOFError, OSError, TypeError, ValueError):
        right = "it must hold arrays of numbers, as numpy.savez writes them: nothing is unpickled"
        raise ValueError(right) from None


def _arrays(arrays: dict[str, NDArray[Any]]) -> Sheet:
    """Arrays side by side; a row of more than one axis is laid out in one."""
    require(bool(arrays), "the file", "empty", "one of at least one array")
    counts = {name: array.shape[:1] for name, array in arrays.items()}
    parts, names = [], []
    for name, array in arrays.items():
        here = f"the array {name!r}" if name else "the array"
        fine = array.dtype.kind in "biuf" and array.dtype.names is None
        require(fine, f"{here}: its type", str(array.dtype), "one of numbers")
        require(
            array.ndim >= 1 and array.size > 0, f"{here}: its shape", array.shape, "[rows, ...]"
        )
        same = len(set(counts.values())) == 1
        require(same, "how many rows the arrays have", counts, "the same of all")
        flat = array.reshape(len(array), -1).astype(np.float64)
        width = flat.shape[1]
        parts.append(flat)
        names += [
            str(k + 1) if not name else name if width == 1 else f"{name}_{k + 1}"
            for k in range(width)
        ]
    rows = np.concatenate(parts, axis=1)
    places = range(1, len(rows) + 1)
    _finite(rows, places, list(enumerate(names)), "row")
    return Sheet(rows, tuple(names))


def _with_categories(sheet: Sheet, categories: Sequence[str]) -> Sheet:
    """Columns of numbers taken as words, by their size."""
    _known(categories, sheet.names)
    rows, words = sheet.rows.copy(), []
    for name in categories:
        k = sheet.names.index(name)
        known, rows[:, k] = np.unique(rows[:, k], return_inverse=True)
        words.append((name, tuple(f"{value:g}" for value in known)))
    return sheet._replace(rows=rows, words=tuple(words))


def _text(text: str, length: int) -> Sheet:
    """Rows of so many characters, one after the other; what is left at the end is left out."""
    text = text.replace("\r\n", "\n")
    known, codes = np.unique(np.array(list(text), str), return_inverse=True)
    few = 2 <= len(known) <= MOST_SYMBOLS
    require(few, "its different characters", len(known), f"from 2 to {MOST_SYMBOLS}")
    count = len(text) // length
    enough = f"at least {FEWEST} rows of length {length}"
    require(count >= FEWEST, "its characters", len(text), enough)
    rows = codes[: count * length].reshape(count, length).astype(np.int32)
    names = tuple(str(k + 1) for k in range(length))
    return Sheet(rows, names, (), "".join(known))


def read_like(words: str, option: str, like: Sheet, *, header: Header = "auto") -> Sheet:
    """The rows of another file with the same columns, its words numbered as in the first.

    Args:
        words: A file.
        option: The option that names it.
        like: What the first file holds.
        header: Whether the first line of a CSV file names the columns.

    Raises:
        ValueError: As `read_rows`, or if columns or words are others.
    """
    length = like.rows.shape[1] if like.symbols else 32
    columns = tuple(name for name, _ in like.words)
    found = read_rows(words, option, categories=columns, header=header, length=length)
    counted = tuple(str(k + 1) for k in range(len(found.names)))
    numbers_alone = not (found.words or like.words) and len(counted) == len(like.names)
    if numbers_alone and counted in (found.names, like.names):  # of one only places are known
        found = found._replace(names=like.names)
    same = f"the columns {', '.join(like.names)}"
    require(found.names == like.names, f"{option} {words}", ", ".join(found.names), same)
    rows, own = found.rows.copy(), dict(found.words)
    for name, known in like.words:
        rows[:, like.names.index(name)] = _numbered(option, name, own.pop(name), known)[
            found.rows[:, like.names.index(name)].astype(int)
        ]
    require(not own, f"{option} {words}: columns of words", [*own], "numbers, as in the other file")
    if like.symbols:
        rows = _numbered(option, "text", found.symbols, like.symbols)[rows].astype(np.int32)
    return like._replace(rows=rows)


def _numbered(option: str, name: str, own: Sequence[str], known: Sequence[str]) -> NDArray[Any]:
    for word in own:
        right = f"one of {', '.join(known)}, as in the other file"
        require(word in known, f"{option}: a value of {name!r}", word, right)
    return np.array([known.index(word) for word in own])


def spread(sheet: Sheet) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Rows with a column of zeros and ones for each word, or symbol, of a column; their names.

    So whether words are the same is all that a distance counts, and not which number they have.
    """
    words = dict(sheet.words) | (dict.fromkeys(sheet.names, sheet.symbols) if sheet.symbols else {})
    parts, names = [], []
    for k, name in enumerate(sheet.names):
        own = sheet.rows[:, k : k + 1]
        known = words.get(name, ())
        parts.append((own == np.arange(len(known))) if known else own)
        names += [f"{name}={word}" for word in known] or [name]
    return np.concatenate(parts, axis=1).astype(np.float64), tuple(names)

"""Tables and files from outside: the numbers that are written there, or a refusal that says where.

The rules, for every file that a person or another program may have written:

Files are plain files of at most 16 MiB. The ending of the name says of what kind, in small letters
or capitals. What is compressed, or a spreadsheet, is refused by that name.

Texts are UTF-8, with a byte-order mark or without. UTF-16, UTF-32, other encodings and NUL bytes
are refused by name. Lines end as on any system; the last one may have no end.

Tables hold values separated by commas, with points in decimals; no semicolons and no tabs. The
first line names the columns, in any order, exactly as they are known. A name that is unknown (also
in other letters), empty or there twice is refused, and so is a line with more or fewer values than
columns. Blanks and quotes around names and values and empty lines mean nothing.

Numbers in tables and lists are written as in JSON, or as in +5, .5 and 5., or are inf where that
may be. Nothing else that Python reads is one: no nan, no 1_000, no hexadecimal or other digits; nor
are leading zeros allowed, which a comma in decimals or between thousands leaves behind.

JSON and TOML have no key twice, no NaN and no infinity. A number is no text, no true and no false.
Everywhere a number is one that float64 can hold.

Whatever breaks these rules is a `ValueError` that says what is wrong, with line and column; `read`
adds the file and the option that named it. Needs the standard library alone.
"""

import codecs
import csv
import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from math import inf, isinf
from numbers import Real
from pathlib import Path
from sys import float_info
from typing import Any, NamedTuple, TypeVar

from icl_stl.config import meant, require

Content = TypeVar("Content")

MOST_BYTES = 2**24
"""Largest file that is read; a larger one is another file."""

_MARKS = {  # the longer ones first: that of UTF-16 begins that of UTF-32
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_PACKED = {
    b"\x1f\x8b": "compressed by gzip",
    b"PK\x03\x04": "an archive, such as a spreadsheet",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
}
_LINE_BREAK = re.compile(r"\r\n|\r|\n")
NUMBER = r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"
"""How a number is written."""
_NUMBER = re.compile(NUMBER)
_BLANKS = " \t"


class Quantity(NamedTuple):
    """What a number must be: the same wherever it comes from."""

    admissible: str
    """In words, as in `a positive number`."""
    holds: Callable[[float], bool]
    """Whether a number is that; false of NaN."""


def checked(place: str, value: Any, quantity: Quantity) -> float:
    """A number of any kind as a float, or a `ValueError` that names its place and what is right."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    fine = number and not float_info.max < abs(value) < inf and quantity.holds(value)
    require(fine, place, value, quantity.admissible)
    return float(value)


def number_of(place: str, text: str, quantity: Quantity) -> float:
    """The number that a text of a table says, checked; see `checked` and the rules above."""
    text = text.strip(_BLANKS)
    if text == "inf":
        return checked(place, inf, quantity)
    require(
        _NUMBER.fullmatch(text) is not None,
        place,
        text if len(text) < 80 else f"{text[:77]}...",
        f"{quantity.admissible}, written as in 250, 0.05 or 1e-3",
    )
    try:
        value = _held(text)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
    return checked(place, value, quantity)


def _held(text: str) -> float:
    """The float of a number's digits, unless none is near."""
    value = float(text)
    mantissa = re.split("[eE]", text)[0]
    if isinf(value) or (value == 0 and re.search("[1-9]", mantissa)):
        digits = text if len(text) < 40 else f"{text[:37]}..."
        raise ValueError(f"numbers must be such as float64 can hold, but one is {digits}")
    return value


def text_of(content: bytes) -> str:
    """The text of a file's bytes, without a byte-order mark."""
    for mark, name in _MARKS.items():
        if content.startswith(mark):
            raise ValueError(f"its encoding must be UTF-8, but it is {name}: save it as UTF-8")
    for start, name in _PACKED.items():
        if content.startswith(start):
            raise ValueError(f"it must be plain text, but it is {name}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + content[: error.start].count(b"\n")
        raise ValueError(
            f"its encoding must be UTF-8, but byte {content[error.start]:#04x} on line {line} is "
            "not of it: save it as UTF-8"
        ) from None
    if "\0" in text:
        raise ValueError("its encoding must be UTF-8, but it has NUL bytes, as UTF-16 has")
    return text


def json_of(text: str) -> Any:
    """The content of a JSON text."""
    try:
        return json.loads(
            text,
            object_pairs_hook=_no_key_twice,
            parse_constant=_no_constant,
            parse_float=_held,
            parse_int=_whole,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"a key must be there once, but {twice!r} is there twice in one object")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"numbers must be finite, but one is {name}")


def _whole(digits: str) -> int:
    _held(digits)
    return int(digits)


def toml_of(text: str) -> Any:
    """The content of a TOML text."""
    try:
        content = tomllib.loads(text, parse_float=_toml_float)
        _all_of_64_bits(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return content


def _toml_float(text: str) -> float:
    digits = text.replace("_", "")
    return _held(digits) if digits[-1].isdigit() else _no_constant(digits)


def _all_of_64_bits(content: Any) -> None:
    if isinstance(content, int) and not -(2**63) <= content < 2**63:
        raise ValueError("whole numbers must be of 64 bits in TOML, but one is not")
    if isinstance(content, dict | list):
        for part in content.values() if isinstance(content, dict) else content:
            _all_of_64_bits(part)


class Row(NamedTuple):
    """One line of a table."""

    line: int
    """Its number in the file; the first line has 1."""
    cells: dict[str, str]
    """Its values as they are written, without blanks around them, by column."""


def _lines(text: str) -> list[tuple[int, str]]:
    """The lines that are not empty, with their numbers."""
    lines = enumerate(_LINE_BREAK.split(text), 1)
    return [(number, line) for number, line in lines if line.strip(_BLANKS)]


def _cells(number: int, line: str) -> list[str]:
    tight = re.sub(r'"[ \t]+(?=,|$)', '"', line)  # else blanks after quotes are an error of `csv`
    try:
        (cells,) = csv.reader([tight], strict=True, skipinitialspace=True)
    except csv.Error as error:
        raise ValueError(
            f"line {number} must hold values separated by commas, but it is {_short(line)}: {error}"
        ) from None
    return [cell.strip(_BLANKS) for cell in cells]


def _short(line: str) -> str:
    return repr(line if len(line) < 80 else f"{line[:77]}...")


def _by_commas(first: int, header: str) -> None:
    """Refuse other separators."""
    for separator, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if separator in header:
            raise ValueError(
                f"line {first}: columns must be separated by commas, and decimals written with "
                f"points, but there are {word}: {_short(header)}"
            )


def cells_of(text: str) -> list[tuple[int, list[str]]]:
    """The values on each line that is not empty, with its number; at least one line."""
    lines = _lines(text)
    if not lines:
        raise ValueError("it must hold values separated by commas, but it is empty")
    _by_commas(*lines[0])
    return [(number, _cells(number, line)) for number, line in lines]


def rows_of(
    text: str, needed: Sequence[str], optional: Sequence[str] = (), *, more: bool = False
) -> list[Row]:
    """The lines of a table, by the rules above; at least one."""
    known = (*needed, *optional)
    in_words = ", ".join(needed) + (f" and, if known, {', '.join(optional)}" if optional else "")
    lines = _lines(text)
    if not lines:
        raise ValueError(f"its first line must name the columns {in_words}, but it is empty")
    (first, header), *rest = lines
    _by_commas(first, header)
    names = _cells(first, header)
    for place, name in enumerate(names, 1):
        here = f"line {first}: column {place}"
        require(bool(name) and (more or name in known), here, name, in_words + meant(name, known))
        require(names.count(name) == 1, here, name, "one that no other column is called")
    missing = [name for name in needed if name not in names]
    if missing:
        raise ValueError(
            f"line {first} must name the columns {in_words}, but {missing[0]} is not in "
            f"{_short(header)}"
        )
    rows = []
    for number, line in rest:
        cells = _cells(number, line)
        if len(cells) != len(names):
            raise ValueError(
                f"line {number} must hold {len(names)} values separated by commas, of "
                f"{', '.join(names)}, but it holds {len(cells)}: {_short(line)}"
            )
        rows.append(Row(number, dict(zip(names, cells, strict=True))))
    if not rows:
        raise ValueError("it must hold a line for each measurement, but it has none")
    return rows


def list_of(text: str) -> list[tuple[int, str]]:
    """What is written on each line of a list that is not empty, with the number of the line."""
    return [(number, line.strip(_BLANKS)) for number, line in _lines(text)]


def read_bytes(
    path: Path, option: str, parse: Callable[[bytes], Content], most: int = MOST_BYTES
) -> Content:
    """What a file holds, of at most so many bytes."""
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no file")
        with path.open("rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise ValueError(f"it must hold at most {most} bytes, but it holds more")
        return parse(content)
    except OSError as error:
        reason = error.strerror
    except ValueError as error:
        reason = str(error)
    raise ValueError(f"{option} must be a readable file, but {path} is not: {reason}")


def read(path: Path, option: str, parse: Callable[[str], Content]) -> Content:
    """What a file of text says."""
    return read_bytes(path, option, lambda content: parse(text_of(content)))


def kind_of(path: Path, option: str, kinds: Sequence[str]) -> str:
    """The ending of a file's name in small letters, if it is one of these, as in `.csv`."""
    kind = path.suffix.lower()
    require(kind in kinds, option, str(path), f"a file whose name ends in {' or '.join(kinds)}")
    return kind


def read_options(path: Path, option: str) -> Any:
    """The content of a TOML or JSON file of options."""
    readers: Mapping[str, Callable[[str], Any]] = {".toml": toml_of, ".json": json_of}
    return read(path, option, readers[kind_of(path, option, tuple(readers))])

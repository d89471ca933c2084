"""What goes into a bound and comes out: numbers or arrays, constants and how they are known."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Num = ArrayLike
"""A number or an array of them."""
Floats = NDArray[np.float64]
Provenance = str | Mapping[str, str]

# Decorates the public functions: what overflows is infinite, and a limit is taken without a word.
to_infinity = np.errstate(over="ignore", divide="ignore", invalid="ignore")


SOURCES = ("certified", "measured", "assumed")


class Constant(NamedTuple):
    """One constant of a bound and how it is known: ``certified``, ``measured`` or ``assumed``."""

    name: str
    value: float | str
    provenance: str

    def __str__(self) -> str:
        return f"{self.name} = {self.value} ({self.provenance})"


def in_words(result: Any) -> str:
    """A result as `print` shows it: a line for each part, constants with how they are known."""
    lines: list[str] = []
    for name, value in result._asdict().items():
        if name == "constants":
            lines += map(str, value)
        else:
            number = isinstance(value, float | np.floating)
            lines.append(f"{name} = {value:.10g}" if number else f"{name} = {value}")
    return "\n".join(lines)


def constants(provenance: Provenance, **values: Num) -> tuple[Constant, ...]:
    """A record of constants; ``provenance`` is one word for all or a mapping from their names."""
    return tuple(
        Constant(name, _described(value), _source(provenance, name))
        for name, value in values.items()
    )


def _source(provenance: Provenance, name: str) -> str:
    word = provenance if isinstance(provenance, str) else provenance.get(name, "assumed")
    if word not in SOURCES:
        raise ValueError(f"provenance = {word!r} is outside the admissible range {SOURCES}")
    return word


def _described(value: Num) -> float | str:
    array = np.asarray(value)
    return float(array.reshape(())) if array.size == 1 else f"array of shape {array.shape}"


def times(zero_wins: Floats, other: Floats) -> Floats:
    """A product in which a factor 0 beats an infinite one: the part is absent, not undefined."""
    return np.where(zero_wins == 0, 0.0, zero_wins * other)

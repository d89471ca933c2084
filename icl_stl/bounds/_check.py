"""Arguments in, float64 out: one place refuses bad input."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from icl_stl.bounds._kinds import Floats, Num


def numbers(name: str, value: Num) -> Floats:
    """``value`` as float64: a number, or an array of them; true, false and texts are none."""
    try:
        given = np.asarray(value)
        if given.dtype.kind not in "bcSUMm" and not any(map(_is_no_number, _entries(value))):
            return np.asarray(given, dtype=np.float64)
    except (OverflowError, TypeError, ValueError):
        pass
    raise ValueError(f"{name} = {value!r} is not a real number or an array of them")


def _is_no_number(entry: Any) -> bool:
    return isinstance(entry, bool | np.bool_ | str | bytes)


def _entries(value: Any) -> Iterator[Any]:
    """What is in lists and arrays of any objects: NumPy makes numbers of most of it."""
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
        for part in value:
            yield from _entries(part)
    else:
        yield value


def real(
    name: str,
    value: Num,
    low: float = -np.inf,
    high: float = np.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> Floats:
    """``value`` as float64, or a ValueError that names it, its value and the admissible range."""
    array = numbers(name, value)
    above = array > low if open_low else array >= low
    below = array < high if open_high else array <= high
    inside = above & below
    if not inside.all():
        bad = array[~inside].flat[0] if array.ndim else array
        left, right = "(" if open_low else "[", ")" if open_high else "]"
        raise ValueError(
            f"{name} = {float(bad)!r} is outside the admissible range "
            f"{left}{low:g}, {high:g}{right}"
        )
    return array


def positive(name: str, value: Num) -> Floats:
    """A finite number above 0."""
    return real(name, value, 0, np.inf, open_low=True, open_high=True)


def nonnegative(name: str, value: Num) -> Floats:
    """A finite number, 0 allowed."""
    return real(name, value, 0, np.inf, open_high=True)


def share(name: str, value: Num) -> Floats:
    """A share in [0, 1]."""
    return real(name, value, 0, 1)


def probability(name: str, value: Num) -> Floats:
    """A confidence parameter in (0, 1)."""
    return real(name, value, 0, 1, open_low=True, open_high=True)


def sample_size(name: str, value: Num) -> Floats:
    """A number of samples, at least 1; fractions are allowed, for slopes."""
    return real(name, value, 1, np.inf, open_high=True)


def generation_index(name: str, value: Num, first: int = 0) -> Floats:
    """A whole number >= ``first``, or infinity for the limit of the loop."""
    array = real(name, value, first, np.inf)
    whole = np.isinf(array) | (array == np.floor(array))
    if not whole.all():
        bad = array[~whole].flat[0] if array.ndim else array
        raise ValueError(
            f"{name} = {float(bad)!r} is outside the admissible range: "
            f"whole numbers from {first} on, or inf"
        )
    return array


def extended(name: str, value: Num) -> Floats:
    """A number, 0 and infinity allowed."""
    return real(name, value, 0, np.inf)


_RANGES: Mapping[str, Callable[[str, Num], Floats]] = {
    **dict.fromkeys(("n", "n_syn", "dim", "context", "rows", "held_out"), sample_size),
    **dict.fromkeys(("examples", "keys", "tokens", "dimension"), sample_size),
    **dict.fromkeys(("alpha", "alphas", "weight", "gamma", "error_floor"), share),
    **dict.fromkeys(("generation", "lag"), generation_index),
    **dict.fromkeys(("M", "a", "rate", "p", "ridge", "least_scale"), positive),
    **dict.fromkeys(("discrepancy", "kl", "oscillation", "lam", "max_lam"), extended),
    "delta": probability,
}


def checked(**given: Num) -> tuple[Floats, ...]:
    """Arguments, each in the range of its name; finite and at least 0 where none is known."""
    return tuple(_RANGES.get(name, nonnegative)(name, value) for name, value in given.items())


def one(name: str, value: Floats) -> float:
    """A number where arrays make no sense."""
    if value.ndim:
        raise ValueError(f"{name} has shape {value.shape}: one number is admissible here")
    return float(value)


def flag(name: str, value: bool) -> bool:
    """True or false; what merely counts as one of them, as the text `no` does, is none."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} = {value!r} is neither True nor False")
    return bool(value)


def earlier_shares(shares: Floats) -> Floats:
    """``weights`` [G+1, G+1], >= 0, on earlier generations only, rows with sum at most 1."""
    if np.triu(shares).any():
        i, j = np.argwhere(np.triu(shares))[0]
        raise ValueError(
            f"weights[{i}, {j}] = {float(shares[i, j])!r} is outside the admissible range: "
            "0 on and above the diagonal, since a generation learns from earlier ones only"
        )
    totals = shares.sum(axis=1)
    if (totals > 1 + 1e-12).any():
        i = int(totals.argmax())
        raise ValueError(
            f"weights[{i}] sums to {float(totals[i])!r}, outside the admissible range [0, 1]"
        )
    return shares

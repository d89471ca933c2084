"""Two runs side by side: settings, versions, verdicts, numbers beyond their intervals."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from icl_stl.intervals import LEVEL
from icl_stl.lab.results import read_json
from icl_stl.studies.judging import WRITTEN

Json = Mapping[str, Any]

SETTINGS = ("preset", "learner", "seed")
"""What `config.json` says of a run beside its surroundings."""
PLACES = ("alpha", "lam", "weight")
"""Keys of a cell that say where it is although they are no whole numbers."""
ROUNDING = 1e-6
"""Relative difference of numbers without an interval that is none."""


class Change(NamedTuple):
    """Something that two runs say differently."""

    what: str
    """`setting`, `version`, `claim`, `verdict`, `control`, `number`; `single`: a number without an
    interval."""
    name: str
    """Which one."""
    first: Any
    """What the first run says; None if nothing."""
    second: Any
    """What the second one says."""


class Comparison(NamedTuple):
    """What two runs say differently, and how much of them can be compared."""

    changes: list[Change]
    compared: int
    """Numbers that stand at the same place in both."""
    alone: tuple[int, int]
    """Numbers of the first, and of the second run alone."""

    @property
    def differ(self) -> bool:
        """Whether a verdict, a control or a number does."""
        return any(change.what in ("verdict", "control", "number") for change in self.changes)


def compare(first: Path, second: Path) -> Comparison:
    r"""Compare two folders of `icl-stl reproduce`.

    Two measured numbers differ if the p-value of their difference, by Student with the standard
    errors behind both intervals (h = t_{R-1,level} se, R the fewest loops of the claim) and
    min(R) - 1 degrees of freedom, is at most 5 % over the count of all that are compared
    (Bonferroni). Those without an interval differ beyond 1e-6 of their size, which decides nothing.
    Two runs of one seed share their randomness, so that this is cautious.

    Raises:
        ValueError: If a folder holds no run or a damaged one; the message names the file.
    """
    configs, claims = ([read_json(of / name) for of in (first, second)] for name in NAMES)
    of_first, of_second = ({name: config.get(name) for name in SETTINGS} for config in configs)
    changes = [Change("setting", name, *values) for name, *values in _unlike(of_first, of_second)]
    of_first, of_second = (config.get("versions", {}) for config in configs)
    changes += [Change("version", name, *values) for name, *values in _unlike(of_first, of_second)]
    entries = [{entry["name"]: entry for entry in content["claims"]} for content in claims]
    both = [name for name in entries[0] if name in entries[1]]
    for k, own in enumerate(entries):
        there = ["judged", None] if k == 0 else [None, "judged"]
        changes += [Change("claim", name, *there) for name in own if name not in entries[1 - k]]
    for name in both:
        one, other = (own[name] for own in entries)
        if one["verdict"] != other["verdict"]:
            changes.append(Change("verdict", name, one["verdict"], other["verdict"]))
        controls = [own["negative_control"]["rejected"] for own in (one, other)]
        if controls[0] != controls[1]:
            words = ("rejected" if rejected else "not rejected" for rejected in controls)
            changes.append(Change("control", name, *words))
    pairs: list[tuple[str, int, Json, Json]] = []
    alone = [0, 0]
    for name in both:
        one, other = (_placed(own[name]) for own in entries)
        replicates = min(own[name]["replicates"] for own in entries)
        shared = [place for place in one if place in other]
        pairs += [(f"{name}: {_words(p)}", replicates, one[p], other[p]) for p in shared]
        alone = [alone[0] + len(one) - len(shared), alone[1] + len(other) - len(shared)]
    limit = LEVEL / max(1, len(pairs))
    for name, replicates, one, other in pairs:
        halves = [_half_width(cell) for cell in (one, other)]
        if _chance(one, other, halves, replicates) <= limit:
            changes.append(Change("number" if any(halves) else "single", name, one, other))
    return Comparison(changes, len(pairs), (alone[0], alone[1]))


NAMES = ("config.json", "claims.json")
"""Files of a run that are compared."""


def _unlike(one: Any, other: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two values differ: names with dots, and both values."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys((*one, *other)):
            inner = f"{name}.{key}" if name else key
            yield from _unlike(one.get(key), other.get(key), inner)
    elif one != other:
        yield name, one, other


def _placed(entry: Json) -> dict[tuple[Any, ...], Json]:
    """Measured numbers of a claim by where they are; the same place again is numbered."""
    found: dict[tuple[Any, ...], Json] = {}
    for cell in entry["cells"]:
        keys = [
            (key, value)
            for key, value in cell.items()
            if key not in WRITTEN and (key in PLACES or isinstance(value, str | int))
        ]
        times = 0
        while (place := (*keys, times)) in found:
            times += 1
        if cell["measured"] is not None:
            found[place] = cell
    return found


def _words(place: tuple[Any, ...]) -> str:
    return ", ".join(
        f"{value}" if isinstance(value, str) else f"{k} {value:g}" for k, value in place[:-1]
    )


def _half_width(cell: Json) -> float:
    """Half of its interval; 0 if it has none."""
    low, high, size = cell["low"], cell["high"], abs(cell["measured"])
    return 0.0 if None in (low, high) or high - low <= ROUNDING * size else (high - low) / 2


def _chance(one: Json, other: Json, halves: Sequence[float], replicates: int) -> float:
    """P-value of the difference of two measured numbers; 1 or 0 without an interval."""
    difference = abs(one["measured"] - other["measured"])
    if difference <= ROUNDING * max(abs(one["measured"]), abs(other["measured"])):
        return 1.0
    freedom = replicates - 1
    errors = [
        half / stats.t.isf(cell["level"], freedom)
        for half, cell in zip(halves, (one, other), strict=True)
    ]
    return float(2 * stats.t.sf(difference / np.hypot(*errors), freedom)) if any(halves) else 0.0

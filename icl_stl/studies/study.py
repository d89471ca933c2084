"""A user's study: a file of claims and, if it likes, figures, which count as much as ours.

`CLAIMS` of the file are its claims, one or several. `FIGURES`, if there is one, has functions by
the names of claims: the entry of a claim in `claims.json` -> a figure of Matplotlib; what stands in
the function's docstring is the caption. A claim without a figure gets `drawing.by_default`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from icl_stl import code
from icl_stl.config import meant
from icl_stl.data import load_file
from icl_stl.lab.experiments import Experiment
from icl_stl.studies.judging import Claim
from icl_stl.studies.presets import PRESETS, Preset

Figure = Callable[[Any], Any]


@dataclass(frozen=True)
class Study:
    """Claims of one file, and figures of some of them."""

    file: str
    """Name of the file."""
    claims: Mapping[str, Claim]
    figures: Mapping[str, Figure] = field(default_factory=dict)
    """By name of the claim."""


def load(path: Path | str) -> Study:
    """The study in a file.

    Raises:
        ValueError: If there is none, or a part of it is not what it must be; the message says what.
    """
    module, file = load_file(path, "study"), Path(path).name

    def need(fine: bool, what: str, right: str, found: object) -> None:
        if not fine:
            raise ValueError(f"{what} of {file} must be {right}, but it is {found}")

    own = getattr(module, "CLAIMS", None)
    claims = list(own.values() if isinstance(own, Mapping) else own or ()) if _several(own) else []
    fine = bool(claims) and all(isinstance(claim, Claim) for claim in claims)
    need(fine, "CLAIMS", "claims (icl_stl.studies.Claim), at least one", _short(own))
    taken = {*import_module(f"{__package__}.claims").CLAIMS}
    taken |= {*import_module(f"{__package__}.figures").DRAWINGS}
    names = [claim.name for claim in claims]
    for claim in claims:
        name = claim.name
        fine = isinstance(name, str) and name.isidentifier() and name.isascii()
        need(fine, "the name of a claim", "a word of letters, digits and _", repr(name))
        need(name not in taken, "the name of a claim", "none of the package's own", repr(name))
        need(names.count(name) == 1, "the name of a claim", "that of one claim alone", repr(name))
        for part in ("statement", "source", "control"):
            words = getattr(claim, part)
            need(isinstance(words, str), f"{part} of {name}", "words", _short(words))
        for part in ("judge", "experiments", "regimes"):
            function = getattr(claim, part)
            fine = callable(function) and hasattr(function, "__module__")
            need(fine, f"{part} of {name}", "a function", _short(function))
        for preset in PRESETS.values():
            asked = claim.experiments(preset)
            fine = isinstance(asked, tuple | list) and all(isinstance(e, Experiment) for e in asked)
            fine = fine and bool(asked or claim.regimes(preset))
            right = "experiments, such as (Loops(...),), at least one"
            need(fine, f"experiments(preset) of {name}", right, _short(asked))
    figures = getattr(module, "FIGURES", {})
    fine = isinstance(figures, Mapping) and all(map(callable, figures.values()))
    need(fine, "FIGURES", "functions by names of claims", _short(figures))
    for name in figures:
        known = f"claims of the file ({', '.join(names)})"
        need(name in names, "FIGURES", f"by {known}", f"by {name!r}{meant(name, names)}")
    return Study(file, dict(zip(names, claims, strict=True)), dict(figures))


def load_all(paths: Iterable[Path | str]) -> tuple[Study, ...]:
    """The studies in some files, whose claims have different names.

    Raises:
        ValueError: As `load`; or if two files have claims of one name.
    """
    studies: list[Study] = []
    for path in paths:
        study = load(path)
        for other in studies:
            if both := sorted({*study.claims} & {*other.claims}):
                words = f"{both[0]!r}, as in {other.file}"
                raise ValueError(f"claims of {study.file} must have other names than {words}")
        studies.append(study)
    return tuple(studies)


def judged_by(claim: Claim, preset: Preset) -> str:
    """The code that a claim's numbers and its verdict come from, as one digest."""
    modules = {claim.judge.__module__, claim.experiments.__module__}
    modules |= {experiment.made_in for experiment in claim.experiments(preset)}
    if claim.regimes(preset) or claim.generators:
        modules.add("icl_stl.lab.runs")
    return code.digest(*sorted(modules))


def _several(value: object) -> bool:
    return isinstance(value, Mapping | list | tuple)


def _short(value: object) -> str:
    words = repr(value)
    return words if len(words) < 80 else f"{words[:77]}..."

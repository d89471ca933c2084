"""Calculator for the bounds: ``python -m icl_stl.bounds COMMAND ... [--json]``."""

import argparse
import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from icl_stl.bounds import __doc__ as about
from icl_stl.bounds import drift, generalization, localised, optimum, stability
from icl_stl.bounds._check import share
from icl_stl.bounds._kinds import Constant, Floats
from icl_stl.bounds.plateau import plateau
from icl_stl.tables import Quantity, list_of, number_of, read

Report = dict[str, Any]
# Beyond so many generations the drift of equal errors is reported in two terms.
_MOST_TERMS = 1000
# Beyond so many errors the terms of every generation do not fit in memory.
_MOST_ERRORS = 5000
_EPS = Quantity(
    "the one number of its line, finite and at least 0", lambda value: 0 <= value < np.inf
)


def _drift(options: argparse.Namespace) -> Report:
    augment, given = options.regime == "augment", options.alpha is not None
    wrong = [
        ((options.eps is None) == (options.eps_file is None))
        * "exactly one of --eps and --eps-file must be given",
        (augment and not given) * "--alpha must be given for --regime augment, in [0, 1]",
        (given and not augment) * f"--alpha must be left out for --regime {options.regime}",
        (options.generation is None and options.eps_file is None)
        * "--generation must be given, unless --eps-file is",
    ]
    if any(wrong):
        raise ValueError("; ".join(filter(None, wrong)))
    errors = _errors(options)
    if errors is None:
        bound, names = _equal_errors(options)
    else:
        bound = _listed_errors(options, errors)
        names = [f"generation {j}" for j in range(len(errors))]
    return {
        "regime": options.regime,
        "alpha": options.alpha,
        "generation": options.generation,
        "total": float(bound.total),
        "terms": [float(term) for term in np.atleast_1d(bound.terms)],
        "term_names": names,
        "vacuous": bool(bound.total > 1),
        "constants": bound.constants,
        "note": _drift_note(float(bound.total)),
    }


def _drift_note(total: float) -> str:
    if np.isinf(total):
        return "infinite: errors accumulate without limit in this regime"
    return "above 1, so it says nothing in total variation" if total > 1 else ""


def _errors(options: argparse.Namespace) -> Floats | None:
    """One-step errors up to the generation asked for; None where a closed form is needed."""
    if options.eps_file is not None:
        errors = _read_errors(options.eps_file)
        last = len(errors) - 1 if options.generation is None else options.generation
        if not (0 <= last <= len(errors) - 1 and last == int(last)):
            raise ValueError(
                f"generation = {last!r} is outside the admissible range: whole numbers from 0 to "
                f"{len(errors) - 1}, the last one in {options.eps_file}"
            )
        options.generation = last
        return errors[: int(last) + 1]
    if 0 <= options.generation <= _MOST_TERMS and options.generation % 1 == 0:
        return np.full(int(options.generation) + 1, options.eps)
    return None


def _read_errors(path: str) -> Floats:
    words = read(Path(path), "eps-file", list_of)
    if not words:
        raise ValueError(f"eps-file = {path!r} holds no numbers; one a generation is needed")
    if len(words) > _MOST_ERRORS:
        raise ValueError(
            f"eps-file = {path!r} holds {len(words)} numbers; at most {_MOST_ERRORS} are admitted"
        )
    return np.array([number_of(f"{path}, line {line}", text, _EPS) for line, text in words])


def _listed_errors(options: argparse.Namespace, errors: Floats) -> drift.Drift:
    """The bound of the last generation, one term for each error."""
    if options.regime == "accumulate":
        bound = drift.drift_accumulate(errors, provenance="assumed")
    elif options.regime == "replace":
        bound = drift.drift_replace(errors, provenance="assumed")
    else:
        alphas = np.full(len(errors) - 1, share("alpha", options.alpha))
        bound = drift.drift_varying_share(errors, alphas, provenance="assumed")
    return bound._replace(total=bound.total[-1], terms=bound.terms[-1])


def _equal_errors(options: argparse.Namespace) -> tuple[drift.Drift, list[str]]:
    """Closed forms for the limit and for very late generations."""
    if options.regime == "accumulate":
        bound = drift.drift_accumulate_constant(options.eps, options.generation)
        return bound, ["earlier generations", "last generation"]
    alpha = 0.0 if options.regime == "replace" else options.alpha
    bound = drift.drift_constant_share(options.eps, options.eps, alpha, options.generation)
    return bound, ["generation 0", "later generations"]


def _gap(options: argparse.Namespace) -> Report:
    given = _given(options, "n", "alpha", "generation", "M", "b", "kappa", "c", "a", "delta")
    bound = generalization.generalization_gap_at_rate(**given)
    report = bound._asdict() | _given(options, "n", "alpha", "generation")
    report["note"] = _gap_note(options, float(bound.total), bool(bound.vacuous))
    return report


def _gap_note(options: argparse.Namespace, total: float, vacuous: bool) -> str:
    if np.isfinite(total):
        return f"vacuous: the loss never exceeds M = {options.M:g}" if vacuous else ""
    return _instability(options) or "infinite: the drift accumulates without limit"


def _instability(options: argparse.Namespace) -> str:
    ratio = (1 - options.alpha) * options.kappa
    if ratio < 1 or np.isfinite(options.generation):
        return ""
    return f"infinite: (1 - alpha) kappa = {ratio:g} >= 1, no bound holds for every generation"


_BY_VARIANCES: dict[str, Callable[..., Any]] = {
    "localised": localised.localised_gap,
    "bits": localised.bits_gap,
    "held-out": localised.held_out_risk,
    "rounded": localised.quantised_risk,
    "pac-bayes": localised.pac_bayes_risk,
}


def _by_variances(options: argparse.Namespace) -> Report:
    function = _BY_VARIANCES[options.command]
    bound = function(**_given(options, *_numbers(function)))
    note = "vacuous: above the largest loss" if bound.vacuous else ""
    return {**bound._asdict(), "note": note}


def _numbers(function: Callable[..., Any]) -> dict[str, Any]:
    """Arguments of a bound and their defaults, but for provenance."""
    parameters = inspect.signature(function).parameters
    return {name: one.default for name, one in parameters.items() if name != "provenance"}


def _stability(options: argparse.Namespace) -> Report:
    given = _given(options, "n", "alpha", "kappa", "generation")
    bound = stability.recursive_stability(**given)
    report = bound._asdict() | _given(options, "n", "alpha", "generation")
    report["threshold"] = stability.phase_threshold(options.kappa)
    report["note"] = "" if np.isfinite(bound.gamma) else _instability(options)
    return report


def _plateau(options: argparse.Namespace) -> Report:
    given = _given(options, "alpha", "generation", "a", "o", "q", "s", "start")
    bound = plateau(**given, provenance="assumed")
    report = bound._asdict() | _given(options, "alpha", "generation")
    report["note"] = "" if np.isfinite(bound.total) else "infinite: without real data errors add up"
    return report


def _given(options: argparse.Namespace, *names: str) -> Report:
    return {name: getattr(options, name) for name in names}


def _optimum(options: argparse.Namespace) -> Report:
    constants = ("n", "M", "b", "kappa", "c", "a", "floor", "delta", "log_size", "max_lam")
    where = _given(options, "objective", "n", "generation", "fresh")
    best = optimum.optimal_size(**_given(options, *constants) | where)
    report = best._asdict() | where
    report["note"] = report.pop("description")
    return report


def main(
    arguments: Sequence[str] | None = None, prog: str | None = "python -m icl_stl.bounds"
) -> int:
    """Run one command; print a table, or JSON with ``--json``; status 2 for bad input."""
    parser, commands = _parser(prog)
    options = parser.parse_args(arguments)
    try:
        report = {"command": options.command} | options.run(options)
    except ValueError as problem:
        commands[options.command].error(str(problem))
    print(json.dumps(plain(report), allow_nan=False) if options.json else _table(report))
    return 0


def _parser(prog: str | None) -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = argparse.ArgumentParser(
        prog=prog, description="Bounds for self-consuming training loops: every term, never capped."
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands: dict[str, argparse.ArgumentParser] = {}

    def add(name: str, run: Callable[[argparse.Namespace], Report], text: str) -> None:
        command = subparsers.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.set_defaults(run=run)
        command.add_argument("--json", action="store_true", help="print JSON instead of a table")
        commands[name] = command

    add("drift", _drift, "how far generation i has drifted from the real law")
    add("gap", _gap, "generalization bound of generation i, by parts")
    add("plateau", _plateau, "distance of generation i to the Bayes predictor, by parts")
    add("stability", _stability, "recursive stability of generation i")
    add("optimum", _optimum, "synthetic-to-real ratio of least bound, certified")
    for name, function in _BY_VARIANCES.items():
        document = inspect.getdoc(function) or ""
        add(name, _by_variances, document.partition("\n")[0].partition(":")[0])
        own = re.findall(r"^    (\w+): ((?:.|\n {8})+)", document, re.MULTILINE)
        said = {argument: " ".join(text.split()).rstrip(".") for argument, text in own}
        for argument, default in _numbers(function).items():
            needed = default is inspect.Parameter.empty
            how: Any = {} if needed else {argument: default}
            _add(commands[name], *[argument] * needed, said=said, **how)
    number: dict[str, Any] = {"type": float, "metavar": "X"}
    drifts = commands["drift"]
    drifts.add_argument("--regime", choices=("augment", "replace", "accumulate"), default="augment")
    _add(drifts, alpha=None)
    drifts.add_argument("--eps", help="one-step error of every generation, >= 0", **number)
    drifts.add_argument("--eps-file", metavar="FILE", help="one-step errors, one a generation")
    _add(drifts, generation=None)
    for name in ("gap", "stability"):
        _add(commands[name], "n", "alpha", "kappa", "generation")
    _add(commands["gap"], "M", "b", "c", "a", "delta")
    _add(commands["plateau"], "alpha", "generation")
    for name, meaning in _ERRORS.items():
        commands["plateau"].add_argument(
            f"--{name}", required=name in "ao", default=0.0, help=f"{meaning}, >= 0", **number
        )
    best = commands["optimum"]
    _add(best, "n", "M", "b", "kappa", "c", "a", delta=0.05)
    best.add_argument("--generation", default=np.inf, help="i >= 1, default inf", **number)
    objectives, what = ("gap", "risk", "uniform"), _MEANING.get("objective")
    best.add_argument("--objective", choices=objectives, default="gap", help=what)
    _add(best, log_size=0.0, floor=0.0)
    best.add_argument("--fresh-real", dest="fresh", action="store_true", help=_MEANING.get("fresh"))
    best.add_argument(
        "--max-lam", default=np.inf, help="largest ratio allowed, >= 0, default inf", **number
    )
    return parser, commands


_ERRORS = {
    "a": "error of the first fit beside a fixed real set, bias of a fit with new real rows",
    "o": "refit error, of fitting the learner's own output",
    "q": "mixing defect",
    "s": "noise of a fit given the past",
    "start": "distance of generation 0 to the target",
}
_MEANING = {
    name: f"{meaning}, {admissible}"
    for name, meaning, admissible in re.findall(r"``(\w+)`` +(\S.*?)  +(\S.*)", about or "")
}
"""What an argument is and may be, by its name: the package's table."""


def _add(
    command: argparse.ArgumentParser,
    *names: str,
    said: Mapping[str, str] = MappingProxyType({}),
    **defaults: float | None,
) -> None:
    """Options of numbers, named as the argument they are given for; required without a default."""
    for name in (*names, *defaults):
        default = defaults.get(name)
        words = (said.get(name) or _MEANING.get(name, "")).replace("%", "%%")
        words += "" if default is None else f", default {default:g}"
        command.add_argument(
            f"--{name.replace('_', '-')}",
            type=float,
            metavar="X",
            required=name in names,
            default=default,
            help=words,
        )


def plain(value: Any) -> Any:
    """Numbers that JSON can hold; infinity as a string."""
    if isinstance(value, Constant):
        return {name: plain(part) for name, part in value._asdict().items()}
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, float) and np.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


def _table(report: Report) -> str:
    rows: list[tuple[str, str]] = []
    for name, value in report.items():
        if name == "terms":
            rows += [
                (f"  {term}", f"{part:.10g}")
                for term, part in zip(report["term_names"], value, strict=True)
            ]
        elif name == "constants":
            rows += [
                (constant.name, f"{constant.value}  ({constant.provenance})") for constant in value
            ]
        elif name == "sensitivities":
            rows += [(f"d ln lam/d ln {q}", f"{slope:.6g}") for q, slope in value.items()]
        elif name != "term_names" and value is not None and value != "":
            is_number = isinstance(value, float | np.floating | np.ndarray)
            rows.append((name, f"{float(value):.10g}" if is_number else str(value)))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


if __name__ == "__main__":
    sys.exit(main())

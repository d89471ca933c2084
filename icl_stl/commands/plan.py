"""How many synthetic rows to generate: the error law, the best number with its band, a figure.

From measured one-step errors (result files of `icl-stl loop`, tables, or numbers) or from the law
itself; for the bound on the risk, which decides about quality, and beside it for that on the gap.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf, isfinite, isinf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import tyro
from rich.table import Table

from icl_stl import console
from icl_stl.bounds.__main__ import plain
from icl_stl.config import require
from icl_stl.lab import results

if TYPE_CHECKING:
    from icl_stl.planning.error_law import ErrorLaw
    from icl_stl.planning.plan import Plan, Question

CONSTANTS = ("floor", "c", "a")
"""Those of the error law."""
MOST_RESAMPLES = 100_000
"""More are a slip of the pen: every refit is planned anew."""


@dataclass(frozen=True)
class Arguments:
    """Plan how much synthetic data a generation of a self-consuming loop should learn from."""

    n: float
    """Real rows, a whole number: of the set that is kept, or of every generation with
    --fresh-real."""
    errors: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE ...")] = ()
    """Measured one-step errors: result files of a loop (.json), or tables with the columns N, eps
    and, if known, stderr and runs (.csv, separated by commas)."""
    sizes: tuple[float, ...] = ()
    """Training sizes N, instead of files."""
    eps: tuple[float, ...] = ()
    """One-step errors at --sizes, in total variation."""
    stderr: tuple[float, ...] = ()
    """Their standard errors, for the band."""
    runs: float = inf
    """Loops that each of --stderr was estimated from, which widens the band; inf if the standard
    errors are known."""
    c: float | None = None
    """c of the error law floor + c N^-a, instead of measurements."""
    a: float | None = None
    """Its rate a."""
    floor: float | None = None
    """Its floor; 0 if not given."""
    objective: Literal["risk", "gap", "uniform"] = "risk"
    """Bound that is made small and drawn: excess risk, which decides about quality; gap between
    real and training risk, how far the training loss can be trusted; or the gap by uniform
    convergence, which needs no stability, but an error law that holds in every loop, not only in
    the mean. The first two are always shown."""
    fresh_real: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Every generation draws n new real rows."""
    generation: float = inf
    """Which generation: a whole number from 1 on, or inf for the limit of the loop."""
    M: float = 1.0
    """Largest loss."""
    b: float | None = None
    """Loss stability: how far the loss moves per changed share of the rows. If not given M is
    assumed, the optimistic end: less says that no data can move the loss from 0 to M, and where one
    row may decide everything it is n M. The clipped mean of this repository has 2 M."""
    kappa: float | None = None
    """Generator stability: how far the generated law moves per changed share of the rows. If not
    given 1 is assumed, as for a generator that draws from its rows."""
    delta: float = 0.05
    """Chance that the bound fails."""
    log_size: float = 0.0
    """Logarithm of the number of models (uniform)."""
    max_lam: float = inf
    """Most synthetic rows per real one that can be afforded."""
    resamples: int = 400
    """Refits for the 95 % bands."""
    seed: int = 0
    """Seed of the resampling."""
    out: Path | None = None
    """Folder for plan.json, with every plan, and trade_off.svg, of --objective."""


Plans = dict[str, "Plan"]
"""The plans of one loop by objective."""


class Laws(NamedTuple):
    """The error law, as it might be instead, where it comes from, and whether a standard error
    counts as known.
    """

    law: Any
    resampled: Any
    source: str
    taken_as_known: bool = False


def chosen_law(arguments: Arguments) -> Laws:
    """The error law, as it might be instead, and where it comes from."""
    from icl_stl.planning import plan as planning
    from icl_stl.planning.error_law import ErrorLaw, fit_error_law, resampled_laws

    given = {name: getattr(arguments, name) for name in ("c", "a", "floor")}
    ways = {
        "errors": bool(arguments.errors),
        "sizes and eps": bool(arguments.sizes or arguments.eps),
        "c, a and floor": any(value is not None for value in given.values()),
    }
    if sum(ways.values()) != 1:
        used = ", ".join(name for name, used in ways.items() if used) or "none of them"
        raise ValueError(f"exactly one of {'; '.join(ways)} must be given, but there is {used}")
    for name, given_without in (("stderr", ()), ("runs", inf)):
        value = getattr(arguments, name)
        fine = ways["sizes and eps"] or value == given_without
        require(fine, name, value, "left out without sizes and eps, to which it belongs")
    if ways["c, a and floor"]:
        missing = [name for name in ("c", "a") if given[name] is None]
        if missing:
            raise ValueError(f"{' and '.join(missing)} must be given with the law's constants")
        return Laws(ErrorLaw(given["floor"] or 0.0, given["c"], given["a"]), None, "given")
    if arguments.errors:
        measured = planning.read_errors(arguments.errors)
        names = [path.name for path in arguments.errors]
        source = ", ".join(names) if len(names) <= 3 else f"{len(names)} files"
    else:
        own = arguments
        measured = planning.measured(own.sizes, own.eps, own.stderr, own.runs)
        source = "sizes and eps"
    sizes, errors, stderr, runs = measured
    law = fit_error_law(sizes, errors, stderr)
    resampled = None
    if stderr is not None:
        count, seed = arguments.resamples, arguments.seed
        resampled = resampled_laws(sizes, errors, stderr, runs=runs, count=count, seed=seed)
        source += f", {len(sizes)} points"
    return Laws(law, resampled, source, resampled is not None and any(map(isinf, runs)))


def chosen_question(arguments: Arguments) -> "Question":
    """The loop that the options describe."""
    from icl_stl.planning.plan import Question

    question = Question(
        n=arguments.n,
        M=arguments.M,
        b=arguments.M if arguments.b is None else arguments.b,
        kappa=1.0 if arguments.kappa is None else arguments.kappa,
        delta=arguments.delta,
        generation=arguments.generation,
        objective=arguments.objective,
        fresh=arguments.fresh_real,
        max_lam=arguments.max_lam,
        log_size=arguments.log_size,
    )
    require(arguments.n % 1 == 0, "n", arguments.n, "a whole number of rows")
    return question


def assumptions(arguments: Arguments, law: "ErrorLaw") -> list[str]:
    """What nobody measured or gave."""
    given = {"b = M": arguments.b, "κ = 1": arguments.kappa}
    return [*map(str, law.assumed), *(what for what, value in given.items() if value is None)]


def warnings(arguments: Arguments, plans: Plans, laws: Laws) -> list[str]:
    """What a reader of the plans has to know, in plain words."""
    from icl_stl.planning.plan import no_law_helps

    said = []
    if laws.source != "given" and laws.resampled is None:
        said.append("no bands: not every error has a standard error")
    if laws.taken_as_known:
        said.append(
            "bands: standard errors are taken as known; if few loops stand behind them, the bands "
            "are too narrow (say how many: runs)"
        )
    if arguments.objective == "uniform":
        said.append(
            "uniform is a bound only if the errors of every loop, not only their mean, obey the law"
        )
    for name, plan in plans.items():
        assumed = arguments.kappa is None and name != "uniform"
        if assumed and plan.best.lam == 0 and no_law_helps(plan.question):
            said.append(
                f"{name}: with the assumed κ = 1 no error law would recommend synthetic rows, not "
                "even one without errors: measure κ and give --kappa"
            )
    if arguments.b is None:
        said.append(
            "b = M is the optimistic end: where one row may decide everything b is n M "
            f"= {arguments.n * arguments.M:g}"
        )
    return said


def _number(value: float) -> str:
    return "no limit" if value == inf else f"{value:.4g}"


def _band(band: tuple[float, float] | None, style: str = ".3g") -> str:
    if band is None:
        return "-"
    low, high = (f"{end:{style}}" if isfinite(end) else _number(end) for end in band)
    return f"{low} to {high}"


def law_in_words(laws: Laws) -> str:
    """The error law with its bands, on one line."""
    from icl_stl.planning.error_law import interval

    known = [f"{name} = {getattr(laws.law, name):.4g}" for name in CONSTANTS]
    if laws.resampled is not None:
        bands = (_band(interval(getattr(laws.resampled, name))) for name in CONSTANTS)
        known = [f"{one} (95 % {band})" for one, band in zip(known, bands, strict=True)]
    return f"error law floor + c N^-a, {laws.source}: {', '.join(known)}"


def table(plans: Plans) -> Table:
    """What was planned, a line each, the objectives side by side."""
    from icl_stl.planning.plan import PARTS

    shown = Table()
    shown.add_column("", no_wrap=True)
    for objective in plans:
        for name in (objective, "95 % band"):
            shown.add_column(name, justify="right", no_wrap=True)

    def line(what: str, entries: Callable[["Plan"], tuple[str, str]]) -> None:
        shown.add_row(what, *(word for plan in plans.values() for word in entries(plan)))

    line("synthetic rows, advised", lambda plan: (f"{plan.rows:,}", ""))
    line("of these per real row", lambda plan: (_number(plan.lam), ""))
    line("λ*, where the bound is least", lambda plan: (_number(plan.best.lam), _band(plan.band)))
    shown.add_section()
    line("bound without synthetic rows", lambda plan: (f"{float(plan.alone.total):.4g}", ""))
    line("bound with them", lambda plan: (f"{sum(plan.parts.values()):.4g}", ""))
    line("no ratio is below (certified)", lambda plan: (f"{plan.best.lower_bound:.4g}", ""))
    line("gain", lambda plan: (f"{plan.gain:.1%}", _band(plan.gain_band, ".1%")))
    shown.add_section()
    for part in PARTS:

        def value(plan: "Plan", part: str = part) -> tuple[str, str]:
            return f"{plan.parts[part]:.4g}", "largest" if part == plan.largest else ""

        line(f"{part} with them", value)
    return shown


def planned(plan: "Plan", regret: Any) -> dict[str, Any]:
    """One plan for a file."""
    return {
        "problem": vars(plan.question),
        "rows": plan.rows,
        "lam": plan.lam,
        "run_loop": plan.options,
        "optimum": plan.best.lam,
        "optimum_band": plan.band,
        "regime": plan.best.regime,
        "bound": sum(plan.parts.values()),
        "certified_lower_bound": plan.best.lower_bound,
        "bound_without_synthetic": float(plan.alone.total),
        "gain": plan.gain,
        "gain_band": plan.gain_band,
        "parts": plan.parts,
        "largest": plan.largest,
        "held_back_by": plan.held_back_by,
        "useful_sizes": plan.useful,
        "harmful_ratios": plan.harmful,
        "beyond_cap": plan.beyond_cap,
        "sentence": plan.sentence,
        "regret_where_checked": regret,
    }


def main(arguments: Arguments) -> int:
    """Plan; the exit status."""
    from icl_stl.planning import plan as planning
    from icl_stl.planning.error_law import interval

    seed, count, out = arguments.seed, arguments.resamples, arguments.out
    require(0 <= seed < 2**31, "seed", seed, "a whole number in [0, 2^31)")
    known = f"at least 2 and at most {MOST_RESAMPLES}"
    require(2 <= count <= MOST_RESAMPLES, "resamples", count, known)
    question, laws = chosen_question(arguments), chosen_law(arguments)
    question.best(laws.law)  # refuses what is outside its range
    if out is not None:
        results.make_folder(out)
    plans: Plans = {
        name: planning.plan(replace(question, objective=name), laws.law, laws.resampled)
        for name in dict.fromkeys(("risk", "gap", question.objective))
    }
    assumed, warned = assumptions(arguments, laws.law), warnings(arguments, plans, laws)
    own, resampled = plans[question.objective], laws.resampled
    if out is not None:
        content = {
            "schema": results.SCHEMA,
            "objective": question.objective,
            "law": {name: getattr(laws.law, name) for name in CONSTANTS},
            "law_bands": {
                name: resampled and interval(getattr(resampled, name)) for name in CONSTANTS
            },
            "law_source": laws.source,
            "assumed": assumed,
            "warnings": warned,
            "decides": planning.DECIDES,
            "plans": {name: planned(p, planning.CHECKED.get(name)) for name, p in plans.items()},
        }
        results.write_json(out / "plan.json", plain(content))
        from icl_stl.planning.figure import trade_off
        from icl_stl.style import write_figure

        write_figure(lambda: trade_off(own), out / "trade_off")
    print(law_in_words(laws))
    console.show(table(plans))
    if assumed:
        print(f"assumed: {'; '.join(assumed)}")
    for warning in warned:
        print(warning)
    for name, plan in plans.items():
        print(f"{name}: {plan.sentence}")
    print(planning.DECIDES)
    print(f"run it ({question.objective}): icl-stl loop {own.options}")
    if out is not None:
        print(f"{out}/plan.json, {out}/trade_off.svg")
    print(planning.regret_in_words(question.objective))
    return 0

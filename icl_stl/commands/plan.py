"""How many synthetic rows to generate: the error law, the best number with its band, a figure.

From measured one-step errors (result files of `icl-stl loop`, tables, or numbers) or from the law
itself; for the bound on the risk, which decides about quality, and beside it for that on the gap.
Or from pilots, losses measured at a few amounts, and the bound's plan beside what they say.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
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
    from icl_stl.planning.pilots import PilotPlan
    from icl_stl.planning.plan import Plan, Question

CONSTANTS = ("floor", "c", "a")
"""Those of the error law."""
MOST_RESAMPLES = 100_000
"""More are a slip of the pen: every refit is planned anew."""
OF_PILOTS = ("pilots", "best_loss", "json")
"""Options of a plan from pilots alone."""
FOR_BOTH = (*OF_PILOTS, "n", "generation", "fresh_real", "max_lam", "resamples", "seed")
"""Options of it, all: others are the bound's, and asked for with an error law alone."""
MOST_DRAWS = 2000
"""Pilots that might have been measured, at most: every law is fitted to each."""


@dataclass(frozen=True)
class Arguments:
    """Plan how much synthetic data a generation of a self-consuming loop should learn from."""

    n: float | None = None
    """Real rows, a whole number: of the set that is kept, or of every generation with
    --fresh-real. Needed without --pilots; with them those of the largest pilot if not given."""
    pilots: Annotated[Path | None, tyro.conf.arg(metavar="TABLE.csv")] = None
    """Measured losses: a table with the columns n_real, n_synthetic, generation, loss and stderr,
    at two ratios at least. The amount of least fitted loss is planned, with its 95 % set; with
    measured one-step errors or an error law too, what the bound's plan would lose beside it."""
    best_loss: float | None = None
    """The least loss that any model has, if known: tells the floor of yours from it."""
    json: Path | None = None
    """File for the plan from --pilots."""
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
    generation: float | None = None
    """Which generation: a whole number from 1 on, or inf for the limit of the loop. If not given
    inf, with --pilots the last one of theirs."""
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
    """Refits for the 95 % bands and sets."""
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

    if (n := arguments.n) is None:
        raise ValueError("--n must be given without --pilots, the number of real rows")
    question = Question(
        n=n,
        M=arguments.M,
        b=arguments.M if arguments.b is None else arguments.b,
        kappa=1.0 if arguments.kappa is None else arguments.kappa,
        delta=arguments.delta,
        generation=inf if arguments.generation is None else arguments.generation,
        objective=arguments.objective,
        fresh=arguments.fresh_real,
        max_lam=arguments.max_lam,
        log_size=arguments.log_size,
    )
    require(n % 1 == 0, "n", n, "a whole number of rows")
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
            f"= {next(iter(plans.values())).question.n * arguments.M:g}"
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


def beside(arguments: Arguments, n: int, generation: float) -> float | None:
    """The ratio that the bound is least at, where an error law says so; None without one."""
    given = {f.name for f in fields(arguments) if getattr(arguments, f.name) != f.default}
    if not given - {*FOR_BOTH}:
        return None
    law = ("errors", "sizes", "eps", "c", "a", "floor")
    if not given & {*law}:
        name = min(given - {*FOR_BOTH})
        right = f"left out with --pilots and without an error law ({', '.join(law)})"
        require(False, name, getattr(arguments, name), right)
    question = chosen_question(replace(arguments, n=n, generation=generation))
    return question.best(chosen_law(arguments).law).lam


def from_pilots(arguments: Arguments, path: Path) -> "tuple[PilotPlan, float | None]":
    """The plan from the pilots in a table; the ratio of the bound's plan beside it."""
    from icl_stl.planning import pilots
    from icl_stl.planning.error_law import SIZE
    from icl_stl.tables import checked

    n, generation, most = arguments.n, arguments.generation, arguments.max_lam
    require(arguments.out is None, "out", arguments.out, "left out with --pilots: --json FILE")
    count, right = arguments.resamples, f"at most {MOST_DRAWS} with --pilots"
    require(count <= MOST_DRAWS, "resamples", count, right)
    if n is not None:
        checked("n", n, SIZE)
    fine = generation is None or generation == inf or (generation >= 1 and generation % 1 == 0)
    require(fine, "generation", generation, "a whole number of at least 1, or inf")
    require(most > 0, "max_lam", most, "a positive number, or inf")
    found = pilots.read_pilots(path)
    if (least := arguments.best_loss) is not None:
        low = float((found.loss + 4 * found.stderr).min())
        right = f"a number of at most {low:.6g}: a pilot's loss is less by 4 standard errors"
        require(isfinite(least) and least <= low, "best_loss", least, right)
    rows = int(found.real.max() if n is None else n)
    when = float(found.generation.max()) if generation is None else generation
    other = beside(arguments, rows, when)
    options: dict[str, Any] = {"fresh": arguments.fresh_real, "best_loss": arguments.best_loss}
    options |= {"max_lam": most, "beside": other, "draws": count, "seed": arguments.seed}
    return pilots.plan_pilots(found, n=rows, generation=when, **options), other


def pilots_planned(made: "PilotPlan", bound: float | None) -> dict[str, Any]:
    """A plan from pilots for a file."""
    ends = ("value", "low", "high")
    own = {name: dict(zip(ends, getattr(made, name), strict=True)) for name in PILOT_SETS}
    rows = round(made.lam * made.n) if isfinite(made.lam) else inf
    best = {"lam": made.lam, "low": made.low, "high": made.high, "share": made.share, "rows": rows}
    regret = None
    if made.beside is not None:
        more = dict(zip(ends, made.beside, strict=True))
        ratio = 1 + made.beside[0] / made.excess if made.excess else None
        regret = {"lam": bound, "loss_more": more, "excess_ratio": ratio}
    told = {"from_lam": made.against, "times_the_loops": made.replicates}
    return {
        "schema": results.SCHEMA,
        **{name: getattr(made, name) for name in ("n", "generation", "fresh", "nothing")},
        "best": best,
        **own,
        "excess": made.excess,
        "law": {"forms": made.forms, "k": made.kept, "weight_of_k_1": made.keeps_all},
        "likeliest": made.constants,
        "fixed": made.fixed,
        "misfit": made.misfit,
        "next_pilots": [one._asdict() for one in made.next_pilots],
        "decides": told,
        "would_change": made.other,
        "regret_of_bound_plan": regret,
    }


PILOT_SETS = ("loss", "gain", "least")
"""What a plan from pilots gives with its ends."""


def say_pilots(made: "PilotPlan", bound: float | None, path: Path) -> None:
    """A plan from pilots in words."""
    from icl_stl.planning.pilots import in_words

    print(f"{path}: {in_words(made)}")
    for words, name in zip(("loss there", "saved", "least loss"), PILOT_SETS, strict=True):
        value, *ends = getattr(made, name)
        print(f"{words}: {value:.5g} (95 % {_band((ends[0], ends[1]), '.5g')})")
    forms = ", ".join(f"{name} {weight:.0%}" for name, weight in made.forms.items())
    constants = ", ".join(f"{name} = {value:.3g}" for name, value in made.constants.items())
    print(f"refit errors add: {forms}; a refit keeps k = {made.kept:.2g} of an error (1: ", end="")
    print(f"{made.keeps_all:.0%}); likeliest: {constants}")
    if made.fixed:
        known = ", ".join(f"{name} = {value:g}" for name, value in made.fixed.items())
        print(f"assumed, too few pilots to show it: {known}")
    if made.misfit is not None and made.misfit > 1:
        print(f"the law misses the pilots: chi-squared {made.misfit:.2g} a degree of freedom")
    for one in made.next_pilots:
        print(
            f"next pilot: λ = {one.lam:.3g} in generation {one.generation:g}; then "
            f"{one.left:.0%} of the variance of ln(1 + λ*) is left"
        )
    if made.beside is not None and bound is not None:
        value, *ends = made.beside
        band = _band((ends[0], ends[1]))
        print(f"the bound's plan, λ = {_number(bound)}, loses {value:.3g} more (95 % {band})")


def main(arguments: Arguments) -> int:
    """Plan; the exit status."""
    from icl_stl.planning import plan as planning
    from icl_stl.planning.error_law import interval

    seed, count, out = arguments.seed, arguments.resamples, arguments.out
    require(0 <= seed < 2**31, "seed", seed, "a whole number in [0, 2^31)")
    known = f"at least 2 and at most {MOST_RESAMPLES}"
    require(2 <= count <= MOST_RESAMPLES, "resamples", count, known)
    if (path := arguments.pilots) is not None:
        own_plan, bound = from_pilots(arguments, path)
        if arguments.json is not None:
            results.write_json(arguments.json, plain(pilots_planned(own_plan, bound)))
        say_pilots(own_plan, bound, path)
        return 0
    for name in OF_PILOTS:
        value = getattr(arguments, name)
        require(value is None, name, str(value), "left out without --pilots, to which it belongs")
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

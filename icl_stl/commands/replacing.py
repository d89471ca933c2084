"""The options of `icl-stl loop` that measure κ and b, what they cost, and what they found."""

from typing import Any

from rich.table import Table as Shown

from icl_stl import console
from icl_stl.lab import replaced
from icl_stl.lab.replaced import Replacement, Row
from icl_stl.lab.sweeps.grids import Setting
from icl_stl.members import Option
from icl_stl.problems import Problem

OPTIONS = {
    "replace_rows": Option(
        tuple[float, ...] | None,
        None,
        "Measure κ and b too, by fits to real sets with these shares of the rows replaced; "
        f"{', '.join(map(str, replaced.SHARES))} if none is named.",
    ),
    "replace_draws": Option(int, 4, "Real sets of which rows are replaced."),
}


def most_samples(arguments: Any, problem: Problem) -> int | None:
    """The most real rows that leave enough others to replace them by, where few are known."""
    if arguments.replace_rows is None:
        return None
    share = max(arguments.replace_rows or replaced.SHARES)
    return problem.most_samples(share) if 0 < share < 1 else None


def plan(arguments: Any, setting: Setting) -> Replacement | None:
    """What is asked for, and said, if it is.

    Raises:
        ValueError: If it cannot be; see `Replacement.of`.
    """
    if arguments.replace_rows is None:
        return None
    of = setting.problem, setting.regime, setting.samples
    asked = Replacement.of(arguments.replace_rows, arguments.replace_draws, *of)
    print(f"κ and b take {asked.words}", flush=True)
    return asked


def measured(asked: Replacement | None, seed: int, folder: Any) -> dict[str, Row]:
    """What a result says of κ and b; nothing if it is not asked for."""
    if asked is None:
        return {}
    from icl_stl.lab.retrained import retrain

    with console.progress("κ and b") as report:
        return {"stability": retrain(asked, seed=seed, folder=folder, report=report)}


def table(row: Row) -> Shown:
    """What replaced rows changed."""
    title = f"{row['of']}: root mean square change, {row['draws']} draws"
    if row["seed_noise"]:
        noise = "; another seed changes it by {generation_0:.3g} and {generation_1:.3g}"
        title += noise.format(**row["seed_noise"])
    shown = Shown(title=title, title_justify="left")
    for name in ("share", "rows", "generation 0", "generation 1", "b", "κ"):
        shown.add_column(name, justify="right")

    def changed(own: Row) -> str:
        noise = " (below seed noise)" if own["below_seed_noise"] else ""
        return f"{own['change']:.3g}{noise}"

    for own in row["by_share"]:
        both = (changed(own[f"generation_{g}"]) for g in (0, 1))
        kappa = "-" if own["kappa"] is None else f"{own['kappa']:.2f}"
        shown.add_row(f"{own['share']:.3g}", str(own["rows"]), *both, f"{own['b']:.3g}", kappa)
    ends = "{value:.3g} [{low:.3g}, {high:.3g}]"
    known = (row[n] for n in ("b", "kappa"))
    shown.add_row(
        "all", *[""] * 3, *("-" if k["value"] is None else ends.format(**k) for k in known)
    )
    return shown


def show(content: dict[str, Any]) -> None:
    """The table of a result that has one, and what it says in words."""
    if row := content.get("stability"):
        console.show(table(row))
        print(f"{replaced.sentence(row)}; {row['note']}")

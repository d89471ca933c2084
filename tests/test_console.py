import dataclasses
import json
import re
from io import StringIO

import numpy as np
import pytest
from rich.console import Console
from synthetic import PRESET

from icl_stl.studies import Cell, Claim, Evidence, Judged, judge
from icl_stl.studies.table import (
    CLAIM_COLUMNS,
    apart,
    claim_row,
    claim_verdict,
    claims_markdown,
    claims_table,
    counted,
    place,
    verdict_of,
    worst_cell,
)


def cell(measured, bound, verdict="holds", **more):
    low, high = measured - bound - 0.01, measured - bound + 0.01
    where = {"regime": "augment", "alpha": 0.5, "generation": 3, "verdict": verdict}
    return {
        **where,
        "measured": measured,
        "bound": bound,
        "margin_low": low,
        "margin_high": high,
        **more,
    }


def unknown(bound, **more):
    """A judged cell whose measured numbers are none, as `claims.json` has it."""
    none = dict.fromkeys(("measured", "low", "high", "margin", "margin_low", "margin_high"))
    return {**cell(0.0, 0.0, **more), **none, "bound": bound}


def entry(*cells):
    control = {"what": "its opposite", "rejected": True}
    source = "derived here: a triangle"
    return {
        "name": "a claim",
        "verdict": "holds",
        "cells": list(cells),
        "negative_control": control,
        "source": source,
        "replicates": 6,
        "failed": [],
    }


@pytest.mark.parametrize(
    ("one", "shown"),
    [
        (cell(0.3, 0.4), ("0.300", "≤ 0.400", "0.75")),
        (cell(0.5, 0.4, direction="above"), ("0.500", "> 0.400", "0.80")),
        (cell(0.5, 0.0, direction="above"), ("0.500", "> 0.000", "-")),
        (cell(-0.49, -0.5, test="equal", tolerance=0.05), ("-0.490", "= -0.500 ± 0.050", "0.98")),
        (cell(0.004, 0.0, test="equal", tolerance=0.1), ("0.004", "= 0.000 ± 0.100", "-")),
        (cell(0.15, 0.25, test="exact"), ("0.150", "≤ 0.250", "0.60")),
        (cell(0.25, 0.25 + 1e-16, test="exact"), ("0.250", "= 0.250", "1.00")),
        (
            {**cell(0.0, 0.5, "inconclusive", test="undecided", tolerance=0.1), "measured": None},
            ("-", "= 0.500 ± 0.100", "-"),
        ),
        (cell(0.01, 0.05, test="rate", tolerance=0.05), ("1.0%", "≤ 5.0%", "0.20")),
        (cell(0.01, 0.0, test="equal", tolerance=0.0), ("0.010", "= 0.000 ± 0.000", "-")),
        (cell(0.01, 0.0, test="equal"), ("0.010", "= 0.000", "-")),
        (unknown(0.4), ("-", "≤ 0.400", "-")),
        (unknown(0.4, direction="above"), ("-", "> 0.400", "-")),
        (unknown(0.4, test="equal", tolerance=0.1), ("-", "= 0.400 ± 0.100", "-")),
        (unknown(0.4, test="equal", tolerance=0.0), ("-", "= 0.400 ± 0.000", "-")),
        (unknown(0.4, test="exact"), ("-", "≤ 0.400", "-")),
        (unknown(0.05, test="rate", tolerance=0.05), ("-", "≤ 5.0%", "-")),
        (unknown(None), ("-", "≤ -", "-")),
        ({**cell(0.3, 0.4), "bound": None}, ("0.300", "≤ -", "-")),
        (cell(1e30, 3e12), ("1.00e+30", "≤ 3.00e+12", "3.33e+17")),
        (cell(1e300, 1e-300), ("1.00e+300", "≤ 0.000", "-")),
    ],
)
def test_a_row_says_what_kind_of_bound_it_is(one, shown):
    name, where, *numbers, verdict, rejected = claim_row(entry(one))
    assert (name, where, verdict, rejected) == (
        "a claim",
        "augment 0.5, generation 3",
        "holds",
        "yes",
    )
    assert tuple(numbers) == shown


def test_of_equations_the_worst_is_nearest_to_its_tolerance_and_exact_ones_are_never():
    near = cell(1.05, 1.0, test="equal", tolerance=0.1)
    far = cell(5.0, 5.0, test="equal", tolerance=0.2)
    exact = cell(1.0, 1.0, test="exact")
    assert worst_cell(entry(exact, far, near)) is near
    assert worst_cell(entry(exact, cell(0.2, 0.4))) == cell(0.2, 0.4)
    violated = cell(2.0, 2.0, "violated", test="equal", tolerance=0.2)
    assert worst_cell(entry(near, violated)) is violated
    assert worst_cell(entry(exact)) is exact


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"prefix": 4, "quantity": "drift"}, "augment 0.5, generation 3, 4 labels"),
        ({"loop": "ols", "n": 50}, "ols, augment 0.5, generation 3"),
        (
            {"loop": "bits", "regime": "accumulate", "quantity": "excess"},
            "bits, accumulate, generation 3: excess",
        ),
        ({"loop": "bits", "alpha": 2 / 3}, "bits, augment 0.667, generation 3"),
        ({"regime": "generation 0", "alpha": 1.0, "generator": "plug_in"}, "generation 0, plug_in"),
    ],
)
def test_a_place_names_the_loop_and_what_was_measured_of_it(keys, words):
    assert place(cell(0.1, 0.2, **keys)) == words


def test_a_claim_without_cells_has_a_row():
    assert claim_row(entry())[1:5] == ("", "-", "-", "-")
    assert claims_table([entry(), entry(cell(0.3, 0.4))]).row_count == 2
    assert claims_markdown([entry()])[-1].startswith("| a claim |  | - | - | - | holds | yes |")


def test_a_verdict_says_how_many_replicates_are_left_where_some_failed():
    fewer = {
        **entry(cell(0.3, 0.4)),
        "failed": ["a loop, replicate 2: not finite"],
        "replicates": 5,
    }
    assert claim_row(fewer)[5:] == ("holds, 5 replicates", "yes")


VACUOUS = cell(0.9, 0.9, "finding", vacuous=True)
DEFINED = cell(0.9, 0.9, "finding", by_definition=True)
OLD = [cell(0.9, 0.9, vacuous=True), cell(0.9, 0.9, by_definition=True)]


@pytest.mark.parametrize("kind", [VACUOUS, DEFINED, *OLD])
@pytest.mark.parametrize("more", [{}, {"missed": True}, {"direction": "above"}])
def test_what_is_not_judged_is_counted_apart_and_never_the_tightest(kind, more):
    kind = {**kind, **more}
    judged = cell(0.1, 0.9)
    assert worst_cell(entry(kind, judged, kind)) is judged
    assert worst_cell(entry(kind)) is None
    name = "vacuous" if kind.get("vacuous") else "by definition"
    assert apart(kind) == verdict_of(kind) == name
    assert apart(judged) == ""
    row = claim_row(entry(kind, judged, kind))
    assert row[5] == f"holds (2 {name})"
    assert row[2] == "0.100"
    assert claim_row(entry(kind))[2:6] == ("-", "-", "-", f"holds (1 {name})")
    assert claim_row(entry(judged, {**judged, "vacuous": False}))[5] == "holds"


def test_counts_of_cells_are_by_what_people_read():
    cells = [cell(0.1, 0.9), cell(0.2, 0.9), VACUOUS, DEFINED, VACUOUS]
    cells += [
        cell(0.9, 0.1, "inconclusive", missed=True),
        {**cell(0.5, 0.9, "finding"), "bound": None},
    ]
    said = counted(map(verdict_of, cells))
    assert said == "2 hold, 2 vacuous, 1 by definition, 1 decided against; no theorem, 1 findings"
    assert claim_row(entry(*cells))[5] == "holds (2 vacuous, 1 by definition)"


@pytest.mark.parametrize("verdict", ["inconclusive", "violated"])
def test_a_claim_that_is_missed_and_not_proved_is_decided_against(verdict):
    """`violated` is what JSON says where a theorem says otherwise; that stays."""
    missed = cell(0.9, 0.1, "inconclusive", missed=True)
    open_ = cell(0.1, 0.9, "inconclusive")
    said = "decided against; no theorem" if verdict == "inconclusive" else verdict
    for one in (
        {**entry(open_, missed), "verdict": verdict},
        {**entry(missed), "verdict": verdict},
    ):
        before = json.dumps(one)
        assert claim_verdict(one) == claim_row(one)[5] == said
        assert f"| {said} |" in claims_markdown([one])[-1]
        assert said.split(";")[0].split()[0] in printed(claims_table([one]))
        assert json.dumps(one) == before
    undecided = {**entry(open_), "verdict": verdict}
    assert claim_verdict(undecided) == verdict
    only_vacuous = {**entry({**VACUOUS, "missed": True}), "verdict": "inconclusive"}
    assert claim_verdict(only_vacuous) == "inconclusive"


@pytest.mark.parametrize(
    ("control", "said"),
    [
        ({"what": "", "rejected": False}, "-"),
        ({"what": "its opposite", "rejected": True}, "yes"),
        ({"what": "its opposite", "rejected": False, "cells_rejected": 3, "cells": 4}, "NO"),
        ({"what": "its opposite", "rejected": True, "families": [2, 1]}, "yes, in 2 of 2 families"),
        (
            {"what": "its opposite", "rejected": False, "families": [2, 0, 3]},
            "NO, in 2 of 3 families",
        ),
        ({"what": "its opposite", "rejected": False, "families": []}, "NO"),
    ],
)
def test_a_control_says_in_how_many_families_it_is_rejected(control, said):
    if "families" in control:
        families = [{"family": "f", "cells": 3, "rejected": k} for k in control["families"]]
        control = {**control, "families": families}
    assert claim_row({**entry(cell(0.1, 0.9)), "negative_control": control})[-1] == said


def test_what_judging_writes_is_what_is_read_here():
    """Of one claim: a cell that holds, one that is vacuous, one by definition; two families."""
    rng = np.random.default_rng(3)
    below = 1 + 0.1 * rng.standard_normal(12)
    where = {"regime": "replace", "generation": 1}
    cells = [
        Cell(below, 1 - below, 1.0, where),
        Cell(below, 1 - below, 1.0, where, ceiling=1.0),
        Cell(0 * below, below, 1.0, where, by_definition=True),
    ]
    control = [Cell(-below, below, 1.0, {**where, "family": name}) for name in ("a", "b")]
    claim = Claim("one", "", "", "its opposite", lambda evidence: Judged(cells, control, []))
    preset = dataclasses.replace(PRESET, replicates=12)
    judged = json.loads(json.dumps(judge(claim, Evidence(preset))))
    assert claim_row(judged)[5:] == (
        "holds (1 vacuous, 1 by definition)",
        "yes, in 2 of 2 families",
    )
    assert worst_cell(judged) == judged["cells"][0]
    assert isinstance(judged["cells"][0]["skew"], float)


def test_a_place_between_two_sizes_has_no_share():
    cell = {
        "loop": "ols",
        "regime": "same-inputs",
        "generation": 5,
        "quantity": "lambda of the peak",
    }
    assert place(cell) == "ols, same-inputs, generation 5: lambda of the peak"
    assert place({**cell, "alpha": 0.25}).startswith("ols, same-inputs 0.25, generation 5")


def test_of_cells_without_tolerance_the_one_that_is_off_is_the_worst():
    still = {**cell(0.0, 0.0, test="equal", tolerance=0.0), "margin_low": 0.0, "margin_high": 0.0}
    near = cell(1.09, 1.0, test="equal", tolerance=0.1)
    off = cell(0.01, 0.0, test="equal", tolerance=0.0)
    assert worst_cell(entry(still, near)) is near
    assert worst_cell(entry(off, near, still)) is off
    nothing = unknown(1.0, test="equal", tolerance=0.1, verdict="inconclusive")
    assert worst_cell(entry(off, nothing)) is nothing


def printed(table):
    screen = Console(width=200, file=StringIO())
    screen.print(table)
    return screen.file.getvalue()


def test_a_table_prints_whatever_a_claim_and_its_place_are_called():
    odd = entry(cell(0.3, 0.4, regime="[/bold] [red]a|b"), unknown(0.4))
    odd = {**odd, "name": "[/x]", "source": "[link=a]b[/c]: d"}
    text = printed(claims_table([odd]))
    for words in ("[/bold] [red]a|b 0.5", "[/x]", "[link=a]b[/c]", "holds"):
        assert words in text
    row = claims_markdown([odd])[-1]
    assert "[/bold] [red]a\\|b 0.5" in row
    assert len(re.split(r"(?<!\\)\|", row)) == len(CLAIM_COLUMNS) + 2


@pytest.mark.parametrize(
    "margins", [[0.0] * 6, [0.1, -0.1, 0.3, 0, 0, 0], [np.nan] * 6, [np.inf] * 6]
)
@pytest.mark.parametrize("test", ["positive", "equal", "rate", "exact", "undecided"])
@pytest.mark.parametrize("tolerance", [0.0, 0.1])
@pytest.mark.parametrize("bound", [0.0, np.nan, np.inf, -1.0])
def test_whatever_is_judged_is_stored_and_shown(margins, test, tolerance, bound):
    """Nothing that a claim may measure stops a job that has measured it."""
    values = np.array(margins)
    keys = {"regime": "replace", "generation": 1, "family": "the only one"}
    own = Cell(values, values + bound, bound, keys, test, tolerance)
    claim = Claim("odd", "", "", "", lambda evidence: Judged([own], [own], [{"value": np.nan}]))
    with np.errstate(invalid="ignore"):
        judged = judge(claim, Evidence(PRESET))
    assert judged == json.loads(json.dumps(judged, allow_nan=False))
    if not np.isfinite(values).all():
        assert judged["cells"][0]["measured"] is None
        assert judged["verdict"] != "holds"
    name, where, *numbers, verdict, _ = claim_row(judged)
    assert (name, where) == ("odd", "" if apart(judged["cells"][0]) else "replace, generation 1")
    assert bool(apart(judged["cells"][0])) == (bound == np.inf)  # whatever it bounds is below it
    assert not {"nan", "inf", "None"} & set(re.split(r"[^a-zA-Z]", " ".join(numbers)))
    assert verdict.startswith(judged["verdict"])
    assert "odd" in printed(claims_table([judged]))

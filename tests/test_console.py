import pytest

from icl_stl.console import claim_row, claims_markdown, claims_table, place, worst_cell


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
        (
            cell(-0.49, -0.5, test="equal", tolerance=0.05),
            ("-0.490", "= -0.500 ± 0.050", "0.98"),
        ),
        (cell(0.004, 0.0, test="equal", tolerance=0.1), ("0.004", "= 0.000 ± 0.100", "-")),
        (cell(0.15, 0.25, test="exact"), ("0.150", "≤ 0.250", "0.60")),
        (cell(0.25, 0.25 + 1e-16, test="exact"), ("0.250", "= 0.250", "1.00")),
        (
            {**cell(0.0, 0.5, "inconclusive", test="undecided", tolerance=0.1), "measured": None},
            ("-", "= 0.500 ± 0.100", "-"),
        ),
        (cell(0.01, 0.05, test="rate", tolerance=0.05), ("1.0%", "≤ 5.0%", "0.20")),
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
        (
            {"regime": "generation 0", "alpha": 1.0, "generator": "plug_in"},
            "generation 0, plug_in",
        ),
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


def test_a_place_between_two_sizes_has_no_share():
    cell = {
        "loop": "ols",
        "regime": "same-inputs",
        "generation": 5,
        "quantity": "lambda of the peak",
    }
    assert place(cell) == "ols, same-inputs, generation 5: lambda of the peak"
    assert place({**cell, "alpha": 0.25}).startswith("ols, same-inputs 0.25, generation 5")

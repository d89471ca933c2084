"""Definitions of collapse: predicates, what follows from what, what is measured, the page."""

import json
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from icl_stl import profile, references
from icl_stl.problems import Categorical, Gaussian, GaussianMean, Ols, Ridge
from icl_stl.regimes import AccumulateFresh, Augment, Edit, FreshReal, RealOnly, Replace
from icl_stl.studies.profile.claims import LAW, ROWS, TABLE, exact_rows

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))
import make_collapse as made  # noqa: E402

NORMAL, MEAN, SYMBOLS = Gaussian(), GaussianMean(), Categorical(LAW)
RNG = np.random.default_rng(1)


def met(problem, regime, by=100, n=ROWS):
    """Definitions that are met, and those that are not, by a generation."""
    found = profile.exact(problem, regime, n, by)
    yes = {name for name, one in found.items() if one.by[by] == "met"}
    return yes, {*found} - yes


def test_each_definition_is_met_beyond_its_threshold_and_not_before() -> None:
    start = {"excess": 2.0, "variance": 3.0, "support": 8.0, "task_variance": 5.0}
    for name, of, at, sign in (
        ("constant", "excess", 20.0, 1),
        ("first", "excess", 2.1, 1),
        ("real_only", "excess", 2.1, 1),
        ("variance", "variance", 0.3, -1),
        ("support", "support", 4.0, -1),
        ("task_variance", "task_variance", 0.5, -1),
    ):
        for by in (-0.01, 0.01):
            own = profile.margins({of: np.array([start[of], at + by])})[name]
            assert (own[1] > 0) == (by * sign > 0), name
    own = profile.margins({"excess": np.array([2.0, 1.2]), "alone": np.array([2.0, 1.0])})
    assert own["real_only"][1] > 0 > own["first"][1]
    assert profile.margins({"tails": np.array([0.2, 0.49, 0.51])})["tails"].tolist()[1] < 0


def test_endless_paths() -> None:
    i = np.arange(1025.0)
    assert profile.endless(1 + i)
    assert profile.endless(1.01**i)
    for b in (0.0, 0.5, 0.99, 0.998):
        assert profile.endless((1 - b ** (i + 1)) / (1 - b)) is False
    assert profile.endless(np.cumsum(1 / (i + 1) ** 2)) is False
    assert profile.endless(np.cumsum(1 / (i + 1))) is None
    assert profile.endless(np.where(i > 3, np.nan, i)) is None


def test_what_follows_holds_in_the_table() -> None:
    for _, problem, regimes in TABLE:
        for regime in regimes:
            for by in (1, 3, 10, 30, 100):
                yes, no = met(problem, regime, by)
                for one, other in (("unbounded", "first"), ("constant", "first")):
                    assert one not in yes or other in yes
                assert "first" not in yes or "real_only" in yes
                if not regime.fresh_real:
                    assert ("first" in yes) == ("real_only" in yes)
                assert {"first", "real_only", "constant"} <= yes | no


def test_counterexamples() -> None:
    narrow = Gaussian(sampling_bias=0.1)
    listed = [
        ((MEAN, Replace(), 100), {1, 2, 7, 8}, {3, 4, 5}),
        ((MEAN, Replace(), 3), {1, 7, 8}, {2, 3, 4, 5}),
        ((NORMAL, Replace(), 100), {2, 3, 7, 8}, {1, 4}),
        ((narrow, AccumulateFresh(), 100), {3}, {1, 2, 4, 7, 8}),
        ((SYMBOLS, Replace(), 100), {2, 3, 4, 5, 7, 8}, {1}),
        ((SYMBOLS, Replace(), 10), {5, 7, 8}, {1, 2, 3, 4}),
        ((SYMBOLS, Augment(0.5), 100), {7, 8}, {1, 2, 3, 4, 5}),
        ((MEAN, FreshReal(), 100), {8}, {1, 2, 3, 4, 5, 7}),
        ((SYMBOLS, RealOnly(), 100, 10), {5}, {1, 2, 3, 4, 7, 8}),
    ]
    names = dict(enumerate(profile.DEFINITIONS, 1))
    for loop, yes, no in listed:
        assert met(*loop) == ({names[k] for k in yes}, {names[k] for k in no}), loop
    shown = {(a, b) for _, yes, no in listed for a in yes for b in no}
    follows = {(1, 7), (2, 7), (1, 8), (2, 8), (7, 8)}
    assert not shown & follows
    left = {*permutations((1, 2, 3, 4, 5, 7, 8), 2)} - shown - follows
    assert left == {(3, 5), *((4, k) for k in (2, 3, 5, 7, 8))}


def test_the_error_is_the_variance_that_is_lost() -> None:
    for problem, h in ((NORMAL, 1.0), (SYMBOLS, 1 - SYMBOLS.law @ SYMBOLS.law)):
        for regime in (Replace(), Augment(0.5), FreshReal(), AccumulateFresh()):
            seen = profile.expected(problem, regime, ROWS, 30)
            np.testing.assert_allclose(seen["variance"] + seen["excess"], h, rtol=1e-12)
            assert seen["excess"][0] == pytest.approx(h / ROWS)
    for n, second in ((10, False), (12, True)):  # vanished, and 10 times the error of one fit?
        last = int(
            np.flatnonzero(
                profile.margins(profile.expected(NORMAL, Replace(), n, 60))["variance"] > 0
            )[0]
        )
        assert ("constant" in met(NORMAL, Replace(), last, n)[0]) == second


def test_means_do_not_see_it() -> None:
    unbiased = Gaussian(unbiased=True)
    assert "variance" in met(unbiased, Replace())[1]
    typical = references.log_variance_replace(ROWS, ROWS, 1.0, 100, True)
    assert np.exp(np.asarray(typical)[-1]) < profile.LEFT
    path = references.law_affine(references.Mixing.of(Replace(), ROWS, 100), LAW)
    np.testing.assert_allclose(path.mean, np.tile(LAW, (101, 1)), rtol=1e-12)


def test_tails_of_symbols() -> None:
    q = profile.tail_of(SYMBOLS.law)
    assert q == pytest.approx(0.05)
    assert profile.tail_of(np.full(10, 0.1)) == 0
    n, m = 7, 7
    law = (0.96, 0.02, 0.02)
    found = profile.expected(Categorical(law), Replace(), n, 2)["tails"]
    ones = np.arange(m + 1)
    first = binom.pmf(ones, n, 0.04)
    second = first @ binom.pmf(ones, m, ones[:, None] / n)
    third = second @ binom.pmf(ones, m, ones[:, None] / m)
    np.testing.assert_allclose(found, [first[0], second[0], third[0]], rtol=1e-9)
    kept = profile.expected(Categorical(law), Augment(0.5), n, 5)["tails"]
    np.testing.assert_allclose(kept, 0.96**n)
    many = profile.expected(Categorical(law), Augment(0.5), 200, 5)
    assert "tails" not in many  # one row is less than a tenth of their mass


def test_what_has_no_closed_form_is_left_out() -> None:
    assert profile.exact(Ridge(), Replace(), ROWS, 5) == {}
    assert {*profile.exact(Ols(2), Augment(0.5), ROWS, 10)} == {"variance", "support"}
    assert "variance" not in profile.exact(SYMBOLS, Edit(threshold=0.9), ROWS, 3)
    assert met(MEAN, RealOnly())[0] == set()


def paths(mean, runs=400):
    """Loops of these mean values, scattered."""
    return np.asarray(mean) * (1 + 0.2 * RNG.uniform(-1, 1, (runs, len(mean))))


def test_what_is_measured_is_met_or_not_or_undecided() -> None:
    error = np.concatenate([[1.0], np.full(9, 4.0), np.full(21, 12.0)])
    seen = {"excess": paths(error), "tails": RNG.random((400, 31)) < 0.7}
    found = profile.measured(seen)
    assert {name: one.first for name, one in found.items()} == {
        **{"constant": 10, "tails": 10, "first": 10, "real_only": 10}
    }
    assert not any(one.exact for one in found.values())
    later = profile.measured({"excess": paths(np.append(np.full(11, 1.0), np.full(20, 2.0)))})
    assert later["first"].by == {10: "not met", 30: "met"}
    assert later["constant"].by == {10: "not met", 30: "not met"}
    near = profile.measured({"excess": paths(np.append(1.0, np.full(10, 1.05)))})
    assert near["first"].by == {10: "undecided"}
    assert profile.measured({"tails": RNG.random((30, 11)) < 0.5})["tails"].by == {10: "undecided"}
    one = profile.measured({"variance": paths(np.full(11, 1.0), 1)})
    assert one["variance"].by == {10: "undecided"}


def test_a_loop_is_exact_where_it_can_be_and_says_so() -> None:
    seen = {"excess": paths(np.full(11, 1.0)), "tails": np.zeros((400, 11))}
    found = profile.of_loop(NORMAL, Replace(), ROWS, 10, seen)
    assert found["first"].by == {10: "met"}  # by its closed form, whatever was seen
    assert not found["tails"].exact
    text = "\n".join(profile.in_words(found))
    assert "collapse, met by generation 10: worse than the first" in text
    assert "tails lost (measured)" in text
    assert json.loads(json.dumps(profile.as_json(found)))["first"]["by"] == {"10": "met"}
    assert profile.of_loop(NORMAL, Replace(), ROWS, 0, {}) == {}
    fresh = profile.of_loop(Ridge(), FreshReal(), ROWS, 10, {"excess": paths(np.full(11, 1.0))})
    assert "real_only" not in fresh


def test_losses_of_any_sign_are_compared_by_their_difference() -> None:
    worse = profile.measured({"loss": -2 + paths(np.linspace(0.1, 1, 11))})
    assert {name: one.first for name, one in worse.items()} == {"first": 10, "real_only": 10}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: profile.exact(NORMAL, Replace(), ROWS, 0), "generations"),
        (lambda: profile.looked_at(-1), "generations"),
        (lambda: profile.measured({"excess": np.ones((3, 5))}, (7,)), "at"),
    ],
)
def test_bad_input(call, said) -> None:
    with pytest.raises(ValueError, match=said):
        call()


def test_the_page_is_that_of_the_code() -> None:
    page = made.PAGE.read_text(encoding="utf-8")
    assert page == made.filled(page)
    assert made.filled(page.replace("| symbols, replace |", "| symbols, replaced |")) == page
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert len([r for r in rows if r.count("|") == len(profile.DEFINITIONS) + 2]) > len(
        exact_rows()
    )

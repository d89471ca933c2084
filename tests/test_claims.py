import json
from dataclasses import replace

import numpy as np
import pytest
from synthetic import (
    PRESET,
    G,
    P,
    R,
    below_the_bound,
    calibrated,
    generated,
    iterated,
    loops_of,
    made,
    noise,
    some_errors,
)

from icl_stl.regimes import Augment, Replace
from icl_stl.studies import Evidence, judge
from icl_stl.studies.collapse.claims import exact_plug_in_variance
from icl_stl.studies.table import claim_row, claims_markdown
from icl_stl.studies.transformer.claims import (
    CALIBRATED,
    LIKE_BAYES,
    PLANTED,
    drift_bound,
    known_loops,
)
from icl_stl.studies.transformer.claims import CLAIMS as TRANSFORMER_CLAIMS

CLAIMS = {claim.name: claim for claim in TRANSFORMER_CLAIMS}
KEYS = {*("name", "statement", "source", "replicates", "failed", "verdict", "constants", "cells")}
KEYS |= {"negative_control"}
CELL_KEYS = {*("regime", "alpha", "generation", "measured", "low", "high", "bound", "margin")}
CELL_KEYS |= {"level", "verdict"}

each_claim = pytest.mark.parametrize("name", CLAIMS)
each_regime = pytest.mark.parametrize("regime", PRESET.regimes, ids=repr)


def judged(name, loops, generators=None, known=None):
    experiment = known_loops(PRESET)
    experiments = {experiment: known or calibrated(experiment)}
    return judge(CLAIMS[name], Evidence(PRESET, loops, generators or generated(), experiments))


def good_loops():
    """Drifts below their bounds that stay where they are with real prompts and grow without."""

    def loop(regime):
        return growing(regime, 0.3 if isinstance(regime, Replace) else 0.0)

    return loops_of(loop)


def growing(regime, growth, spread=0.01):
    """A loop whose drift grows by `growth` from generation 2 to the last."""
    level = np.interp(np.arange(G + 1), [2, G], [0, growth])[None, :, None]
    drift = 0.2 + level + noise(spread, R, G + 1, P, seed=8)
    eps = np.where(np.arange(G + 1) == 0, 0.25, 0.2)[None, :, None] + np.zeros_like(drift)
    return made(regime, drift, eps)


# --- drift ---------------------------------------------------------------------------------------


@each_regime
def test_the_drift_bound_is_the_recursion_iterated(regime):
    eps = some_errors()
    bound = drift_bound(made(regime, np.zeros_like(eps), eps))
    np.testing.assert_allclose(bound, iterated(regime, eps), rtol=1e-13)
    if isinstance(regime, Augment):
        last = sum((1 - regime.alpha) ** (G - j) * eps[:, j] for j in range(G + 1))
        np.testing.assert_allclose(bound[:, G], last, rtol=1e-13)


@pytest.mark.parametrize("seed", range(5))
def test_a_drift_exactly_at_its_bound_is_not_violated(seed):
    def equal(regime):
        eps = some_errors(seed)
        return made(regime, iterated(regime, eps), eps)

    entry = judged("drift", loops_of(equal))
    assert "violated" not in {cell["verdict"] for cell in entry["cells"]}
    assert entry["verdict"] != "violated"


@pytest.mark.parametrize(
    ("distance", "spread", "verdict"),
    [(0.03, 0.002, "holds"), (-0.03, 0.002, "violated"), (0.0, 0.03, "inconclusive")],
)
def test_drift_below_above_and_around_its_bound(distance, spread, verdict):
    entry = judged("drift", loops_of(lambda regime: below_the_bound(regime, distance, spread)))
    assert entry["verdict"] == verdict
    tested = [cell for cell in entry["cells"] if "by_definition" not in cell]
    verdicts = {cell["verdict"] for cell in tested}
    assert verdicts == {verdict}
    assert len(tested) == 3 * G * P  # generation 0 is true by definition
    assert len(entry["cells"]) == 3 * (G + 1) * P
    for cell in tested:
        np.testing.assert_allclose(cell["margin"], cell["bound"] - cell["measured"], atol=1e-12)


def test_one_violated_cell_violates_the_claim():
    loops = loops_of(lambda regime: below_the_bound(regime, 0.03))
    loops["augment-0.5"].observations["drift"][:, 3, 1] += 0.1
    entry = judged("drift", loops)
    assert entry["verdict"] == "violated"
    (cell,) = [cell for cell in entry["cells"] if cell["verdict"] == "violated"]
    assert {**cell, "regime": "augment", "alpha": 0.5, "generation": 3, "prefix": 2} == cell
    np.testing.assert_allclose(
        cell["measured"], loops["augment-0.5"]["drift"][:, 3, 1].mean(), rtol=1e-13
    )


def test_the_control_is_rejected_where_errors_are_injected():
    control = judged("drift", good_loops())["negative_control"]
    assert control["rejected"] is True
    assert control["cells"] == 3 * 3  # three regimes that consume, generations 1 to 3


def test_the_control_stands_where_no_error_is_injected():
    def nothing_injected(regime):
        eps = some_errors()
        eps[:, 1:] = 0
        return made(regime, iterated(regime, eps), eps)

    entry = judged("drift", loops_of(nothing_injected))
    assert entry["negative_control"]["rejected"] is False
    assert entry["negative_control"]["cells_rejected"] == 0
    assert entry["verdict"] != "violated"  # the equality family: margins are 0


# --- one_step_error ------------------------------------------------------------------------------


def test_known_total_variations_are_measured_right_and_wrong_factors_noticed():
    entry = judged("one_step_error", good_loops())
    assert entry["verdict"] == "holds"
    assert entry["replicates"] == R  # the fewer ones
    known = [cell for cell in entry["cells"] if cell.get("loop") == "known"]
    places = (len(PRESET.shares) + 1) * P
    assert len(known) == places * (4 + 5)  # eps of generations 1 to 4, drift of 0 to 4
    assert {cell["verdict"] for cell in known} == {"holds"}
    assert {(cell["bound"], cell["tolerance"]) for cell in known} == {(1.0, CALIBRATED)}
    control = entry["negative_control"]
    assert control["rejected"]
    assert len(control["families"]) == 2 * len(PLANTED) * places


@pytest.mark.parametrize("factor", PLANTED)
@pytest.mark.parametrize("name", ["eps", "drift"])
def test_a_wrong_factor_on_a_known_total_variation_violates_the_claim(name, factor):
    found = calibrated(known_loops(PRESET))
    found[name] = factor * found[name]
    entry = judged("one_step_error", good_loops(), known=found)
    assert entry["verdict"] == "violated"
    bad = {c["quantity"] for c in entry["cells"] if c["verdict"] == "violated"}
    assert bad == {f"{name}, measured over exact"}
    families = entry["negative_control"]["families"]
    kept = [own["family"] for own in families if not own["rejected"]]
    # It is then right to say of what was measured that it is this factor times what it should be.
    assert len(kept) == len(families) / 4
    assert all(family.startswith(f"{name} times {factor:g}") for family in kept)


def test_a_bound_of_at_least_1_on_a_total_variation_is_vacuous():
    def far(regime):
        eps = some_errors() + 0.9
        return made(regime, eps, eps)

    for name in ("drift", "one_step_error"):
        cells = [c for c in judged(name, loops_of(far))["cells"] if "loop" not in c]
        vacuous = [c for c in cells if c.get("vacuous")]
        assert vacuous
        assert {c["verdict"] for c in vacuous} == {"finding"}
        assert all(c.get("vacuous", False) == (c["bound"] >= 1) for c in cells)


# --- predictive_sampling -------------------------------------------------------------------------

PLUG_IN = exact_plug_in_variance(PRESET.task)


@pytest.mark.parametrize(
    ("predictive", "plug_in", "verdict", "missed"),
    [
        (1.0, 0.1, "holds", 0),
        (0.7, 0.1, "inconclusive", 1),
        (1.3, 0.1, "inconclusive", 1),
        (1.0, 0.4, "inconclusive", 1),
        (1 - LIKE_BAYES * (1 - PLUG_IN), 0.1, "inconclusive", 0),
    ],
)
def test_predictive_sampling_by_hand(predictive, plug_in, verdict, missed):
    """The Bayes predictor's generators imply 1 and 0.09: 0.23 is a quarter of the difference."""
    generators = generated(predictive, plug_in)
    entry = judged("predictive_sampling", {}, generators)
    assert entry["verdict"] == verdict
    assert sum("missed" in cell for cell in entry["cells"]) == missed
    drawn = [c["value"] for c in entry["constants"] if c["name"].startswith("the same ratio")]
    np.testing.assert_allclose(
        drawn, [generators[f"bayes_{g}"].mean() / 4 for g in ("predictive", "plug_in")]
    )
    for cell, bound in zip(entry["cells"], (1.0, PLUG_IN), strict=True):
        ratio = generators[f"transformer_{cell['generator']}"].mean() / 4
        np.testing.assert_allclose(cell["measured"], ratio, rtol=1e-13)
        assert cell["bound"] == pytest.approx(bound)
        assert cell["tolerance"] == pytest.approx(LIKE_BAYES * (1 - PLUG_IN))


def test_the_control_of_predictive_sampling_can_fail():
    rejected = judged("predictive_sampling", {})["negative_control"]["rejected"]
    for exchanged in (generated(0.1, 1.0), generated(0.1, 0.1), generated(1.0, 1.0)):
        assert not judged("predictive_sampling", {}, exchanged)["negative_control"]["rejected"]
    assert rejected


def test_a_generation_0_that_failed_counts_against_predictive_sampling():
    generators = generated()
    generators["transformer_plug_in"][2] = np.nan
    entry = judged("predictive_sampling", {}, generators)
    assert entry["failed"] == ["generation 0, replicate 2: implied task variance not finite"]
    assert (entry["replicates"], entry["verdict"]) == (R - 1, "inconclusive")
    assert {cell["verdict"] for cell in entry["cells"]} <= {"inconclusive", "finding"}
    assert not entry["negative_control"]["rejected"]
    json.dumps(entry, allow_nan=False)


# --- replicates that failed ----------------------------------------------------------------------


@each_claim
def test_fewer_than_three_usable_replicates_decide_nothing(name):
    entries = []
    for failed in (R - 3, R - 2):
        loops = good_loops()
        for r in range(failed):
            loops["replace"].observations["drift"][r, 2, 0] = np.nan
        entries.append(judged(name, loops))
    enough, too_few = entries
    if name == "predictive_sampling":  # of generation 0: it needs no loops
        assert enough["cells"] == too_few["cells"] != []
        return
    assert (enough["replicates"], too_few["replicates"]) == (3, 2)
    assert enough["cells"]
    assert too_few["cells"] == []
    assert too_few["verdict"] == "inconclusive"
    assert too_few["negative_control"] == {"what": CLAIMS[name].control, "rejected": False}
    assert len(too_few["failed"]) == R - 2


def as_survivors(cells):
    """The cells as they are judged where another replicate failed: nothing tested holds."""
    return [
        {**cell, "verdict": "inconclusive"}
        if cell["verdict"] == "holds" and not cell.get("by_definition")
        else cell
        for cell in cells
    ]


def test_a_failed_replicate_is_named_and_left_out_in_every_regime():
    loops, clean = good_loops(), good_loops()
    loops["augment-0.25"].observations["eps"][4, 3] = np.inf
    loops["augment-0.25"].observations["diverged_at"][4, 3:] = 17
    entry = judged("drift", loops)
    assert entry["replicates"] == R - 1
    assert entry["failed"] == [
        "augment-0.25, replicate 4: not finite in generation 3, training step 17"
    ]
    kept = [0, 1, 2, 3, 5]
    fewer = replace(PRESET, replicates=R - 1)
    without = {name: result.replicates(kept) for name, result in clean.items()}
    expected = judge(CLAIMS["drift"], Evidence(fewer, without))
    assert entry["cells"] == as_survivors(expected["cells"])
    control = entry["negative_control"]
    assert judged("drift", clean)["negative_control"]["rejected"]
    assert control == {**expected["negative_control"], "rejected": False}


@pytest.mark.parametrize(
    ("distance", "whole", "survivors"),
    [(0.03, "holds", "inconclusive"), (-0.03, "violated", "violated")],
)
def test_a_claim_does_not_hold_on_the_loops_that_did_not_diverge(distance, whole, survivors):
    """One of twelve diverges; the margins of the others are clear."""

    def twice(regime):
        halves = [below_the_bound(regime, distance, spread) for spread in (0.002, 0.003)]
        drift, eps = (np.concatenate([half[name] for half in halves]) for name in ("drift", "eps"))
        return made(regime, drift, eps)

    def judged_twice(loops):
        return judge(CLAIMS["drift"], Evidence(replace(PRESET, replicates=2 * R), loops))

    loops = loops_of(twice)
    assert judged_twice(loops)["verdict"] == whole
    loops["replace"].observations["drift"][1, 3:] = np.nan
    entry = judged_twice(loops)
    assert entry["verdict"] == survivors
    tested = [cell for cell in entry["cells"] if "by_definition" not in cell]
    assert {cell["verdict"] for cell in tested} == {survivors}
    assert all((cell["margin_low"] > 0) == (distance > 0) for cell in tested)
    assert not entry["negative_control"]["rejected"]
    said = (
        f"{survivors}, {2 * R - 1} replicates ({len(entry['cells']) - len(tested)} by definition)"
    )
    control = "NO, in 3 of 3 families"  # of the loops that are left
    assert claim_row(entry)[5:] == (said, control)
    assert f"| {said} | {control} |" in claims_markdown([entry])[-1]
    stored = json.loads(json.dumps(entry))
    assert (stored["replicates"], len(stored["failed"])) == (2 * R - 1, 1)


def test_failures_of_loops_that_a_claim_does_not_ask_for_leave_it_alone():
    loops = good_loops()
    loops["replace"].observations["kl"][0, 1] = np.nan
    fewer = replace(CLAIMS["drift"], regimes=lambda preset: preset.regimes[:2])
    assert judge(fewer, Evidence(PRESET, loops))["failed"] == []
    assert judged("drift", loops)["failed"] == [
        "replace, replicate 0: not finite in generation 1, kl"
    ]


# --- the entries of claims.json ------------------------------------------------------------------


@each_claim
@pytest.mark.parametrize("usable", [R, 2])
def test_entries_have_the_documented_form(name, usable):
    loops = good_loops()
    for result in loops.values():
        result.observations["risk"][usable:] = np.nan
    entry = judged(name, loops)
    assert set(entry) == KEYS
    assert json.loads(json.dumps(entry, allow_nan=False)) == entry
    assert entry["verdict"] in {"holds", "violated", "inconclusive", "finding"}
    assert entry["source"].partition(":")[0].partition(";")[0].partition(",")[0] in {
        "paper",
        "derived here",
        "derived here for the Bayes predictor",
        "measured",
    }
    for constant in entry["constants"]:
        assert set(constant) == {"name", "value", "provenance"}
        assert constant["provenance"] in {"certified", "measured", "assumed"}
    for cell in entry["cells"]:
        assert set(cell) >= CELL_KEYS
        assert cell["low"] <= cell["measured"] <= cell["high"]
        assert 0 <= cell["alpha"] <= 1
        assert cell["verdict"] in {"holds", "violated", "inconclusive", "finding"}
    assert set(entry["negative_control"]) >= {"what", "rejected"}
    assert bool(entry["negative_control"]["what"]) == (not CLAIMS[name].finding)
    assert isinstance(entry["negative_control"]["rejected"], bool)


def test_what_no_theorem_covers_is_a_finding():
    entry = judged("quality", good_loops())
    assert entry["verdict"] == "finding"
    assert {cell["verdict"] for cell in entry["cells"]} == {"finding"}
    assert {cell["bound"] for cell in entry["cells"]} == {None}
    first = next(
        cell
        for cell in entry["cells"]
        if cell["regime"] == "replace" and "NLL" in cell["quantity"] and cell["generation"] == 2
    )
    kl = good_loops()["replace"]["kl"][:, 2, -1].mean()
    np.testing.assert_allclose(first["measured"], kl / PRESET.task.context, rtol=1e-13)


def test_claims_ask_for_the_regimes_they_speak_of():
    asked = {name: claim.regimes(PRESET) for name, claim in CLAIMS.items()}
    assert asked["drift"] == asked["quality"] == PRESET.regimes
    assert asked["predictive_sampling"] == ()
    assert PRESET.regimes == (Augment(0.25), Augment(0.5), Replace())


def test_the_triangle_from_its_other_side_notices_errors_measured_too_large():
    def inflated(regime):
        eps = some_errors()
        return made(regime, iterated(regime, eps), 6 * eps)

    assert judged("one_step_error", loops_of(inflated, PRESET.regimes))["verdict"] == "violated"


def test_a_failed_generator_touches_only_the_claim_that_asks_for_it():
    generators = generated()
    generators["transformer_plug_in"][2] = np.nan
    assert judged("drift", good_loops(), generators) == judged("drift", good_loops())

"""The transformer over sizes: the claim holds where it is right, and says what the bounds give."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import around

from icl_stl import bounds
from icl_stl.studies import Evidence, judge
from icl_stl.studies.claims import CLAIMS
from icl_stl.studies.convergence import claims as convergence
from icl_stl.studies.convergence.experiments import SizedNeighbours, SizedTransformers
from icl_stl.studies.presets import PRESETS

SIZE = replace(PRESETS["tiny"].convergence, replicates=12)
TINY = replace(PRESETS["tiny"], convergence=SIZE)
NAME = "transformer_convergence"
PREFIXES = len(SIZE.task.prefixes)


def loop(experiment, floor=0.1):
    """A loop whose gap falls like 1/n, whose excess falls like n^-1/2 to a floor of its own."""
    n, share = experiment.size.samples, experiment.size.share
    i = np.arange(experiment.generations + 1)
    alpha = np.where(i == 0, 1.0, share)
    own = 2 / n * (1 + 0.1 * i)
    shift = np.where((i > 0) & (share < 1), 1 / n, 0.0)
    excess = 0.01 * (1 + i) * (1 + 16 / n**0.5) * (1 + experiment.size.n_syn / n) ** 0.5
    eps = (floor + 2 / n)[..., None] if np.ndim(floor) else np.full(len(i), floor + 2 / n)
    laws = np.repeat(eps[:, None], PREFIXES, axis=1)
    return {
        "gap": own + (1 - alpha) * shift,
        "real": own,
        "synthetic": np.where(alpha < 1, own, 0.0),
        "shift": shift,
        "bounded_excess": excess,
        "excess_nll": 3 * excess,
        "eps": laws,
        "drift": 1.5 * laws,
        "excess_squared_risk": excess,
        "implied_task_variance": np.ones(len(i)),
        "diverged_at": np.full(len(i), -1),
    }


def moved(experiment):
    n, k = experiment.size.samples, experiment.neighbours
    return {
        "tv": np.full((k, PREFIXES), 3 / n),
        "loss_max": np.full(k, 5 / n),
        "loss_mean": np.full(k, 1 / n),
        "parameters": np.full(k, 0.1),
        "excess_nll": np.float64(0.2),
        "passed": np.full(k, 0.6),
    }


def good(experiments):
    found = {}
    for experiment in experiments:
        make = moved if isinstance(experiment, SizedNeighbours) else loop
        found[experiment] = {
            # Loops of all sizes share their scatter, as they share their prompts.
            name: around(mean, experiment.runs, k)
            for k, (name, mean) in enumerate(make(experiment).items())
        }
    return found


def judged(experiments):
    return judge(CLAIMS[NAME], Evidence(TINY, experiments=experiments))


@pytest.fixture(scope="module")
def entry():
    return judged(good(CLAIMS[NAME].experiments(TINY)))


def of(entry, **keys):
    found = [c for c in entry["cells"] if all(c.get(k) == v for k, v in keys.items())]
    assert found, keys
    return found


def test_the_claim_holds_where_it_is_right(entry):
    assert entry["verdict"] == "holds"
    assert entry["negative_control"]["rejected"]
    judged_cells = [c for c in entry["cells"] if c["verdict"] != "finding"]
    assert len(judged_cells) == 3 * len(SIZE.shares) * SIZE.generations
    assert all("against" in c["quantity"] for c in judged_cells)


FELL = {"own": "gap", "excess": "bounded_excess", "kl": "excess_nll"}
"""Judged quantities, and the array that makes them."""


@pytest.mark.parametrize("kind", FELL)
def test_what_does_not_fall_with_n_is_missed_not_violated(kind):
    found = good(CLAIMS[NAME].experiments(TINY))
    for experiment, arrays in found.items():
        if isinstance(experiment, SizedTransformers) and experiment.size.samples == 64:
            arrays[FELL[kind]] = arrays[FELL[kind]] + 10.0
    entry = judged(found)
    assert entry["verdict"] == "inconclusive"
    missed = [c for c in entry["cells"] if c.get("missed")]
    assert {c["kind"] for c in missed} == {kind}


def test_the_control_is_not_rejected_where_nothing_falls():
    found = good(CLAIMS[NAME].experiments(TINY))
    for experiment, arrays in found.items():
        if isinstance(experiment, SizedTransformers) and experiment.size.samples == 64:
            arrays["gap"] = arrays["gap"] + 10.0
    assert not judged(found)["negative_control"]["rejected"]


@pytest.mark.parametrize("kind", ["excess", "kl"])
def test_the_control_is_not_rejected_where_there_is_no_floor(kind):
    found = good(CLAIMS[NAME].experiments(TINY))
    for experiment, arrays in found.items():
        if isinstance(experiment, SizedTransformers):
            runs, length = arrays[FELL[kind]].shape
            arrays[FELL[kind]] = around(np.full(length, 0.1 / experiment.size.samples), runs, 3)
    entry = judged(found)
    assert entry["verdict"] == "holds"
    assert not entry["negative_control"]["rejected"]
    stands = {own["family"] for own in entry["negative_control"]["families"] if not own["rejected"]}
    assert stands == {f"{kind}, alpha = {share:g}" for share in SIZE.shares}


def test_exponents_are_those_of_the_curves(entry):
    for cell in [c for c in of(entry, kind="own") if "curve" in c]:
        assert cell["measured"] == pytest.approx(-1.0, abs=0.02)
        assert cell["bound"] == pytest.approx(-0.5)  # eps falls like 1/N above its floor
        assert cell["low"] <= cell["measured"] <= cell["high"]
    assert all(
        -0.5 < c["measured"] < 0 for c in entry["cells"] if "curve" in c and c["kind"] == "kl"
    )


def test_a_mean_without_a_logarithm_leaves_its_exponent_open():
    found = good(CLAIMS[NAME].experiments(TINY))
    for experiment, arrays in found.items():
        if isinstance(experiment, SizedTransformers) and experiment.size.samples == 64:
            arrays["gap"][:, 1] *= -1
    cells = of(judged(found), kind="gap", generation=1)
    (exponent,) = [c for c in cells if "curve" in c]
    assert exponent["measured"] is None


def test_the_law_of_the_error_is_recovered(entry):
    known = {c["name"]: c["value"] for c in entry["constants"]}
    words = "eps(N) = floor + c N^-a, whole prompts"
    assert known[f"floor of {words}"]["fitted"] == pytest.approx(0.1, rel=0.1)
    assert known[f"a of {words}"]["fitted"] > 0.7
    assert known["b, n = 16"] == pytest.approx(5.0, rel=0.05)
    assert known["kappa, n = 64"] == pytest.approx(3.0, rel=0.05)
    assert known["kappa_c, n = 64"] == pytest.approx(1.2, rel=0.01)


def test_formulas_are_those_of_the_measured_constants(entry):
    known = {c["name"]: c["value"] for c in entry["constants"]}
    own = of(entry, kind="own", verdict="finding")
    for cell in [c for c in entry["cells"] if "formulas" in c]:
        n, i, alpha = cell["n"], cell["generation"], cell["alpha"]
        drawn = cell["formulas"]
        expected = bounds.expected_gap(
            n,
            alpha,
            i,
            M=1.0,
            b=cell["influence"],
            kappa=known[f"kappa_c, n = {n}"],
            discrepancy=1 / n if i else 0.0,
        )
        assert drawn["mean"]["total"] == pytest.approx(float(expected.total), rel=1e-6)
        (beside,) = [c for c in own if (c["n"], c["generation"]) == (n, i)]
        assert beside["bound"] == pytest.approx(float(expected.stability))
        assert beside["measured"] == pytest.approx(2 / n * (1 + 0.1 * i), rel=0.05)
        assert cell["influence"] == pytest.approx(2.0, rel=1e-6)
        assert drawn["certificate"]["vacuous"] == (drawn["certificate"]["total"] > 1)
        # 2M + 2b instead of M + 2b, for what is realised
        if i:
            ratio = drawn["realised"]["fluctuation"] / drawn["certificate"]["fluctuation"]
            b = known[f"b, n = {n}"]
            assert ratio == pytest.approx((2 + 2 * b) / (1 + 2 * b))


def test_what_a_generation_owes_to_its_own_training_set_is_the_gap_less_its_shift():
    experiment = convergence._sized(SIZE, "fixed", 16, 4.0)
    assert experiment.size.share == 0.2
    found = good([experiment])
    evidence = Evidence(TINY, experiments=found)
    gap, shift = (found[experiment][name] for name in ("gap", "shift"))
    own = convergence._each(evidence, experiment, "own")
    np.testing.assert_allclose(own, gap - 0.8 * shift)


def test_regret_is_over_the_best_amount():
    values = np.array([[2.0, 1.0, 4.0], [4.0, 1.0, 5.0], [3.0, 1.0, 6.0]])
    assert convergence._regret(values, 2, "kl").mean() == pytest.approx(5.0)
    assert convergence._regret(values, 1, "kl").mean() == pytest.approx(1.0)
    assert convergence._regret(values, 2, "gap").mean() == pytest.approx(4.0)


# --- how much synthetic data ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def optimum():
    claim = CLAIMS["transformer_synthetic_size"]
    assert claim.finding
    return claim.judge(Evidence(TINY, experiments=good(claim.experiments(TINY))))


def test_regret_is_that_of_the_amount_tried_nearest_to_the_recommended_one(optimum):
    regrets = [c for c in optimum.cells if "prediction" in c.keys]
    assert len(regrets) == 2 * 3 * 2 * 2  # worlds, objectives, generations, laws
    for cell in regrets:
        keys = cell.keys
        lams, curve = np.array(keys["lams"]), np.array(keys["curve"])
        at = int(np.abs(np.log1p(lams) - np.log1p(keys["prediction"]["lam"])).argmin())
        assert keys["best"] == lams[curve.argmin()]
        expected = curve[at] / curve.min()
        if keys["objective"] == "gap":
            expected = curve[at] - curve.min()
        assert cell.measured.mean() == pytest.approx(expected, rel=0.02, abs=1e-9)
        assert keys["alpha"] == pytest.approx(1 / (1 + lams[at]))


def test_recommendations_are_certified_minima(optimum):
    for cell in [c for c in optimum.cells if "prediction" in c.keys]:
        found = cell.keys["prediction"]
        assert found["low"] <= found["high"]
        assert found["lower_bound"] <= found["value"] <= min(found["curve"]) * (1 + 1e-9)
        assert 0 <= found["lam"] <= max(cell.keys["lams"])
        total = np.sum([found["terms"][name] for name in ("shift", "stability")], axis=0)
        np.testing.assert_allclose(found["curve"], total, rtol=1e-4)


def test_the_sign_of_the_effect_is_shown_in_pairs(optimum):
    signs = [c for c in optimum.cells if "less that without" in c.keys["quantity"]]
    assert len(signs) == 2 * 3 * 2 * (len(SIZE.lams) - 1)
    for cell in signs:
        if cell.keys["objective"] != "gap":
            assert cell.measured.mean() > 0  # here more is worse

"""The transformer over sizes: the claim holds where it is right; predictions are recursions."""

from dataclasses import replace
from math import isinf

import numpy as np
import pytest
from synthetic import around

from icl_stl.lab.results import LoopResult
from icl_stl.regimes import Augment, Replace
from icl_stl.studies import Evidence, judge
from icl_stl.studies.cells import jackknifed
from icl_stl.studies.claims import CLAIMS
from icl_stl.studies.convergence import claims as convergence
from icl_stl.studies.convergence.experiments import Distilled
from icl_stl.studies.convergence.loops import products
from icl_stl.studies.plateau.experiments import SingleFits
from icl_stl.studies.presets import PRESETS, ConvergenceSize

G, R = 6, 12
SIZE = ConvergenceSize((16, 400), G, True, (16,), (0, 1, 4), 3, R)
PRESET = replace(
    PRESETS["tiny"],
    training=replace(PRESETS["tiny"].training, steps=5000),
    generations=G,
    replicates=R,
    convergence=SIZE,
)
LABELS, PREFIXES = PRESET.task.context, len(PRESET.task.prefixes)


class World:
    """Loops whose errors are known: with real data a floor and c n^-rate, without also growth."""

    floor, rate, growth, of_real = 0.04, 1.0, 0.1, 0.0

    def squares(self, share, n):
        i = np.arange(G + 1)
        own = self.floor + (0 if isinf(n) else 4 * n**-self.rate)
        return (own**0.5 + i * (self.of_real if share else self.growth)) ** 2

    def arrays(self, share, n, runs=R):
        squares = self.squares(share, n)
        drift = np.repeat(np.sqrt(squares)[:, None] / 2, PREFIXES, axis=1)
        means = {
            "excess_squared_risk": np.repeat(squares[:, None], LABELS, axis=1),
            "excess_nll": squares / 2,
            "drift": drift,
            "own": np.outer(squares, squares) ** 0.5,
            "others": squares / 2,
        }
        size = 0 if isinf(n) else n
        return {
            name: around(mean, runs, [k, size], scale=0.01)
            for k, (name, mean) in enumerate(means.items())
        }

    def evidence(self):
        asked = convergence.converging(PRESET)
        found = {e: self.arrays(share, n) for (share, n), e in asked.items()}
        for e in {
            *CLAIMS["convergence"].experiments(PRESET),
            *convergence.size_experiments(PRESET),
        }:
            if isinstance(e, SingleFits):
                each = np.ones((e.runs, len(e.samples)))
                names = ("excess", "excess_nll", "squared_bias", "variance")
                found[e] = {name: around(each[0], e.runs, k) for k, name in enumerate(names)}
            elif e not in found:
                count = 1 + len(e.n_syns) if isinstance(e, Distilled) else e.generations + 1
                own = self.arrays(e.size.share, e.size.samples)
                found[e] = {name: values[:, :count] for name, values in own.items()}
                found[e]["own"] = own["own"][:, :count, :count]
                for name in ("excess_squared_risk", "excess_nll"):  # more is worse
                    found[e][name] = found[e][name] * (1 + 0.1 * e.size.n_syn / e.size.samples)
        loops = {}
        for regime in (Augment(0.5), Replace()):
            own = self.arrays(regime.share(1), PRESET.samples)
            own["diverged_at"] = np.full((R, G + 1), -1)
            loop = LoopResult(regime, PRESET.samples, own)
            loops[loop.label] = loop
        return Evidence(PRESET, loops, experiments=found)

    def judged(self):
        return judge(CLAIMS["convergence"], self.evidence())


def families(entry):
    return {own["family"]: own["rejected"] for own in entry["negative_control"]["families"]}


def test_the_claim_holds_where_it_is_right():
    entry = World().judged()
    assert entry["verdict"] == "holds"
    assert entry["negative_control"]["rejected"]
    judged = [c for c in entry["cells"] if c["verdict"] != "finding"]
    assert [c["kind"] for c in judged] == ["squared", *["growth"] * 4]
    assert [c["n"] for c in judged[1:]] == [16, 64, 400, "streamed"]
    assert len(families(entry)) == 2 + 4
    (slope,) = [c for c in judged if c["kind"] == "squared"]
    assert slope["n"] == [16, 64, 400]
    assert slope["measured"] == pytest.approx(-1, abs=0.02)


def test_fewer_loops_than_twelve_are_shown_and_not_judged():
    evidence = World().evidence()
    few = replace(PRESET, convergence=replace(SIZE, replicates=11))
    asked = {e: evidence.experiments[e] for e in evidence.experiments}
    for (share, n), e in convergence.converging(few).items():
        asked[e] = {name: a[:11] for name, a in World().arrays(share, n).items()}
    entry = judge(CLAIMS["convergence"], replace(evidence, preset=few, experiments=asked))
    assert entry["verdict"] == "finding"
    assert entry["negative_control"]["families"] == []


def test_sizes_near_the_prompts_that_a_training_sees_are_left_out():
    world = World()
    evidence = world.evidence()
    fewer = replace(PRESET, training=replace(PRESET.training, steps=2499))
    asked = convergence.converging(fewer)
    moved = {e: world.arrays(share, n) for (share, n), e in asked.items()}
    cells, _ = convergence._exponent_cells(replace(evidence, preset=fewer, experiments=moved))
    assert {tuple(cell.keys["n"]) for cell in cells} == {(16, 64)}


@pytest.mark.parametrize(
    ("name", "value", "stands"),
    [
        ("rate", 0.5, {"exponent -1/2"}),
        ("floor", 1e-4, {"without the floor"}),
        ("growth", 0.0, set()),
        ("of_real", 0.1, {f"grows with real data, n = {n}" for n in (16, 64, 400, "streamed")}),
    ],
)
def test_what_is_wrong_is_decided_against_or_its_control_stands(name, value, stands):
    world = World()
    setattr(world, name, value)
    entry = world.judged()
    right = name in ("floor", "of_real")
    assert (entry["verdict"] == "holds") == right
    assert {family for family, count in families(entry).items() if not count} == stands
    assert any(c.get("missed") for c in entry["cells"]) != right


def test_generation_0_of_other_sizes_is_that_of_single_fits():
    entry = World().judged()
    shown = [c for c in entry["cells"] if c.get("drawn") and c["kind"] == "squared"]
    first = {(c["alpha"], c["n"]) for c in shown if c["generation"] == 0}
    single = {n for n in PRESET.fits.samples if n not in (16, 64)}
    assert first >= {(0.5, n) for n in (16, 64, 400, "streamed", *single)}
    assert {c["generation"] for c in shown} == {0, 3, 6}


def test_products_are_mean_products_of_errors_of_a_loop_and_of_others():
    errors = np.random.default_rng(0).standard_normal((5, 3, 40))
    found = products(errors)
    for r in range(5):
        for i in range(3):
            others = np.delete(errors[:, i], r, axis=0).mean(0)
            assert found["others"][r, i] == pytest.approx((errors[r, i] * others).mean())
            for j in range(3):
                expected = (errors[r, i] * errors[r, j]).mean()
                assert found["own"][r, i, j] == pytest.approx(expected)
    errors[2, 1] = np.nan
    left = products(errors)["others"]
    alone = products(np.delete(errors, 2, axis=0))["others"]
    np.testing.assert_allclose(np.delete(left, 2, axis=0)[:, 1], alone[:, 1])
    assert np.isnan(left[2, 1])


# --- how much synthetic data ---------------------------------------------------------------------


def test_what_is_known_of_fits_is_read_off_their_products():
    """Errors of a bias, of real sets and of seeds, all orthogonal; refits that lose o."""
    runs, points, rng = 12, 400, np.random.default_rng(1)
    bias, of_set, of_seed, lost = 0.3, 0.2, 0.5, 0.4
    basis = np.linalg.qr(rng.standard_normal((points, points)))[0].T * points**0.5
    free = iter(basis[1:])
    evidence, n = World().evidence(), 16
    sets = [of_set * next(free) for _ in range(runs)]

    def fit(r):
        return bias * basis[0] + sets[r] + of_seed * next(free)

    def stored(errors):
        return {**World().arrays(0.5, n), **products(np.array(errors))}

    alone = convergence.sweeps(PRESET)["fixed", n][0]
    evidence.experiments[alone].update(stored([[fit(r) for _ in range(4)] for r in range(runs)]))
    for k, experiment in convergence.refits(PRESET, n).items():
        errors = []
        for r in range(runs):
            first, away = fit(r), lost / k * next(free)
            errors.append([first, *(first + away + of_seed * next(free) for _ in range(2))])
        evidence.experiments[experiment].update(stored(errors))
    known = convergence.measured(evidence, n)
    assert known.bias == pytest.approx(bias**2)
    assert known.seedless == pytest.approx(bias**2 + of_set**2)
    assert known.first == pytest.approx(bias**2 + of_set**2 + of_seed**2)
    assert known.refit == pytest.approx([(lost / k) ** 2 for k in convergence.REFITS])
    np.testing.assert_allclose(known.lost(np.array([0.0, 3.0])), [lost, lost / 4])


KNOWN = convergence.Known(0.09, 0.05, 0.02, (0.01, 0.004, 0.0), 0.8)


@pytest.mark.parametrize("world", ["fixed", "fresh"])
@pytest.mark.parametrize("generation", [1, 3])
def test_predictions_are_their_recursions(world, generation):
    """What stays and what is drawn anew, followed from generation to generation."""
    lams = np.array([0.0, 0.5, 3.0])
    found = convergence.predicted(KNOWN, world, lams, generation)
    stays = KNOWN.bias if world == "fresh" else KNOWN.seedless
    for k, lam in enumerate(lams):
        rho, lost = lam / (1 + lam), float(KNOWN.lost(np.array([lam]))[0])
        drawn = (KNOWN.first - stays) / (1 + lam) ** KNOWN.rate
        bias, noise, squares = 0.0, KNOWN.first - stays, KNOWN.first - stays
        for _ in range(generation):
            bias, noise = rho * (bias + lost), rho**2 * noise + drawn
            squares = rho**2 * (squares + lost**2) + drawn
        whole, noise = (KNOWN.first, 0.0) if world == "fixed" else (stays, noise)
        assert found["plateau"][k] == pytest.approx((whole**0.5 + bias) ** 2 + noise)
        assert found["squares"][k] == pytest.approx(stays + squares)
    if world == "fixed":
        assert found["plateau"].argmin() == 0
    assert found["squares"].argmin() > 0


def test_regret_is_over_the_best_amount_and_signs_are_pairs():
    entry = CLAIMS["transformer_synthetic_size"].judge(World().evidence())
    regrets = [c for c in entry.cells if "prediction" in c.keys]
    assert len(regrets) == 2 * 3 * 2 * 2  # worlds, generations, objectives, formulas
    for cell in regrets:
        keys = cell.keys
        at = keys["lams"].index(keys["lam"])
        assert keys["best"] == keys["lams"][int(np.argmin(keys["curve"]))]
        expected = keys["curve"][at] / min(keys["curve"])
        assert cell.measured.mean() == pytest.approx(expected, rel=0.02)
        assert np.argmin(keys["prediction"]) == at
    assert max(cell.measured.mean() for cell in regrets) > 1.05
    signs = [c for c in entry.cells if c.keys.get("kind") == "sign"]
    assert len(signs) == 2 * 3 * 2 * (len(SIZE.lams) - 1)
    for cell in signs:
        (beside,) = {
            tuple(c.keys["curve"])
            for c in regrets
            if all(c.keys[k] == cell.keys[k] for k in ("regime", "generation", "objective"))
        }
        own = beside[SIZE.lams.index(cell.keys["lam"])]
        assert cell.measured.mean() == pytest.approx(own - beside[0])


def test_bias_is_jackknifed_over_loops_and_every_way_counts_its_fits():
    entry = CLAIMS["transformer_synthetic_size"].judge(World().evidence())
    parts = [
        [c.measured.mean() for c in entry.cells if c.keys.get("kind") == kind]
        for kind in ("bias", "variance")
    ]
    assert len(parts[0]) == len(parts[1]) == 2 * 3 * len(SIZE.lams)
    assert np.all(np.array(parts[0]) > 0)

    evidence, errors = World().evidence(), np.random.default_rng(2).standard_normal((R, 4, 50)) + 1
    loops = convergence.sweeps(PRESET)["fixed", 16][4]
    evidence.experiments[loops].update(products(errors))

    def squared_bias(kept):
        own = errors[kept, 2]
        return ((own.sum(0) ** 2 - (own**2).sum(0)) / (len(own) * (len(own) - 1))).mean()

    cells = CLAIMS["transformer_synthetic_size"].judge(evidence).cells
    where = {"kind": "bias", "lam": 4, "generation": 2, "regime": "augment"}
    (bias,) = [c for c in cells if all(c.keys.get(k) == v for k, v in where.items())]
    np.testing.assert_allclose(bias.measured, jackknifed(squared_bias, R))
    ways = {c.keys["way"]: c.keys["fits"] for c in entry.cells if c.keys.get("kind") == "instead"}
    assert ways["one fit"] == ways["a quarter of the steps"] == 1
    assert ways["average of 3 fits"] == 3
    assert ways["distilled from 3 fits, λ = 4"] == 4

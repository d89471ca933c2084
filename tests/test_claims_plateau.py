"""Claims about the error with a constant share of real data, judged on loops made by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from synthetic import PRESET, M, around, made, paired

from icl_stl.regimes import Augment, Replace
from icl_stl.studies import Evidence, judge
from icl_stl.studies.plateau.claims import (
    CLAIMS,
    FLAT,
    excess_growth,
    fits,
    injected,
    predicted_level,
    upper_constants,
    windows,
)

OWN = {claim.name: claim for claim in CLAIMS}
A, REFIT, R, LAST = 0.1, 0.03, 12, 40
SHARES = {f"augment-{share}": share for share in PRESET.shares}


def curve(share, generations=LAST, first=A, refit=REFIT):
    """x_i of loops that add the same error in every generation."""
    i = np.arange(generations + 1)
    if share == 0:
        return first + refit * i
    return first + (1 - share) / share * refit * (1 - (1 - share) ** i)


def loop(regime, x, scatter=0.01, **others):
    """Loops with this error of generations, times a factor of each loop near 1."""
    factor = around(1.0, R, [7, len(x)], scatter)
    squares = (factor[:, None] * x * around(np.ones(len(x)), R, 11, 0.002)) ** 2
    drift = np.full((R, len(x), 3), 0.2) + 0.01 * factor[:, None, None]
    own = {"excess_squared_risk": np.repeat(squares[..., None], M, axis=2), **others}
    return made(regime, drift, drift, **own)


def divergence(x):
    """Divergences of prefixes that are as the square of the error."""
    factor = around(1.0, R, [9, len(x)], 0.01)
    return factor[:, None, None] * np.asarray(x)[None, :, None] ** 2 * np.array([1.0, 2.0, 4.0])


def evidence(curves=None, generations=LAST, scatter=0.01, **pairs):
    """Loops of all shares and of replace, with these errors of generations."""
    wanted = {share: curve(share, generations) for share in (*SHARES.values(), 0.0)}
    wanted |= curves or {}
    regimes = [*(Augment(share) for share in SHARES.values()), Replace()]
    loops = {}
    for regime in regimes:
        x = wanted[regime.share(1)]
        own = loop(regime, x, scatter, kl=divergence(x), mixture_kl=divergence(x / 2))
        loops[own.label] = own
    squares = {"first": A**2 - 1e-4, "refit": REFIT**2, "mixing": 1e-6, "noise": 1e-4}
    beside = paired(loops, **{**squares, **pairs})
    beside = {k: {n: np.tile(v, (2, 1)) for n, v in own.items()} for k, own in beside.items()}
    sizes = replace(PRESET.convergence, generations=1)
    preset = replace(PRESET, replicates=R, generations=generations, convergence=sizes)
    return Evidence(preset, loops, pairs=beside)


def judged(name, *args, **options):
    return judge(OWN[name], evidence(*args, **options))


def test_the_windows_are_quarters_and_the_lag_leads_from_one_to_the_other():
    assert windows(40) == (slice(16, 26), slice(21, 31), slice(31, 41), 15)
    assert windows(8) == (slice(4, 6), slice(5, 7), slice(7, 9), 3)
    assert windows(3) is None


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_a_constant_injected_error_shows_no_growth_beyond_relaxation(share):
    x, at = curve(share)[None], windows(LAST)
    np.testing.assert_allclose(excess_growth(x, 1 - share, at), 0, atol=1e-15)
    growing = 0.03 * np.arange(LAST + 1.0)
    faster = [A]
    for add in growing[1:]:
        faster.append((1 - share) * faster[-1] + share * A + add)
    assert excess_growth(np.array([faster]), 1 - share, at) > 0


def test_the_injected_error_of_a_mixture_is_that_of_its_ends():
    for share in SHARES.values():
        x = curve(share)[None]
        own = share * A + (1 - share) * REFIT  # of replace: o a generation
        np.testing.assert_allclose(injected(x, 1 - share), own + (1 - share) * 0, rtol=1e-12)
    np.testing.assert_allclose(injected(curve(0)[None], 1.0), REFIT, rtol=1e-12)
    entry = judged("injected_error")
    assert entry["verdict"] == "holds"
    assert entry["negative_control"]["rejected"]
    assert len(entry["negative_control"]["families"]) == 2 * len(SHARES)
    for cell in (cell for cell in entry["cells"] if cell["kind"] == "injected"):
        expected = cell["alpha"] * A + (1 - cell["alpha"]) * REFIT
        bound = expected * (1.1 if "most" in cell["direction"] else 0.9)
        # The two factors of a loop have means of 1, and a product's is off by their covariance.
        together = {"rel": 0.01 * 0.002}
        assert cell["expected"] == pytest.approx(expected, **together)
        assert cell["bound"] == pytest.approx(bound, **together)


@pytest.mark.parametrize("factor", [0.85, 1.15])
def test_an_injected_error_beyond_a_tenth_is_decided_against(factor):
    share = 0.5
    own = factor * (share * A + (1 - share) * REFIT)
    x = [A]
    for _ in range(LAST):
        x.append((1 - share) * x[-1] + own)
    entry = judged("injected_error", {share: np.array(x)})
    assert entry["verdict"] == "inconclusive"  # no theorem
    (missed,) = [cell for cell in entry["cells"] if cell.get("missed")]
    assert (missed["alpha"], missed["direction"]) == (share, "above" if factor < 1 else "at most")


def test_relaxation_holds_and_its_control_is_replace():
    entry = judged("relaxation")
    assert entry["verdict"] == "holds"
    families = entry["negative_control"]["families"]
    assert len(families) == len(SHARES)
    assert all(own["rejected"] for own in families)


def test_relaxation_misses_an_error_that_grows_and_has_no_control_where_replace_stopped():
    stopped = np.minimum(curve(0), curve(0)[10])
    entry = judged("relaxation", {0.5: curve(0.5) + 0.004 * np.arange(LAST + 1), 0.0: stopped})
    assert [cell.get("missed", False) for cell in entry["cells"]] == [False, True]
    assert entry["negative_control"]["families"] == []
    assert not entry["negative_control"]["rejected"]


def test_a_plateau_holds_and_replace_has_none():
    entry = judged("plateau")
    assert entry["verdict"] == "holds"
    assert entry["negative_control"]["rejected"]
    assert {cell["kind"] for cell in entry["cells"]} == {"error", "kl", "mixture_kl"}
    tolerances = [cell["tolerance"] for cell in entry["cells"] if cell["kind"] == "error"]
    levels = [A + (1 - share) / share * REFIT for share in SHARES.values()]
    expected = [min(FLAT, 0.15 * level) for level in levels]
    np.testing.assert_allclose(tolerances, expected, rtol=1e-3)


@pytest.mark.parametrize("kind", ["error", "kl", "mixture_kl"])
def test_a_plateau_that_is_none_is_decided_against(kind):
    found = evidence()
    result = found.loops["augment-0.5"]
    late = np.where(np.arange(LAST + 1) > 30, 1.6, 1.0)
    if kind == "error":
        result.observations["excess_squared_risk"] *= late[:, None] ** 2
    else:
        result.observations[kind] *= late[:, None]
    entry = judge(OWN["plateau"], found)
    assert entry["verdict"] == "inconclusive"
    missed = [cell for cell in entry["cells"] if cell.get("missed")]
    assert {(cell["kind"], cell["alpha"]) for cell in missed} == {(kind, 0.5)}


@pytest.mark.parametrize("name", ["relaxation", "plateau"])
def test_few_generations_are_shown_and_not_judged(name):
    entry = judged(name, generations=8)
    assert entry["verdict"] == "finding"
    assert {cell["verdict"] for cell in entry["cells"]} == {"finding"}
    assert entry["negative_control"]["what"] == ""
    assert judged(name, generations=3)["cells"] == []


def test_the_level_is_bounded_by_the_upper_limits():
    found = evidence()
    entry = judge(OWN["plateau_level"], found)
    assert entry["verdict"] == "holds"
    cells = {cell["alpha"]: cell for cell in entry["cells"] if cell["kind"] == "level"}
    t = stats.t.ppf(1 - 0.05 / 10, R - 1)
    for label, share in SHARES.items():
        names = {"a": "first", "s_0": "first_noise", "o": "refit", "q": "mixing", "s": "noise"}
        squares = {symbol: found.pairs[label][name] for symbol, name in names.items()}
        upper = {
            symbol: np.sqrt((own.mean(0) + t * own.std(0, ddof=1) / R**0.5).max())
            for symbol, own in squares.items()
        }
        assert upper_constants(found.pairs[label]) == pytest.approx(upper)
        distance = upper["s_0"]
        for _ in range(LAST):
            bias = (1 - share) * (distance + upper["o"]) + upper["q"]
            distance = np.hypot(bias, upper["s"])
        assert cells[share]["bound"] == pytest.approx((upper["a"] + distance) ** 2)
        assert cells[share]["measured"] == pytest.approx(np.mean(curve(share)[-1] ** 2), rel=1e-3)
        known = {c["name"]: c["value"] for c in entry["constants"]}
        assert known[f"o, {label}"]["upper"] == pytest.approx(upper["o"])
        assert known[f"o, {label}"]["by_place"] == pytest.approx([REFIT, REFIT], rel=1e-6)


def test_a_level_above_the_bound_violates_and_one_that_does_not_rise_keeps_the_control():
    high = np.concatenate([[A], 2.5 * curve(0.5)[1:]])
    entry = judged("plateau_level", {0.5: high})
    assert [c["alpha"] for c in entry["cells"] if c.get("missed")] == [0.5]
    assert judged("plateau_level")["negative_control"]["rejected"]
    flat = {share: np.full(LAST + 1, A) for share in SHARES.values()}
    assert not judged("plateau_level", flat)["negative_control"]["rejected"]


def in_squares(share, i, first=A, refit=REFIT, noise=0.01):
    """x_i of refit errors that point anywhere, each term written out."""
    rho = 1 - share
    added = sum(rho ** (2 * k) for k in range(i)) * (rho**2 * refit**2 + noise**2)
    return np.sqrt(first**2 - noise**2 * (1 - rho ** (2 * i)) + added)


def test_predictions_have_no_free_parameter_and_are_right_where_they_should_be():
    found = evidence()
    for label, share in SHARES.items():
        straight, squares = predicted_level(found.loops[label], found.pairs[label], slice(None))
        np.testing.assert_allclose(straight, curve(share), rtol=2e-3)
        expected = [in_squares(share, i) for i in range(LAST + 1)]
        np.testing.assert_allclose(squares, expected, rtol=2e-3)
    cells = [c for c in judge(OWN["plateau_level"], found)["cells"] if c["kind"] == "straight"]
    assert len(cells) == len(SHARES) * LAST
    assert {cell["verdict"] for cell in cells} == {"finding"}
    np.testing.assert_allclose([cell["measured"] for cell in cells], 1, rtol=2e-3)
    later = {0.5: np.array([in_squares(0.5, i) for i in range(LAST + 1)])}
    entry = judged("plateau_level", later)
    own = [c["measured"] for c in entry["cells"] if c["kind"] == "squares" if c["alpha"] == 0.5]
    np.testing.assert_allclose(own, 1, rtol=2e-3)


def test_injected_squares_are_a_mixture_where_errors_add_in_squares():
    """With (1 - ρ²) and ρ² of what the ends inject, where first and later noises are alike."""
    curves = {s: np.array([in_squares(s, i) for i in range(LAST + 1)]) for s in SHARES.values()}
    curves[0.0] = np.array([in_squares(0.0, i) for i in range(LAST + 1)])
    entry = judged("injected_error", curves)
    shown = [c["measured"] for c in entry["cells"] if c["kind"] == "squares"]
    np.testing.assert_allclose(shown, 1, rtol=5e-3)
    shown = [c["measured"] for c in judged("injected_error")["cells"] if c["kind"] == "squares"]
    assert max(abs(np.array(shown) - 1)) > 0.1


def test_the_parts_of_one_fit_are_shown_by_size_and_without_limit():
    asked = fits(PRESET)
    assert set(asked) == {"n", "streamed"}
    training = asked["streamed"].problem.training
    assert asked["streamed"].samples == (training.steps * training.batch,)
    runs = PRESET.fits.runs
    arrays = {
        experiment: {
            name: around(np.full(len(experiment.samples), value), runs, [3, k])
            for k, (name, value) in enumerate(
                {"excess": 0.03, "squared_bias": 0.01, "variance": 0.02, "excess_nll": 0.1}.items()
            )
        }
        for experiment in asked.values()
    }
    entry = judge(OWN["error_parts"], Evidence(PRESET, experiments=arrays))
    assert entry["verdict"] == "finding"
    assert len(entry["cells"]) == 4 * (len(PRESET.fits.samples) + 1)
    shown = {(c["kind"], c.get("n"), c.get("fits")): c["measured"] for c in entry["cells"]}
    assert shown["variance", 4000, None] == pytest.approx(0.02)
    assert shown["excess", None, "streamed"] == pytest.approx(0.03)

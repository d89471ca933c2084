"""Section 29: smoothed resampling, loops of the package against their exact laws.

40,000 loops each, all cells in one Holm family at 5 %; each family has a wrong formula that the
same loops must reject.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import stored
from check_references import PRECISION, Cell, quick_compilation  # noqa: F401

from icl_stl import devices, references
from icl_stl.lab import solvable
from icl_stl.loops import self_consume
from icl_stl.problems import Kde, expected_excess, expected_quality
from icl_stl.regimes import (
    AccumulateFresh,
    AccumulateSubsample,
    Augment,
    FreshReal,
    Replace,
    mixing_weights,
)

N, LAST, SHOWN, RUNS = 16, 4, (1, 2, 4), 40_000
PROBLEM = Kde(bandwidth=0.5)
H = PROBLEM.bandwidth
REGIMES = Replace(), Augment(0.5), Augment(0.5, 0.2), FreshReal(2.0), AccumulateFresh()
REGIMES += (AccumulateSubsample(),)
FREQUENCY = 1.0


def seen_in(regime, seed):
    """Numbers of loops by name, `[runs, G + 1]`."""

    def observe(truth, held_out, key, generation):
        law = generation.params
        cosine = law.weights @ jnp.cos(FREQUENCY * law.rows) * np.exp(-((FREQUENCY * H) ** 2) / 2)
        numbers = PROBLEM.quality(truth, law)
        return {**numbers, "excess": PROBLEM.excess(truth, law), "cosine": cosine}

    def run(_, key):
        return solvable.loop(PROBLEM, regime, N, LAST, key, observe)

    found = devices.many(run, None, RUNS, seed=seed, batch=4000)
    return {name: np.asarray(values, np.float64) for name, values in found.items()}


@pytest.fixture(scope="module")
def loops():
    return {regime: seen_in(regime, seed) for seed, regime in enumerate(REGIMES)}


def judged(ledger, families):
    """All cells fit in one Holm family, and every family's wrong cells do not."""
    cells = [cell for own, _ in families.values() for cell in own]
    assert not any(stored.holm_rejects([cell.p_value for cell in cells]))
    for name, (own, wrong) in families.items():
        rejected = any(stored.holm_rejects([cell.p_value for cell in wrong]))
        ledger.record(name, "holds", f"|z| <= {max(abs(c.z) for c in own):.1f}", rejected)


def of_law(regime, problem):
    of = problem, regime, N, LAST
    return {"excess": expected_excess(*of), **expected_quality(*of)}


@pytest.mark.usefixtures("quick_compilation")
def test_loops_have_their_moments(ledger, loops) -> None:
    """Mean, variance, third and fourth moment; control: the bandwidth a third smaller."""
    made = {}
    for regime, seen in loops.items():
        laws = [of_law(regime, replace(PROBLEM, bandwidth=h)) for h in (H, H / 1.5)]
        families = [
            [Cell(seen[k][:, i], float(law[k][i])) for k in ("excess", "variance") for i in SHOWN]
            for law in laws
        ]
        assert max(cell.precision for cell in families[0]) <= PRECISION
        made[f"137 {regime}; control: h/1.5"] = families
    judged(ledger, made)


@pytest.mark.usefixtures("quick_compilation")
def test_mean_laws_by_their_characteristic_function(ledger, loops) -> None:
    """Whatever n is; control: every row smoothed as often as without real rows, or once."""
    shares, means, own = PROBLEM.components
    real = np.exp(-((own * FREQUENCY) ** 2) / 2) * (np.cos(FREQUENCY * np.array(means)) @ shares)
    smoothed = real * np.exp(-np.arange(LAST + 2) * (FREQUENCY * H) ** 2 / 2)
    made = {}
    for regime, seen in loops.items():
        known = references.resampled_mixture(mixing_weights(regime, N, LAST)) @ smoothed
        wrong = smoothed[1:] if regime.share(1) else np.full(LAST + 1, smoothed[1])
        laws = known, wrong
        form = expected_quality(PROBLEM, regime, N, LAST)
        cells = [[Cell(seen["cosine"][:, i], float(law[i])) for i in SHOWN] for law in laws]
        more = "third_moment", "fourth_moment", "precision"
        cells[0] += [Cell(seen[k][:, i], float(form[k][i])) for k in more for i in SHOWN]
        made[f"136, 138 {regime}; control: another mixture"] = cells
    judged(ledger, made)


@pytest.mark.usefixtures("quick_compilation")
def test_hermite_modes_of_loops(ledger, loops) -> None:
    """Orders 3 and 4 without real rows; control: the exponent of the other."""
    seen, real = loops[Replace()], PROBLEM.known(0)
    smoothings = np.arange(1, LAST + 2)
    square, second = 1 + smoothings * H**2, seen["variance"] + seen["excess"]
    values = {
        3: seen["third_moment"] / square**1.5,
        4: seen["fourth_moment"] / square**2 - 6 * second / square + 3,
    }
    first = {3: real["third"], 4: real["fourth"] - 3}
    left = {k: first[k] * references.hermite_mode(k, smoothings, H, 1.0) for k in values}
    other = {k: first[k] * references.hermite_mode(7 - k, smoothings, H, 1.0) for k in values}
    families = {
        f"139 mode {k}; control: exponent of mode {7 - k}": [
            [Cell(values[k][:, i], float(law[k][i])) for i in SHOWN] for law in (left, other)
        ]
        for k in values
    }
    judged(ledger, families)


@pytest.mark.usefixtures("quick_compilation")
def test_given_the_real_rows_their_law_stays(ledger) -> None:
    """One real set, many loops: its mean, and its third central moment; control: those of p."""
    rows = PROBLEM.draw(jax.random.key(8), (), N)

    def run(_, key):
        def observe(key, generation):
            law = generation.params
            apart = law.rows - rows.mean()
            return law.weights @ law.rows, law.weights @ (apart**3 + 3 * H**2 * apart)

        how = {"regime": Augment(0.5), "observe": observe}
        return self_consume(key, PROBLEM.learner, rows, LAST, **how)

    mean, third = devices.many(run, None, RUNS, seed=9, batch=4000)
    x = np.asarray(rows, np.float64)
    known = x.mean(), ((x - x.mean()) ** 3).mean()
    of_p = 0.0, float(PROBLEM.known(0)["third"])
    cells, wrong = (
        [
            Cell(np.asarray(v[:, i], np.float64), one)
            for v, one in zip((mean, third), law, strict=True)
            for i in SHOWN
        ]
        for law in (known, of_p)
    )
    judged(ledger, {"140 fixed real rows; control: the moments of p": [cells, wrong]})


def test_a_bandwidth_in_units_of_the_fit_has_no_balance(ledger) -> None:
    """Above 1/(m - 1) it explodes, below it collapses; a fixed h tends to m h^2 from both sides."""
    m, last = 10, 4000
    for factor, grows in ((1.1, True), (0.9, False)):
        widening = 1 + factor / (m - 1)
        path = references.covariance_augment([[1.0]], m, m, last, 0.0, widening=widening)
        ratio = path.covariance[-1, 0, 0] / path.covariance[0, 0, 0]
        assert (ratio > 1e3) if grows else (ratio < 1e-3)
    ends = [
        references.resampled_mean_variance(m, m, noise, last, H, 0.0).variance[-1]
        for noise in (0.01, 10.0)
    ]
    assert ends == pytest.approx([m * H**2] * 2)
    ledger.record("141 in units of the fit; control: a fixed bandwidth", "holds", m * H**2, True)

"""The transformer over sizes: committed cells with their formulas computed anew, and controls.

Nothing of the package is used: the formulas are written out. Their constants are measured, so that
they bound nothing.
"""

import math

import numpy as np
import pytest
import stored
from stored import influence, objective

CLAIM = "transformer_convergence"


def cells() -> list[dict]:
    return stored.claim(CLAIM)["cells"]


def constants(claim: str) -> dict:
    return {entry["name"]: entry["value"] for entry in stored.claim(claim)["constants"]}


def stability(n: int, alpha: float, i: int, b: float, kappa: float) -> float:
    if i == 0:
        return b / n
    return b * alpha * (influence(alpha, kappa, i)[0] + 1 - alpha) / n


def test_formulas_are_those_of_their_constants(ledger) -> None:
    """By parts, written out; a real row that counts 1/n instead of 1/N must not give them."""
    known, told_apart = constants(CLAIM), True
    own = {
        (c["alpha"], c["n"], c["generation"]): c
        for c in cells()
        if c["kind"] == "own" and not isinstance(c["n"], list) and c["verdict"] == "finding"
    }
    for cell in [c for c in cells() if "formulas" in c]:
        n, alpha, i, drawn = cell["n"], cell["alpha"], cell["generation"], cell["formulas"]
        b, kappa, kappa_c = (known[f"{name}, n = {n}"] for name in ("b", "kappa", "kappa_c"))
        mean, risk = drawn["mean"], drawn["risk"]
        part = stability(n, alpha, i, cell["influence"], kappa_c)
        assert mean["stability"] == pytest.approx(part, rel=1e-6)
        assert mean["total"] == pytest.approx(mean["shift"] + part, rel=1e-6)
        assert mean["fluctuation"] == 0
        assert own[alpha, n, i]["bound"] == pytest.approx(part, rel=1e-6)
        shift = (1 - alpha) * cell["drift"] if i else 0.0
        assert risk["total"] == pytest.approx(2 * shift + part, rel=1e-6)
        if i:
            spurious = cell["influence"] * (influence(alpha, kappa_c, i)[0] + 1 - alpha) / n
            told_apart &= mean["stability"] != pytest.approx(spurious, rel=0.1)
        variance = 1.0 if i == 0 else influence(alpha, kappa, i)[1]
        for kind, loss in (("certificate", 1.0), ("realised", 2.0 if i else 1.0)):
            one = drawn[kind]
            fluctuation = (loss + 2 * b) * math.sqrt(math.log(20) * variance / (2 * n))
            assert one["fluctuation"] == pytest.approx(fluctuation, rel=1e-6)
            assert one["stability"] == pytest.approx(stability(n, alpha, i, b, kappa), rel=1e-6)
            assert one["vacuous"] == (one["total"] > 1)
        assert drawn["certificate"]["shift"] == pytest.approx(shift, rel=1e-6)
    least = min(c["formulas"]["certificate"]["total"] for c in cells() if "formulas" in c)
    ledger.record(
        f"claim {CLAIM}: formulas by parts, constants measured",
        "as written out",
        f"least {least:.2g}",
        told_apart,
    )


def test_the_gap_is_its_own_part_and_its_shift(ledger) -> None:
    """In every cell of the means; with the shift of the sign exchanged it is not."""
    found = {
        kind: [
            c
            for c in cells()
            if c["kind"] == kind and not isinstance(c["n"], list) and c["verdict"] == "finding"
        ]
        for kind in ("gap", "own")
    }
    exchanged = []
    for gap, own in zip(found["gap"], found["own"], strict=True):
        assert gap["measured"] == pytest.approx(own["measured"] + gap["shift"], abs=1e-9)
        exchanged.append(abs(gap["measured"] - own["measured"] + gap["shift"]))
    negative = sum(gap["high"] < 0 for gap in found["gap"])
    ledger.record(
        f"claim {CLAIM}: gap by parts",
        f"below 0 in {negative} of {len(exchanged)}",
        max(exchanged),
        max(exchanged) > 1e-3,
    )


def test_exponents_are_those_of_the_curves(ledger) -> None:
    for cell in [c for c in cells() if isinstance(c["n"], list)]:
        if cell["measured"] is None:  # without one of the loops a mean is not positive
            continue
        slope = np.polyfit(np.log(cell["n"]), np.log(cell["curve"]), 1)[0]
        # The jackknife takes the bias out; it may move within the interval.
        assert cell["low"] <= slope <= cell["high"]
    for cell in [c for c in cells() if isinstance(c["n"], list)]:
        assert len(cell["curve"]) == len(cell["n"])
    rate = constants(CLAIM)["a of eps(N) = floor + c N^-a, whole prompts"]["fitted"]
    own = [c for c in cells() if c["kind"] == "own" and isinstance(c["n"], list)]
    assert all(c["bound"] == pytest.approx(-min(rate, 0.5)) for c in own)
    fast = [c["measured"] < c["bound"] for c in own if c["measured"] is not None]
    slow = [c["measured"] > c["bound"] for c in cells() if c["kind"] == "excess" and "curve" in c]
    ledger.record(
        f"claim {CLAIM}: exponents of the gap less its shift",
        f"{sum(fast)} of {len(fast)} below -min(a, 1/2)",
        max(c["measured"] for c in own if c["measured"] is not None),
        all(slow),
    )


def test_the_law_is_the_least_squares_one(ledger) -> None:
    """No other law nearby fits the errors of single fits better; a law without floor fits worse."""
    words = "eps(N) = floor + c N^-a, whole prompts"
    entries = {e["name"]: e for e in stored.claim(CLAIM)["constants"]}
    floor, c, a = (entries[f"{name} of {words}"]["value"]["fitted"] for name in ("floor", "c", "a"))
    sizes = np.array(entries[f"floor of {words}"]["sizes"], float)
    errors = np.array(entries[f"floor of {words}"]["errors"])
    assert np.all(np.abs(floor + c * sizes**-a - errors) < 0.1 * errors)
    flat = np.polyfit(np.log(sizes), np.log(errors), 1)
    without = np.exp(np.polyval(flat, np.log(sizes)))
    misfit = [np.sum((one - errors) ** 2) for one in (floor + c * sizes**-a, without)]
    ledger.record(
        f"claim {CLAIM}: law of the one-step error",
        "fits",
        misfit[0] / misfit[1],
        misfit[0] < misfit[1],
    )


# --- what the bounds recommend -------------------------------------------------------------------


@pytest.mark.parametrize("law", ["total variation", "discrepancy"])
def test_recommended_sizes_are_certified_minima(ledger, law) -> None:
    """No ratio up to the largest tried has a smaller bound, on a dense grid; regret is as shown."""
    known = constants("transformer_synthetic_size")
    fitted = {name: known[f"{name} of error, {law}"]["fitted"] for name in ("floor", "c", "a")}
    found = [
        c
        for c in stored.claim("transformer_synthetic_size")["cells"]
        if c.get("predicted_by") == law
    ]
    assert found
    worst, told_apart = 0.0, True
    for cell in found:
        p, n, i = cell["prediction"], cell["n"], cell["generation"]
        world = "fresh" if cell["regime"] == "fresh" else "fixed"
        kind = "gap" if cell["objective"] == "gap" else "risk"
        # A mean is a bound with probability 1e-12: what is left of its fluctuation is some 1e-8.
        given = (n, i, fitted, p["b"], p["kappa"], world, kind, -math.log1p(-1e-12))
        curve = [objective(lam, *given) for lam in cell["lams"]]
        np.testing.assert_allclose(p["curve"], curve, rtol=1e-7)
        dense = [
            objective(lam, *given)
            for lam in np.expm1(np.linspace(0, np.log1p(max(cell["lams"])), 400))
        ]
        at_best = objective(p["lam"], *given)
        assert p["lower_bound"] <= p["value"] <= min(dense) * (1 + 1e-6)
        assert p["value"] == pytest.approx(at_best, rel=1e-6)
        assert p["lower_bound"] == pytest.approx(at_best, rel=1e-5)
        measured = np.array(cell["curve"])
        at = int(np.abs(np.log1p(cell["lams"]) - np.log1p(p["lam"])).argmin())
        if cell["objective"] == "gap":
            regret = measured[at] - measured.min()
        else:
            regret = measured[at] / measured.min()
            worst = max(worst, regret)
        assert cell["low"] <= regret <= cell["high"] or cell["measured"] == pytest.approx(regret)
        assert cell["verdict"] == "finding"
        without_share = [x + p["b"] / n for x in curve]  # a real row counts 1/n, not 1/N
        told_apart &= not np.allclose(without_share, p["curve"], rtol=1e-2)
    ledger.record(
        f"transformer_synthetic_size: formula with {law}",
        "minimum certified, regret measured",
        worst,
        told_apart,
    )

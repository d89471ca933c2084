"""The transformer over sizes: slopes, predictions and regrets of the committed cells, anew.

Nothing of the package is used: formulas are written out. Amounts of synthetic data are varied in
the long run alone.
"""

import json
import math
from functools import cache

import numpy as np
import pytest
import stored

CLAIM, SIZE = "convergence", "transformer_synthetic_size"


@cache
def judged(claim: str) -> list[dict]:
    """The claim in every committed run that has cells of it."""
    files = [stored.FIGURES / "claims.json", stored.FIGURES / "long" / "claims.json"]
    said = [json.loads(f.read_text(encoding="utf-8"))["claims"] for f in files if f.exists()]
    found = [e for entries in said for e in entries if e["name"] == claim and e["cells"]]
    assert found, f"no committed run has cells of {claim}"
    return found


def means(entry: dict, kind: str, alpha: float, generation: int) -> dict:
    """Measured means by n."""
    return {
        c["n"]: c["measured"]
        for c in entry["cells"]
        if c.get("drawn") and (c["kind"], c["alpha"], c["generation"]) == (kind, alpha, generation)
    }


def test_exponents_are_slopes_of_the_means_above_those_without_limit(ledger) -> None:
    """The jackknife moves them within their intervals; without the floor they are flatter."""
    apart, worst = [], 0.0
    for entry in judged(CLAIM):
        last = max(c["generation"] for c in entry["cells"])
        for cell in entry["cells"]:
            i = cell["generation"]
            if "floor" not in cell or cell["measured"] is None or i not in (0, last):
                continue
            by_n = means(entry, cell["kind"], 0.5, i)
            floor = by_n["streamed"] if cell["floor"] == "streamed" else 0.0
            np.testing.assert_allclose([by_n[n] for n in cell["n"]], cell["curve"])
            slope = np.polyfit(np.log(cell["n"]), np.log(np.array(cell["curve"]) - floor), 1)[0]
            assert cell["low"] <= slope <= cell["high"]
            worst = max(worst, abs(slope - cell["measured"]))
            if floor:
                flat = np.polyfit(np.log(cell["n"]), np.log(cell["curve"]), 1)[0]
                apart.append(flat > slope)
    ledger.record(f"claim {CLAIM}: exponents in n", "slopes", worst, bool(apart) and all(apart))


def test_growth_is_that_of_the_roots_of_the_means(ledger) -> None:
    """Up to the spread of loops; growth since generation 0 is another number."""
    told_apart, worst = [], 0.0
    for entry in judged(CLAIM):
        for cell in [c for c in entry["cells"] if c["kind"] == "growth"]:
            last, n = cell["generation"], cell["n"]
            by = [
                math.sqrt(means(entry, "squared", 0.0, i)[n]) for i in sorted({0, last // 2, last})
            ]
            width = cell["high"] - cell["low"]
            assert abs(by[-1] - by[-2] - cell["measured"]) < width
            assert cell["bound"] == pytest.approx(0.1 * by[-2], rel=0.05)
            worst = max(worst, abs(by[-1] - by[-2] - cell["measured"]))
            told_apart.append(abs(by[-1] - by[0] - cell["measured"]) > width)
    if told_apart:
        ledger.record(f"claim {CLAIM}: growth without real data", "roots", worst, any(told_apart))


def predicted(known: dict, world: str, lam: float, i: int, rate: float) -> dict[str, float]:
    """Both formulas, generation by generation."""
    rho = lam / (1 + lam)
    at = np.interp(math.log1p(lam), np.log([1, 4, 16]), known["refit"])
    lost = math.sqrt(max(at, 0.0))
    stays = known["bias"] if world == "fresh" else known["seedless"]
    noise = min(max(known["first"] - stays, 0.0), known["first"])
    drawn, squares, bias, spread = noise / (1 + lam) ** rate, noise, 0.0, noise
    for _ in range(i):
        squares = rho**2 * (squares + lost**2) + drawn
        bias, spread = rho * (bias + lost), rho**2 * spread + drawn
    whole, spread = (known["first"], 0.0) if world == "augment" else (max(stays, 0.0), spread)
    return {
        "squares": known["first"] - noise + squares,
        "plateau": (math.sqrt(whole) + bias) ** 2 + spread,
    }


def test_predicted_amounts_are_those_of_the_measured_constants(ledger) -> None:
    """The best of those tried, its regret, and that noise which does not fall with N says else."""
    worst, told_apart = 0.0, False
    for entry in judged(SIZE):
        constants = {c["name"]: c["value"] for c in entry["constants"]}
        rate = constants["a of the excess squared error"]["fitted"]
        for cell in [c for c in entry["cells"] if "prediction" in c]:
            n, name = cell["n"], cell["predicted_by"]
            parts = ("first", "seedless", "bias", "refit")
            known = {part: constants[f"{part}, n = {n}"] for part in parts}
            curves = [
                [predicted(known, cell["regime"], lam, cell["generation"], r)[name] for lam in lams]
                for lams, r in ((cell["lams"], rate), (cell["lams"], 0.0))
            ]
            np.testing.assert_allclose(cell["prediction"], curves[0], rtol=1e-7)
            at = int(np.argmin(curves[0]))
            assert cell["lam"] == cell["lams"][at]
            measured = np.array(cell["curve"])
            assert cell["best"] == cell["lams"][int(measured.argmin())]
            regret = measured[at] / measured.min()
            inside = cell["low"] <= regret <= cell["high"]
            assert inside or cell["measured"] == pytest.approx(regret)
            worst = max(worst, regret)
            told_apart |= int(np.argmin(curves[1])) != at
    ledger.record(f"claim {SIZE}: predicted amounts", "least of those tried", worst, told_apart)


def test_squared_bias_and_variance_make_the_squared_error(ledger) -> None:
    """On prompts that all loops share; by λ, up to the spread of what is drawn."""
    misses, swapped = [], []
    for entry in judged(SIZE):
        curves = {
            (c["n"], c["regime"], lam): (value, half)
            for c in entry["cells"]
            if "prediction" in c and c["objective"] == "squared" and c["generation"] == 1
            for lam, value, half in zip(c["lams"], c["curve"], c["half_width"], strict=True)
        }
        parts: dict = {}
        for c in entry["cells"]:
            if c.get("kind") in ("bias", "variance") and c["generation"] == 1:
                parts.setdefault((c["n"], c["regime"], c["lam"]), {})[c["kind"]] = c["measured"]
        assert {*parts} == {*curves}
        for where, own in parts.items():
            value, half = curves[where]
            misses.append(abs(own["bias"] + own["variance"] - value) < 3 * half + 0.1 * value)
            swapped.append(abs(own["bias"] - own["variance"]) > 1e-3 * value)
    assert np.mean(misses) > 0.95
    ledger.record(f"claim {SIZE}: bias and variance", "add up", np.mean(misses), all(swapped))

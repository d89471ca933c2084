"""The committed results, read without the package: plain numbers for independent checks."""

import csv
import json
import math
from pathlib import Path

import numpy as np
from scipy import stats

FIGURES = Path(__file__).resolve().parents[1] / "figures"
LEVEL = 0.05
EXACT = 1e-12


def config() -> dict:
    """The configuration of the committed run."""
    return json.loads((FIGURES / "config.json").read_text(encoding="utf-8"))


def claim(name: str) -> dict:
    """A judged claim of the committed run."""
    claims = json.loads((FIGURES / "claims.json").read_text(encoding="utf-8"))["claims"]
    found = [entry for entry in claims if entry["name"] == name]
    assert found, f"figures/claims.json does not judge {name!r}: run the main job into figures"
    return found[0]


def cells(name: str, *words: str, **keys: object) -> list[dict]:
    """The cells of a claim with these keys, whose quantity has these words; at least one."""
    found = [
        cell
        for cell in claim(name)["cells"]
        if all(cell.get(key) == value for key, value in keys.items())
        and all(word in cell.get("quantity", "") for word in words)
    ]
    assert found, f"{name} has no cell with {words}, {keys}"
    return found


def influence(alpha: float, kappa: float, generation: int) -> tuple[float, float]:
    """N chi_i and n V_i: the recursion for the influence, and literal sums."""
    chi, r = 1.0, (1 - alpha) * kappa
    for _ in range(generation):
        chi = alpha + r * chi
    return chi, chi**2 + alpha * (1 - alpha) * sum(r ** (2 * s) for s in range(generation))


def objective(
    lam: float,
    n: int,
    i: int,
    law: dict,
    b: float,
    kappa: float,
    world: str,
    kind: str,
    log: float = math.log(20),
) -> float:
    """The bound at a ratio, drift iterated: shift (twice for the risk), stability, fluctuation."""
    alpha, rho, total = 1 / (1 + lam), lam / (1 + lam), n * (1 + lam)
    drift = law["floor"] + law["c"] * n ** -law["a"]
    for _ in range(1, i):
        drift = law["floor"] + law["c"] * total ** -law["a"] + rho * drift
    (chi, variance), r = influence(alpha, kappa, i), rho * kappa
    stability = b * alpha * (chi + rho) / n
    if world == "fresh":
        stability = b / total
        variance = alpha * sum(r ** (2 * s) for s in range(i)) + r ** (2 * i)
    if kind == "risk":
        return 2 * rho * drift + stability
    return rho * drift + stability + (1 + 2 * b) * math.sqrt(log * variance / (2 * n))


def by_interval(cell: dict) -> str:
    """The verdict that the interval of a cell's margin asks for."""
    low, high, tolerance = cell["margin_low"], cell["margin_high"], cell.get("tolerance", 0.0)
    match cell.get("test", "positive"):
        case "exact":
            return "holds" if cell["margin"] >= -EXACT else "violated"
        case "undecided":
            return "inconclusive"
        case "equal":
            inside, outside = -tolerance < low and high < tolerance, low > tolerance
            outside = outside or high < -tolerance
        case _:  # a margin that must be positive, or a rate below its tolerance
            inside, outside = low > 0, high < 0
    return "holds" if inside else "violated" if outside else "inconclusive"


def series(regime: str, column: str) -> np.ndarray:
    """One column of one regime: `[replicate, generation]`."""
    with (FIGURES / "loops.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["regime"] == regime]
    table: dict[int, dict[int, float]] = {}
    for row in rows:
        table.setdefault(int(row["replicate"]), {})[int(row["generation"])] = float(row[column])
    return np.array([[by[i] for i in sorted(by)] for _, by in sorted(table.items())])


def prefixes() -> list[int]:
    """Prefix lengths: powers of two below the context length, and the whole prompt."""
    context = config()["preset"]["task"]["context"]
    return [k for k in (2**p for p in range(20)) if k < context] + [context]


def share(regime: str) -> float:
    """The share of real prompts that a label such as `augment-0.5` stands for."""
    plain = {"replace": 0.0, "real-only": 1.0}
    return plain[regime] if regime in plain else float(regime.removeprefix("augment-"))


def p_below_zero(values: np.ndarray) -> float:
    """P-value of Student's test against "the mean is at least 0"."""
    return float(stats.ttest_1samp(values, 0.0, alternative="less").pvalue)


def p_above_zero(values: np.ndarray) -> float:
    """P-value of Student's test against "the mean is at most 0"."""
    return float(stats.ttest_1samp(values, 0.0, alternative="greater").pvalue)


def holm_rejects(p_values: list[float]) -> list[bool]:
    """Holm's step-down, by the letter."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    rejected = [False] * len(p_values)
    for rank, index in enumerate(order):
        if p_values[index] > LEVEL / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected

"""The committed results, read without the package: plain numbers for independent checks."""

import csv
import json
from pathlib import Path

import numpy as np
from scipy import stats

FIGURES = Path(__file__).resolve().parents[1] / "figures"
LEVEL = 0.05


def config() -> dict:
    """The configuration of the committed run."""
    return json.loads((FIGURES / "config.json").read_text(encoding="utf-8"))


def claim(name: str) -> dict:
    """A judged claim of the committed run."""
    claims = json.loads((FIGURES / "claims.json").read_text(encoding="utf-8"))["claims"]
    return next(entry for entry in claims if entry["name"] == name)


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

"""Claims about laws on symbols: the committed entries, with every formula typed again."""

import math

import numpy as np
import pytest
import stored
from scipy import stats
from stored import cells as cells_of

LAW = np.array([0.2, 0.15, *(0.1,) * 5, *(0.05,) * 3])
RARE, ALIKE = 0.01, 0.02


def errors(cell: dict, *, fresh: bool, unmoved: bool = False) -> list[float]:
    """V_i by the recursion in the fitted law itself, real rows new or the same."""
    n, m, w, h = cell["n"], cell["n_syn"], cell["alpha"], 1 - LAW @ LAW
    found, among = [h / n], 0.0  # among: E |p_i - p_0|^2 beside the same real rows
    for _ in range(20):
        left = h if unmoved else h - found[-1]
        if fresh:
            found.append(w**2 * h / n + (1 - w) ** 2 * (found[-1] + left / m))
        else:
            among = (1 - w) ** 2 * (among + (h - h / n - among) / m)
            found.append(h / n + among)
    return found


def test_symbols_real_rows(ledger) -> None:
    cells = cells_of("symbols_real_rows", kind="error")
    ratios, rejected = [], []
    for cell in cells:
        fresh = cell["regime"] == "fresh"
        known, other = errors(cell, fresh=fresh), errors(cell, fresh=not fresh)
        i = cell["generation"]
        assert cell["bound"] == pytest.approx(known[i], rel=1e-9)
        assert cell["low"] < known[i] < cell["high"] or abs(cell["measured"] / known[i] - 1) < 0.05
        ratios.append(abs(cell["measured"] / known[i] - 1))
        if i == 20:
            rejected.append(not cell["low"] < other[i] < cell["high"])
            np.testing.assert_allclose(cell["exact"], known, rtol=1e-9)
    assert len(cells) == 2 * 4 * 5
    for cell in cells_of("symbols_real_rows", kind="left"):
        n, m, w = cell["n"], cell["n_syn"], cell["alpha"]
        left = 0.0
        for p in LAW:
            real = stats.binom.pmf(np.arange(n + 1), n, p)
            if cell["regime"] == "fixed":
                left += 1 - real[0]
                continue
            shares = w * np.arange(n + 1)[:, None] / n + (1 - w) * np.arange(m + 1) / m
            step = np.einsum(
                "a,akj->kj", real, stats.binom.pmf(np.arange(m + 1), m, shares[..., None])
            )
            law = real @ stats.binom.pmf(np.arange(m + 1)[None], m, np.arange(n + 1)[:, None] / n)
            law = law @ np.linalg.matrix_power(step, 19)
            left += 1 - real[0] * law[0]
        assert cell["bound"] == pytest.approx(left, rel=1e-9)
    claim = stored.claim("symbols_real_rows")
    words = f"{max(ratios):.2%} off"
    rejected.append(claim["negative_control"]["rejected"])
    ledger.record("claim symbols_real_rows: laws by hand", claim["verdict"], words, all(rejected))


def test_absorption(ledger) -> None:
    g = [1.0]
    for _ in range(9):
        g.append(1 - math.exp(-g[-1]))
    rejected, ratios = [], []
    for name, p, n in (("rare symbol", RARE, 200), ("symbols alike", ALIKE, 100)):
        law = stats.binom.pmf(np.arange(n + 1), n, p)
        step = stats.binom.pmf(np.arange(n + 1)[None], n, np.arange(n + 1)[:, None] / n)
        chance = []
        for _ in range(9):
            chance.append(1 - law[0] - (law[-1] if name == "rare symbol" else 0))
            law = law @ step
        for cell in cells_of("absorption", loop=name):
            i, k = cell["generation"], cell["generation"] + 1
            gone = math.exp(-n * p * g[i])
            low, high = 1 - gone, 1 - (1 - 3 * n * p**2 - 3 * k * p) * gone
            ends = {"left": ("bound", chance[i]), "low": ("measured", low), "high": ("bound", high)}
            key, known = ends[cell["kind"]]
            assert cell[key] == pytest.approx(min(known, 1.0), rel=1e-6)
            if cell["kind"] == "left" and i:
                ratios.append(abs(cell["measured"] / chance[i] - 1))
                assert ratios[-1] < 0.05
                rejected.append(not cell["low"] < chance[0] ** k < cell["high"])
    claim = stored.claim("absorption")
    rejected.append(claim["negative_control"]["rejected"])
    words = f"{max(ratios):.2%} off"
    ledger.record("claim absorption: chains by hand", claim["verdict"], words, all(rejected))

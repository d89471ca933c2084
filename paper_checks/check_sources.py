"""Section 23: rows of hidden sources, everything kept, and shares that change.

Loops of symbols are simulated here, from counts alone; of means and of fixed real sets they are the
package's. Each closed form has a wrong one that the same loops must reject.
"""

import math

import numpy as np
import pytest
import stored
from scipy import stats

from icl_stl import bounds, references
from icl_stl.lab.experiments import Loops
from icl_stl.lab.solvable import run_experiment
from icl_stl.problems import Categorical, GaussianMean
from icl_stl.regimes import Hidden, Varying

RUNS = 40_000
LAW = np.array([0.35, 0.3, 0.2, 0.15])
H = 1 - LAW @ LAW


def nearest_laws(points: np.ndarray) -> np.ndarray:
    """The law nearest to each row, by bisection of what is taken off."""
    low, high = points.min(1) - 1, points.max(1)
    for _ in range(60):
        middle = (low + high) / 2
        above = np.maximum(points - middle[:, None], 0).sum(1) > 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.maximum(points - high[:, None], 0)


def squares(name: str, sizes, alphas, seed: int, by_lot=True, law=LAW, runs=RUNS) -> np.ndarray:
    """|P_t - p|² of loops of an estimator, or of the `last` stage alone: `[runs, G + 1]`."""
    draws = np.random.default_rng(seed)
    first = draws.multinomial(sizes[0], law, runs) / sizes[0]
    published, raw, worth = first, first, np.full(runs, float(sizes[0]))
    found = [first]
    for n, alpha in zip(sizes[1:], alphas, strict=True):
        count = draws.binomial(n, alpha, runs) if by_lot else np.full(runs, round(alpha * n))
        real = draws.multinomial(count, law)
        made = draws.multinomial(n - count, published)
        new, more = {
            "last": (real + made, 0 * worth + n),
            "pooled": (real + made, n),
            "interpolating": (alpha * (real + made - n * (1 - alpha) * published), n * alpha**2),
            "oracle": (real, count),
        }[name]
        kept = 0 * worth if name == "last" else worth
        raw, worth = (kept[:, None] * raw + new) / (kept + more)[:, None], kept + more
        published = nearest_laws(raw) if name == "interpolating" else raw
        found.append(published)
    return np.stack([((one - law) ** 2).sum(1) for one in found], axis=1)


def agrees(seen: np.ndarray, known: np.ndarray, wrong: np.ndarray, level: float = 0.05) -> float:
    """Largest deviation in standard errors; Holm's test of all, and of the wrong last one."""
    error = seen.std(0, ddof=1) / math.sqrt(len(seen))
    assert (error < 0.01 * known).all()
    away = np.abs(seen.mean(0) - known) / error
    assert 2 * stats.norm.sf(away.max()) * len(known) > level / 20
    assert 2 * stats.norm.sf(abs(seen[:, -1].mean() - wrong[-1]) / error[-1]) < level
    return float(away.max())


SIZES, ALPHAS = np.array([60, 30, 40, 60, 80]), np.array([0.5, 0.4, 0.3, 0.4])


def test_closed_forms_are_those_of_loops(ledger) -> None:
    known = references.law_hidden(LAW, SIZES, ALPHAS)
    wrong = H / SIZES + np.concatenate([[0], (1 - 1 / SIZES[1:]) * (1 - ALPHAS) * known[:-1]])
    agrees(squares("last", SIZES, ALPHAS, 1), known, wrong)
    ledger.record("104 symbols by lot; control: 1 - alpha, no square", "attained", 1.0, True)
    for seed, name in enumerate(("pooled", "interpolating", "oracle"), 2):
        for by_lot in (True, False):
            known = references.sources_error(name, LAW, SIZES, ALPHAS, by_lot)
            swapped = {"pooled": "oracle", "oracle": "pooled", "interpolating": "pooled"}[name]
            wrong = references.sources_error(swapped, LAW, SIZES, ALPHAS, by_lot)
            agrees(squares(name, SIZES, ALPHAS, 10 * seed + by_lot, by_lot), known, wrong)
        ledger.record(f"106 {name}; control: another's", "attained", 1.0, True)
    schedule = {"alpha_decay": 0.5, "growth": 1.0, "until": 3}
    cases = (
        (GaussianMean(), Hidden(0.3, **schedule)),
        (GaussianMean(), Varying(0.5, **schedule)),
        (Categorical(tuple(LAW)), Varying(0.5, **schedule)),
    )
    for problem, regime in cases:
        sizes, alphas = regime.sizes(10, 4), np.array([regime.share(i) for i in range(1, 5)])
        mean = isinstance(problem, GaussianMean)
        if isinstance(regime, Hidden):
            known = references.mean_hidden(1.0, [10, *sizes], alphas)
            wrong = references.mean_hidden(1.0, [10, *sizes], 0 * alphas + alphas[0])
        else:
            function = references.mean_varying if mean else references.law_varying
            first = 1.0 if mean else LAW
            known = function(first, 10, sizes, alphas)
            wrong = function(first, 10, sizes, 0 * alphas + alphas[0])
        seen = run_experiment(Loops(problem, regime, 10, 4, RUNS, "risks"), 3)["excess"]
        agrees(seen.astype(float), known, wrong)
        number = 109 if isinstance(regime, Varying) else 104
        words = f"{number} {problem.words}, {regime.name}; control: the share does not fall"
        ledger.record(words, "attained", 1.0, True)


def test_the_threshold_of_recovery(ledger) -> None:
    """The recursion typed again, to 10^6 generations; it follows h/(1 + 2 n_t alpha_t)."""
    ends = {}
    for q, r in ((0.5, 1.0), (0.5, 0.5), (0.5, 0.4), (1.5, 2.0)):
        error, alpha, n, last = 0.25, 0.8, 5, 10**6
        for t in range(1, last + 1):
            rows = n * t**r
            error = 1 / rows + (1 - 1 / rows) * (1 - alpha * (t + 1) ** -q) ** 2 * error
        ends[q, r] = error
        if q <= 1:
            assert error == pytest.approx(1 / (1 + 2 * n * alpha * last ** (r - q)), rel=0.02)
    assert ends[0.5, 1.0] < 2e-4
    assert ends[1.5, 2.0] > 0.005
    words = "105 recovery on both sides, and at r = q; control: n_t to infinity is enough"
    ledger.record(words, "attained", 1.0, ends[0.5, 0.4] > 0.3)


def test_bounds_hold_for_estimators_that_are_projected(ledger) -> None:
    """Few rows and laws on the edge, so that estimates are projected often."""
    sizes, alphas, tightness = np.array([4, 6, 6, 6, 6]), np.full(4, 0.3), 0.0
    for seed, law in enumerate(([1.0, 0, 0], [0.98, 0.01, 0.01], [0.5, 0.5, 0], [1 / 3] * 3)):
        seen = squares("interpolating", sizes, alphas, seed, law=np.array(law), runs=20_000)
        upper = bounds.sources_rates(sizes, alphas, 3).upper
        error = seen.std(0, ddof=1) / math.sqrt(len(seen))
        assert (seen.mean(0) - 4 * error <= upper).all()
        tightness = max(tightness, float((seen.mean(0) / upper).max()))
    pooled = squares("pooled", np.full(31, 50), np.full(30, 0.2), 9, law=np.full(5, 0.2), runs=2000)
    rates = bounds.sources_rates(np.full(31, 50), np.full(30, 0.2), 5)
    ledger.record(
        "107 projected estimates; control: pooled rows",
        tightness=tightness,
        control_rejected=bool(pooled[:, -1].mean() > 1.1 * rates.upper[-1]),
    )
    # Whoever published (1, 0) knows that every row with the second symbol is real.
    n, alpha, p = 200, 0.2, 0.4
    ones = np.random.default_rng(5).binomial(n, alpha * p, RUNS)
    square = 2 * (ones / (n * alpha) - p) ** 2
    known, hidden = 2 * p * (1 - alpha * p) / (n * alpha), 2 * p * (1 - p) / (n * alpha**2)
    assert square.mean() == pytest.approx(known, rel=4 * square.std() / known / RUNS**0.5)
    ledger.record("107 published extremes tell sources apart", tightness=known / hidden)
    assert known < 0.4 * hidden


def test_exponents_where_everything_is_kept(ledger) -> None:
    """Loops of symbols and of single Gaussian rows; a recursion typed again, far out."""
    last = 60
    for seed, alpha in enumerate((0.25, 0.5)):
        sizes, alphas = np.full(last + 1, 4), np.full(last, alpha)
        known = references.sources_error("pooled", LAW, sizes, alphas, by_lot=False)
        real_only = known[0] / np.arange(1, last + 2)
        agrees(squares("pooled", sizes, alphas, seed, by_lot=False), known, real_only)
    draws = np.random.default_rng(7)
    total = draws.normal(size=(RUNS, 4)).sum(1)
    mean, count = total / 4, 4
    for _ in range(last):
        rows = draws.normal(size=(RUNS, 4)) + np.array([0, 0, 1, 1]) * mean[:, None]
        total, count = total + rows.sum(1), count + 4
        mean = total / count
    found = references.mean_kept(1.0, sizes, alphas)
    agrees(mean[:, None] ** 2, found[-1:], 1 / (2.0 * np.array([count])))
    for alpha, exponent in ((0.1, 0.2), (0.3, 0.6), (0.5, 1.0), (0.9, 1.0)):
        value, at = 1.0, {}
        for t in range(1, 10**6 + 1):
            value = (1 - alpha / (t + 1)) ** 2 * value + 1 / (t + 1) ** 2
            at[t] = value
        first, second = at[10**5], at[10**6]
        if alpha == 0.5:
            first, second = first / math.log(10**5), second / math.log(10**6)
        assert -math.log10(second / first) == pytest.approx(exponent, abs=0.02)
    ledger.record("108 exponents min(1, 2 alpha), log t at 1/2", "attained", 1.0, True)


# --- the committed claims ------------------------------------------------------------------------


def test_claim_hidden_sources(ledger) -> None:
    """Every closed form and bound of the claim, typed again."""
    n, alpha, h, controls = 50, 0.2, 0.8, []
    worth = informed = n
    curves = {name: [h / n] for name in ("pooled", "interpolating")}
    upper, oracle = [h / n], [h / n]
    for t in range(1, 21):
        worth, informed = worth + n * alpha**2, informed + n * alpha
        b, w = 1 / (t + 1), n * alpha**2 / worth
        before = curves["pooled"][-1]
        noise = (h - (1 - alpha) ** 2 * before) / n
        curves["pooled"].append((1 - b * alpha) ** 2 * before + b**2 * noise)
        before = curves["interpolating"][-1]
        noise = (h - (1 - alpha) ** 2 * before) / (n * alpha**2)
        curves["interpolating"].append((1 - w) ** 2 * before + w**2 * noise)
        upper.append(h / worth)
        rows = np.arange(t * n + 1)
        oracle.append(h * stats.binom.pmf(rows, t * n, alpha) @ (1 / (n + rows)))
    curves["oracle"] = oracle
    for cell in stored.cells("hidden_sources", kind="stages"):
        curve = curves[cell["estimator"]]
        assert cell["bound"] == pytest.approx(n * curve[cell["generation"]], rel=1e-9)
        assert cell["tolerance"] == pytest.approx(0.05 * cell["bound"])
    for cell in stored.cells("hidden_sources", kind="bound"):
        assert cell["bound"] == pytest.approx(n * upper[cell["generation"]], rel=1e-9)
        controls.append(n * curves["pooled"][cell["generation"]] > cell["bound"])
    for cell in stored.cells("hidden_sources", kind="kept"):
        share, error = cell["alpha"], h / 4
        rows, total = 4 / share, 4
        for _ in range(cell["generation"]):
            total += rows
            noise = (rows / total) ** 2 * (h - (1 - share) * error) / rows
            error = (1 - 4 / total) ** 2 * error + noise
        assert cell["bound"] == pytest.approx(error, rel=1e-9)
    ledger.record("claim hidden_sources: by hand", control_rejected=any(controls))


def test_claim_varying_shares(ledger) -> None:
    n, h, controls = 5, 0.8, []
    for cell in stored.cells("varying_shares", kind="sides"):
        q, r = {"recovers": (0.5, 1.0), "does not": (1.0, 0.5)}[cell["side"]]
        error = h / n
        for t in range(1, cell["generation"] + 1):
            rows = round(n * t**r)
            error = h / rows + (1 - 1 / rows) * (1 - 0.8 / (t + 1) ** q) ** 2 * error
        assert cell["bound"] == pytest.approx(error * n / h, rel=1e-9)
    for kind, factor, start in (("drift over injected error", 1.0, 1.0), ("n gamma", 1.1, 1.0)):
        for cell in stored.cells("varying_shares", kind=kind):
            value = start
            for i in range(1, cell["generation"] + 1):
                share = 0.5 / (i + 1)
                direct = 1.0 if factor == 1 else share
                value = direct + (1 - share) * factor * value
            assert cell["bound"] == pytest.approx(factor * value, rel=1e-9)
            controls.append(abs(cell["measured"] - factor) > 0.2)
    ledger.record("claim varying_shares: by hand", control_rejected=any(controls))

"""Claims about solvable loops: the committed entries, with every bound computed anew.

Nothing of the package is used: the formulas are typed again, the loops on bits enumerated again.
"""

import math

import numpy as np
import pytest
import stored
from binary_loop import BinaryLoop, binomial
from scipy import special, stats
from stored import cells as cells_of
from stored import influence

DELTA, DIM = 0.05, 10
LOG = math.log(1 / DELTA)
GOLDEN = (math.sqrt(5) - 1) / 2
EVENTS = 6  # deviations that the certificate bounds at once


def quantity(cell: dict, *words: str) -> bool:
    return all(word in cell.get("quantity", "") for word in words)


def constant(name: str, word: str):
    """The value of the constant of a claim whose name starts like that."""
    (found,) = [c for c in stored.claim(name)["constants"] if c["name"].startswith(word)]
    return found["value"]


def solvable_runs() -> int:
    return stored.config()["preset"]["solvable_runs"]


def same(cell: dict, bound: float) -> None:
    assert cell["bound"] == pytest.approx(bound, rel=1e-9, abs=1e-12)


def ratio(cells: list[dict]) -> float:
    """Largest relative distance of what was measured from what it should be."""
    return max(abs(cell["measured"] / cell["bound"] - 1) for cell in cells if cell["bound"])


# --- the gap identity ----------------------------------------------------------------------------


def clipped(kappa: float):
    return lambda share: min(1.0, max(0.0, 0.5 + kappa * (share - 0.5)))


def loss(theta, z):
    return (z - theta) ** 2


def risk(theta, p):
    return p * loss(theta, 1) + (1 - p) * loss(theta, 0)


def identity_by_hand(loop: BinaryLoop, i: int, p: float) -> tuple[float, list[float]]:
    """The mean gap of generation i and its four parts, from all real sets and batches."""
    n, m, w = loop.n, loop.m, loop.weight
    gap = direct = indirect = synthetic = shift = 0.0
    models = lambda ones: np.array([loop.generator(s) for s in loop.shares(ones, i)[0]])  # noqa: E731
    for ones, chance in enumerate(binomial(n, p)):
        shares, law = loop.shares(ones, i)
        theta = models(ones)
        gap += chance * law @ (risk(theta, p) - risk(theta, shares))
        for z, of_row in ((1, ones / n), (0, 1 - ones / n)):
            for new, likely in ((1, p), (0, 1 - p)):
                if of_row == 0:
                    continue
                other = ones - z + new
                mass = chance * of_row * likely
                swapped = law @ loss(models(other), z)
                direct += mass * (swapped - law @ loss(theta, z))
                indirect += mass * (loop.shares(other, i)[1] @ loss(models(other), z) - swapped)
        for before, likely_before in zip(*loop.shares(ones, i - 1), strict=True):
            q = loop.generator(before)
            for count, likely in enumerate(binomial(m, q)):
                mass = chance * likely_before * likely
                now = loop.generator(loop.share(ones, count))
                shift += mass * (risk(now, p) - risk(now, q))
                for z, of_row in ((1, count / m), (0, 1 - count / m)):
                    for new, other in ((1, q), (0, 1 - q)):
                        if of_row == 0:
                            continue
                        again = loop.generator(loop.share(ones, count - z + new))
                        synthetic += mass * of_row * other * (loss(again, z) - loss(now, z))
    return gap, [w * direct, w * indirect, (1 - w) * synthetic, (1 - w) * shift]


def test_gap_identity(ledger) -> None:
    controls = []
    for kappa in (0.5, 1.0, 1.5):
        loop = BinaryLoop(4, 6, clipped(kappa))
        for i in (1, 2, 3, 4):
            gap, parts = identity_by_hand(loop, i, 0.4)
            (cell,) = cells_of("gap_identity", loop=f"bits, kappa = {kappa}", generation=i)
            assert cell["measured"] == pytest.approx(gap, rel=1e-12)
            assert cell["parts"] == pytest.approx(parts, rel=1e-11, abs=1e-14)
            assert sum(parts) == pytest.approx(gap, rel=1e-12)
            controls.append(abs(sum(parts) + parts[0] * 6 / 4 - gap) > stored.EXACT)
    w, n, m = 0.5, 20, 20
    for cell in cells_of("gap_identity", loop="gaussian mean"):
        assert (cell["n"], cell["alpha"]) == (n, w)
        around = sum((1 - w) ** (2 * j) for j in range(1, cell["generation"])) / m
        parts = {
            "direct": 2 * w / n * (1 - (1 - w) / n),
            "indirect": 2 * (1 - w) / n * (1 + w / n),
            "synthetic": 2 * (1 - w) / m,
            "shift": 1 / n + (1 - 2 * w) * around,
        }
        if "quantity" in cell:
            same(cell, parts[cell["quantity"].removesuffix(" part")])
        else:
            exact = w * (parts["direct"] + parts["indirect"])
            exact += (1 - w) * (parts["synthetic"] + parts["shift"])
            assert cell["low"] < exact < cell["high"]
    sampled = [
        cell
        for name in ("gaussian mean", "ols", "linear attention")
        for cell in cells_of("gap_identity", loop=name)
        if "quantity" not in cell
    ]
    square = 1 + (1 + 2 * 0.25) / 8  # E|h|^2 of eight examples, d = 2, inputs on the sphere
    scales = {
        "gaussian mean": 2 / 20,
        "ols": 3 / (30 - 3 - 1) + 3 / 30,
        "linear attention": (1.25 - 1 / square) * (4 / (100 - 4 - 1) + 4 / 100),
    }
    for cell in sampled:
        same(cell, sum(cell["parts"]))
        assert cell["tolerance"] == pytest.approx(0.05 * scales[cell["loop"]])
        assert scales[cell["loop"]] == pytest.approx(cell["measured"], rel=0.1)
        shifted = cell["margin_high"] - cell["parts"][0] * (1 - cell["alpha"]) / cell["alpha"]
        controls.append(shifted < -cell["tolerance"])
    ledger.record(
        "claim gap_identity: both sides by hand",
        "holds",
        f"within {ratio(sampled):.1%}",
        all(controls),
    )


# --- the generalization bound --------------------------------------------------------------------


def gap_bound(n, alpha, i, *, M, b, kappa, shift) -> float:
    chi, variance = influence(alpha, kappa, i)
    stable = b * (alpha * chi + alpha * (1 - alpha)) / n
    return (1 - alpha) * shift + stable + (M + 2 * b) * math.sqrt(LOG * variance / (2 * n))


def bits_by_hand(n: int, m: int, kappa: float, last: int):
    """Real weights, shares and laws of the synthetic counts of generations 0..last, p = 1/2."""
    w, ones, k = n / (n + m), np.arange(n + 1), np.arange(m + 1)
    shares = w * ones[:, None] / n + (1 - w) * k / m
    model = 0.5 + kappa * (shares - 0.5)
    first = 0.5 + kappa * (ones / n - 0.5)
    laws = [stats.binom.pmf(k, m, first[:, None])]
    steps = [stats.binom.pmf(k, m, theta[:, None]) for theta in model]
    for _ in range(last - 1):
        laws.append(np.stack([law @ step for law, step in zip(laws[-1], steps, strict=True)]))
    return stats.binom.pmf(ones, n, 0.5), first, shares, model, laws


def upper_quantile(values: np.ndarray, chances: np.ndarray) -> float:
    support, index = np.unique(values.round(12), return_inverse=True)
    reached = np.bincount(index.ravel(), chances.ravel()).cumsum()
    return float(support[np.argmax(reached >= 1 - DELTA - 1e-12)])


def test_quantiles_and_bounds_of_bits(ledger) -> None:
    n, controls, tightness, ratios = 40, [], [], []
    for kappa in (0.5, 0.9, 1.0):
        for m in (40, 120):
            alpha = n / (n + m)
            real, first, shares, model, laws = bits_by_hand(n, m, kappa, 10)
            for i in (1, 2, 5, 10):
                chances = real[:, None] * laws[i - 1]
                away = (
                    real @ np.abs(first - 0.5)
                    if i == 1
                    else (real[:, None] * laws[i - 2] * np.abs(model - 0.5)).sum()
                )
                squared = {"M": ((1 + kappa) / 2) ** 2, "b": kappa * (1 + kappa)}
                for what, values, known, effect in (
                    ("squared loss", (0.5 - shares) * (1 - 2 * model), squared, kappa * away),
                    ("loss z", 0.5 - shares, {"M": 1, "b": 0}, away),
                ):
                    (cell, sharp) = cells_of(
                        "generalization_gap",
                        loop=f"bits, kappa = {kappa}",
                        alpha=alpha,
                        generation=i,
                        quantity=f"95 % quantile of the gap, {what}",
                    )
                    assert (cell["form"], sharp["form"]) == ("stability", "localised")
                    squares = influence(alpha, kappa, i)[1] / n
                    tail = kappa * squares * math.log(2 / DELTA)
                    same(sharp, math.sqrt(LOG * squares / 2) if what == "loss z" else tail)
                    assert sharp["measured"] == cell["measured"]
                    ratios.append(sharp["bound"] / sharp["measured"])
                    exact = upper_quantile(values, chances)
                    same(cell, gap_bound(n, alpha, i, kappa=kappa, shift=effect, **known))
                    assert cell["measured"] == pytest.approx(exact, abs=1e-11)
                    assert cell.get("vacuous", False) == (cell["bound"] >= known["M"])
                    if not cell.get("vacuous"):
                        tightness.append(cell["measured"] / cell["bound"])
                    if (what, kappa, m) == ("loss z", 1.0, 120) and i > 1:
                        wrong = (1 - alpha) * away + math.sqrt(LOG / (2 * (n + m)))
                        controls.append(exact > wrong)
                    wrong = math.sqrt(squares) / 2 if what == "loss z" else kappa * squares / 2
                    controls.append(exact > wrong)
    assert constant("generalization_gap", "localised bound over 95 % quantile of the gap") == (
        pytest.approx(max(ratios))
    )
    assert max(ratios) < 2.4
    ledger.record("claim generalization_gap: bits by hand", "holds", max(tightness), all(controls))
    ledger.record("claim generalization_gap: localised, bits", tightness=1 / max(ratios))


def test_variance_and_quantiles_of_the_gaussian_mean(ledger) -> None:
    tightness, controls = [], []
    for cell in cells_of("generalization_gap", loop="gaussian mean"):
        n, w, i = cell["n"], cell["alpha"], cell["generation"]
        m = round(n * (1 - w) / w)
        variance = 1 / n + sum((1 - w) ** (2 * j) for j in range(1, i + 1)) / m
        proxy = influence(w, 1.0, i)[1] / n
        if quantity(cell, "of loops"):
            same(cell, variance)
            assert cell["tolerance"] == pytest.approx(0.05 * variance)
            controls.append(cell["low"] > 1.05 / (n + m))
        elif quantity(cell, "variance"):
            assert cell["measured"] == pytest.approx(variance, rel=1e-12)
            same(cell, proxy)
        else:
            exact = math.sqrt(variance) * stats.norm.isf(DELTA)
            assert cell["measured"] == pytest.approx(exact, rel=1e-12)
            same(cell, math.sqrt(2 * LOG * proxy))
            tightness.append(cell["measured"] / cell["bound"])
    ledger.record(
        "claim generalization_gap: Gaussian mean by hand", "holds", max(tightness), all(controls)
    )


def clipped_loops(n: int, last: int, runs: int) -> np.ndarray:
    """Means of data clipped to [-1, 1] in the loop with as many synthetic rows: `[runs, G + 1]`."""
    draws = np.random.default_rng(1)
    real = draws.normal(size=(runs, n)).clip(-1, 1).mean(1)
    means = [real]
    for _ in range(last):
        rows = means[-1][:, None] + draws.normal(size=(runs, n))
        means.append((real + rows.clip(-1, 1).mean(1)) / 2)
    return np.stack(means, axis=1)


def exceedance_follows(cell: dict, runs: int) -> None:
    """The interval of a rate is Clopper and Pearson's, and the verdict rests on it."""
    hits = cell["measured"] * runs
    assert hits == pytest.approx(round(hits), abs=1e-6)
    high = stats.beta.isf(cell["level"], round(hits) + 1, runs - round(hits))
    assert cell["high"] == pytest.approx(high, rel=1e-9)
    assert cell["tolerance"] == cell["bound"] == DELTA
    if cell["verdict"] == "holds":
        assert stats.binom.cdf(round(hits), runs, DELTA) <= cell["level"] * (1 + 1e-9)


def test_exceedances_of_the_clipped_mean(ledger) -> None:
    kappa, n = 2 / math.sqrt(2 * math.pi), 50
    distances = constant("generalization_gap", "mean total variation of the clipped")
    assert constant("generalization_gap", "M, b, kappa") == pytest.approx([1, 2, kappa])
    variation = special.erf(np.abs(clipped_loops(n, 4, 20_000)) / math.sqrt(8))
    mean, stderr = variation.mean(0), variation.std(0) / math.sqrt(len(variation))
    allowed = 4 * stderr * math.sqrt(len(variation) / solvable_runs())
    assert (np.array(distances) < mean + 4 * stderr).all()
    assert (np.array(distances) > mean - 4 * stderr - 2 * allowed).all()
    controls, tightness, ratios = [], [], []
    beta = lambda v, r, log: math.sqrt(2 * v * log / (2 * n)) + r * log / (6 * n)  # noqa: E731
    centre = beta(0.1659 / 16, 1 / 4, math.log(2 / DELTA))
    unit = beta(0.5161, 2, math.log(4 / DELTA))
    away = np.abs(clipped_loops(n, 5, 20_000))
    for i in range(1, 6):
        cell, sharp = cells_of("generalization_gap", loop="clipped mean", generation=i)
        assert (cell["form"], sharp["form"]) == ("stability", "localised")
        exceedance_follows(sharp, solvable_runs())
        # Its mean by loops of one's own: the shift adds less than the fluctuation of theta^2.
        least = centre + away[:, i].mean() / 2 * unit
        scatter = 6 * away[:, i].std() / math.sqrt(solvable_runs())
        assert least - scatter < sharp["gap_bound"] < least + (away**2).mean() / 2 + scatter
        ratios.append(sharp["gap_bound"] / sharp["gap_quantile"])
        bound = gap_bound(n, 0.5, i, M=1, b=2, kappa=kappa, shift=distances[i - 1])
        assert cell["gap_bound"] == pytest.approx(bound, rel=1e-9)
        exceedance_follows(cell, solvable_runs())
        controls.append(cell["gap_quantile"] > 0.5 * distances[i - 1])
        tightness.append(cell["gap_quantile"] / bound)
        controls.append(sharp["gap_quantile"] > unit * away[:, i].mean() / 2)
    assert max(ratios) < 2
    assert constant("generalization_gap", "localised bound over 95 % quantile, clipped") == (
        pytest.approx(ratios)
    )
    ledger.record(
        "claim generalization_gap: clipped mean by hand", "holds", max(tightness), all(controls)
    )
    ledger.record("claim generalization_gap: localised, clipped", tightness=1 / max(ratios))


def test_certificate_of_linear_attention(ledger) -> None:
    """Its part that no distance changes, with moments sampled anew, and the exceedances."""
    n, d, k, variance = 1000, 4, 20, 0.25
    draws, count = np.random.default_rng(2), 100_000
    xs = draws.normal(size=(count, k + 1, d))
    xs *= math.sqrt(d) / np.linalg.norm(xs, axis=2, keepdims=True)
    w = draws.normal(size=(count, d))
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    noise = math.sqrt(variance) * draws.uniform(-math.sqrt(3), math.sqrt(3), (count, k + 1))
    ys = np.einsum("nkd,nd->nk", xs, w) + noise
    h = np.einsum("nkd,nk->nd", xs[:, :k], ys[:, :k]) / k
    g = 1 / (1 + (d - 1 + variance * d) / k)
    residual = (ys[:, k] - g * np.einsum("nd,nd->n", xs[:, k], h)) ** 2
    energy = variance + 1 - g
    assert residual.mean() == pytest.approx(energy, rel=0.02)
    log = math.log(EVENTS / DELTA)
    real = math.sqrt(2 * residual.var() * log / n) + energy * log / (3 * n)
    drawn = math.sqrt(2 * 0.8 * energy**2 * log / n) + energy * log / (3 * n)
    ratios = constant("generalization_gap", "certificate of linear attention")
    runs = max(120, round(0.04 * solvable_runs()))
    for i in range(1, 6):
        (cell,) = cells_of("generalization_gap", loop="linear attention", generation=i)
        exceedance_follows(cell, runs)
        assert ratios[i - 1] == pytest.approx(cell["gap_bound"] / cell["gap_quantile"], rel=1e-9)
        assert 0.97 * (real + drawn) / 2 < cell["gap_bound"] < 2 * (real + drawn)
    ledger.record("claim generalization_gap: linear attention", tightness=1 / min(ratios))


# --- rates ---------------------------------------------------------------------------------------


def fitted(points, curve) -> float:
    return float(np.polyfit(np.log(points), np.log(curve), 1)[0])


def test_rates(ledger) -> None:
    sizes, controls, exponents = [500, 2000, 8000], [], []
    gain = sum(0.25**j for j in range(4))
    expected = {
        ("drift", "1/2"): [2 / math.pi * math.atan(math.sqrt(gain / n) / 2) for n in sizes],
        ("drift", "1/4"): [0.02 * (2 * n) ** -0.25 * (1 - 0.5**4) / 0.5 for n in sizes],
        ("gap", "1/4"): [0.02 * (2 * n) ** -0.25 * ((1 - 0.5**4) / 0.5 - 1) for n in sizes],
        ("gap", "1/2"): None,
    }
    for (name, a), curve in expected.items():
        exponent = {"1/2": -0.5, "1/4": -0.25}[a]
        (cell,) = [
            c for c in cells_of("rates", n=sizes) if quantity(c, name) and quantity(c, f"a = {a}")
        ]
        same(cell, exponent)
        assert cell["tolerance"] == 0.05
        assert cell["measured"] == pytest.approx(fitted(sizes, cell["curve"]), abs=0.005)
        if curve:
            assert cell["curve"] == pytest.approx(curve, rel=0.06)
            assert fitted(sizes, curve) == pytest.approx(exponent, abs=0.01)
        controls.append(cell["margin_high"] + exponent - 2 * exponent > 0.05)
        controls.append(cell["margin_low"] + exponent - 2 * exponent > 0.05)
        exponents.append(cell)
    (cell,) = cells_of("rates", regime="replace")
    points = np.arange(1, 22)
    same(cell, 1.0)
    assert cell["curve"] == pytest.approx(0.005 * points, rel=0.15)
    assert cell["measured"] == pytest.approx(fitted(points, cell["curve"]), abs=0.005)
    controls.append(cell["margin_low"] + 0.5 > 0.05)
    exponents.append(cell)
    saturating = [c for c in cells_of("rates", n=100) if quantity(c, "drift over")]
    for cell in saturating:
        same(cell, (1 - (1 - cell["alpha"]) ** (cell["generation"] + 1)) / cell["alpha"])
        assert cell["limit"] == pytest.approx(1 / cell["alpha"])
        if cell["generation"] == 30:
            controls.append(cell["high"] < 0.9 * 31)
    assert {cell["alpha"] for cell in saturating} == {0.2, 0.5}
    ledger.record(
        "claim rates: exponents and saturation by hand",
        "holds",
        f"within {ratio(exponents + saturating):.1%}",
        all(controls),
    )


# --- accumulation --------------------------------------------------------------------------------


def subsampled(n: int, i: int) -> float:
    """Excess of n rows drawn from all kept ones, over that of one fit; as many rows each time."""
    centre, squares, drawn = 1 / n, n - 1.0, 0.0
    for g in range(i):
        pool = n * (g + 1)
        spread = drawn + 1 / n
        centre += spread * (n / (pool + n)) ** 2
        squares += n - 1 + spread * pool * n / (pool + n)
        drawn = (1 / n - 1 / (pool + n)) * squares / (pool + n - 1)
    return n * (centre + drawn)


def accumulated(cell: dict) -> float:
    n, i = cell["n"], cell["generation"]
    if cell["regime"] == "accumulate-subsample":
        return subsampled(n, i)
    if cell["regime"] == "accumulate-fresh":
        sizes = [n * (j + 1) for j in range(1, i + 1)]
        return 1 + (n - DIM - 1) * sum(n / (size * (size - DIM - 1)) for size in sizes)
    return squares_up_to(i + 1)


def squares_up_to(count: int) -> float:
    return sum(1 / k**2 for k in range(1, count + 1))


def harmonic(count: int) -> float:
    return sum(1 / k for k in range(1, count + 1))


def test_accumulation(ledger) -> None:
    controls, equalities = [], []
    for cell in stored.claim("accumulation")["cells"]:
        i = cell["generation"]
        rising = math.atan(math.sqrt(squares_up_to(i + 1) / 100) / 2) / math.atan(0.1 / 2)
        if quantity(cell, "against pi^2/6"):
            same(cell, math.pi**2 / 6)
            assert cell["measured"] == pytest.approx(accumulated(cell), rel=1e-12)
        elif quantity(cell, "against H_{i+1}"):
            same(cell, harmonic(i + 1))
            assert cell["measured"] == pytest.approx(rising, rel=1e-9)
        elif quantity(cell, "excess risk"):
            same(cell, accumulated(cell))
            if cell["regime"] == "accumulate-fresh":
                wrong = squares_up_to(i + 1)
                controls.append(cell["high"] < wrong * 0.95)
        else:
            bits = cell["loop"] == "bernoulli"
            same(cell, harmonic(i + 1) if bits else rising)
        if cell.get("test") == "equal":
            equalities.append(cell)
    first = constant("accumulation", "drift of generation 0")
    assert first == pytest.approx(2 / math.pi * math.atan(0.05))
    regimes = {(c["loop"], c["regime"]) for c in equalities}
    assert len(regimes) == 5
    ledger.record(
        "claim accumulation: curves by hand",
        "holds",
        f"within {ratio(equalities):.1%}",
        any(controls),
    )


# --- how much real data recursive stability needs ------------------------------------------------


def test_real_share_threshold(ledger) -> None:
    kappa = 2.0
    for cell in cells_of("real_share_threshold", quantity="n gamma"):
        same(cell, kappa * influence(cell["alpha"], kappa, cell["generation"])[0])
        assert (1 - cell["alpha"]) * kappa < 1
    slopes = {}
    for side, expected in (("below", 0.0), ("above", 0.5)):
        (cell,) = cells_of("real_share_threshold", family=side)
        same(cell, expected)
        assert cell["tolerance"] == 0.05
        assert (cell["verdict"] == "finding") == (side == "above")
        assert ((1 - cell["alpha"]) * kappa < 1) == (side == "below")
        last = np.array(cell["curve"])[:, -1]
        assert cell["measured"] == pytest.approx(fitted(cell["n"], last), abs=0.1)
        assert np.allclose(np.array(cell["curve"])[:, 0], kappa, rtol=1e-6)
        slopes[side] = cell
    below, above = slopes["below"], slopes["above"]
    exchanged = below["high"] < 0.45 and above["low"] > 0.05
    ledger.record(
        "claim real_share_threshold: recursion by hand",
        "holds",
        f"exponents {below['measured']:.2f}, {above['measured']:.2f}",
        exchanged,
    )


# --- the loops of the MAD paper ------------------------------------------------------------------


def mad_by_hand(cell: dict) -> float | None:
    """Excess over that of one fit; None where only a bound is known."""
    n, i, least_squares = cell["n"], cell["generation"], cell["loop"] == "ols"
    w = cell["alpha"]
    m = {"synthetic augmentation, 4 : 1": 4 * n}.get(cell["mad"], n)
    if cell["mad"] == "fully synthetic":
        return i + 1.0
    if cell["mad"].startswith("synthetic augmentation"):
        if not least_squares:
            return 1 + n / m * sum((1 - w) ** (2 * j) for j in range(1, i + 1))
        total = n + m
        return 1 + (n - DIM - 1) * m / total / (total - DIM - 1) if i == 1 else None
    value = 1.0
    for _ in range(i):
        if least_squares:
            total, left = 2 * n, 2 * n - DIM - 1
            spread = n * n / (total * (total - 1) * (total + 2))
            kept = n * (n + 2) / (total * (total + 2)) - spread
            value = (kept + spread * (total * DIM - 2) / left) * value + (n - DIM - 1) / left
        else:
            assert w == pytest.approx(GOLDEN)
            value = w**2 + (1 - w) ** 2 * (value + 1)
    return value


def test_mad_loops(ledger) -> None:
    controls, equalities, seen = [], [], set()
    for cell in stored.claim("mad_loops")["cells"]:
        known = mad_by_hand(cell)
        seen.add((cell["loop"], cell["mad"]))
        if quantity(cell, "exponent"):
            same(cell, 1.0)
        elif quantity(cell, "closed form"):
            assert cell["measured"] == pytest.approx(known, rel=1e-9)
            same(cell, 1.0 if cell["mad"].startswith("fresh") else 1.5)
        elif cell.get("test") == "equal":
            same(cell, known)
            equalities.append(cell)
            if cell["mad"] == "fully synthetic":
                controls.append(cell["low"] > 1.5)
        else:
            assert known is None
            assert cell["bound"] == pytest.approx(1.5, rel=0.05)
            assert cell["direction"] == "at most"
    assert len(seen) == 8
    assert constant("mad_loops", "best weight") == pytest.approx(GOLDEN, rel=1e-12)
    ledger.record(
        "claim mad_loops: excess by hand", "holds", f"within {ratio(equalities):.1%}", all(controls)
    )

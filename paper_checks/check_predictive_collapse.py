"""Generators that forget their uncertainty: statement 69, and the claim's committed cells.

Nothing of the package is used: every bound of a cell is computed anew.
"""

from functools import partial

import numpy as np
import pytest
import stored

NAME = "predictive_collapse"
cells = partial(stored.cells, NAME)
ERROR = "excess test error over that of Bayes"


def plug_in_covariance(xs, noise, scale):
    real = scale**2 * xs @ xs.T + noise**2 * np.eye(len(xs))
    factor = np.linalg.cholesky(real)
    unit = factor / np.diag(factor)
    return real, noise**2 * unit @ unit.T


def posterior_square(u, n):
    """Variance V of the posterior mean of plug-in prompts, times d/σ², term by term."""
    return sum(1 / (1 / u + k) ** 2 for k in range(1, n + 1))


def refit(u, n):
    """T_n(u) from the covariance of the labels of one direction."""
    xs = np.ones((n, 1))
    weights = np.full(n, 1 / n)
    return weights @ plug_in_covariance(xs, 1.0, u**0.5)[1] @ weights - 1 / n


def refit_path(u, n, alpha, last):
    path = [u]
    for _ in range(last):
        path.append(alpha * u + (1 - alpha) * refit(path[-1], n))
    return path


# --- statements ----------------------------------------------------------------------------------


def test_squared_error_is_blind(ledger) -> None:
    """Statement 69 on Gaussian inputs: the best linear predictor of a mixture is that of Bayes."""
    rng = np.random.default_rng(2)
    xs = rng.standard_normal((5, 2))
    real, plugged = plug_in_covariance(xs, 0.5, 1.0)
    for alpha in (0.0, 0.3, 1.0):
        mixture = alpha * real + (1 - alpha) * plugged
        for k in range(1, 5):
            bayes = np.linalg.solve(real[:k, :k], real[:k, k])
            again = np.linalg.solve(mixture[:k, :k], mixture[:k, k])
            np.testing.assert_allclose(again, bayes, rtol=1e-8, atol=1e-10)
    # Labels whose noise grows instead are another law, with another best predictor: not blind.
    other = np.linalg.solve(real[:4, :4] + np.eye(4), real[:4, 4])
    lost = np.trace(plugged @ (xs @ xs.T)) / np.trace(real @ (xs @ xs.T))
    ledger.record(
        "69 squared error is blind", "attained", lost, not np.allclose(other, bayes, rtol=1e-2)
    )


# --- the claim -----------------------------------------------------------------------------------


def test_bounds_of_the_orthogonal_design(ledger) -> None:
    worst = 0.0
    for cell in cells(loop="one generation"):
        u, n = cell["signal"], cell["repeats"]
        if "closed form" in cell["quantity"]:
            assert abs(cell["measured"] - 1) < 1e-11
            continue
        plug_in = posterior_square(u, n) / u
        bound = plug_in if cell["generator"] == "plug-in" else n / (n + 1 / u)
        assert cell["bound"] == pytest.approx(bound, rel=1e-9)
        worst = max(worst, abs(cell["measured"] / bound - 1))
    rejected = []
    for cell in cells(quantity="fitted task variance, u"):
        u, n, g = cell["signal"], cell["repeats"], cell["generation"]
        path = refit_path(u, n, cell["alpha"], g)
        plug_in = cell["loop"].endswith("plug-in")
        assert cell["bound"] == pytest.approx(path[-1] if plug_in else u, rel=1e-9)
        worst = max(worst, abs(cell["measured"] / cell["bound"] - 1))
        other = u if plug_in else path[-1]
        rejected.append(g == 0 or not cell["low"] < other < cell["high"])
    for cell in cells(loop="empirical Bayes, plug-in"):
        u, g, alpha = cell["signal"], cell["generation"], cell["alpha"]
        if cell["quantity"].endswith("bound 1/(1/u_0 + g/2)"):
            assert cell["bound"] == pytest.approx(1 / (1 / u + g / 2))
            assert cell["bound"] <= 2 / g
        elif cell["quantity"].endswith("alpha u_0"):
            assert cell["bound"] == pytest.approx(alpha * u)
        elif cell["quantity"].endswith("pi^2/6"):
            assert cell["bound"] == pytest.approx(alpha * u + (1 - alpha) * np.pi**2 / 6)
        elif cell["quantity"].endswith("near its limit"):
            assert cell["bound"] == pytest.approx(refit_path(u, cell["repeats"], alpha, 200)[-1])
    ledger.record(
        f"claim {NAME}: orthogonal design", stored.claim(NAME)["verdict"], 1 + worst, all(rejected)
    )


def test_test_error_and_lost_task(ledger) -> None:
    lost = cells(loop="least squares, plug-in", quantity="task variance of written prompts, u")
    blind = cells(loop="least squares, plug-in", quantity=ERROR)
    for cell in lost:
        assert cell["bound"] == pytest.approx(refit(cell["signal"], cell["repeats"]), rel=1e-9)
    assert {cell["alpha"] > 0 for cell in lost} == {True, False}
    assert all(cell["bound"] == pytest.approx(0.01, rel=1e-12) for cell in blind)
    seeing = cells(loop="empirical Bayes, plug-in", quantity=ERROR, generation=1)
    ledger.record(
        f"claim {NAME}: squared error is blind",
        stored.claim(NAME)["verdict"],
        max(cell["measured"] for cell in blind) / 0.01,
        all(cell["low"] > 0.01 for cell in seeing)
        and all(cell["high"] < cell["signal"] for cell in lost),
    )


def test_prompts_read_again_and_linear_attention(ledger) -> None:
    worst = 0.0
    for cell in cells(quantity="task variance, m v/sigma^2"):
        u, g, alpha = cell["signal"], cell["generation"], cell["alpha"]
        h, limit, path = u / (1 + u), u**2 / (1 + 2 * u), [u]
        for _ in range(g):
            path.append(alpha * u + (1 - alpha) * path[-1] ** 2 / (1 + path[-1]))
        known = {
            "read again, frozen": limit + (u - limit) * h ** (2 * g),
            "read again, sampled": u,
            "read again, fitted": path[-1],
        }
        assert cell["bound"] == pytest.approx(known[cell["loop"]], rel=1e-9)
        if cell["verdict"] != "finding":
            worst = max(worst, abs(cell["measured"] / cell["bound"] - 1))
    d, length, sigma, alpha = 3, 12, 0.3, 0.3
    k = np.arange(1, length)
    real = (k * (k - 1) * d + k * d * (d + 2 + sigma**2)) / k**2
    best = (length - 1) * d / real.sum()
    residual = sigma**2 + d - np.array([0.0, *(2 * best * d - best**2 * real)])
    for generator, noises in (("plug-in", np.full(length, sigma)), ("predictive", residual**0.5)):
        gamma, path, squares = best / 2, [], []
        for _ in range(5):
            q = [d * noises[0] ** 2]
            for j in k[:-1]:
                growth = 1 + 2 * gamma / j + (d + 2) * gamma**2 / j**2
                q.append(q[-1] * growth + d * noises[j] ** 2)
            written = q / k**2
            squares.append(written)
            share = (1 - alpha) * written.sum()
            gamma = best + share / (alpha * real.sum() + share) * (gamma - best)
            path.append((gamma - best) / (-best / 2))
        for cell in cells(loop=f"linear attention, {generator}"):
            if "k" in cell:
                expected = squares[0][cell["k"] - 1]
            elif cell["generation"] == 0:
                expected = squares[0].sum() / real.sum()
            else:
                expected = path[cell["generation"] - 1]
            assert cell["bound"] == pytest.approx(expected, rel=1e-9)
            assert cell["optimum"] == pytest.approx(best)
    first = cells(loop="linear attention, plug-in", generation=1)
    ledger.record(
        f"claim {NAME}: prompts read again, linear attention",
        stored.claim(NAME)["verdict"],
        1 + worst,
        all(cell["high"] < 1 - alpha for cell in first),
    )


def test_the_transformer_is_a_finding(ledger) -> None:
    """Shown, never judged; its reference is the exact Bayes predictor, plug-in."""
    task = stored.config()["preset"]["task"]
    found = [c for c in stored.claim(NAME)["cells"] if c["loop"] == "transformer, plug-in"]
    assert found
    assert all(cell["verdict"] == "finding" and cell["bound"] is None for cell in found)
    d, m, sigma, tau = task["dim"], task["context"], task["noise"], task["prior_scale"]
    rng = np.random.default_rng(5)
    values = []
    for _ in range(4000):
        xs = rng.standard_normal((m, d))
        plugged = plug_in_covariance(xs, sigma, tau)[1]
        values.append(np.triu(plugged * (xs @ xs.T), 1).sum() / (d * m * (m - 1) / 2) / tau**2)
    (constant,) = (
        c["value"]
        for c in stored.claim(NAME)["constants"]
        if c["name"].startswith("implied task variance")
    )
    both = (2 / len(values)) ** 0.5 * np.std(values)
    assert constant == pytest.approx(np.mean(values), abs=5 * both)
    implied = [c for c in found if c["quantity"].startswith("implied")]
    ledger.record(
        f"claim {NAME}: transformer, plug-in over Bayes, plug-in",
        "finding",
        implied[0]["measured"] / constant,
    )

"""Claim `predictive_sampling`: the Bayes predictor's implied task variance, without the package.

Published and derived elsewhere in closed form only for orthogonal inputs; for Gaussian inputs the
covariance of plug-in labels is exact given the inputs: σ² L Lᵀ, with L the unit-lower-triangular
factor of C = τ² X Xᵀ + σ² I, where the predictive deviation gives C itself.
"""

import numpy as np
import pytest
import stored


def implied_variance(covariance: np.ndarray, xs: np.ndarray) -> float:
    m, d = xs.shape
    gram = xs @ xs.T
    return float(np.triu(covariance * gram, 1).sum() / (d * m * (m - 1) / 2))


def exact(count: int = 20_000) -> dict[str, tuple[float, float, float]]:
    """Of both Bayes generators: implied variance, its standard error, deviation of one prompt."""
    task = stored.config()["preset"]["task"]
    d, m, sigma, tau = task["dim"], task["context"], task["noise"], task["prior_scale"]
    rng = np.random.default_rng(0)
    means: dict[str, list[float]] = {"predictive": [], "plug_in": []}
    draws: dict[str, list[float]] = {"predictive": [], "plug_in": []}
    for _ in range(count):
        xs = rng.standard_normal((m, d))
        factor = np.linalg.cholesky(tau**2 * xs @ xs.T + sigma**2 * np.eye(m))
        roots = {"predictive": factor, "plug_in": sigma * factor / np.diag(factor)}
        for name, root in roots.items():
            means[name].append(implied_variance(root @ root.T, xs) / tau**2)
            ys = root @ rng.standard_normal(m)
            draws[name].append(implied_variance(np.outer(ys, ys), xs) / tau**2)
    return {
        name: (
            float(np.mean(means[name])),
            float(np.std(means[name]) / count**0.5),
            float(np.std(draws[name])),
        )
        for name in means
    }


def test_generators_of_the_committed_run(ledger):
    claim = stored.claim("predictive_sampling")
    reference = exact()
    prompts = 10_000 * claim["replicates"]  # behind each committed mean
    for name, (mean, stderr, deviation) in reference.items():
        (constant,) = (
            c["value"] for c in claim["constants"] if c["name"].endswith(f"predictor, {name}")
        )
        both = np.hypot(stderr, deviation / prompts**0.5)
        assert constant == pytest.approx(mean, abs=5 * both)
    assert reference["predictive"][0] == pytest.approx(1.0, abs=5 * reference["predictive"][1])
    assert reference["plug_in"][0] < 0.5
    for cell in claim["cells"]:
        if cell["direction"] == "above":
            inside = cell["low"] > cell["bound"]
        else:
            inside = cell["high"] < cell["bound"]
        assert (cell["verdict"] == "holds") == inside
    ledger.record(
        "claim predictive_sampling: implied task variance",
        status=claim["verdict"],
        tightness=max(c["measured"] / c["bound"] for c in claim["cells"] if c["bound"] == 0.5),
        control_rejected=claim["negative_control"]["rejected"],
    )

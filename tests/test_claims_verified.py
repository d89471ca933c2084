"""The claim about verified rows: it holds where it is right and fails where it is not."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import around

from icl_stl import references
from icl_stl.problems import Categorical, Gaussian, GaussianMean, Ols
from icl_stl.regimes import real_shares
from icl_stl.studies import Evidence, judge
from icl_stl.studies.presets import PRESETS
from icl_stl.studies.verified import claims

(CLAIM,) = claims.CLAIMS
PRESET = replace(PRESETS["tiny"], solvable_runs=10_000)


def oracle(experiment, rng):
    """Shares of wrong rows by simulation, as a problem observes them."""
    regime, runs, n, p = experiment.regime, experiment.runs, claims.VOTES, claims.WRONG
    x = rng.binomial(n, p, runs) / n
    chances = np.stack([x * regime.keep_wrong, (1 - x) * regime.keep_right])
    wrong, right, _ = rng.multinomial(n, np.vstack([chances, 1 - chances.sum(0)]).T).T
    share = wrong / (wrong + right)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = [np.where(s > 0, -s * np.log(s), 0) for s in (share, 1 - share)]
    seen = {"drift": abs(share - p), "excess": 2 * (share - p) ** 2, "entropy": sum(logs)}
    return {name: np.stack([a, a], 1) for name, a in seen.items()}


def observed(experiment, seed):
    """What is observed if the claim is right."""
    problem, regime, last = experiment.problem, experiment.regime, experiment.generations
    rng, seen = np.random.default_rng(seed), {}
    match problem:
        case Ols():
            radii = rng.chisquare(claims.DIM, experiment.runs) ** 0.5
            path = references.ols_region(radii, 1.0, regime.keep_radius, last)
            return {"excess": ((radii - path) ** 2).T}
        case GaussianMean():
            n = experiment.samples
            seen["excess"] = references.region_path(n, n, 1, 1.0, 1.0, claims.NEAR, last)
        case Gaussian():
            mixing = references.Mixing.of(regime.inner, experiment.samples, last)
            law = references.mean_variance_surest(mixing, 1.0, regime.keep_rate)
            seen = dict(zip(("excess", "variance"), law, strict=True))
        case Categorical() if regime.keep == "oracle":
            return oracle(experiment, rng)
        case Categorical() if regime.keep == "part":
            shares = real_shares(regime, experiment.samples, last)
            seen["drift"] = (1 - shares) * (1 - claims.SEEN)
        case _:
            path = references.law_surest(claims.LAW, regime.keep_rate, last)
            drift = np.abs(path - claims.LAW).sum(1) / 2
            scatter = rng.normal(0, 0.01, (experiment.runs, last + 1))
            scatter[:, last] = 0  # all loops have one symbol left
            return {"drift": drift + scatter}
    return {name: around(mean, experiment.runs, [seed, 0]) for name, mean in seen.items()}


@pytest.fixture(scope="module")
def good():
    return {e: observed(e, k) for k, e in enumerate(CLAIM.experiments(PRESET))}


def judged(experiments):
    return judge(CLAIM, Evidence(PRESET, experiments=experiments))


def test_it_holds_where_it_is_right(good):
    entry = judged(good)
    assert {cell["verdict"] for cell in entry["cells"]} == {"holds"}
    assert entry["negative_control"]["rejected"]


@pytest.mark.parametrize(
    ("kind", "name", "factor"),
    [
        (Ols, "excess", 0.8),  # it stays near to the truth
        (GaussianMean, "excess", 1.3),  # no gain
        (Gaussian, "variance", 1.2),
        ("oracle", "excess", 1.3),
        ("part", "drift", 1.2),
        ("confidence", "drift", 0.5),  # more symbols are left
    ],
)
def test_what_is_not_so_is_noticed(good, kind, name, factor):
    evidence = {}
    for experiment, arrays in good.items():
        regime = experiment.regime.keep
        symbols = isinstance(experiment.problem, Categorical)
        chosen = symbols and regime == kind if isinstance(kind, str) else None
        chosen = isinstance(experiment.problem, kind) if chosen is None else chosen
        changed = {name: arrays[name] * factor} if chosen else {}
        evidence[experiment] = arrays | changed
    assert judged(evidence)["verdict"] != "holds"

"""The tutorial, as a reader calls it, and with a learner or bound that is not of its theory."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from icl_stl.data import load_file
from icl_stl.studies import Evidence, judge
from icl_stl.studies.presets import PRESETS

TUTORIAL = Path(__file__).resolve().parent.parent / "scripts" / "tutorial.py"
CLAIM = "laplace_scale"


def test_it_ends_in_its_report(environment, tmp_path):
    done = subprocess.run(
        [sys.executable, TUTORIAL],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    out = tmp_path / "runs" / "tutorial"
    (entry,) = json.loads((out / "claims.json").read_text(encoding="utf-8"))["claims"]
    assert (entry["name"], entry["verdict"]) == (CLAIM, "holds")
    assert {one["family"] for one in entry["negative_control"]["families"]} == {
        "1 - α not squared",
        "half the bound",
        "bound without real rows",
    }
    assert entry["negative_control"]["rejected"]
    for name in (f"{CLAIM}.svg", "report.html"):
        assert "E W₁" in (out / name).read_text(encoding="utf-8")
    assert "runs/tutorial/report.html" in done.stdout


def test_it_is_short():
    assert len(TUTORIAL.read_text(encoding="utf-8").splitlines()) <= 120


@pytest.fixture(scope="module")
def tutorial():
    return load_file(TUTORIAL)


@pytest.fixture(scope="module")
def observed(tutorial):
    return [loops.run(0) for loops in (tutorial.BESIDE, tutorial.ALONE)]


def changed(tmp_path, *pairs):
    """The tutorial with something else in place of some of its text."""
    text = TUTORIAL.read_text(encoding="utf-8")
    for old, new in pairs:
        assert text.count(old) == 1
        text = text.replace(old, new)
    (tmp_path / "changed.py").write_text(text, encoding="utf-8")
    return load_file(tmp_path / "changed.py")


def judged(module, observed):
    (claim,) = module.CLAIMS
    experiments = dict(zip((module.BESIDE, module.ALONE), observed, strict=True))
    entry = judge(claim, Evidence(PRESETS["tiny"], experiments=experiments))
    return entry["verdict"], entry["negative_control"]["rejected"], entry["cells"]


FIT = "return weights @ abs(rows)"
BROKEN = {
    "biased": "return 1.2 * (weights @ abs(rows))",
    "median": "import jax.numpy as jnp\n\n"
    "    order = jnp.argsort(abs(rows))\n"
    "    at = jnp.argmax(jnp.cumsum(weights[order]) >= 0.5)\n"
    "    return abs(rows)[order][at] / np.log(2)",
}
"""A scale that is too large, and one that is right in the mean but varies more."""


@pytest.mark.parametrize("name", BROKEN)
def test_another_learner_violates_the_theory(tmp_path, name):
    module = changed(tmp_path, (FIT, BROKEN[name]), ("40_000", "4_000"))
    found = [loops.run(0) for loops in (module.BESIDE, module.ALONE)]
    verdict, _, cells = judged(module, found)
    assert verdict == "violated"
    wrong = {(c["quantity"], c["regime"]) for c in cells if c["verdict"] == "violated"}
    assert wrong >= {(module.SQUARE, "real rows"), (module.SQUARE, "no real rows")}


THEORIES = {
    "exactly that": ((), "holds", True),
    "a bound that is too small": ([("(3 - 2 * alpha)", "(2 - 2 * alpha)")], "violated", True),
    "a variance that is too large": ([("(1 + 1 / n)", "(1 + 20 / n)")], "violated", True),
    "a false statement that is true": ([("error(alpha, 1)", "error(alpha, 2)")], "holds", False),
}


@pytest.mark.parametrize("name", THEORIES)
def test_another_theory_is_noticed(tmp_path, observed, name):
    pairs, verdict, rejected = THEORIES[name]
    assert judged(changed(tmp_path, *pairs), observed)[:2] == (verdict, rejected)


def moments(n, m, alpha, b, generations):
    """E(θ_i - b)² from the moments E R², E R θ_i and E θ_i², without conditioning on R."""
    real = cross = square = b**2 * (1 + 1 / n)
    found = [square - b**2]  # E θ_i = b
    for _ in range(generations):
        kept, made = alpha, 1 - alpha
        square = kept**2 * real + 2 * kept * made * cross + made**2 * square * (1 + 1 / m)
        cross = kept * real + made * cross
        found.append(square - b**2)
    return np.array(found)


def test_what_it_derives_by_hand_is_what_moments_give(tutorial):
    b, n, m, alpha, last = (getattr(tutorial, name) for name in ("b", "n", "m", "alpha", "G"))
    for share in (alpha, 0.0):
        expected = moments(n, m, share, b, last)
        np.testing.assert_allclose(tutorial.squared_error(share), expected, rtol=1e-12)
    limit = moments(n, m, alpha, b, 200)
    assert np.all(np.diff(limit) > -1e-15)
    np.testing.assert_allclose(tutorial.bound, limit[-1] ** 0.5, rtol=1e-12)

"""The tutorial, as a reader calls it and with a learner that is not the one of its theory."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import icl_stl
from icl_stl import devices, loops

ROOT = Path(__file__).resolve().parent.parent
TUTORIAL = ROOT / "scripts" / "tutorial.py"
RUNS = 1000
RIGHT = ["E(θ - b)²", "E(θ - b)², no real rows", "E W₁"]
WRONG = ["E(θ - b)², 1 - α not squared", "E W₁, half the bound", "E W₁, no real rows"]


def call(environment, *arguments, cwd):
    return subprocess.run(
        [sys.executable, TUTORIAL, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def run_here(monkeypatch, out):
    """The tutorial in this process, where its parts can be replaced: the names it defines."""
    monkeypatch.setattr(devices, "use_all_cores", lambda cache: None)
    monkeypatch.setattr(sys, "argv", ["tutorial.py", "--runs", str(RUNS), "--out", str(out)])
    return runpy.run_path(str(TUTORIAL), run_name="__main__")


def verdicts(printed):
    """Found and expected verdict by statement; the table must line up."""
    lines = printed.splitlines()
    header = next(line for line in lines if line.startswith("statement"))
    rows = [line for line in lines if line.startswith("E")]
    at = [header.index(column) for column in ("interval", "verdict", "expected")]
    for row in rows:
        assert all(row[k - 1] == " " != row[k] for k in at), row
        assert re.search(r"\d [ ]\[[\d.]+, [\d.]+\] +[=≤] [\d.]+  ", row), row
    return {row[: row.index("  ")]: tuple(row[at[1] :].split()) for row in rows}


def test_right_statements_hold_and_wrong_ones_are_rejected(environment, tmp_path):
    done = call(environment, "--runs", RUNS, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    expected = dict.fromkeys(RIGHT, ("holds", "holds"))
    expected |= dict.fromkeys(WRONG, ("violated", "violated"))
    assert verdicts(done.stdout) == expected
    out = tmp_path / "runs" / "tutorial"
    assert {path.name for path in out.iterdir()} == {"tutorial.svg"}
    drawn = (out / "tutorial.svg").read_text(encoding="utf-8")
    for words in ("generation i", "in units of z", "half of it, rejected", "95 % Student"):
        assert words in drawn
    caption = done.stdout.split("\n\n")[-1]
    assert "See: " in caption
    assert all(line in drawn for line in caption.splitlines()[:-1])


def median(rows, weights):
    order = jnp.argsort(rows)
    return rows[order][jnp.argmax(jnp.cumsum(weights[order]) >= 0.5)]


BROKEN = {
    "biased": lambda rows, weights: 1.2 * (weights @ jnp.abs(rows)),
    "median": lambda rows, weights: median(jnp.abs(rows), weights) / np.log(2),
}
"""A scale that is too large, and one that is right in the mean but varies more."""


@pytest.mark.parametrize("name", BROKEN)
def test_another_learner_violates_the_theory(monkeypatch, capsys, tmp_path, name):
    self_consume = loops.self_consume

    def with_another(key, learner, *arguments, **named):
        learner = learner._replace(fit=lambda key, rows, weights: BROKEN[name](rows, weights))
        return self_consume(key, learner, *arguments, **named)

    monkeypatch.setattr(loops, "self_consume", with_another)
    with pytest.raises(SystemExit) as ended:
        run_here(monkeypatch, tmp_path)
    assert ended.value.code == 1
    found = verdicts(capsys.readouterr().out)
    assert [found[statement] for statement in RIGHT[:2]] == [("violated", "holds")] * 2


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


def test_what_it_derives_by_hand_is_what_moments_give(monkeypatch, tmp_path):
    names = run_here(monkeypatch, tmp_path)
    b, n, m, alpha, last = (names[name] for name in ("b", "n", "m", "alpha", "G"))
    for share in (alpha, 0.0):
        expected = moments(n, m, share, b, last)
        np.testing.assert_allclose(names["squared_error"](share), expected, rtol=1e-12)
    limit = moments(n, m, alpha, b, 200)
    assert np.all(np.diff(limit) > -1e-15)
    np.testing.assert_allclose(names["bound"], limit[-1] ** 0.5, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--runs", "1"), ["runs", "1", "at least 2"]),
        (("--seed", "-1"), ["seed", "-1", "[0, 2^31)"]),
        (("--seed", "half"), ["seed", "half"]),
        (("--out", "file"), ["out", "file", "folder"]),
        (("--out", ""), ["out", "''"]),
        (("--nonsense", "1"), ["nonsense"]),
    ],
)
def test_bad_usage_is_refused_before_jax_is_loaded(monkeypatch, capsys, tmp_path, arguments, named):
    (tmp_path / "file").write_text("content")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tutorial.py", *arguments])
    for module in ("jax", "icl_stl.loops", "icl_stl.learners", "icl_stl.devices"):
        monkeypatch.setitem(sys.modules, module, None)
        monkeypatch.delattr(icl_stl, module.rpartition(".")[2], raising=False)
    with pytest.raises(SystemExit) as refusal:
        runpy.run_path(str(TUTORIAL), run_name="__main__")
    said = capsys.readouterr()
    assert (refusal.value.code, said.out) == (2, "")
    for word in named:
        assert word in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

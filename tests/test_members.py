"""A user's problems and regimes are run, swept, resumed and refused as ours are."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from icl_stl import members
from icl_stl.config import Training
from icl_stl.lab import solvable
from icl_stl.lab.sweeps import batches, grids
from icl_stl.problems import PROBLEMS, GaussianMean, expected_excess
from icl_stl.regimes import MAD_LOOPS, REGIMES, Augment, FreshReal, Replace, real_share

ROOT = Path(__file__).resolve().parent.parent
PROBLEM, REGIME = (ROOT / "tests" / "extend" / f"loop_{kind}.py" for kind in ("problem", "regime"))
TINY = [
    *("--dim", "1", "--context", "2", "--held-out", "16", "--steps", "5", "--batch", "8"),
    *("--depth", "1", "--width", "8", "--heads", "2"),
]

# --- what a name means ---------------------------------------------------------------------------


def test_options_are_the_fields_of_the_member():
    found = members.problem(f"{PROBLEM}:Nothing")
    assert found.options["place"] == (float, 1.0, "Where the law begins, plus its mean.")
    assert list(found.options) == ["place", "kind", "spare"]
    assert found.made({"place": 2.0}).place == 2
    assert found.title.startswith("loop_problem.py:Nothing#")
    ours = members.problem("gaussian_mean")
    assert ours.made({"noise": 0.5}) == GaussianMean(0.5)
    assert ours.options["noise"].help == "σ, deviation of the normal law."
    assert all(one.help for kind in REGIMES for one in members.regime(kind).options.values())
    said = "\n".join(members.listed("problems"))
    assert all(f"{name}\n" in said for name in PROBLEMS)
    assert "--noise (1.0): σ, deviation of the normal law." in said


@pytest.mark.parametrize(
    ("words", "given", "regime"),
    [
        ("augment", {}, Augment(0.5)),
        ("augment", {"lam": 3.0, "weight": 0.5}, Augment(0.25, 0.5)),
        ("fresh", {"alpha": 0.25}, FreshReal(3.0)),
        ("replace", {"lam": 2.0}, Replace(2.0)),
        ("mad-fresh-data", {}, MAD_LOOPS["mad-fresh-data"]),
    ],
)
def test_regimes_of_the_package_take_two_ways_to_say_their_share(words, given, regime):
    assert members.regime(words).made(given) == regime


def test_every_learner_has_the_defaults_that_it_always_had():
    usual = {word: members.learner(word).options for word in members.LEARNERS}
    said = {word: {n: one.default for n, one in usual[word].items()} for word in usual}
    assert said["ols"] == {"dim": 2, "noise": 0.5, "foreign": None}
    assert said["lsa"] == {
        **{"dim": 2, "context": 8, "noise": 0.5, "penalty": 1e-3},
        **{"generator": "query", "law": "gaussian"},
    }
    assert said["empirical-bayes"] == {
        **{"dim": 2, "context": 8, "noise": 0.5, "plug_in": False},
        "sampling_bias": 1.0,
    }
    made = {word: grids.setting({"learner": word}).problem for word in usual}
    assert (made["lsa"].examples, made["empirical-bayes"].repeats) == (8, 4)
    assert made["categorical"].probabilities == (0.1,) * 10
    assert made["bayes"].architecture is None
    assert made["transformer"].training == Training()


# --- what is refused -----------------------------------------------------------------------------

HEAD = """
from dataclasses import dataclass, field
from icl_stl.problems import Problem
from icl_stl.problems.gaussian_mean import GaussianMean as Base
from icl_stl.regimes import Regime
class Some(Regime):
    def synthetic_size(self, samples): return samples
    def share(self, generation): return 0.5
"""
REFUSED = [
    ("", {"problem": "nowhere.py:Mine"}, "^problem must name .* there is no file nowhere.py$"),
    ("", {"regime": "nowhere.py:Mine"}, "^regime must name .* there is no file nowhere.py$"),
    ("x = (", {"problem": "mine.py:Mine"}, "mine.py cannot be imported: SyntaxError"),
    ("import nowhere_at_all", {"problem": "mine.py:M"}, "mine.py cannot be .*ModuleNotFoundError"),
    ("class Mine(Base): ...", {"problem": "mine.py:Mien"}, r"\(Mine\) \(did you mean 'Mine'\?\)"),
    ("Mine = 3", {"problem": "mine.py:Mine"}, r"problem must be .* derives from Problem \(none\)"),
    ("class Mine(Base): ...", {"regime": "mine.py:Mine"}, "regime must be .*Regime .Some"),
    ("class Mine(Problem): ...", {"problem": "mine.py:Mine"}, "defines draw, loss, learner"),
    ("class Mine(Regime): ...", {"regime": "mine.py:Mine"}, "defines share, synthetic_size"),
    (
        "@dataclass(frozen=True)\nclass Mine(Base):\n    samples: int = 3",
        {"problem": "mine.py:Mine"},
        r"a field of problem mine.py:Mine must be no option of the command .*'samples'",
    ),
    (
        "@dataclass(frozen=True)\nclass Mine(Some):\n    learner: int = 3",
        {"regime": "mine.py:Mine"},
        "a field of regime mine.py:Mine must be no option of the command .*'learner'",
    ),
    (
        "@dataclass(frozen=True, kw_only=True)\nclass Mine(Base):\n    of: Base",
        {"problem": "mine.py:Mine"},
        "the field of of problem mine.py:Mine must be a type that an option can say",
    ),
    (
        "@dataclass(frozen=True)\nclass Mine(Base):\n    of: Base = Base()",
        {"problem": "mine.py:Mine", "of": 3},
        "of of problem .*mine.py:Mine is of the type GaussianMean, which no option can say",
    ),
    ("", {"problem": "in_context", "task": 3}, "task of problem in_context .* LinearRegression"),
    (
        "@dataclass(frozen=True)\nclass Mine(Base):\n    some: list = field(default_factory=list)",
        {"problem": "mine.py:Mine"},
        "mine.py:Mine must be a frozen dataclass whose fields can be hashed.* unhashable",
    ),
    (
        "@dataclass(frozen=True)\nclass Mine(Base):\n    lam: float = 1.0",
        {"problem": "mine.py:Mine", "regime": "replace"},
        r"fields of problem .*Mine and regime replace must be named differently.*\['lam'\]",
    ),
    (
        "@dataclass(frozen=True)\nclass Mine(Base):\n    gap: float = 1.0",
        {"problem": "mine.py:Mine"},
        r"a field of .*mine.py:Mine must be no column of a table of results.*\['gap'\]",
    ),
    (
        "@dataclass(frozen=True)\nclass Mine(Base):\n    much: float = 1.0",
        {"problem": "mine.py:Mine", "much": "a lot"},
        "much must be a number, but it is 'a lot'",
    ),
    (
        "@dataclass(frozen=True)\nclass Mine(Base):\n    two: tuple[float, float] = (1.0, 2.0)",
        {"problem": "mine.py:Mine", "two": [1.0]},
        r"two must be a list of 2 values, but it is \[1.0\]",
    ),
    (
        "@dataclass(frozen=True, kw_only=True)\nclass Mine(Base):\n    needed: int",
        {"problem": "mine.py:Mine"},
        "needed must be given",
    ),
    (
        "class Mine(Base):\n    def __post_init__(self): raise KeyError('it')",
        {"problem": "mine.py:Mine"},
        "problem .*mine.py:Mine: KeyError: 'it'",
    ),
    (
        "@dataclass(frozen=True)\nclass Mine(Base):\n    size: int = 5",
        {"problem": "mine.py:Mine"},
        "a field of Mine must be a name that Problem has no other use for, but it is 'size'",
    ),
    (
        "from typing import Literal\n@dataclass(frozen=True)\nclass Mine(Base):\n"
        "    order: Literal[1, 2] = 1",
        {"problem": "mine.py:Mine", "order": 3},
        "order must be one of 1, 2, but it is 3",
    ),
    (
        "class Mine(Base):\n    rate: float = 0.5",
        {"problem": "mine.py:Mine"},
        r"problem must be a class with @dataclass\(frozen=True\)",
    ),
    ("", {"problem": "ols", "learner": "ols"}, "learner and problem say the same thing"),
    ("", {"problem": "olss"}, r"problem must be one of .*FILE.py:NAME \(did you mean 'ols'\?\)"),
    ("", {"problem": "ols", "depth": 3}, "depth must be left out with the problem 'ols'"),
    ("", {"regime": 3}, "regime must be a name, but it is 3"),
    (
        "class Mine(Some):\n    def share(self, i): return 1.5",
        {"regime": "mine.py:Mine"},
        r"share\(1\) of the regime 'Some' must be a number in \[0, 1\], but it is 1.5",
    ),
    (
        "class Mine(Some):\n    def synthetic_size(self, samples): return 2.5",
        {"regime": "mine.py:Mine"},
        r"synthetic_size\(1000\) of the regime 'Some' must be a whole number .* but it is 2.5",
    ),
]


@pytest.mark.parametrize(("text", "given", "complaint"), REFUSED, ids=lambda v: str(v)[-40:])
def test_what_is_wrong_with_a_file_is_named(tmp_path, monkeypatch, text, given, complaint):
    monkeypatch.chdir(tmp_path)
    if text:
        (tmp_path / "mine.py").write_text(HEAD + text)
    with pytest.raises(ValueError, match=complaint):
        grids.setting(given)


SUM = r"weights of at least 0 that sum to 1, .* generation 1 "
WRONG = [
    ("def draw(self, key, truth, count): return jnp.zeros(count + 1)", "", "problem.draw returns"),
    ("def loss(self, params, rows): return rows.sum()", "", "problem.loss returns"),
    (
        "draw = lambda self, key, truth, n: jnp.zeros(n)\n    learner = property("
        "lambda self: Learner(lambda k, r, w: w @ r, lambda k, p, n: jnp.zeros(3)))",
        "",
        "learner.generate returns",
    ),
    ("def excess(self, truth, params): return jnp.zeros(2)", "", "problem.excess must be of the"),
    ("", "def mix(self, step): return step.real, jnp.ones(9) / 9", "regime 'Some' returns"),
    ("", "def mix(self, step): return step.real, jnp.ones(8)", SUM),
    ("", "def mix(self, step): return step.real, jnp.ones(8).at[0].set(-6)", SUM),
    ("", "def share(self, generation): return generation - 0.5", r"share\(2\) .* it is 1.5"),
]


@pytest.mark.parametrize(("problem", "regime", "complaint"), WRONG, ids=lambda v: str(v)[:50])
def test_what_a_member_returns_is_looked_at(tmp_path, problem, regime, complaint):
    text = "import jax.numpy as jnp\nfrom icl_stl.learners import Learner\n"
    text += f"class Mine(Base):\n    closed_form = None\n    {problem or 'pass'}\n"
    (tmp_path / "mine.py").write_text(HEAD + text)
    text = f"import jax.numpy as jnp\n{HEAD}class Mine(Some):\n    {regime or 'pass'}\n"
    (tmp_path / "rule.py").write_text(text)
    given = {"problem": f"{tmp_path}/mine.py:Mine", "regime": f"{tmp_path}/rule.py:Mine"}
    setting = grids.setting({**given, "samples": 8, "generations": 2, "runs": 2})
    with pytest.raises(ValueError, match=complaint):
        solvable.simulate(setting.problem, setting.regime, samples=8, generations=2, runs=2)


def test_a_closed_form_of_another_shape_is_refused(tmp_path):
    text = "class Mine(Base):\n    def closed_form(self, regime, n, last): return [1.0] * last"
    (tmp_path / "mine.py").write_text(HEAD + text)
    problem = members.problem(f"{tmp_path}/mine.py:Mine").made({})
    with pytest.raises(ValueError, match=r"closed_form of the problem 'mine' .*shape \(4,\)"):
        expected_excess(problem, Replace(), 9, 3)


# --- grids ---------------------------------------------------------------------------------------


def test_a_file_that_changes_is_another_setting(tmp_path):
    path = tmp_path / "mine.py"
    found = []
    for share in ("0.5", "0.25", "0.5"):
        path.write_text(f"{HEAD}\nclass Mine(Some):\n    def share(self, i): return {share}\n")
        found.append(grids.setting({"regime": f"{path}:Mine"}))
    assert found[0].identity == found[2].identity != found[1].identity
    assert found[0].columns["regime"] != found[1].columns["regime"]
    assert [real_share(one.regime, 9, 1) for one in found] == [0.5, 0.25, 0.5]


def test_cells_of_members_are_told_apart_and_the_same_are_one(tmp_path):
    content = {
        "problem": f"{PROBLEM}:Nothing",
        "grid": [
            {"place": [1, 1.0, 2.0], "spare": [[1.0, 2.0], [3.0]]},
            {"place": 2.0, "spare": [3]},
            {"spare": [-0.0]},
            {"spare": [0.0]},
        ],
    }
    found = grids.grid_settings(content)
    said = [(one.problem.place, one.problem.spare) for one in found]
    assert said == [*((1, (1, 2)), (1, (3,)), (2, (1, 2)), (2, (3,)), (1, (0,)))]
    assert str(found[-1].problem.spare) == "(0.0,)"  # not -0.0
    flat = {"learner": ["ols"], "noise": [0.5]}
    same = {"problem": "ols", "dim": 2, "noise": 0.5}
    assert len(grids.grid_settings({"grid": [flat, same]})) == 1
    (tmp_path / "mine.py").write_text(HEAD)  # beside the grid, wherever the command runs
    (tmp_path / "grid.toml").write_text("regime = 'mine.py:Some'\n")
    (one,) = grids.read_grid(tmp_path / "grid.toml")
    assert one.given["regime"] == f"{tmp_path / 'mine.py'}:Some"


def test_a_sweep_gives_every_generation_its_share():
    """The program of a regime of one's own takes the share of each generation, no size."""
    regime = {"regime": f"{REGIME}:Halving", "first": 0.4, "learning_rate": 0.01}
    setting = grids.setting({**regime, "samples": 8, "generations": 3})
    shape = batches.shape_of(setting)
    assert (shape.regime, shape.samples, shape.filled) == (setting.regime, 8, True)
    found = [batches.numbers_of([setting], i, filled=True) for i in range(4)]
    assert [one.share.tolist() for one in found] == [[pytest.approx(0.4 / k)] for k in (1, 1, 2, 4)]
    assert found[0].samples is found[0].n_syn is None
    assert found[0].learning_rate.tolist() == [pytest.approx(0.01)]


# --- as a person runs them -----------------------------------------------------------------------


@pytest.fixture(scope="session")
def run(request, tmp_path_factory):
    """Run the command in a folder; programs compile once."""
    cache = getattr(request.config, "cache", None)
    kept = cache.mkdir("scripts") if cache else tmp_path_factory.mktemp("cache")
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(kept)}

    def run(cwd, *words, **more):
        return subprocess.run(
            [sys.executable, "-m", "icl_stl.commands", *map(str, words)],
            cwd=cwd,
            env={**environment, **more},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def rows_of(done, path):
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text())["generations"]


def test_a_problem_of_ones_own_is_run_swept_and_agrees_with_its_closed_form(run, tmp_path):
    problem = f"{PROBLEM}:Everything"
    sizes = {"samples": 12, "generations": 2, "runs": 300, "seed": 1}
    words = [word for n, v in sizes.items() for word in (f"--{n}", v)]
    options = ["--problem", problem, "--place", "2", "--spare", "1,2", "--spare", "3"]
    done = run(tmp_path, "loop", *options, "--regime", "replace", *words, "--json", "a.json")
    rows = rows_of(done, tmp_path / "a.json")
    for i, row in enumerate(rows):
        known = row["excess_risk"]
        assert known["closed_form"] == pytest.approx((i + 1) / 12)
        assert abs(known["mean"] - known["closed_form"]) < 4 * known["stderr"]
        assert 0 < row["drift"] < 1
        assert (row["eps"], row["n_train"]) == (None, 12)
    assert json.loads((tmp_path / "a.json").read_text())["settings"]["spare"] == [1, 2, 3]
    transformer = {**dict(zip([w[2:] for w in TINY[::2]], map(int, TINY[1::2]), strict=True))}
    transformer["held_out"] = transformer.pop("held-out")
    blocks = [
        {**sizes, "problem": problem, "place": 2.0, "regime": ["replace", f"{REGIME}:Halving"]},
        {**sizes, "learner": "gaussian", "regime": f"{REGIME}:Halving", "first": [0.25, 0.5]},
        {"samples": 16, "generations": 2, **transformer, "regime": f"{REGIME}:Halving"},
    ]
    (tmp_path / "grid.json").write_text(json.dumps({"grid": blocks}))
    done = run(tmp_path, "sweep", "grid.json", "--out", "out")
    assert done.returncode == 0, done.stdout
    table = list(csv.DictReader((tmp_path / "out" / "sweep.csv").read_text().splitlines()))
    assert len(table) == 15
    assert "out/report.html" in done.stdout
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "icl-stl sweep grid.json" in page
    assert f"{sum(row['generation'] == '0' for row in table)} settings, " in page
    own = [row for row in table if row["problem"] and row["regime"] == "replace"]
    for name, pick in (("excess_risk", "mean"), ("excess_risk_stderr", "stderr")):
        expected = [row["excess_risk"][pick] for row in rows]
        np.testing.assert_allclose([float(row[name]) for row in own], expected, rtol=1e-4)
    assert [float(row["excess_risk_closed_form"]) for row in own] == [k / 12 for k in (1, 2, 3)]
    halving = [row for row in table if row["problem"] and row["regime"] != "replace"]
    assert all(row["excess_risk_closed_form"] == "" != row["excess_risk"] for row in halving)
    ours = [row for row in table if row["learner"] == "gaussian"]
    assert {row["first"] for row in ours} == {"0.25", "0.5"}
    # θ_1 is the mean of 12 real rows with share α and of 4 others with 1 - α, whose law has mean
    # θ_0 = the same real mean: variance/12 + (1 - α)² variance/4.
    for row in ours[1::3]:
        law = 0.25 / 12 + (1 - float(row["first"])) ** 2 * 0.25 / 4
        assert abs(float(row["excess_risk"]) - law) < 4 * float(row["excess_risk_stderr"])
    (first, *_) = (row for row in table if row["learner"] == "transformer")
    assert 0 < float(first["drift"]) <= 1


def test_what_a_problem_does_not_know_is_null(run, tmp_path):
    options = ["--problem", f"{PROBLEM}:Nothing", "--regime", f"{REGIME}:Halving", "--first", "0.4"]
    sizes = ["--samples", "12", "--generations", "1", "--runs", "50", "--json", "a.json"]
    rows = rows_of(run(tmp_path, "loop", *options, *sizes), tmp_path / "a.json")
    for row in rows:
        assert row["excess_risk"] == {"mean": None, "stderr": None, "closed_form": None}
        assert row["drift"] is row["eps"] is row["drift_stderr"] is None
        assert row["gap"] > 0
    assert rows[1]["n_train"] is None  # only `mix` knows
    # Squared error of a new row of variance 1 around θ_1, whose variance is as above.
    for row, square in zip(rows, (1 / 12, 1 / 12 + 0.6**2 / 4), strict=True):
        assert abs(row["risk"]["mean"] - 1 - square) < 4 * row["risk"]["stderr"]


def test_a_killed_loop_in_a_regime_of_ones_own_goes_on_with_the_same_numbers(run, tmp_path):
    options = ["loop", *TINY, "--samples", "16", "--generations", "3", "--runs", "2"]
    options += ["--regime", f"{REGIME}:Mortal", "--json"]
    assert run(tmp_path, *options, "a.json", MORTAL="1").returncode == -9
    done = run(tmp_path, *options, "a.json")
    again = rows_of(done, tmp_path / "a.json")
    assert "generation 2" in done.stderr
    assert "generation 1" not in done.stderr
    (tmp_path / "other").mkdir()
    whole = rows_of(run(tmp_path / "other", *options, "a.json"), tmp_path / "other" / "a.json")
    assert whole == again
    assert [row["eps"] for row in whole] == [None] * 4  # the training law is the regime's own

"""Models outside JAX: what they are given, what they may do wrong, and how their loops go on."""

import json
import sys
import time

import jax
import numpy as np
import pytest

from icl_stl import commands
from icl_stl.data import Command, FromFile, Sheet, Task, UnfitError
from icl_stl.lab import outside, runs
from icl_stl.lab.experiments import Job
from icl_stl.problems.table import Table
from icl_stl.regimes import Accumulate, Anchored, Augment, FreshReal, Replace

ROWS = np.random.default_rng(0).normal(size=(60, 2)) * [1.0, 1e-3] + [1e9, 0.1]
MODELS = '''
import numpy as np
SEEN = []

class Normal:
    """Independent normal columns, in double precision."""
    def fit(self, rows):
        SEEN.append(rows)
        self.law = rows.mean(axis=0), rows.std(axis=0)
    def sample(self, count, seed):
        return np.random.default_rng(seed).normal(*self.law, (count, 2))
class Weighted(Normal):
    def fit(self, rows, weights=None):
        SEEN.append((rows, weights))
        self.law = weights @ rows, rows.std(axis=0)
class Scored(Weighted):
    def score_samples(self, rows):
        return 1e9 - rows[:, 0]
class AsScikit(Normal):
    random_state = None
    def fit(self, X, y=None, sample_weight=None):
        assert y is None
        self.state = self.random_state
    def sample(self, n_samples=1):
        assert self.random_state != self.state
        return np.random.default_rng(self.random_state).normal(size=(n_samples, 2)), "labels"
class Sorted(Normal):
    def sample(self, count, seed):
        return np.arange(2.0 * count).reshape(count, 2)
class Other(Normal):
    def fit(self, rows):
        return Sorted()
class Few(Normal):
    def sample(self, count, seed): return np.zeros((count - 1, 2))
class Wide(Normal):
    def sample(self, count, seed): return np.zeros((count, 3))
class Nan(Normal):
    def sample(self, count, seed): return np.full((count, 2), np.nan)
class Nothing(Normal):
    def sample(self, count, seed): return None
class Words(Normal):
    def sample(self, count, seed): return [["a", "b"]] * count
class Raises(Normal):
    def fit(self, rows): raise KeyError("the optimiser")
class Slow(Normal):
    def fit(self, rows):
        while True: pass
class Lossy(Normal):
    def score_samples(self, rows): return np.zeros(3)
class Infinite(Normal):
    def score_samples(self, rows): return np.full(len(rows), -np.inf)
class Flaky(Normal):
    tries = []
    def fit(self, rows):
        self.tries.append(rows)
        if len(self.tries) < 3: raise OSError("not yet")
        super().fit(rows)
class Mute:
    def fit(self, rows): pass
'''


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models.py").write_text(MODELS)
    np.save(tmp_path / "rows.npy", ROWS)


def task(place, **more):
    sheet = Sheet(ROWS, ("x", "y, of it"))
    return Task(ROWS, None, 40, (0, 1, 2), sheet, ROWS[:5], place / "models" / "one")._replace(
        **more
    )


def model(name, **options):
    return FromFile(FromFile.named(f"models.py:{name}").words, **options)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Few", r"rows of the shape \(40, 2\), but wrote \(39, 2\)"),
        ("Wide", r"rows of the shape \(40, 2\), but wrote \(40, 3\)"),
        ("Nan", r"finite numbers, but row 1, column 1 \('x'\) is nan"),
        ("Nothing", "must return rows, but returned nothing"),
        ("Words", "must return rows, but returned .*'a', 'b'"),
        ("Raises", "KeyError: 'the optimiser'"),
        ("Slow", "longer than time_limit = 0.2 seconds"),
        ("Lossy", r"must return 5 numbers, but returned \(3,\)"),
        ("Infinite", "must return finite numbers, but one is -inf"),
        ("Flaky", r"OSError: not yet \(2 tries\)"),
    ],
)
def test_what_a_model_does_wrong_is_said(tmp_path, name, said):
    options = {"Slow": {"time_limit": 0.2}, "Flaky": {"retries": 1}}.get(name, {})
    with pytest.raises(UnfitError, match=said):
        model(name, **options).written(task(tmp_path))


def test_a_class_is_told_what_it_lacks():
    with pytest.raises(ValueError, match=r"; Mute has no sample, but it is 'models.py:Mute'"):
        model("Mute")


def test_a_model_is_seeded_retried_and_its_rows_shuffled(tmp_path):
    first, again = (model("AsScikit").written(task(tmp_path)).rows for _ in range(2))
    other = model("AsScikit").written(task(tmp_path, seed=(0, 1, 3))).rows
    np.testing.assert_array_equal(first, again)
    assert not np.isin(first, other).any()
    for name in ("Sorted", "Other"):  # what a fit returns may be the model
        rows = model(name).written(task(tmp_path)).rows
        assert np.any(np.diff(rows[:, 0]) < 0)
        assert np.sort(rows.ravel()).tolist() == list(range(80))
    module = sys.modules[model("Flaky").kind.__module__]
    module.Flaky.tries.clear()
    assert model("Flaky", retries=2).written(task(tmp_path)).rows.shape == (40, 2)


# --- commands ------------------------------------------------------------------------------------

PROGRAM = """
import sys, time
import numpy as np
train, out, count, how = sys.argv[1:]
print("the word is", how, flush=True)
if how == "slow": time.sleep(60)
if how == "fail": sys.exit(3)
if how == "words": open(out, "w").write("a,b\\n" * 41)
if how == "other": open(out, "w").write("y,x\\n" + "1,2\\n" * 40)
if how == "csv":
    first = open(train).readline()
    rows = np.loadtxt(train, delimiter=",", skiprows=1)
    open(out, "w").write(first + "".join(f"{a!r},{b!r}\\n" for a, b in [*rows.tolist()] * 2))
if how == "npy": np.save(out, np.concatenate([np.load(train)] * 2)[:int(count)])
"""


@pytest.mark.parametrize("how", ["csv", "npy"])
def test_a_command_reads_and_writes_exact_rows(tmp_path, how):
    (tmp_path / "p.py").write_text(PROGRAM)
    places = "{train} {out}" if how == "csv" else "{train.npy} {out.npy}"
    made = Command.named(f"{sys.executable} p.py {places} {{count}} {how}")
    rows = made.written(task(tmp_path, wanted=120)).rows
    assert np.sort(rows[:, 0]).tolist() == np.sort(np.tile(ROWS[:, 0], 2)).tolist()
    (log,) = (tmp_path / "models").iterdir()  # the files are gone
    assert f"the word is {how}" in log.read_text()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("fail", "status 0, but ended with 3: the word is fail"),
        ("slow", "longer than time_limit = 1 seconds"),
        ("none", "must be a readable file.*No such file"),
        ("words", "column 'a' holds words|'a' holds words"),
        ("other", "its columns must be .*'x', 'y, of it'.*, but they are .*'y', 'x'"),
    ],
)
def test_a_command_that_fails_says_how_and_its_output_is_kept(tmp_path, how, said):
    (tmp_path / "p.py").write_text(PROGRAM)
    words = f"{sys.executable} p.py {{train}} {{out}} {{count}} {how}"
    start = time.monotonic()
    with pytest.raises(UnfitError, match=said):
        Command(
            words, retries=1 if how == "fail" else 0, time_limit=1 if how == "slow" else None
        ).written(task(tmp_path))
    assert time.monotonic() - start < 30
    log = (tmp_path / "models" / "one.log").read_text()
    assert log.count(f"the word is {how}") == (2 if how == "fail" else 1)


# --- loops ---------------------------------------------------------------------------------------


def run(tmp_path, name, regime, generations=2, replicates=2, samples=24, folder="run", **options):
    problem = Table("rows.npy", model(name, **options))
    of = runs.Folder(tmp_path / folder, {"of": name})
    job = Job(problem, samples, generations, replicates)
    return problem, outside.run_loops(job, regime, seed=0, folder=of)


def seen(name="Normal"):
    return sys.modules[model(name).kind.__module__].SEEN


@pytest.mark.parametrize("regime", [Augment(0.5), Replace(0.5), Accumulate(), FreshReal()])
def test_every_generation_sees_the_rows_of_its_regime_and_none_that_are_held_out(tmp_path, regime):
    seen().clear()
    _, result = run(tmp_path, "Normal", regime, samples=16)
    fits = seen()
    sizes = [regime.training_size(16, i) if i else 16 for i in range(3)]
    assert [len(rows) for rows in fits] == [n for n in sizes for _ in range(2)]
    for r in range(2):
        real = [rows[np.isin(rows[:, 0], ROWS[:, 0])] for rows in fits[r::2]]
        assert [len(rows) for rows in real] == [16] + [0 if regime == Replace(0.5) else 16] * 2
        with jax.enable_x64(True):
            held = np.asarray(runs.draw_replicates(Table("rows.npy", model("Normal")), 16, 2, 0)[3])
        assert np.isin(held[r][:, 0], ROWS[:, 0]).all()
        assert not any(np.isin(rows[:, 0], held[r][:, 0]).any() for rows in fits[r::2])
        for rows in real[1:]:  # exactly, in double precision, and in the units of the file
            same = {*rows[:, 0].tolist()} == {*real[0][:, 0].tolist()}
            assert same != regime.fresh_real or not len(rows)
    assert not result.failures
    assert result["energy"].shape == (2, 3)
    assert ("eps_low" in result.observations) == regime.mixes_last


def test_the_gap_of_a_model_with_a_density_is_against_its_own_weighted_rows(tmp_path):
    seen("Scored").clear()
    _, result = run(tmp_path, "Scored", Anchored(0.25))
    training = [weights @ (rows[:, 0] - 1e9) for rows, weights in seen("Scored")]
    gap = result["held_out_loss"] - np.reshape(training, (3, 2)).T
    np.testing.assert_allclose(result["gap"], gap, atol=1e-6)


def test_a_step_is_measured_from_what_it_was_trained_on():
    """Far from the real rows, and as its own generation before: no error where no row was real."""
    problem, rng = Table("rows.npy", model("Normal")), np.random.default_rng(1)
    held, made, before = (rng.normal(size=(200, 2)) for _ in range(3))
    alone = problem.distances(held, made + 50, (before + 50, 0.0))
    assert alone["tv_low"] > 0.9
    assert alone["eps_low"] < 0.2
    half = problem.distances(held, made + 50, (before + 50, 0.5))
    assert 0.3 < half["eps_low"] < 0.6
    every = problem.distances(held, made + 50, (before + 50, 1.0))
    assert every["eps_low"] > 0.9
    assert "eps_low" not in problem.distances(held, made)
    gone = problem.distances(held, made, (np.full_like(before, np.nan), 0.5))
    assert all(np.isnan(value) for value in gone.values())


def test_weights_reach_a_model_that_takes_them(tmp_path):
    seen("Weighted").clear()
    run(tmp_path, "Weighted", Anchored(0.25))
    *_, (rows, weights) = seen("Weighted")
    assert weights.sum() == pytest.approx(1)
    real = np.isin(rows[:, 0], ROWS[:, 0])
    assert weights[real].sum() == pytest.approx(0.25)
    assert (real.sum(), len(rows)) == (24, 72)
    assert (weights > 0).all()


def test_a_loop_that_was_stopped_goes_on_with_the_same_numbers(tmp_path):
    _, whole = run(tmp_path, "Normal", Accumulate(), folder="whole")
    kind, fits = model("Normal").kind, []
    fit = kind.fit

    def stopped(self, rows):
        fits.append(len(rows))
        if len(fits) == 4:  # the second run of generation 1
            raise KeyboardInterrupt
        fit(self, rows)

    kind.fit = stopped
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "Normal", Accumulate())
    _, again = run(tmp_path, "Normal", Accumulate())
    kind.fit = fit
    assert fits == [24] * 2 + [48] * 2 + [48] * 2 + [72] * 2  # generation 0 is not made again
    for name, values in whole.observations.items():
        np.testing.assert_array_equal(values, again.observations[name])


def test_a_run_that_fails_is_named_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    (tmp_path / "bad.py").write_text(
        "import numpy as np\nFITS = []\nclass Bad:\n"
        "    def fit(self, rows): FITS.append(rows)\n"
        "    def sample(self, count, seed):\n"
        "        rng = np.random.default_rng(seed)\n"
        "        return rng.normal(size=(count - (len(FITS) == 4), 2))\n"
    )
    words = ["--real", "rows.npy", "--learner", "bad.py:Bad", "--generations", "2", "--runs", "2"]
    monkeypatch.setattr(sys, "argv", ["icl-stl", "loop", *words, "--json", "a.json"])
    assert commands.main() == 0
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["failed_loops"] == {"count": 1, "of": 2}
    (said,) = content["failed"]
    assert "generation 1, run 1" in said
    assert "bad.py:Bad: it must write rows of the shape (60, 2), but wrote (59, 2)" in said
    assert [row["loops"] for row in content["generations"]] == [2, 1, 1]
    assert said in capsys.readouterr().out
    assert content["generations"][0]["held_out_loss"] == {"mean": None, "stderr": None}
    assert content["generations"][2]["energy"]["mean"] is not None


def test_a_regime_of_ones_own_with_unequal_weights_is_refused_when_it_shows(tmp_path):
    (tmp_path / "rule.py").write_text(
        "import jax.numpy as jnp\nfrom icl_stl.regimes import Replace\nclass Rule(Replace):\n"
        "    def mix(self, step):\n        rows, weights = super().mix(step)\n"
        "        tilted = weights * jnp.arange(1, len(weights) + 1)\n"
        "        return rows, tilted / tilted.sum()\n"
    )
    from icl_stl.members import regime  # noqa: PLC0415

    with pytest.raises(ValueError, match=r"'.*models.py:Normal' takes no weights, but in gener"):
        run(tmp_path, "Normal", regime("rule.py:Rule").made({}))

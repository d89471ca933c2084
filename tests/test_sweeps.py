"""Sweeps lose nothing, run every setting as it would run alone, and say what failed."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import sweep_tasks

from icl_stl import tables
from icl_stl.config import Training
from icl_stl.descriptions import digest
from icl_stl.lab import solvable
from icl_stl.lab.experiments import LoopSize
from icl_stl.lab.sweeps import batches, executors, grids, sweeps
from icl_stl.lab.sweeps.grids import grid_settings
from icl_stl.studies.convergence import loops as sizes
from icl_stl.studies.convergence.experiments import SizedTransformers

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "sweep.py"
SECONDS = 120
"""Far more than anything here needs."""

# --- grids ---------------------------------------------------------------------------------------


def test_a_block_is_a_product_and_blocks_a_union():
    found = grid_settings(
        {
            "generations": 2,
            "grid": [
                {"samples": [20, 40], "alpha": [0.25, 0.5], "seed": {"first": 7, "count": 3}},
                {"learner": "ols", "generations": 1, "regime": ["replace", "augment"], "runs": 9},
            ],
        }
    )
    seen = [(s.learner, s.regime.name, s.samples, s.share(1), s.seed, s.generations) for s in found]
    product = [
        ("transformer", "augment", n, a, seed, 2)
        for n in (20, 40)
        for a in (0.25, 0.5)
        for seed in (7, 8, 9)
    ]
    others = [("ols", "replace", 1000, 0, 0, 1), ("ols", "augment", 1000, 0.5, 0, 1)]
    assert seen == product + others


def test_cells_that_say_the_same_are_one_setting():
    said = [
        {"samples": 20, "alpha": 0.2},
        {"samples": 20, "lam": 4},
        {"samples": 20, "lam": 4.0, "weight": 0.2, "noise": [0.5, 1 / 2]},
        {"samples": 20, "lam": 4, "weight": 0.3},
    ]
    (first, other) = grid_settings({"grid": said})
    assert (first.n_syn, first.share(1), other.share(1)) == (80, 0.2, 0.3)
    ridge = {"learner": "ridge", "penalty": [0.1]}
    assert len(grid_settings({"grid": [ridge, {"learner": "ridge"}]})) == 1
    assert grid_settings({"regime": ["mad-fresh-data", "fresh"]})[0].columns["regime"] == "fresh"


REFUSED = [
    ({"sample": 3}, "grid 1: 'sample' is no option .* did you mean 'samples'"),
    ({"grid": [{}, {"samples": 0}]}, "grid 2: samples must be .* at least 1, but it is 0"),
    ({"seed": [0, -1]}, r"seed must be .* but it is -1 \(where seed = -1\)"),
    ({"seed": 2**31}, "seed must be"),
    ({"seed": {"first": 0}}, "seed must be .* count = 10"),
    ({"seed": {"first": 0, "count": 0}}, "seed must be"),
    ({"seed": {"first": 0, "count": 10**9}}, "seed must be at most 100000"),
    ({"seed": {"first": 0, "count": 1000}, "steps": list(range(1, 200))}, "199000"),
    ({"samples": []}, "samples must be .* at least one"),
    ({"samples": 3.0}, "samples must be a whole number, but it is 3.0"),
    ({"learning_rate": [0.1, -0.1]}, "learning_rate must be a positive number, but it is -0.1"),
    ({"grid": []}, "grid must be"),
    ({"grid": {"samples": 3}}, "grid must be"),
    ([], "a grid must be a table"),
]


@pytest.mark.parametrize(("content", "complaint"), REFUSED, ids=lambda v: str(v)[:40])
def test_what_is_wrong_with_a_grid_is_named(content, complaint):
    with pytest.raises(ValueError, match=complaint):
        grid_settings(content)


def test_the_examples_are_as_they_say():
    found = grids.read_grid(ROOT / "scripts" / "example_sweep.toml")
    transformers = {batches.shape_of(s) for s in found if s.learner == "transformer"}
    assert (len(found), len(transformers)) == (30, 1)
    text = (ROOT / "scripts" / "example_cluster.toml").read_text()
    content = tables.read_options(ROOT / "scripts" / "example_cluster.toml", "cluster")
    assert executors.Cluster(**content).workers == 16
    assert "icl_stl[cluster]" in text


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"workers": 0}, "^workers must be .* 0"),
        ({"nodes": True}, "^nodes must be .* True"),
        ({"provider": "pbs"}, "^provider must be 'slurm' or 'local', but it is 'pbs'"),
        ({"walltime": "4h"}, "^walltime must be .* 04:00:00, but it is '4h'"),
        ({"account": 3}, "^account must be a text"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        executors.Cluster(**options)


# --- workers -------------------------------------------------------------------------------------


def test_a_killed_worker_takes_nothing_with_it(tmp_path):
    with executors.local_workers(2) as workers:
        done = list(
            executors.run_tasks(
                workers, sweep_tasks.misbehave, sweep_tasks.TASKS, (tmp_path,), retries=2
            )
        )
    lost = {one.item: one.error for one in done if isinstance(one, executors.Lost)}
    fine = [one for one in done if not isinstance(one, executors.Lost)]
    assert sorted(item for item, *_ in fine) == ["a", "b", "c", "d", "e", "f", "once"]
    assert {item: type(error).__name__ for item, error in lost.items()} == {
        "poison": "BrokenProcessPool",
        "wrong": "RuntimeError",
    }
    # In company, then alone, and twice again.
    assert sweep_tasks.deaths(tmp_path, "poison") == sweep_tasks.deaths(tmp_path, "wrong") == 4
    assert sweep_tasks.deaths(tmp_path, "once") == 2
    assert sweep_tasks.deaths(tmp_path, "e") == sweep_tasks.deaths(tmp_path, "f") == 1
    cores = [executors.cores_of(k, 2) for k in range(2)]
    assert all(set(own) in cores for _, _, own in fine)


def test_workers_share_the_cores():
    every = os.sched_getaffinity(0)
    for workers in range(1, len(every) + 1):
        parts = [executors.cores_of(k, workers) for k in range(workers)]
        assert set().union(*parts) == every
        assert sum(map(len, parts)) == len(every)
    assert all(len(executors.cores_of(k, 3 * len(every))) == 1 for k in range(3 * len(every)))


def gone(process):
    """Whether a process has ended (or waits to be buried)."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def until(true, what):
    limit = time.monotonic() + SECONDS
    while not (found := true()):
        assert time.monotonic() < limit, what
        time.sleep(0.02)
    return found


def test_workers_end_with_their_parent(environment, tmp_path):
    command = [sys.executable, ROOT / "tests" / "sweep_tasks.py", "abandon", str(tmp_path)]
    with subprocess.Popen(command, env=environment) as parent:
        (mark,) = until(lambda: list(tmp_path.iterdir()), "a worker")
        parent.kill()
    until(lambda: gone(mark.name.partition("-")[2]), "the end of the worker")


# --- what is run ---------------------------------------------------------------------------------

TINY = {
    **{"dim": 1, "context": 3, "depth": 1, "width": 8, "heads": 2, "steps": 20, "batch": 8},
    **{"held_out": 32, "generations": 1},
}
GRID = {
    **TINY,
    "grid": [
        {"samples": [16, 24], "alpha": [0.25, 0.5], "learning_rate": [0.01, 0.02], "seed": [0, 3]},
        {"regime": ["fresh", "replace"], "samples": 24, "weight_decay": [0.1, 0.3]},
        {"regime": "real-only", "samples": 24, "generations": 2},
        {"samples": 24, "learning_rate": 1e30},
    ],
}
SETTINGS = grid_settings(GRID)
SOLVABLE = grid_settings(
    {"learner": ["ols", "gaussian"], "samples": 12, "runs": 30, "generations": 2, "seed": [0, 1]}
)


def run(settings, out, **options):
    code = batches.code()
    left, _ = sweeps.prepare(settings, out, code)
    return list(sweeps.run_settings(left, out, code, **options))


def stored(out):
    return {path.name: path.read_bytes() for path in (out / "results").iterdir()}


def read_rows(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


def result_of(out, setting):
    """Of whatever code and settings of JAX the folder is."""
    code = next(iter(sweeps.read_results(out)[0].values())).configuration["code"]
    name = digest(sweeps.configuration(setting, code))
    return sweeps.read_result(out / "results" / f"{name}.json")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, compilations):
    """A folder with all settings, and what became of them."""
    out = tmp_path_factory.mktemp("sweep")
    run(SETTINGS[:2], out)
    before = compilations()
    outcomes = run(SETTINGS, out)
    return out, outcomes, compilations() - before


def test_settings_of_equal_shape_share_one_compilation(whole):
    _, outcomes, compiled = whole
    assert len(outcomes) == len(SETTINGS) - 2
    assert not any(outcome.error for outcome in outcomes)
    assert compiled == 0
    assert batches.transformer_program.cache_info().misses == 1


@pytest.mark.parametrize(
    ("change", "shapes"),
    [
        ({"seed": 5, "learning_rate": 0.5, "weight_decay": 0.0, "generations": 9}, 1),
        ({"samples": 512, "alpha": 0.5}, 1),
        ({"regime": "replace"}, 1),
        ({"samples": 513}, 2),
        ({"samples": 64, "lam": 9.0}, 2),
        ({"regime": "augment-same-inputs"}, 2),
        ({"steps": 21}, 2),
        ({"noise": 0.4}, 2),
        ({"sampling_bias": 0.4}, 2),
        ({"held_out": 33}, 2),
    ],
    ids=str,
)
def test_the_shape_is_what_cannot_be_an_argument(change, shapes):
    base, other = grid_settings({"grid": [TINY | {"samples": 16}, TINY | {"samples": 16} | change]})
    assert len({batches.shape_of(base), batches.shape_of(other)}) == shapes


def test_places_never_double_the_rows_beyond_the_least():
    for training, least in ((Training(20, 8), 512), (Training(400, 64), 2048)):
        for rows in (0, 1, 16, least, least + 1, 3000, 4096, 5000):
            there = batches.places(rows, training)
            assert rows <= there
            assert there == least or there < 2 * rows
            assert there & (there - 1) == 0


def test_a_setting_alone_gives_the_same_bits(whole, tmp_path):
    for setting in (SETTINGS[5], SETTINGS[16], SETTINGS[20]):
        run([setting], tmp_path)
        assert result_of(tmp_path, setting) == result_of(whole[0], setting)


def test_a_setting_is_the_loop_of_its_size_and_learning_rate(whole):
    """Against `sizes`, which knows learning rates as constants, in its own program."""
    (setting,) = grid_settings(
        TINY | {"samples": 16, "alpha": 0.25, "learning_rate": 0.01, "seed": 3}
    )
    places = batches.places(16, setting.problem.training)
    experiment = SizedTransformers(
        setting.problem,
        LoopSize(16, setting.n_syn),
        LoopSize(places, places),
        1,
        "fixed",
        setting.generations,
    )
    found = sizes.run_experiment(experiment, 3)
    own = result_of(whole[0], setting).observed
    for name, other in (
        ("drift", found["drift"][0, :, -1]),
        ("excess_nll", found["excess_nll"][0]),
        ("excess_risk", found["excess_squared_risk"][0].mean(-1)),
    ):
        # Two programs round differently, and training enlarges that.
        np.testing.assert_allclose(own[name], np.asarray(other), rtol=2e-3, atol=1e-5)


def test_numbers_that_are_arguments_make_a_difference(whole):
    """A program that ignored one of its arguments would show it here."""
    last = {
        setting: result_of(whole[0], setting).observed["excess_nll"][-1]
        for setting in SETTINGS[:19]
    }
    assert len(set(last.values())) == 19


def test_a_sweep_is_sampled_with_its_bias(whole, tmp_path):
    """Generation 0 does not know it; generation 1 learns from other labels."""
    (biased,) = grid_settings(TINY | {"samples": 16, "alpha": 0.25, "sampling_bias": 0.01})
    run([biased], tmp_path)
    (other,) = grid_settings(TINY | {"samples": 16, "alpha": 0.25})
    assert other in SETTINGS
    own, plain = (result_of(*of).observed for of in ((tmp_path, biased), (whole[0], other)))
    risks = (np.asarray(of["excess_risk"]) for of in (own, plain))
    first, second = np.abs(np.divide(*risks) - 1)
    assert first < 1e-3
    assert second > 0.02


def test_a_solvable_setting_is_the_experiment(tmp_path):
    assert not any(outcome.error for outcome in run(SOLVABLE, tmp_path))
    for setting in SOLVABLE[1::2]:
        own = result_of(tmp_path, setting).observed
        found = solvable.run_experiment(setting.experiment, setting.seed)["excess"]
        np.testing.assert_allclose(own["excess_risk"], found.mean(0), rtol=1e-5)
        np.testing.assert_allclose(
            own["excess_risk_stderr"], found.std(0, ddof=1) / 30**0.5, rtol=1e-5
        )
        law = {"ols": 2 * 0.25 / 9, "gaussian": 0.25 / 12}[setting.learner]
        assert own["excess_risk_closed_form"][0] == pytest.approx(law)
        assert own["rows"] == [12, 24, 24]


# --- failures ------------------------------------------------------------------------------------


def test_a_setting_that_diverges_is_reported_and_the_rest_go_on(whole):
    out, *_ = whole
    usable, failures = sweeps.write_tables(out)
    assert usable == len(SETTINGS) - 1
    (failure,) = failures
    assert failure.setting["learning_rate"] == 1e30
    assert failure.generation == 0
    assert failure.reason.startswith("not finite in generation 0, training step ")
    (row,) = read_rows(out / "failures.csv")
    assert (row["learning_rate"], row["generation"], row["reason"]) == (
        "1e+30",
        "0",
        failure.reason,
    )
    assert "1e+30" not in (out / "sweep.csv").read_text()


def test_a_setting_that_raises_is_reported_and_the_rest_go_on(tmp_path, monkeypatch):
    proper = batches.run_solvable

    def run_solvable(setting):
        if setting.seed == 1:
            raise MemoryError("no room\nfor this")
        return proper(setting)

    monkeypatch.setattr(batches, "run_solvable", run_solvable)
    outcomes = run(SOLVABLE, tmp_path)
    assert [one.error for one in outcomes] == ["", "MemoryError: no room"] * 2
    usable, failures = sweeps.write_tables(tmp_path, outcomes)
    assert (usable, [failure.setting["seed"] for failure in failures]) == (2, [1, 1])
    monkeypatch.undo()
    assert [one.setting.seed for one in run(SOLVABLE, tmp_path)] == [1, 1]  # tried again
    assert sweeps.write_tables(tmp_path) == (4, [])


def test_a_gap_or_an_error_that_is_not_finite_is_a_failure(tmp_path):
    (setting,) = grid_settings({"learner": "gaussian", "runs": 1, "generations": 1, "samples": 4})
    fine = {"rows": [4, 8], "excess_risk": [0.1, 0.2], "gap": [0.3, 0.1], "diverged_at": [-1, -1]}
    result = sweeps.Result(sweeps.configuration(setting, {}), setting.columns, {}, fine)
    assert sweeps.failure_of(result) is None
    worse = result._replace(observed=fine | {"excess_risk": [0.1, None], "diverged_at": [-1, 7]})
    worse.observed["failed_loops"] = [0, 3]
    said = f"not finite in generation 1, 3 of {setting.runs} loops, the first of them 7"
    assert said in sweeps.failure_of(worse).words
    unknown = result._replace(observed=fine | {"gap": [0.3, None]})
    assert "not finite in generation 1, a measurement" in sweeps.failure_of(unknown).words
    means = batches._means({"excess": np.array([[1.0, 2.0], [3.0, np.inf]])})
    assert means["diverged_at"].tolist() == [-1, 1]
    assert means["failed_loops"].tolist() == [0, 1]
    lost = batches._means({"excess": np.ones((3, 1)), "gap": np.array([[0.1], [np.nan], [np.inf]])})
    assert (lost["diverged_at"].tolist(), lost["failed_loops"].tolist()) == ([1], [2])
    assert np.isnan(lost["gap"]).all()
    assert means["excess_risk"][0] == 2
    assert means["excess_risk_stderr"][0] == 1


# --- files ---------------------------------------------------------------------------------------


def test_what_is_missing_or_damaged_is_made_again(tmp_path):
    run(SOLVABLE, tmp_path)
    before = stored(tmp_path)
    names = sorted(before)
    (tmp_path / "results" / names[0]).unlink()
    (tmp_path / "results" / names[1]).write_bytes(before[names[1]][:-20])
    digit = before[names[2]].index(b'"excess_risk":[0.') + 22
    flipped = bytearray(before[names[2]])
    flipped[digit] = ord("1") if flipped[digit] != ord("1") else ord("2")
    (tmp_path / "results" / names[2]).write_bytes(flipped)
    left, damaged = sweeps.prepare(SOLVABLE, tmp_path, batches.code())
    assert (len(left), damaged) == (3, 2)
    assert len(run(SOLVABLE, tmp_path)) == 3
    assert stored(tmp_path) == before
    assert run(SOLVABLE, tmp_path) == []


def test_a_folder_of_other_code_is_refused(tmp_path):
    run(SOLVABLE, tmp_path)
    code = batches.code()
    other = {**code, "versions": {**code["versions"], "jax": "0.0.1"}}
    with pytest.raises(
        ValueError, match=r"^out must be .*code.versions.jax: .* -> '0.0.1'.*--fresh"
    ):
        sweeps.prepare(SOLVABLE, tmp_path, other)
    elsewhere = sweeps.stored_as_they_come(SOLVABLE[:1], tmp_path, other, 1)
    with pytest.raises(ValueError, match=r"same code, but it does not: versions.jax"):
        next(elsewhere)
    assert len(stored(tmp_path)) == 4
    (unlike,) = grid_settings({"learner": "bernoulli"})  # one table is of one code
    with pytest.raises(ValueError, match="results by other code"):
        sweeps.prepare([unlike], tmp_path, other)
    assert sweeps.prepare(SOLVABLE, tmp_path, other, fresh=True) == (SOLVABLE, 0)
    assert not stored(tmp_path)


def test_the_code_is_every_module_that_numbers_come_from(environment):
    """Of a room that is the place of one module alone the others are executed and not used."""
    ask = """
import sys
from icl_stl import code
from icl_stl.lab.sweeps import batches
loaded = {name for name in sys.modules if name.partition(".")[0] == "icl_stl"}
counted = {*code.modules_of(batches.__name__)}
print(*counted - loaded, *{name.rpartition(".")[0] for name in loaded - counted})
"""
    said = subprocess.run(
        [sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=True
    )
    rows = ("learners.stopping", "models.rows", "distances", "intervals")  # by who uses them first
    assert {*said.stdout.split()} <= {"icl_stl.bounds", *(f"icl_stl.{name}" for name in rows)}


def test_the_table_has_the_numbers_of_the_files(whole):
    out, *_ = whole
    sweeps.write_tables(out)
    rows = read_rows(out / "sweep.csv")
    assert len(rows) == sum(s.generations + 1 for s in SETTINGS) - 2
    for setting in SETTINGS[:4]:
        observed = result_of(out, setting).observed
        own = [
            row
            for row in rows
            if all(row[name] == str(value) for name, value in setting.columns.items())
        ]
        assert [int(row["generation"]) for row in own] == [0, 1]
        assert [int(row["rows"]) for row in own] == [
            setting.samples,
            setting.samples + setting.n_syn,
        ]
        for name in set(sweeps.MEASURED) & set(observed):
            assert [float(row[name]) for row in own] == observed[name]
    order = [(row["regime"], int(row["samples"]), int(row["n_syn"])) for row in rows]
    assert order == sorted(order)


def test_merged_sweeps_are_the_sweep_of_both(tmp_path):
    a, b, both, at_once = (tmp_path / name for name in ("a", "b", "both", "at-once"))
    for out, part in ((a, SOLVABLE[:3]), (b, SOLVABLE[2:]), (at_once, SOLVABLE)):
        run(part, out)
        sweeps.write_tables(out)
    assert sweeps.merge([a, b], both) == 4
    assert sweeps.merge([a], both) == 0
    sweeps.write_tables(both)
    assert stored(both) == stored(at_once)
    assert (both / "sweep.csv").read_bytes() == (at_once / "sweep.csv").read_bytes()


def changed(out, setting, make):
    """Another sweep with one result, changed and well written."""
    result = make(result_of(out, setting))
    (out.parent / "other" / "results").mkdir(parents=True, exist_ok=True)
    sweeps.write_result(out.parent / "other", result)


def other_number(result):
    values = list(result.observed["excess_risk"])
    values[1] = float(np.nextafter(values[1], 1))
    return result._replace(observed=result.observed | {"excess_risk": values})


def other_code(result):
    code = {**result.configuration["code"], "source": "0" * 64}
    return result._replace(configuration=result.configuration | {"code": code})


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (
            other_number,
            "^a setting must have the same numbers .*excess_risk: .*learner ols.*seed 1",
        ),
        (
            lambda result: other_number(result)._replace(made_on={"devices": "many"}),
            "made on other machines .*devices: .* -> 'many'",
        ),
        (other_code, "^merge must be of sweeps by the same code, .*code.source: .*'0000"),
    ],
)
def test_sweeps_that_contradict_each_other_are_not_merged(tmp_path, make, complaint):
    run(SOLVABLE, tmp_path / "a")
    changed(tmp_path / "a", SOLVABLE[1], make)
    with pytest.raises(ValueError, match=complaint):
        sweeps.merge([tmp_path / "a", tmp_path / "other"], tmp_path / "both")
    assert not list(tmp_path.glob("both/results/*"))


def test_only_whole_sweeps_are_merged(tmp_path):
    run(SOLVABLE[:1], tmp_path / "a")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty has no results"):
        sweeps.merge([tmp_path / "a", tmp_path / "empty"], tmp_path / "both")
    (path,) = (tmp_path / "a" / "results").iterdir()
    path.write_text("{}")
    with pytest.raises(ValueError, match=rf"{path.name} is damaged"):
        sweeps.merge([tmp_path / "a"], tmp_path / "both")


# --- the script ----------------------------------------------------------------------------------


def test_help_and_check_need_no_jax(environment_without_jax, tmp_path):
    example = ROOT / "scripts" / "example_sweep.toml"
    for arguments, words in (
        (["--help"], ["GRID", "--out", "--workers", "--cluster", "--merge", "--retries"]),
        ([example, "--check"], ["30 settings"]),
    ):
        done = subprocess.run(
            [sys.executable, SCRIPT, *arguments],
            env=environment_without_jax,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert all(word in done.stdout for word in words)


class Sweep:
    """The script, started in a folder; `until(n)` waits for that many results."""

    def __init__(self, environment, cwd, *options):
        self.out = cwd / "out"
        self.process = subprocess.Popen(
            [sys.executable, SCRIPT, "grid.json", "--out", "out", *options],
            cwd=cwd,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def until(self, count):
        def enough():
            assert self.process.poll() is None, self.process.communicate()
            return len(list(self.out.glob("results/*.json"))) >= count

        until(enough, f"{count} results")

    def workers(self):
        """Processes that have JAX loaded by now: those that `spawn` made to work."""
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        children = [int(child) for path in threads for child in path.read_text().split()]
        return [
            child
            for child in children
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
        ]

    def end(self):
        out, err = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, out, err


@pytest.fixture
def folder(tmp_path):
    """A folder with a grid of 300 settings, each of them some hundredths of a second."""
    grid = {"learner": "bernoulli", "samples": 50, "runs": 20_000, "generations": 2}
    grid["seed"] = {"first": 0, "count": 300}
    (tmp_path / "grid.json").write_text(json.dumps(grid))
    return tmp_path


def test_a_sweep_survives_whatever_is_killed(environment, folder):
    # One at a time, so that the sweep lasts longer than it takes to kill it.
    slowly = ("--workers", "1", "--at-once", "1")
    # Ctrl-C: what is finished stays, the tables are of that.
    sweep = Sweep(environment, folder, *slowly)
    sweep.until(3)
    os.killpg(sweep.process.pid, signal.SIGINT)  # a terminal interrupts workers too
    code, out, err = sweep.end()
    assert (code, "the same command goes on" in err) == (130, True), err
    assert "Traceback" not in err
    kept = {path: path.stat().st_mtime_ns for path in sweep.out.glob("results/*.json")}
    assert 3 <= len(kept) < 300
    assert f"{len(kept)} settings, 0 failed" in out
    # The whole sweep is killed.
    sweep = Sweep(environment, folder, *slowly)
    sweep.until(len(kept) + 3)
    worker = sweep.workers()
    sweep.process.kill()
    sweep.end()
    until(lambda: all(map(gone, worker)), "the end of the workers")
    assert len(list(sweep.out.glob("results/*.json"))) < 300
    # A worker is killed, and the sweep finishes.
    sweep = Sweep(environment, folder, *slowly)
    sweep.until(len(list(sweep.out.glob("results/*.json"))) + 3)
    (worker,) = sweep.workers()
    os.kill(worker, signal.SIGKILL)
    code, out, err = sweep.end()
    assert (code, "300 settings, 0 failed" in out) == (0, True), err
    assert "300/300  settings: 0 failed" in err
    assert all(path.stat().st_mtime_ns == made for path, made in kept.items())
    assert len(read_rows(sweep.out / "sweep.csv")) == 900
    # In this process, on all devices, they are the same numbers but for rounding.
    some = grids.read_grid(folder / "grid.json")[::100]
    run(some, folder / "here")
    for setting in some:
        here, there = (result_of(out, setting) for out in (folder / "here", sweep.out))
        for name, values in here.observed.items():
            np.testing.assert_allclose(
                np.array(values, float), np.array(there.observed[name], float), rtol=1e-5
            )


@pytest.mark.skipif(find_spec("parsl") is None, reason="parsl is not installed (extra cluster)")
def test_workers_of_parsl_run_a_sweep(environment, folder):
    (folder / "local.toml").write_text("provider = 'local'\nworkers = 1\n")
    grid = json.loads((folder / "grid.json").read_text()) | {"seed": [0, 1, 2]}
    (folder / "grid.json").write_text(json.dumps(grid))
    code, out, err = Sweep(environment, folder, "--cluster", "local.toml").end()
    assert (code, "3 settings, 0 failed" in out) == (0, True), err
    (folder / "out").rename(folder / "parsl")
    assert Sweep(environment, folder, "--workers", "1").end()[0] == 0
    assert stored(folder / "out") == stored(folder / "parsl")


@pytest.mark.skipif(find_spec("parsl") is None, reason="parsl is not installed (extra cluster)")
def test_workers_of_parsl_may_be_killed_or_stopped(environment, tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "sweep_tasks.py", "by_parsl", tmp_path],
        env={**environment, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
        start_new_session=True,
    )
    assert done.returncode == 0, done.stderr
    said = dict(line.split() for line in done.stdout.splitlines())
    assert said == {
        **dict.fromkeys(("a", "b", "c", "d", "e", "f", "once"), "done"),
        "poison": "WorkerLost",
        "wrong": "RuntimeError",
        "all": "stopped",
    }
    assert sweep_tasks.deaths(tmp_path, "poison") == 3
    (mark,) = tmp_path.glob("worker-*")
    until(lambda: gone(mark.name.partition("-")[2]), "the end of the worker")

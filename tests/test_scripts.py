"""The scripts as a person calls them: each in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from reference import trials

from icl_stl import commands, devices
from icl_stl.lab.results import read_table
from icl_stl.planning import plan as planning
from icl_stl.regimes import Accumulate, Anchored, FreshReal
from icl_stl.studies.claims import CLAIMS
from icl_stl.studies.figures import DRAWINGS

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"
SECONDS = 600
"""Far more than a run needs, so that only one that hangs is stopped."""

TINY_LOOP = [
    *("--learner", "bayes", "--runs", "2", "--samples", "64", "--generations", "1"),
    *("--dim", "1", "--context", "2", "--held-out", "16"),
]


@pytest.fixture(scope="session")
def call(environment, environment_without_jax):
    """Run a script; without JAX, which fails to import, unless told that it is needed."""

    def run(name, *arguments, cwd, jax=False):
        return subprocess.run(
            [sys.executable, SCRIPTS / f"{name}.py", *map(str, arguments)],
            cwd=cwd,
            env=environment if jax else environment_without_jax,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    return run


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a subcommand in this process, with its JAX, in a folder of its own; the exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(devices, "use_all_cores", lambda cache: None)
    return lambda name, *options: commands.run(name, [*map(str, options)])


# --- before anything heavy is loaded -------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("reproduce_theorem", "--only nothing", "error: only must name claims among "),
        ("run_loop", "--alpha 1.5", "error: alpha must be in (0, 1), but it is 1.5; "),
        ("make_figures", "--results nowhere", "error: nowhere/config.json does not exist; "),
    ],
)
def test_bad_usage_is_answered_at_once(call, tmp_path, script, arguments, message):
    done = call(script, *arguments.split(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


def test_the_claims_are_listed(call, tmp_path):
    done = call("reproduce_theorem", "--list", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for name, claim in CLAIMS.items():
        assert f"\n{name}\n" in f"\n{done.stdout}"
        assert claim.statement in done.stdout
        assert claim.source in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("reproduce_theorem", ["--preset", "--only", "--list", "--out", "--seed", "--fresh"]),
        ("run_loop", ["--learner", "--regime", "--alpha", "--lam", "--json", "--runs", "--fresh"]),
        ("make_figures", ["--results", "--check"]),
    ],
)
def test_help_names_the_options(call, tmp_path, script, options):
    done = call(script, "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for option in options:
        assert option in done.stdout


# --- the main job --------------------------------------------------------------------------------


MANY = {
    *("recursive_stability", "stability_rate", "architecture"),
    *("context_certificate", "context_loop", "predictive_collapse"),
}
"""Claims that compile many programs each; the quick preset judges them wherever this is tested."""
MORE = {
    *("rates", "mad_loops", "transformer_synthetic_size", "optimal_synthetic_size"),
    *("plan_from_pilots", "absorption", "hidden_sources", "varying_shares", "token_editing"),
    *("sampling_bias", "augmentation", "network_bound", "accumulation"),
    *("generalization_gap", "synthetic_phase", "real_share_threshold", "verified_rows"),
    *("own_confidence", "curated_rows", "profile", "smoothed_resampling", "foreign_rows"),
    *("accumulation_counterexample",),
}
"""Of claims whose experiments are of the same kinds one is enough, here too."""
SLOW = MANY | trials(MORE | {"synthetic_curves"}, set())
SOME = [name for name in CLAIMS if name not in SLOW]


@pytest.fixture(scope="session")
def main_job(call, tmp_path_factory):
    """The folder of the tiny preset's run, and how it ended."""
    cwd = tmp_path_factory.mktemp("main-job")
    command = ("reproduce_theorem", "--preset", "tiny", "--out", "out", "--only", *SOME)
    return cwd / "out", call(*command, cwd=cwd, jax=True)


def claims_in(folder):
    return json.loads((folder / "claims.json").read_text())


def test_the_main_job_ends_as_its_verdicts_say(main_job):
    folder, done = main_job
    content = claims_in(folder)
    verdicts = {entry["name"]: entry["verdict"] for entry in content["claims"]}
    assert done.returncode == int("violated" in verdicts.values()), done.stderr
    assert list(verdicts) == SOME
    assert (content["schema"], content["preset"], content["seed"]) == (1, "tiny", 0)
    assert set(content["versions"]) >= {"icl_stl", "jax", "numpy", "python"}
    for verdict in verdicts.values():
        assert verdict in done.stdout
    longer = {"relaxation", "plateau"}  # of four generations at least
    figures = {f"{name}.svg" for name in {*DRAWINGS} - SLOW - longer}
    others = {
        "README.md",
        "manifest.json",
        "config.json",
        "claims.json",
        "loops.csv",
        "report.html",
    }
    assert {path.name for path in folder.iterdir()} == figures | others | {"checkpoints"}
    progress = done.stderr.splitlines()
    assert len(progress) >= 7
    assert any("augment-0.5, generation 2" in line for line in progress)


def test_the_figures_of_the_main_job_are_checked_and_drawn_again(call, main_job):
    folder, _ = main_job
    before = {path: path.read_bytes() for path in folder.glob("*.*")}
    checked = call("make_figures", "--check", "--results", folder, cwd=folder.parent)
    assert (checked.returncode, checked.stderr) == (0, "")
    drawn = call("make_figures", "--results", folder, cwd=folder.parent)
    assert drawn.returncode == 0, drawn.stderr
    assert {path: path.read_bytes() for path in folder.glob("*.*")} == before
    (folder / "drift.svg").write_bytes(b"")
    wrong = call("make_figures", "--check", "--results", folder, cwd=folder.parent)
    (folder / "drift.svg").write_bytes(before[folder / "drift.svg"])
    assert wrong.returncode == 1
    assert "drift.svg" in wrong.stderr


def test_the_main_job_again_gives_the_same_claims(call, run, main_job, capsys):
    folder, first = main_job
    before, table = claims_in(folder), (folder / "loops.csv").read_bytes()
    command = ("reproduce_theorem", "--preset", "tiny", "--out", folder, "--only", *SOME)
    again = call(*command, cwd=folder, jax=True)
    assert again.returncode == first.returncode
    assert claims_in(folder)["claims"] == before["claims"]
    assert (folder / "loops.csv").read_bytes() == table
    with pytest.raises(SystemExit, match="2"):
        run("reproduce", "--preset", "tiny", "--seed", 1, "--out", folder)
    refusal = capsys.readouterr().err
    assert "seed: 0 -> 1" in refusal
    assert "--fresh" in refusal
    assert claims_in(folder)["claims"] == before["claims"]


# --- one loop ------------------------------------------------------------------------------------


def test_one_loop_of_the_bayes_predictor_does_not_drift(call, tmp_path):
    done = call("run_loop", *TINY_LOOP, "--json", "result.json", cwd=tmp_path, jax=True)
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "result.json").read_text())
    assert set(content) == {
        *("schema", "settings", "versions", "failed", "failed_loops", "generations"),
        "collapse",
    }
    assert set(content["collapse"]) == {"constant", "task_variance", "first", "real_only"}
    assert content["collapse"]["task_variance"]["by"].keys() == {"1"}
    assert content["failed"] == []
    assert content["failed_loops"] == {"count": 0, "of": content["settings"]["runs"]}
    assert content["settings"]["samples"] == 64
    assert [row["generation"] for row in content["generations"]] == [0, 1]
    assert [row["n_train"] for row in content["generations"]] == [64, 128]
    for row in content["generations"]:
        assert set(row) == {
            *("generation", "n_train", "excess_risk", "excess_nll", "drift", "drift_stderr"),
            *("within_loop_half_width", "bound", "eps", "eps_stderr", "gap"),
            *("implied_task_variance", "training_loss", "loops"),
        }
        assert row["loops"] == content["settings"]["runs"]
        assert 0 <= row["drift"] < 1e-7  # two programs may round one law differently
        assert row["excess_nll"] == 0
        assert 0 <= row["eps"] <= row["bound"] < 1e-6  # p_M is summed from two equal laws
        assert row["excess_risk"] == {"mean": 0, "stderr": 0, "closed_form": None}
        assert row["training_loss"] is None
    (folder,) = (tmp_path / "runs").iterdir()
    names = {path.name for path in folder.iterdir()}
    made = ("drift.svg", "loop.json", "loops.csv", "report.html")
    assert names == {"checkpoints", "config.json", *made}
    assert f"{folder.relative_to(tmp_path)}/report.html" in done.stdout
    assert json.loads((folder / "loop.json").read_text()) == content


# --- solvable loops ------------------------------------------------------------------------------

SMALL = ["--samples", "20", "--generations", "3", "--runs", "400", "--dim", "2", "--noise", "1"]


def test_least_squares_by_regime_agree_with_their_closed_forms(run, tmp_path):
    """Each closed form typed anew, with other sizes than the claims use."""
    single = 2 / (20 - 2 - 1)
    expected = {
        "replace": [single * (i + 1) for i in range(4)],
        "accumulate": [single * sum(1 / k**2 for k in range(1, i + 2)) for i in range(4)],
        "augment": [single, single + 2 * 0.5 / (40 - 3), None, None],
        "real-only": [single] * 4,
    }
    for regime, known in expected.items():
        options = ["--learner", "ols", "--regime", regime, *SMALL, "--json", f"{regime}.json"]
        assert run("loop", *options) == 0
        content = json.loads((tmp_path / f"{regime}.json").read_text())
        risks = [row["excess_risk"] for row in content["generations"]]
        assert [risk["closed_form"] for risk in risks] == pytest.approx(known)
        for risk, value in zip(risks, known, strict=True):
            assert value is None or abs(risk["mean"] - value) < 5 * risk["stderr"]
        assert content["generations"][3]["n_train"] == {
            "replace": 20,
            "accumulate": 80,
            "augment": 40,
            "real-only": 20,
        }.get(regime)
        assert [row["generation"] for row in content["generations"]] == [0, 1, 2, 3]


@pytest.mark.parametrize("regime", ["fresh", "augment"])
def test_a_single_real_row_of_any_law_has_its_closed_form(run, tmp_path, regime):
    """Squared distance of laws and symbols left, typed anew, beside what is measured."""
    law, m, w, last = np.array([0.4, 0.2, 0.2, 0.1, 0.1]), 3, 0.3, 4
    options = ["--learner", "categorical", "--probabilities", *map(str, law), "--regime", regime]
    options += ["--samples", "1", "--lam", str(m), "--weight", str(w), "--generations", str(last)]
    assert run("loop", *options, "--runs", "4000", "--json", "a.json") == 0
    h, known = 1 - law @ law, [1 - law @ law]
    for _ in range(last):
        fresh = w**2 * h + (1 - w) ** 2 * (h / m + (1 - 1 / m) * known[-1])
        known.append(fresh if regime == "fresh" else h)  # of one row there is one symbol
    rows = json.loads((tmp_path / "a.json").read_text())["generations"]
    for row, value in zip(rows, known, strict=True):
        excess, left = row["excess_risk"], row["symbols_left"]
        assert excess["closed_form"] == pytest.approx(value)
        assert abs(excess["mean"] - value) < 5 * excess["stderr"]
        assert abs(left["mean"] - left["expected"]) <= 5 * left["stderr"] + 1e-12
    if regime == "fresh":  # the new row's symbol is another than that of a batch of one symbol
        assert rows[1]["symbols_left"]["expected"] == pytest.approx(1 + h)


def test_loops_that_fail_are_counted_and_no_mean_hides_them(run, monkeypatch, tmp_path, capsys):
    """Of 40 loops 3 end in generation 1 and 10 in all in generation 2; then, in 3, every one."""
    from icl_stl.lab import solvable  # noqa: PLC0415

    excess = np.arange(40.0)[:, None] + np.zeros(4)
    gap = np.zeros((40, 4))
    excess[:3, 1:], gap[3:10, 2:], excess[:, 3:] = np.nan, np.inf, np.nan
    observed = {"excess": excess, "gap": gap}
    monkeypatch.setattr(solvable, "run_experiment", lambda *arguments: observed)
    options = ["--learner", "gaussian", "--samples", "20", "--generations", "3", "--noise", "1"]
    assert run("loop", *options, "--runs", "40", "--json", "a.json") == 1
    said = capsys.readouterr().out
    whole = "gaussian: 40 of 40 loops failed, the first in generation 1"
    assert f"failed: {whole}\n" in said
    assert "37 of 40 loops" in said
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["failed_loops"] == {"count": 40, "of": 40}
    assert len(content["failed"]) == 10
    assert [row["loops"] for row in content["generations"]] == [40, 37, 30]
    means = [row["excess_risk"]["mean"] for row in content["generations"]]
    assert means == [np.arange(40).mean(), np.arange(3, 40).mean(), np.arange(10, 40).mean()]
    with pytest.raises(ValueError, match=r"failed_loops\.count must be 0: .* it is 40"):
        planning.read_errors([tmp_path / "a.json"])


def test_a_solvable_loop_is_read_back_and_drawn(run, tmp_path):
    options = ["--learner", "gaussian", "--regime", "accumulate-subsample", *SMALL]
    assert run("loop", *options, "--json", "a.json") == 0
    assert run("loop", *options, "--json", "b.json") == 0
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    (folder,) = (tmp_path / "runs").iterdir()
    assert {"excess.svg", "loop.json", "config.json"} <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("regime", "more", "meant"),
    [
        ("accumulate", [], Accumulate()),
        ("anchored", [], Anchored(0.5)),
        ("fresh", ["--weight", "0.9"], FreshReal(1.0, 0.9)),
    ],
)
def test_in_context_learners_run_in_regimes_that_keep_or_redraw_prompts(
    run, tmp_path, regime, more, meant
):
    options = [*TINY_LOOP, "--regime", regime, *more, "--json", "a.json"]
    assert run("loop", *options) == 0
    rows = json.loads((tmp_path / "a.json").read_text())["generations"]
    known = regime == "fresh"  # a mixture of all generations has no measured one-step error
    assert [row["eps"] is not None for row in rows] == [known] * 2
    assert [row["bound"] is not None for row in rows] == [known] * 2
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / ("drift.svg" if known else "in_context_error.svg")).exists()
    (read,) = read_table(folder / "loops.csv", 64).values()
    assert read.regime == meant
    drift = read["drift"][:, :, -1].mean(0)
    assert drift.tolist() == pytest.approx([row["drift"] for row in rows], rel=1e-12)
    assert ("eps" in read.observations) == known


def test_numbers_of_other_settings_of_jax_are_not_given_for_these(environment, tmp_path):
    (tmp_path / "grid.json").write_text('{"learner": "gaussian", "samples": 5, "runs": 4}')
    loop = ["--learner", "gaussian", "--samples", "5", "--runs", "4"]
    for script, options in (("run_loop", loop), ("sweep", ["grid.json"])):

        def run(script=script, options=options, **settings):
            return subprocess.run(
                [sys.executable, SCRIPTS / f"{script}.py", *options],
                cwd=tmp_path,
                env={**environment, **settings},
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )

        wide = run(JAX_ENABLE_X64="1")
        assert wide.returncode == 0, wide.stderr
        other = run()
        assert (other.returncode, "jax.enable_x64: True -> False" in other.stderr) == (2, True)
        assert "--fresh" in other.stderr

"""The command `icl-stl`: what it lists and completes, and how it ends, whatever stops it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from signal import SIGINT, default_int_handler, getsignal

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from icl_stl import commands, console
from icl_stl.benchmark import race
from icl_stl.commands import COMMANDS, loop, running, sweep
from icl_stl.config import require
from icl_stl.lab.sweeps.grids import grid_settings
from icl_stl.lab.sweeps.sweeps import Outcome
from icl_stl.problems import PROBLEMS
from icl_stl.regimes import REGIMES
from icl_stl.studies.claims import CLAIMS

ROOT = Path(__file__).resolve().parent.parent
PATH = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
SECONDS = 600
"""Far more than anything here needs, so that only what hangs is stopped."""


def start(*words, cwd, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "icl_stl.commands", *map(str, words)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": PATH, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def call(monkeypatch, *words):
    """The exit status of a command in this process."""
    monkeypatch.setattr(sys, "argv", ["icl-stl", *words])
    try:
        return commands.main()
    except SystemExit as end:
        return end.code or 0


HELP = """
import sys
from icl_stl import commands
for name in commands.COMMANDS:
    sys.argv = ["icl-stl", name, "--help"]
    try:
        commands.main()
    except SystemExit as end:
        assert not end.code
print(*sorted({"jax", "matplotlib", "optax", "scipy.stats"} & set(sys.modules)), file=sys.stderr)
"""


def test_help_of_every_command_loads_nothing_heavy(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", HELP],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": PATH},
        capture_output=True,
        text=True,
        check=True,
        timeout=SECONDS,
    )
    assert done.stderr == "\n"
    for name in COMMANDS:
        assert f"usage: icl-stl {name}" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_there_is(monkeypatch, capsys):
    assert call(monkeypatch, "--help") == 0
    said = capsys.readouterr().out
    for name, words in COMMANDS.items():
        assert re.search(rf"^  {name} +{words}$", said, re.MULTILINE)
    assert "--completion" in said
    assert call(monkeypatch, "--version") == 0
    assert call(monkeypatch, "repport") == call(monkeypatch) == 2
    assert "did you mean 'report'?" in capsys.readouterr().err
    assert call(monkeypatch, "--completion", "ksh") == 2


def test_the_shell_completes_commands_options_and_values(monkeypatch, capsys, tmp_path):
    assert call(monkeypatch, "--completion", "bash") == 0
    script = capsys.readouterr().out
    (tmp_path / "completion.sh").write_text(script)
    (function,) = set(re.findall(r"complete -F (\w+)", script))
    for words, expected in (
        (["rep"], {"report", "reproduce"}),
        (["loop", "--held"], {"--held-out"}),
        (["reproduce", "--preset", "ti"], {"tiny"}),
    ):
        given = f"COMP_WORDS=(icl-stl {' '.join(words)}); COMP_CWORD={len(words)}"
        line = f'source ./completion.sh; {given}; {function}; echo "${{COMPREPLY[@]}}"'
        done = subprocess.run(
            ["bash", "--norc", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert set(done.stdout.split()) == expected


def test_all_that_is_chosen_by_name_is_listed(monkeypatch, capsys):
    assert call(monkeypatch, "list") == 0
    lines = capsys.readouterr().out.splitlines()
    for name in (*CLAIMS, *PROBLEMS, *REGIMES, "tiny", "paper"):
        assert name in lines
    assert call(monkeypatch, "list", "regimes") == 0
    assert "--alpha" in capsys.readouterr().out


# --- what stops a command ------------------------------------------------------------------------


def test_where_nobody_reads_a_command_ends_quietly(tmp_path):
    with start("list", "regimes", cwd=tmp_path) as listing:
        listing.stdout.close()
        assert (listing.wait(SECONDS), listing.stderr.read()) == (141, "")


@pytest.mark.parametrize(
    ("fresh", "goes_on"), [(False, "the same command"), (True, "the same command without --fresh")]
)
def test_ctrl_c_says_what_is_kept_and_how_to_go_on(monkeypatch, capsys, tmp_path, fresh, goes_on):
    monkeypatch.setattr(running.os, "_exit", sys.exit)
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as end, running.answered(), running.run_folder(out, fresh=fresh):
        raise KeyboardInterrupt
    assert end.value.code == 130
    said = f"stopped; {out} keeps what is finished, and {goes_on} goes on\n"
    assert capsys.readouterr().err == said
    assert list(out.iterdir()) == []  # no lock either
    with pytest.raises(SystemExit), running.answered():
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "stopped; the same command starts anew\n"


def test_an_interrupt_that_jax_loses_is_raised_at_the_next_report(monkeypatch):
    monkeypatch.setattr(console, "_interrupts", [])
    with running.answered():
        assert getsignal(SIGINT) is console.interrupt
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), SIGINT)
        with pytest.raises(KeyboardInterrupt), console.progress("loops") as report:
            report("more", 1, 2)
    assert getsignal(SIGINT) is default_int_handler


def test_a_loop_is_stopped_by_ctrl_c(tmp_path):
    words = ("loop", "--learner", "gaussian", "--samples", 9, "--runs", 10)
    with start(*words, cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path)) as stopped:
        first = stopped.stderr.readline()
        os.killpg(stopped.pid, SIGINT)
        out, err = stopped.communicate(timeout=SECONDS)
    assert "gaussian, augment" in first
    assert (stopped.returncode, out) == (130, "")
    (folder,) = (tmp_path / "runs").iterdir()
    assert err.splitlines()[-1].startswith(f"stopped; runs/{folder.name} keeps what is finished")
    assert "Traceback" not in err
    assert not (folder / "lock").exists()


def test_what_the_package_refuses_is_said_and_a_fault_keeps_its_traceback(capsys):
    with pytest.raises(SystemExit) as end, running.answered():
        require(False, "alpha", np.float64(2.0), "in [0, 1]")
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: alpha must be in [0, 1], but it is 2.0\n"
    with pytest.raises(ValueError, match="could not convert"), running.answered():
        float("a half")
    with pytest.raises(SystemExit) as end, running.answered():
        Path("/nowhere/file").read_text()
    assert (end.value.code, capsys.readouterr().err.count("\n")) == (2, 1)


@pytest.mark.parametrize("error", [RuntimeError("no such backend\nand more"), AssertionError()])
def test_devices_that_are_not_there_are_refused(monkeypatch, error):
    import jax  # noqa: PLC0415

    from icl_stl import devices  # noqa: PLC0415

    def none():
        raise error

    monkeypatch.setattr(jax, "devices", none)
    monkeypatch.setattr(devices, "use_all_cores", lambda cache: None)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(
        ValueError, match=r"^JAX_PLATFORMS must .* 'cuda': (no such|there is)"
    ) as no:
        running.start_jax()
    assert "\n" not in str(no.value)
    running.start_jax(used=False)
    with pytest.raises(ValueError, match=r"^JAX_PLATFORMS must .* 'cuda'"):
        running.start_jax(used=False, workers=True)


def test_workers_without_their_devices_are_refused_before_any_work(tmp_path):
    """Once, and not setting by setting: the folder has no results."""
    (tmp_path / "grid.json").write_text('{"learner": "gaussian", "samples": [9, 10], "runs": 10}')
    words = ("sweep", "grid.json", "--workers", 1, "--out", "out")
    done = start(*words, cwd=tmp_path, JAX_PLATFORMS="cuda_of_nobody")
    _, err = done.communicate(timeout=SECONDS)
    assert done.returncode == 2
    assert re.search(r"^error: JAX_PLATFORMS must .* 'cuda_of_nobody'", err, re.MULTILINE)
    assert err.count("error:") == 1
    assert not [*(tmp_path / "out").rglob("*.npz")]
    assert not (tmp_path / "out" / "sweep.csv").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("loop", "--samples", "abc"), "--samples must be a whole number, but it is 'abc'"),
        (("loop", "--samples", "1e3"), "--samples must be a whole number, but it is '1e3'"),
        (("loop", "--alpha=half"), "--alpha must be a number, but it is 'half'"),
        (("plan", "--n", "abc"), "--n must be a number, but it is 'abc'"),
        (("plan", "--sizes", "250", "x"), "--sizes must be a number, but it is 'x'"),
        (("sweep", "grid.toml", "--workers", "a"), "--workers must be a whole number"),
        (("reproduce", "--seed", "one"), "--seed must be a whole number, but it is 'one'"),
    ],
)
def test_a_word_where_a_number_is_asked_for_is_refused(monkeypatch, capsys, words, said):
    assert call(monkeypatch, *words) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {said}")
    assert err.count("\n") == 1


def test_a_benchmark_without_its_devices_is_refused(monkeypatch, capsys, tmp_path):
    def none():
        raise race.UnavailableError("RuntimeError: no such backend")

    monkeypatch.setattr(race, "describe_machine", none)
    assert call(monkeypatch, "benchmark", "--out", str(tmp_path)) == 2
    assert capsys.readouterr().err.endswith("RuntimeError: no such backend\n")


def test_a_stream_without_greek_shows_what_it_can_and_the_result_is_written(tmp_path):
    words = ("plan", "--n", 100, "--c", 0.3, "--a", 0.5, "--out", "out")
    done = start(*words, cwd=tmp_path, PYTHONIOENCODING="ascii")
    out, err = done.communicate(timeout=SECONDS)
    assert (done.returncode, err) == (0, "")
    assert "?*, where the bound is least" in out
    assert json.loads((tmp_path / "out" / "plan.json").read_text())["schema"] == 1


# --- what is shown -------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [30, 40, 80, 140])
def test_on_every_screen_all_values_of_a_table_are_shown(width):
    table, screen = Table(title="a loop"), Console(width=width)
    row = {"generation": "3", "excess risk": "0.0281 ± 0.0012", "closed form": "0.0299"}
    row |= {"gap": "+0.0431", "drift TV": "0.0512", "one-step TV": "0.0613"}
    for name in row:
        table.add_column(name, justify="right")
    table.add_row(*row.values())
    shown = console.fitted(table, screen)
    with screen.capture() as kept:
        screen.print(shown)
    text = kept.get()
    for value in " ".join(row.values()).split():
        assert value in text
    assert max(map(len, text.splitlines())) <= width
    assert ("┃" in text) == (width >= 80)


def setting_of(*words):
    """The setting of a loop, and what is said of it."""
    kind, words = loop.arguments_for(words)
    return loop.settings_of(console.arguments_of(kind, words))


@pytest.mark.parametrize("learner", ["transformer", "bayes", "gaussian"])
def test_generation_0_alone_is_a_loop(learner):
    assert setting_of("--learner", learner, "--generations", "0")[0].generations == 0


def test_zero_has_no_sign():
    options = {"learner": "bernoulli", "samples": 9}
    assert len(grid_settings({**options, "injected": [0.0, -0.0]})) == 1
    plus, minus = (
        setting_of("--learner", "bernoulli", f"--injected={zero}") for zero in ("0.0", "-0.0")
    )
    assert json.dumps([plus[1], plus[0].identity]) == json.dumps([minus[1], minus[0].identity])


def test_failures_are_named_where_there_are_some(tmp_path, capsys):
    (setting,) = grid_settings({"learner": "gaussian", "samples": 9})
    assert sweep.tell(tmp_path, [Outcome(setting)]) == 0
    assert "failures.csv" not in capsys.readouterr().out
    assert sweep.tell(tmp_path, [Outcome(setting, "lost")]) == 1
    assert "1 failed (failures.csv)" in capsys.readouterr().out


def test_the_time_left_is_told_when_settings_of_every_kind_have_shown_theirs(monkeypatch):
    """The first of a kind takes 100 s, to compile, all others 1 s; 40 of the second kind."""
    clock = [0.0]
    monkeypatch.setattr(sweep.time, "monotonic", lambda: clock[0])
    grid = {"learner": "gaussian", "seed": {"first": 0, "count": 40}}
    settings = [*grid_settings({**grid, "samples": 9}), *grid_settings({**grid, "samples": 8})]

    def outcomes():
        for setting in settings:
            clock[0] += 100 if setting.seed == 0 else 1
            yield Outcome(setting)

    said = []
    found = sweep.watched(
        outcomes(), settings, 0, lambda *words: said.append(words), lambda one: one.samples
    )
    assert len(list(found)) == 80
    told = [(words, done) for words, done, total in said if "left" in words]
    assert told
    for words, done in told:
        assert done > 40 + sweep.FEW
        assert words == f"0 failed, {80 - done} s left"

"""What guards a commit is what guards a change: the hooks' commands are those of .ci/run."""

import re
import shlex
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONFIG = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
PUSH = "pre-push"
STAGES = ("pre-commit", PUSH)


def ci_step(name):
    """The commands of a step of .ci/run, split into words."""
    step = CI.partition(f'\nsay "{name}"\n')[2].partition("\nsay ")[0]
    lines = [line.partition(" #")[0].strip() for line in step.splitlines()]
    return [shlex.split(line) for line in lines if line and not line.startswith("#")]


def hooks(stage):
    (local,) = CONFIG["repos"]
    assert local["repo"] == "local"
    return [hook for hook in local["hooks"] if hook["stages"] == [stage]]


def test_every_hook_runs_whole_in_the_environment_of_ci():
    own = [hook for stage in STAGES for hook in hooks(stage)]
    assert own == CONFIG["repos"][0]["hooks"]
    assert CONFIG["default_install_hook_types"] == list(STAGES)
    for hook in own:
        assert hook["language"] == "system"
        assert hook["always_run"] is True
        assert hook["pass_filenames"] is False
        # Nothing that would run it for some files or with other arguments.
        known = {"id", "name", "entry", "language", "always_run", "pass_filenames", "stages"}
        assert set(hook) == known


def test_before_a_commit_format_lint_and_types_are_those_of_ci():
    commands = ci_step("format, lint, types")
    assert len(commands) >= 3
    assert [shlex.split(hook["entry"]) for hook in hooks("pre-commit")] == commands


def test_before_a_push_some_test_files_are_run_as_ci_runs_all():
    # .ci/run takes its test command from the README: the last line of the second fenced block.
    block = re.findall(r"^```[a-z]*\n(.*?)^```", README, re.DOTALL | re.MULTILINE)[1]
    whole = shlex.split(block.splitlines()[-1])
    assert whole[:3] == [".venv/bin/python", "-m", "pytest"]
    (hook,) = hooks(PUSH)
    words = shlex.split(hook["entry"])
    assert words[: len(whole)] == whole
    files = words[len(whole) :]
    assert len(set(files)) == len(files) >= 5
    assert [name for name in files if not (ROOT / name).is_file()] == []
    assert all(re.fullmatch(r"tests/test_\w+\.py", name) for name in files)

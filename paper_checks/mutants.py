"""Plant faults in formulas, loops and claims and report which of them the tests notice.

`mutants.txt` lists them, one a line. Each is one that a hand makes: a wrong constant, a dropped
factor 2, i for i - 1, n for N, alpha for 1 - alpha, a missing square. Run from the repository root:

    python paper_checks/mutants.py [--short] [--passed] [--jobs 2]

A fault is caught if a test that is named for it fails, after it passed without the fault. Before
any is planted, all of them are looked at: each has one place in the code, each test that is named
exists, and those of the faults to be tried pass; with `--passed` they do so elsewhere, as
where tests and checks are run whole beside this. What ends otherwise than with a failed test (the
module cannot be imported, the interpreter dies, nothing ends) is no fault that a test notices but
one that is badly planted. Exit status 1 if fewer than 95 % are caught, if any is badly planted, or
if the list no longer fits the code or the tests.
"""

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 900
"""Seconds after which tests of a fault do not end any more."""


class Mutant(NamedTuple):
    """A fault: in ``file`` of the package ``old`` becomes ``new``.

    ``test`` must notice it; a fault that the tests of bounds must notice is caught by any of them.
    Where ``old`` is there several times ``count`` says which one is meant, from 1 on.
    """

    file: str
    old: str
    new: str
    test: str
    count: int | None = None

    def __str__(self) -> str:
        return f"{self.file}: {self.old!r} -> {self.new!r}"


ROOMS = ("drift", "stability", "generalization", "calculator", "optimum", "transformers")
BOUNDS = {f"tests/test_bounds_{room}.py" for room in ROOMS}


def listed(line: str) -> Mutant:
    """A fault from its line of the list."""
    file, old, new, test, *count = line.removeprefix("* ").split(" | ")
    name, *function = test.split("::")
    folder = "tests" if name.startswith("test_") else "paper_checks"
    old, new = (text.replace("\\n", "\n") for text in (old, new))
    test = "::".join([f"{folder}/{name}.py", *function])
    return Mutant(file, old, new, test, int(count[0]) if count else None)


LIST = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines()
EVERY = tuple(listed(line) for line in LIST if "|" in line and not line.startswith("#"))
SHORT = tuple(listed(line) for line in LIST if line.startswith("* "))


def path_of(mutant: Mutant, root: Path) -> Path:
    """The file in which a fault is planted."""
    return root / "icl_stl" / f"{mutant.file}.py"


def misplaced(mutant: Mutant, root: Path) -> str:
    """Why a fault has no place in the code; nothing if it has one."""
    path = path_of(mutant, root)
    found = path.read_text(encoding="utf-8").count(mutant.old) if path.is_file() else 0
    if mutant.count is None and found != 1:
        return f"in the code {found} times, not once"
    if mutant.count is not None and not 1 <= mutant.count <= found:
        return f"in the code {found} times, {mutant.count} is none of them"
    return ""


def plant(mutant: Mutant, root: Path) -> None:
    """Put a fault into the code."""
    path = path_of(mutant, root)
    pieces = path.read_text(encoding="utf-8").split(mutant.old)
    at = mutant.count or 1
    text = mutant.old.join(pieces[:at]) + mutant.new + mutant.old.join(pieces[at:])
    path.write_text(text, encoding="utf-8")


def copied(root: Path, folder: Path) -> None:
    """Copy what tests need into a folder."""
    for name in ("icl_stl", "tests", "paper_checks", "docs"):
        if (root / name).is_dir():
            shutil.copytree(
                root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
            )
    shutil.copy(root / "pyproject.toml", folder)


class Run(NamedTuple):
    """How a run of tests ended: exit status (None: it did not), outcomes by test, what it said."""

    status: int | None
    outcomes: dict[str, str]
    said: str

    def of(self, test: str) -> set[str]:
        """Outcomes of a test, or of the tests of a file."""
        return {
            outcome
            for name, outcome in self.outcomes.items()
            if name.startswith((f"{test}::", f"{test}[")) or name == test
        }


FORKED = multiprocessing.get_context("forkserver")
"""Tests run in processes of their own, which start with everything loaded but the package."""
LOADED = ("pytest", "numpy", "scipy.stats", "jax", "optax", "flax.nnx", "tyro")


def run(folder: Path, tests: Iterable[str], *options: str) -> Run:
    """Run tests in a folder, in a process of its own."""
    report, said = folder / "report.xml", folder / "said.txt"
    report.unlink(missing_ok=True)
    given = ["-q", "-p", "no:cacheprovider", "-o", "junit_family=xunit1", f"--junitxml={report}"]
    process = FORKED.Process(target=tested, args=(folder, said, [*given, *options, *tests]))
    process.start()
    process.join(PATIENCE)
    if process.exitcode is None:
        process.kill()
        process.join()
        return Run(None, {}, f"no end within {PATIENCE} s")
    outcomes = {}
    if report.exists():
        for case in ElementTree.parse(report).iter("testcase"):
            kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
            name = f"{case.get('file')}::{case.get('name')}"
            # What fails while it is torn down is there twice.
            outcomes[name] = min(kinds | {outcomes.get(name, "passed")}, key=_BADNESS.index)
    return Run(process.exitcode, outcomes, said.read_text(errors="replace"))


def tested(folder: Path, said: Path, given: list[str]) -> None:
    """Run pytest in a folder, in the process that this is; ends it."""
    with said.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.chdir(folder)
    sys.path[0] = str(folder)
    # Programs are compiled once for all faults that leave them as they are.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder.parent / "compiled")
    import jax  # noqa: PLC0415  (loaded already)
    import pytest  # noqa: PLC0415

    jax.config.update("jax_compilation_cache_dir", str(folder.parent / "compiled"))
    status = pytest.main(given)
    sys.stdout.flush()
    os._exit(status)


_BADNESS = ("error", "failure", "skipped", "passed")


def unfit(
    mutants: Sequence[Mutant],
    every: Sequence[Mutant],
    root: Path,
    folder: Path,
    passed: bool = False,
) -> list[str]:
    """Why faults say nothing about tests, before any is planted; empty if all is well.

    Args:
        mutants: Those to be tried: their tests are run without any fault.
        every: All of them: their places and tests have to exist.
        root: The repository.
        folder: A copy of it.
        passed: Whether tests without any fault are known to pass.
    """
    if wrong := [f"{mutant}: {why}" for mutant in every if (why := misplaced(mutant, root))]:
        return wrong
    names = sorted({mutant.test for mutant in every})
    collected = run(folder, names, "--collect-only")
    if collected.status != 0:
        said = [line for line in collected.said.splitlines() if line.startswith("ERROR")]
        return said or [f"tests cannot be collected: {collected.said}"]
    if passed:
        return []
    tried = sorted({test for mutant in mutants for test in tests_of(mutant)})
    sound = run(folder, tried)
    for test in tried:
        if bad := sound.of(test) & {"failure", "error"}:
            wrong.append(f"{test}: {', '.join(sorted(bad))} without any fault")
        elif "passed" not in sound.of(test):
            wrong.append(f"{test}: nothing of it is run")
    if sound.status != 0 and not wrong:
        wrong.append(f"tests without any fault end with status {sound.status}: {sound.said}")
    return wrong


def tests_of(mutant: Mutant) -> list[str]:
    """The tests that may notice a fault, those of its own room first."""
    rest = BOUNDS - {mutant.test} if mutant.test in BOUNDS else set()
    return [mutant.test, *sorted(rest)]


def tried(mutant: Mutant, root: Path, parent: Path) -> str:
    """What becomes of a fault: `caught`, `survived`, or why it is badly planted."""
    with tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        copied(root, folder)
        plant(mutant, folder)
        own, *rest = tests_of(mutant)
        for tests in ([own], rest):
            found = run(folder, tests, "-x") if tests else Run(0, {}, "")
            if found.status == 1 and "failure" in found.outcomes.values():
                return "caught"
            if found.status != 0:
                last = " ".join(found.said.split()[-40:])
                return f"badly planted, tests end with status {found.status}: {last}"
    return "survived"


def judge(
    mutants: Sequence[Mutant],
    every: Sequence[Mutant],
    root: Path = ROOT,
    jobs: int = 1,
    passed: bool = False,
) -> int:
    """Try these faults of all; the exit status."""
    FORKED.set_forkserver_preload(list(LOADED))
    with tempfile.TemporaryDirectory() as name:
        parent = Path(name)
        whole = parent / "whole"
        whole.mkdir()
        copied(root, whole)
        if wrong := unfit(mutants, every, root, whole, passed):
            print("\n".join(wrong))
            return 1
        with ThreadPoolExecutor(jobs) as pool:
            ended = list(pool.map(lambda mutant: tried(mutant, root, parent), mutants))
    for mutant, what in zip(mutants, ended, strict=True):
        if what != "caught":
            print(f"{mutant}: {what}")
    caught, survived = ended.count("caught"), ended.count("survived")
    print(f"{caught} of {len(mutants)} faults caught ({caught / len(mutants):.1%})")
    return int(caught < 0.95 * len(mutants) or caught + survived < len(mutants))


def main() -> int:
    """Run the mutants and print those that no test notices."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="the faults marked in the list only")
    parser.add_argument("--passed", action="store_true", help="tests pass without any fault")
    parser.add_argument("--jobs", type=int, default=1, help="faults tried at the same time")
    options = parser.parse_args()
    return judge(SHORT if options.short else EVERY, EVERY, jobs=options.jobs, passed=options.passed)


if __name__ == "__main__":
    sys.exit(main())

"""The runner of planted faults, on a project of three functions: what it calls caught."""

import ast
import importlib
from pathlib import Path

import pytest

PATH = Path(__file__).parent.parent / "paper_checks" / "mutants.py"

CODE = """
def twice(x):
    return 2 * x


def thrice(x):
    return 3 * x


LEAST = 1
"""
TESTS = """
import pytest

from icl_stl.sums import LEAST, thrice, twice


def test_twice():
    assert twice(4) == 8


@pytest.mark.parametrize("x", [1, 2])
def test_thrice(x):
    assert thrice(x) > 0


def test_wrong():
    assert twice(1) == 3


@pytest.mark.skip
def test_never():
    pass


@pytest.fixture
def least():
    return 1 / LEAST


def test_least(least):
    assert least
"""


@pytest.fixture(scope="module")
def mutants():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PATH.parent))
        yield importlib.import_module("mutants")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    for folder in ("icl_stl", "tests"):
        (root / folder).mkdir()
    (root / "icl_stl" / "__init__.py").touch()
    (root / "icl_stl" / "sums.py").write_text(CODE)
    (root / "tests" / "test_sums.py").write_text(TESTS)
    (root / "pyproject.toml").write_text('[tool.pytest.ini_options]\npythonpath = ["."]\n')
    return root


OWN = "tests/test_sums.py::test_"


@pytest.fixture
def judged(mutants, project, capsys, monkeypatch):
    """Status and output of a run over faults (old, new, test, count)."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(*faults, every=()):
        made, others = ([mutants.Mutant("sums", *f) for f in given] for given in (faults, every))
        status = mutants.judge(made, [*made, *others], project)
        return status, capsys.readouterr().out

    return run


CAUGHT = ("2 * x", "x + 2", f"{OWN}twice")
SURVIVES = ("3 * x", "4 * x", f"{OWN}thrice")


def test_every_fault_that_is_listed_has_its_place_and_its_test(mutants):
    """A test is there if its file has a function of this name; the short form is a part."""
    defined = {}
    for fault in mutants.EVERY:
        assert mutants.misplaced(fault, mutants.ROOT) == "", fault
        file, _, name = fault.test.partition("::")
        if file not in defined:
            tree = ast.parse((mutants.ROOT / file).read_text(encoding="utf-8"))
            defined[file] = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert not name or name in defined[file], fault
        assert name or any(own.startswith("test_") for own in defined[file]), fault
    assert len({*mutants.EVERY}) == len(mutants.EVERY) > 250
    assert {*mutants.SHORT} < {*mutants.EVERY}
    assert len(mutants.SHORT) > 40


def test_a_line_of_the_list_is_a_fault(mutants):
    line = "* bounds/drift | a\\n | b | test_judging::test_x | 2"
    assert mutants.listed(line) == ("bounds/drift", "a\n", "b", "tests/test_judging.py::test_x", 2)
    assert mutants.listed("rows | a |  | check_gap") == (
        *("rows", "a", "", "paper_checks/check_gap.py", None),
    )


def test_a_fault_is_caught_if_its_test_fails(judged):
    assert judged(CAUGHT) == (0, "1 of 1 faults caught (100.0%)\n")


def test_faults_that_end_otherwise_are_not_caught(judged):
    """One survives, one cannot be imported, one stops a fixture, one the interpreter."""
    status, said = judged(
        CAUGHT,
        SURVIVES,
        ("return 2", "return = 2", f"{OWN}twice"),
        ("LEAST = 1", "LEAST = 0", f"{OWN}least"),
        ("return 2 * x", "import os; os._exit(1)", f"{OWN}twice"),
    )
    survived, unread, stopped, dead, share = said.splitlines()
    assert status == 1
    assert survived == "sums: '3 * x' -> '4 * x': survived"
    for line, words in (
        (unread, "SyntaxError"),
        (stopped, "ZeroDivisionError"),
        (dead, "status 1"),
    ):
        assert "badly planted" in line
        assert words in line
    assert share == "1 of 5 faults caught (20.0%)"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (("2 * x", "x", f"{OWN}gone"), "test_gone"),
        (("2 * x", "x", "tests/test_gone.py"), "tests/test_gone.py"),
        (("2 * x", "x", f"{OWN}wrong"), "test_wrong: failure without any fault"),
        (("2 * x", "x", f"{OWN}never"), "test_never: nothing of it is run"),
        (("2 * y", "x", f"{OWN}twice"), "in the code 0 times, not once"),
        ((" * x", "x", f"{OWN}twice"), "in the code 2 times, not once"),
        ((" * x", "x", f"{OWN}twice", 3), "in the code 2 times, 3 is none of them"),
    ],
)
def test_nothing_is_planted_while_the_list_does_not_fit(judged, fault, said):
    """However many others would be caught."""
    status, output = judged(*[CAUGHT] * 30, fault)
    assert status == 1
    assert said in output
    assert "caught" not in output


@pytest.mark.parametrize("fault", [("2 * y", "x", f"{OWN}twice"), ("2 * x", "x", f"{OWN}gone")])
def test_places_and_tests_of_all_faults_are_looked_at(judged, fault):
    status, output = judged(CAUGHT, every=[fault])
    assert status == 1
    assert "caught" not in output


def test_one_of_several_places_is_meant(judged):
    second = (" * x", " - x", f"{OWN}thrice", 2)
    assert judged((" * x", " - x", f"{OWN}twice", 1), second)[0] == 1  # 3 - x is above 0 as well
    assert judged((" * x", " - x", f"{OWN}twice", 1))[0] == 0

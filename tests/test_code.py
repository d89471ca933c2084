"""The code that numbers come from is found by imports, and only what is executed counts."""

import shutil
from itertools import count

import pytest

import icl_stl.studies  # noqa: F401  (all kinds of experiments)
from icl_stl import code
from icl_stl.lab import runs
from icl_stl.studies.claims import CLAIMS
from icl_stl.studies.presets import PRESETS

LOOPS = "icl_stl.lab.runs"
WANTED = [one for claim in CLAIMS.values() for one in claim.experiments(PRESETS["tiny"])]
STUDIES = sorted({experiment.runner.partition(":")[0] for experiment in WANTED})
SWEEPS = "icl_stl.lab.sweeps.batches"
ALL = (LOOPS, *STUDIES, SWEEPS)


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """(file, old, new) -> the digests by root of a copy of the package with that change."""
    numbers = count()

    def changed(name="", old="", new=""):
        copy = tmp_path_factory.mktemp("copies") / str(next(numbers)) / "icl_stl"
        shutil.copytree(code.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        if name:
            text = (copy / name).read_text()
            assert old in text
            (copy / name).write_text(text.replace(old, new, 1))
        return {root: code.digest(root, package=copy) for root in ALL}

    return changed


@pytest.fixture(scope="module")
def same(changed):
    found = changed()
    assert found == {root: code.digest(root) for root in ALL}
    return found


def other(found, same):
    return {root for root in ALL if found[root] != same[root]}


def test_a_change_counts_where_it_is_imported_and_nowhere_else(changed, same):
    def of(*change):
        return other(changed(*change), same)

    two = "import jax\n", "import jax\nTWO = 2\n"
    variance = "return self.dim * self.prior_scale**2 + self.noise**2"
    assert of("laws/linear_regression.py", variance, f"{variance} * 3") == {*ALL}
    assert of("studies/collapse/loops.py", *two) == {"icl_stl.studies.collapse.loops"}
    assert of("lab/sweeps/batches.py", *two) == {SWEEPS}
    assert of("laws/prompts.py", *two) == {*ALL}
    member = "import dataclass\n", "import dataclass\nTWO = 2\n"
    for name in ("problems/ols.py", "regimes/anchored.py"):
        assert of(name, *member) == {*ALL}


@pytest.mark.parametrize(
    "name", ["studies/drawing.py", "report/page.py", "console.py", "studies/solvable/claims.py"]
)
def test_what_only_draws_talks_or_judges_does_not_count(changed, same, name):
    assert other(changed(name, '"""', 'TWO = 2\n"""'), same) == set()


def test_what_is_only_said_does_not_count(changed, same):
    for change in (
        ("lab/runs.py", '"""', '"""Other words. '),
        (
            "laws/linear_regression.py",
            "    def label_variance(",
            "    # Why.\n    def label_variance(",
        ),
        ("studies/collapse/loops.py", "import jax\n", "import jax\n\n\n"),
        ("lab/results.py", "SCHEMA = 1\n", 'SCHEMA = (\n    1  # one\n)\n"""Said twice."""\n'),
    ):
        assert other(changed(*change), same) == set(), change


def test_imports_are_found_wherever_and_however_they_are_written(tmp_path):
    package = tmp_path / "icl_stl"
    files = {
        "__init__.py": "",
        "a.py": "def f():\n    from icl_stl import b\n    import icl_stl.c.d as d",
        "b.py": "from .c import e\nfrom icl_stl.f import thing",
        "c/__init__.py": "from . import g\nfrom pkgutil import iter_modules",
        "c/found.py": "",
        "c/d.py": "import numpy.linalg, json",
        "c/e.py": "from ..h import thing as other",
        "c/g.py": "try:\n    from scipy import stats\nexcept ImportError:\n    pass",
        "f.py": "thing = 1",
        "h.py": "",
        "unused.py": "import jax",
    }
    for name, text in files.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    names = [
        f"icl_stl.{name}" for name in ("a", "b", "c", "c.d", "c.e", "c.found", "c.g", "f", "h")
    ]
    assert code.modules_of("icl_stl.a", package=package) == ("icl_stl", *names)
    assert code.packages_of("icl_stl.a", package=package) == ("numpy", "scipy")
    assert code.modules_of("icl_stl.f", package=package) == ("icl_stl", "icl_stl.f")


@pytest.mark.parametrize("name", ["icl_stl.nothing", "icl_stl.learners.nothing", "nothing_at_all"])
def test_a_module_that_is_not_there_is_refused(name):
    with pytest.raises(ValueError, match=f"module must be one with a source, but it is '{name}'"):
        code.digest(LOOPS, name)


def test_a_module_of_a_user_counts_with_what_it_imports(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "user_helper.py").write_text("FACTOR = 1\n")
    (tmp_path / "user_module.py").write_text("import numpy\nfrom user_helper import FACTOR\n")
    assert code.modules_of("user_module") == ("user_helper", "user_module")
    assert code.packages_of("user_module") == ("numpy",)
    assert not code.is_installed("user_module")
    assert all(map(code.is_installed, ("numpy.linalg", "json", "jax")))


def test_versions_are_of_every_package_that_numbers_come_from():
    every = {name for root in ALL for name in code.packages_of(root)} - {"jaxtyping"}
    assert every <= runs.versions().keys()
    assert {"jax", "numpy", "optax", "flax", "scipy"} <= every

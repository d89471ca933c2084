"""Studies of a user, from files outside the package: they count as much as ours."""

import ast
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from icl_stl.commands import reproduce
from icl_stl.problems import PROBLEMS
from icl_stl.regimes import REGIMES
from icl_stl.studies import Cell, Claim, Evidence, Judged, judge, load
from icl_stl.studies.figures import check_folder, draw_folder
from icl_stl.studies.presets import PRESETS
from icl_stl.studies.study import load_all
from icl_stl.studies.table import place

EXTEND = Path(__file__).parent / "extend"
FILES = {
    "learner.py": "exponential_mean",
    "regime.py": "first_rows",
    "law.py": "other_law",
    "urn.py": "urn",
}
"""The claim of each file; that of `law.py` and of `urn.py` have a figure of their own."""
LINES, SECONDS = 60, 600
TINY = PRESETS["tiny"]


def job(folder, environment, *more):
    files = [word for name in FILES for word in ("--study", name)]
    words = ["-m", "icl_stl.commands", "reproduce", "--preset", "tiny", "--out", "run"]
    return subprocess.Popen(
        [sys.executable, *words, *files, *more],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def written(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("run/checkpoints/*.npz")}


def test_users_files_import_only_what_the_guide_promises_and_all_of_it():
    guide = (EXTEND.parents[1] / "docs" / "guide.md").read_text(encoding="utf-8")
    lines = re.findall(r"`from (icl_stl\.\w+) import ([\w, ]+)`", guide)
    promised = {(room, name) for room, names in lines for name in names.split(", ")}
    members = {("icl_stl.problems", kind.__name__) for kind in PROBLEMS.values()}
    members |= {("icl_stl.regimes", kind.__name__) for kind in REGIMES.values()}
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in EXTEND.glob("*.py")]
    imports = [
        node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
    ]
    ours = [node for node in imports if node.module.startswith("icl_stl")]
    found = {(node.module, alias.name) for node in ours for alias in node.names}
    assert found - members == promised


@pytest.fixture(scope="module")
def judged(environment, tmp_path_factory):
    """A folder with the files and their run, killed once; what was there at the kill; the end."""
    folder = tmp_path_factory.mktemp("studies")
    for name in FILES:
        shutil.copy(EXTEND / name, folder)
    first, until = job(folder, environment), time.monotonic() + SECONDS
    while len(written(folder)) < 2 and first.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    first.kill()
    first.communicate()
    at_the_kill, stopped = written(folder), not (folder / "run" / "claims.json").exists()
    second = job(folder, environment)
    printed, errors = second.communicate(timeout=SECONDS)
    assert second.returncode == 0, errors
    return folder, at_the_kill if stopped else {}, printed


def claims_in(folder):
    return json.loads((folder / "run" / "claims.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_short_and_needs_nothing_else(name):
    assert len((EXTEND / name).read_text(encoding="utf-8").splitlines()) <= LINES


@pytest.mark.parametrize(("file", "name"), FILES.items())
def test_each_claim_is_judged_drawn_and_reported(judged, file, name):
    folder, _, printed = judged
    content = claims_in(folder)
    (entry,) = (entry for entry in content["claims"] if entry["name"] == name)
    assert (entry["verdict"], entry["study"]) == ("holds", file)
    assert entry["negative_control"]["rejected"]
    assert len(content["code"][name]) == 64
    page = (folder / "run" / "report.html").read_text(encoding="utf-8")
    assert f'id="claim-{name}"' in page
    assert f'id="figure-{name}"' in page
    assert f"--study {file}" in page
    assert name in printed
    study = load(folder / file)
    caption = study.figures[name].__doc__ if name in study.figures else "Means measured, with"
    readme = (folder / "run" / "README.md").read_text(encoding="utf-8")
    assert caption in readme.partition(f"## {name}\n")[2].partition("##")[0]


def test_figures_are_those_of_the_results_and_drawn_anew_the_same(judged):
    folder, *_ = judged
    studies, run = load_all(folder / name for name in FILES), folder / "run"
    assert {f"{name}.svg" for name in FILES.values()} < {path.name for path in run.iterdir()}
    assert check_folder(run, studies) == []
    before = {path.name: path.read_bytes() for path in run.glob("*.svg")}
    draw_folder(run, studies)
    assert before == {path.name: path.read_bytes() for path in run.glob("*.svg")}
    with pytest.raises(ValueError, match=r"study must name law.py, which other_law is of"):
        check_folder(run, [study for study in studies if study.file != "law.py"])


def test_what_was_finished_before_a_kill_is_not_run_again(judged):
    folder, at_the_kill, _ = judged
    assert at_the_kill
    assert at_the_kill.items() <= written(folder).items()


def test_a_changed_file_is_made_again_alone_and_a_wrong_learner_noticed(judged, environment):
    folder, *_ = judged
    shutil.copytree(folder, changed := folder.parent / "changed")
    text = (changed / "learner.py").read_text(encoding="utf-8")
    (changed / "learner.py").write_text(text.replace("weights @ rows", "1.1 * (weights @ rows)"))
    before = written(changed)
    again = job(changed, environment, "--only", "exponential_mean")
    _, errors = again.communicate(timeout=SECONDS)
    assert again.returncode == 1, errors
    new = written(changed).keys() - before.keys()
    assert {name.partition("-n20")[0] for name in new} == {
        "experiment-exponential-augment",
        "experiment-exponential-replace",
    }
    assert before.items() <= written(changed).items()
    found = {entry["name"]: entry["verdict"] for entry in claims_in(changed)["claims"]}
    assert found == {**dict.fromkeys(FILES.values(), "holds"), "exponential_mean": "violated"}


def test_claims_of_a_study_that_is_not_given_are_not_kept_unseen(judged):
    folder, *_ = judged
    known = reproduce.known_claims(load_all([folder / "urn.py"]))
    with pytest.raises(ValueError, match=r"study must name learner.py, too, since .*claim exp"):
        reproduce.earlier_claims(folder / "run", [known["urn"]], TINY, known)


def test_the_claims_of_a_study_are_judged_and_no_others_unless_named():
    studies = load_all([EXTEND / "urn.py"])
    known = reproduce.known_claims(studies)
    chosen = lambda *names: [claim.name for claim in reproduce.chosen_claims(known, names, studies)]  # noqa: E731
    assert chosen() == ["urn"]
    assert chosen("rates", "urn") == ["rates", "urn"]
    with pytest.raises(ValueError, match="did you mean 'urn'"):
        chosen("urns")


WRONG = {
    "CLAIMS = [": ("C = [", r"CLAIMS of mine.py must be claims .* but it is None"),
    "[Claim(": ("['words', Claim(", r"CLAIMS of mine.py must be claims .*, but it is \['words"),
    '"urn", WORDS': ('"drift", WORDS', r"name of a claim .* none of the package's own, .*'drift'"),
    'm("urn"': ('m("synthetic_curves"', r"none of the package's own, .*'synthetic_curves'"),
    'Claim("urn"': ('Claim("an urn"', r"name of a claim of mine.py must be a word of letters"),
    "WORDS, ": ("5, ", r"statement of urn of mine.py must be words, but it is 5"),
    "judge, ": ("None, ", r"judge of urn of mine.py must be a function, but it is None"),
    "(Urns(),))": ("Urns())", r"experiments\(preset\) of urn of mine.py must be experiments"),
    "(Urns(),)": ("()", r"experiments\(preset\) of urn of mine.py must be .* at least one"),
    '{"urn": figure}': ("[figure]", r"FIGURES of mine.py must be functions by names of claims"),
    '{"urn"': ('{"turn"', r"by claims of the file \(urn\), but it is by 'turn' \(did you mean"),
    "import numpy": ("import no_such", r"mine.py cannot be imported: ModuleNotFoundError"),
    "    draws: int = 20": ("    draws: list = 20", None),
}
"""What is replaced in `urn.py`, by what, and what is then said; of the last nothing is wrong."""


@pytest.mark.parametrize("old", WRONG)
def test_a_wrong_study_is_refused_by_name(tmp_path, old):
    new, message = WRONG[old]
    text = (EXTEND / "urn.py").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "mine.py").write_text(text.replace(old, new))
    if message is None:
        assert [*load(tmp_path / "mine.py").claims] == ["urn"]
        return
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "mine.py")


def test_two_files_with_one_claim_are_refused(tmp_path):
    shutil.copy(EXTEND / "urn.py", tmp_path / "again.py")
    with pytest.raises(ValueError, match=r"again.py must have other names than 'urn', as in urn"):
        load_all([EXTEND / "urn.py", tmp_path / "again.py"])


def answering(found):
    return Claim("mine", "", "", "", lambda evidence: found)


ONE = np.array([1.0, 2.0, 3.0])
FINE = Cell(ONE, ONE, 2.0, {})


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "judge of mine must give a Judged, but it gives None"),
        (([FINE], []), "judge of mine must give a Judged"),
        (Judged([3.0], [], []), "cells with margins and measured by replicate"),
        (Judged([Cell(ONE, ONE[:, None], 2.0, {})], [], []), "cells with margins and measured"),
        (Judged([], [Cell(ONE[:0], ONE[:0], 2.0, {})], []), "at least one of each"),
        (Judged([Cell(ONE, ONE, 2.0, {"low": 1})], [], []), "other names than 'low'"),
        (Judged([FINE], [FINE], []), "control of mine must name the family of every cell"),
    ],
)
def test_a_wrong_judgement_is_refused_by_name(found, message):
    with pytest.raises(ValueError, match=message):
        judge(answering(found), Evidence(TINY))


def test_a_cell_may_have_any_keys():
    keys = {"dose": 0.25, "where": "left", "regime": "replace", "curve": [1.0]}
    (cell,) = judge(answering(Judged([Cell(ONE, ONE, 2.0, keys)], [], [])), Evidence(TINY))["cells"]
    assert place(cell, every=True) == "replace, dose 0.25, where left"
    assert place({**cell, "quantity": "mass"}, every=True).endswith("where left: mass")

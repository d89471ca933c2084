"""Two runs side by side: what differs by chance is not called a difference."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from icl_stl import commands
from icl_stl.intervals import t_half_width
from icl_stl.lab.results import write_json
from icl_stl.studies.comparison import compare

FIGURES = Path(__file__).parent.parent / "figures"
RUNS = 8


def entry(name, values, verdict="holds", rejected=True, **keys):
    """A claim of one cell a row of values: its mean and Student's interval."""
    cells = []
    for generation, row in enumerate(values):
        half = t_half_width(np.std(row, ddof=1) / RUNS**0.5, RUNS, 0.025)
        ends = {"measured": row.mean(), "low": row.mean() - half, "high": row.mean() + half}
        cells.append(
            {"regime": "replace", "generation": generation, **ends, "level": 0.025, **keys}
        )
    control = {"what": "another", "rejected": rejected}
    return {
        "name": name,
        "verdict": verdict,
        "replicates": RUNS,
        "cells": cells,
        "negative_control": control,
    }


def written(folder, *entries, samples=100, jax="1"):
    folder.mkdir()
    write_json(
        folder / "config.json",
        {"preset": {"samples": samples}, "seed": 0, "versions": {"jax": jax}, "platform": "any"},
    )
    write_json(folder / "claims.json", {"schema": 1, "claims": entries})
    return folder


def test_everything_that_differs_is_named(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, RUNS))
    first = written(tmp_path / "a", entry("drift", values), entry("gone", values))
    second = written(
        tmp_path / "b",
        entry("drift", values + np.array([[0], [9]]), "violated", rejected=False),
        entry("new", values),
        samples=50,
        jax="2",
    )
    found = compare(first, second)
    names = [(change.what, change.name) for change in found.changes]
    assert names == [
        ("setting", "preset.samples"),
        ("version", "jax"),
        ("claim", "gone"),
        ("claim", "new"),
        ("verdict", "drift"),
        ("control", "drift"),
        ("number", "drift: replace, generation 1"),
    ]
    assert found.differ
    assert (found.compared, found.alone) == (2, (0, 0))
    assert compare(first, first) == ([], 4, (0, 0))


def test_places_of_one_run_alone_are_counted_and_numbers_without_interval_decide_nothing(tmp_path):
    values = np.random.default_rng(1).normal(size=(3, RUNS))
    one, other = entry("drift", values), entry("drift", values[:2])
    for cell, measured in ((one["cells"][0], 1.0), (other["cells"][0], 2.0)):
        cell.update(measured=measured, low=measured, high=measured)
    folders = written(tmp_path / "a", one), written(tmp_path / "b", other)
    found = compare(*folders)
    assert [change.what for change in found.changes] == ["single"]
    assert (found.compared, found.alone, found.differ) == (2, (1, 0), False)


def test_runs_of_other_seeds_differ_as_rarely_as_they_should(tmp_path):
    """Of 60 pairs of runs of one law some cell in 5 % at most: 3 standard errors are 8.5 %."""
    rng, differ = np.random.default_rng(2), 0
    for k in range(60):
        values = rng.normal(size=(2, 5, RUNS)) + 3
        folders = [
            written(tmp_path / f"{k}{name}", entry("drift", own))
            for name, own in zip("ab", values, strict=True)
        ]
        differ += compare(*folders).differ
    assert differ / 60 < 0.135


def test_committed_runs_by_the_command(tmp_path, capsys):
    out = tmp_path / "diff.json"
    assert commands.run("diff", [str(FIGURES), str(FIGURES)]) == 0
    assert capsys.readouterr().out.startswith("0 verdicts, 0 controls and 0 of ")
    copy = shutil.copytree(FIGURES, tmp_path / "copy", ignore=shutil.ignore_patterns("long"))
    content = json.loads((copy / "claims.json").read_text())
    name, verdict = (content["claims"][0][key] for key in ("name", "verdict"))
    content["claims"][0]["verdict"] = "violated"
    write_json(copy / "claims.json", content)
    assert commands.run("diff", [str(FIGURES), str(copy), "--json", str(out)]) == 1
    (change,) = json.loads(out.read_text())["changes"]
    assert change == {"what": "verdict", "name": name, "first": verdict, "second": "violated"}


@pytest.mark.parametrize("name", ["config.json", "claims.json"])
def test_a_folder_that_holds_no_run_is_named(tmp_path, name, capsys):
    folder = written(tmp_path / "a", entry("drift", np.ones((1, RUNS)) * [[*range(RUNS)]]))
    (folder / name).unlink()
    for words in ([str(FIGURES), str(folder)], [str(tmp_path / "none"), str(FIGURES)]):
        with pytest.raises(SystemExit) as end:
            commands.run("diff", words)
        assert end.value.code == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert str(folder if words[1] == str(folder) else tmp_path / "none") in said

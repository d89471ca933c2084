"""Verdicts on growth: intervals by hand, loops whose end is known, files that are refused."""

import json
import sys

import numpy as np
import pytest
from scipy import stats

from icl_stl import commands, watching
from icl_stl.intervals import log_concave_p, skewness, student_p
from icl_stl.watching import Losses, watch


def means(values, stderr, runs=np.inf):
    count = len(values)
    full = (np.full(count, float(one)) for one in (stderr, runs))
    return Losses(tuple(range(count)), np.asarray(values, float), *full)


def test_intervals_by_hand():
    """Six generations, the last window from 2 to 5; known errors, five loops behind each, loops."""
    values = [0.0, 1.0, 3.0, 4.0, 6.0, 9.0]
    for runs, law in ((np.inf, stats.norm), (5, stats.t(4))):
        last = watch(means(values, 0.5, runs), 1.0, level=0.9)[-1]
        half = 0.5 * (law.isf(0.1 / 12 / 2) + law.isf(0.1 / 42 / 2)) / 3
        assert last[:4] == (5, 2, 9.0, 2.0)
        assert (last.low, last.high) == pytest.approx((2 - half, 2 + half))
    loops = np.array([values, np.array(values) ** 1.1, np.array(values) * 0.9])
    last = watch(Losses(tuple(range(6)), loops), 1.0, level=0.9)[-1]
    growth = (loops[:, 5] - loops[:, 2]) / 3
    skew, stderr = skewness(growth[:, None])[0], stats.sem(growth)
    for side, end in ((1, last.low), (-1, last.high)):
        beyond = side * (growth - end)
        t = beyond.mean() / stderr
        student = student_p(t, side * skew, 3) if side * skew < 0 else stats.t.sf(t, 2)
        assert 2 * min(student, log_concave_p(beyond[:, None])[0]) == pytest.approx(
            0.1 / 30 / 2, rel=1e-6
        )


def test_windows_are_the_last_half_in_generations_not_in_rows():
    losses = means(np.arange(9.0), 1.0)._replace(generations=(0, 10, 20, 30, 40, 50, 60, 70, 80))
    found = watch(losses, 1.0)
    assert [one.since for one in found] == [0, 0, 10, 20, 20, 30, 30, 40]
    assert [one.growth for one in found] == pytest.approx([0.1] * 8)


@pytest.mark.parametrize("of_loops", [False, True])
def test_verdicts_of_a_line_and_of_a_curve_that_saturates(of_loops):
    """Errors of the size of the tolerance: 5 t a generation is decided within 10 generations."""
    rng, k = np.random.default_rng(0), np.arange(80)
    ends = {"line": (5.0 * k, "growing"), "curve": (60 * (1 - 0.8**k), "settled")}
    ends |= {"flat": (0.0 * k, "settled"), "slow line": (2.0 * k, "growing")}
    for name, (mean, end) in ends.items():
        for _ in range(3 if of_loops else 20):
            losses = means(mean + rng.normal(size=80), 1.0)
            if of_loops:
                own = rng.normal(size=(9, 1)) * 5 + 3 * rng.normal(size=(9, 80))
                losses = Losses(losses.generations, mean + own)
            found = watch(losses, 1.0)
            assert found[-1].verdict == end, name
            first = next(one for one in found if one.verdict != "undecided")
            if name == "line":
                assert first.verdict == "growing"
                assert found[-1].decided == first.generation <= 10
            if name == "curve":
                assert first.verdict == "growing"
                assert found[-1].decided > first.generation


def test_a_verdict_stays_until_the_other_is_shown():
    """Generations 4 and 5 have an interval around the tolerance, generation 6 one below it."""
    found = watch(means([0.0, 10.0, 20.0, 26.0, 26.0, 26.0, 26.0], 0.5), 3.0)
    assert [one.generation for one in found if one.low < 3 < one.high] == [4, 5]
    words = [(one.verdict, one.decided) for one in found]
    assert words == [("growing", 1)] * 5 + [("settled", 6)]


def test_loops_without_spread_decide_nothing():
    found = watch(Losses(tuple(range(5)), np.tile(np.arange(5.0), (4, 1))), 0.1)
    assert {one.verdict for one in found} == {"undecided"}


def test_samples_are_compared_with_real_rows_or_with_the_first():
    rng = np.random.default_rng(1)
    samples = {i: rng.normal(size=(300, 2)) + i for i in (0, 2, 1, 3)}
    own = watching.of_samples(samples)
    assert own.generations == (1, 2, 3)
    real = watching.of_samples(samples, rng.normal(size=(300, 2)))
    assert real.generations == (0, 1, 2, 3)
    assert abs(real.values[0]) < 5 * real.stderr[0]
    np.testing.assert_allclose(own.values, real.values[1:], rtol=0.2)
    assert watch(real, 0.1)[-1].verdict == "growing"


def test_equal_laws_raise_few_alarms(request):
    """Energy distances of equal laws are skewed; with --long 300 loops of 30 generations."""
    loops, last = (300, 30) if request.config.getoption("long", False) else (25, 12)
    rng = np.random.default_rng(2)
    alarms = []
    for _ in range(loops):
        samples = {i: rng.normal(size=60) for i in range(last)}
        found = watch(watching.of_samples(samples, rng.normal(size=60)), 1e-6)
        alarms.append(found[-1].verdict == "growing")
    assert np.mean(alarms) <= 0.05


def call(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["icl-stl", *map(str, words)])
    try:
        return commands.main()
    except SystemExit as end:
        return end.code or 0


TABLES = {
    "grows.csv": ("generation,loss,stderr", [(i, 0.5 * i, 0.1) for i in range(12)]),
    "rests.csv": ("loss,stderr,generation", [(1 - 0.5**i, 0.01, i) for i in range(12)]),
    "open.csv": ("generation,loss,stderr,runs", [(i, 0.1 * i, 0.1, 4) for i in range(4)]),
    "once.csv": ("generation,loss,stderr", [(0, 1, 1)]),
    "loops.csv": (
        "replicate,generation,mine,held_out_loss",
        [(r, i, 0, i + 0.1 * (r * i) ** 0.5) for r in range(9) for i in range(12)],
    ),
    "sure.csv": ("generation,loss", [(0, 1), (1, 2)]),
    "zero.csv": ("generation,loss,stderr", [(0, 1, 0.1), (1, 2, 0)]),
    "twice.csv": ("generation,loss,stderr", [(0, 1, 1), (0, 2, 1)]),
    "nan.csv": ("generation,loss,stderr", [(0, 1, 1), (1, "nan", 1)]),
    "half.csv": ("generation,loss,stderr", [(0.5, 1, 1)]),
    "short.csv": ("generation,loss,stderr", [(0, 1)]),
    "nothing.csv": ("generation,losses,stderr", [(0, 1, 1)]),
    "one.csv": ("loop,generation,loss", [(0, 0, 1), (0, 1, 2)]),
    "gap.csv": ("loop,generation,loss", [(0, 0, 1), (0, 1, 1), (1, 0, 1)]),
    "few.csv": ("generation,loss,stderr,runs", [(0, 1, 1, 1)]),
    "two.csv": ("regime,loop,generation,loss", [("a", 0, 0, 1), ("b", 0, 0, 1)]),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Tables, run folders and folders of samples."""
    for name, (header, rows) in TABLES.items():
        lines = [header, *(",".join(map(str, row)) for row in rows)]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    rng = np.random.default_rng(0)
    for name, files in {
        "samples": ("real", "gen_0", "gen_1", "gen_02"),
        "unnamed": ("first", "second"),
        "kept_samples": ("gen_0", "gen_1"),
        "same": ("gen_1", "other_01"),
        "empty": (),
    }.items():
        (tmp_path / name).mkdir()
        for k, file in enumerate(files):
            np.save(tmp_path / name / f"{file}.npy", rng.normal(size=(100, 2)) + k)
    (tmp_path / "samples" / "notes.md").write_text("mine")
    for name, stderr in (("run", 0.1), ("single", None)):
        (tmp_path / name).mkdir()
        rows = [
            {"generation": i, "loops": 9, "excess_risk": {"mean": 0.2, "stderr": stderr}}
            for i in range(9)
        ]
        (tmp_path / name / "loop.json").write_text(json.dumps({"schema": 1, "generations": rows}))
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "loops.csv").write_text((tmp_path / "loops.csv").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "500")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "status", "verdict", "quantity"),
    [
        ("grows.csv --tolerance 0.1", 3, "growing", "loss"),
        ("grows.csv --tolerance 1", 0, "settled", "loss"),
        ("rests.csv --tolerance 0.02", 0, "settled", "loss"),
        ("open.csv --tolerance 0.1", 4, "undecided", "loss"),
        ("once.csv --tolerance 0.1", 4, "undecided", "loss"),
        ("loops.csv --tolerance 0.1", 3, "growing", "held_out_loss"),
        ("loops.csv --tolerance 0.1 --column mine", 4, "undecided", "mine"),
        ("kept --tolerance 0.1", 3, "growing", "held_out_loss"),
        ("run --tolerance 1", 0, "settled", "excess_risk"),
        ("samples --tolerance 0.1 --real samples/real.npy", 3, "growing", "energy distance"),
        ("samples --tolerance 9 --real samples/real.npy", 0, "settled", "energy distance"),
    ],
)
def test_the_exit_status_is_the_verdict(
    monkeypatch, capsys, folder, line, status, verdict, quantity
):
    assert call(monkeypatch, "watch", *line.split(), "--json", "v.json") == status
    assert verdict in capsys.readouterr().out
    found = json.loads((folder / "v.json").read_text())
    assert (found["verdict"], found["quantity"]) == (verdict, quantity)
    rows = found["generations"]
    decided = [one["generation"] for one in rows if one["verdict"] == verdict]
    assert found["decided"] == (None if verdict == "undecided" else decided[0])


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("grows.csv", ["--tolerance", "required"]),
        ("grows.csv --tolerance 0", ["tolerance", "0.0", "a positive number"]),
        ("grows.csv --tolerance nan", ["tolerance", "nan", "a positive number"]),
        ("grows.csv --tolerance 1 --level 95", ["level = 95.0", "(0, 1)"]),
        ("grows.csv --tolerance 1 --seed -1", ["seed", "-1", "[0, 2^31)"]),
        ("grows.csv --tolerance 1 --real open.csv", ["real", "left out without samples"]),
        ("grows.csv --tolerance 1 --column los", ["los,", "did you mean 'loss'?"]),
        ("grows.csv --tolerance 1 --json .", ["json", "a file"]),
        ("nowhere.csv --tolerance 1", ["losses", "nowhere.csv", "No such file"]),
        ("nowhere --tolerance 1", ["losses", "nowhere", ".csv"]),
        ("sure.csv --tolerance 1", ["sure.csv", "stderr", "generation, loss"]),
        ("zero.csv --tolerance 1", ["zero.csv", "line 3: stderr", "a positive number"]),
        ("twice.csv --tolerance 1", ["twice.csv", "line 3: generation", "there once", "0"]),
        ("nan.csv --tolerance 1", ["nan.csv", "line 3: loss", "'nan'", "a finite number"]),
        ("half.csv --tolerance 1", ["half.csv", "line 2: generation", "0.5", "whole number"]),
        ("short.csv --tolerance 1", ["short.csv", "line 2", "3 values"]),
        ("nothing.csv --tolerance 1", ["nothing.csv", "loss", "did you mean 'losses'?"]),
        ("one.csv --tolerance 1", ["one.csv", "loop", "at least 3 loops"]),
        ("gap.csv --tolerance 1", ["gap.csv", "generation 1", "'1'"]),
        ("few.csv --tolerance 1", ["few.csv", "line 2: runs", "at least 2"]),
        ("two.csv --tolerance 1", ["two.csv", "regime", "'a', 'b'"]),
        ("unnamed --tolerance 1", ["first.npy", "one with a generation"]),
        ("same --tolerance 1", ["other_01.npy", "another generation than gen_1.npy"]),
        ("empty --tolerance 1", ["losses", "empty", "2 or more"]),
        ("samples --tolerance 1 --column a", ["column", "left out with samples"]),
        ("samples --tolerance 1", ["real.npy", "one with a generation"]),
        ("kept_samples --tolerance 1 --real wien", ["real", "'wien'", "did you mean 'wine'?"]),
        ("single --tolerance 1", ["single/loop.json", "stderr above 0", "2 loops"]),
        ("run --tolerance 1 --column a", ["column", "'a'", "no loops.csv"]),
    ],
)
def test_bad_input_is_refused_by_place(monkeypatch, capsys, folder, line, named):
    before = sorted(folder.rglob("*"))
    assert call(monkeypatch, "watch", *line.split()) == 2
    said = capsys.readouterr()
    assert [word for word in named if word not in said.err] == [], said.err
    assert said.out == ""
    assert sorted(folder.rglob("*")) == before

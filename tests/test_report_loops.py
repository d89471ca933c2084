"""The pages of loops and sweeps: their numbers, figures, refusals, and how they look on a phone."""

import csv
import json
import math
import re
import shutil

import numpy as np
import pytest
from scipy import stats
from test_report import (
    HOSTILE,
    Page,
    browser,  # noqa: F401  (a fixture)
    call_script,
    check_self_contained,
    check_structure,
    table_after,
)

from icl_stl.commands import loop
from icl_stl.report import loops, sweeps
from icl_stl.report import page as report
from icl_stl.report.pieces import number

RUNS, ALPHA = 9, 0.5
EPS = [0.9406971335411072, 0.5346190333366394, 0.5192230542500814, 0.5209414760271708]
BOUND = [0.9406971335411072, 1.004967600107193, 1.0217068543036778, 1.0317949031790097]
"""Of a transformer, as `icl-stl loop` averages them: the bound of each loop, then the mean."""
EXCESS = [0.4, 0.6, 0.65, 0.9]
SQUARES = [0.4, 0.6, 0.65, 0.6625]
"""The law in squares: of a rise of 0.2 a quarter more in every generation."""


def loop_rows(**others):
    """Generations of a loop as `loop.json` has them."""
    return [
        {
            "generation": i,
            "loops": RUNS,
            "n_train": 64 * (1 + (i > 0)),
            "excess_risk": {"mean": EXCESS[i], "stderr": 0.01 * (i + 1), "closed_form": 0.4 + i},
            "gap": 0.1 * i,
            "gap_stderr": None,
            "drift": 0.9 + 0.01 * i,
            "drift_stderr": 0.02,
            "eps": EPS[i],
            "eps_stderr": 0.04,
            "bound": BOUND[i],
            "within_loop_half_width": 0.2,
            **{name: values[i] for name, values in others.items()},
        }
        for i in range(4)
    ]


def loop_folder(path, rows, failed=(), **settings):
    path.mkdir()
    known = {"learner": "ols", "regime": "augment", "alpha": ALPHA, "lam": None, "weight": None}
    known |= {"samples": 64, "generations": 3, "runs": RUNS, "seed": 5, "dim": 2, **settings}
    content = {
        "schema": 1,
        "settings": known,
        "versions": {"jax": "1.2.3"},
        "failed": [*failed],
        "failed_loops": {"count": len(failed), "of": RUNS},
        "generations": rows,
    }
    (path / "loop.json").write_text(json.dumps(content))
    return path


def cells(text, caption):
    """A table of the page: the values by column."""
    page = Page(text)
    start = text.index(f"<caption>{caption}")
    head = re.findall(r'<th scope="col"[^>]*>(.*?)</th>', text[start:].partition("</thead>")[0])
    rows = [[td["text"] for td in row.all("td")] for row in table_after(page, text, caption)]
    assert head
    return dict(zip(head, zip(*rows, strict=True), strict=True))


def shown(values):
    return tuple(number(value) for value in values)


def test_numbers_of_a_loop_are_those_of_its_file(tmp_path):
    rows = loop_rows()
    text = report.page(loop_folder(tmp_path / "run", rows))
    found = cells(text, "Means over the loops")
    assert found["excess risk"] == shown(EXCESS)
    assert found["closed form"] == shown([0.4, 1.4, 2.4, 3.4])
    assert found["rows"] == ("64", "128", "128", "128")
    assert found["drift"] == shown([0.9, 0.91, 0.92, 0.93])
    student = stats.t.ppf(0.975, RUNS - 1)
    assert found["± of excess risk"] == shown(student * 0.01 * i for i in (1, 2, 3, 4))
    assert "± of gap" not in found
    assert found["bound on the drift"] == shown(BOUND)
    assert found["law in squares"] == shown(SQUARES)
    said = Page(text).with_id("content")["text"]
    limit = student * math.hypot(0.01 / 3, 0.02 * 4 / 3)  # 0.4 + 0.2 / (1 - 1/4)
    assert f"{number(2 / 3)} ± {number(limit)} in the limit" in said
    assert "9 independent loops from n = 64 real rows each, generations 0 to 3" in said
    assert "1.2.3" in said
    parts = [[float(cell) for cell in found[name]] for name in loops.PARTS]
    np.testing.assert_allclose(np.sum(parts, 0), BOUND, rtol=1e-3)
    np.testing.assert_allclose(parts[0], EPS[0] * 0.5 ** np.arange(4), rtol=1e-3)
    np.testing.assert_allclose(parts[2], [0, *EPS[1:]], rtol=1e-3)


def test_the_figure_of_a_loop_shows_what_is_known():
    rows = loop_rows()
    set_to = {"learner": "ols", "regime": "augment", "alpha": ALPHA, "samples": 64}
    curves = loops.curves_of(rows)
    known = loops.known_of(set_to, rows, curves)

    def lines(name):
        (ax,) = loops._drawn(name, curves[name], rows, known).axes
        return ax, [line.get_ydata() for line in ax.get_lines()]

    ax, drawn = lines("excess_risk")
    for wanted in (EXCESS, [0.4, 1.4, 2.4, 3.4], SQUARES, [2 / 3, 2 / 3]):
        assert any(np.shape(y) == np.shape(wanted) and np.allclose(y, wanted) for y in drawn)
    half = stats.t.ppf(0.975, RUNS - 1) * np.array([0.01, 0.02, 0.03, 0.04])
    ends = [segment[:, 1] for segment in ax.collections[0].get_segments()]
    np.testing.assert_allclose(ends, np.stack([EXCESS - half, EXCESS + half], 1))
    _, drawn = lines("drift")
    assert any(np.allclose(y, BOUND) for y in drawn)


@pytest.mark.parametrize(
    ("set_to", "more", "has"),
    [
        ({}, {}, {"law", "bound"}),
        ({"alpha": 0.25}, {}, {"law", "bound"}),
        ({"regime": "replace", "alpha": None}, {}, {"law", "bound"}),  # a law, no level
        ({"regime": "accumulate", "alpha": None}, {}, {"bound"}),
        ({"learner": None, "problem": "mine.py:Mine"}, {}, {"bound"}),
        ({"regime": "mine.py:Half"}, {}, set()),  # no code is run for a page
        ({}, {"loops": [9, 9, 9, 8]}, set()),
        ({}, {"eps": [None] * 4}, {"law"}),
    ],
)
def test_bound_and_prediction_are_there_where_they_are_known(set_to, more, has):
    usual = {"learner": "ols", "regime": "augment", "alpha": ALPHA, "samples": 64}
    rows = loop_rows(**more)
    known = loops.known_of(usual | set_to, rows, loops.curves_of(rows))
    assert (known.predicted is not None) == ("law" in has)
    assert (known.parts is not None) == ("bound" in has)
    assert (known.level is not None) == ("law" in has and set_to.get("regime") != "replace")


def test_a_law_that_falls_is_predicted_too():
    excess = loops.Curve(np.array([0.6, 0.4]), np.array([0.1, 0.2]))
    fallen = loops.in_squares(0.5, excess, np.arange(3))
    np.testing.assert_allclose(fallen.mean, [0.6, 0.4, 0.35])
    np.testing.assert_allclose(fallen.half, [0.1, 0.2, math.hypot(0.25 * 0.1, 1.25 * 0.2)])


def test_a_loop_of_rows_shows_what_it_has(tmp_path):
    none = {"mean": None, "stderr": None, "closed_form": None}
    more = {
        "excess_risk": [none] * 4,
        **dict.fromkeys(("drift", "eps", "gap", "bound"), [None] * 4),
        "held_out_loss": [{"mean": 19.0 + i, "stderr": 0.5} for i in range(4)],
        "energy": [{"mean": 0.05 * i, "stderr": None} for i in range(4)],
        "tv_lower": [{"value": 0.3, "low": 0.125, "level": 0.95}] * 4,
        "one_step_lower": [{"value": 0.5, "low": 0.25, "level": 0.95}] * 4,
    }
    own = {"real": "wine", "learner": "mine.py:Mine"}
    text = report.page(loop_folder(tmp_path / "run", loop_rows(**more), **own))
    found = cells(text, "Means over the loops")
    assert found["held-out loss"] == ("19", "20", "21", "22")
    assert found["energy distance"] == shown([0.0, 0.05, 0.1, 0.15])
    assert found["total variation, at least, certified"] == ("0.125",) * 4
    assert found["one-step error, at least, certified"] == ("0.25",) * 4
    titles = [h3["text"] for h3 in Page(text).all("h3")]
    assert titles[:3] == ["held-out loss", "energy distance", "total variation, at least"]
    assert "mine.py:Mine of wine" in text
    assert not re.search(r"\b(nan|None|inf)\b", Page(text).with_id("content")["text"])
    gone = ("held_out_loss", "tv_lower", "one_step_lower")
    bare = loop_rows(**more | {name: [None] * 4 for name in gone})
    text = report.page(loop_folder(tmp_path / "bare", bare, **own))
    assert Page(text).all("h3")[0]["text"] == "energy distance"
    gone = report.page(loop_folder(tmp_path / "gone", [], failed=["all of them"]))
    assert "no loop was left in generation 0" in gone
    assert "all of them" in gone


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--learner ols --samples 40 --regime accumulate --runs 3",
        "--learner gaussian --regime mad-fresh-data --noise 0.25",
        "--problem ridge --alpha 0.25 --samples 60 --penalty 0.5",
        "--problem categorical --probabilities 0.5,0.25,0.25",
        "--real wine --learner mixture --components 2 --runs 3 --seed 4",
        "--lam 2 --samples 30 --weight 0.4",
    ],
)
def test_the_command_on_the_page_is_the_one_that_was_given(words):
    def settings(words):
        kind, said = loop.arguments_for(words)
        return loop.settings_of(loop.console.arguments_of(kind, said, "loop"))

    setting, set_to = settings(words.split())
    again = loops.command_of(json.loads(json.dumps(set_to)))
    lines = [line.split(" ", 1) for line in again.split(" \\\n    ")[1:]]
    given = [word.strip("'") for line in lines for word in line]
    assert settings(given) == (setting, set_to)


# --- sweeps --------------------------------------------------------------------------------------


def write_sweep(path, rows):
    path.mkdir(parents=True, exist_ok=True)
    with (path / "sweep.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def sweep_rows(runs):
    """Ten loops of every samples, alpha and kind: as settings of so many loops."""
    rows = []
    for samples in (50, 400):
        for alpha in (0.125, 0.25, 0.5):
            for kind in ("one", "two"):
                for seed in range(10 // runs):
                    for i in range(2):
                        own = sample(samples, alpha, kind, i)[seed * runs : (seed + 1) * runs]
                        error = own.std(ddof=1) / runs**0.5 if runs > 1 else ""
                        rows.append(
                            {
                                "samples": samples,
                                "n_syn": round(samples / alpha),
                                "seed": seed,
                                "runs": runs if runs > 1 else "",
                                "alpha": alpha,
                                "kind": kind,
                                "generation": i,
                                "rows": samples,
                                "excess_risk": float(own.mean()),
                                "excess_risk_stderr": error,
                                "gap": i + alpha,
                                "drift": "",
                            }
                        )
    return rows


def sample(samples, alpha, kind, generation):
    """The numbers of ten loops."""
    seed = [samples, int(1000 * alpha), kind == "two", generation]
    return np.random.default_rng(seed).normal(5, 0.5, 10)


@pytest.mark.parametrize("runs", [1, 5, 10])
def test_a_point_of_a_sweep_is_the_mean_over_all_its_loops(tmp_path, runs):
    folder = write_sweep(tmp_path / "sweep", sweep_rows(runs))
    text = report.page(folder)
    found = cells(text, "Means over loops")
    assert [*found] == ["kind", "samples", "alpha", "excess_risk", "±", "loops"]
    assert {*found["loops"]} == {"10"}
    assert len(found["alpha"]) == 12
    for kind, n, alpha, mean, half, _ in zip(*found.values(), strict=True):
        own = sample(int(n), float(alpha), kind, 1)
        low, high = stats.t.interval(0.95, 9, own.mean(), stats.sem(own))
        assert (mean, half) == (number(float(own.mean())), number(float(high - low) / 2))
    assert [h3["text"] for h3 in Page(text).all("h3")] == [
        f"excess risk against alpha, kind {kind}" for kind in ("one", "two")
    ]
    total = f"{120 // runs} settings, 120 loops"
    assert total in Page(text).with_id("content")["text"]


def test_what_is_asked_for_is_drawn(tmp_path):
    rows = [*map(dict, sweep_rows(5))]
    folder = write_sweep(tmp_path / "sweep", rows)
    asked = sweeps.Axes("samples", "gap", "0", "alpha")
    found = cells(report.page(folder, asked), "Means over loops")
    assert [*found] == ["kind", "alpha", "samples", "gap", "±", "loops"]
    assert found["gap"] == found["alpha"]
    assert found["loops"] == ("10",) * 12
    table = [{k: sweeps._value(str(v)) for k, v in row.items()} for row in rows]
    chosen = sweeps.choose(table, sweeps.Axes("generation", None, None, "kind"))
    assert chosen == ("generation", "excess_risk", "every", "kind", ("samples", "alpha"))
    lines = sweeps.lines_of(table, chosen)
    assert len(lines) == 6
    (ax,) = sweeps._figure(lines[50, 0.125], chosen, ["one", "two"]).axes
    for kind in ("one", "two"):
        means = [sample(50, 0.125, kind, i).mean() for i in range(2)]
        assert any(np.allclose(line.get_ydata(), means) for line in ax.get_lines())


def test_what_is_not_known_everywhere_is_said(tmp_path):
    rows = sweep_rows(5)
    for row in rows:
        row["gap"] = "" if row["kind"] == "two" or row["generation"] else 1.5
        if (row["kind"], row["samples"], row["alpha"]) == ("one", 400, 0.5):
            row["alpha"] = ""
    text = report.page(write_sweep(tmp_path / "sweep", rows), sweeps.Axes(y="gap", generation="0"))
    assert "14 of 24 rows, whose alpha or gap is unknown" in text
    assert cells(text, "Means over loops")["gap"] == ("1.5",) * 5
    with pytest.raises(ValueError, match="generation must be one of those there: last, 0, but"):
        report.page(tmp_path / "sweep", sweeps.Axes(y="gap", generation="1"))
    for row in rows:
        row["excess_risk"] = ""
    (tmp_path / "sweep" / "grid.toml").write_text("samples = [50, 400]  # <&>")
    (tmp_path / "sweep" / "failures.csv").write_text("generation,reason\n,lost <b>\n")
    text = report.page(write_sweep(tmp_path / "sweep", rows))
    assert "gap against alpha" in text
    said = Page(text).with_id("content")["text"]
    for words in ("samples = [50, 400]  # <&>", "icl-stl sweep grid.toml", "1 settings, left out"):
        assert words in said
    assert "lost <b>" in said


COLUMNS = (
    "samples, n_syn, seed, runs, alpha, generation, rows, excess_risk, excess_risk_stderr, gap"
)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--x", "alpa"],
            "x must be a setting that varies: samples, n_syn, seed, alpha, kind, gen",
        ),
        (["--x", "runs"], "x must be a setting that varies"),
        (["--y", "los"], f"y must be a column of numbers: {COLUMNS}, but it is 'los'"),
        (["--y", "drift"], "y must be a column of numbers"),
        (["--x", "alpha", "--y", "alpha"], "y must be a column of numbers"),
        (["--colour", "alpha"], "colour must be a setting that varies: samples, n_syn, seed, kind"),
        (["--generation", "7"], "generation must be one of those there: last, 0, 1, but it is '7'"),
        (["--x", "generation", "--generation", "1"], "generation must be left out"),
        (
            ["--results", "loop", "--x", "alpha"],
            "x must be left out: loop is not the folder of a s",
        ),
        (["--results", "loop", "--generation", "1"], "generation must be left out"),
        (["--results", "none"], "results must be the folder of a run, a loop or a sweep that has"),
        (["--results", "broken"], "broken/loop.json is damaged: KeyError('samples')"),
        (["--results", "list"], "list/loop.json must be what icl-stl loop has written"),
        (["--results", "empty"], "empty/sweep.csv is damaged: it must hold a line"),
        (["--results", "cut"], "cut/sweep.csv is damaged: line 1 must name the columns generation"),
    ],
)
def test_a_page_that_cannot_be_is_refused(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    write_sweep(tmp_path / "sweep", sweep_rows(5))
    loop_folder(tmp_path / "loop", loop_rows())
    for name, file, content in (
        ("none", "config.json", "{}"),
        ("list", "loop.json", "[]"),
        ("empty", "sweep.csv", "samples,generation,rows\n"),
        ("cut", "sweep.csv", "samples,gap\n1,2\n"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(content)
    broken = loop_folder(tmp_path / "broken", loop_rows()) / "loop.json"
    broken.write_text(broken.read_text().replace('"samples"', '"sample"'))
    given = arguments if "--results" in arguments else ["--results", "sweep", *arguments]
    assert call_script(monkeypatch, *given) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.html"))


# --- both ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A loop and a sweep with words in them that are no HTML."""
    here = tmp_path_factory.mktemp("folders")
    rows = sweep_rows(5)
    for row in rows:
        row["kind"] = row["kind"].replace("one", HOSTILE.replace('"', "''"))
    own = {"problem": HOSTILE, "learner": None, "note": HOSTILE}
    return [
        loop_folder(here / "loop", loop_rows(strange=[1.0, 2.0, 3.0, 4.0]), [HOSTILE], **own),
        write_sweep(here / "sweep", rows),
    ]


@pytest.fixture(scope="module")
def pages(folders):
    """Their pages."""
    return [report.write_report(folder) for folder in folders]


@pytest.mark.parametrize("k", [0, 1])
def test_the_page_is_well_formed_and_alone_and_the_same_every_time(folders, pages, tmp_path, k):
    path = pages[k]
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    check_structure(page)
    check_self_contained(page, scripts=0)
    assert "<script>" not in text
    assert "script-src" not in text
    assert len(page.all("figcaption")) == len(page.all("img")) >= 2
    assert all(len(caption["text"].split()) <= 40 for caption in page.all("figcaption"))
    copy = shutil.copytree(folders[k], tmp_path / "elsewhere")
    assert report.write_report(copy, tmp_path / "r.html").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("k", [0, 1])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_its_window_and_can_be_read(pages, browser, k, width):  # noqa: F811
    browser.open(pages[k], width=width)
    assert browser.js("document.documentElement.scrollWidth") <= width
    assert browser.complaints() == []
    browser.js("Promise.all([...document.images].map((i) => (i.loading = 'eager', i.decode())))")
    images = browser.js("[...document.images].map((i) => [i.clientWidth, i.width, i.naturalWidth])")
    assert len(images) >= 2
    for drawn, _, natural in images:
        assert natural >= 400
        assert 12 * drawn / natural >= 9  # 9 points are 12 pixels, the least in a figure
    boxes = browser.js(
        "[...document.querySelectorAll('.picture')].map((p) => p.scrollWidth - p.clientWidth)"
    )
    assert {*boxes} == {0}

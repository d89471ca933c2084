import json
from dataclasses import replace
from hashlib import sha256
from shutil import copytree
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from synthetic import PRESET, G, R, below_the_bound, loops_of, made, stored

from icl_stl.claims.transformer import drift_bound
from icl_stl.plots import (
    DRAWINGS,
    STYLE,
    VACUOUS,
    Stored,
    check_folder,
    draw_folder,
    drawings,
    headline_prefix,
    read_stored,
    rendered,
)
from icl_stl.results import SCHEMA, write_json, write_table

PNG = b"\x89PNG\r\n\x1a\n"

each_drawing = pytest.mark.parametrize("name", DRAWINGS)


@pytest.fixture(scope="module")
def results():
    return stored()


@pytest.fixture(scope="module")
def original(results, tmp_path_factory):
    """A run folder of these results, drawn once."""
    path = tmp_path_factory.mktemp("drawn")
    preset = {"task": PRESET.task.__dict__, "samples": PRESET.samples}
    write_json(path / "config.json", {"preset": preset})
    claims = {"schema": SCHEMA, "claims": list(results.claims.values())}
    write_json(path / "claims.json", claims)
    write_table(path / "loops.csv", results.loops)
    assert draw_folder(path) == list(DRAWINGS)
    return path


@pytest.fixture
def folder(original, tmp_path):
    """A copy of it."""
    return copytree(original, tmp_path / "copy")


def drawn(name, results):
    with mpl.rc_context(STYLE):
        return DRAWINGS[name].draw(results)


def with_bounds(*levels):
    """Loops whose bound is highest in `replace` and there, for each prefix, as given."""

    def loop(regime):
        shape = (R, G + 1, len(levels))
        eps = np.zeros(shape)
        eps[:, 0] = np.array(levels) * (1.0 if regime.name == "replace" else 0.5)
        return made(regime, 0.3 * eps, eps)

    return Stored(PRESET.task, loops_of(loop), {})


# --- what is drawn -------------------------------------------------------------------------------


@each_drawing
def test_every_figure_is_drawn_twice_the_same(name, results):
    for suffix in ("svg", "png"):
        first = rendered(DRAWINGS[name], results, suffix)
        assert first == rendered(DRAWINGS[name], results, suffix)
        if suffix == "svg":
            assert ET.fromstring(first).tag.endswith("svg")
        else:
            assert first.startswith(PNG)
    assert DRAWINGS[name].caption(results).endswith(".")


def test_figures_show_the_results(results):
    """A figure changes with the numbers it shows."""
    loops = loops_of(lambda regime: below_the_bound(regime, 0.02, 0.004))
    for result in loops.values():
        for quantity in ("kl", "excess_squared_risk", "implied_task_variance"):
            result.observations[quantity] += 0.05
    other = replace(results, loops=loops)
    for name, drawing in DRAWINGS.items():
        same = rendered(drawing, results, "svg") == rendered(drawing, other, "svg")
        assert same == (name == "loop")


def test_the_drift_figure_shows_measured_means_and_bounds(results):
    figure = drawn("drift", results)
    prefixes = PRESET.task.prefixes[headline_prefix(results) :]
    assert len(figure.axes) == len(prefixes)
    for ax, prefix in zip(figure.axes, prefixes, strict=True):
        p = PRESET.task.prefixes.index(prefix)
        assert ax.get_title().startswith(f"first {prefix} labels")
        lines = [line for line in ax.lines if len(line.get_ydata())]
        assert len(lines) == 2 * len(results.loops)
        for k, result in enumerate(results.loops.values()):
            measured, bound = lines[2 * k : 2 * k + 2]
            np.testing.assert_array_equal(measured.get_xdata(), np.arange(G + 1))
            np.testing.assert_array_equal(measured.get_ydata(), result["drift"][..., p].mean(0))
            np.testing.assert_array_equal(bound.get_ydata(), drift_bound(result)[..., p].mean(0))
            assert measured.get_color() == bound.get_color()
            assert (measured.get_linestyle(), bound.get_linestyle()) == ("-", "--")


def test_the_share_figure_shows_the_growth_since_generation_2(results):
    (ax,) = drawn("constant_real_share", results).axes
    consuming = [result for name, result in results.loops.items() if name != "real-only"]
    for line, result in zip(ax.lines, consuming, strict=False):
        whole = result["drift"][..., -1].mean(0)
        np.testing.assert_array_equal(line.get_xdata(), np.arange(2, G + 1))
        np.testing.assert_allclose(line.get_ydata(), whole[2:] - whole[2], rtol=0, atol=1e-15)
    assert ax.lines[len(consuming)].get_ydata()[0] == 0.05


def test_the_quality_figures_show_excess_gap_and_errors(results):
    excess, gap = drawn("quality", results).axes
    first = results.loops["real-only"]
    np.testing.assert_allclose(
        excess.lines[0].get_ydata(), first["kl"][..., -1].mean(0) / PRESET.task.context, rtol=1e-13
    )
    np.testing.assert_allclose(
        gap.lines[0].get_ydata(), (first["risk"] - first["training_risk"]).mean(0), rtol=1e-13
    )
    errors = drawn("in_context_error", results).axes[0]
    last = errors.lines[-2].get_ydata()
    above = first["bayes_squared_risk"][:, 0] + first["excess_squared_risk"][:, G]
    np.testing.assert_allclose(last, above.mean(0), rtol=1e-13)


def test_the_sampling_figure_shows_the_claims_cells(results):
    ax, by_generation = drawn("predictive_sampling", results).axes
    measured = [c["measured"] for c in results.claims["predictive_sampling"]["cells"]]
    shown = [container.lines[0].get_ydata()[0] for container in ax.containers]
    assert shown == [measured[0], measured[-1]]
    ratio = results.loops["real-only"]["implied_task_variance"].mean(0) / 4
    np.testing.assert_allclose(by_generation.lines[0].get_ydata(), ratio, rtol=1e-13)


@pytest.mark.parametrize(
    ("levels", "index"),
    [
        ((0.3, 0.5, 0.8), 2),
        ((0.3, 0.8, 1.4), 1),
        ((0.3, VACUOUS, 1.4), 0),
        ((0.3, np.nextafter(VACUOUS, 0) - 1e-12, 1.4), 1),
        ((1.2, 1.3, 1.4), 0),
    ],
)
def test_the_headline_is_the_longest_prefix_with_an_informative_bound(levels, index):
    assert headline_prefix(with_bounds(*levels)) == index
    title = drawn("drift", with_bounds(*levels)).axes[0].get_title()
    assert title.startswith(f"first {PRESET.task.prefixes[index]} labels")


def test_one_loop_of_one_replicate_can_be_drawn(results):
    one = Stored(
        PRESET.task, {k: v.replicates([0]) for k, v in results.loops.items() if k == "replace"}, {}
    )
    assert list(drawings(one)) == ["loop", "drift", "in_context_error", "quality"]
    for drawing in drawings(one).values():
        assert rendered(drawing, one, "svg")


def test_only_what_the_results_suffice_for_is_drawn(results):
    assert list(drawings(results)) == list(DRAWINGS)
    bare = Stored(PRESET.task, {}, {})
    assert list(drawings(bare)) == ["loop"]
    alone = replace(bare, claims=results.claims)
    assert list(drawings(alone)) == ["loop", "predictive_sampling"]
    assert rendered(DRAWINGS["predictive_sampling"], alone, "svg")


# --- a folder and its check ----------------------------------------------------------------------


def test_a_folder_that_was_drawn_matches_its_results(folder, results):
    assert check_folder(folder) == []
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert draw_folder(folder) == list(DRAWINGS)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    page = (folder / "README.md").read_text()
    manifest = json.loads(before["manifest.json"])
    assert set(manifest["sources"]) == {"config.json", "claims.json", "loops.csv"}
    for name, drawing in DRAWINGS.items():
        assert f"]({name}.svg)" in page
        assert drawing.caption(read_stored(folder)[0]) in page
        assert before[f"{name}.svg"] == rendered(drawing, results, "svg")
        assert {f"{name}.svg", f"{name}.png"} <= set(manifest["figures"])


def a_drift_changed(text):
    head, row, rest = text.split("\n", 2)
    columns = row.split(",")
    columns[5] = repr(float(columns[5]) + 1e-3)
    return "\n".join([head, ",".join(columns), rest])


def verdict_changed(text):
    return text.replace('"verdict": "holds"', '"verdict": "violated"', 1)


def byte_changed(text):
    return text.replace("<svg ", "<svg  ", 1)


def task_changed(text):
    return text.replace('"prior_scale": 2.0', '"prior_scale": 1.0')


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("loops.csv", a_drift_changed),
        ("claims.json", verdict_changed),
        ("config.json", task_changed),
        ("drift.svg", byte_changed),
    ],
)
def test_a_changed_file_is_a_mismatch_that_names_it(folder, name, change):
    path = folder / name
    old = path.read_text()
    path.write_text(change(old))
    assert path.read_text() != old
    assert any(line.startswith(f"{name} is not the file") for line in check_folder(folder))


@pytest.mark.parametrize("name", ["quality.png", "loop.svg"])
def test_a_missing_figure_is_a_mismatch_that_names_it(folder, name):
    (folder / name).unlink()
    assert check_folder(folder) == [f"{name} is missing"]


def test_figures_of_other_numbers_are_a_mismatch_even_if_the_manifest_says_otherwise(folder):
    """Digests alone are not trusted: every vector figure is drawn anew."""
    table = folder / "loops.csv"
    table.write_text(a_drift_changed(table.read_text()))
    kept = {path: path.read_bytes() for path in folder.glob("*.svg")}
    draw_folder(folder)
    forged = json.loads((folder / "manifest.json").read_text())

    for path, content in kept.items():
        path.write_bytes(content)
        forged["figures"][path.name] = sha256(content).hexdigest()
    write_json(folder / "manifest.json", forged)
    assert check_folder(folder) == [
        "drift.svg is not what these results give; run scripts/make_figures.py"
    ]


def test_a_missing_table_is_a_mismatch_and_a_missing_claim_file_an_error(folder):
    (folder / "loops.csv").unlink()
    assert "loops.csv is missing" in check_folder(folder)
    (folder / "claims.json").unlink()
    with pytest.raises(ValueError, match=r"claims\.json does not exist"):
        check_folder(folder)

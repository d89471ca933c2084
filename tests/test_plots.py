import io
import json
import re
from copy import deepcopy
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from shutil import copytree
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.container import BarContainer, ErrorbarContainer
from synthetic import PRESET, G, R, below_the_bound, loops_of, made, observed, stored

from icl_stl.lab.results import SCHEMA, write_json, write_table
from icl_stl.regimes import Augment, RealOnly, Replace, real_share
from icl_stl.studies import Evidence, judge
from icl_stl.studies.certificates import claims as certificates
from icl_stl.studies.claims import CLAIMS
from icl_stl.studies.context_loop import claims as context_loop
from icl_stl.studies.convergence import claims as convergence
from icl_stl.studies.drawing import Stored, name_of
from icl_stl.studies.figures import DRAWINGS, caption_of, check_folder, draw_folder, drawings
from icl_stl.studies.network import claims as network
from icl_stl.studies.solvable import claims as solvable
from icl_stl.studies.solvable.figures import gap_series
from icl_stl.studies.stability import claims as stability
from icl_stl.studies.synthetic import claims as synthetic
from icl_stl.studies.table import claims_markdown
from icl_stl.studies.transformer.claims import drift_bound
from icl_stl.studies.transformer.figures import VACUOUS, headline_prefix
from icl_stl.style import STYLE, lean, svg_of

SOLVABLE = [
    claim.name
    for room in (solvable, stability, convergence, synthetic, certificates, context_loop)
    for claim in room.CLAIMS
]
"""Claims whose figures are drawn from their cells alone."""
COLLAPSE = "predictive_collapse"

each_drawing = pytest.mark.parametrize("name", DRAWINGS)


@pytest.fixture(scope="module")
def judged():
    """What a run folder of loops like these holds; bands of recommended sizes are rough."""

    def judged(*arguments, **options):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(synthetic, "RESAMPLES", 10)
            return stored(*arguments, **options)

    return judged


@pytest.fixture(scope="module")
def results(judged):
    return judged()


@pytest.fixture(scope="module")
def figures(results):
    """Every figure as a file."""
    return {name: vectors(drawing, results) for name, drawing in DRAWINGS.items()}


@pytest.fixture(scope="module")
def few(results):
    """The same results without most of the claims about solvable loops, which are slow to draw."""
    claims = results.claims.items()
    fast = {name: entry for name, entry in claims if name not in SOLVABLE or name == "mad_loops"}
    return replace(results, claims=fast)


@pytest.fixture(scope="module")
def two(results):
    """The same results with two claims, one of them of the main job's loops."""
    claims = {name: results.claims[name] for name in ("plateau_level", "mad_loops")}
    return replace(results, claims=claims)


@pytest.fixture(scope="module")
def original(two, tmp_path_factory):
    """A run folder of these, drawn once."""
    path = tmp_path_factory.mktemp("drawn")
    preset = {"task": PRESET.task.__dict__, "samples": PRESET.samples}
    write_json(path / "config.json", {"preset": preset})
    claims = {"schema": SCHEMA, "claims": list(two.claims.values())}
    write_json(path / "claims.json", claims)
    write_table(path / "loops.csv", two.loops)
    assert draw_folder(path) == list(drawings(two))
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


def vectors(drawing, results):
    """The figure as a vector file."""
    return svg_of(lambda: drawing.draw(results))


# --- what is drawn -------------------------------------------------------------------------------


@each_drawing
def test_every_figure_is_drawn_twice_the_same(name, results, figures):
    assert vectors(DRAWINGS[name], results) == figures[name]
    assert ET.fromstring(figures[name]).tag.endswith("svg")
    assert DRAWINGS[name].caption.endswith(".")
    assert len(DRAWINGS[name].caption.split()) <= 40


def test_figures_show_the_results(judged, figures):
    """A figure changes with the numbers it shows."""

    def make(regime):
        result = below_the_bound(regime, 0.02, 0.004)
        for quantity in ("kl", "excess_squared_risk", "implied_task_variance"):
            result.observations[quantity] += 0.05
        return result

    other = judged(make, seed=1)
    same = {name for name, drawing in DRAWINGS.items() if vectors(drawing, other) == figures[name]}
    assert same == {"loop"}


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


def test_the_quality_figures_show_excess_gap_and_errors(results):
    excess, gap = drawn("quality", results).axes
    first = results.loops["augment-0.25"]
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
    ratio = results.loops["augment-0.25"]["implied_task_variance"].mean(0) / 4
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
        assert vectors(drawing, one)


def test_only_what_the_results_suffice_for_is_drawn(results):
    assert list(drawings(results)) == list(DRAWINGS)
    bare = Stored(PRESET.task, {}, {})
    assert list(drawings(bare)) == []
    alone = replace(bare, claims=results.claims)
    named = [name for name in drawings(alone) if name != "synthetic_curves"]
    first = ["injected_error", "relaxation", "plateau", "error_parts", "predictive_sampling"]
    names = list(CLAIMS)
    others = names[names.index(network.CLAIMS[0].name) :]
    assert named == [*first, *SOLVABLE, COLLAPSE, *others]
    assert vectors(DRAWINGS["predictive_sampling"], alone)


# --- files ---------------------------------------------------------------------------------------


def elements(svg):
    """Elements in order with their text and attributes, styles and references written out."""
    root = ET.fromstring(svg)
    styles = {}
    for element in root.iter():
        if element.tag.endswith("style"):
            styles |= dict(re.findall(r"\.(s\d+)\{([^}]*)\}", element.text))
    found = []
    for element in root.iter():
        tag = element.tag.rpartition("}")[2]
        if tag in ("style", "metadata") or "2000/svg" not in element.tag:
            continue
        own = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        own.pop("id", None)
        if "class" in own:
            own["style"] = styles[own.pop("class")]
        found.append((tag, (element.text or "").split(), own))
    return found


REFERENCE = re.compile(r"(?<=url\(#)[\w-]+|(?<=^href #)[\w-]+")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


@pytest.mark.parametrize("name", ["drift", "gap_identity", "context_loop"])
def test_a_lean_file_is_the_same_picture(name, results):
    """The same elements, texts and styles, places within 0.005 points, references to the same."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        DRAWINGS[name].draw(results).savefig(buffer, format="svg")
    whole = buffer.getvalue().decode()
    small = lean(whole)
    assert len(small) < 0.55 * len(whole)
    one, other = elements(small), elements(whole)
    targets = {}
    for (tag, text, own), (tag_of, text_of, full) in zip(one, other, strict=True):
        assert (tag, text) == (tag_of, text_of)
        assert own.keys() == full.keys()
        for key, value in own.items():
            mine, given = f"{key} {value}", f"{key} {full[key]}"
            if key == "style":
                given = re.sub("'DejaVu Sans'.*?sans-serif", "DejaVu Sans, sans-serif", given)
            for new, old in zip(REFERENCE.findall(mine), REFERENCE.findall(given), strict=True):
                assert targets.setdefault(new, old) == old  # one name for one place
            words = [REFERENCE.sub("", both) for both in (mine, given)]
            if key in ("d", "x", "y", "transform"):
                numbers = [np.array(NUMBER.findall(both), float) for both in words]
                np.testing.assert_allclose(*numbers, rtol=0, atol=0.00501)
                words = [NUMBER.sub("", both).split() for both in words]
            assert words[0] == words[1]
    assert len(set(targets.values())) == len(targets) > 8
    ids = set(re.findall(r' id="([^"]*)"', small))
    assert ids == set(targets)


def test_texts_are_left_as_they_are():
    words = 'a style="x"  id="b" url(#c) 1.23456 '
    made = ET.fromstring(
        lean(f'<svg width="1"><text style="x: 1" y="1.23456">{words}</text></svg>')
    )
    text = made.find("text")
    assert (text.text, text.attrib) == (words, {"class": "s0", "y": "1.23"})


FIGURES = Path(__file__).parent.parent / "figures"


def test_committed_figures_weigh_little():
    """Every remake stays in the history: no bitmaps, no picture of thousands of points."""
    files = [path for path in FIGURES.rglob("*.*") if path.parent.name != "checkpoints"]
    files = [path for path in files if path.name != "report.html"]  # neither is committed
    assert {path.suffix for path in files} <= {".svg", ".json", ".csv", ".md"}
    for path in files:
        if path.suffix == ".svg":
            assert path.stat().st_size <= 300_000, path
            assert path.read_text().count("<use") <= 1500, path
    assert len(files) > 30
    assert sum(path.stat().st_size for path in files) <= 5_500_000  # a third: forty generations


# --- whatever the results are --------------------------------------------------------------------

NUMBERS = ("measured", "low", "high", "margin", "margin_low", "margin_high")


def regimes(count):
    return [
        RealOnly(),
        Replace(),
        *(Augment(PRESET.samples / (PRESET.samples + k)) for k in range(1, 13)),
    ][:count]


def loops_with(results, change):
    """The loops with their observations changed."""
    loops = {
        name: replace(loop, observations={k: change(k, v) for k, v in loop.observations.items()})
        for name, loop in results.loops.items()
    }
    return replace(results, loops=loops)


def not_finite(count):
    def change(name, values):
        gone = np.arange(len(values)) < count
        gone = gone.reshape(-1, *[1] * (values.ndim - 1))
        return values if name == "diverged_at" else np.where(gone, np.nan, values)

    return change


def cells_with(results, change):
    """The claims with a changed copy of every cell."""
    claims = {
        name: {**entry, "cells": [{**c, **change(k, c)} for k, c in enumerate(entry["cells"])]}
        for name, entry in results.claims.items()
    }
    return replace(results, claims=claims)


ODD_LOOPS = {
    **{
        f"{count} regimes": lambda r, n=count: replace(
            r, loops=loops_of(below_the_bound, regimes(n))
        )
        for count in (0, 1, 9, 12)
    },
    **{
        f"{count} generations": lambda r, n=count: loops_with(r, lambda _, v: v[:, :n])
        for count in (1, 2)
    },
    "one replicate": lambda r: loops_with(r, lambda _, v: v[:1]),
    "one failed": lambda r: loops_with(r, not_finite(1)),
    "all failed": lambda r: loops_with(r, not_finite(R)),
}
ODD_CELLS = {
    "nothing measured": lambda r: cells_with(r, lambda k, c: dict.fromkeys(NUMBERS)),
    "half measured": lambda r: cells_with(r, lambda k, c: dict.fromkeys(NUMBERS) if k % 2 else {}),
    "zeros": lambda r: cells_with(
        r, lambda k, c: {**dict.fromkeys(NUMBERS, 0.0), "bound": 0.0, "tolerance": 0.0}
    ),
    "below zero": lambda r: cells_with(r, lambda k, c: dict.fromkeys(NUMBERS, -1.0)),
    "no bound": lambda r: cells_with(r, lambda k, c: {"bound": None}),
}


ODD = ODD_LOOPS | ODD_CELLS


@pytest.mark.filterwarnings("ignore:Data has no positive values")
@pytest.mark.parametrize("odd", ODD)
def test_every_figure_can_be_drawn_of_whatever_was_measured(odd, results, few):
    changed = ODD[odd](few if odd in ODD_LOOPS else results)  # cells do not show the loops
    for name, drawing in drawings(changed).items():
        with np.errstate(all="ignore"), mpl.rc_context(STYLE):
            assert drawing.draw(changed).axes or name == "loop", name
        assert caption_of(drawing, changed).endswith("."), name
    assert len(claims_markdown(list(changed.claims.values()))) == 2 + len(changed.claims)


def test_nine_regimes_look_different(results):
    """There are eight colours."""
    (ax, *_) = drawn("drift", ODD["12 regimes"](results)).axes
    solid = [line for line in ax.lines if line.get_linestyle() == "-"]
    assert len({(line.get_color(), line.get_marker()) for line in solid}) == len(solid) == 12


def test_loops_that_failed_are_left_out_of_the_figures_and_named(results):
    some, none = (ODD[odd](results) for odd in ("one failed", "all failed"))
    whole = results.loops["replace"].replicates(range(1, R))
    np.testing.assert_array_equal(some.loops["replace"]["drift"], whole["drift"])
    assert "failed are left out: 1 of augment-0.25, 1 of" in caption_of(DRAWINGS["quality"], some)
    assert "failed" not in caption_of(DRAWINGS["quality"], results)
    assert none.loops == {}
    assert "drift" not in drawings(none)


def test_a_name_is_no_formula():
    class Odd(Replace):
        @property
        def name(self):
            return "$\\odd"

    assert name_of(made(Odd(), np.ones((2, 2, 3)), np.ones((2, 2, 3)))) == "\\$\\odd"


# --- what plug-in prompts forget -----------------------------------------------------------------


def test_the_collapse_is_drawn_where_the_cells_have_it(results):
    """Points at measured means, lines through closed forms, the main job's loops dashed."""
    cells = results.claims[COLLAPSE]["cells"]
    axes = {ax.get_title(): ax for ax in DRAWINGS[COLLAPSE].draw(results).axes}
    assert len(axes) == 8
    fitted = [
        c
        for c in cells
        if c["loop"] == "empirical Bayes, plug-in"
        and c["quantity"] == "fitted task variance, u"
        and c["alpha"] == 0
    ]
    lines = {
        tuple(np.asarray(line.get_ydata(), float).tolist())
        for line in axes["prior fitted in every generation"].lines
    }
    assert tuple(c["measured"] for c in fitted) in lines
    assert tuple(c["bound"] for c in fitted) in lines
    wrong = tuple(c["bound"] * 1.01 for c in fitted)
    assert wrong not in lines
    # The predictive loops of the main job are beside those of the same share, if they were run.
    alone = replace(results, claims={COLLAPSE: results.claims[COLLAPSE]})
    dashed = [
        [
            line.get_label()
            for line in DRAWINGS[COLLAPSE].draw(stored).axes[6].lines
            if line.get_linestyle() == "--"
        ]
        for stored in (results, alone)
    ]
    assert dashed == [["predictive, α = 0.5", "predictive, α = 0"], []]


# --- claims about solvable loops: what is drawn are the cells ------------------------------------


def cells_of(results, claim, **keys):
    """Cells of a claim in which these keys have these values (None: it has no such key)."""
    cells = results.claims[claim]["cells"]
    return [cell for cell in cells if all(cell.get(key) == keys[key] for key in keys)]


def column(cells, key):
    return [cell[key] for cell in cells]


def bars(ax):
    """Measured means, lower and upper ends of the intervals of each series in a panel."""
    found = []
    for container in ax.containers:
        if not isinstance(container, ErrorbarContainer):
            continue
        line, _, (segments,) = container.lines
        ends = np.array(segments.get_segments())
        measured = None if line is None else line.get_ydata()
        found.append((measured, ends[:, 0, 1], ends[:, 1, 1]))
    return found


def assert_cells(shown, cells):
    measured, low, high = shown
    if measured is not None:
        np.testing.assert_array_equal(measured, column(cells, "measured"))
    np.testing.assert_allclose(low, column(cells, "low"), rtol=0, atol=1e-12)
    np.testing.assert_allclose(high, column(cells, "high"), rtol=0, atol=1e-12)


def lines(ax, style):
    """The y-values of all lines of a style that are longer than nothing."""
    return [
        list(line.get_ydata())
        for line in ax.lines
        if line.get_linestyle() == style and len(line.get_ydata())
    ]


def test_the_error_figure_shows_measured_errors_and_their_triangle(results):
    figure = drawn("one_step_error", results)
    consuming = [loop for name, loop in results.loops.items() if name != "real-only"]
    for ax, prefix in zip(figure.axes, PRESET.task.prefixes, strict=False):
        assert len(bars(ax)) == len(consuming)
        for k, loop in enumerate(consuming):
            share = real_share(loop.regime, loop.samples, 1)
            where = {"regime": loop.regime.name, "alpha": share}
            cells = cells_of(results, "one_step_error", loop=None, prefix=prefix, **where)
            assert column(cells, "generation") == list(range(1, G + 1))
            assert_cells(bars(ax)[k], cells)
            assert lines(ax, "--")[k] == column(cells, "bound")
            known = cells_of(results, "one_step_error", loop="known", **where)
            assert_cells(bars(figure.axes[-1])[k], known)
    assert figure.axes[0].get_title() == "first label"


def test_the_identity_figure_stacks_the_parts_beside_the_gap(results):
    figure = drawn("gap_identity", results)
    names = list(dict.fromkeys(column(results.claims["gap_identity"]["cells"], "loop")))
    assert len(figure.axes) == len(names) == 6
    for ax, name in zip(figure.axes, names, strict=True):
        cells = cells_of(results, "gap_identity", loop=name, quantity=None)
        (shown,) = bars(ax)
        assert_cells(shown, cells)
        stacks = [c for c in ax.containers if isinstance(c, BarContainer)]
        heights = [[bar.get_height() for bar in stack] for stack in stacks]
        np.testing.assert_allclose(np.transpose(heights), column(cells, "parts"), rtol=1e-12)
        tops = [bar.get_y() + bar.get_height() for bar in stacks[-1]]
        np.testing.assert_allclose(tops, column(cells, "bound"), rtol=1e-12)
        assert ("exact" in ax.get_title()) == name.startswith("bits")
        known = cells_of(results, "gap_identity", loop=name, quantity="shift part")
        marks = [segment for c in ax.collections[1:] for segment in c.get_segments()]
        assert bool(known) == (name == "gaussian mean")
        assert len(marks) == 16 * bool(known)
        if known:  # equal shares: all parts of generation 1 add up to twice the top line
            first = [c for c in results.claims["gap_identity"]["cells"] if "quantity" in c]
            total = sum(cell["bound"] for cell in first if cell["generation"] == 1) / 2
            assert marks[3][0][1] == pytest.approx(total, rel=1e-12)


def test_parts_below_zero_are_stacked_downwards(results):
    entry = deepcopy(results.claims["gap_identity"])
    for cell in entry["cells"]:
        if "parts" in cell:
            cell["parts"][1] *= -1
    ax = drawn("gap_identity", replace(results, claims={"gap_identity": entry})).axes[0]
    stacks = [c for c in ax.containers if isinstance(c, BarContainer)]
    direct, indirect, synthetic, _ = (stack[0] for stack in stacks)
    assert indirect.get_y() == 0
    assert indirect.get_height() < 0
    assert synthetic.get_y() == direct.get_height()


def localised_cells(results, place):
    """Cells of the localised bound of the loop and quantity of this cell."""
    return [
        cell
        for cell in results.claims["generalization_gap"]["cells"]
        if cell.get("form") == "localised"
        and all(cell[key] == place[key] for key in ("loop", "alpha", "quantity"))
    ]


def test_the_gap_figure_shows_both_sides_and_their_ratio(results):
    figure = drawn("generalization_gap", results)
    top, others_panel, bottom, ratios = figure.axes
    bits, rest, grey = gap_series(results)
    for ax, below, series in ((top, bottom, bits), (others_panel, ratios, rest)):
        for k, curve in enumerate(series.values()):
            rate = "gap_bound" in curve[0]
            measured = column(curve, "gap_quantile" if rate else "measured")
            bound = column(curve, "gap_bound" if rate else "bound")
            assert lines(ax, "-")[k] == measured
            assert lines(ax, "--")[k] == bound
            shown = lines(below, "-.")[k]
            np.testing.assert_allclose(shown, np.divide(bound, measured), rtol=1e-13)
        sharp = [
            column(own, "gap_bound" if "gap_bound" in own[0] else "bound")
            for curve in series.values()
            if "form" in curve[0]
            for own in [localised_cells(results, curve[0])]
        ]
        assert lines(ax, ":")[: len(sharp)] == sharp
        assert sharp
    shown = [cell for curve in [*bits.values(), *rest.values(), *grey] for cell in curve]
    cells = results.claims["generalization_gap"]["cells"]
    others = [
        cell
        for cell in cells
        if cell["quantity"].startswith("variance") or cell.get("form") == "localised"
    ]
    for ax, series in ((top, bits), (others_panel, rest)):
        vacuous = [
            [c.get("gap_bound", c["bound"]) for c in curve if c.get("vacuous")]
            for curve in series.values()
        ]
        crosses = [line.get_ydata().tolist() for line in ax.lines if line.get_marker() == "x"]
        assert crosses[: len(vacuous)] == vacuous
    assert any(map(any, [[c.get("vacuous") for c in curve] for curve in bits.values()]))
    assert len(shown) == len(cells) - len(others)
    assert all((cell in shown) != (cell in others) for cell in cells)


def test_the_gap_figure_picks_the_tightest_and_the_loosest_loop_of_each_loss(results):
    bits, _, grey = gap_series(results)

    def mean(curve):
        return np.mean(np.divide(column(curve, "bound"), column(curve, "measured")))

    for loss in ("squared loss", "loss z"):
        (tight,) = [c for name, c in bits.items() if name.startswith(f"{loss}, tightest")]
        (loose,) = [c for name, c in bits.items() if name.startswith(f"{loss}, loosest")]
        between = [mean(c) for c in grey if c[0]["quantity"].endswith(loss)]
        assert len(between) == 4
        assert mean(tight) < min(between)
        assert max(between) < mean(loose)


def test_the_rates_figure_shows_curves_fits_and_saturation(results):
    in_n, in_i, saturation = drawn("rates", results).axes
    curves = [cell for cell in results.claims["rates"]["cells"] if "curve" in cell]
    assert lines(in_n, "None") == column(curves[:4], "curve")
    assert lines(in_i, "None") == column(curves[4:], "curve")
    for ax, cells in ((in_n, curves[:4]), (in_i, curves[4:])):
        legend = " ".join(text.get_text() for text in ax.get_legend().get_texts())
        for cell, fit, guide in zip(cells, lines(ax, "-"), lines(ax, "--"), strict=True):
            x = cell["n"] if ax is in_n else np.arange(1, len(fit) + 1)
            for y, slope in ((fit, cell["measured"]), (guide, cell["bound"])):
                np.testing.assert_allclose(np.polyfit(np.log(x), np.log(y), 1)[0], slope)
            ends = ", ".join(f"{cell[key]:+.3f}" for key in ("low", "high"))
            assert f"{cell['measured']:+.3f} [{ends}]" in legend
    for k, alpha in enumerate((0.2, 0.5)):
        cells = cells_of(results, "rates", alpha=alpha, quantity="drift over injected error")
        assert_cells(bars(saturation)[k], cells)
        assert lines(saturation, "--")[k] == column(cells, "bound")
        assert lines(saturation, ":")[k] == [1 / alpha] * 2


def test_the_accumulation_figure_shows_closed_forms_and_the_harmonic_bound(results):
    left, right = drawn("accumulation", results).axes
    kinds = [
        ("gaussian mean", "accumulate"),
        ("gaussian mean", "accumulate-subsample"),
        ("ols", "accumulate"),
        ("ols", "accumulate-fresh"),
    ]
    excess = "excess risk over that of one fit"
    for k, (loop, regime) in enumerate(kinds):
        where = {"loop": loop, "regime": regime, "quantity": excess, "test": "equal"}
        cells = cells_of(results, "accumulation", **where)
        assert len(cells) == 5
        assert_cells(bars(left)[k], cells)
        assert lines(left, "--")[k] == column(cells, "bound")
    assert lines(left, ":") == [[np.pi**2 / 6] * 2]
    harmonic = []
    for k, (loop, over) in enumerate(
        (("gaussian mean", "that of generation 0"), ("bernoulli", ""))
    ):
        quantity = f"drift over {over or 'injected error'}"
        cells = cells_of(results, "accumulation", loop=loop, quantity=quantity)
        assert_cells(bars(right)[k], cells)
        assert lines(right, "--")[k] == column(cells, "bound")
        harmonic = column(cells, "bound")
    assert lines(right, ":") == [pytest.approx(harmonic, rel=1e-12)]


def test_the_threshold_figure_shows_all_sizes_on_both_sides(results):
    below, above = drawn("real_share_threshold", results).axes
    cells = results.claims["real_share_threshold"]["cells"]
    first, last = [cell for cell in cells if "curve" in cell][:2]
    assert lines(below, "-") == first["curve"]
    assert lines(above, "-") == last["curve"]
    known = [cell for cell in cells if "curve" not in cell]
    assert lines(below, "--") == [column(known, "bound")]
    assert lines(above, "--") == []
    (shown,) = bars(below)
    assert_cells(shown, known)
    for ax, cell in ((below, first), (above, last)):
        ends = f"[{cell['low']:+.3f}, {cell['high']:+.3f}]"
        assert f"{cell['measured']:+.3f} {ends}" in ax.get_title()


def test_the_mad_figure_shows_one_point_a_generation_and_closed_forms(results):
    figure = drawn("mad_loops", results)
    excess = {"quantity": "excess risk over that of one fit"}
    for ax, loop in zip(figure.axes, ("gaussian mean", "ols"), strict=True):
        kinds = dict.fromkeys(column(cells_of(results, "mad_loops", loop=loop), "mad"))
        assert len(kinds) == len(bars(ax)) == 4
        closed = []
        for k, kind in enumerate(kinds):
            cells = cells_of(results, "mad_loops", loop=loop, mad=kind, **excess)
            assert {cell["generation"] for cell in cells} == {1, 2, 5, 10, 20}
            widest = {}
            for cell in sorted(cells, key=lambda c: -c["level"]):
                widest[cell["generation"]] = cell
            assert_cells(bars(ax)[k], [widest[i] for i in sorted(widest)])
            closed.append(column([c for c in cells if c.get("test") == "equal"], "bound"))
        assert lines(ax, "--") == [bounds for bounds in closed if bounds]
        assert len(lines(ax, "--")) == 4
        assert lines(ax, ":") == [[1, 1], [1.5, 1.5]]


def test_each_kind_of_mad_loop_has_one_look_in_both_panels(results):
    figure = drawn("mad_loops", results)
    looks = {}
    for ax in figure.axes:
        for container in ax.containers:
            line = container.lines[0]
            look = (str(line.get_color()), line.get_marker())
            assert looks.setdefault(container.get_label(), look) == look
    assert len(set(looks.values())) == len(looks) == 5
    (legend,) = figure.legends
    assert set(looks) <= {text.get_text() for text in legend.get_texts()}


@pytest.mark.parametrize("name", ["rates", "real_share_threshold"])
def test_an_exponent_that_is_undecided_is_said_to_be(results, name):
    """A mean that is not positive has no exponent: the cell has no number."""
    entry = deepcopy(results.claims[name])
    for cell in entry["cells"]:
        if "curve" in cell:
            cell |= {"measured": None, "low": None, "high": None, "test": "undecided"}
    unknown = replace(results, claims={name: entry})
    assert vectors(DRAWINGS[name], unknown).count(b"undecided") == (5 if name == "rates" else 2)


# --- synthetic data ------------------------------------------------------------------------------


def regrets(results, **keys):
    """Cells of the regret of a predicted size, with their curves."""
    return [
        c
        for c in results.claims["optimal_synthetic_size"]["cells"]
        if "lams" in c
        and c["loop"] != "transformer"
        and all(c[key] == value for key, value in keys.items())
    ]


def shows_the_curve(shown, cell, unit):
    """A series of points with bars is the measured curve of a cell with its intervals."""
    curve, half = np.array(cell["curve"]), np.array(cell["half_width"])
    for values, expected in zip(shown, (curve, curve - half, curve + half), strict=True):
        np.testing.assert_allclose(values, expected / unit, rtol=1e-9, atol=1e-12)


def test_the_optimum_figure_shows_both_terms_and_what_was_measured(results):
    axes = drawn("optimal_synthetic_size", results).axes
    panels = [("gap", "fixed"), ("gap", "fresh"), ("risk", "fixed"), ("risk", "fresh")]
    for ax, (objective, world) in zip(axes, panels, strict=True):
        (cell,) = regrets(
            results, loop="gaussian mean", objective=objective, regime=world, generation=5
        )
        unit = cell["exact"][0]
        (first, second, whole, *_) = ax.lines
        for line, (name, values) in zip((first, second), cell["terms"].items(), strict=True):
            assert line.get_label() == name
            np.testing.assert_allclose(line.get_ydata(), np.array(values) / unit, rtol=1e-12)
        total = first.get_ydata() + second.get_ydata()
        np.testing.assert_allclose(whole.get_ydata(), total, rtol=1e-9)
        np.testing.assert_array_equal(first.get_xdata(), cell["lams"])
        (measured,) = bars(ax)
        shows_the_curve(measured, cell, unit)
        assert f"best λ = {cell['lam']:.3g}" in ax.get_title()
        upright = [line for line in ax.lines if list(line.get_xdata()) == [cell["lam"]] * 2]
        assert upright


def test_the_curves_figure_shows_every_problem_world_and_objective(results):
    figure = drawn("synthetic_curves", results)
    loops = list(dict.fromkeys(c["loop"] for c in regrets(results)))
    assert loops == ["gaussian mean", "ols", "linear attention", "clipped mean"]
    columns = [("fixed", "risk"), ("fresh", "risk"), ("fixed", "gap"), ("fresh", "gap")]
    places = [(loop, *column) for loop in loops for column in columns]
    for ax, (loop, world, objective) in zip(figure.axes, places, strict=True):
        cells = regrets(results, loop=loop, regime=world, objective=objective)
        for measured, cell in zip(bars(ax), cells, strict=True):
            unit = (cell.get("exact") or [None])[0] or cell["curve"][0]
            shows_the_curve(measured, cell, unit)
        marks = [list(line.get_xdata()) for line in ax.lines if line.get_marker() == "v"]
        predicted = [[c.get("recommended", c)["lam"]] for c in cells]
        assert [x for x in marks if x] == predicted


def test_the_phase_figure_shows_curves_and_peaks(results):
    left, right = drawn("synthetic_phase", results).axes
    cells = results.claims["synthetic_phase"]["cells"]
    heights = [c for c in cells if "curve" in c]
    for measured, cell in zip(bars(left), heights, strict=True):
        shows_the_curve(measured, cell, 1.0)
    places = [c for c in cells if "own_parabola" in c]
    for shown, cell in zip(bars(right), places, strict=True):
        assert_cells(shown, [cell])


@pytest.mark.parametrize("name", ["synthetic_phase", "golden_weight"])
def test_a_place_that_is_undecided_is_left_out(results, name):
    entry = deepcopy(results.claims[name])
    for cell in entry["cells"]:
        if "own_parabola" in cell:
            cell.update(dict.fromkeys(("measured", "low", "high")))
    without = replace(results, claims={**results.claims, name: entry})
    bars, fewer = (
        sum(len(ax.containers) for ax in drawn(name, stored).axes) for stored in (results, without)
    )
    assert fewer == bars - sum("own_parabola" in cell for cell in entry["cells"])


def test_the_weight_figure_shows_predicted_measured_and_equal_rows(results):
    axes = drawn("golden_weight", results).axes
    cells = [c for c in results.claims["golden_weight"]["cells"] if "curve" in c]
    for ax, cell in zip(axes, cells, strict=True):
        curve, best = ax.containers
        np.testing.assert_array_equal(curve.lines[0].get_ydata(), cell["curve"])
        assert best.lines[0].get_xdata() == [cell["measured"]]
        upright = [line.get_xdata()[0] for line in ax.lines if len(set(line.get_xdata())) == 1]
        assert {cell["bound"], cell["equal_rows"]} <= set(upright)


def test_the_network_figure_shows_each_bound_the_risk_and_what_is_to_blame(results):
    left, right = drawn("network_bound", results).axes
    cells = results.claims["network_bound"]["cells"]
    sizes = [*PRESET.network.samples]
    curves = [[*line.get_ydata()] for line in left.lines]
    for kind in network.KINDS:
        own = [cell for cell in cells if cell["kind"] == kind]
        assert [cell["n"] for cell in own] == sizes
        assert [cell["bound"] for cell in own] in curves
        assert [cell["measured"] for cell in own] in curves
    assert [network.M] * len(sizes) in curves
    shown = [line.get_xdata()[0] for line in right.lines]
    last = [c for c in cells if c["n"] == sizes[-1]]
    for cell in last:
        if cell["kind"] == "without":
            assert cell["measured"] in shown
    assert {c["bound"] for c in last if c["kind"] in network.KINDS} <= {*shown}


def unjudged(name, results):
    """The entry of a claim with too few replicates to be judged."""
    two = {e: {k: v[:2] for k, v in observed(e).items()} for e in CLAIMS[name].experiments(PRESET)}
    loops = {key: loop.replicates([0, 1]) for key, loop in results.loops.items()}
    entry = judge(CLAIMS[name], Evidence(replace(PRESET, replicates=2), loops, {}, two))
    assert entry["cells"] == []
    return entry


@pytest.mark.parametrize("name", [*SOLVABLE, "one_step_error"])
def test_a_claim_that_was_not_judged_or_is_missing_is_not_drawn(results, name):
    others = {key: entry for key, entry in results.claims.items() if key != name}
    entries = [{}, {name: unjudged(name, results)}]
    if name in SOLVABLE:  # drawn from cells alone
        entries.append({name: {**results.claims[name], "cells": []}})
    for entry in entries:
        claims = {**others, **entry}
        shown = drawings(replace(results, claims=claims))
        assert list(shown) == [
            key for key, drawing in DRAWINGS.items() if name not in (key, drawing.needs_claim)
        ]


def test_a_folder_whose_claims_were_not_judged_is_drawn(folder, results):
    entries = [unjudged(name, results) for name in [*SOLVABLE, "one_step_error"]]
    write_json(folder / "claims.json", {"schema": SCHEMA, "claims": entries})
    assert draw_folder(folder) == ["loop", "drift", "in_context_error", "quality"]
    assert "| rates |  | - | - | - | inconclusive | NO |" in (folder / "README.md").read_text()


# --- a folder and its check ----------------------------------------------------------------------


def test_a_folder_that_was_drawn_matches_its_results(folder, two):
    assert check_folder(folder) == []
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert draw_folder(folder) == list(drawings(two))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    page = (folder / "README.md").read_text()
    manifest = json.loads(before["manifest.json"])
    assert set(manifest["sources"]) == {"config.json", "claims.json", "loops.csv"}
    for name, drawing in drawings(two).items():
        assert f"]({name}.svg)" in page
        assert drawing.caption in page
        assert before[f"{name}.svg"] == vectors(drawing, two)
        assert f"{name}.svg" in manifest["figures"]


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


@pytest.mark.parametrize("name", ["quality.svg", "loop.svg"])
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
    changed = ("plateau_level", "drift")  # both show it
    what = "is not what these results give; run icl-stl figures"
    assert check_folder(folder) == [f"{name}.svg {what}" for name in changed]


def test_a_missing_table_is_a_mismatch_and_a_missing_claim_file_an_error(folder):
    (folder / "loops.csv").unlink()
    assert "loops.csv is missing" in check_folder(folder)
    (folder / "claims.json").unlink()
    with pytest.raises(ValueError, match=r"claims\.json does not exist"):
        check_folder(folder)


# --- the transformer over sizes ------------------------------------------------------------------


def test_curves_over_n_are_those_of_the_cells_above_what_no_limit_leaves(results):
    axes = drawn("convergence", results).axes
    cells = [c for c in results.claims["convergence"]["cells"] if c.get("drawn")]
    for ax, kind in ((axes[0], "squared"), (axes[2], "nll")):
        for alpha, generation in ((0.5, 0), (0.5, 4), (0.0, 4)):
            own = [c for c in cells if (c["kind"], c["generation"]) == (kind, generation)]
            own = [c for c in own if c["alpha"] == alpha]
            sized = sorted((c for c in own if c["n"] != "streamed"), key=lambda c: c["n"])
            curve = [c["measured"] for c in sized]
            lines = [line.get_ydata() for line in ax.lines]
            assert any(len(y) == len(curve) and np.allclose(y, curve) for y in lines)
            (level,) = [c["measured"] for c in own if c["n"] == "streamed"]
            assert any(
                line.get_linestyle() == "--" and line.get_ydata()[0] == level for line in ax.lines
            )


def test_the_best_amount_tried_and_the_formulas_are_drawn(results):
    cells = [c for c in results.claims["transformer_synthetic_size"]["cells"] if "prediction" in c]
    (ax,) = drawn("transformer_synthetic_size", results).axes
    last = [c for c in cells if c["objective"] == "squared" and c["generation"] == 2]
    lines = [line.get_ydata() for line in ax.lines]
    for cell in last:
        assert any(len(y) == 3 and np.allclose(y, cell["prediction"]) for y in lines)
    stars = [line for line in ax.lines if line.get_marker() == "*"]
    best = [c["best"] for c in last if c["predicted_by"] == "squares"]
    assert [last[0]["lams"][round(s.get_xdata()[0])] for s in stars] == best

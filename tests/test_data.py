"""Rows of files: what is read is what is written there, and what is held out is seen by none."""

import sys

import jax
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from icl_stl import data
from icl_stl.lab.runs import draw_replicates
from icl_stl.learners.generative import GENERATIVE
from icl_stl.problems.table import Table, TablePrompts
from icl_stl.regimes import Anchored, Augment, Replace

CSV = """size,"kind, of it",place
1.5,b,3
-2e3,a,10
.5,b,3
4,c,1
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(CSV)


def test_a_table_is_read_whole_and_words_are_numbers():
    sheet = data.read_rows("t.csv")
    assert sheet.names == ("size", "kind, of it", "place")
    assert sheet.words == (("kind, of it", ("a", "b", "c")),)
    assert sheet.rows.tolist() == [[1.5, 1, 3], [-2e3, 0, 10], [0.5, 1, 3], [4, 2, 1]]
    named = data.read_rows("t.csv", categories=("place",))
    assert dict(named.words)["place"] == ("1", "10", "3")
    assert named.rows[:, 2].tolist() == [2, 1, 2, 0]
    assert named.digest != sheet.digest
    ones, names = data.spread(named)
    assert names[1:] == tuple(
        f"{k}={w}"
        for k, w in (
            ("kind, of it", "a"),
            ("kind, of it", "b"),
            ("kind, of it", "c"),
            ("place", "1"),
            ("place", "10"),
            ("place", "3"),
        )
    )
    np.testing.assert_array_equal(ones.sum(axis=1), named.rows[:, 0] + 2)


def test_a_first_line_is_names_unless_one_of_them_is_a_number(tmp_path):
    (tmp_path / "none.csv").write_text("1,a\n2,b\n3,a\n4,b\n")
    sheet = data.read_rows("none.csv")
    assert (sheet.names, len(sheet.rows)) == (("1", "2"), 4)
    (tmp_path / "words.csv").write_text("a,b\n" * 5)
    assert len(data.read_rows("words.csv").rows) == 4
    assert len(data.read_rows("words.csv", header="no").rows) == 5
    assert data.read_rows("none.csv", header="no").rows.tolist() == sheet.rows.tolist()


def test_arrays_are_rows_side_by_side(tmp_path):
    images = np.arange(24.0).reshape(4, 3, 2)
    np.save(tmp_path / "i.npy", images)
    assert data.read_rows("i.npy").rows.tolist() == images.reshape(4, 6).tolist()
    np.savez(tmp_path / "a.npz", x=images[:, 0], y=np.arange(4))
    sheet = data.read_rows("a.npz")
    assert sheet.names == ("x_1", "x_2", "y")
    assert sheet.rows[:, 2].tolist() == [0, 1, 2, 3]


def test_a_text_is_rows_of_symbols(tmp_path):
    (tmp_path / "t.txt").write_text("abcab\r\ncabc" * 3)
    sheet = data.read_rows("t.txt", length=5)
    assert (sheet.symbols, sheet.rows.dtype) == ("\nabc", np.int32)
    back = "".join(sheet.symbols[k] for k in sheet.rows.ravel())
    assert back == ("abcab\ncabc" * 3)[: 5 * len(sheet.rows)]
    ones, _ = data.spread(sheet)
    assert (ones.shape, ones.sum()) == ((6, 20), 30)


def test_another_file_is_numbered_as_the_first(tmp_path):
    sheet = data.read_rows("t.csv")
    (tmp_path / "u.csv").write_text(CSV.replace(",a,", ",c,"))
    assert data.read_like("u.csv", "generated", sheet).rows[:, 1].tolist() == [1, 2, 1, 2]
    (tmp_path / "v.csv").write_text(CSV.replace(",a,", ",d,"))
    with pytest.raises(ValueError, match=r"generated: a value of 'kind, of it' must be .*'d'"):
        data.read_like("v.csv", "generated", sheet)
    (tmp_path / "w.csv").write_text(CSV.replace("place", "time"))
    with pytest.raises(ValueError, match="must be the columns size, kind, of it, place"):
        data.read_like("w.csv", "generated", sheet)


def test_columns_without_names_are_compared_by_place(tmp_path):
    (tmp_path / "named.csv").write_text("size,place\n1,2\n3,4\n5,6\n7,9\n")
    np.save(tmp_path / "rows.npy", np.arange(8.0).reshape(4, 2))
    named, rows = data.read_rows("named.csv"), data.read_rows("rows.npy")
    assert data.read_like("rows.npy", "generated", named).names == ("size", "place")
    assert data.read_like("named.csv", "generated", rows).rows.tolist() == named.rows.tolist()
    np.save(tmp_path / "wide.npy", np.zeros((4, 3)))
    with pytest.raises(ValueError, match="must be the columns size, place"):
        data.read_like("wide.npy", "generated", named)
    (tmp_path / "other.csv").write_text("size,time\n1,2\n3,4\n5,6\n7,9\n")
    with pytest.raises(ValueError, match="must be the columns size, place"):
        data.read_like("other.csv", "generated", named)


def test_a_number_without_end_is_no_word(tmp_path):
    (tmp_path / "endless.csv").write_text("a,b\n1,2\n3,-Inf\n5,6\n7,9\n")
    with pytest.raises(ValueError, match=r"line 3, column 2 \('b'\) must be a number of a size"):
        data.read_rows("endless.csv")


def test_shipped_tables_have_their_target_where_it_is_asked_for():
    pytest.importorskip("sklearn")
    shapes = {name: data.read_rows(name).rows.shape for name in data.SHIPPED}
    assert shapes == {
        **{"breast-cancer": (569, 30), "diabetes": (442, 10)},
        **{"digits": (1797, 64), "wine": (178, 13)},
    }
    assert data.read_rows("diabetes", target=True).names[-1] == "target"


def test_without_scikit_learn_its_extra_is_named(monkeypatch):
    for name in ("sklearn", "sklearn.datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    data.read_rows.cache_clear()
    with pytest.raises(ValueError, match=r"not installed.*'wine'.*pip install 'icl_stl\[data\]'"):
        data.read_rows("wine")


# --- loops of a table ----------------------------------------------------------------------------


@pytest.fixture
def rows(tmp_path):
    """Rows of two correlated columns of very different units, one far from 0."""
    z = np.random.default_rng(0).normal(size=(40, 2)) @ [[1.0, 0.8], [0.0, 0.6]]
    rows = z * [1e-3, 500.0] + [1e6, -3.0]
    np.save(tmp_path / "rows.npy", rows)
    return rows


def test_every_loop_parts_the_rows_anew_and_holds_some_out(rows):
    problem = Table("rows.npy", GENERATIVE["normal"]())
    assert (problem.held_out, problem.usual_samples) == (8, 32)
    drawn = draw_replicates(problem, 20, 3, 0)
    for r in range(3):
        truth, real, held_out = (
            np.asarray(jax.tree.leaves(a[r])[0]) if hasattr(a, "shape") else a
            for a in (drawn.truth.rows, drawn.real, drawn.held_out)
        )
        np.testing.assert_allclose(real.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(real.std(axis=0), 1, rtol=1e-5)
        np.testing.assert_array_equal(truth[:20], real)
        # One affine map of the file's rows: held-out rows and others are all rows, each once.
        every = np.sort(np.concatenate([truth, held_out])[:, 0])
        file = np.sort(rows[:, 0])
        slope, place = np.polyfit(file - 1e6, every, 1)
        np.testing.assert_allclose(every, slope * (file - 1e6) + place, atol=1e-4)
    assert not np.allclose(drawn.held_out[0], drawn.held_out[1])
    fresh = problem.draw(jax.random.key(1), jax.tree.map(lambda a: a[0], drawn.truth), 32)
    known = np.asarray(drawn.truth.rows[0])
    np.testing.assert_array_equal(np.sort(fresh, axis=0), np.sort(known, axis=0))


def test_the_held_out_loss_is_that_of_the_files_units(rows):
    problem = Table("rows.npy", GENERATIVE["normal"]())
    _, truth, real, held_out = problem.start(jax.random.key(0), 32)
    weights = jax.numpy.full(32, 1 / 32)
    law = problem.learner.fit(jax.random.key(1), real, weights)
    losses = truth.log_scale - problem.learner.log_density(law, held_out)
    # Rows of the file from their units: an affine map by column, found from all rows.
    units = np.concatenate([truth.rows, held_out])
    back = [np.polyfit(np.sort(units[:, k]), np.sort(rows[:, k]), 1) for k in range(2)]
    scale = np.array([1e-3, 500.0])  # SciPy takes so different variances for a singular law
    own, other = (
        np.stack([np.polyval(back[k], np.asarray(a, float)[:, k]) for k in range(2)], axis=1)
        / scale
        for a in (real, held_out)
    )
    exact = multivariate_normal(own.mean(axis=0), np.cov(own.T, ddof=0))
    expected = np.log(scale).sum() - exact.logpdf(other)
    np.testing.assert_allclose(losses, expected, rtol=1e-3)
    unscaled = -problem.learner.log_density(law, held_out)
    assert abs(float(np.mean(unscaled - expected))) > 0.1


@pytest.mark.parametrize(
    ("regime", "samples", "refused"),
    [(Augment(0.5), 16, ""), (Replace(), 16, ""), (Augment(0.25), 8, ""),
     (Augment(0.5, 0.9), 16, "generation 1"), (Anchored(), 16, "generation 2"),
     (Replace(), 33, "at most 32")],
)  # fmt: skip
def test_what_takes_no_weights_is_refused_where_they_differ(
    rows, tmp_path, regime, samples, refused
):
    (tmp_path / "model.py").write_text(
        "class Plain:\n    def fit(self, rows): ...\n    def sample(self, count, seed): ...\n"
        "class Weighted(Plain):\n    def fit(self, rows, sample_weight=None): ...\n"
    )
    plain, weighted = (
        Table("rows.npy", data.FromFile.named(f"model.py:{name}")) for name in ("Plain", "Weighted")
    )
    if refused:
        with pytest.raises(ValueError, match=refused):
            plain.check(regime, samples, 3)
    else:
        plain.check(regime, samples, 3)
    if samples <= 32:
        weighted.check(regime, samples, 3)


def test_prompts_of_a_table_never_show_a_held_out_row(rows):
    problem = TablePrompts("rows.npy", "2", context=3, held_out=50)
    _, _, real, held_out = problem.start(jax.random.key(0), 60)
    assert (real.xs.shape, held_out.ys.shape) == ((60, 3, 1), (50, 3))
    seen, kept = ({*np.asarray(some.xs).ravel().tolist()} for some in (real, held_out))
    assert not seen & kept
    assert (len(seen), len(kept)) == (32, 8)
    for prompt in np.asarray(held_out.xs)[..., 0]:
        assert len({*prompt.tolist()}) == 3  # no row twice
    more = problem.draw(jax.random.key(5), (), 60)
    assert {*np.asarray(more.xs).ravel().tolist()} == seen

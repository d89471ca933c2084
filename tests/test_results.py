import csv
import json
import os
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from reference import trials
from regime_strategies import REGIMES, SAMPLES
from synthetic import PRESET, G, R, below_the_bound, loops_of

from icl_stl.lab.results import (
    SCHEMA,
    Failure,
    LoopResult,
    failures_of,
    label,
    labels_of,
    make_folder,
    read_json,
    read_table,
    write_atomically,
    write_json,
    write_table,
)
from icl_stl.regimes import Accumulate, Augment, RealOnly, Regime, Replace


def table_with_all_kinds_of_numbers():
    loops = loops_of(below_the_bound)
    observed = loops["replace"].observations
    observed["drift"][1, 2] = np.nan
    observed["risk"][0, :4] = [5e-324, -0.0, np.inf, 1e300]
    observed["diverged_at"][3, 1] = 2**31 - 1
    for result in loops.values():  # as JAX leaves them
        single = {k: v.astype(np.float32) for k, v in result.observations.items() if k == "kl"}
        result.observations.update(single)
    return loops


# --- labels and failures -------------------------------------------------------------------------


def test_labels_of_the_regimes():
    names = [label(regime, 12) for regime in (RealOnly(), Augment(0.25), Replace())]
    assert names == ["real-only", "augment-0.25", "replace"]


def test_a_failure_is_the_first_number_that_is_not_finite():
    result = below_the_bound(Replace())
    assert result.failures == ()
    result.observations["training_loss"][:] = np.nan  # a learner without training has none
    assert result.failures == ()
    result.observations["diverged_at"][1, 2:] = [7, 0, 3]
    result.observations["excess_squared_risk"][4, 1:, 0] = np.inf
    assert result.failures == (
        Failure("replace", 1, 2, 7, "diverged_at"),
        Failure("replace", 4, 1, -1, "excess_squared_risk"),
    )
    assert [str(failure) for failure in result.failures] == [
        "replace, replicate 1: not finite in generation 2, training step 7",
        "replace, replicate 4: not finite in generation 1, excess_squared_risk",
    ]
    assert result.replicates([0, 2, 3, 5]).failures == ()
    assert result.generations == G


def test_results_of_another_version_of_the_form_are_refused(tmp_path):
    path = tmp_path / "claims.json"
    for content in ({"schema": SCHEMA, "claims": []}, {"claims": []}, [], 3):
        write_json(path, content)
        assert read_json(path) == content
    write_json(path, {"schema": SCHEMA + 1, "claims": []})
    with pytest.raises(ValueError, match=rf"schema must be {SCHEMA}.*{path}.*is {SCHEMA + 1}"):
        read_json(path)


def test_a_failure_is_found_wherever_the_generations_are():
    observed = {"gap": np.zeros((4, 2, 3)), "parameters": np.zeros((4, 3))}
    assert failures_of("here", observed, 2) == ()
    observed["gap"][2, 0, 1:] = np.nan
    observed["gap"][2, 1, 2] = np.inf
    observed["parameters"][3, 2] = np.nan  # of no generation, though there are as many of them
    found = failures_of("here", observed, 2)
    assert found == (Failure("here", 2, 1, -1, "gap"), Failure("here", 3, 0, -1, "parameters"))
    observed["diverged_at"] = np.full((4, 2, 3), -1)
    observed["diverged_at"][2, 1, 1:] = 7  # says more than that numbers are not finite there
    observed["later"] = np.where(np.arange(3) == [[[0]], [[2]], [[0]], [[2]]], np.nan, 0.0)
    observed["later"][[0, 2]] = 0
    observed["at_last"] = np.full((4, 1, 3), np.inf)
    observed["at_last"][[0, 2, 3], 0, :2] = 0
    for own in (observed, dict(reversed(observed.items()))):
        assert failures_of("here", own, 2) == (
            Failure("here", 0, 2, -1, "at_last"),
            Failure("here", 1, 0, -1, "at_last"),
            Failure("here", 2, 1, 7, "diverged_at"),
            Failure("here", 3, 0, -1, "parameters"),
        )
    for name in ("diverged_at", "later", "at_last"):
        del observed[name]
    assert [str(failure) for failure in failures_of("here", observed, None)] == [
        "here, replicate 2: not finite, gap",
        "here, replicate 3: not finite, parameters",
    ]


# --- the table -----------------------------------------------------------------------------------


def test_a_table_comes_back_exactly(tmp_path):
    loops, path = table_with_all_kinds_of_numbers(), tmp_path / "loops.csv"
    write_table(path, loops)
    back = read_table(path, PRESET.samples)
    assert list(back) == list(loops)
    for name, result in loops.items():
        assert back[name].regime == result.regime
        assert back[name].samples == PRESET.samples
        assert list(back[name].observations) == list(result.observations)
        for quantity, values in result.observations.items():
            np.testing.assert_array_equal(back[name].observations[quantity], values)
    signs = np.signbit(back["replace"].observations["risk"][0])
    assert signs[1]
    written = path.read_bytes()
    write_table(path, {name: result.replicates(range(R)) for name, result in loops.items()})
    assert path.read_bytes() == written


@st.composite
def tables(draw):
    """Loops of any regimes, each with any quantities of any shape."""
    regimes = draw(st.lists(REGIMES, min_size=1, max_size=4))
    shapes = {name: draw(st.none() | st.integers(1, 3)) for name in ("drift", "a_b", "x2", "eps_")}
    loops = {}
    for words, regime in labels_of(regimes, SAMPLES).items():
        shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
        observed = {"diverged_at": np.full(shape, draw(st.integers(-(2**63), 2**63 - 1)))}
        for name in draw(st.permutations(list(shapes))):
            if draw(st.booleans()):
                full = shape if shapes[name] is None else (*shape, shapes[name])
                numbers = arrays(draw(st.sampled_from([np.float32, np.float64])), full)
                observed[name] = draw(numbers)
        loops[words] = LoopResult(regime, SAMPLES, observed)
    return loops


@given(tables())
@settings(max_examples=trials(50, 500))
def test_a_table_of_any_regimes_comes_back_bit_for_bit(tmp_path_factory, loops):
    path = tmp_path_factory.mktemp("table") / "loops.csv"
    write_table(path, loops)
    back = read_table(path, SAMPLES)
    assert list(back) == list(loops)
    for name, result in loops.items():
        found = back[name]
        assert (found.regime, found.samples, found.label) == (result.regime, SAMPLES, result.label)
        assert found.observations.keys() == result.observations.keys()
        for quantity, values in result.observations.items():
            read = found.observations[quantity]
            wide = np.int64 if values.dtype.kind == "i" else np.float64
            assert (read.dtype, read.shape) == (wide, values.shape)
            same = np.isnan(values) | (read.view(np.int64) == values.astype(wide).view(np.int64))
            assert same.all()
            np.testing.assert_array_equal(np.isnan(read), np.isnan(values))
    written = path.read_bytes()
    write_table(path, {name: back[name] for name in loops})
    again = read_table(path, SAMPLES)
    assert len(path.read_bytes()) == len(written)
    assert list(again) == list(loops)


def test_a_quantity_that_a_regime_does_not_have_is_empty(tmp_path):
    """Where all generations are mixed there are no one-step errors."""
    loops = loops_of(below_the_bound)
    mixed = LoopResult(Accumulate(), PRESET.samples, dict(loops["replace"].observations))
    for name in ("eps", "eps_variance"):
        del mixed.observations[name]
    write_table(tmp_path / "loops.csv", {**loops, "accumulate": mixed})
    with (tmp_path / "loops.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        observed = {**loops, "accumulate": mixed}[row["regime"]].observations
        r, i = int(row["replicate"]), int(row["generation"])
        assert row["risk"] == repr(observed["risk"][r, i].item())
        assert row["kl_2"] == repr(observed["kl"][r, i, 2].item())
        eps = "" if row["regime"] == "accumulate" else repr(observed["eps"][r, i, 1].item())
        assert row["eps_1"] == eps
    back = read_table(tmp_path / "loops.csv", PRESET.samples)
    assert back["accumulate"].regime == Accumulate()
    assert back["accumulate"].observations.keys() == mixed.observations.keys()


@dataclass(frozen=True)
class Custom(Regime):
    name: ClassVar[str] = "custom"
    real: float

    def synthetic_size(self, samples):
        return samples

    def share(self, generation):
        return self.real


def test_a_regime_of_others_is_read_where_it_is_given_and_refused_where_not(tmp_path):
    path, observed = tmp_path / "loops.csv", below_the_bound(Replace()).observations
    some = [Custom(0.25), Custom(0.5), Replace()]
    loops = {
        words: LoopResult(regime, PRESET.samples, observed)
        for words, regime in labels_of(some, PRESET.samples).items()
    }
    assert list(loops) == ["custom-0.25", "custom-0.5", "replace"]
    write_table(path, loops)
    back = read_table(path, PRESET.samples, [Custom(0.5), Custom(0.25)])
    assert [result.regime for result in back.values()] == some
    message = r"regimes must have .*loops\.csv .* 'custom-0\.5', .*test_results\.Custom.* not there"
    with pytest.raises(ValueError, match=message):
        read_table(path, PRESET.samples, [Custom(0.25), Custom(0.75)])


@pytest.mark.parametrize(
    ("quantity", "values"),
    [
        ("regime", np.zeros((2, 3))),
        ("drift_1", np.zeros((2, 3))),
        ("drift", np.zeros((2, 3, 4, 5))),
        ("drift", np.zeros((2, 3, 0))),
        ("drift", np.zeros((2, 3), bool)),
    ],
)
def test_what_a_table_could_not_give_back_is_not_written(tmp_path, quantity, values):
    observed = {"diverged_at": np.zeros((2, 3), int), quantity: values}
    with pytest.raises(ValueError, match=r"^(quantity|drift) must be "):
        write_table(tmp_path / "loops.csv", {"replace": LoopResult(Replace(), 8, observed)})
    assert not any(tmp_path.iterdir())


def test_a_table_has_a_row_for_every_generation_of_every_replicate(tmp_path):
    write_table(tmp_path / "loops.csv", loops_of(below_the_bound))
    lines = (tmp_path / "loops.csv").read_text().splitlines()
    assert len(lines) == 1 + 3 * R * (G + 1)
    assert lines[0].startswith("regime,replicate,generation,drift_0,drift_1,drift_2,")
    assert lines[0].endswith(",diverged_at,description")
    assert lines[2].startswith("augment-0.25,0,1,")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text.replace("generation", "generatoin", 1),
        lambda text: text[: len(text) // 2],
        lambda text: text.rpartition("\nreplace,5,4")[0] + "\n",
        lambda text: text.replace("replace,3,1,", "replace,3,x,", 1),
        lambda text: text.replace("augment-0.5", "augment-half", 1),
        lambda text: text.replace(",description\n", "\n", 1),
        lambda text: text.replace("augment-0.25,0,0,", "augment-0.25,0,0,abc", 1),
        lambda text: text.replace('""alpha"":0.5', '""alpha"":1.5'),
        lambda text: text.replace('""alpha"":0.5', '""alpha"":0.25', 1),
        lambda text: text.replace("regimes.Augment", "regimes.Nothing"),
        lambda text: text.replace("drift_1,", "drift_7,", 1),
        lambda text: text.replace("augment-0.25,0,0,0.0", "augment-0.25,0,0,0_0.0", 1),
    ],
    ids=[
        *(
            "empty",
            "header",
            "cut",
            "row missing",
            "generation",
            "regime",
            "no description",
            "number",
        ),
        *("field", "two descriptions", "class", "gap", "digits"),
    ],
)
def test_a_damaged_table_is_refused_by_name(tmp_path, damage):
    path = tmp_path / "loops.csv"
    write_table(path, loops_of(below_the_bound))
    path.write_text(damage(path.read_text()))
    with pytest.raises(ValueError, match=r"loops\.csv is damaged"):
        read_table(path, PRESET.samples)


def test_files_that_are_missing_or_damaged_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.csv does not exist; run icl-stl reproduce"):
        read_table(tmp_path / "none.csv", 8)
    with pytest.raises(ValueError, match=r"none\.json does not exist; run icl-stl reproduce"):
        read_json(tmp_path / "none.json")
    for content in (b"", b'{"a": ', b"\xff\xfe"):
        (tmp_path / "bad.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.json is damaged"):
            read_json(tmp_path / "bad.json")


# --- files ---------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "file"
    for content in (b"first" * 1000, b"second"):
        write_atomically(path, content)
        assert path.read_bytes() == content
        assert os.listdir(tmp_path) == ["file"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"α": [1, 2.5, None]})
    old = path.read_bytes()
    for value in (float("nan"), float("inf"), {"a": [np.nan]}):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(path, value)
        assert path.read_bytes() == old
        assert os.listdir(tmp_path) == ["file.json"]
    assert read_json(path) == {"α": [1, 2.5, None]} == json.loads(old)
    assert "α".encode() in old


def test_a_cell_of_a_claim_is_one_line(tmp_path):
    cells = [{"a": 0.1, "b": [1, {"c": "x\n     y"}]}, {"a": None, "b": []}]
    content = {"claims": [{"name": "it", "cells": cells}]}
    path = tmp_path / "file.json"
    write_json(path, content)
    assert read_json(path) == content
    lines = [line.strip().rstrip(",") for line in path.read_text().splitlines()]
    assert lines[5:7] == ['{"a": 0.1,"b": [1,{"c": "x\\n     y"}]}', '{"a": null,"b": []}']


def test_folders_are_made_and_left_empty(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"content")
    for path in (file, file / "below"):
        with pytest.raises(ValueError, match=f"out must be a writable folder, but {path} is not"):
            make_folder(path)
    assert file.read_bytes() == b"content"


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    folder = tmp_path / "read-only"
    folder.mkdir()
    folder.chmod(0o500)
    try:
        if os.access(folder, os.W_OK):
            pytest.skip("permissions do not bind this user")
        with pytest.raises(ValueError, match="read-only is not"):
            make_folder(folder)
        with pytest.raises(ValueError, match="read-only"):
            make_folder(folder / "below")
    finally:
        folder.chmod(0o700)

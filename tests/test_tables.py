"""Tables and files from outside, whole and damaged: the numbers that are written there, or refused.

Each damage as a case of its own, then at random: a table or a result file is made, written in some
admissible way, and damaged at most once.
"""

import dataclasses
import json
import math
import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import trials

from icl_stl import tables
from icl_stl.bounds.__main__ import main as bounds_calculator
from icl_stl.lab.results import read_json
from icl_stl.lab.sweeps import executors, grids
from icl_stl.planning.plan import measured, read_errors

ROOT = Path(__file__).resolve().parent.parent
INF = math.inf

WHOLE = "N,eps,stderr\n100,0.25,0.01\n400,0.125,0.005\n"
POINTS = [(100, 0.25, 0.01, INF), (400, 0.125, 0.005, INF)]


def points(found):
    """What was read, a tuple for each point."""
    spread = [None] * len(found.sizes) if found.stderr is None else found.stderr.tolist()
    columns = (found.sizes.tolist(), found.errors.tolist(), spread, found.runs.tolist())
    return list(zip(*columns, strict=True))


def written(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# --- tables of errors, each damage by itself -----------------------------------------------------

SAME = {
    "as it is": WHOLE,
    "byte-order mark": WHOLE.encode("utf-8-sig"),
    "lines of another system": WHOLE.replace("\n", "\r\n"),
    "lines of an old system": WHOLE.replace("\n", "\r"),
    "blanks": " N , eps ,stderr \n 100, 0.25 ,0.01\n400,\t0.125,0.005 \n",
    "quotes": '"N","eps","stderr"\n"100","0.25","0.01"\n400,0.125,0.005\n',
    "other columns first": "stderr,N,eps\n0.01,100,0.25\n0.005,400,0.125\n",
    "empty lines": "\nN,eps,stderr\n\n100,0.25,0.01\n   \n400,0.125,0.005\n\n",
    "other digits of the same": "N,eps,stderr\n1e2,.25,1E-2\n+400.,125e-3,0.0050\n",
    "runs not known": "N,eps,stderr,runs\n100,0.25,0.01,\n400,0.125,0.005,inf\n",
}


@pytest.mark.parametrize("content", SAME.values(), ids=SAME)
@pytest.mark.parametrize("name", ["a.csv", "A.CSV"])
def test_a_table_may_be_written_in_several_ways(tmp_path, name, content):
    assert points(read_errors([written(tmp_path / name, content)])) == POINTS


def test_sizes_may_fall_and_occur_twice(tmp_path):
    text = "N,eps,stderr,runs\n400,0.125,0.005,3\n100,0.25,0.01,7\n400,0.126,0.004,3\n"
    found = points(read_errors([written(tmp_path / "a.csv", text)]))
    assert found == [(400, 0.125, 0.005, 3), (100, 0.25, 0.01, 7), (400, 0.126, 0.004, 3)]


def changed(old, new, text=WHOLE):
    assert old in text
    return text.replace(old, new, 1)


DAMAGED = {
    "a header twice": ("N,eps,eps\n100,0.25,0.01\n", "line 1: column 2 .* 'eps'"),
    "se": (changed("stderr", "se"), "line 1: column 3 must be N, eps .* stderr.* it is 'se'"),
    "another case": (changed("stderr", "StdErr"), "line 1: column 3 .*mean 'stderr'.* 'StdErr'"),
    "a further column": ("N,eps,seed\n100,0.25,3\n", "line 1: column 3 .* it is 'seed'"),
    "no name": ("N,eps,\n100,0.25,\n", "line 1: column 3 .* it is ''"),
    "no header": ("100,0.25\n400,0.125\n", "line 1: column 1 .* it is '100'"),
    "a column missing": ("N,stderr\n100,0.25\n", "line 1 .*eps is not in"),
    "runs without a standard error": ("N,eps,runs\n100,0,5\n", "runs must be left out without"),
    "semicolons": (WHOLE.replace(",", ";"), "line 1: .*commas.*semicolons: 'N;eps;stderr'"),
    "semicolons and decimal commas": ("N;eps\n100;0,25\n", "line 1: .*points.*semicolons"),
    "semicolons below the header": ("N,eps\n100;0.25\n", "line 2 must hold 2 .* holds 1: '100;0"),
    "tabs": (WHOLE.replace(",", "\t"), r"line 1: .*tabs"),
    "bars": (WHOLE.replace(",", "|"), r"line 1: .*bars"),
    "UTF-16": (WHOLE.encode("utf-16"), "UTF-8, but it is UTF-16: save"),
    "UTF-16 without a mark": (WHOLE.encode("utf-16-le"), "UTF-8, but it has NUL bytes"),
    "UTF-32": (WHOLE.encode("utf-32"), "UTF-8, but it is UTF-32"),
    "another encoding": (
        changed("0.01", "0.01\xe9").encode("latin-1"),
        "UTF-8, but byte 0xe9 on line 2",
    ),
    "gzip": (b"\x1f\x8b\x08\x00", "plain text, but it is compressed by gzip"),
    "a spreadsheet": (b"PK\x03\x04rest", "plain text, but it is an archive, such as a spreadsh"),
    "too large": (WHOLE.encode() + b"\n" * 2**24, "at most 16777216 bytes"),
    "empty": ("", "first line must name the columns N, eps .* empty"),
    "header alone": ("N,eps\n", "a line for each measurement, but it has none"),
    "too few values": (changed("100,0.25,0.01", "100,0.25"), "line 2 must hold 3 .* it holds 2"),
    "too many values": (changed("0.01", "0.01,"), "line 2 must hold 3 .* it holds 4"),
    "decimal commas": (changed("0.25", "0,25"), "line 2 must hold 3 .* it holds 4"),
    "decimal commas, no standard error": (
        changed("100,0.25,0.01", "100,0,25"),
        "line 2: stderr must be .* it is 25.0",
    ),
    "thousands": ("N,eps,stderr\n1,000,0.25\n", "line 2: eps must be .* it is '000'"),
    "a blank in a number": (changed("100", "1 00"), "line 2: N must be .* it is '1 00'"),
    "underscores": (changed("100", "1_00"), "line 2: N must be .* it is '1_00'"),
    "a leading zero": (changed("100", "0100"), "line 2: N must be .* it is '0100'"),
    "NaN": (changed("0.25", "nan"), "line 2: eps must be .* it is 'nan'"),
    "infinite": (changed("0.25", "inf"), "line 2: eps must be .* it is inf"),
    "too large a number": (changed("100", "1e999"), "line 2: N.* float64 can hold, .* 1e999"),
    "too small a number": (changed("0.25", "1e-999"), "line 2: eps.* float64 can hold, .* 1e-999"),
    "no error": (changed("0.25", ""), "line 2: eps must be .* it is ''"),
    "a negative error": (changed("0.25", "-0.25"), "line 2: eps must be .* it is -0.25"),
    "an error above 1": (changed("0.25", "25"), r"line 2: eps must be .*\[0, 1\].* it is 25.0"),
    "no size": (changed("100", ""), "line 2: N must be .* it is ''"),
    "half a row": (changed("100", "100.5"), "line 2: N must be a whole .* it is 100.5"),
    "no rows": (changed("100", "0"), "line 2: N must be .* at least 1 .* it is 0.0"),
    "a negative standard error": (changed("0.005", "-0.005"), "line 3: stderr must be a positive"),
    "a standard error of 0": (changed("0.005", "0"), "line 3: stderr must be a positive"),
    "a standard error missing": (changed("0.005", ""), "line 3: stderr must be a number on every"),
    "one loop": ("N,eps,stderr,runs\n100,0.2,0.1,1\n", "line 2: runs must be .* it is 1.0"),
    "half a loop": ("N,eps,stderr,runs\n100,0.2,0.1,2.5\n", "line 2: runs must be .* it is 2.5"),
    "a quote that is not closed": (changed("0.25", '"0.25'), "line 2 must hold values separated"),
    "a line break in quotes": (changed("0.25", '"0.2\n5"'), "line 2 must hold values separated"),
}


@pytest.mark.parametrize(("content", "named"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_table_is_refused_by_place(tmp_path, content, named):
    path = written(tmp_path / "a.csv", content)
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}.*({named})"):
        read_errors([path])


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("a.txt", "errors must be a file whose name ends in .csv or .json, but .*a.txt"),
        ("a.csv.gz", "ends in .csv or .json"),
        ("a.xlsx", "ends in .csv or .json"),
        ("folder.csv", "errors .*folder.csv is no file"),
        ("nowhere.csv", "errors .*nowhere.csv is no file"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, name, named):
    (tmp_path / "folder.csv").mkdir()
    for file in ("a.txt", "a.csv.gz", "a.xlsx"):
        written(tmp_path / file, WHOLE)
    with pytest.raises(ValueError, match=named):
        read_errors([tmp_path / name])


@pytest.mark.parametrize(
    ("numbers", "named"),
    [
        (([100], [0.2, 0.1]), r"eps must be one for each of the 1 sizes, .*\[0.2, 0.1\]"),
        (([100, 200], [0.2, 0.1], [0.1]), r"stderr must be one for each of the 2 sizes"),
        (([100.5], [0.2]), "sizes must be a whole number .* 100.5"),
        (([True], [0.2]), "sizes must be a whole number .* True"),
        (([100], [math.nan]), "eps must be a total variation.* nan"),
        (([100], ["0.2"]), "eps must be a total variation.* '0.2'"),
        (([100], [1.5]), "eps must be a total variation.* 1.5"),
        (([100], [0.2], [0]), "stderr must be a positive .* 0"),
        (([100], [0.2], [-0.1]), "stderr must be a positive .* -0.1"),
        (([100], [0.2], [math.nan]), "stderr must be a positive .* nan"),
        (([100], [0.2], [0.1], 1), "runs must be a whole number of at least 2, .* 1"),
        (([100], [0.2], [0.1], 2.5), "runs must be a whole number of at least 2, .* 2.5"),
        (([100], [0.2], [0.1], math.nan), "runs must be a whole number of at least 2, .* nan"),
    ],
)
def test_options_are_held_to_what_tables_are(numbers, named):
    with pytest.raises(ValueError, match=named):
        measured(*numbers)
    assert points(measured([100, 400], [0.25, 0.125], [0.01, 0.005])) == POINTS


# --- result files --------------------------------------------------------------------------------

ROWS = [
    {"generation": 0, "n_train": 50, "drift": 0.5, "drift_stderr": 0.03125},
    {"generation": 1, "n_train": 100, "eps": 0.25, "eps_stderr": 0.0625},
    {"generation": 2, "n_train": 100, "eps": 0.125, "eps_stderr": 0.03125},
]
ROWS[0] |= {"eps": None, "eps_stderr": None}
RESULT = {"settings": {"learner": "ols", "runs": 30}, "failed": [], "generations": ROWS}
OF_RESULT = [(50, 0.5, 0.03125, 30), (100, 0.1875, 0.046875, 30)]
TEXT = json.dumps(RESULT)


@pytest.mark.parametrize("name", ["a.json", "A.JSON"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_result_file_is_read_as_it_is(tmp_path, name, encoding):
    path = written(tmp_path / name, TEXT.encode(encoding))
    assert points(read_errors([path])) == OF_RESULT


def spoilt(old, new):
    return changed(old, new, TEXT)


FAILED = json.dumps(["loop"] * 30)
DAMAGED_RESULTS = {
    "loops that failed": (
        spoilt('"failed": []', '"failed_loops": {"count": 3, "of": 30}'),
        r"failed_loops\.count must be 0: .* it is 3",
    ),
    "true for 1": (spoilt('"n_train": 50', '"n_train": true'), r"\[0\].n_train .* True"),
    "true for an error": (spoilt("0.25", "true"), r"\[1\].eps must be .* True"),
    "a text": (spoilt("0.25", '"0.25"'), r"\[1\].eps must be .* '0.25'"),
    "NaN": (spoilt("0.25", "NaN"), "finite, but one is NaN"),
    "Infinity": (spoilt("0.25", "-Infinity"), "finite, but one is -Infinity"),
    "too large a number": (spoilt("0.25", "1e999"), "float64 can hold, but one is 1e999"),
    "far too many digits": (spoilt("50", "5" * 9000), "float64 can hold, but one is 555"),
    "a key twice": (spoilt('"eps": 0.25', '"eps": 0.5, "eps": 0.25'), "'eps' is there twice"),
    "a generation twice": (spoilt('n": 2', 'n": 1'), r"\[2\].generation must be there once"),
    "half a generation": (spoilt('n": 2', 'n": 2.5'), r"\[2\].generation must be a whole number"),
    "se": (spoilt('5, "eps_stderr', '5, "eps_sterr'), r"\[1\] must have .*mean 'eps_sterr'"),
    "another case": (spoilt('"eps": 0.25', '"Eps": 0.25'), r"\[1\] must have the key .*mean 'Eps'"),
    "a size missing": (spoilt("n_train", "n"), r"\[0\] must have the key 'n_train'"),
    "no list": ('{"generations": {}}', "generations must be a list"),
    "no generations": ('{"generations": []}', "has none"),
    "no objects": ('{"generations": [1]}', r"generations\[0\] must be an object, .* int"),
    "an array": ("[]", "must be an object, but it is list"),
    "no settings": (spoilt(json.dumps(RESULT["settings"]), "3"), "settings must be an object"),
    "runs in words": (spoilt('"runs": 30', '"runs": "30"'), "settings.runs must .* '30'"),
    "runs of true": (spoilt('"runs": 30', '"runs": true'), "settings.runs must .* True"),
    "none left": (spoilt("[]", FAILED), "failed must be fewer than all 30 loops"),
    "a negative error": (spoilt("0.25", "-0.25"), r"\[1\].eps must be .* -0.25"),
    "a negative standard error": (spoilt("0.0625", "-0.0625"), r"\[1\].eps_stderr must be"),
    "a standard error of 0": (
        spoilt('"drift_stderr": 0.03125', '"drift_stderr": 0.0'),
        r"\[0\].drift_stderr must be a positive number .* 0.0",
    ),
    "cut off": (TEXT[:-1], "damaged: .*line 1 column"),
    "UTF-16": (TEXT.encode("utf-16"), "UTF-8, but it is UTF-16"),
    "nested": ("[" * 200_000, "damaged"),
}


@pytest.mark.parametrize(("content", "named"), DAMAGED_RESULTS.values(), ids=DAMAGED_RESULTS)
def test_a_damaged_result_file_is_refused_by_place(tmp_path, content, named):
    path = written(tmp_path / "a.json", content)
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}.*({named})"):
        read_errors([path])


def test_json_of_results_is_read_by_the_same_rules(tmp_path):
    path = written(tmp_path / "a.json", '{"a": [1, 2.5, true, null]}'.encode("utf-8-sig"))
    assert read_json(path) == {"a": [1, 2.5, True, None]}
    for text, named in (('{"a": 1, "a": 2}', "'a' is there twice"), ("[NaN]", "one is NaN")):
        with pytest.raises(ValueError, match=f"{re.escape(str(path))} is damaged: .*{named}"):
            read_json(written(path, text))


# --- files of options ----------------------------------------------------------------------------

GRID = "learner = 'ols'\nsamples = 40\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.toml", GRID),
        ("A.TOML", GRID.encode("utf-8-sig")),
        ("a.toml", GRID.replace("\n", "\r\n")),
        ("a.json", '{"learner": "ols", "samples": 40}'),
        ("A.Json", '{"learner": "ols", "samples": 40}'.encode("utf-8-sig")),
    ],
)
def test_a_grid_may_be_written_in_several_ways(tmp_path, name, content):
    (setting,) = grids.read_grid(written(tmp_path / name, content))
    assert (setting.learner, setting.samples) == ("ols", 40)


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("a.toml", GRID + "samples = 50\n", "line 3"),
        ("a.toml", GRID.encode("utf-16"), "UTF-8, but it is UTF-16"),
        ("a.toml", "learner = 'öls'\n".encode("latin-1"), "byte 0xf6 on line 1"),
        ("a.toml", "learner = 'ols'\nnoise = nan\n", "one is nan"),
        ("a.toml", "learner = 'ols'\nnoise = 1e999\n", "one is 1e999"),
        ("a.toml", f"learner = 'ols'\nnoise = 1{'0' * 400}\n", "of 64 bits in TOML"),
        ("a.toml", f"a = {'[' * 100_000}\n", "is not"),
        ("a.json", '{"learner": "ols", "samples": 40, "samples": 400}', "'samples' is there twice"),
        ("a.json", '{"learner": "ols", "noise": NaN}', "one is NaN"),
        ("a.json", '{"learner": "ols", "noise": 1e999}', "one is 1e999"),
        ("a.json", f'{{"learner": "ols", "noise": 1{"0" * 400}}}', "float64 can hold"),
        ("a.json", "[" * 200_000, "is not"),
    ],
)
def test_a_damaged_file_of_options_is_refused(tmp_path, name, content, named):
    path = written(tmp_path / name, content)
    with pytest.raises(ValueError, match=rf"grid must be .*{re.escape(str(path))}.*{named}"):
        grids.read_grid(path)
    with pytest.raises(ValueError, match=rf"cluster must be .*{re.escape(str(path))}.*{named}"):
        executors.read_cluster(path)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("partitions = 'cpu'\n", "an option of cluster must be .*mean 'partition'.* 'partitions'"),
        ("nodes = true\n", "nodes must be a whole number of at least 1, but it is True"),
        ("nodes = 2.0\n", "nodes must be a whole number of at least 1, but it is 2.0"),
        ("walltime = '٠١:00:00'\n", "walltime must be hours:minutes:seconds"),
        ("account = 3\n", "account must be a text, but it is 3"),
    ],
)
def test_a_file_of_a_cluster_is_named(tmp_path, monkeypatch, content, named):
    monkeypatch.setattr(executors, "find_spec", lambda name: name)
    path = written(tmp_path / "a.toml", content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: {named}"):
        executors.read_cluster(path)
    fine = written(tmp_path / "b.json", '{"nodes": 2, "account": "3"}')
    assert executors.read_cluster(fine) == executors.Cluster(nodes=2, account="3")


# --- lists of errors -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("0.3\n0,1\n", "line 2 must be .* '0,1'"),
        ("0.3 0.1\n", "line 1 must be the one number of its line.* '0.3 0.1'"),
        ("0.3\n1_0\n", "line 2 must be .* '1_0'"),
        ("0.3\nnan\n", "line 2 must be .* 'nan'"),
        ("0.3\n\n-0.1\n", "line 3 must be .* -0.1"),
        ("0.3\n0.1\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_a_damaged_list_is_refused(tmp_path, capsys, content, named):
    path = written(tmp_path / "eps", content)
    with pytest.raises(SystemExit) as refused:
        bounds_calculator(["drift", "--alpha", "0.25", "--eps-file", str(path)])
    assert refused.value.code == 2
    assert re.search(f"{re.escape(str(path))}.*{named}", capsys.readouterr().err)


def test_a_list_may_be_written_in_several_ways(tmp_path, capsys):
    path = tmp_path / "eps"
    for content in ("0.3\n0.1\n", "0.3\r\n\r\n 1e-1 \r\n".encode("utf-8-sig")):
        written(path, content)
        drift = ["drift", "--alpha", "0.25", "--eps-file", str(path), "--json"]
        assert bounds_calculator(drift) == 0
        assert json.loads(capsys.readouterr().out)["terms"] == pytest.approx([0.3 * 0.75, 0.1])


# --- the script ----------------------------------------------------------------------------------


# --- at random -----------------------------------------------------------------------------------


@dataclasses.dataclass
class Sheet:
    """A table while it is being damaged."""

    header: list
    cells: list
    separator: str = ","
    line_break: str = "\n"
    encoding: str = "utf-8"
    end: int = 0
    name: str = "a.csv"

    def bytes(self):
        lines = [self.separator.join(line) for line in (self.header, *self.cells)]
        content = "".join(f"{line}{self.line_break}" for line in lines).encode(self.encoding)
        return content[: len(content) - self.end]


NO_NUMBERS = """
nan NaN inf -inf true True null None  x 1_0 0x1p3 1e999 1e-999 ٣ 0,5 "0,5" 1,000 '3' =A1 1..2 1e
- + . e5 00.1 1.0.0 0.1f 1d-3 ½ −0.1 0.1; \ufeff0.1""".replace("\n", " ").split(" ")
NO_NUMBERS.append("1 000")
OTHER_NAMES = ["n", "se", "std_err", "Stderr", "EPS", "error", "run", "N ", ""]
OTHER_NAMES += ["eps\xa0", "\ufeffN"]


def a_row(data, sheet):
    return data.draw(st.sampled_from(sheet.cells))


def a_line(data, sheet):
    return data.draw(st.sampled_from((sheet.header, *sheet.cells)))


def a_place(data, row):
    return data.draw(st.integers(0, len(row) - 1))


def spoil_cell(data, sheet):
    row = a_row(data, sheet)
    row[a_place(data, row)] = data.draw(st.sampled_from(NO_NUMBERS))


def flip_sign(data, sheet):
    row = a_row(data, sheet)
    place = a_place(data, row)
    row[place] = f"-{row[place]}"


def rename(data, sheet):
    place = a_place(data, sheet.header)
    sheet.header[place] = data.draw(st.sampled_from((*OTHER_NAMES, *sheet.header)))


def drop_cell(data, sheet):
    row = a_line(data, sheet)
    row.pop(a_place(data, row))


def drop_column(data, sheet):
    place = a_place(data, sheet.header)
    for row in (sheet.header, *sheet.cells):
        row.pop(place)


def double_column(data, sheet):
    place = a_place(data, sheet.header)
    for row in (sheet.header, *sheet.cells):
        row.append(row[place])
    sheet.cells[-1][-1] = "0.5"


def double_cell(data, sheet):
    row = a_line(data, sheet)
    row.append(row[a_place(data, row)])


def merge_lines(data, sheet):
    place = a_place(data, sheet.cells)
    (sheet.cells[place - 1] if place else sheet.header).extend(sheet.cells.pop(place))


def lose_lines(data, sheet):
    del sheet.cells[a_place(data, sheet.cells) :]


def decimal_commas(data, sheet):
    row = a_row(data, sheet)
    row[:] = [cell.replace(".", ",") for cell in row]


def thousands(data, sheet):
    row, column = a_row(data, sheet), sheet.header.index("N")
    row[column] = f"{int(row[column]):,}"


def lose_header(data, sheet):
    sheet.header = sheet.cells.pop(0)


def other_separator(data, sheet):
    sheet.separator = data.draw(st.sampled_from((";", "\t", "|", " ", ":", ", ,", ".")))


def other_encoding(data, sheet):
    encodings = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7", "cp037")
    sheet.encoding = data.draw(st.sampled_from(encodings))


def cut_off(data, sheet):
    sheet.end = data.draw(st.integers(1, len(sheet.bytes())))


DAMAGES = (spoil_cell, flip_sign, rename, drop_cell, drop_column, double_column, double_cell)
DAMAGES += (merge_lines, lose_lines, decimal_commas, thousands, lose_header, other_separator)
DAMAGES += (other_encoding, cut_off)


def without(found, column):
    """The same points where this column was never there."""
    if column == "stderr":
        return [(size, error, None, INF) for size, error, _, _ in found]
    return [(size, error, spread, INF) for size, error, spread, _ in found]


@st.composite
def sheets(draw):
    """A table in some admissible writing, and its points."""
    columns = draw(
        st.sampled_from((("N", "eps"), ("N", "eps", "stderr"), ("N", "eps", "stderr", "runs")))
    )
    found, cells = [], []
    for _ in range(draw(st.integers(1, 5))):
        size, runs = draw(st.integers(1, 10**7)), draw(st.integers(2, 10**4))
        error = draw(st.floats(0, 1, allow_subnormal=False))
        spread = draw(st.floats(1e-9, 0.5))
        known = len(columns)
        found.append((size, error, spread if known > 2 else None, runs if known > 3 else INF))
        style = draw(st.sampled_from((repr, lambda value: f"{value!r}".upper())))
        texts = (str(size), style(error), style(spread), str(runs))
        cells.append(list(texts[:known]))
    order = draw(st.permutations(range(len(columns))))
    sheet = Sheet([columns[k] for k in order], [[row[k] for k in order] for row in cells])
    sheet.line_break = draw(st.sampled_from(("\n", "\r\n", "\r", "\n\n", " \n")))
    sheet.encoding = draw(st.sampled_from(("utf-8", "utf-8-sig")))
    sheet.name = draw(st.sampled_from(("a.csv", "A.CSV", "a.Csv")))
    if draw(st.booleans()):
        before, after = draw(st.sampled_from(((" ", ""), ("", " "), ('"', '"'), ('"  ', '" '))))
        for row in (sheet.header, *sheet.cells):
            row[:] = [before + cell + after for cell in row]
    return sheet, found


def attempt(path):
    """The points that are read, or else why not."""
    try:
        return points(read_errors([path])), ""
    except ValueError as error:
        return None, str(error)


BY_NAME = settings(
    max_examples=trials(200, 2000),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def test_the_last_line_may_have_no_end(tmp_path):
    assert points(read_errors([written(tmp_path / "a.csv", WHOLE[:-1])])) == POINTS
    (setting,) = grids.read_grid(written(tmp_path / "a.toml", GRID.rstrip()))
    assert setting.learner == "ols"


@BY_NAME
@given(sheets())
def test_every_whole_table_is_read(tmp_path, made):
    sheet, found = made
    assert points(read_errors([written(tmp_path / sheet.name, sheet.bytes())])) == found


@BY_NAME
@given(sheets(), st.sampled_from(DAMAGES), st.data())
def test_a_table_damaged_at_random_is_right_or_refused(tmp_path, made, damage, data):
    sheet, found = made
    for row in (sheet.header, *sheet.cells):
        row[:] = [cell.strip(' "') for cell in row]
    damage(data, sheet)
    path = written(tmp_path / sheet.name, sheet.bytes())
    read, said = attempt(path)
    if said:
        assert str(path) in said
        place = r"line \d+|encoding|first line|a line for each|runs must be left out"
        assert re.search(place, said), said
        return
    whole = [found, *(without(found, column) for column in ("stderr", "runs"))]
    if damage is cut_off and path.read_bytes()[-1:] not in b"\r\n":
        read = read[:-1]  # its last number may be the start of one: it is what is written there
    if damage in (lose_lines, cut_off):
        assert any(read == some[: len(read)] for some in whole)
    elif damage is drop_column:
        assert read in whole
    elif damage is spoil_cell and "runs" in sheet.header:  # nothing and inf: not known
        assert [point[:3] for point in read] == [point[:3] for point in found]
        assert all(a[3] in (b[3], INF) for a, b in zip(read, found, strict=True))
    else:
        assert read == found


SPOILT = ("true", "false", '"0.1"', "NaN", "Infinity", "-Infinity", "1e999", "-0.1", "[]", "{}")
SPOILT += ("1_0", "0x1", "01", ".5", "+1", "1e-999", "7" * 400, "'1'", "")


@st.composite
def result_files(draw):
    """A result file of loops, and its points."""
    rows, found = [], []
    runs = draw(st.integers(2, 10**4))
    sizes = draw(st.lists(st.integers(1, 10**6), min_size=1, max_size=4, unique=True))
    for generation, size in enumerate(sizes):
        error, spread = draw(st.floats(1e-9, 1)), draw(st.floats(1e-9, 0.5))
        row = {"generation": generation, "n_train": size, "eps": error, "eps_stderr": spread}
        rows.append(row | {"drift": error, "drift_stderr": spread, "gap": -0.5})
        found.append((size, error, spread, runs))
    content = {"settings": {"learner": "ols", "runs": runs}, "failed": [], "generations": rows}
    return json.dumps(content, indent=draw(st.sampled_from((None, 1)))), found


@BY_NAME
@given(
    result_files(),
    st.sampled_from(("spoil", "rename", "twice", "cut", "encoding", "mark")),
    st.data(),
)
def test_a_result_file_damaged_at_random_is_right_or_refused(tmp_path, made, damage, data):
    text, found = made
    keys = ("generation", "n_train", "eps", "eps_stderr", "runs")
    if damage in ("spoil", "rename", "twice"):
        key = data.draw(st.sampled_from(keys))
        places = list(re.finditer(rf'"{key}": ([^,}}\s]+)', text))
        place = data.draw(st.sampled_from(places))
        old = place[1]
        if damage == "spoil":
            new = f'"{key}": {data.draw(st.sampled_from(SPOILT))}'
        elif damage == "rename":
            other = data.draw(st.sampled_from((key.upper(), f"{key} ", key[:-1], "se", "\ufeff")))
            new = f'"{other}": {old}'
        else:
            new = f'"{key}": {old}, "{key}": {data.draw(st.sampled_from(("1", "0.5", old)))}'
        text = text[: place.start()] + new + text[place.end() :]
    content = text.encode()
    if damage == "cut":
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    elif damage == "encoding":
        content = text.encode(
            data.draw(st.sampled_from(("utf-16", "utf-16-be", "utf-32", "utf-7")))
        )
    elif damage == "mark":
        content = text.encode("utf-8-sig")
    path = written(tmp_path / "a.json", content)
    read, said = attempt(path)
    if said:
        assert damage != "mark"
        assert str(path) in said
        return
    if damage == "rename" and '"runs"' not in text:  # it does not say how many loops there were
        found = [(*point[:3], INF) for point in found]
    assert read == found


VALUES = st.one_of(
    st.text(max_size=12), st.floats(), st.integers(), st.sampled_from((*NO_NUMBERS, "inf"))
)


@BY_NAME
@given(VALUES)
def test_a_text_is_its_number_or_none(value):
    """Every number that Python writes is read as it was; else what is taken for one is plain."""
    text = value if isinstance(value, str) else repr(value)
    finite = tables.Quantity("a finite number", math.isfinite)
    found = math.nan
    with suppress(ValueError):
        found = tables.number_of("here", text, finite)
    taken = text.strip(" \t") if math.isfinite(found) else ""
    assert math.isnan(found) or (re.fullmatch("[-+.0-9eE]+", taken) and found == float(taken))
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        assert found == float(value)

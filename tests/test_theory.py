"""The theory page and the code point at each other, and at nothing that is not there."""

import inspect
import re
from pathlib import Path

import pytest

from icl_stl import bounds, references
from icl_stl.references import collapse

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "paper_checks" / "THEORY.md").read_text(encoding="utf-8")
STATEMENTS = {
    int(part.split(maxsplit=1)[0]): part
    for part in re.split(r"^### Statement ", PAGE, flags=re.M)[1:]
}
FUNCTIONS = {
    room: {
        name: inspect.getdoc(item)
        for name, item in vars(room).items()
        if name in getattr(room, "__all__", vars(room))
        and inspect.isfunction(item)
        and item.__module__.startswith(room.__name__)
        and name[0] != "_"
    }
    for room in (references, collapse)
}


def named(kind: str, text: str) -> list[str]:
    """Functions that a statement names as bounds or as references."""
    parts = re.findall(rf"\*{kind}s?\*(.*?)\*Test\*", text, flags=re.S)
    return [name for part in parts for name in re.findall(r"`(\w+)", part)]


def test_statements_have_a_number_in_order_a_proof_a_source_and_a_check() -> None:
    assert list(STATEMENTS) == list(range(1, len(STATEMENTS) + 1))
    for number, text in STATEMENTS.items():
        for word in ("*Proof.*", "∎", "*Source*", "*Check*"):
            assert word in text, (number, word)


def test_every_test_and_check_named_exists() -> None:
    sources = {
        path.name: path.read_text(encoding="utf-8")
        for folder in ("tests", "paper_checks")
        for path in (ROOT / folder).glob("*.py")
    }
    file = ""
    for name, test in re.findall(r"`(?:((?:test|check)_\w+\.py)::)?(test_\w+)`", PAGE):
        file = name or file
        found = [n for n, text in sources.items() if f"def {test}(" in text]
        assert found, f"{test} does not exist"
        assert name in ("", *found), f"{test} is not in {name}"


def test_every_function_named_exists_and_every_reference_is_stated_once() -> None:
    for name in named("Function", PAGE):
        known = hasattr(bounds, name) or name in ("growth", "variance_proxy", "sensitivities")
        assert known, f"{name} does not exist"
    own = FUNCTIONS[references]
    assert {*named("Reference", PAGE)} <= {*own}
    stated = [(name, k) for k, text in STATEMENTS.items() for name in {*named("Reference", text)}]
    assert len(stated) == len(dict(stated))
    for name, doc in own.items():
        assert f"THEORY.md statement {dict(stated)[name]}" in re.sub(r"\s+", " ", doc), name


def test_every_statement_cited_in_the_code_exists() -> None:
    cited = set()
    for path in (ROOT / "icl_stl" / "bounds").glob("*.py"):
        text = re.sub(r"\s+", " ", path.read_text(encoding="utf-8"))
        for words in re.findall(r"THEORY\.md statements? ((?:\d+|, | and | to )+)", text):
            cited |= {int(number) for number in re.findall(r"\d+", words)}
    assert cited <= set(STATEMENTS)
    assert len(cited) > 25


@pytest.mark.parametrize("room", [references, collapse])
def test_the_table_of_a_room_names_every_function_with_its_statement(room) -> None:
    table, statement = {}, 0
    for line in room.__doc__.splitlines():
        number = re.search(r"  (\d+)$", line)
        statement = int(number[1]) if number else statement
        table |= dict.fromkeys(re.findall(r"``(\w+)``", line), statement)
    assert len(FUNCTIONS[room]) > 15
    assert {*FUNCTIONS[room]} <= {*table}
    assert {*table} <= {*vars(room)} or room is references  # whose arguments have a table too
    for name, doc in FUNCTIONS[room].items():
        assert f"statement {table[name]}" in doc, name


def test_nothing_heavy_is_imported() -> None:
    allowed = ("icl_stl.references", "icl_stl.bounds", "icl_stl.regimes", "numpy", "scipy.special")
    allowed += ("collections.abc", "itertools", "math", "statistics", "sys", "typing")
    for path in (ROOT / "icl_stl" / "references").glob("*.py"):
        for module in re.findall(r"^(?:from|import) ([\w.]+)", path.read_text("utf-8"), re.M):
            assert module == "icl_stl" or module.startswith(allowed), (path.name, module)


def test_mathematics_survives_a_code_host() -> None:
    """No commands that Markdown eats, no inline formula broken over two lines."""
    assert not re.search(r"\\[{},;!|%#_]", PAGE)
    for line in PAGE.splitlines():
        assert line.replace("$$", "").count("$") % 2 == 0, line
        for formula in re.findall(r"\$[^$]+\$", line.replace("$$", "")):
            assert not re.search(r"[<>]", formula), formula

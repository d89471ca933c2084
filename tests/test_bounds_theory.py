"""The theory page and the code point at each other, and at nothing that is not there."""

import re
from pathlib import Path

import pytest

from icl_stl import bounds

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "paper_checks" / "THEORY.md").read_text(encoding="utf-8")
STATEMENTS = {
    int(part.split(maxsplit=1)[0]): part
    for part in re.split(r"^### Statement ", PAGE, flags=re.M)[1:]
}


def test_statements_are_numbered_in_order() -> None:
    assert list(STATEMENTS) == list(range(1, len(STATEMENTS) + 1))


@pytest.mark.parametrize("number", STATEMENTS)
def test_every_statement_has_a_proof_a_source_and_a_check(number: int) -> None:
    for word in ("*Proof.*", "∎", "*Source*", "*Check*"):
        assert word in STATEMENTS[number]


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


def test_every_function_named_exists() -> None:
    for line in re.findall(r"\*Functions?\*(.*?)\*Test\*", PAGE, flags=re.S):
        for name in re.findall(r"`(\w+)", line):
            known = hasattr(bounds, name) or name in ("growth", "variance_proxy", "sensitivities")
            assert known, f"{name} does not exist"


def test_every_statement_cited_in_the_code_exists() -> None:
    cited = set()
    for path in (ROOT / "icl_stl" / "bounds").glob("*.py"):
        text = re.sub(r"\s+", " ", path.read_text(encoding="utf-8"))
        for words in re.findall(r"THEORY\.md statements? ((?:\d+|, | and | to )+)", text):
            cited |= {int(number) for number in re.findall(r"\d+", words)}
    assert cited <= set(STATEMENTS)
    assert len(cited) > 25


def test_mathematics_survives_a_code_host() -> None:
    """No commands that Markdown eats, no inline formula broken over two lines."""
    assert not re.search(r"\\[{},;!|%#_]", PAGE)
    for line in PAGE.splitlines():
        assert line.replace("$$", "").count("$") % 2 == 0, line
        for formula in re.findall(r"\$[^$]+\$", line.replace("$$", "")):
            assert not re.search(r"[<>]", formula), formula

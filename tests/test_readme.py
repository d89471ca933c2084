"""The README says what the committed results say, and its examples run."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_claims_table_is_that_of_the_committed_results():
    committed = (ROOT / "figures" / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in README.splitlines() if line.startswith("| ")]
    assert len(rows) >= 5
    assert [row for row in rows if row not in committed] == []


def test_growth_and_ratios_quoted_in_the_text_are_those_of_the_captions():
    committed = (ROOT / "figures" / "README.md").read_text(encoding="utf-8")
    quoted = re.findall(r"[+-]\d\.\d{3}", README)
    assert quoted
    assert [number for number in quoted if number not in committed] == []


def test_intervals_quoted_of_synthetic_data_are_those_of_the_captions():
    section = README.partition("## How much synthetic data?")[2].partition("\n## ")[0]
    committed = (ROOT / "figures" / "long" / "README.md").read_text(encoding="utf-8")
    quoted = re.findall(r"-?[\d.]+ \[-?[\d.]+, -?[\d.]+\]", section)
    assert len(quoted) >= 5
    assert [number for number in quoted if number not in committed] == []


def test_every_picture_and_page_it_links_to_is_there():
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_python_examples_run():
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(block, "README.md", "exec"), {})

"""The README says what the committed results say, and its examples run."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_claims_table_is_that_of_the_committed_results():
    committed = (ROOT / "figures" / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in README.splitlines() if line.startswith("| ")]
    assert len(rows) >= 5
    assert [row for row in rows if row not in committed] == []


def said(folder):
    """Means and intervals of all cells and constants of committed results, as they are quoted."""
    claims = json.loads((ROOT / folder / "claims.json").read_text(encoding="utf-8"))["claims"]
    found = set()
    for entry in claims:
        constants = [one["value"] for one in entry["constants"] if isinstance(one["value"], dict)]
        for values in (*entry["cells"], *constants):
            mean = values.get("measured", values.get("fitted"))
            if mean is None:
                continue
            found |= {f"{one:+.3f}" for one in (mean, values.get("bound")) if one is not None}
            for form in (".2f", ".3f", ".2g", ".3g"):
                ends = values.get("low"), values.get("high")
                if None not in ends:
                    found.add(f"{mean:{form}} [{ends[0]:{form}}, {ends[1]:{form}}]")
    return found


def test_growth_quoted_in_the_text_is_that_of_the_results():
    quoted = re.findall(r"[+-]\d\.\d{3}", re.sub(r"-?[\d.]+ \[[^\]]*\]", "", README))
    assert quoted
    assert {*quoted} <= said("figures")


def test_intervals_quoted_of_the_longer_run_are_those_of_the_results():
    section = README.partition("## Forty generations")[2].partition("\n## ")[0]
    quoted = re.findall(r"-?[\d.]+ \[-?[\d.]+, -?[\d.]+\]", section)
    assert len(quoted) >= 5
    assert {*quoted} <= said("figures/long")


def test_every_picture_and_page_it_links_to_is_there():
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_python_examples_run():
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(block, "README.md", "exec"), {})

"""The README and its pages say what the committed results say, and their examples run."""

import json
import re
from pathlib import Path

import pytest

from icl_stl.studies.figures import read_stored
from icl_stl.studies.plateau.claims import errors

ROOT = Path(__file__).resolve().parents[1]
README, FINDINGS, GUIDE = (
    (ROOT / name).read_text(encoding="utf-8")
    for name in ("README.md", "docs/findings.md", "docs/guide.md")
)
PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]


def entries(folder):
    claims = json.loads((ROOT / folder / "claims.json").read_text(encoding="utf-8"))["claims"]
    return {entry["name"]: entry for entry in claims}


def test_it_is_read_in_a_minute():
    """Words beside the blocks of code; the first two of these are run by position."""
    words = re.sub(r"^```.*?^```$", "", README, flags=re.DOTALL | re.MULTILINE).split()
    assert len(words) <= 700
    first, second = re.findall(r"^```bash\n(.*?)^```", README, re.DOTALL | re.MULTILINE)[:2]
    assert first.endswith("reproduce_theorem.py\n")
    assert second.endswith("pytest -q -n 2\n")


def test_claims_table_is_that_of_the_committed_results():
    committed = (ROOT / "figures" / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in FINDINGS.splitlines() if line.startswith("| ")]
    claims = [line for line in committed if line.startswith("| ")]
    assert rows == claims


def answers():
    """Every number of the four answers, from the results: decimals, as they are said there."""
    default, long = entries("figures"), entries("figures/long")

    def ratios(name, power=1.0, **keys):
        cells = [c for c in default[name]["cells"] if all(c.get(k) == v for k, v in keys.items())]
        found = [(c["bound"] / c["measured"]) ** power for c in cells if not c.get("by_definition")]
        return f"{min(found):.1f}", f"{max(found):.1f}", f"{min(found):.2f}", f"{max(found):.2f}"

    said = set()
    for result in read_stored(ROOT / "figures/long")[0].loops.values():
        x = errors(result)
        said |= {f"{x[:, k].mean():.3f}" for k in (0, -1)}
    for cell in long["convergence"]["cells"]:
        if cell.get("drawn") and cell["kind"] == "squared" and cell["alpha"]:
            said |= {f"{cell['measured']:.3f}"} if cell["generation"] == 6 else set()
    said |= {*ratios("drift", prefix=4)} | {*ratios("plateau_level", 0.5, kind="level")}
    bits = {"kind": "quantile", "loss": "squared loss"}
    said |= {*ratios("generalization_gap", form="localised", **bits)}
    said |= {*ratios("network_bound", kind="held_out")}
    (ols,) = (
        cell
        for cell in default["optimal_synthetic_size"]["cells"]
        if [cell.get(k) for k in ("loop", "regime", "objective", "kind", "generation")]
        == ["ols", "fresh", "risk", "regret", 5]
    )
    curve = dict(zip(ols["lams"], ols["curve"], strict=True))
    assert min(curve, key=curve.get) == 3
    return said | {f"{curve[3] / curve[0]:.2f}"}


def test_the_answers_are_those_of_the_results():
    section = README.partition("![four answers]")[2].partition("Run it")[0]
    intervals = re.findall(r"-?[\d.]+\s\[-?[\d.]+,\s-?[\d.]+\]", section)
    assert len(intervals) == 3
    assert {re.sub(r"\s+", " ", one) for one in intervals} <= said("figures/long")
    for one in intervals:
        section = section.replace(one, "")
    numbers = re.findall(r"\d+\.\d+", section)
    assert len(numbers) >= 12
    assert {*numbers} <= answers()


def test_what_is_vacuous_is_said():
    default = entries("figures")
    stability = [
        cell
        for cell in default["generalization_gap"]["cells"]
        if (cell.get("form"), cell.get("loss")) == ("stability", "squared loss")
        and cell["loop"].startswith("bits")
    ]
    vacuous = sum(bool(cell.get("vacuous")) for cell in stability)
    assert f"{vacuous} of {len(stability)} cells" in README
    own = [c for c in default["network_bound"]["cells"] if c["kind"] in ("before", "rounded")]
    assert all(cell.get("vacuous") for cell in own if cell["n"] <= 4000)
    assert max(cell["n"] for cell in own) > 4000


def said(folder):
    """Means and intervals of all cells and constants of committed results, as they are quoted."""
    found = set()
    for entry in entries(folder).values():
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
    quoted = re.findall(r"[+-]\d\.\d{3}", re.sub(r"-?[\d.]+ \[[^\]]*\]", "", FINDINGS))
    assert quoted
    assert {*quoted} <= said("figures")


def test_intervals_quoted_of_the_longer_run_are_those_of_the_results():
    section = FINDINGS.partition("## Forty generations")[2].partition("\n## ")[0]
    quoted = re.findall(r"-?[\d.]+ \[-?[\d.]+, -?[\d.]+\]", section)
    assert len(quoted) >= 5
    assert {*quoted} <= said("figures/long")


@pytest.mark.parametrize("page", PAGES)
def test_every_picture_and_page_it_links_to_is_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        file, _, part = link.partition("#")
        path = (ROOT / page).parent / file if file else ROOT / page
        assert path.exists(), link
        if part and path.suffix == ".md":
            heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert part in [
                re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads
            ], link


def test_python_examples_run():
    blocks = re.findall(r"```python\n(.*?)```", README + GUIDE, re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        exec(compile(block, "docs/guide.md", "exec"), {})

"""The page about papers says what the committed results say, and names what there is."""

import re
import sys
from importlib import import_module
from inspect import isfunction
from pathlib import Path

import pytest

from icl_stl import bounds, references
from icl_stl.learners.generative import GENERATIVE
from icl_stl.problems import PROBLEMS
from icl_stl.regimes import REGIMES
from icl_stl.studies.claims import CLAIMS
from icl_stl.studies.figures import DRAWINGS

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))
import make_papers as made  # noqa: E402

PAGE = made.PAGE.read_text(encoding="utf-8")
ROWS = made.rows_of(PAGE)
ROOMS = [bounds, references] + [
    import_module(f"icl_stl.{name}")
    for name in ("bounds.paper_forms", "references.collapse", "planning.pilots", "distances")
]
KNOWN = {
    "functions": {name for room in ROOMS for name, item in vars(room).items() if isfunction(item)},
    "loops": {*PROBLEMS, *REGIMES, *GENERATIVE},
    "claim": {*CLAIMS},
    "figure": {*DRAWINGS},
}
SOURCES = [*(ROOT / "icl_stl").rglob("*.py"), ROOT / "paper_checks" / "THEORY.md"]
SOURCES += (ROOT / "figures").rglob("claims.json")
YEAR = r"\b((?:1[89]|20)\d\d)\b"


def cited(text: str) -> list[tuple[frozenset[str], str]]:
    """Names and years in a text, in pairs."""
    return [
        (frozenset(re.findall(r"[A-ZÅÖÉ][\wéáöü]+", words)), year)
        for words, year in re.findall(rf"(\D*?(?:\d\D*?)*?){YEAR}", text)
    ]


def called_published(text: str) -> list[tuple[frozenset[str], str]]:
    """Whose results a source calls published, with the year."""
    plain = re.sub(r'\s+|"\s+"', " ", text)
    after = re.findall(r"[Pp]ublished\b(.{0,260})", plain)
    ends = r'"""|derived here|THEORY\.md|paper, abstract|\*[A-Z]\w+\*'
    return [one for words in after for one in cited(re.split(ends, words)[0])]


def listed(page: str) -> list[tuple[frozenset[str], str]]:
    """What the page calls seen, or a textbook's."""
    return cited(page.partition("## What was seen")[2])


def not_listed(text: str, page: str) -> list[tuple[frozenset[str], str]]:
    own = listed(page)
    return [
        (who, year)
        for who, year in called_published(text)
        if not any(year == when and who & names for names, when in own)
    ]


def faults(page: str) -> list[str]:
    """What a page says that is not so."""
    statements = (ROOT / "paper_checks" / "THEORY.md").read_text(encoding="utf-8")
    numbers = {int(k) for k in re.findall(r"^### Statement (\d+)", statements, flags=re.M)}
    found = [] if page == made.filled(page) else ["verdicts: run python docs/make_papers.py"]
    seen, (judged, _) = listed(page), made.verdicts()
    for paper, row in made.rows_of(page):
        for column, known in KNOWN.items():
            own = made.names(row[column])
            found += [f"{column} {name} does not exist" for name in own if name not in known]
            if not own and row[column] != "–":
                found.append(f"{column} of {row['statement']!r} names nothing")
        claims = made.names(row["claim"])
        found += [f"claim {name} is not judged" for name in claims if name not in judged]
        ours = {int(k) for k in re.findall(r"\d+", row["ours"])}
        found += [f"statement {k} does not exist" for k in ours - numbers]
        if set(made.names(row["figure"])) != set(made.names(row["claim"])):
            found.append(f"figures of {row['statement']!r} are not those of its claims")
        if row["known"] not in ("seen", "derived", "recalled", "abstract"):
            found.append(f"how {row['statement']!r} is known: {row['known']!r}")
        ((who, year),) = cited(paper)
        called_seen = any(year == when and who & names for names, when in seen)
        if row["known"] == "seen" and not called_seen:
            found.append(f"{paper} was not seen")
        if (row["known"] == "abstract") != paper.startswith("Fu, Wang, Chen, Tian"):
            found.append(f"{row['statement']!r}: only of Fu et al. the abstract alone is known")
    return found


def test_the_page_says_what_is_there() -> None:
    assert len(ROWS) > 15
    assert faults(PAGE) == []


def test_every_figure_of_the_page_is_committed() -> None:
    for _, row in ROWS:
        for name in made.names(row["figure"]):
            drawn = (ROOT / run / f"{name}.svg" for run in ("figures", "figures/long"))
            assert any(path.is_file() for path in drawn), name


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("| holds |", "| violated |", "verdicts"),
        ("`golden_weight` | `golden_weight`", "`gold` | `gold`", "claim gold does not"),
        ("| 38, 45 |", "| 38, 450 |", "statement 450"),
        ("`mean_fresh_best`", "`mean_fresh_worst`", "functions mean_fresh_worst"),
        ("`accumulate-subsample` |", "`accumulate-some` |", "loops accumulate-some"),
        ("| recalled |", "| seen |", "Li, Ildiz, Papailiopoulos and Oymak 2023 was not seen"),
        ("| derived |", "| abstract |", "only of Fu et al."),
        ("`mad_loops` | `mad_loops`", "`mad_loops` | `rates`", "figures of"),
    ],
)
def test_a_wrong_page_is_noticed(old, new, said) -> None:
    assert old in PAGE
    assert any(said in fault for fault in faults(PAGE.replace(old, new, 1)))


def test_published_is_only_what_the_page_lists() -> None:
    found = {path.name: not_listed(path.read_text(encoding="utf-8"), PAGE) for path in SOURCES}
    assert not {name: sources for name, sources in found.items() if sources}


def test_a_source_that_nobody_saw_is_noticed() -> None:
    text = (
        'Source: published: Kazdan et al. 2024; Nobody and Noone 2024; derived here: More 2030"""'
    )
    assert not_listed(text, PAGE) == [(frozenset({"Nobody", "Noone"}), "2024")]
    fewer = PAGE.replace("Kazdan et al. 2024,", "")
    assert (frozenset({"Kazdan"}), "2024") in not_listed(text, fewer)

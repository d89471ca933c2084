"""Fill the tables of `docs/collapse.md`: the definitions, and which loop meets which, exactly.

    python docs/make_collapse.py

Both are `icl_stl.profile`'s; the test of the page asks for the same.
"""

import re
from pathlib import Path

from icl_stl import profile
from icl_stl.studies.profile.claims import exact_rows

PAGE = Path(__file__).with_name("collapse.md")


def definitions() -> list[str]:
    """The table of definitions."""
    rows = [f"| {k} | {one.title} | {one.rule} | {one.source} |" for k, one in _numbered()]
    return ["| | definition | met at generation i | who |", "|---|---|---|---|", *rows]


def _numbered() -> list[tuple[int, profile.Definition]]:
    return [*enumerate(profile.DEFINITIONS.values(), 1)]


def loops() -> list[str]:
    """The table of loops: the first generation looked at by which a definition is met."""
    lines = [
        f"| loop | {' | '.join(one.title for _, one in _numbered())} |",
        f"|---{'|---' * len(profile.DEFINITIONS)}|",
    ]
    for row in exact_rows():
        found = [row["definitions"].get(name) for name in profile.DEFINITIONS]
        cells = [_cell(one["by"]) if one else "" for one in found]
        lines.append(f"| {row['loop']}, {row['regime']} | {' | '.join(cells)} |")
    return lines


def _cell(by: dict[str, str]) -> str:
    return next((f"**{i}**" for i, word in by.items() if word == "met"), "–")


def filled(page: str) -> str:
    """The page with both tables."""
    for name, lines in (("definitions", definitions()), ("loops", loops())):
        between = rf"(<!-- {name} -->\n).*?(\n<!-- end -->)"
        found = re.search(between, page, re.DOTALL)
        assert found is not None
        page = page[: found.end(1)] + "\n".join(lines) + page[found.start(2) :]
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

"""Fill the column of verdicts in `docs/papers.md` from the committed results.

    python docs/make_papers.py

A row names its claims; its verdict is theirs in `figures/claims.json`, and in
`figures/long/claims.json` where that run judged them. The test of the page asks for the same.
"""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "papers.md"
COLUMNS = "statement", "ours", "functions", "loops", "claim", "figure", "verdict", "known"


def rows_of(page: str) -> list[tuple[str, dict[str, str]]]:
    """Every row of a table with the paper above it: its cells by column."""
    found, paper = [], ""
    for line in page.splitlines():
        paper = line[3:] if line.startswith("## ") else paper
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == len(COLUMNS) and cells[0] != COLUMNS[0]:
            found.append((paper, dict(zip(COLUMNS, cells, strict=True))))
    return found


def names(cell: str) -> list[str]:
    """What a cell names, in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def verdicts() -> list[dict[str, str]]:
    """Verdicts by claim: of the default run, of the long one."""
    files = (ROOT / "figures" / name / "claims.json" for name in ("", "long"))
    judged = (json.loads(file.read_text(encoding="utf-8"))["claims"] for file in files)
    return [{claim["name"]: claim["verdict"] for claim in claims} for claims in judged]


def verdict_of(claims: list[str], default: dict[str, str], long: dict[str, str]) -> str:
    """The words of a row: a verdict for each of its claims, in their order."""
    words = [
        default.get(claim, "not judged") + (f", long {long[claim]}" if claim in long else "")
        for claim in claims
    ]
    return "; ".join(words) or "–"


def filled(page: str) -> str:
    """The page with the verdicts of the committed results."""
    default, long = verdicts()
    lines = page.splitlines()
    for k, line in enumerate(lines):
        for _, row in rows_of(line):
            row["verdict"] = verdict_of(names(row["claim"]), default, long)
            lines[k] = f"| {' | '.join(row.values())} |"
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

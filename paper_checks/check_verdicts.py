"""Every verdict of both committed folders, derived again from what stands beside it.

Numbers are those of the files alone; the rules are written down once more, without the package.
"""

import json

import pytest
import stored

FOLDERS = {"default": stored.FIGURES, "long": stored.FIGURES / "long"}


def entries() -> list:
    """Every judged claim of every folder."""
    return [
        pytest.param(folder, entry, id=f"{folder}-{entry['name']}")
        for folder, path in FOLDERS.items()
        for entry in json.loads((path / "claims.json").read_text(encoding="utf-8"))["claims"]
    ]


def is_judged(cell: dict) -> bool:
    """Whether a cell counts: it is no finding, says something, and could be false."""
    shown = cell["verdict"] == "finding"
    assert shown or not (cell.get("vacuous") or cell.get("by_definition"))
    return not shown


def derived(cells: list[dict]) -> list[str]:
    """Verdicts of judged cells: all at 5 %, or Holm; against the statement always Holm."""
    found = [stored.by_interval(cell) for cell in cells]
    at = [k for k, cell in enumerate(cells) if "p_for" in cell]
    rest = {verdict for k, verdict in enumerate(found) if k not in at}
    p_for, p_against = ([cells[k][name] for k in at] for name in ("p_for", "p_against"))
    whole = max(p_for, default=0) <= stored.LEVEL and rest <= {"holds"}
    fine = [True] * len(at) if whole else stored.holm_rejects(p_for)
    wrong = stored.holm_rejects(p_against)
    for k, yes, no in zip(at, fine, wrong, strict=True):
        found[k] = "violated" if no else "holds" if yes else "inconclusive"
    return found


@pytest.mark.parametrize(("folder", "claim"), entries())
def test_verdicts_follow_from_what_stands_beside_them(ledger, folder, claim) -> None:
    """Cells from their p-values, the claim from its cells, the control from its families."""
    assert claim["failed"] == []
    cells = [cell for cell in claim["cells"] if is_judged(cell)]
    for cell, verdict in zip(cells, derived(cells), strict=True):
        missed = cell.get("missed", False)
        assert cell["verdict"] == ("inconclusive" if missed else verdict)
        assert verdict == "violated" if missed else True
    verdicts = [cell["verdict"] for cell in cells]
    whole = [v for v in ("violated", "inconclusive", "holds") if v in verdicts]
    finding = claim["verdict"] == "finding"
    assert claim["verdict"] == (whole[0] if whole else "finding" if finding else "inconclusive")
    families = claim["negative_control"]["families"]
    assert bool(families) == (not finding)
    rejected = all(family["rejected"] for family in families)
    assert claim["negative_control"]["rejected"] == (bool(families) and rejected)
    # What holds has a control that is rejected; too few loops may leave both undecided.
    undecided = claim["verdict"] == "inconclusive" and not rejected
    ledger.record(
        f"claim {claim['name']}, {folder}: verdicts",
        claim["verdict"],
        f"{len(cells)} of {len(claim['cells'])} cells judged",
        claim["negative_control"]["rejected"] if families and not undecided else None,
    )


@pytest.mark.parametrize(("folder", "claim"), entries())
def test_intervals_and_p_values_agree(folder, claim) -> None:
    """What holds lies above 0 with its interval, what is violated below."""
    for cell in filter(is_judged, claim["cells"]):
        if "p_for" not in cell:
            continue
        said = "violated" if cell.get("missed") else cell["verdict"]
        if said != "inconclusive":
            assert stored.by_interval(cell) == said
        if cell["by"] == "none":
            assert (cell["p_for"], cell["p_against"], said) == (1, 1, "inconclusive")

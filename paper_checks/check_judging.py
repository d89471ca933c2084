"""False verdicts and power of the judge: a short simulation, and the long one that is committed."""

import json

import levels
import numpy as np
import pytest
from levels import Shape, by_judging, drawn, gamma, judged, normal, rare
from scipy import stats

TRIALS = 600
LAWS = (normal(), gamma(0.8), gamma(-0.8), gamma(2.0), gamma(-2.0), rare(0.3), rare(-0.3))


@pytest.fixture(scope="module")
def committed() -> dict:
    """The table of the long simulation."""
    return json.loads((levels.HERE / "levels.json").read_text(encoding="utf-8"))


def plain(margins: np.ndarray) -> float:
    """How often Student with Holm alone finds a claim violated: `[R, trials, K]`."""
    loops, _, cells = margins.shape
    t = margins.mean(0) / margins.std(0, ddof=1) * loops**0.5
    return float((stats.t.cdf(t, loops - 1).min(1) <= levels.LEVEL / cells).mean())


@pytest.mark.parametrize("shape", [Shape(1), Shape(30), Shape(30, 6, 0.9), Shape(30, 30)], ids=str)
def test_false_verdicts_are_as_rare_as_said(ledger, shape) -> None:
    """At most 5 %, and four standard errors, for laws of every skew; Student alone exceeds that."""
    most = levels.most(TRIALS)
    rows = [
        levels.levels(law, loops, shape, TRIALS, seed)
        for seed, (law, loops) in enumerate((law, loops) for law in LAWS for loops in (6, 12, 20))
    ]
    for row in rows:
        assert max(row[name] for name in levels.FALSE) <= most, row
    largest = max(row[name] for row in rows for name in levels.FALSE)
    draws = drawn(np.random.default_rng(0), gamma(2.0), 6, shape, TRIALS)
    alone = np.mean([plain(margins) for margins in draws])
    ledger.record(
        f"judge: false verdicts, {shape.cells} cells, {shape.families} families",
        "holds",
        largest / levels.LEVEL,
        bool(alone > most),
    )


def test_six_loops_decide_thirty_cells(ledger) -> None:
    """Margins of 2 sd: power at least 0.7. By Holm alone, which asks the worst cell first, less."""
    row = levels.power(6, Shape(30), 2.0, TRIALS, 0)
    assert row["holds"] >= 0.7
    draws = drawn(np.random.default_rng(0), normal(), 6, Shape(30), TRIALS)
    margins = np.concatenate(list(draws), axis=1) + 2.0
    p = np.sort(stats.t.sf(margins.mean(0) / margins.std(0, ddof=1) * 6**0.5, 5))
    by_holm = float((p <= levels.LEVEL / np.arange(30, 0, -1)).all(1).mean())
    ledger.record("judge: power of 6 loops", "holds", row["holds"], by_holm < 0.5)


def test_many_trials_at_once_are_judged_as_one_by_one() -> None:
    """The simulation and `judging.verdicts` give the same verdicts, of every kind."""
    seen = set()
    shifts = np.array([0, 2, -2, 1, -1, 3])[:, None]
    for law in (normal(), gamma(2.0), gamma(-0.8), rare(0.3)):
        for shape in (Shape(1), Shape(30, 6, 0.9), Shape(30, 30)):
            for loops in (4, 6, 12, 20):
                (margins,) = drawn(np.random.default_rng(1), law, loops, shape, 6)
                found = judged(margins + shifts, shape.families)
                for k, own in enumerate(np.moveaxis(margins + shifts, 1, 0)):
                    verdict = by_judging(own, shape.families)
                    assert (verdict == "holds", verdict == "violated") == (
                        found.holds[k],
                        found.violated[k],
                    )
                    seen.add(verdict)
    assert seen == {"holds", "violated", "inconclusive"}


def test_the_committed_table_keeps_the_level(ledger, committed) -> None:
    """In every setting with a verdict; where no test can, it is far beyond: that is said too."""
    assert committed["trials"] == levels.TRIALS
    assert levels.above(committed, levels.ALLOWED) == []
    largest = max(row[name] for row in committed["levels"] for name in levels.FALSE)
    powers = {
        row["correlation"]: row["holds"]
        for row in committed["power"]
        if (row["margin"], row["loops"], row["cells"], row["families"]) == (2.0, 6, 30, 1)
    }
    assert powers[0.0] >= 0.7
    hidden = max(row["holds"] for row in committed["unseen"])
    ledger.record("judge: levels, long", "holds", largest / levels.LEVEL, hidden > 0.1)


def test_the_page_is_that_of_the_table(committed) -> None:
    """`LEVELS.md` is never edited by hand."""
    assert (levels.HERE / "LEVELS.md").read_text(encoding="utf-8") == levels.page(committed)
    damaged = {**committed, "power": committed["power"][1:]}
    assert levels.page(damaged) != levels.page(committed)


def test_committed_rows_come_again(committed) -> None:
    """The same numbers from the same seeds: the first setting that is tested, and a few others."""
    laws = {law.name: law for law in (*levels.SMOOTH, *levels.RARE)}
    rows = [(k, row) for k, row in enumerate(committed["levels"]) if row["cells"] == 1]
    for seed, row in [one for one in rows if one[1]["loops"] == 12][::5]:
        again = levels.levels(laws[row["law"]], 12, Shape(1), committed["trials"], seed)
        assert again == pytest.approx(row)

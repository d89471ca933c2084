"""The claim about the profile of collapse: it holds where it is right and fails where it is not."""

import matplotlib as mpl
import numpy as np
import pytest
from synthetic import PRESET as BY_HAND
from synthetic import scattered

from icl_stl import profile
from icl_stl.lab.experiments import SizedLoops
from icl_stl.studies import Evidence, judge
from icl_stl.studies.drawing import Stored
from icl_stl.studies.presets import PRESETS
from icl_stl.studies.profile.claims import CLAIMS, ROWS, _sized, exact_rows
from icl_stl.studies.profile.figures import DRAWINGS
from icl_stl.style import STYLE

TINY = PRESETS["tiny"]
(CLAIM,) = CLAIMS
NAMES = {"excess": "excess", "variance": "variance", "support": "symbols_left"}


def means(experiment):
    """What is observed if the claim is right."""
    last = experiment.generations
    if not isinstance(experiment, SizedLoops):
        return {"fitted": np.ones(last + 1), "excess": np.linspace(1, 4, last + 1)}
    regimes = next(of for _, one, of in _sized(TINY) if one == experiment)
    known = [profile.expected(experiment.problem, regime, ROWS, last) for regime in regimes]
    seen = {own: np.array([k[to] for k in known]) for to, own in NAMES.items() if to in known[0]}
    if experiment.problem.name == "gaussian":  # all rows within, without real ones
        seen["precision"] = np.stack([np.full(last + 1, p) for p in (1 / 0.95, 1.0)])
    return seen


def good():
    return scattered(CLAIM.experiments(TINY), means)


def judged(experiments):
    return judge(CLAIM, Evidence(TINY, experiments=experiments))


def changed(loop, name, size, factor):
    """The claim, what was seen of a loop times a factor after generation 0."""
    evidence = good()
    one = next(e for e in evidence if isinstance(e, SizedLoops) and e.problem.name == loop)
    evidence[one][name][:, size, 1:] *= factor
    return judged(evidence)


def test_it_holds_where_it_is_right():
    entry = judged(good())
    assert entry["verdict"] == "holds"
    assert {cell["verdict"] for cell in entry["cells"]} == {"holds", "finding"}
    assert entry["negative_control"]["rejected"]
    families = {family["family"] for family in entry["negative_control"]["families"]}
    for what in ("another definition", "another generation", "another regime"):
        assert any(what in family for family in families)
    (table,) = [constant["value"] for constant in entry["constants"]]
    assert len(table) == len(exact_rows()) + 1
    rows = {(row["loop"], row["regime"]): row["definitions"] for row in table}
    assert rows["normal law", "replace"]["tails"] == {
        "by": {"10": "met", "30": "met"},
        "exact": False,
    }
    assert rows["normal law", "augment 0.5"]["tails"]["by"]["30"] == "not met"
    assert rows["empirical Bayes", "replace"]["task_variance"]["by"]["30"] == "not met"


@pytest.mark.parametrize(
    ("loop", "name", "size", "factor"),
    [
        ("gaussian", "excess", 1, 0.7),  # no worse than the first beside real rows
        ("gaussian", "variance", 1, 0.05),  # a variance that vanishes beside them
        ("categorical", "symbols_left", 1, 0.3),  # symbols that are lost beside them
        ("categorical", "excess", 0, 0.3),  # an error that stays small without them
        ("gaussian_mean", "excess", 0, 0.01),  # new real rows that make synthetic ones harmless
    ],
)
def test_what_is_not_so_is_noticed(loop, name, size, factor):
    assert changed(loop, name, size, factor)["verdict"] == "violated"


def test_the_control_is_not_rejected_by_loops_for_which_it_is_true():
    """Loops beside real rows that collapse as those without."""
    evidence = good()
    for experiment in evidence:
        if isinstance(experiment, SizedLoops) and len(experiment.sizes) > 1:
            for values in evidence[experiment].values():
                values[:, 1] = values[:, 0]
    assert not judged(evidence)["negative_control"]["rejected"]


def test_the_picture_has_a_marker_for_every_verdict():
    entry = judged(good())
    with mpl.rc_context(STYLE):
        figure = DRAWINGS["profile"].draw(Stored(BY_HAND.task, {}, {"profile": entry}))
        (ax,) = figure.axes
        verdicts = [
            v for row in entry["constants"][0]["value"] for v in row["definitions"].values()
        ]
        rings = sum(not verdict["exact"] for verdict in verdicts)
        drawn = [line for line in ax.lines if len(line.get_xdata()) == 1]
        assert len(drawn) == len(verdicts) + rings
        assert sum(line.get_fillstyle() == "none" for line in drawn) == rings
        dashes = sum(
            "met" not in v["by"].values() and "undecided" not in v["by"].values() for v in verdicts
        )
        assert sum(line.get_marker() == "_" for line in drawn) == dashes
        assert len(ax.get_yticks()) == len(entry["constants"][0]["value"])
        findings = [cell for cell in entry["cells"] if cell["verdict"] == "finding"]
        last = [cell for cell in findings if cell["generation"] == 30]
        assert [text.get_text() for text in ax.texts] == [f"{c['measured']:.3g}" for c in last]
        assert all(text.get_fontsize() >= 9 for text in [*ax.texts, *ax.get_xticklabels()])

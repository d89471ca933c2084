"""The claim about sampling bias: it holds where it is right and fails where it is not."""

import numpy as np
import pytest
from synthetic import of_biases, scattered

from icl_stl import references
from icl_stl.lab.experiments import SizedLoops
from icl_stl.studies import Evidence, judge
from icl_stl.studies.mad.claims import AMOUNTS, CLAIMS, CURVES, STRONG
from icl_stl.studies.presets import PRESETS

TINY = PRESETS["tiny"]
(CLAIM,) = CLAIMS


def means(experiment):
    """What is observed if the claim is right."""
    if not isinstance(experiment, SizedLoops):
        return {name: np.full(shape, 0.5) for name, shape in of_biases(experiment).items()}
    fresh, last = experiment.world == "fresh", experiment.generations
    seen = {"excess": [], "variance": [], "w2": []}
    for n, m, w in experiment.rows:
        of = n, max(m, 1), 1.0, last, experiment.problem.sampling_bias, w
        law = references.mean_variance_biased(*of, fresh=fresh, unbiased=True)
        w2 = references.biased_distance(*of, unbiased=True).value
        w2 = w2 if m else np.full(last + 1, references.one_fit_distance(n, 1.0))
        for name, path in zip(seen, (law.mean_error, law.variance, w2), strict=True):
            seen[name].append(path)
    return {name: np.array(paths) for name, paths in seen.items()}


def good():
    return scattered(CLAIM.experiments(TINY), means)


def judged(experiments):
    return judge(CLAIM, Evidence(TINY, experiments=experiments))


def fresh(evidence):
    return next(v for e, v in evidence.items() if isinstance(e, SizedLoops) and e.world == "fresh")


def test_it_holds_where_it_is_right():
    entry = judged(good())
    assert entry["verdict"] == "holds"
    assert {cell["verdict"] for cell in entry["cells"]} == {"holds", "finding"}
    assert entry["negative_control"]["rejected"]
    kinds = [cell["kind"] for cell in entry["cells"]]
    assert (kinds.count("helps"), kinds.count("hurts"), kinds.count("alone")) == (2, 1, 1)
    constants = {c["name"]: c["value"] for c in entry["constants"]}
    assert constants["n_syn, harmful, s = 0.9"] <= AMOUNTS[-1]
    curves = constants["limits of E W2^2 by n_syn and s"]
    assert [*curves] == ["n_syn", *(f"{s:g}" for s in CURVES)]
    k = int(np.searchsorted(curves["n_syn"], 100))
    known = references.biased_distance_limit(50, curves["n_syn"][k], 1.0, STRONG)
    assert curves["0.9"][k] == pytest.approx(float(known.value))


@pytest.mark.parametrize(
    ("name", "amount", "factor", "verdict"),
    [
        ("variance", 50, 1.1, "violated"),
        ("excess", 100, 0.9, "violated"),
        ("w2", 50, 1.6, "violated"),  # no help
        ("w2", 250, 0.6, "violated"),  # no harm, and below the certain bound
        ("w2", 100, 1.07, "inconclusive"),  # of second order alone
    ],
)
def test_what_is_not_so_is_noticed(name, amount, factor, verdict):
    evidence = good()
    fresh(evidence)[name][:, AMOUNTS.index(amount)] *= factor
    assert judged(evidence)["verdict"] == verdict


def test_the_control_would_notice_loops_without_a_bias():
    """Closed forms of s = 1 are no longer rejected where that is what was run."""
    evidence = good()
    for experiment, arrays in evidence.items():
        if isinstance(experiment, SizedLoops):
            for k, (n, m, w) in enumerate(experiment.rows):
                of = n, max(m, 1), 1.0, experiment.generations
                world = {"fresh": experiment.world == "fresh", "unbiased": True}
                plain, own = (
                    references.mean_variance_biased(*of, s, w, **world).variance
                    for s in (1.0, experiment.problem.sampling_bias)
                )
                arrays["variance"][:, k] *= plain / own
    entry = judged(evidence)
    assert entry["verdict"] == "violated"
    assert not entry["negative_control"]["rejected"]

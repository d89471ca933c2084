"""Section 32: a profile of collapse, loops of the package against the exact table.

Margins of 10,000 loops each, all in one Holm family at 5 %; each loop has a wrong verdict that the
same loops must reject.
"""

import numpy as np
import pytest
import stored
from check_references import quick_compilation, seen_of  # noqa: F401
from scipy.stats import norm

from icl_stl import profile
from icl_stl.problems import Categorical, Gaussian, GaussianMean
from icl_stl.regimes import AccumulateFresh, Augment, FreshReal, Replace

N, LAST, RUNS, LAW = 40, 20, 10_000, (0.19,) * 5 + (0.01,) * 5
LOOPS = [(Gaussian(), regime) for regime in (Replace(), Augment(0.5))]
LOOPS += [(Categorical(LAW), regime) for regime in (Replace(), FreshReal())]
LOOPS += [(GaussianMean(), FreshReal()), (Gaussian(sampling_bias=0.1), AccumulateFresh())]
CLEAR = 0.1


def margins(problem, regime, seed):
    """Margins of loops, and exact ones, over the threshold: by definition."""
    seen = seen_of(problem, regime, N, LAST, seed, RUNS, batch=2500)
    known = profile.expected(problem, regime, N, LAST)
    names = {"excess": "excess", "variance": "variance", "symbols_left": "support"}
    own = {to: seen[name] for name, to in names.items() if name in seen}
    own["alone"] = np.broadcast_to(known["alone"], own["excess"].shape)
    exact = profile.margins(known)
    return {name: (values, exact[name]) for name, values in profile.margins(own).items()}


def p_value(values, side):
    """P-value against the mean being on this side of 0."""
    error = values.std(ddof=1) / len(values) ** 0.5
    return float(norm.cdf(side * values.mean() / error)) if error > 0 else 1.0


@pytest.mark.usefixtures("quick_compilation")
def test_loops_meet_what_they_should(ledger) -> None:
    """Every clear verdict at generations 10 and 20; the opposite one is rejected."""
    right, wrong = [], {}
    for seed, (problem, regime) in enumerate(LOOPS):
        name = f"151, 153, 154 {problem.name}, {regime.name}; control: the opposite"
        for values, exact in margins(problem, regime, seed).values():
            for i in (10, LAST):
                scale = np.abs(exact[0])
                if abs(exact[i]) > CLEAR * scale and values[:, i].std() > 0:
                    side = np.sign(exact[i])
                    right.append(p_value(values[:, i], side))
                    wrong.setdefault(name, []).append(p_value(values[:, i], -side))
    assert len(wrong) == len(LOOPS)
    assert not any(stored.holm_rejects(right))
    for name, own in wrong.items():
        ledger.record(name, "holds", f"p >= {min(right):.2f}", any(stored.holm_rejects(own)))


def test_what_follows_and_what_does_not(ledger) -> None:
    """Implications at every generation of random paths, and a wrong one that they contradict."""
    rng = np.random.default_rng(0)
    steps = rng.normal(0.05, 0.4, (2000, 40))
    error = np.exp(np.cumsum(steps, axis=1))
    alone = error[:, :1] * np.minimum.accumulate(rng.uniform(0.2, 1, error.shape), axis=1)
    alone[:, 0] = error[:, 0]
    met = {k: v > 0 for k, v in profile.margins({"excess": error, "alone": alone}).items()}
    assert not (met["constant"] & ~met["first"]).any()
    assert not (met["first"] & ~met["real_only"]).any()
    i = np.arange(1025.0)
    assert profile.endless(3 + 2 * i)
    assert profile.endless(1 - 0.9 ** (i + 1)) is False
    converse = bool((met["real_only"] & ~met["first"]).any())
    ledger.record("150 to 152: implications; control: 8 implies 7", "holds", "exact", converse)

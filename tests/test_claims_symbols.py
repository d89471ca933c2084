"""Claims about laws on symbols, on loops made by hand: when one holds, and when it must not."""

import dataclasses

import numpy as np
import pytest
from synthetic import PRESET

from icl_stl import references
from icl_stl.studies import Evidence, judge
from icl_stl.studies.symbols import claims as symbols

CLAIMS = {claim.name: claim for claim in symbols.CLAIMS}
SMALL = dataclasses.replace(PRESET, solvable_runs=400)


def around(mean, scale=0.05):
    """400 loops of this mean, `[400, ...]`."""
    mean = np.asarray(mean, float)
    noise = np.random.default_rng(0).normal(size=(400, *mean.shape))
    return mean * (1 + scale * (noise - noise.mean(0)))


def by_hand(name, *, wrong=False):
    """Loops that do what is claimed, or something else."""
    found = {}
    for experiment in CLAIMS[name].experiments(SMALL):
        if name == "symbols_real_rows":
            world = experiment.world
            other = {"fresh": "fixed", "fixed": "fresh"}[world] if wrong else world
            error = [symbols.known(other, size).error for size in symbols.SIZES]
            left = [
                references.law_symbols(
                    symbols.LAW, s.samples, s.n_syn, symbols.LAST, s.share, world == "fresh"
                )
                for s in symbols.SIZES
            ]
            seen = {"excess": around(error), "symbols_left": around(left, 0.01)}
        else:
            n, last, rare = experiment.samples, experiment.generations, experiment.samples == 200
            p = symbols.RARE if rare else symbols.ALIKE
            share = references.law_symbols((p, 1 - p), n, n, last, 0.0) - 1
            share = share**2 if wrong else share
            seen = {"symbols_left": around(1 + share if rare else share / p, 0.01)}
        runs = experiment.runs
        found[experiment] = {
            key: np.tile(a, (runs // 400 + 1,) + (1,) * (a.ndim - 1))[:runs]
            for key, a in seen.items()
        }
    return judge(CLAIMS[name], Evidence(SMALL, {}, {}, found, {}))


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_holds_of_what_it_says_and_of_nothing_else(name):
    entry = by_hand(name)
    assert entry["verdict"] == "holds"
    assert entry["negative_control"]["rejected"]
    assert by_hand(name, wrong=True)["verdict"] == "violated"


def test_new_rows_are_worth_more_than_the_same_ones():
    for size in symbols.SIZES:
        fresh, same = (symbols.known(world, size).error for world in ("fresh", "fixed"))
        assert (fresh[1:] < same[1:]).all()

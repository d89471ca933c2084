from dataclasses import replace

import jax
import numpy as np

from icl_stl.config import Architecture, Training
from icl_stl.devices import many
from icl_stl.lab import runs
from icl_stl.lab.experiments import Loops, LoopSize, SizedLoops
from icl_stl.laws import LinearRegression
from icl_stl.problems import Bernoulli, GaussianMean, InContext
from icl_stl.regimes import Augment
from icl_stl.studies import laboratory
from icl_stl.studies.presets import PRESETS, job_of
from icl_stl.studies.stability.experiments import NeighbouringLoops, NeighbouringTransformers

TASK = LinearRegression(dim=1, context=4)
ARCHITECTURE = Architecture(depth=1, width=8, heads=2)


def test_more_runs_need_no_more_memory_at_a_time():
    """Runs come in rounds of equal size: what is alive in a program is set by the batch alone."""
    seen = []

    def run(of, key):
        seen.append(key.shape)
        return jax.random.normal(key, (1000,)).mean()

    rounds = []
    few = many(run, None, 8, seed=0, batch=4)
    several = many(run, None, 64, seed=0, batch=4, report=lambda *args: rounds.append(args))
    assert few.shape == (8,)
    assert several.shape == (64,)
    np.testing.assert_array_equal(several[:8], few)
    assert len(rounds) == 8  # 64 runs, 4 at a time on each of 2 devices
    assert len(seen) == 1  # one program serves all rounds of both


def test_a_second_run_of_the_same_shapes_compiles_nothing(compilations, tmp_path):
    """Of the main job's loops and of every kind of experiment that is run more than once."""
    preset = replace(PRESETS["tiny"], generations=1)
    half = Augment(0.5)
    wanted = (
        Loops(Bernoulli(), half, 10, 2, 8),
        SizedLoops(GaussianMean(), "fixed", (LoopSize(4, 2), LoopSize(5, 5)), 2, 8),
        NeighbouringLoops(Bernoulli(), half, 10, 2, 8),
        NeighbouringTransformers(
            *(InContext(TASK, ARCHITECTURE, Training(steps=2, batch=2), 4), LoopSize(8, 8)),
            *(LoopSize(8, 8), 2, 1, 2, 1),
        ),
    )

    def run(seed):
        folder = runs.Folder(tmp_path / str(seed), {"seed": seed})
        loops = runs.run_loops(job_of(preset), preset.regimes, seed=seed, folder=folder)
        return loops, laboratory.run_experiments(wanted, seed)

    begin, first = compilations(), run(0)
    before, second = compilations(), run(1)
    assert begin < before == compilations()
    name = "augment-0.5"
    assert not np.any(first[0][name]["risk"] == second[0][name]["risk"])
    for experiment in wanted[2:]:
        own, other = (found[1][experiment]["parameters"] for found in (first, second))
        assert own.shape == other.shape

import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from icl_stl.config import Architecture, Training
from icl_stl.devices import DATA, data_parallel, many
from icl_stl.lab import runs
from icl_stl.lab.experiments import Loops, LoopSize, SizedLoops
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import sample_prompts
from icl_stl.learners import adam_transformer
from icl_stl.problems import Bernoulli, GaussianMean, InContext
from icl_stl.regimes import Augment
from icl_stl.studies import laboratory
from icl_stl.studies.presets import PRESETS, job_of
from icl_stl.studies.stability.experiments import NeighbouringLoops, NeighbouringTransformers

TASK = LinearRegression(dim=1, context=4)
ARCHITECTURE = Architecture(depth=1, width=8, heads=2)


def fit(data_axis):
    learner = adam_transformer(TASK, ARCHITECTURE, Training(steps=20, batch=8), data_axis=data_axis)
    return lambda prompts, weights: learner.fit(jax.random.key(1), prompts, weights)


def batch():
    return sample_prompts(TASK, jax.random.key(0), 64), jnp.full(64, 1 / 64)


def test_devices_share_the_prompts_of_a_batch_and_learn_the_same():
    alone, together = jax.jit(fit(None))(*batch()), data_parallel(fit(DATA))(*batch())
    assert len(jax.devices()) == 2
    # Rounding, which twenty steps carry on.
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)
    assert together.loss.sharding.is_fully_replicated


def test_each_device_reads_its_own_part_of_a_batch_only():
    """What multiplies the prompts of a device is half as wide as the batch."""
    mesh = jax.make_mesh((2,), (DATA,), (jax.sharding.AxisType.Auto,))
    widths = {}
    for axis in (None, DATA):
        with jax.set_mesh(mesh):
            program = jax.jit(fit(axis)).lower(*batch()).compile().as_text()
        widths[axis] = {int(n) for n in re.findall(r"f32\[3,4,(\d+)\]", program)}
    assert 8 in widths[None]
    assert 4 in widths[DATA]
    assert 8 not in widths[DATA]


def test_two_processes_learn_what_one_does(tmp_path):
    script = Path(__file__).with_name("two_hosts.py")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def started(processes, process):
        out = tmp_path / f"{processes}-{process}.npz"
        command = [sys.executable, script, str(processes), str(process), str(port), out]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE), out

    runs = [started(2, 0), started(2, 1)]
    for process, _ in runs:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
    first, second = (np.load(out) for _, out in runs)
    assert (first["hosts"], first["devices"]) == (2, 2)
    for k, leaf in enumerate(jax.tree.leaves(jax.jit(fit(None))(*batch()))):
        np.testing.assert_array_equal(first[str(k)], second[str(k)])
        np.testing.assert_allclose(first[str(k)], leaf, atol=2e-5)


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
            *(LoopSize(8, 8), 2, 1, 2, 1, 1),
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

"""Pairs of fits beside a loop whose refit error, mixing defect and noise are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_stl.lab import runs
from icl_stl.lab.experiments import Job
from icl_stl.laws import LinearRegression
from icl_stl.measure import pair_bias, pair_variance, predictions
from icl_stl.problems import InContext
from icl_stl.regimes import Augment, Replace
from icl_stl.studies.transformer.loops import Shifted

TASK = LinearRegression(dim=1, context=4)
INJECTED, N, COUNT = 0.1, 24, 1000
PROBLEM = Shifted(TASK, None, held_out=50, injected=INJECTED)


def mean_is(values, expected, scale):
    """The mean of values is the expected one up to five standard errors, and these are small."""
    error = values.std(ddof=1) / values.size**0.5
    assert error < 0.1 * scale
    assert abs(values.mean() - expected) < 5 * error


def test_pairs_estimate_bias_and_variance_without_bias():
    rng = np.random.default_rng(0)
    fits = 0.5 + rng.normal(0, 2, (20_000, 2, 3))
    one, other = jnp.array(fits[:, 0]), jnp.array(fits[:, 1])
    mean_is(np.asarray(jax.vmap(pair_bias)(one, other, jnp.full_like(one, 0.1))), 0.16, 4.0)
    mean_is(np.asarray(jax.vmap(pair_variance)(one, other)), 4.0, 4.0)


@pytest.mark.parametrize("share", [0.5, 0.25])
def test_pairs_beside_a_generation_are_those_of_its_learner(share):
    """A fit adds `INJECTED` to the mean residual of its rows: o is that, q is 0, s² is (1 - α)²
    over the synthetic labels, fits to the real set are equal, and their squared error is that of
    the mean residual: each times the mean predictive variance of the held-out labels.
    """
    regime = Augment(share)
    n_syn = regime.synthetic_size(N)
    replicates = runs.draw_replicates(PROBLEM, N, COUNT, 3)
    test, bayes = replicates.held_out
    variance = np.asarray(jnp.mean(bayes.std**2, axis=(1, 2)))

    def first(key, real):
        return PROBLEM.learner.fit(key, real, jnp.full(N, 1 / N))

    start = jax.vmap(first)(replicates.key, replicates.real)
    previous = start + 0.7
    places = Augment.from_lam((N + n_syn + 8) / N)  # more than any fit here needs
    program, found = runs.fits_in_pairs(PROBLEM, places), []
    for pair, size in enumerate(((1.0, 0), (share, n_syn), (0.0, N + n_syn))):
        numbers = runs.Numbers(np.float32(size[0]), np.int32(N), np.int32(size[1])).each(COUNT)
        found.append(program(replicates, previous, numbers, np.int32(4), np.int32(pair)))
    laws = [np.asarray(one["fits"]) for one in found]
    assert not np.allclose(laws[2][:, 0], laws[2][:, 1])
    shares = np.full(COUNT, share, np.float32)
    own = np.asarray(found[0]["own"])
    found = runs.constants_of_pairs(np.asarray(bayes.mean), own, shares, *laws)
    scaled = {name: np.asarray(values) / variance for name, values in found.items()}
    mean_is(scaled["refit"], INJECTED**2, 0.01)
    mean_is(scaled["noise"], (1 - share) ** 2 / (n_syn * 4), 0.01)
    mean_is(scaled["refit_noise"], 1 / ((N + n_syn) * 4), 0.01)
    mean_is(scaled["mixing"], 0.0, 0.02)
    mean_is(scaled["first"], INJECTED**2 + 1 / (N * 4), 0.05)
    np.testing.assert_allclose(scaled["first_noise"], 0, atol=1e-9)
    assert not np.allclose(scaled["refit"], INJECTED**2)
    means = jax.vmap(lambda c, rows: predictions(PROBLEM.learner, c, rows).mean)
    moved = np.asarray(means(previous, test) - means(start, test))
    np.testing.assert_allclose(moved, 0.7 * np.asarray(bayes.std), rtol=1e-4)


def test_all_places_share_the_pair_that_knows_the_real_set_alone(tmp_path):
    job = Job(Shifted(TASK, None, held_out=20, injected=INJECTED), 8, 1, 2)
    folder = runs.Folder(tmp_path, runs.identity({"job": "test"}, 2, 0))
    shares = [Augment(0.5), Augment(0.25)]
    runs.run_loops(job, shares, seed=0, folder=folder)
    found = runs.pairs_of_fits(job, shares, seed=0, folder=folder)
    first = np.concatenate([one["first"] for one in found.values()], axis=1)
    np.testing.assert_array_equal(first, np.broadcast_to(first[:, :1], (2, 4)))
    assert np.all(first > 0)
    assert len({float(one["noise"][0, 0]) for one in found.values()}) == 2


def test_pairs_are_made_beside_the_first_and_the_last_generation_and_kept(tmp_path):
    job = Job(InContext(TASK, None, held_out=20), 8, 2, 3)
    regimes = [Augment(0.5), Replace()]
    identity = runs.identity({"job": "test"}, 3, 0)
    folder = runs.Folder(tmp_path, identity)
    runs.run_loops(job, regimes, seed=0, folder=folder)
    said = []
    options = {"seed": 0, "folder": folder}
    found = runs.pairs_of_fits(
        job, regimes[:1], **options, report=lambda text, done, total: said.append((done, total))
    )
    assert set(found) == {"augment-0.5"}
    assert found["augment-0.5"]["refit"].shape == (3, 2)
    # The Bayes predictor loses nothing and has no noise.
    assert all(np.all(values == 0) for values in found["augment-0.5"].values())
    assert said == [(0, 2), (1, 2), (2, 2)]
    kept = sorted(path.name for path in folder.checkpoints.glob("pairs-*"))
    assert [name.split("-")[1] for name in kept] == ["first", "last"]
    path = folder.checkpoints / kept[1]
    before = path.stat().st_mtime_ns
    again = runs.pairs_of_fits(job, regimes[:1], **options)
    assert path.stat().st_mtime_ns == before
    np.testing.assert_array_equal(again["augment-0.5"]["noise"], found["augment-0.5"]["noise"])

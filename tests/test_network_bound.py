"""Bounds on the risk of a network: what is measured is right, and the bounds are those of it."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthetic import PRESET, measured_network

from icl_stl import bounds
from icl_stl.lab.experiments import LoopSize
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import bayes_predictive, sample_prompts
from icl_stl.problems import InContext
from icl_stl.studies import Evidence, judge
from icl_stl.studies.network import loops
from icl_stl.studies.network.claims import CLAIMS, KINDS, asked, networks
from icl_stl.studies.network.experiments import BITS, NOISE, RANGE, MeasuredNetworks
from icl_stl.studies.presets import NetworkSize
from icl_stl.studies.transformer.loops import shifted_learner

TASK, INJECTED, N, RUNS = LinearRegression(dim=1, context=4), 0.5, 40, 400
SIZE = LoopSize(N, N)


@dataclass(frozen=True)
class Known(loops.Measured):
    """A learner whose only weight, the shift c of its means in deviations, is the mean residual of
    its rows and `INJECTED`: about that after generation 0, and one and a half times after 1.
    """

    def make_learner(self, learning_rate=None, weight_decay=None):
        return shifted_learner(self.task, INJECTED)


@pytest.fixture(scope="module")
def seen():
    """What is measured of it, with places for more rows than there are."""
    experiment = MeasuredNetworks(InContext(TASK, None, held_out=200), SIZE, LoopSize(64, 64), RUNS)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loops, "Measured", Known)
        return experiment.run(0)


def loss_of(shifts, seed=0, count=20_000):
    """Mean and variance of the loss at these shifts from the law of the rows, by other prompts."""
    prompts = sample_prompts(TASK, jax.random.key(seed), count)
    law = jax.vmap(lambda prompt: bayes_predictive(TASK, prompt))(prompts)
    z, std = ((np.asarray(a, np.float64)) for a in ((prompts.ys - law.mean) / law.std, law.std))
    found = []
    for c in shifts:
        losses = np.minimum((std * (z - c)) ** 2 / (4 * TASK.label_variance), 1).mean(1)
        found.append((losses.mean(), losses.var()))
    return np.array(found).T


def is_near(values, expected, within):
    """The mean of values is the expected one up to five standard errors, and these are small."""
    error = values.std(ddof=1) / len(values) ** 0.5
    assert error < within
    assert abs(values.mean() - expected) < 5 * error + within


def test_what_is_measured_of_a_learner_is_what_is_known_of_it(seen):
    """Rows of generation 0 lie c_0 off the real law, so that theta_1 is c_1 - c_0 off theirs."""
    c, off = seen["norm"], seen["distance"]
    assert np.all(seen["dimension"] == 1)
    assert np.all(seen["held_out_rows"] == 2 * N / 5)
    is_near(c, 1.5 * INJECTED, 0.02)
    at_c, at_off, of_c, of_off = (np.empty(RUNS) for _ in range(4))
    grid = np.linspace(-0.5, 2, 126)
    means, spreads = loss_of(grid)
    for found, shifts, curve in (
        (at_c, c, means),
        (at_off, off, means),
        (of_c, c, spreads),
        (of_off, off, spreads),
    ):
        found[:] = np.interp(shifts, grid, curve)
    is_near(seen["risk"] - at_c, 0, 1e-3)
    is_near(seen["shift"] - (at_c - at_off), 0, 1e-3)
    is_near(seen["variance"] - (of_c + of_off) / 2, 0, 1e-3)
    is_near(seen["held_out"] - (at_c + at_off) / 2, 0, 2e-3)
    assert at_c.mean() - at_off.mean() > 0.01
    # A fit follows its rows: its loss over them is less than over new ones.
    assert seen["training"].mean() < seen["held_out"].mean()
    assert seen["synthetic"].mean() < seen["training"].mean()


def test_a_changed_network_is_seen_where_it_is(seen):
    """Losses on new real rows rise as those at the changed shift do; the noise is normal."""
    c, grid = seen["norm"], np.linspace(-2, 3, 501)
    means, _ = loss_of(grid)
    at = lambda shifts: np.interp(shifts, grid, means)  # noqa: E731
    for k, bits in enumerate(BITS):
        step = 2 * RANGE / 2**bits
        nearest = (np.floor(c / step) + 0.5) * step
        is_near(seen["rounded_rise"][:, k, 2] - (at(nearest) - at(c)), 0, 1e-3)
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    for k, scale in enumerate(NOISE[:3]):
        noisy = at(c[:, None] + scale * nodes) @ weights / weights.sum()
        is_near(seen["noisy_rise"][:, k, 2] - (noisy - at(c)), 0, 2e-4 + 0.02 * scale**2)


def test_rounded_weights_are_the_nearest_points_of_a_grid_that_is_fixed():
    weights = np.linspace(-3, 3, 1001)
    for bits in BITS:
        found = np.asarray(loops.rounded(jnp.array(weights), bits))
        assert len(set(found)) == 2**bits
        inside = np.abs(weights) < RANGE
        assert np.abs(found - weights)[inside].max() <= RANGE / 2**bits + 1e-6
        assert np.abs(found).max() < RANGE


def entry_of(**others):
    found = {e: measured_network(e, **others) for e in networks(PRESET).values()}
    return judge(CLAIMS[0], Evidence(PRESET, experiments=found))


def cells_of(entry, kind, **keys):
    some = [c for c in entry["cells"] if c["kind"] == kind]
    return [c for c in some if all(c[key] == value for key, value in keys.items())]


def test_bounds_are_those_of_the_theory_with_what_was_measured():
    n, scale = 1000, np.square(NOISE)
    seen = measured_network(networks(PRESET)[n])
    own = asked(seen, n)
    assert set(own) == set(KINDS)
    half = {"alpha": 0.5, "M": 1, "delta": 0.05}
    noisy = {
        "shift": (seen["shift"][:, None] + seen["noisy_rise"] @ [0, 0, 1, -1]).max(1),
        "variance": (seen["noisy_variance"] @ [0, 0, 0.5, 0.5]).max(1),
        "M": 1,
        "delta": 0.05,
    }
    rises = seen["noisy_rise"] / scale[:, None]
    digits = [
        bounds.quantised_risk(
            2 * n, 0.5, bits=bits, dimension=50, M=1, delta=0.05 / len(BITS),
            empirical=seen["training"] + seen["rounded_rise"][:, k] @ [0.5, 0.5, 0, 0],
            shift=seen["shift"] + seen["rounded_rise"][:, k] @ [0, 0, 1, -1],
            variance=seen["rounded_variance"][:, k] @ [0, 0, 0.5, 0.5],
        ).total
        for k, bits in enumerate(BITS)
    ]  # fmt: skip
    expected = {
        "held_out": bounds.held_out_risk(
            400, empirical=seen["held_out"], variance=seen["variance"], shift=seen["shift"], **half
        ).total,
        "rounded": min(digits, key=np.mean),
        "centre_0": bounds.pac_bayes_risk(
            2 * n, 0.5, empirical=seen["training"], distance=seen["norm"],
            curvature=(rises @ [0.5, 0.5, 0, 0]).max(1), **noisy,
        ).total,
        "before": bounds.pac_bayes_risk(
            n, 0, empirical=seen["synthetic"], distance=seen["distance"],
            curvature=rises[..., 1].max(1),
            **noisy | {"variance": (seen["noisy_variance"] @ [0, 0, 0, 1]).max(1)},
        ).total,
    }  # fmt: skip
    entry = entry_of()
    for kind, total in expected.items():
        np.testing.assert_allclose(own[kind].total(), total, rtol=1e-12)
        (cell,) = cells_of(entry, kind, n=n)
        assert cell["bound"] == pytest.approx(total.mean())
        assert cell["measured"] == pytest.approx(0.1 + n**-0.5)
        assert cell["tightest"] == (kind == min(expected, key=lambda k: expected[k].mean()))


def test_a_flat_network_is_given_no_curvature_less_than_scales_that_were_not_measured_allow():
    seen = measured_network(networks(PRESET)[250], noisy_rise=np.zeros((len(NOISE), 4)))
    for kind in ("centre_0", "before"):
        assert np.all(asked(seen, 250)[kind].known["curvature"] == 4)


def test_what_is_vacuous_is_marked_and_what_is_to_blame_named():
    entry = entry_of(distance=300.0)
    assert entry["verdict"] == "finding"
    assert {cell["verdict"] for cell in entry["cells"]} == {"finding"}
    for kind in KINDS:
        for cell in cells_of(entry, kind):
            assert cell.get("vacuous", False) == (kind == "before") == (cell["bound"] >= 1)
    for n in PRESET.network.samples:
        left = {c["without"]: c["measured"] for c in cells_of(entry, "without", of="before", n=n)}
        assert min(left, key=left.get) == "distance"
        assert left["distance"] < 1 < left["curvature"]
        (needed,) = cells_of(entry, "needed", of="before", n=n)
        assert needed["measured"] > n
        seen = measured_network(networks(PRESET)[n], distance=300.0)
        bound = asked(seen, n)["before"]
        rows = bound.rows_needed()
        assert np.all(bound.total(rows=1.01 * rows) < 1)
        assert np.all(bound.total(rows=0.99 * rows) > 1)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: NetworkSize(()), "^samples must be at least one size, each once"),
        (lambda: NetworkSize((4, 4)), "^samples must be at least one size, each once"),
        (lambda: NetworkSize(replicates=2), "^replicates must be .* at least 3, but it is 2"),
        (lambda: MeasuredNetworks(PROBLEM, LoopSize(4, 8), LoopSize(8, 8), 3), "^n_syn must be as"),
    ],
)
def test_other_sizes_are_refused(make, complaint):
    with pytest.raises(ValueError, match=complaint):
        make()


PROBLEM = InContext(TASK, None)

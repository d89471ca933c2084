"""Learners of rows of a table: weights, units, densities against samples and against SciPy."""

import math
import subprocess
import sys
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from icl_stl.distances import energy
from icl_stl.learners import GENERATIVE

Z = 4.5
SETTINGS = {
    "markov": {"symbols": 3},
    "flow": {"layers": 2, "width": 8, "steps": 100},
    "diffusion": {"width": 8, "depth": 1, "steps": 100, "levels": 10},
}
TABLES = [name for name in GENERATIVE if name != "markov"]
CLOSED = ["normal", "mixture", "kde"]
KEY = jax.random.key(3)


def made(name, columns=2, **options):
    return GENERATIVE[name](**{**SETTINGS.get(name, {}), **options}).make(columns)


def even(count):
    return jnp.full(count, 1 / count)


def fitted(learner, rows, weights=None, key=KEY):
    return jax.jit(learner.fit)(key, rows, even(len(rows)) if weights is None else weights)


def written(learner, law, count):
    return np.asarray(jax.jit(learner.generate, static_argnums=2)(KEY, law, count))


def clouds(count, seed=0):
    """Two clouds in the plane, far from 0 and of unequal units."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(count, 2)) * [1, 0.3] + np.where(rng.random((count, 1)) < 0.3, 2, -1)
    return jnp.asarray([50.0, -2.0] + z * [3.0, 0.1], jnp.float32)


def some_rows(name, count, columns=2):
    if name == "markov":
        return jax.random.randint(KEY, (count, columns), 0, 3)
    return clouds(count)


def same(one, other, **close):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, **close)


def test_members_are_found_and_described_without_jax():
    code = (
        "import sys\nfrom icl_stl.learners import GENERATIVE\n"
        "[kind() for name, kind in GENERATIVE.items() if name != 'markov']\n"
        "print(*GENERATIVE, *{'jax', 'flax', 'optax', 'scipy'} & {*sys.modules})"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == [*GENERATIVE]
    assert {*GENERATIVE} == {"normal", "mixture", "kde", "markov", "flow", "diffusion"}


@pytest.mark.parametrize("name", GENERATIVE)
def test_rows_without_weight_are_not_there(name):
    """Nothing changes with what stands in their places, be it no number."""
    learner, rows = made(name), some_rows(name, 40)
    weights = jnp.concatenate([even(30), jnp.zeros(10)])
    other = rows.at[30:].set(7 if name == "markov" else jnp.nan)
    fits = [fitted(learner, own, weights) for own in (rows, other, other.at[35:].set(-(2**30)))]
    first, *others = [written(learner, fit, 50) for fit in fits]
    for fit, wrote in zip(fits[1:], others, strict=True):
        same(fits[0], fit, rtol=1e-6)
        same(first, wrote, rtol=1e-6)
    assert first.shape == (50, 2)
    assert first.dtype == rows.dtype
    assert np.isfinite(first).all()


@pytest.mark.parametrize("name", [*CLOSED, "markov"])
def test_a_row_that_stands_twice_weighs_twice(name):
    own = {"pseudo_count": 0.0} if name == "markov" else {}
    learner, rows = made(name, **own), some_rows(name, 25)
    times = np.arange(25) % 3
    one = fitted(learner, rows, jnp.asarray(times / times.sum(), jnp.float32))
    other = fitted(learner, jnp.repeat(rows, times, axis=0))
    log = jax.jit(learner.log_density)
    np.testing.assert_allclose(log(one, rows), log(other, rows), atol=2e-4, err_msg=name)


@pytest.mark.parametrize("name", GENERATIVE)
def test_one_learner_for_equal_options_and_bad_rows_are_refused(name):
    assert made(name) is made(name, 2)
    assert made(name) is not made(name, 3)
    with pytest.raises(ValueError, match=rf"rows of {name} must be of the shape \[N, 3\]"):
        made(name, 3).fit(KEY, some_rows(name, 5), even(5))
    with pytest.raises(ValueError, match="columns must be a whole number"):
        made(name, 0)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("normal", {"shrinkage": 1.5}, r"shrinkage must be in \[0, 1\]"),
        ("normal", {"least": 0.0}, "least must be a positive number"),
        ("kde", {"bandwidth": -0.1}, "bandwidth must be a number of at least 0"),
        ("kde", {"least": -1.0}, "least must be a positive number"),
        ("markov", {"symbols": 1}, "symbols must be a whole number of at least 2"),
        ("markov", {"order": -1}, "order must be a whole number of at least 0"),
        ("markov", {"order": 20}, "order must be an order for which"),
        ("markov", {"pseudo_count": -1.0}, "pseudo_count must be a number of at least 0"),
        ("flow", {"layers": 0}, "layers must be a whole number of at least 1"),
        ("flow", {"bins": 1}, "bins must be a whole number of at least 2"),
        ("flow", {"smoothing": -0.1}, "smoothing must be a number of at least 0"),
        ("flow", {"patience": 0}, "patience must be a whole number of at least 1"),
        ("diffusion", {"levels": 1}, "levels must be a whole number of at least 2"),
        ("diffusion", {"learning_rate": 0.0}, "learning_rate must be a positive number"),
        ("mixture", {"components": 0}, "components must be a whole number of at least 1"),
        ("mixture", {"regularisation": -0.1}, "regularisation must be a positive number"),
        ("mixture", {"steps": 0}, "steps must be a whole number of at least 1"),
    ],
)
def test_options_out_of_range_are_refused(name, options, said):
    with pytest.raises(ValueError, match=said):
        made(name, **options)


def test_a_normal_law_is_that_of_scipy():
    rows = clouds(40)
    law = fitted(made("normal", shrinkage=0.25), rows)
    covariance = np.cov(rows.T, bias=True) * [[1, 0.75], [0.75, 1]]
    np.testing.assert_allclose(law.covariance, covariance, rtol=1e-4)
    own = made("normal", shrinkage=0.25).log_density(law, rows)
    known = stats.multivariate_normal(np.mean(rows, axis=0), covariance).logpdf(rows)
    np.testing.assert_allclose(own, known, atol=1e-3)


def test_smoothed_rows_are_those_of_scipy():
    rows, h = clouds(40), 0.3
    law = fitted(made("kde", bandwidth=h), rows)
    widths = h * np.std(rows, axis=0)
    parts = stats.norm.pdf(np.asarray(rows)[:, None], rows, widths).prod(axis=2)
    own = made("kde", bandwidth=h).log_density(law, rows)
    np.testing.assert_allclose(own, np.log(parts.mean(axis=1)), atol=1e-3)
    drawn = written(made("kde", bandwidth=0.0), law, 200)[:, None]
    np.testing.assert_allclose(np.abs(drawn - np.asarray(rows)).min(axis=1), 0, atol=1e-4)
    assert made("kde", bandwidth=0.0).log_density is None


def test_a_mixture_finds_its_components():
    """And keeps mean and covariance of its rows, but for the regularisation."""
    rng, apart = np.random.default_rng(1), np.array([[0, 0], [9, 0], [0, 9]])
    rows = jnp.asarray(apart[np.arange(300) % 3] + rng.normal(size=(300, 2)), jnp.float32)
    law = fitted(made("mixture"), rows)
    order = np.argsort(law.means @ jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(law.shares, 1 / 3, atol=1e-3)
    np.testing.assert_allclose(law.units.back(law.means)[order], apart, atol=Z / 10)
    for some in (rows, rows + jnp.asarray(3 * rng.normal(size=(300, 2)), jnp.float32)):
        law = fitted(made("mixture"), some)  # in the second components overlap
        within = np.einsum("kce,kde->kcd", law.roots, law.roots)
        covariance = np.einsum("k,kcd->cd", law.shares, within)
        covariance += np.einsum("k,kc,kd->cd", law.shares, law.means, law.means)
        np.testing.assert_allclose(law.shares @ law.means, 0, atol=1e-5)
        own = np.cov(law.units.within(some).T, bias=True) + 1e-3 * np.eye(2)
        np.testing.assert_allclose(covariance, own, atol=1e-5)


@pytest.mark.parametrize(("order", "a"), [(0, 0.5), (1, 0.0), (2, 0.3), (2, 0.0)])
def test_an_n_gram_is_what_its_formula_says(order, a):
    """Counted in Python; the law of rows sums to 1 and is that of what is generated."""
    learner = made("markov", 3, symbols=2, order=order, pseudo_count=a)
    rows = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [0, 0, 0], [9, 9, 9]], np.int32)
    weights = np.array([0.1, 0.2, 0.3, 0.4, 0])
    law = fitted(learner, jnp.asarray(rows), jnp.asarray(weights, jnp.float32))
    count = Counter()
    for row, weight in zip(rows, 4 * weights, strict=True):
        for t, symbol in enumerate(row):
            before = ("", "", *row[:t])
            for known in range(order + 1):
                count[tuple(before[len(before) - known :]), symbol] += weight

    def after(context, symbol):
        below = after(context[1:], symbol) if context else 0.5
        seen = count[context, 0] + count[context, 1] + 2 * a
        return (count[context, symbol] + 2 * a * below) / seen if seen else below

    every = np.indices((2, 2, 2)).reshape(3, -1).T.astype(np.int32)
    known = [
        math.prod(after(("", "", *r[:t])[t + 2 - order :], r[t]) for t in range(3)) for r in every
    ]
    own = np.exp(learner.log_density(law, jnp.asarray(every)))
    np.testing.assert_allclose(own, known, atol=1e-6)
    assert own.sum() == pytest.approx(1, abs=1e-6)
    shares = np.bincount(written(learner, law, 20_000) @ [4, 2, 1], minlength=8) / 20_000
    assert (np.abs(shares - known) <= Z * np.sqrt(own * (1 - own) / 20_000) + 1e-6).all()


def moons(count, seed):
    rng = np.random.default_rng(seed)
    turn, up = np.pi * rng.random(count), rng.random((count, 1)) < 0.5
    arcs = [np.cos(turn), np.sin(turn)], [1 - np.cos(turn), 0.5 - np.sin(turn)]
    rows = np.where(up, np.stack(arcs[0], axis=1), np.stack(arcs[1], axis=1))
    return jnp.asarray(rows + 0.08 * rng.normal(size=(count, 2)), jnp.float32)


@pytest.mark.parametrize("name", ["flow", "diffusion"])
def test_two_moons_are_learned(name):
    """To a quarter of the energy distance that a normal law has to held-out rows."""
    rows, held_out = moons(1000, seed=0), np.asarray(moons(2000, seed=1))

    def apart(learner):
        return energy(held_out, written(learner, fitted(learner, rows), 2000))

    assert 4 * apart(GENERATIVE[name]().make(2)) < apart(made("normal"))


def box_of(rows, wide=1.5, cells=250):
    """Centres of cells of a box around the rows, and the area of one."""
    low, high = np.min(rows, axis=0), np.max(rows, axis=0)
    low, high = low - wide * (high - low), high + wide * (high - low)
    edges = [np.linspace(a, b, cells + 1) for a, b in zip(low, high, strict=True)]
    centres = np.stack(np.meshgrid(*[(e[1:] + e[:-1]) / 2 for e in edges]), axis=-1)
    return centres.reshape(-1, 2), np.prod((high - low) / cells)


@pytest.mark.parametrize("name", [n for n in TABLES if n != "diffusion"])
def test_a_density_has_mass_one_and_is_that_of_what_is_generated(name):
    """Shares of 20,000 generated rows in 25 parts of the plane, within standard errors."""
    learner, rows = made(name), clouds(40)
    law = fitted(learner, rows)
    cells, area = box_of(rows)
    log = jax.jit(learner.log_density)(law, jnp.asarray(cells, jnp.float32))
    mass = np.exp(np.asarray(log)) * area
    assert mass.sum() == pytest.approx(1, abs=2e-3)
    wrote = written(learner, law, 20_000)
    cuts = np.quantile(wrote, [0.1, 0.4, 0.7, 0.9], axis=0)

    def part(points):
        at = [np.searchsorted(cuts[:, c], points[:, c]) for c in range(2)]
        return 5 * at[0] + at[1]

    expected = np.bincount(part(cells), mass, minlength=25)
    shares = np.bincount(part(wrote), minlength=25) / len(wrote)
    error = np.sqrt(expected * (1 - expected) / len(wrote)) + 1e-3
    assert (np.abs(shares - expected) <= Z * error).all()


@pytest.mark.parametrize("name", TABLES)
def test_a_constant_column_stays_and_spoils_nothing(name):
    rows = jnp.column_stack([clouds(40), jnp.full(40, 1234.567)])
    learner = made(name, 3)
    law = fitted(learner, rows)
    np.testing.assert_allclose(written(learner, law, 9)[:, 2], 1234.567, rtol=1e-6)
    if learner.log_density:
        assert np.isfinite(learner.log_density(law, rows)).all()
    alone = fitted(learner, rows, jnp.eye(40)[0])
    np.testing.assert_allclose(written(learner, alone, 9), rows[:1].repeat(9, 0), rtol=1e-6)

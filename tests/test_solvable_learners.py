import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_stl import learners
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import Normal, Prompts, Rows, sample_prompts
from icl_stl.learners import Learner
from icl_stl.learners.attention import features

COUNT = 20_000
TASK = LinearRegression(dim=2, context=5, noise=0.5)
ROUND = LinearRegression(3, 6, 0.4, 3**-0.5, inputs="sphere", tasks="sphere", noise_law="uniform")
GAMMA = jnp.array([[0.6, -0.2], [0.1, 0.3]])
ROUND_GAMMA = 0.5 * jnp.eye(3) + 0.1

SEVEN = jnp.float32(0.7)
LAW = Normal(jnp.float32(1.5), SEVEN)
SHARES = jnp.array([0.1, 0.2, 0.3, 0.4])
LINE = jnp.array([1.0, -2.0, 0.5])


def even(rows):
    return jnp.full(rows, 1 / rows)


# What is known of a law, as statistics of a row and their means.


def number_moments(mean, variance):
    return lambda rows: np.stack([rows, (rows - mean) ** 2], axis=1), [mean, variance]


def symbol_shares(shares):
    return lambda rows: np.asarray(rows)[:, None] == np.arange(len(shares)), np.asarray(shares)


def line_moments(w, noise):
    d = len(w)

    def seen(rows):
        xs, ys = np.asarray(rows.xs), np.asarray(rows.ys)
        errors = ys - xs @ w
        squares = np.einsum("na,nb->nab", xs, xs).reshape(-1, d * d)
        return np.column_stack([xs, squares, ys[:, None] * xs, errors**2, errors**4])

    return seen, np.concatenate([np.zeros(d), np.eye(d).ravel(), w, [noise**2, 3 * noise**4]])


def by_loops(gamma, xs, ys, j):
    """x_jᵀ Γ h with h = (1/j) Σ_{i<j} x_i y_i, one number at a time; labels count from 0."""
    d, total = len(gamma), 0.0
    for a in range(d):
        for b in range(d):
            h = sum(xs[i, b] * ys[i] for i in range(j)) / max(j, 1)
            total += xs[j, a] * gamma[a, b] * h
    return total


def label_errors(gamma, prompts, labels):
    xs, ys = (np.asarray(a, np.float64) for a in prompts)
    errors = []
    for j in labels:
        h = np.einsum("nkd,nk->nd", xs[:, :j], ys[:, :j]) / max(j, 1)
        errors.append(ys[:, j] - np.einsum("nd,de,ne->n", xs[:, j], np.asarray(gamma), h))
    return np.stack(errors, axis=1)


def query_moments(task, gamma, std):
    k = task.context - 1

    def seen(prompts):
        error = label_errors(gamma, prompts, [k])
        xs, ys = np.asarray(prompts.xs), np.asarray(prompts.ys)
        pair = ys[:, 0] * ys[:, 1] * np.einsum("nd,nd->n", xs[:, 0], xs[:, 1]) / task.dim
        return np.column_stack([error, error**2, error * xs[:, k], ys[:, :k] ** 2, pair])

    own = [0.0, std**2, *[0.0] * task.dim]
    return seen, [*own, *[task.label_variance] * k, task.prior_scale**2]


def all_moments(task, gamma, std):
    m = task.context

    def seen(prompts):
        errors = label_errors(gamma, prompts, range(m))
        return np.concatenate([errors, errors**2, errors[:, 1:] * errors[:, :-1]], axis=1)

    return seen, [*[0.0] * m, *[std**2] * m, *[0.0] * (m - 1)]


class Case:
    """A learner, parameters θ, what rows of D_θ are like, what many of them are fitted by."""

    def __init__(self, learner, params, moments, *, fitted=None, counts=False, other=None):
        self.learner, self.params, self.moments = learner, params, moments
        self.fit, self.relabel = jax.jit(learner.fit), jax.jit(learner.relabel)
        self.generate = jax.jit(learner.generate, static_argnums=2)
        self.fitted = params if fitted is None else fitted
        self.counts = counts
        self.other = jax.tree.map(lambda a: a + 1, params) if other is None else other

    def rows(self, count, key=0):
        return self.generate(jax.random.key(key), self.params, count)


attention = learners.linear_attention
real_prompts = jax.jit(sample_prompts, static_argnums=(0, 2))
CURVATURE = (3 + TASK.dim + 2 + TASK.noise**2) / 4  # s_h of TASK

CASES = {
    "bernoulli": Case(
        learners.bernoulli(), SEVEN, number_moments(0.7, 0.21), other=jnp.float32(0.2)
    ),
    "amplifier": Case(
        learners.bernoulli(1.5, 0.6, -0.05),
        SEVEN,
        number_moments(0.7, 0.21),
        fitted=jnp.float32(0.7),
        other=jnp.float32(0.5),
    ),
    "gaussian mean": Case(learners.gaussian_mean(0.3), SEVEN, number_moments(0.7, 0.09)),
    "gaussian": Case(learners.gaussian(), LAW, number_moments(1.5, 0.49)),
    "gaussian unbiased": Case(
        learners.gaussian(unbiased=True), LAW, number_moments(1.5, 0.49), counts=True
    ),
    "categorical": Case(learners.categorical(4), SHARES, symbol_shares(SHARES), other=SHARES[::-1]),
    "categorical smoothed": Case(
        learners.categorical(4, 2.0), SHARES, symbol_shares(SHARES), counts=True, other=SHARES[::-1]
    ),
    "ols": Case(learners.ols(0.5), LINE, line_moments(LINE, 0.5)),
    "ridge": Case(learners.ridge(0.5, 0.25), LINE, line_moments(LINE, 0.5), fitted=LINE / 1.25),
    "ridge total": Case(
        learners.ridge(0.5, 5.0, total=True), LINE, line_moments(LINE, 0.5), counts=True
    ),
    "attention": Case(
        attention(TASK, std=0.8, penalty=0.5),
        GAMMA,
        query_moments(TASK, GAMMA, 0.8),
        fitted=GAMMA * CURVATURE / (CURVATURE + 0.5),
    ),
    "attention total": Case(
        attention(ROUND, std=0.3, total=True),
        ROUND_GAMMA,
        query_moments(ROUND, ROUND_GAMMA, 0.3),
        counts=True,
    ),
    "attention autoregressive": Case(
        attention(ROUND, std=0.3, penalty=1e-6, generator="autoregressive"),
        ROUND_GAMMA,
        all_moments(ROUND, ROUND_GAMMA, 0.3),
    ),
}

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
KEY = jax.random.key(11)


def joined(*parts):
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def assert_all_close(assert_close, actual, expected):
    jax.tree.map(lambda a, b: assert_close(np.asarray(a, np.float32), b), actual, expected)


def apart(one, other):
    """The greatest difference between parameters."""
    gaps = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), one, other)
    return max(jax.tree.leaves(gaps))


# What every learner does.


@each_case
def test_rows_without_weight_are_ignored_wherever_they_are(case, assert_close):
    rows, strange = case.rows(40), case.generate(KEY, case.other, 7)
    fitted = case.fit(KEY, rows, even(40))
    weights = jnp.zeros(47).at[7:].set(1 / 40)
    assert_all_close(assert_close, case.fit(KEY, joined(strange, rows), weights), fitted)
    assert_all_close(assert_close, case.fit(KEY, joined(rows, strange), weights[::-1]), fitted)
    assert apart(case.fit(KEY, joined(rows, strange), even(47)), fitted) > 1e-3


@each_case
def test_a_row_of_twice_the_weight_is_two_rows(case, assert_close):
    rows = case.rows(12)
    weights = jnp.arange(1.0, 13.0) / 78
    fitted = case.fit(KEY, rows, weights)
    doubled = case.fit(KEY, joined(rows, rows), jnp.tile(weights / 2, 2))
    if case.counts:  # but where rows are counted
        assert apart(doubled, fitted) > 1e-3
    else:
        assert_all_close(assert_close, doubled, fitted)
    assert apart(case.fit(KEY, rows, weights[::-1]), fitted) > 1e-3


@each_case
def test_the_order_of_rows_is_nothing_to_a_fit(case, assert_close):
    rows = case.rows(12)
    weights = jnp.arange(1.0, 13.0) / 78
    turned = jax.tree.map(lambda a: a[::-1], rows)
    fitted = case.fit(KEY, rows, weights)
    assert_all_close(assert_close, case.fit(KEY, turned, weights[::-1]), fitted)


@each_case
def test_many_rows_recover_what_made_them(case):
    fitted = case.fit(KEY, case.rows(200_000), even(200_000))
    # Deviations of single parameters are below 3/√N here; five of them.
    assert apart(fitted, case.fitted) < 5 * 3 / 200_000**0.5


@each_case
def test_generated_rows_have_their_law(case, assert_mean):
    statistics, expected = case.moments
    assert_mean(statistics(case.rows(COUNT, key=5)), expected)
    with pytest.raises(AssertionError):
        assert_mean(statistics(case.generate(KEY, case.other, COUNT)), expected)


@each_case
def test_relabelled_rows_have_the_law_of_generated_ones(case, assert_mean):
    statistics, expected = case.moments
    given = case.generate(KEY, case.params, COUNT)
    relabelled = case.relabel(jax.random.key(6), case.params, given)
    assert_mean(statistics(relabelled), expected)
    assert jax.tree.structure(relabelled) == jax.tree.structure(given)
    labels, before = jax.tree.leaves(relabelled)[-1], jax.tree.leaves(given)[-1]
    assert labels.dtype == before.dtype
    assert np.mean(np.asarray(labels) != np.asarray(before)) > 0.1


@each_case
def test_relabelling_keeps_inputs_and_forgets_labels(case):
    given = case.rows(10)
    again = case.relabel(KEY, case.params, given)
    if isinstance(given, (Rows, Prompts)):
        np.testing.assert_array_equal(again.xs, given.xs)
        other = given._replace(ys=given.ys.at[..., -1].add(9))
    else:
        other = given + 1
    renewed = case.relabel(KEY, case.params, other)
    jax.tree.map(np.testing.assert_array_equal, renewed, again)


@each_case
def test_generating_is_a_function_of_its_key(case):
    one, again, other = (case.rows(6, key) for key in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, one, again)
    assert not all(
        np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True)
    )


@each_case
def test_loops_at_once_are_loops_one_by_one(case, assert_close):
    def generation(key, params):
        rows = case.generate(key, params, 12)
        rows = case.relabel(jax.random.fold_in(key, 1), params, rows)
        return rows, case.learner.fit(key, rows, even(12))

    keys = jax.random.split(KEY, 3)
    starts = jax.tree.map(lambda a, b: jnp.stack([a, b, a]), case.params, case.other)
    together = jax.jit(jax.vmap(generation))(keys, starts)
    one = jax.jit(generation)
    alone = [one(key, jax.tree.map(lambda a, r=r: a[r], starts)) for r, key in enumerate(keys)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone)
    assert_all_close(assert_close, together, stacked)


# What single precision loses.


@each_case
def test_rows_without_weight_may_hold_anything(case):
    rows = case.rows(40)
    floats = jax.tree.map(lambda a: a.dtype.kind == "f", rows)
    broken = jax.tree.map(lambda a, f: a.at[::2].set(jnp.inf if f else -9), rows, floats)
    zero = jax.tree.map(lambda a: a.at[::2].set(0), rows)
    weights = jnp.zeros(40).at[1::2].set(1 / 20)
    fitted = case.fit(KEY, broken, weights)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(fitted))
    jax.tree.map(np.testing.assert_array_equal, fitted, case.fit(KEY, zero, weights))


@pytest.mark.parametrize("exponent", [-100, 90])
def test_a_normal_law_of_any_size_is_fitted_to_the_bit(exponent):
    case = CASES["gaussian"]
    rows, unit = case.rows(50), 2.0**exponent
    mean, std = case.fit(KEY, rows * unit, even(50))
    assert (mean / unit, std / unit) == case.fit(KEY, rows, even(50))
    assert std > 0.1 * unit


@pytest.mark.parametrize(("condition", "off"), [(1e1, 1e-6), (1e2, 1e-4), (1e3, 1e-2), (1e4, 0.1)])
@pytest.mark.parametrize("rows", [40, 1000])
def test_nearly_dependent_inputs_are_fitted_as_in_double_precision(rows, condition, off):
    """Both for one input nearly dependent on the others and for a geometric spectrum."""
    rng, d = np.random.default_rng(0), 6
    fit = jax.jit(learners.ols().fit)
    for spectrum in (np.r_[np.ones(d - 1), 1 / condition], np.geomspace(1, 1 / condition, d)):
        left, right = (np.linalg.qr(rng.normal(size=(k, d)))[0] for k in (rows, d))
        xs = np.float32(rows**0.5 * (left * spectrum) @ right.T)
        ys = np.float32(xs @ rng.normal(size=d) + 0.1 * rng.normal(size=rows))
        known = np.linalg.lstsq(xs.astype(float), ys.astype(float), rcond=None)[0]
        found = fit(KEY, Rows(xs, ys), even(rows))
        assert np.max(np.abs(found - known)) < off * np.max(np.abs(known))


def test_a_small_penalty_decides_where_inputs_depend_on_each_other():
    """x and 2 x: ridge with ρ -> 0 gives (1, 2)/5 of the slope on x."""
    x = np.random.default_rng(0).normal(size=200)
    rows = Rows(jnp.float32(np.column_stack([x, 2 * x])), jnp.float32(3 * x))
    found = learners.ridge(penalty=1e-6).fit(KEY, rows, even(200))
    np.testing.assert_allclose(found, [0.6, 1.2], rtol=1e-3)


@pytest.mark.parametrize("rows", [3, 8, 2000])
def test_inputs_that_depend_on_each_other_have_the_shortest_least_squares(rows):
    """As in double precision: columns that depend on each other, of any scale, too few rows, rows
    without weight, a column of zeros; also in a batch in which other fits need nothing of it.
    """
    rng, places = np.random.default_rng(1), rows + 5
    drawn = rng.normal(size=(4, places, 4))
    drawn[0] *= [1, 1e-2, 1e2, 1]
    drawn[0, :, 3] = 2 * drawn[0, :, 0]
    drawn[1, :, 2] = 0
    drawn[2, :, :2] = drawn[2, :, 2:]
    xs, ys = np.float32(drawn), np.float32(rng.normal(size=(4, places)))
    xs[0, :, 3] = 2 * xs[0, :, 0]
    weights = jnp.concatenate([even(rows), jnp.zeros(5)])
    for copies in (1, 500):  # a large batch is compiled otherwise
        fit = jax.jit(jax.vmap(learners.ols().fit, (None, 0, None)))
        tiled = Rows(np.tile(xs, (copies, 1, 1)), np.tile(ys, (copies, 1)))
        found = fit(KEY, tiled, weights)[-4:]
        for x, y, own in zip(xs.astype(float), ys.astype(float), found, strict=True):
            known = np.linalg.lstsq(x[:rows], y[:rows], rcond=1e-9)[0]
            np.testing.assert_allclose(own, known, atol=2e-4 * np.abs(known).max())


def test_too_few_rows_have_the_shortest_least_squares():
    found = learners.ols().fit(KEY, Rows(jnp.array([[3.0, 4.0, 0.0]]), jnp.ones(1)), even(1))
    np.testing.assert_allclose(found, [0.12, 0.16, 0], atol=1e-6)
    zeros = learners.ols().fit(KEY, Rows(jnp.zeros((2, 3)), jnp.ones(2)), even(2))
    np.testing.assert_array_equal(zeros, 0)
    unknown = learners.ols().fit(KEY, Rows(jnp.full((2, 3), 1e-20), jnp.ones(2)), even(2))
    assert np.isnan(unknown).all()


def test_linear_attention_with_fewer_prompts_than_weights_is_fitted_with_the_least_penalty():
    task = LinearRegression(dim=4, context=9, noise=0.5)
    prompts = sample_prompts(task, KEY, 8)
    found = learners.linear_attention(task, std=1.0, penalty=1e-9).fit(KEY, prompts, even(8))
    known = np.linalg.lstsq(np.float64(features(prompts)), np.float64(prompts.ys[:, -1]))[0]
    np.testing.assert_allclose(found.ravel(), known, atol=1e-3 * np.abs(known).max())


def test_an_extinct_symbol_has_no_chance_at_all():
    for seed in range(20):
        shares = jax.random.uniform(jax.random.key(seed), (200,))
        shares = jnp.where(jnp.arange(200) % 3 == seed % 3, shares, 0.0)
        steps = np.diff(learners.laws.cumulated_shares(shares / shares.sum()), prepend=0)
        assert ((steps > 0) == np.asarray(shares > 0)).all()


# Laws of single numbers.


@pytest.fixture
def weighted_numbers():
    rng = np.random.default_rng(0)
    weights = rng.uniform(0, 1, 50)
    return rng.normal(1.0, 2.0, 50), weights / weights.sum()


@pytest.mark.usefixtures("x64")
def test_gaussian_fits_are_weighted_moments(weighted_numbers, assert_close):
    rows, weights = map(jnp.asarray, weighted_numbers)
    mean = np.average(rows, weights=weights)
    assert_close(learners.gaussian_mean().fit(KEY, rows, weights), mean)
    law = learners.gaussian().fit(KEY, rows, weights)
    assert_close(law.mean, mean)
    assert_close(law.std, np.average((rows - mean) ** 2, weights=weights) ** 0.5)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("unbiased", "ddof"), [(False, 0), (True, 1)])
def test_the_variance_of_equal_rows_may_be_unbiased(weighted_numbers, unbiased, ddof, assert_close):
    rows = jnp.asarray(weighted_numbers[0])
    padded = jnp.concatenate([rows, jnp.zeros(9)])
    weights = jnp.concatenate([even(50), jnp.zeros(9)])
    law = learners.gaussian(unbiased=unbiased).fit(KEY, padded, weights)
    assert_close(law.std, np.std(rows, ddof=ddof))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("pseudo_count", [0.0, 1.0, 0.5])
def test_categorical_fits_are_shares_of_counts(pseudo_count, assert_close):
    rows = jnp.array([0, 2, 2, 1, 2, 0, 9, 9])
    weights = jnp.array([1 / 6] * 6 + [0.0] * 2)
    law = learners.categorical(4, pseudo_count).fit(KEY, rows, weights)
    counts = np.array([2, 1, 3, 0]) + pseudo_count
    assert_close(law, counts / counts.sum())


@pytest.mark.parametrize("law", [[0.0, 0.5, 0.0, 0.5], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
def test_a_symbol_without_probability_is_never_drawn(law):
    rows = learners.categorical(4).generate(KEY, jnp.array(law), COUNT)
    assert set(np.unique(rows)) == set(np.flatnonzero(law))


def test_a_symbol_that_died_out_stays_dead_however_its_law_rounds(monkeypatch):
    rng = np.random.default_rng(0)
    learner = learners.categorical(20)
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape: jnp.full(shape, 1 - 2**-23))
    for counts in rng.multinomial(100, np.full(19, 1 / 19), size=20):
        law = learner.fit(KEY, jnp.asarray(np.repeat(np.arange(19), counts)), even(100))
        assert law[19] == 0
        assert learner.generate(KEY, law, 1)[0] < 19


@pytest.mark.parametrize(
    ("share", "kappa", "centre", "injected", "theta"),
    [
        (0.75, 1.0, 0.5, 0.0, 0.75),
        (0.75, 2.0, 0.5, 0.0, 1.0),
        (0.75, 1.5, 0.5, 0.0, 0.875),
        (0.75, 0.5, 0.25, 0.0, 0.5),
        (0.75, 0.0, 0.3, 0.1, 0.4),
        (0.25, 1.0, 0.5, -0.5, 0.0),
        (0.25, 1.0, 0.5, 0.5, 0.75),
        (1.0, 1.0, 0.5, 0.01, 1.0),
        (0.0, 3.0, 0.1, 0.0, 0.0),
    ],
)
def test_the_amplifier_is_linear_and_clips(share, kappa, centre, injected, theta, assert_close):
    rows = jnp.arange(8) < 8 * share
    fit = learners.bernoulli(kappa, centre, injected).fit
    assert_close(fit(KEY, rows.astype(jnp.float32), even(8)), np.float32(theta))


@pytest.mark.parametrize("theta", [0.0, 1.0])
def test_a_certain_bernoulli_law_never_errs(theta):
    rows = learners.bernoulli().generate(KEY, jnp.float32(theta), COUNT)
    assert set(np.unique(rows)) == {theta}


def test_bernoulli_laws_of_one_key_are_coupled_maximally(assert_mean):
    learner = learners.bernoulli()
    one, other = (np.asarray(learner.generate(KEY, jnp.float32(p), COUNT)) for p in (0.3, 0.45))
    assert np.all(one <= other)
    assert_mean(one != other, 0.15)


# Regression.


@pytest.fixture
def weighted_rows():
    rng = np.random.default_rng(1)
    weights = np.where(np.arange(30) < 25, rng.uniform(0, 1, 30), 0.0)
    xs = rng.normal(size=(30, 4))
    return xs, xs @ [1.0, 2.0, -1.0, 0.0] + rng.normal(size=30), weights / weights.sum()


def ridge_by_lstsq(xs, ys, weights, rho):
    """Least squares of rows scaled by the roots of their weights, with √ρ I below."""
    roots = np.sqrt(weights)
    rows = np.concatenate([xs * roots[:, None], np.sqrt(rho) * np.eye(xs.shape[1])])
    return np.linalg.lstsq(rows, np.concatenate([ys * roots, np.zeros(xs.shape[1])]))[0]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("learner", "rho"),
    [
        (learners.ols(), 0.0),
        (learners.ridge(1.0, 0.3), 0.3),
        (learners.ridge(1.0, 5.0, total=True), 5.0 / 25),  # 25 rows have a weight
    ],
    ids=["ols", "ridge", "ridge total"],
)
def test_regression_is_least_squares(learner, rho, weighted_rows, assert_close):
    xs, ys, weights = weighted_rows
    fitted = jax.jit(learner.fit)(KEY, Rows(jnp.asarray(xs), jnp.asarray(ys)), jnp.asarray(weights))
    assert_close(fitted, ridge_by_lstsq(xs, ys, weights, rho))


@pytest.mark.usefixtures("x64")
def test_a_total_penalty_shrinks_the_less_the_more_rows(weighted_rows, assert_close):
    xs, ys, _ = weighted_rows
    for count in (10, 20, 30):
        rows = Rows(jnp.asarray(xs[:count]), jnp.asarray(ys[:count]))
        fitted = jax.jit(learners.ridge(1.0, 3.0, total=True).fit)(KEY, rows, even(count))
        sums = xs[:count].T @ xs[:count] + 3.0 * np.eye(4)
        assert_close(fitted, np.linalg.solve(sums, xs[:count].T @ ys[:count]))


# Linear self-attention.


def test_features_are_products_of_the_query_and_the_summary(assert_close):
    prompts = real_prompts(TASK, KEY, 3)
    xs, ys = (np.asarray(a, np.float64) for a in prompts)
    k, d = TASK.context - 1, TASK.dim
    for n in range(3):
        expected = [
            xs[n, k, a] * sum(xs[n, i, b] * ys[n, i] for i in range(k)) / k
            for a in range(d)
            for b in range(d)
        ]
        assert_close(features(prompts)[n], expected)
        predicted = features(prompts)[n] @ GAMMA.ravel()
        assert_close(predicted, by_loops(np.asarray(GAMMA), xs[n], ys[n], k))


def test_the_query_has_no_say_in_its_features():
    prompts = real_prompts(TASK, KEY, 3)
    other = prompts._replace(ys=prompts.ys.at[:, -1].set(99.0))
    np.testing.assert_array_equal(features(other), features(prompts))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("generator", ["query", "autoregressive"])
@pytest.mark.parametrize(("total", "rho"), [(False, 0.2), (True, 0.2 / 15)])
def test_attention_is_ridge_on_its_features(generator, total, rho, assert_close):
    prompts = real_prompts(TASK, KEY, 20)
    weights = np.where(np.arange(20) < 15, np.arange(20.0) + 1, 0)
    weights /= weights.sum()
    learner = attention(TASK, std=1.0, penalty=0.2, total=total, generator=generator)
    expected = ridge_by_lstsq(
        np.asarray(features(prompts)), np.asarray(prompts.ys[:, -1]), weights, rho
    )
    gamma = jax.jit(learner.fit)(KEY, prompts, jnp.asarray(weights))
    assert_close(gamma, expected.reshape(2, 2))


def noise_of(learner, prompts):
    """The noise that the learner adds to labels: what it writes when it predicts nothing."""
    dim = prompts.xs.shape[-1]
    return np.asarray(jax.jit(learner.relabel)(KEY, jnp.zeros((dim, dim)), prompts).ys, np.float64)


@pytest.mark.parametrize(("task", "gamma"), [(TASK, GAMMA), (ROUND, ROUND_GAMMA)])
def test_the_query_alone_is_relabelled(task, gamma, assert_close):
    learner, prompts = attention(task, std=0.8), real_prompts(task, KEY, 4)
    relabelled = jax.jit(learner.relabel)(KEY, gamma, prompts)
    np.testing.assert_array_equal(relabelled.xs, prompts.xs)
    np.testing.assert_array_equal(relabelled.ys[:, :-1], prompts.ys[:, :-1])
    xs, ys = (np.asarray(a, np.float64) for a in prompts)
    eta = noise_of(learner, prompts)[:, -1]
    k = task.context - 1
    expected = [by_loops(np.asarray(gamma), xs[n], ys[n], k) + eta[n] for n in range(4)]
    assert_close(relabelled.ys[:, -1], expected)


@pytest.mark.parametrize(("task", "gamma"), [(TASK, GAMMA), (ROUND, ROUND_GAMMA)])
def test_labels_are_written_one_after_the_other(task, gamma, assert_close):
    learner = attention(task, std=0.8, generator="autoregressive")
    prompts = real_prompts(task, KEY, 4)
    relabelled = jax.jit(learner.relabel)(KEY, gamma, prompts)
    np.testing.assert_array_equal(relabelled.xs, prompts.xs)
    xs, eta = np.asarray(prompts.xs, np.float64), noise_of(learner, prompts)
    for n in range(4):
        ys = np.zeros(task.context)
        for j in range(task.context):
            ys[j] = by_loops(np.asarray(gamma), xs[n], ys, j) + eta[n, j]
        assert_close(relabelled.ys[n], ys)
    assert_close(relabelled.ys[:, 0], eta[:, 0])


@pytest.mark.parametrize("generator", ["query", "autoregressive"])
@pytest.mark.parametrize("task", [TASK, ROUND], ids=["normal", "uniform"])
def test_label_noise_has_its_deviation_and_the_law_of_the_task(generator, task, assert_mean):
    learner = attention(task, std=0.8, generator=generator)
    noise = noise_of(learner, real_prompts(task, KEY, COUNT))
    noise = noise[:, -1:] if generator == "query" else noise
    assert_mean(noise, 0.0)
    assert_mean(noise**2, 0.8**2)
    assert_mean(noise**4, 0.8**4 * (3 if task.noise_law == "gaussian" else 9 / 5))


def test_learners_of_labels_have_nothing_to_predict_with():
    assert all(isinstance(case.learner, Learner) for case in CASES.values())
    assert all(case.learner.predict is None for case in CASES.values())

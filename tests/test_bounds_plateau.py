import math

import mpmath
import numpy as np
import pytest
from bounds_exact import INF, geometric, mp, relative_error

from icl_stl import bounds

ALPHAS = [0.0, 1e-15, 1e-9, 0.1, 0.24, 0.26, 0.5, 0.9, 1.0]
GENERATIONS = [0, 1, 2, 10, 200, 10**5, INF]
BIASES = np.array([0.3, 0.0, 0.25, 0.05, 0.2, 0.4])
NOISES = np.array([0.1, 0.7, 0.0, 0.3, 0.2, 0.5])


@pytest.mark.parametrize(("alpha", "kappa_c"), [(0.0, 1.0), (0.3, 1.0), (0.5, 2.5), (1.0, 0.7)])
def test_the_recursion_of_bias_and_noise_equals_literal_iteration(alpha, kappa_c) -> None:
    r = (1 - alpha) * kappa_c
    total, start, bias, squares = [0.6], [0.6], [0.0], [0.0]
    for c, s in zip(BIASES, NOISES, strict=True):
        total.append(math.sqrt((r * total[-1] + c) ** 2 + s**2))
        start.append(r * start[-1])
        bias.append(r * bias[-1] + c)
        squares.append(r**2 * squares[-1] + s**2)
    found = bounds.bias_noise_drift(0.6, BIASES, NOISES, alpha, kappa_c=kappa_c)
    parts = zip(found[:5], (total, found.upper, start, bias, np.sqrt(squares)), strict=True)
    for part, exact in [*parts, (found.upper, found.start + found.bias + found.noise)]:
        np.testing.assert_allclose(part, exact, rtol=1e-13)
    assert (found.upper >= found.total * (1 - 1e-13)).all()
    quiet = bounds.bias_noise_drift(0.6, BIASES, 0.0, alpha, kappa_c=kappa_c)
    np.testing.assert_allclose(quiet.total, quiet.upper, rtol=1e-13)


def test_bias_and_noise_broadcast() -> None:
    grid = bounds.bias_noise_drift([0.1, 0.2], BIASES, 0.5, [[0.5], [0.2], [0.0]])
    assert {part.shape for part in grid[:5]} == {(3, 2, 7)}
    alone = bounds.bias_noise_drift(0.2, BIASES, np.full(6, 0.5), 0.2)
    np.testing.assert_allclose(grid.total[1, 1], alone.total, rtol=1e-15)
    assert bounds.bias_noise_drift(0.2, np.ones((4, 6)), NOISES, 0.2).total.shape == (4, 7)


@pytest.mark.parametrize("kappa_c", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("alpha", [1e-9, 0.1, 0.4, 0.9, 1.0])
def test_the_limit_is_where_the_recursion_stays(alpha, kappa_c) -> None:
    limit = bounds.bias_noise_limit(0.02, 0.3, alpha, kappa_c=kappa_c)
    r = (1 - mp(alpha)) * mp(kappa_c)
    if r >= 1:
        assert limit == INF
        return
    # The larger root of (1 - r^2) D^2 - 2 r c D - c^2 - s^2.
    square, linear, rest = 1 - r**2, r * mp(0.02), mp(0.02) ** 2 + mp(0.3) ** 2
    assert relative_error(limit, (linear + mpmath.sqrt(linear**2 + square * rest)) / square) < 1e-13
    if alpha > 0.3:
        path = bounds.bias_noise_drift(5.0, np.full(300, 0.02), 0.3, alpha, kappa_c=kappa_c)
        assert path.total[-1] == pytest.approx(limit, rel=1e-12)


def test_no_limit_without_a_real_share() -> None:
    assert bounds.bias_noise_limit(0.1, 0.1, 0.0) == INF
    assert bounds.bias_noise_limit(0.0, 0.0, 0.5) == 0
    np.testing.assert_allclose(
        bounds.bias_noise_limit(0.1, 0.0, [0.5, 0.2]), [0.2, 0.5], rtol=1e-14
    )


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("i", GENERATIONS)
def test_the_plateau_to_fifty_digits(alpha: float, i: float) -> None:
    given = {"a": 0.3, "o": 0.04, "q": 0.01, "s": 0.2, "start": 0.5}
    found = bounds.plateau(alpha, i, **given)
    power, total = geometric(1 - mp(alpha), i)
    _, squares = geometric((1 - mp(alpha)) ** 2, i)
    lost = (1 - mp(alpha)) * total if alpha < 1 else mp(0)
    parts = (mp(0.3), mp(0.04) * lost, mp(0.01) * total)
    parts += (mp(0.2) * mpmath.sqrt(squares), mp(0.5) * power)
    for part, exact in zip(found, (*parts, mpmath.fsum(parts)), strict=False):
        assert relative_error(part, exact if exact > 1e-300 else 0) < 1e-10
    assert [entry.name for entry in found.constants] == [*given]
    predicted = bounds.plateau_prediction(alpha, i, a=0.3, o=0.04)
    assert relative_error(predicted, parts[0] + parts[1]) < 1e-10
    follow = 0.9
    again, spread = geometric((1 - mp(alpha)) * mp(follow), i)[0], mp(0.6)
    _, squares = geometric(((1 - mp(alpha)) * mp(follow)) ** 2, i)
    affine = bounds.plateau_affine(
        alpha, i, a=0.3, o=0.04, s=0.2, start=0.5, spread=0.6, kappa_c=follow
    )
    noise = mpmath.sqrt(mp(0.2) ** 2 * squares + (again * spread) ** 2)
    bias = parts[0] + parts[1] + parts[4]
    for part, exact in zip(affine, (bias, noise, mpmath.hypot(bias, noise)), strict=False):
        assert relative_error(part, exact) < 1e-10


def test_the_plateau_by_hand() -> None:
    """Replace adds up; a share amplifies refit errors by lam, mixing by 1/alpha, noise by less."""
    found = bounds.plateau(0.0, [0, 4, INF], a=0.3, o=0.1, q=0.01, s=0.2, start=0.5)
    np.testing.assert_allclose(found.total, [0.8, 0.3 + 0.4 + 0.04 + 0.4 + 0.5, INF], rtol=1e-14)
    limit = bounds.plateau(0.2, INF, a=0.3, o=0.1, q=0.01, s=0.2, start=0.5)
    np.testing.assert_allclose(limit[:5], [0.3, 0.4, 0.05, 0.2 / 0.6, 0], rtol=1e-14)
    assert bounds.plateau_prediction(0.0, 4, a=0.3, o=0.1) == pytest.approx(0.7, rel=1e-14)
    assert bounds.plateau(0.0, INF, a=0.3, o=0.0).total == 0.3
    grid = bounds.plateau([[0.5], [0.2]], [0, 1, 2], a=0.1, o=[[[0.1]], [[0.2]]])
    assert {part.shape for part in grid[:6]} == {(2, 2, 3)}


class Shrunken:
    """A learner of one number mu, the mean label times h_N = N/(N + penalty), exactly.

    Real and synthetic labels have the deviation sigma; every moment below is a sum by hand.
    """

    def __init__(self, n: int, lam: int, penalty: float, mu: float, sigma: float) -> None:
        self.n, self.m, self.mu, self.sigma = n, lam * n, mu, sigma
        self.alpha = 1 / (1 + lam)
        self.rho = 1 - self.alpha
        self.first, self.h = (N / (N + penalty) for N in (n, (1 + lam) * n))

    def fixed(self, generations: int) -> tuple[list[float], list[float]]:
        """Mean square errors, and mean squares of f_i, with one real set for all generations."""
        of_mean, noise, errors, squares = self.first, 0.0, [], []
        for _ in range(generations + 1):
            real = of_mean**2 * self.sigma**2 / self.n
            errors.append((of_mean - 1) ** 2 * self.mu**2 + real + noise)
            squares.append(of_mean**2 * self.mu**2 + real + noise)
            noise = (self.h * self.rho) ** 2 * (noise + self.sigma**2 / self.m)
            of_mean = self.h * (self.alpha + self.rho * of_mean)
        return errors, squares

    def fresh(self, generations: int) -> tuple[list[float], list[float], list[float]]:
        """Mean square errors, means and variances of f_i, with new real rows."""
        mean, variance = self.first * self.mu, self.first**2 * self.sigma**2 / self.n
        errors, means, variances = [], [], []
        for _ in range(generations + 1):
            errors.append((mean - self.mu) ** 2 + variance)
            means.append(mean)
            variances.append(variance)
            mean = self.h * (self.alpha * self.mu + self.rho * mean)
            variance = (self.h * self.rho) ** 2 * variance + self.noise**2
        return errors, means, variances

    @property
    def noise(self) -> float:
        """s with new real rows: of the mean of N labels."""
        return self.h * self.sigma / math.sqrt(self.n + self.m)


@pytest.mark.parametrize("lam", [1, 3])
def test_beside_a_fixed_real_set_mixing_must_be_measured(lam: int) -> None:
    """With g = A(f*) and q dropped the formula is below the exact error; with q it is a bound."""
    loop, last = Shrunken(4, lam, 0.5, 0.2, 1.0), 40
    errors, squares = loop.fixed(last)
    error, i = np.sqrt(errors), np.arange(last + 1)
    refits = (1 - loop.h) * np.sqrt(squares)
    own = loop.rho * loop.h * loop.sigma / math.sqrt(loop.m)
    scatter = loop.sigma / math.sqrt(loop.n)
    common = {"o": refits.max(), "s": own}
    first = loop.alpha * (loop.h - loop.first) * math.hypot(loop.mu, scatter)
    by_first = bounds.plateau(loop.alpha, i, a=error[0], q=first, **common)
    assert (error <= by_first.total * (1 + 1e-12)).all()
    away = math.hypot((loop.h - loop.first) * loop.mu, loop.first * scatter)
    bias = {"a": (1 - loop.h) * loop.mu, "start": away}
    measured = bounds.plateau(loop.alpha, i, q=loop.alpha * loop.h * scatter, **bias, **common)
    assert (error <= measured.total * (1 + 1e-12)).all()
    dropped = bounds.plateau(loop.alpha, i, q=0.0, **bias, **common)
    assert error[-1] > 1.4 * dropped.total[-1]


@pytest.mark.parametrize("lam", [1, 4])
def test_a_shrinking_learner_with_new_real_rows_attains_the_affine_form(lam: int) -> None:
    loop, last = Shrunken(50, lam, 5.0, 0.5, 1.0), 60
    errors, means, variances = loop.fresh(last)
    error = np.sqrt(errors)
    of_fit = {"a": (1 - loop.h) * loop.mu, "start": (loop.h - loop.first) * loop.mu}
    noise = {"s": loop.noise, "spread": math.sqrt(variances[0])}
    refits = (1 - loop.h) * np.array(means)
    for i in (1, 2, 5, last):
        found = bounds.plateau_affine(loop.alpha, i, o=refits[:i].max(), **of_fit, **noise)
        assert error[i] <= found.total * (1 + 1e-12)
        assert error[i] > 0.93 * found.total
    sharp = bounds.plateau_affine(loop.alpha, last, o=refits[-1], **of_fit, **noise, kappa_c=loop.h)
    assert sharp.total == pytest.approx(error[-1], rel=1e-4)
    path = bounds.bias_noise_drift(of_fit["start"], loop.rho * refits[:-1], 0.0, loop.alpha)
    np.testing.assert_allclose(of_fit["a"] + path.total, loop.mu - np.array(means), rtol=1e-12)
    predicted = bounds.plateau_prediction(loop.alpha, INF, a=of_fit["a"], o=refits[-1])
    assert predicted == pytest.approx(loop.mu - means[-1], rel=1e-4)


def test_a_learner_that_stretches_breaks_the_affine_form_unless_told() -> None:
    """Twice the mean label of a task 0: unbiased, but its noise doubles in every fit."""
    loop = Shrunken(50, 3, 0.0, 0.0, 1.0)
    loop.h = loop.first = 2.0
    errors, _, variances = loop.fresh(20)
    given = {"a": 0.0, "o": 0.0, "start": 0.0, "s": loop.noise, "spread": math.sqrt(variances[0])}
    assert math.sqrt(errors[-1]) > 10 * bounds.plateau_affine(loop.alpha, 20, **given).total
    told = bounds.plateau_affine(loop.alpha, 20, **given, kappa_c=2.0)
    assert told.total == pytest.approx(math.sqrt(errors[-1]), rel=1e-12)


def test_the_cap_of_a_mixture_to_fifty_digits() -> None:
    for alpha in (0.0, 1e-300, 1e-9, 0.3, 0.5, 1 - 1e-12, 1.0):
        for kl in (0.0, 1e-12, 1e-3, 0.7, 5.0, 800.0, INF):
            left = mpmath.exp(-mp(kl)) if kl < INF else mp(0)
            inside = mp(alpha) + (1 - mp(alpha)) * left
            exact = -mpmath.log(inside) if inside else mpmath.inf
            assert relative_error(bounds.mixture_kl_cap(alpha, kl), exact) < 1e-14
    np.testing.assert_allclose(bounds.mixture_kl_cap([0.5, 0.2]), np.log([2, 5]), rtol=1e-15)


def test_the_cap_is_attained_and_never_exceeded() -> None:
    rng = np.random.default_rng(4)
    for alpha in (0.05, 0.4):
        real, other = rng.dirichlet(np.ones(5), size=2)
        k = float(real @ np.log(real / other))
        mixed = float(real @ np.log(real / (alpha * real + (1 - alpha) * other)))
        assert mixed < bounds.mixture_kl_cap(alpha, k) < min((1 - alpha) * k, -math.log(alpha))
        thin = 0.3  # the other law puts 0.3 of the real one where that lives
        exact = -math.log(alpha + (1 - alpha) * thin)
        assert bounds.mixture_kl_cap(alpha, -math.log(thin)) == pytest.approx(exact, rel=1e-14)


def test_equal_kl_errors_end_where_the_docstring_says() -> None:
    alpha, eta, k = 0.2, 0.05, 3.0
    for _ in range(400):
        k = float(bounds.mixture_kl_cap(alpha, k)) + eta
    assert k == pytest.approx(math.log(1 + math.expm1(eta) / alpha), rel=1e-12)


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0, 6.0, 20.0, 60.0])
@pytest.mark.parametrize("g", [0, 1, 12, 10**6, INF])
def test_the_limit_of_kept_inputs_to_fifty_digits(ratio: float, g: float) -> None:
    found = bounds.kept_inputs_limit(3.0, 0.5 * ratio, 0.5, g)
    gap = mpmath.erfc(mp(ratio) / mpmath.sqrt(2))
    lost = -mpmath.expm1(g * mpmath.log1p(-gap)) if 0 < g < INF and gap < 1 else mpmath.mpf(bool(g))
    exact = mpmath.mpf(9) / 4 * lost
    assert relative_error(found.total, exact if exact > 1e-300 else 0) < 1e-12
    assert relative_error(found.contraction, 1 - gap) < 1e-15
    assert found.limit == 2.25


def test_half_of_the_limit_at_six_deviations_takes_hundreds_of_millions_of_rounds() -> None:
    found = bounds.kept_inputs_limit(1.0, 6.0, 1.0, [3.4e8, 3.6e8])
    assert found.total[0] < 0.125 < found.total[1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bounds.plateau(1.5, 3, a=0.1, o=0.1), r"alpha = 1.5 .* \[0, 1\]"),
        (lambda: bounds.plateau(0.5, 2.5, a=0.1, o=0.1), "generation = 2.5 .* whole numbers"),
        (lambda: bounds.plateau(0.5, 3, a=0.1, o=-0.1), r"o = -0.1 .* \[0, inf\)"),
        (lambda: bounds.kept_inputs_limit(1, 1, 0, 3), r"noise = 0.0 .* \(0, inf\)"),
        (lambda: bounds.mixture_kl_cap(0.5, -1), r"kl = -1.0 .* \[0, inf\]"),
        (lambda: bounds.bias_noise_drift(0.1, [0.1] * 3, [0.1] * 2, 0.5), "bias .* noise"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("alpha", [0.0, 1e-9, 0.2, 0.5, 1.0])
def test_errors_that_point_anywhere_add_in_squares(alpha) -> None:
    """Every refit error and every noise has a direction of its own: lengths, term by term."""
    a, o, s, first = 0.4, 0.3, 0.2, 0.25
    rho, added, kept = 1 - alpha, 0.0, first**2
    for i in range(41):
        found = bounds.plateau_in_squares(alpha, i, a=a, o=o, s=s, first_noise=first)
        assert found == pytest.approx(math.sqrt(a**2 - first**2 + kept + added), rel=1e-12)
        added = rho**2 * added + (rho * o) ** 2 + s**2
        kept *= rho**2
    limit = bounds.plateau_in_squares(alpha, INF, a=a, o=o, s=s, first_noise=first)
    if alpha == 0:
        assert limit == INF
    elif alpha > 0.1:
        assert limit == pytest.approx(math.sqrt(a**2 - first**2 + kept + added), rel=1e-3)
    alike = bounds.plateau_in_squares(alpha, 5, a=a, o=o, s=s, first_noise=s)
    share = rho**2 * sum(rho ** (2 * k) for k in range(5))
    assert alike == pytest.approx(math.sqrt(a**2 + share * (o**2 + s**2)), rel=1e-8)
    grid = bounds.plateau_in_squares([0.2, 0.5], [[1], [2], [3]], a=a, o=o, s=[[[s]], [[o]]])
    assert grid.shape == (2, 3, 2)

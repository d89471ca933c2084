import itertools

import numpy as np
import pytest

from icl_stl.references import attention

CLOSE = {"rel": 1e-10, "abs": 1e-12}  # sums of up to 10^6 products of float64 numbers


def noise_rule():
    """Three points with the moments of the uniform law on [-sqrt 3, sqrt 3] up to order 5."""
    node = np.sqrt(3) * np.sqrt(0.6)
    return np.array([-node, 0.0, node]), np.array([5, 8, 5]) / 18


def sphere_rule(d):
    """Points of radius sqrt(d) that integrate polynomials of degree 8 exactly."""
    if d == 1:
        return np.array([[-1.0], [1.0]]), np.full(2, 0.5)
    angle = 2 * np.pi * np.arange(9) / 9 + 0.1
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    if d == 2:
        return np.sqrt(2) * circle, np.full(9, 1 / 9)
    height, weight = np.polynomial.legendre.leggauss(5)
    points = [[*(np.sqrt(1 - z**2) * c), z] for z in height for c in circle]
    return np.sqrt(3) * np.array(points), np.repeat(weight / 18, 9)


def gauss_rule(d):
    """Points that integrate polynomials of degree 9 in every coordinate exactly."""
    node, weight = np.polynomial.hermite_e.hermegauss(5)
    grid = itertools.product(range(5), repeat=d)
    index = np.array(list(grid))
    return node[index], (weight / weight.sum())[index].prod(axis=1)


def prompts(inputs, noise, task, k):
    """h and its probability for every prompt of k examples with this task."""
    (x, at), (e, pe) = inputs, noise
    labels = (x @ task)[:, None] + e
    step = (labels[:, :, None] * x[:, None, :]).reshape(-1, x.shape[1])
    chance = np.outer(at, pe).ravel()
    h, mass = np.zeros((1, x.shape[1])), np.ones(1)
    for _ in range(k):
        h = (h[:, None] + step / k).reshape(-1, x.shape[1])
        mass = np.outer(mass, chance).ravel()
    return h, mass


@pytest.mark.parametrize(
    ("d", "k", "sigma"), [(1, 1, 0.4), (1, 5, 0.8), (2, 1, 0.5), (2, 3, 0.7), (3, 2, 0.3)]
)
def test_sphere_moments_equal_quadrature(d, k, sigma) -> None:
    """All are polynomials that the rules integrate without error; w is fixed, by invariance."""
    moments = attention.sphere_moments(d, k, sigma)
    e, pe = noise_rule()
    task = np.array([0.6, 0.8, 0.0][:d]) if d > 1 else np.ones(1)
    h, mass = prompts(sphere_rule(d), (sigma * e, pe), task, k)
    energy = (h**2).sum(axis=1)
    assert moments.square == pytest.approx(mass @ energy, **CLOSE)
    assert moments.fourth == pytest.approx(mass @ energy**2, **CLOSE)
    assert moments.scale == pytest.approx(mass @ energy / d, **CLOSE)
    assert moments.optimum == pytest.approx(mass @ (h @ task) / (mass @ energy), **CLOSE)
    second = fourth = leverage = 0.0
    for (q, at), (noise, pn) in itertools.product(
        zip(*sphere_rule(d), strict=True), zip(sigma * e, pe, strict=True)
    ):
        r = q @ task + noise - moments.optimum * (h @ q)
        second += at * pn * (mass @ r**2)
        fourth += at * pn * (mass @ r**4)
        leverage += at * pn * (mass @ (r**2 * energy)) * (q @ q)
    assert moments.risk == pytest.approx(second, **CLOSE)
    assert moments.residual_fourth == pytest.approx(fourth, **CLOSE)
    assert moments.leverage == pytest.approx(leverage, **CLOSE)


def quadratures(law, d, k, tau, sigma):
    """h, task and probability over prompts and tasks."""
    node, weight = np.polynomial.hermite_e.hermegauss(3)
    noise = (sigma * node, weight / weight.sum())
    if law == "gaussian":
        inputs, (tasks, chances) = gauss_rule(d), gauss_rule(d)
        tasks = tau * tasks
    else:
        inputs, (tasks, chances) = sphere_rule(d), sphere_rule(d)
        tasks = tasks / np.sqrt(d)
    for task, chance in zip(tasks, chances, strict=True):
        yield task, chance, *prompts(inputs, noise, task, k)


@pytest.mark.parametrize("law", ["gaussian", "sphere"])
def test_risk_equals_quadrature(law) -> None:
    """E x x^T = I, so the risk is sigma^2 + E |w - Gamma h|^2."""
    d, k, sigma = 2, 2, 0.6
    tau = 0.8 if law == "gaussian" else 1.0
    matrix = np.array([[0.5, -0.3], [0.2, 0.9]])
    if law == "gaussian":
        moments = attention.gaussian_moments(d, k, tau, sigma)
    else:
        moments = attention.sphere_moments(d, k, sigma)
    total, square, best = 0.0, 0.0, 0.0
    for task, chance, h, mass in quadratures(law, d, k, tau, sigma):
        total += chance * (mass @ ((task - h @ matrix.T) ** 2).sum(axis=1))
        best += chance * (mass @ ((task - moments.optimum * h) ** 2).sum(axis=1))
        square += chance * (mass @ (h**2).sum(axis=1))
    assert moments.square == pytest.approx(square, **CLOSE)
    assert attention.risk(matrix, moments) == pytest.approx(sigma**2 + total, **CLOSE)
    assert moments.risk == pytest.approx(sigma**2 + best, **CLOSE)
    stacked = attention.risk(np.stack([matrix, moments.optimum * np.eye(d)]), moments)
    assert stacked == pytest.approx([sigma**2 + total, sigma**2 + best], **CLOSE)


@pytest.mark.parametrize("law", ["gaussian", "sphere"])
def test_second_moments_equal_quadrature(law) -> None:
    matrix, noises = np.array([[0.7, -0.4], [0.3, 1.1]]), [0.5, 0.9, 0.4]
    x, at = gauss_rule(2) if law == "gaussian" else sphere_rule(2)
    result = attention.second_moments(matrix, noises, law)
    assert np.all(result[0] == 0)
    h, mass = np.zeros((1, 2)), np.ones(1)
    for j, s in enumerate(noises, start=1):
        mean = h @ matrix.T @ x.T
        labels = mean[:, :, None] + s * np.array([-1.0, 1.0])
        step = labels[..., None] * x[None, :, None, :]
        h = (((j - 1) * h[:, None, None, :] + step) / j).reshape(-1, 2)
        mass = (mass[:, None, None] * at[None, :, None] * [[[0.5, 0.5]]]).ravel()
        assert result[j] == pytest.approx(np.einsum("n,na,nb->ab", mass, h, h), **CLOSE)


def test_kl_divergence_equals_that_of_the_labels() -> None:
    """Given the inputs the labels are jointly normal: compare covariances, not predictions."""
    one, two = np.array([[0.7, -0.4], [0.3, 1.1]]), np.array([[0.2, 0.1], [-0.3, 0.6]])
    noises = np.array([0.5, 0.9, 0.4])
    points, at = sphere_rule(2)

    def covariance(matrix, x):
        lower = np.zeros((3, 3))
        for j in range(1, 3):
            lower[j, :j] = (x[j] @ matrix @ x[:j].T) / j
        root = np.linalg.solve(np.eye(3) - lower, np.diag(noises))
        return root @ root.T

    total = 0.0
    for index in itertools.product(range(9), repeat=3):
        x, chance = points[list(index)], at[list(index)].prod()
        first, second = covariance(one, x), covariance(two, x)
        log_ratio = np.linalg.slogdet(second)[1] - np.linalg.slogdet(first)[1]
        total += chance * (np.trace(np.linalg.solve(second, first)) - 3 + log_ratio) / 2
    result = attention.kl_divergence(one, two, noises, "sphere")
    assert result == pytest.approx(total, rel=1e-9)
    bound = attention.total_variation_bound(one, two, noises, "sphere")
    assert bound == pytest.approx(np.sqrt(total / 2), rel=1e-9)
    assert attention.kl_divergence(one, one, noises) == 0.0


REFIT = {"alpha": 0.3, "dim": 3, "labels": 9, "tau": 0.8, "sigma": 0.4}


def test_refit_solves_the_normal_equation() -> None:
    noises = np.linspace(0.9, 0.5, 9)
    result = attention.refit(1.4, 4, noises=noises, **REFIT)
    real = [attention.gaussian_moments(3, k, 0.8, 0.4).square for k in range(1, 9)]
    assert result.real_energy == pytest.approx(sum(real), rel=1e-12)
    gamma = 1.4
    for g in range(4):
        energies = attention.second_moments(gamma * np.eye(3), noises)[1:-1]
        energy = np.trace(energies, axis1=1, axis2=2).sum()
        products = 0.3 * 8 * 3 * 0.8**2 + 0.7 * gamma * energy
        assert result.energy[g] == pytest.approx(energy, rel=1e-12)
        gamma = products / (0.3 * sum(real) + 0.7 * energy)
        assert result.gamma[g + 1] == pytest.approx(gamma, rel=1e-12)
    away = result.gamma - result.optimum
    assert away[1:] == pytest.approx(result.factor * away[:-1], rel=1e-12)
    harmonic = (1 / np.arange(1, 9)).sum()
    closed = 8 / (8 + (4 + 0.4**2 / 0.8**2) * harmonic)
    assert result.optimum == pytest.approx(closed, rel=1e-12)

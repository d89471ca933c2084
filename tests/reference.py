"""The real law by brute force, in NumPy and float64: what the package must agree with."""

import numpy as np

from icl_stl.laws import LinearRegression

STANDARD_ERRORS = 5
"""Width of stochastic tests: a correct law fails such a comparison with probability 6e-7."""

LONG = False
"""Whether `--long` was given: known before any test is read."""


def trials(short, long):
    """Which, or how many, are tried: some, or with `--long` all."""
    return long if LONG else short


TASKS = [
    LinearRegression(dim=1, context=3, noise=0.5, prior_scale=2.0),
    LinearRegression(dim=2, context=6, noise=1.0, inputs="sphere"),
    LinearRegression(dim=3, context=5, noise=0.2, prior_scale=0.7),
    LinearRegression(dim=5, context=3, noise=0.3, prior_scale=1.5, inputs="sphere"),
]
"""Real laws of both inputs, with fewer and with more examples than dimensions."""


def task_name(task):
    return f"{task.inputs}-d{task.dim}-m{task.context}"


def label_covariance(task, xs):
    """The covariance of the labels given the inputs, τ² X Xᵀ + σ² I: `[..., m, m]`."""
    xs = np.asarray(xs, np.float64)
    return task.prior_scale**2 * xs @ xs.swapaxes(-1, -2) + task.noise**2 * np.eye(xs.shape[-2])


def posterior_predictive(task, xs, ys):
    """Mean and deviation of the last label given all inputs and all labels but the last."""
    xs, ys = np.asarray(xs, np.float64), np.asarray(ys, np.float64)
    seen, labels, x = xs[:-1], ys[:-1], xs[-1]
    precision = np.eye(task.dim) / task.prior_scale**2 + seen.T @ seen / task.noise**2
    mean = x @ np.linalg.solve(precision, seen.T @ labels / task.noise**2)
    return mean, np.sqrt(task.noise**2 + x @ np.linalg.solve(precision, x))


def unit_lower_factor(covariance):
    """The unit lower triangular factor of a covariance, L̄ diag(.) L̄ᵀ, and the pivots' roots."""
    factor = np.linalg.cholesky(covariance)
    pivots = np.diagonal(factor, axis1=-2, axis2=-1)
    return factor / pivots[..., None, :], pivots


def whitened(task, prompts):
    """Labels turned by the inverse Cholesky factor: i.i.d. standard normal under the real law."""
    factor = np.linalg.cholesky(label_covariance(task, prompts.xs))
    ys = np.asarray(prompts.ys, np.float64)
    return np.linalg.solve(factor, ys[..., None])[..., 0]

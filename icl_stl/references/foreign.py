"""Loops whose synthetic rows a fixed other model writes, at the distance c from the truth.

The other model does not learn: every generation i >= 1 has the law of one fit to real rows and new
rows of that model, whatever came before. n = ``samples`` real rows, fixed or new.
"""

import numpy as np

from icl_stl.bounds._check import flag, nonnegative
from icl_stl.bounds._kinds import Floats, Num
from icl_stl.references._common import rows, sampling_bias, variance
from icl_stl.references.gaussian import mean_loop
from icl_stl.references.moments import Mixing
from icl_stl.references.regression import _fresh_step, ols_single_fit


def _made(mixing: Mixing) -> Floats:
    """Synthetic rows with a weight, [G+1]; at least one batch."""
    batches = np.arange(len(mixing.shares)) if mixing.history else np.ones(len(mixing.shares))
    return np.asarray(mixing.n_syn * np.maximum(batches, 1), np.float64)


def mean_foreign(mixing: Mixing, noise: float, distance: float, bias: float = 1.0) -> Floats:
    r"""Mean square error of a mean beside rows of N(mu + c, s sigma^2).

    w^2 sigma^2/n + (1-w)^2 (s sigma^2/M + c^2), w the weight of the real rows and M the number of
    the others: (1-w)^2 c^2 is a floor that no number of rows removes.

    Args:
        mixing: Mixing, not drawn.
        bias: s in (0, 1], the variance of the other model's rows over sigma^2.
    Returns: E (mu_i - mu)^2, [G+1].
    Source: derived here, setting of Dohmatob et al. 2024: THEORY.md statement 142.
    """
    square, c = variance(noise), float(nonnegative("distance", distance))
    w, s = mixing.shares, sampling_bias(bias)
    return np.asarray(
        w**2 * square / mixing.samples + (1 - w) ** 2 * (s * square / _made(mixing) + c**2)
    )


def ols_foreign(
    mixing: Mixing, dim: int, noise: float, distance: float, *, same_inputs: bool = False
) -> Floats:
    r"""Excess risk of least squares where a part of the labels is from w + delta, |delta| = c.

    sigma^2 d/(N-d-1) + c^2 rho_2, rho_2 that of `ols_fresh_real` for M rows of N = n + M: at least
    p^2 = (M/N)^2, to which it tends as N grows beside d, and p^2 + p (1-p) f/(1-f) where d/N -> f.
    On the inputs of the real rows, each as often, (w^2 + (1-w)^2 n/M) s_n + (1-w)^2 c^2 for any
    weight w of the real rows, which is (n/N) s_n + c^2 p^2 if all weigh alike. Without real rows
    s_M + c^2.

    Args:
        mixing: Mixing, not drawn; every row weighs alike, but for the same inputs.
        same_inputs: whether the other model labels the inputs of the real rows, in turn.
    Returns: E |theta_i - theta|^2, [G+1].
    Source: derived here, setting of Dohmatob et al. 2024: THEORY.md statement 143.
    """
    n, c = mixing.samples, float(nonnegative("distance", distance))
    single = ols_single_fit(n, dim, noise)
    found = np.full(len(mixing.shares), single)
    reused = flag("same_inputs", same_inputs)
    for i, (w, made) in enumerate(zip(mixing.shares, _made(mixing), strict=True)):
        if w == 1:
            continue
        if reused:
            if made % n:
                raise ValueError(f"mixing = {mixing!r} must label every input equally often")
            found[i] = (w**2 + (1 - w) ** 2 * n / made) * single + (1 - w) ** 2 * c**2
        elif w == 0:
            found[i] = ols_single_fit(int(made), dim, noise) + c**2
        else:
            factor, added = _fresh_step(n, int(made), dim, noise)
            found[i] = factor * c**2 + added
    return found


def foreign_crossover(
    weights: Num, samples: int, n_syn: int, noise: float, distance: float
) -> Floats:
    r"""Real rows beyond which another model harms a mean more than the own generations do.

    With n_syn/n fixed the own error is sigma^2 a_i/n (`mean_loop`) and that beside the other model
    sigma^2 b_i/n + (1-w_i)^2 c^2, so that the latter is the larger if and only if n is above
    sigma^2 (a_i - b_i)/((1-w_i)^2 c^2). Without real rows and with n_syn = n this is i sigma^2/c^2:
    after c^2 n/sigma^2 generations the own model is worse.

    Args:
        weights: W of a loop that sees the last batch alone.
        distance: c > 0.
    Returns: the number n, [G+1]; nan for generation 0, infinite where no row is synthetic.
    Source: derived here, setting of Dohmatob et al. 2024: THEORY.md statement 144.
    """
    n, m, square = rows("samples", samples), rows("n_syn", n_syn), variance(noise)
    c = float(nonnegative("distance", distance))
    own = mean_loop(weights, n, m, noise)
    share = np.asarray(weights, float).sum(axis=1)
    other = square * ((1 - share) ** 2 / n + share**2 / m)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(share > 0, n * (own - other) / (share * c) ** 2, np.inf)
    return np.asarray(np.concatenate([[np.nan], found[1:]]))


def foreign_helps(samples: int, n_syn: int, noise: float) -> float:
    r"""Largest distance at which rows of another model improve a mean: c^2 = sigma^2 (1/n + 1/m).

    Every row weighs alike. Beyond it real rows alone are better, whatever else is known.
    Returns: c.
    Source: derived here, setting of Dohmatob et al. 2024: THEORY.md statement 145.
    """
    n, m = rows("samples", samples), rows("n_syn", n_syn)
    return float((variance(noise) * (1 / n + 1 / m)) ** 0.5)

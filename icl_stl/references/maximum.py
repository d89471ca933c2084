"""The largest row of a uniform law, inflated, in a loop that keeps all rows: exactly solvable.

U[0, theta] is fitted by (1 + c N^-b) times the largest of N rows. Consistent for every b > 0; with
c = 0 the maximum likelihood. n = ``samples`` real rows, m = ``n_syn`` rows a generation.
"""

import numpy as np

from icl_stl.bounds._check import nonnegative, numbers, positive
from icl_stl.bounds._kinds import Floats, Num
from icl_stl.references._common import last_generation, rows


def _inflated(size: Num, inflation: float, decay: float) -> Floats:
    """1 + c N^-b."""
    c, b = nonnegative("inflation", inflation), positive("decay", decay)
    return np.asarray(1 + c * np.asarray(size, float) ** -b)


def maximum_kept(
    samples: int, n_syn: int, generations: int, inflation: float, decay: float
) -> Floats:
    r"""Mean square relative error of the fitted theta if all rows are kept.

    The largest row Z_i is Z_0 times independent R_j = max(1, g_{j-1} B), B the largest of m
    uniforms, g_i = 1 + c N_i^-b, N_i = n + i m: with q = 1/g, E R^k = q^m +
    m (1 - q^{m+k})/((m+k) q^k) and E Z_0^k = theta^k n/(n+k), k = 1, 2. Bounded in i if and only
    if c = 0 or b > 1/2.

    Args:
        inflation: c >= 0.
        decay: b > 0.
    Returns: E (theta_i/theta - 1)^2, [G+1].
    Source: derived here, setting of Barzilai and Shamir 2025: THEORY.md statement 146
        and, of the last sentence, 147.
    """
    n, m, last = rows("samples", samples), rows("n_syn", n_syn), last_generation(generations)
    each = _inflated(n + m * np.arange(last + 1.0), inflation, decay)
    q, moments = 1 / each[:-1], []
    with np.errstate(over="ignore", invalid="ignore"):
        for k in (1, 2):
            grown = q**m + m * (1 - q ** (m + k)) / ((m + k) * q**k)
            moments.append(n / (n + k) * np.concatenate([[1.0], np.cumprod(grown)]))
        error = 1 - 2 * each * moments[0] + each**2 * moments[1]
    return np.where(np.isfinite(error), error, np.inf)  # beyond the largest number


def maximum_once(samples: Num, inflation: float, decay: float) -> Floats:
    r"""The same of one fit to n real rows: 1 - 2 g n/(n+1) + g^2 n/(n+2), g = 1 + c n^-b.

    Args:
        samples: n >= 1, number or array.
        inflation: c >= 0.
        decay: b > 0.
    Returns: E (theta_0/theta - 1)^2, in the shape of ``samples``; tends to 0 as n grows.
    Source: derived here, THEORY.md statement 146.
    """
    n = numbers("samples", samples)
    whole = (n >= 1) & (n < np.inf) & (n == np.floor(n))
    rows("samples", (n.min() if whole.all() else n[~whole].flat[0]).item())
    g = _inflated(n, inflation, decay)
    apart = (float(inflation) * n ** (1 - float(decay)) - 1) / (n + 1)  # E g X - 1
    return np.asarray(g**2 * n / ((n + 1) ** 2 * (n + 2)) + apart**2)

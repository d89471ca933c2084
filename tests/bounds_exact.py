"""The bounds once more, literally and in 50 digits, for the tests of `icl_stl.bounds`."""

from fractions import Fraction
from typing import NamedTuple

import mpmath
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

mpmath.mp.dps = 50
INF = float("inf")
steady = settings(derandomize=True, deadline=None, database=None, max_examples=60)

# A share, a stability, a generation: with the values at which formulas change.
shares = st.one_of(
    st.sampled_from([0.0, 1e-12, 1e-6, 0.25, 0.5, 0.75, 1 - 1e-12, 1.0]), st.floats(0.001, 1)
)
stabilities = st.one_of(
    st.sampled_from([0.0, 1e-9, 0.5, 1 - 1e-9, 1.0, 1 + 1e-9, 2.0]), st.floats(0, 3)
)
generations = st.integers(0, 60)
errors = st.one_of(st.just(0.0), st.floats(1e-6, 10))


def mp(number):
    return mpmath.mpf(float(number))


def relative_error(value, exact):
    """Relative error of a float against an mpmath number; 0 where both are infinite or 0."""
    exact = mpmath.mpf(exact)
    if mpmath.isinf(exact) or exact == 0:
        return 0.0 if mp(value) == exact else INF
    return float(abs(mp(value) - exact) / abs(exact))


def geometric(ratio, count):
    """(ratio^count, 1 + ... + ratio^{count-1}); added up one by one as far as that is possible."""
    if count == INF:
        if ratio < 1:
            return mpmath.mpf(0), 1 / (1 - ratio)
        return (mpmath.mpf(1) if ratio == 1 else mpmath.inf), mpmath.inf
    if count <= 300:
        power, total = mpmath.mpf(1), mpmath.mpf(0)
        for _ in range(int(count)):
            total, power = total + power, power * ratio
        return power, total
    power = ratio ** int(count)
    return power, mpmath.mpf(count) if ratio == 1 else (1 - power) / (1 - ratio)


class Loop(NamedTuple):
    influence: mpmath.mpf  # n chi_i
    variance: mpmath.mpf  # n V_i


def loop(alpha, kappa, i):
    alpha, kappa = mp(alpha), mp(kappa)
    ratio = (1 - alpha) * kappa
    power, total = geometric(ratio, i)
    _, squares = geometric(ratio**2, i)
    influence = power + (alpha * total if alpha else 0)
    mixed = alpha * (1 - alpha)
    return Loop(influence, influence**2 + (mixed * squares if mixed else 0))


def drift_before(n, alpha, i, c, a):
    """Drift of generation i - 1 with errors c n^-a, then c N^-a."""
    n, alpha, c, a = mp(n), mp(alpha), mp(c), mp(a)
    power, total = geometric(1 - alpha, i - 1)
    later = c * (n / alpha) ** -a if alpha else mpmath.mpf(0)
    return power * c * n**-a + (later * total if later else 0)


def gap(n, alpha, i, *, M, b, kappa, c, a, delta):
    """Shift, stability and fluctuation of generation i."""
    if i == 0:
        parts = (mpmath.mpf(0), mp(b) / mp(n))
    else:
        shift = (1 - mp(alpha)) * mp(M) * drift_before(n, alpha, i, c, a) if alpha < 1 else 0
        real = mp(alpha) * (loop(alpha, kappa, i).influence + 1 - mp(alpha))
        parts = (mpmath.mpf(shift), mp(b) * real / mp(n))
    logs = mpmath.log(1 / mp(delta))
    variance = loop(alpha, kappa, i).variance / mp(n)
    return (*parts, (mp(M) + 2 * mp(b)) * mpmath.sqrt(logs / 2 * variance))


def drift_by_iteration(eps, weights):
    """T_i = eps_i + sum_j w_ij T_j in exact fractions."""
    total = []
    for i, own in enumerate(eps):
        inherited = sum(
            (Fraction(float(w)) * t for w, t in zip(weights[i][:i], total, strict=True)),
            Fraction(0),
        )
        total.append(Fraction(float(own)) + inherited)
    return [float(t) for t in total]


def no_nan(*parts):
    return not any(np.isnan(np.asarray(part, dtype=float)).any() for part in parts)

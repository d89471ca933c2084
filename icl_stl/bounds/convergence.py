"""What a constant or vanishing real share does to the bounds as samples or generations grow."""

from typing import NamedTuple

import numpy as np

from icl_stl.bounds._check import checked, nonnegative, positive, real, share
from icl_stl.bounds._kinds import Floats, Num, Provenance, constants, times, to_infinity
from icl_stl.bounds._series import common_shape, one_minus_product
from icl_stl.bounds.generalization import Gap, _gap, _log_odds
from icl_stl.bounds.stability import uniform_recursive_stability


class Exponents(NamedTuple):
    """Powers of 1/n at which the parts of the uniform bound fall; negative or -inf: they grow."""

    shift: Floats
    stability: Floats
    fluctuation: Floats
    total: Floats


class TimeScales(NamedTuple):
    """Generations after which drift and influence have come within 1/e of their limits."""

    drift: Floats
    influence: Floats


@to_infinity
def uniform_gap(
    n: Num,
    alpha: Num,
    *,
    M: Num,
    b: Num,
    kappa: Num,
    c: Num,
    a: Num,
    delta: Num,
    provenance: Provenance = "assumed",
) -> Gap:
    r"""Generalization bound that holds for each generation i >= 1, whichever it is.

    (1-alpha) alpha^{a-1} M c n^{-a} + (b/n) alpha (x + 1 - alpha)
    + (M + 2b) sqrt(ln(1/delta)/(2n) (x^2 + alpha (1-alpha)/(1-r^2))), x = max(1, alpha/(1-r)).

    Args:
        a: its rate, in (0, 1].
    Returns: Gap in the broadcast shape; infinite where r = (1-alpha) kappa >= 1.
    Assumes: As `generalization_gap_at_rate`.
    Source: derived here, THEORY.md statement 19. That a constant share suffices: paper,
        abstract-level claim.
    """
    size, real_share, loss, change, scale = checked(n=n, alpha=alpha, M=M, b=b, c=c)
    rate = real("a", a, 0, 1, open_low=True)
    worst = uniform_recursive_stability(n, alpha, kappa)
    drift = times(1 - real_share, real_share ** (rate - 1))
    injected = times(real_share, size * worst.influence + (1 - real_share))
    return _gap(
        loss * times(scale, size**-rate * drift),
        times(change, injected) / size,
        (loss + 2 * change) * np.sqrt(_log_odds(delta) / 2) * np.sqrt(worst.variance_proxy),
        loss,
        constants(provenance, M=M, b=b, kappa=kappa, c=c, a=a),
    )


@to_infinity
def convergence_exponents(
    a: Num, kappa: Num, *, alpha: Num | None = None, p: Num | None = None
) -> Exponents:
    r"""Rates in n of the uniform bound, for a constant share or for alpha = n^{-p}.

    Constant share with (1-alpha) kappa < 1: a, 1 and 1/2. alpha = n^{-p}, kappa <= 1:
    a - p (1-a), 1 + p and 1/2. Otherwise the uniform bound is infinite.

    Args:
        a: rate of the one-step error, in (0, 1].
        alpha: constant real share in (0, 1]; exactly one of ``alpha`` and ``p`` is given.
        p: decay of the share, > 0.
    Returns: Exponents in the broadcast shape; ``total`` is their minimum, -inf where no uniform
        bound exists, and the bound converges where it is positive.
    Assumes: As `generalization_gap_at_rate`.
    Source: derived here, THEORY.md statements 19 and 20.
    """
    rate, follow = real("a", a, 0, 1, open_low=True), nonnegative("kappa", kappa)
    if (alpha is None) == (p is None):
        raise ValueError(f"alpha = {alpha!r} and p = {p!r}: exactly one of them must be given")
    if p is None:
        real_share = real("alpha", alpha if alpha is not None else 1, 0, 1, open_low=True)
        stable, decay = one_minus_product(real_share, follow) > 0, np.asarray(0.0)
    else:
        stable, decay = follow <= 1, positive("p", p)
    shift, stability, fluctuation = common_shape(
        rate - decay * (1 - rate),
        np.where(stable, 1 + decay, -np.inf),
        np.where(stable, 0.5, -np.inf),
    )
    total = np.minimum(np.minimum(shift, stability), fluctuation)
    return Exponents(shift, stability, fluctuation, total)


@to_infinity
def time_scales(alpha: Num, kappa: Num) -> TimeScales:
    r"""How many generations the loop takes to settle: 1/ln(1/(1-alpha)) and 1/ln(1/r).

    Returns: TimeScales in the broadcast shape; about 1/alpha for the drift of a small share, inf
        where nothing settles, 0 where one generation forgets everything.
    Source: derived here, THEORY.md statement 19.
    """
    real_share, follow = checked(alpha=alpha, kappa=kappa)
    gap = one_minus_product(real_share, follow)
    return TimeScales(_settling(real_share), _settling(np.maximum(gap, 0.0)))


def _settling(gap: Floats) -> Floats:
    return np.where(gap == 0, np.inf, -1 / np.log1p(-np.minimum(gap, 1.0)))[()]


@to_infinity
def necessary_share(error_floor: Num, tolerance: Num) -> Floats:
    r"""Real share without which some loop with that error floor drifts further: floor/tolerance.

    sup_i T_i = min(1, floor/alpha) in the loops that attain the drift recursion.

    Args:
        error_floor: one-step error that no amount of data removes, in [0, 1], total variation.
        tolerance: drift allowed for ever, in (0, 1).
    Returns: the least alpha, independent of n; above 1 where no share suffices.
    Source: derived here, THEORY.md statement 20.
    """
    allowed = real("tolerance", tolerance, 0, 1, open_low=True, open_high=True)
    return (share("error_floor", error_floor) / allowed)[()]

"""Loops in which a part of the labels, or symbols, of the training set is edited, exactly.

Generation i is fitted on the n = ``samples`` rows of generation i - 1, k_i = ``edits[i-1]`` of
which are edited, drawn by lot and independently of everything else. Least squares: y = <theta, x> +
sigma eps, x ~ N(0, I_d), s_n = sigma^2 d/(n - d - 1). Laws on symbols: a symbol that is edited is
drawn from the last empirical law.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, xlogy

from icl_stl.bounds._check import numbers, real
from icl_stl.bounds._kinds import Floats, Num
from icl_stl.references._common import last_generation, rows, variance
from icl_stl.references.discrete import _diversity, _law
from icl_stl.references.regression import ols_single_fit

PLACES = 2**16
"""Rows of all designs over which `ols_edit_replace` takes its mean; of `FEWEST` at least."""
FEWEST = 16
OTHERS = 1e-9
"""Chance of what `law_edit_sure` leaves out, at most."""


class EditBounds(NamedTuple):
    """Between what the mean error lies."""

    low: Floats
    high: Floats


def ols_edit_additive(samples: int, dim: int, noise: float, edits: Num) -> Floats:
    r"""Excess risk if an edit adds fresh noise to a label: s_n (1 + sum_j k_j/n).

    At most 2 s_n, the finite bound of Zhu et al. (2024), if and only if sum_j k_j <= n.
    Returns: E |theta_i - theta|^2, [G+1].
    Source: derived here, THEORY.md statement 110. The additive model: Zhu et al. (2024), recalled.
    """
    counts = _edits(edits, samples)
    first = ols_single_fit(samples, dim, noise)
    return first * (1 + np.concatenate([[0.0], np.cumsum(counts / samples)]))


def ols_edit_replace(samples: int, dim: int, noise: float, edits: Num, seed: int = 0) -> Floats:
    r"""Excess risk if an edit puts the prediction plus fresh noise in place of a label.

    s_n [1 + sum_j (p_j + v_j E <l, r_{j-1}>/d)] with p = k/n, q = k(k-1)/(n(n-1)), v = p - q, the
    projection P on the columns of the inputs, Q = I - P, l = diag P, B = Q o Q entry by entry,
    r_0 = diag Q and r_j = (1 - 2p + q) r_{j-1} + v B r_{j-1} + p r_0: the variances of residuals.
    E <l, r_0> = d(n-d)/(n+2); the other means are taken over designs drawn by `seed`, as ratios to
    that of r_0, and known to a relative error of the result of about 1e-4.

    Args:
        seed: Seed of the designs; whole, >= 0.
    Returns: E |theta_i - theta|^2, [G+1]; exact for i <= 1, and where all labels are edited.
    Source: derived here, THEORY.md statement 111.
    """
    counts, n, d = _edits(edits, samples), rows("samples", samples), rows("dim", dim)
    first = ols_single_fit(samples, dim, noise)
    apart, total = _apart(counts, n), np.zeros((2, len(counts)))
    rng, left = np.random.default_rng(rows("seed", seed, 0)), max(FEWEST, PLACES // n)
    while left > 0 and apart[1:].any():
        some = min(left, max(1, 2**20 // (n * d)))
        basis = np.linalg.qr(rng.normal(size=(some, n, d)))[0]
        lever = (basis**2).sum(-1)
        total[0] += _residuals(basis, lever, counts).sum(0)
        total[1] += (lever * (1 - lever)).sum()
        left -= some
    ratio = total[0] / np.where(total[1] > 0, total[1], 1)
    ratio[:1] = 1
    steps = counts / n + apart * ratio * (n - d) / (n + 2)
    return first * (1 + np.concatenate([[0.0], np.cumsum(steps)]))


def ols_edit_given(xs: Num, noise: float, edits: Num) -> Floats:
    r"""The law of `ols_edit_replace` for given inputs, a mean over labels and masks alone; exact.

    sigma^2 [tr G^-1 (1 + sum_j p_j) + sum_j v_j <h, r_{j-1}>], G = X^T X, h_r = |G^-1 x_r|^2.

    Args:
        xs: X, [n, d], n >= d, of full rank.
    Returns: E |theta_i - theta|^2, [G+1].
    Source: derived here, THEORY.md statement 111.
    """
    inputs = real("xs", xs)
    if inputs.ndim != 2 or np.linalg.matrix_rank(inputs) < inputs.shape[-1]:
        raise ValueError(f"xs has shape {inputs.shape}: it must be [n, d], of the rank d")
    n, counts = len(inputs), _edits(edits, len(inputs))
    basis, upper = np.linalg.qr(inputs)
    reach = (np.linalg.solve(upper, basis.T) ** 2).sum(0)
    steps = reach.sum() * counts / n
    steps += _apart(counts, n) * _residuals(basis[None], reach[None], counts)[0]
    return np.asarray(variance(noise) * (reach.sum() + np.concatenate([[0.0], np.cumsum(steps)])))


def _residuals(basis: Floats, weights: Floats, counts: Floats) -> Floats:
    """<w, r_{j-1}> for j = 1..G by design: an orthonormal basis [D, n, d], weights [D, n]."""
    n = basis.shape[1]
    lever = (basis**2).sum(-1)
    start = residual = 1 - lever
    found = []
    for p, v in zip(counts / n, _apart(counts, n), strict=True):
        found.append((weights * residual).sum(-1))
        inner = basis.swapaxes(-1, -2) @ (residual[..., None] * basis)
        spread = residual * (1 - 2 * lever) + ((basis @ inner) * basis).sum(-1)
        residual = (1 - p - v) * residual + v * spread + p * start
    return np.stack(found, axis=-1) if found else np.zeros((len(basis), 0))


def ols_edit_replace_bounds(samples: int, dim: int, noise: float, edits: Num) -> EditBounds:
    r"""Bounds on `ols_edit_replace`: the additive law, and that plus s_n (n-d)/(n+2) sum_j v_j.

    v_j = k_j (n - k_j)/(n(n-1)); the upper one is attained in generation 1.
    Returns: EditBounds, [G+1] each.
    Source: derived here, THEORY.md statement 111.
    """
    counts, low = _edits(edits, samples), ols_edit_additive(samples, dim, noise, edits)
    more = (samples - dim) / (samples + 2) * np.cumsum(_apart(counts, samples))
    return EditBounds(low, low + low[0] * np.concatenate([[0.0], more]))


def law_edit(law: Num, samples: int, edits: Num) -> Floats:
    r"""Squared distance of an empirical law of whose n symbols k_i are drawn anew from itself.

    h [1 - (1 - 1/n) prod_j (1 - (1 - q_j)/n)], q = (n-k)(n-k-1)/(n(n-1)), h = 1 - |p|^2; the mean
    is p in every generation. All edited: `law_replace`.
    Returns: E |p_i - p|^2, [G+1].
    Source: derived here, THEORY.md statement 112.
    """
    p, n, k = _law(law), rows("samples", samples, 2), _edits(edits, samples)
    pair = (n - k) * (n - k - 1) / (n * (n - 1))
    left = np.concatenate([[1.0], np.cumprod(1 - (1 - pair) / n)])
    return _diversity(p) * (1 - (1 - 1 / n) * left)


def law_edit_sure(law: Num, samples: int, threshold: float, generations: int) -> Floats:
    r"""The same if the symbols whose share is at least ``threshold`` are drawn anew, and only they.

    From c of n of the sure symbol c' ~ Bin(c, c/n) remain, so that a share s becomes s^2 in the
    mean; of O others with shares f among themselves O' = O + c - c', the new ones drawn by f, and
    1 - |f|^2 falls by the factor 1 - (c - c')/O'^2.

    Returns: E |p_i - p|^2, [G+1]; nan from where another symbol has become sure with a chance above
    1e-9, which is left out.
    Source: derived here, THEORY.md statement 113.
    """
    p, n, last = _law(law), rows("samples", samples, 2), last_generation(generations)
    tau = float(real("threshold", threshold, 0.5, 1, open_low=True))
    least = int(np.ceil((tau - 1e-6) * n))
    error = np.full(last + 1, _diversity(p) / n)
    counts = np.arange(n + 1.0)
    others, sure = n - counts, counts[least:]
    stay = _binomials(sure, sure / n)
    mix = stay * (1 - (sure[:, None] - counts) / np.maximum(others, 1) ** 2)
    missed = np.zeros(last + 1)
    for symbol in np.flatnonzero(p):
        rest = np.delete(p, symbol)
        within = rest / max(rest.sum(), np.finfo(float).tiny)
        chance = _binomials(np.array([n]), p[[symbol]])[0]
        chance[:least] = 0
        if chance.sum() < OTHERS**2:
            continue
        mixed = chance * (1 - within @ within) * (1 - 1 / np.maximum(others, 1))
        path = []
        for i in range(last + 1):
            share = others / n
            alike = share**2 * (chance - mixed)
            alike += chance * (rest @ rest - 2 * share * (within @ rest))
            path.append(float((chance * ((1 - share) - p[symbol]) ** 2 + alike).sum()))
            missed[i:] += chance[: n - least + 1].sum()
            chance, mixed = (
                np.where(counts < least, own, 0) + own[least:] @ step
                for own, step in ((chance, stay), (mixed, mix))
            )
        error += np.array(path) - path[0]
    return np.where(missed > OTHERS, np.nan, error)


def chain_edit(transition: Num, share: float = 1.0, threshold: float = 0.0) -> Floats:
    r"""The chain fitted to a long text of a stationary chain A after one round of edits.

    Each symbol x_t that A gives at least ``threshold`` after x_{t-1} is redrawn with the chance
    g = ``share`` from A(x_{t-1}, .), all at once: M_u(x, y) = A(u,x)[(1 - g_ux) 1{x=y} + g_ux
    A(u,y)] is the joint law of old and new symbol after u. With pi the stationary law,
    J(a, b) = sum_ux pi_u M_u(x, a) sum_z M_x(z, b) is that of two new neighbours. By lot:
    (1 - g) A + g R A^2, R the reversed chain.

    Args:
        transition: A, [K, K], rows that sum to 1; one stationary law, positive.
        share: g, in [0, 1].
        threshold: In [0, 1].
    Returns: J(a, .)/J(a), [K, K].
    Source: derived here, THEORY.md statement 114.
    """
    chain, g = real("transition", transition, 0, 1), float(real("share", share, 0, 1))
    if chain.ndim != 2 or len({*chain.shape}) != 1 or not np.allclose(chain.sum(-1), 1):
        raise ValueError(f"transition = {transition!r} is no matrix [K, K] whose rows sum to 1")
    size = len(chain)
    equations = np.vstack([chain.T - np.eye(size), np.ones(size)])
    stationary = np.linalg.lstsq(equations, np.append(np.zeros(size), 1), rcond=None)[0]
    edited = g * (chain >= real("threshold", threshold, 0, 1))
    moved = (chain * edited)[:, :, None] * chain[:, None, :]
    moved += (chain * (1 - edited))[:, :, None] * np.eye(size)
    joint = np.einsum("u,uxa,xb->ab", stationary, moved, moved.sum(1))
    return np.asarray(joint / joint.sum(-1, keepdims=True))


def _binomials(count: Floats, share: Floats) -> Floats:
    """Chances of 0..n of each binomial law, n the largest count."""
    k = np.arange(count.max() + 1.0)
    c, s = np.asarray(count, float)[:, None], np.asarray(share, float)[:, None]
    inside = k <= c
    rest = np.where(inside, c - k, 0)
    log = gammaln(c + 1) - gammaln(k + 1) - gammaln(rest + 1) + xlogy(k, s) + xlogy(rest, 1 - s)
    return np.where(inside, np.exp(np.where(inside, log, -np.inf)), 0)


def _edits(edits: Num, samples: int) -> Floats:
    """k_1..k_G: whole numbers in 0..n."""
    n, counts = rows("samples", samples), np.atleast_1d(numbers("edits", edits))
    fine = counts.ndim == 1 and ((counts >= 0) & (counts <= n) & (counts == np.floor(counts))).all()
    if not fine:
        raise ValueError(
            f"edits = {edits!r} is outside the admissible range: whole numbers in 0..{n}, one for "
            "each generation from 1 on"
        )
    return counts


def _apart(counts: Floats, samples: int) -> Floats:
    """How far edits are from none and from all: v = k (n - k)/(n (n-1))."""
    return counts * (samples - counts) / (samples * max(samples - 1, 1))

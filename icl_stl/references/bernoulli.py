"""Loops on the sample space {0, 1}, solved exactly: every law is a sum over counts of ones.

The real set holds n points of Bern(p). Generation i draws m points from Bern(theta_{i-1}) and sets

    theta_i = clip(c + kappa (share_i - c) + e, 0, 1),

share_i the share of ones with weight w on the real points and 1 - w on the synthetic ones; the
first share is that of the real points alone. Given the a real ones, the synthetic ones of
successive generations are a Markov chain on 0..m: nothing is sampled here.
"""

from collections.abc import Callable
from math import comb, log
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, xlog1py, xlogy

from icl_stl.bounds._check import nonnegative, real, share
from icl_stl.bounds._kinds import Floats
from icl_stl.references._common import last_generation, rows

Loss = Callable[[Floats, int], Floats]

_SAME = 1e-12  # values closer than this are one: sums of shares are exact to far less


def squared_loss(theta: Floats, z: int) -> Floats:
    """(z - theta)^2, the squared error of a predicted share of ones."""
    return (z - theta) ** 2


def value_loss(theta: Floats, z: int) -> Floats:
    """z, whatever the parameter: the gap is that of a share of ones."""
    return np.full_like(theta, float(z))


class BernoulliLoop(NamedTuple):
    """A loop on {0, 1}."""

    n: int
    """Real points, kept for ever, >= 1."""
    m: int
    """Synthetic points a generation, >= 1."""
    p: float
    """Share of ones of the real law, in [0, 1]."""
    kappa: float = 1.0
    """Amplification, >= 0."""
    weight: float | None = None
    """w in [0, 1], of the real points in the share; n/(n + m) if None."""
    centre: float = 0.5
    """c in [0, 1], the share that is reproduced as it is."""
    error: float = 0.0
    """e, added in every generation."""
    replace: bool = False
    """From generation 1 on learn from synthetic points alone (w = 0)."""


class Law(NamedTuple):
    """A law with finitely many values, in increasing order."""

    support: Floats
    probability: Floats


class Drift(NamedTuple):
    """Means over the loop, one entry a generation."""

    distance: Floats
    """E |theta_i - p|, the total variation to the real law."""
    square: Floats
    """E (theta_i - p)^2."""
    error: Floats
    """E |theta_i - w p - (1-w) theta_{i-1}|, the total variation to the law that generation i is
    trained on; E |theta_0 - p| for generation 0.
    """


class GapParts(NamedTuple):
    """Both sides of the gap identity, one entry a generation, each from its own definition.

    The identity: gap = w (direct + indirect) + (1-w) (synthetic + shift); w = 1 in generation 0.
    """

    gap: Floats
    """E[risk on the real law - weighted empirical risk]."""
    direct: Floats
    """Effect on the loss at a real point of drawing that point anew, synthetic points kept."""
    indirect: Floats
    """Further effect of running the generations before again."""
    synthetic: Floats
    """Effect on the loss at a synthetic point of drawing that point anew."""
    shift: Floats
    """E[risk on the real law - risk on the law of generation i-1]."""


class Influence(NamedTuple):
    """Two loops that differ in one real point, coupled by common uniforms; generation by swap.

    Entry [i, a] belongs to a ones among the n - 1 common points.
    """

    share: Floats
    """E of the weighted share of differing training points of generation i."""
    gamma: Floats
    """E |theta_i - theta_i'|, the total variation between the models of generation i."""


class Constants(NamedTuple):
    """Constants of a loop and a loss, for `icl_stl.bounds`."""

    M: float
    """Largest loss."""
    b: float
    """Change of the loss per changed share of the training set."""
    kappa: float
    """Change of the model in total variation per changed share."""
    effect: float
    """sup over models of |loss at 1 - loss at 0|; times |theta - p| it is the loss discrepancy
    between Bern(theta) and the real law.
    """


def binomial_law(count: int, probability: Floats) -> Floats:
    """Laws of the number of ones in ``count`` draws, one more axis for 0..count."""
    chance, count = share("probability", probability)[..., None], rows("count", count, 0)
    ones = np.arange(count + 1)
    ways = np.array([log(comb(count, int(k))) for k in ones])
    return np.asarray(np.exp(ways + xlogy(ones, chance) + xlog1py(count - ones, -chance)))


def real_weight(loop: BernoulliLoop, generation: int = 1) -> float:
    """Weight w in a generation: 1 in generation 0, 0 later if the loop replaces."""
    _check(loop)
    if last_generation(generation) == 0:
        return 1.0
    if loop.replace:
        return 0.0
    return loop.n / (loop.n + loop.m) if loop.weight is None else loop.weight


def model(loop: BernoulliLoop, share: Floats) -> Floats:
    """Model theta after a training set with this share of ones."""
    return np.clip(loop.centre + loop.kappa * (share - loop.centre) + loop.error, 0.0, 1.0)


def constants(loop: BernoulliLoop, loss: Loss = squared_loss) -> Constants:
    r"""Constants for `squared_loss` or `value_loss`.

    With |z - theta| <= q: M = q^2, b = 2 kappa q, effect = sup |1 - 2 theta| over the models that
    the loop reaches; for c = 1/2, kappa <= 1, e = 0 these are (1+kappa)^2/4, kappa (1+kappa) and
    kappa. The loss z has M = 1, b = 0 and effect 1.
    Returns: Constants; those of the squared loss are the smallest.
    Source: derived here, THEORY.md statement 52.
    """
    _check(loop)
    if loss is value_loss:
        return Constants(1.0, 0.0, loop.kappa, 1.0)
    if loss is not squared_loss:
        raise ValueError("loss is neither squared_loss nor value_loss")
    low, high = model(loop, np.array([0.0, 1.0]))
    miss = float(max(high, 1 - low))
    effect = float(max(abs(1 - 2 * low), abs(1 - 2 * high)))
    return Constants(miss**2, 2 * loop.kappa * miss, loop.kappa, effect)


class _Chain(NamedTuple):
    """The Markov chains of a loop, one for each number a of real ones."""

    real: Floats
    """Law of a."""
    first: Floats
    """theta_0 given a."""
    later: Floats
    """theta_i for a and k synthetic ones, i >= 1."""
    counts: list[Floats]
    """counts[i][a, k], law of the synthetic ones of generation i >= 1 given a; for generation 0 a
    single column.
    """
    drawn: list[Floats]
    """drawn[i][a, k], the same law times E[theta_{i-1} | a, k]; None at 0."""
    error: Floats
    """E |theta_i - w p - (1-w) theta_{i-1}| given a."""

    def models(self, generation: int) -> Floats:
        """theta_i for every state, in the shape of ``counts[generation]``."""
        return self.first[:, None] if generation == 0 else self.later


def _chain(loop: BernoulliLoop, generations: int) -> _Chain:
    _check(loop)
    n, m, p, w = loop.n, loop.m, loop.p, real_weight(loop)
    ones, k = np.arange(n + 1), np.arange(m + 1)
    first = model(loop, ones / n)
    later = model(loop, w * ones[:, None] / n + (1 - w) * k / m)
    counts = np.zeros((generations + 1, n + 1, m + 1))
    drawn = np.zeros_like(counts)
    error = np.zeros((generations + 1, n + 1))
    error[0] = np.abs(first - p)
    start = binomial_law(m, first)
    for a in range(n + 1 if generations else 0):
        step = binomial_law(m, later[a])
        targets = w * p + (1 - w) * later[a]
        one_step = (step * np.abs(later[a] - targets[:, None])).sum(axis=1)
        counts[1, a], drawn[1, a] = start[a], first[a] * start[a]
        error[1, a] = start[a] @ np.abs(later[a] - (w * p + (1 - w) * first[a]))
        for i in range(2, generations + 1):
            before = counts[i - 1, a]
            counts[i, a], drawn[i, a] = before @ step, (before * later[a]) @ step
            error[i, a] = before @ one_step
    real = binomial_law(n, np.asarray(p))
    whole = [np.ones((n + 1, 1)), *counts[1:]]
    return _Chain(real, first, later, whole, [np.zeros((n + 1, 1)), *drawn[1:]], error)


def _check(loop: BernoulliLoop) -> None:
    rows("n", loop.n)
    rows("m", loop.m)
    nonnegative("kappa", loop.kappa)
    real("error", loop.error, open_low=True, open_high=True)
    share("p", loop.p)
    share("centre", loop.centre)
    if loop.weight is not None:
        share("weight", loop.weight)


def _law(values: Floats, probability: Floats) -> Law:
    """Equal values, to rounding, put together; values of probability 0 dropped."""
    flat, mass = values.ravel(), probability.ravel()
    order = np.argsort(flat, kind="stable")
    order = order[mass[order] > 0]
    flat, mass = flat[order], mass[order]
    starts = np.flatnonzero(np.concatenate([[True], np.diff(flat) > _SAME]))
    return Law(flat[starts], np.add.reduceat(mass, starts))


def drift(loop: BernoulliLoop, generations: int) -> Drift:
    """Mean distance of every generation from the real law, and the errors made on the way.

    Returns: Drift with generations + 1 entries.
    """
    generations = last_generation(generations)
    chain = _chain(loop, generations)
    away = [chain.models(i) - loop.p for i in range(generations + 1)]
    joint = [chain.real[:, None] * law for law in chain.counts]
    return Drift(
        np.array([(law * np.abs(x)).sum() for law, x in zip(joint, away, strict=True)]),
        np.array([(law * x**2).sum() for law, x in zip(joint, away, strict=True)]),
        chain.error @ chain.real,
    )


def last_laws(loop: BernoulliLoop, generations: int) -> list[Law]:
    """Laws of theta_0, ..., theta_G if every generation sees n new real points and the last batch.

    The synthetic ones alone are a Markov chain on 0..m; with w = 0 that of the last batch alone.
    Source: derived here, THEORY.md statement 102.
    """
    last = last_generation(generations)
    _check(loop)
    n, m, w = loop.n, loop.m, real_weight(loop)
    real, ones = binomial_law(n, np.asarray(loop.p)), np.arange(n + 1) / n
    first = model(loop, ones)
    later = model(loop, w * ones[:, None] + (1 - w) * np.arange(m + 1) / m)
    law = real @ binomial_law(m, first)
    found = [_law(first, real)]
    if w == 0:
        real, later = np.ones(1), later[:1]
    rows_of = zip(real, later, strict=True)
    step = sum(chance * binomial_law(m, row) for chance, row in rows_of) if last > 1 else 0.0
    for _ in range(last):
        found.append(_law(later, real[:, None] * law))
        law = np.dot(law, step)
    return found


def pooled_laws(loop: BernoulliLoop, generations: int, *, drawn: bool = False) -> list[Law]:
    """Laws of theta_0, ..., theta_G if all points are kept, every point alike.

    The ones among the N_i = n + i m points are a Markov chain.

    Args:
        drawn: theta_i sees n of them, drawn without replacement: a hypergeometric number of ones.
    Source: derived here, THEORY.md statement 102.
    """
    last = last_generation(generations)
    _check(loop)
    n, m = loop.n, loop.m
    law, found = binomial_law(n, np.asarray(loop.p)), []
    for i in range(last + 1):
        pool = n + i * m
        ones, size = np.arange(pool + 1), n if drawn else pool
        theta = model(loop, np.arange(size + 1) / size)
        moved = binomial_law(m, theta)
        if drawn:
            joint = law[:, None] * _hypergeometric(pool, size)
            found.append(_law(theta, joint.sum(axis=0)))
            moved = joint @ moved
        else:
            found.append(_law(theta, law))
            moved = law[:, None] * moved
        law = np.zeros(pool + m + 1)
        np.add.at(law, ones[:, None] + np.arange(m + 1), moved)
    return found


def _hypergeometric(pool: int, size: int) -> Floats:
    """Chances of k ones among `size` of `pool` points, by the ones among these: [ones, k]."""
    ones, k = np.arange(pool + 1)[:, None], np.arange(size + 1)
    fits = (k <= ones) & (size - k <= pool - ones)
    ways = [
        gammaln(a + 1) - gammaln(b + 1) - gammaln(np.maximum(a - b, 0) + 1)
        for a, b in ((ones, k), (pool - ones, size - k), (pool, size))
    ]
    return np.where(fits, np.exp(ways[0] + ways[1] - ways[2]), 0.0)


def discrepancy(loop: BernoulliLoop, generations: int, loss: Loss = squared_loss) -> Floats:
    """Mean loss discrepancy between generation i's law and the real law, i = 0..generations.

    E sup |risk on the real law - risk on Bern(theta_i)|, the sup over the models that the loop
    reaches: `Constants.effect` times E |theta_i - p|. Generation i of a bound takes entry i - 1.
    Returns: one number a generation.
    """
    return constants(loop, loss).effect * drift(loop, generations).distance


def gap_parts(loop: BernoulliLoop, generations: int, loss: Loss = squared_loss) -> GapParts:
    """Every term of the gap identity, exactly, for i = 0..generations.

    Args:
        loss: ``loss(theta, z)`` for an array of models and z = 0 or 1.
    Returns: GapParts with generations + 1 entries; the first has no synthetic points.
    Source: derived here, THEORY.md statement 13.
    """
    generations = last_generation(generations)
    chain = _chain(loop, generations)
    rows = [_parts_of(loop, chain, i, loss) for i in range(generations + 1)]
    return GapParts(*(np.array(column) for column in zip(*rows, strict=True)))


def _parts_of(loop: BernoulliLoop, chain: _Chain, i: int, loss: Loss) -> tuple[float, ...]:
    theta, law = chain.models(i), chain.counts[i]
    at = [loss(theta, 0), loss(theta, 1)]
    realised = _gap_values(loop, i, at)
    gap = float(chain.real @ (law * realised).sum(axis=1))
    direct, indirect = _real_parts(loop, chain.real, law, at)
    if i == 0:
        return gap, direct, indirect, 0.0, 0.0
    synthetic = _synthetic_part(loop, chain, i, at)
    shift = float(chain.real @ ((loop.p * law - chain.drawn[i]) * (at[1] - at[0])).sum(axis=1))
    return gap, direct, indirect, synthetic, shift


def _gap_values(loop: BernoulliLoop, i: int, at: list[Floats]) -> Floats:
    """Risk on the real law minus weighted empirical risk, for every state of generation i."""
    real = (np.arange(loop.n + 1) / loop.n)[:, None]
    drawn = np.arange(at[0].shape[1]) / loop.m
    w = real_weight(loop, i)
    risk = loop.p * at[1] + (1 - loop.p) * at[0]
    on_real = real * at[1] + (1 - real) * at[0]
    on_drawn = drawn * at[1] + (1 - drawn) * at[0]
    return risk - w * on_real - (1 - w) * on_drawn


def _real_parts(
    loop: BernoulliLoop, real: Floats, law: Floats, at: list[Floats]
) -> tuple[float, float]:
    """Draw one real point anew: loss at the old point, with the synthetic points kept and redrawn.

    ``law[a]`` is the law of the synthetic ones given a, which a re-run loop draws from anew.
    """
    direct = indirect = 0.0
    ones = np.arange(loop.n + 1)
    for z in (0, 1):
        old = ones / loop.n if z else 1 - ones / loop.n
        for new in (0, 1):
            after = ones - z + new
            chance = real * old * (loop.p if new else 1 - loop.p)
            kept = chance > 0
            a, b, mass = ones[kept], after[kept], chance[kept]
            before = (law[a] * at[z][a]).sum(axis=1)
            swapped = (law[a] * at[z][b]).sum(axis=1)
            again = (law[b] * at[z][b]).sum(axis=1)
            direct += float(mass @ (swapped - before))
            indirect += float(mass @ (again - swapped))
    return direct, indirect


def _synthetic_part(loop: BernoulliLoop, chain: _Chain, i: int, at: list[Floats]) -> float:
    """Draw one synthetic point anew from generation i-1's law: loss at the old point."""
    k = np.arange(loop.m + 1)
    part = 0.0
    for z in (0, 1):
        old = k / loop.m if z else 1 - k / loop.m
        for new in (0, 1):
            after = np.clip(k - z + new, 0, loop.m)  # clipped only where ``old`` is 0
            fresh = chain.drawn[i] if new else chain.counts[i] - chain.drawn[i]
            change = at[z][:, after] - at[z]
            part += float(chain.real @ (fresh * old * change).sum(axis=1))
    return part


def gap_law(loop: BernoulliLoop, generation: int, loss: Loss = squared_loss) -> Law:
    """Exact law of the gap of one generation.

    Args:
        generation: i >= 0.
        loss: ``loss(theta, z)`` for an array of models and z = 0 or 1.
    Returns: Law of the risk on the real law minus the weighted empirical risk.
    """
    generation = last_generation(generation)
    chain = _chain(loop, generation)
    theta = chain.models(generation)
    values = _gap_values(loop, generation, [loss(theta, 0), loss(theta, 1)])
    return _law(values, chain.real[:, None] * chain.counts[generation])


def exceedance(law: Law, threshold: float) -> float:
    """P(X > threshold); values within rounding of the threshold do not exceed it."""
    least = float(real("threshold", threshold)) + _SAME
    return float(law.probability[law.support > least].sum())


def quantile(law: Law, level: float) -> float:
    """Smallest value v with P(X <= v) >= level, to rounding."""
    reached = np.cumsum(law.probability) >= float(share("level", level)) - _SAME
    return float(law.support[np.argmax(reached)] if reached.any() else law.support[-1])


def influence(loop: BernoulliLoop, generations: int) -> Influence:
    """What a swapped real point does, i = 0..generations: the maximal coupling, exactly.

    Common uniforms couple Bern(theta) and Bern(theta') maximally, and since the model increases in
    the share the two loops stay ordered: expected differences are differences of means. Without
    clipping the share is chi_i of `icl_stl.bounds.recursive_stability` (or `weighted_stability`)
    and gamma_i = kappa chi_i.
    Returns: Influence, arrays of shape (generations + 1, n).
    Source: derived here, THEORY.md statements 8 and 52.
    """
    generations = last_generation(generations)
    chain = _chain(loop, generations)
    means = np.array([(law * chain.models(i)).sum(axis=1) for i, law in enumerate(chain.counts)])
    gamma = np.diff(means, axis=1)
    share = np.full_like(gamma, 1 / loop.n)
    w = real_weight(loop)
    share[1:] = w / loop.n + (1 - w) * gamma[:-1]
    return Influence(share, gamma)

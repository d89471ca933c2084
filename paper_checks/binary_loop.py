"""Loops on the sample space {0, 1}, solved exactly through the law of their counts."""

import math

import numpy as np


def binomial(count, probability):
    """Law of the number of ones among ``count`` draws."""
    k = np.arange(count + 1)
    ways = np.array([math.comb(count, int(j)) for j in k], dtype=float)
    return ways * probability**k * (1 - probability) ** (count - k)


def amplifier(kappa):
    """P(1) = 1/2 + kappa (share of ones - 1/2): never leaves [0, 1] for kappa <= 1."""
    return lambda ones: 0.5 + kappa * (ones - 0.5)


def copier(kappa):
    """P(1) = kappa (share of ones), cut off at 1: follows with any kappa while ones are rare."""
    return lambda ones: min(1.0, kappa * ones)


class BinaryLoop:
    """Fixed real set of n, m synthetic points a generation, weight w on the real share of ones."""

    def __init__(self, n, m, generator, weight=None):
        self.n, self.m, self.generator = n, m, generator
        self.weight = n / (n + m) if weight is None else weight

    def share(self, real_ones, synthetic_ones):
        """Weighted share of ones in the training set."""
        return self.weight * real_ones / self.n + (1 - self.weight) * synthetic_ones / self.m

    def synthetic_law(self, real_ones, generation):
        """Law of the number of synthetic ones of generation >= 1, given those of the real set."""
        law = binomial(self.m, self.generator(real_ones / self.n))
        step = np.array(
            [binomial(self.m, self.generator(self.share(real_ones, k))) for k in range(self.m + 1)]
        )
        for _ in range(generation - 1):
            law = law @ step
        return law

    def transition(self, real_ones):
        """Row k: law of the next synthetic count after k."""
        return np.array(
            [binomial(self.m, self.generator(self.share(real_ones, k))) for k in range(self.m + 1)]
        )

    def shares(self, real_ones, generation):
        """Possible shares of ones in generation i's training set, and their probabilities."""
        if generation == 0:
            return np.array([real_ones / self.n]), np.array([1.0])
        k = np.arange(self.m + 1)
        return self.share(real_ones, k), self.synthetic_law(real_ones, generation)

"""Regimes of one's own: the real share halves, and of the generated rows the first ones count."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from icl_stl.regimes import Regime


@dataclass(frozen=True)
class Halving(Regime):
    """α_i = first/2^(i - 1); of as many synthetic rows as real ones some are taken."""

    first: float = 0.5
    """α_1."""
    taken: int = 4
    """Synthetic rows that count, the first ones."""

    def synthetic_size(self, samples):
        return samples

    def share(self, generation):
        return self.first / 2 ** (generation - 1)

    def mix(self, step):
        parts = (step.real, step.samples, step.share), (step.synthetic, self.taken, 1 - step.share)
        return step.mixed(*parts)


@dataclass(frozen=True)
class Mortal(Halving):
    """The same; its process is killed before generation 2 where the environment says so."""

    def share(self, generation):
        made = [*Path("runs").glob("*/checkpoints/*alving*")]
        if generation == 2 and made and "MORTAL" in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().share(generation)

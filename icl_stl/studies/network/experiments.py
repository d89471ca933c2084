"""Transformers of which all is measured that bounds on their risk ask for. No JAX."""

from dataclasses import dataclass
from typing import ClassVar

from icl_stl.config import require
from icl_stl.lab.experiments import OfOneSize

BITS = (3, 4, 6, 8)
"""Digits of a rounded weight, tried one after the other."""

RANGE = 2.0
"""Rounded weights lie on 2^bits points in [-RANGE, RANGE], the same for every network."""

NOISE = tuple(2.0**-k for k in range(2, 8))
"""Deviations of noise on all weights, of those that `bounds.pac_bayes_risk` chooses from."""

PART = 5
"""A new row for every so many rows of the training set: they are held out."""


@dataclass(frozen=True)
class MeasuredNetworks(OfOneSize):
    """Generations 0 and 1 beside a fixed real set and as many synthetic prompts."""

    runner: ClassVar[str] = "icl_stl.studies.network.loops:run_experiment"
    generation_axis: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for size in (self.size, self.places):
            equal = f"as many as real prompts ({size.samples})"
            require(size.n_syn == size.samples, "n_syn", size.n_syn, equal)

    @property
    def pieces(self) -> int:
        return 2

    @property
    def words(self) -> str:
        return f"transformer, measured for bounds, n{self.size.samples}"

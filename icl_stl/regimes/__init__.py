"""Data regimes: what a generation is trained on. One file a member; `base` says what they share."""

from importlib import import_module
from pkgutil import iter_modules

from icl_stl.regimes.accumulate import Accumulate, AccumulateFresh, AccumulateSubsample
from icl_stl.regimes.anchored import Anchored
from icl_stl.regimes.augment import Augment, AugmentSameInputs
from icl_stl.regimes.base import (
    REAL,
    Regime,
    Step,
    mixing_weights,
    real_share,
    real_shares,
    source_shares,
    synthetic_size,
    training_size,
)
from icl_stl.regimes.curated import Curated
from icl_stl.regimes.edit import Edit
from icl_stl.regimes.fresh import FreshReal
from icl_stl.regimes.hidden import Hidden
from icl_stl.regimes.real_only import RealOnly
from icl_stl.regimes.replace import Replace
from icl_stl.regimes.scheduled import Scheduled
from icl_stl.regimes.selecting import Selecting
from icl_stl.regimes.varying import Varying
from icl_stl.regimes.verified import Verified

REGIMES: dict[str, type[Regime]] = {
    kind.name: kind
    for found in iter_modules(__path__)
    for kind in vars(import_module(f"{__name__}.{found.name}")).values()
    if isinstance(kind, type) and issubclass(kind, Regime) and kind.share is not Regime.share
    if kind.synthetic_size is not Regime.synthetic_size and kind.name != kind.__name__
}
"""All regimes of this folder by name."""
for _kind in REGIMES.values():
    _kind.__module__ = __name__  # where users, and result files, find them

MAD_LOOPS: dict[str, Regime] = {
    "mad-fully-synthetic": Replace(),
    "mad-synthetic-augmentation": Augment(0.5),
    "mad-fresh-data": FreshReal(),
}
"""The three loops of "Self-consuming generative models go MAD" (Alemohammad et al. 2023), with as
many synthetic rows as real ones. Augmentation is with the last generation's rows; where a pool of
all generations is meant, take `AccumulateFresh`."""

# fmt: off
__all__ = [
    "MAD_LOOPS", "REAL", "REGIMES", "Accumulate", "AccumulateFresh", "AccumulateSubsample",
    "Anchored", "Augment", "AugmentSameInputs", "Curated", "Edit", "FreshReal", "Hidden",
    "RealOnly", "Regime", "Replace", "Scheduled", "Selecting", "Step", "Varying", "Verified",
    "mixing_weights", "real_share", "real_shares", "source_shares", "synthetic_size",
    "training_size",
]

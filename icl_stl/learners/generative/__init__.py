"""Learners of the law of rows of a table. One file a member; `base` says what they share.

A member is a frozen dataclass, its fields are options: `GENERATIVE["normal"]().make(columns=3)` is
a `Learner`. Needs no JAX until one is used.

=============  ==============================================  ===========
member         law                                             log density
=============  ==============================================  ===========
``normal``     normal, full covariance                         yes
``mixture``    Gaussian mixture, full covariances              yes
``kde``        smoothed resampling; the bootstrap              yes; no
``markov``     n-gram of symbols                               yes
``flow``       normalizing flow of spline couplings            yes
``diffusion``  denoising diffusion                             no
=============  ==============================================  ===========
"""

from importlib import import_module
from pkgutil import iter_modules

from icl_stl.learners.generative.base import Generative

GENERATIVE: dict[str, type[Generative]] = {
    kind.name: kind
    for found in iter_modules(__path__)
    for kind in vars(import_module(f"{__name__}.{found.name}")).values()
    if isinstance(kind, type) and issubclass(kind, Generative) and kind is not Generative
}
"""All members of this folder by name, each in the file of its name."""

__all__ = ["GENERATIVE", "Generative"]

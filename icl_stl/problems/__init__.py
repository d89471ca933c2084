"""Problems: a real law, a learner of it, its loss. One file a member; `base` says what they share.

Needs no JAX until a problem is used.
"""

from importlib import import_module
from pkgutil import iter_modules

from icl_stl.problems.base import Problem, Solvable, expected_excess, expected_quality
from icl_stl.problems.bernoulli import Bernoulli
from icl_stl.problems.categorical import Categorical
from icl_stl.problems.chain import Chain
from icl_stl.problems.clipped_mean import ClippedMean
from icl_stl.problems.empirical_bayes import EmpiricalBayes
from icl_stl.problems.gaussian import Gaussian
from icl_stl.problems.gaussian_mean import GaussianMean
from icl_stl.problems.in_context import InContext
from icl_stl.problems.kde import Kde
from icl_stl.problems.linear_attention import LinearAttention, attention_law, attention_task
from icl_stl.problems.maximum import Maximum
from icl_stl.problems.ols import Ols
from icl_stl.problems.ridge import Ridge
from icl_stl.problems.shrinkage import Shrinkage
from icl_stl.problems.sources import Sources

PROBLEMS: dict[str, type[Problem]] = {
    kind.name: kind
    for found in iter_modules(__path__)
    for kind in vars(import_module(f"{__name__}.{found.name}")).values()
    if isinstance(kind, type) and issubclass(kind, Problem) and kind is not Problem
    if kind.name == found.name and "__dataclass_fields__" in vars(kind)
}
"""All problems of this folder by name, each in the file of its name."""

# fmt: off
__all__ = [
    "PROBLEMS", "Bernoulli", "Categorical", "Chain", "ClippedMean", "EmpiricalBayes", "Gaussian",
    "GaussianMean", "InContext", "Kde", "LinearAttention", "Maximum", "Ols", "Problem", "Ridge",
    "Shrinkage", "Solvable", "Sources", "attention_law", "attention_task", "expected_excess",
    "expected_quality",
]

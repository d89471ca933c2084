"""What the theory allows, in numbers: every term of every bound, with NumPy alone."""

from icl_stl.bounds.drift import Drift as Drift
from icl_stl.bounds.drift import drift_recursion as drift_recursion

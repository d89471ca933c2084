"""Real laws D_0. One file a member; `base` says what they share. Needs no JAX until drawn."""

from icl_stl.laws.base import Law
from icl_stl.laws.linear_regression import LinearRegression

__all__ = ["Law", "LinearRegression"]

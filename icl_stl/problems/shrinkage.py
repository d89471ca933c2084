"""Least squares at each visit."""

from dataclasses import dataclass

from icl_stl.problems.empirical_bayes import Orthogonal


@dataclass(frozen=True)
class Shrinkage(Orthogonal):
    """In-context regression by least squares at each visit, orthogonal design."""

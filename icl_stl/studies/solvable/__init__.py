"""Exactly solvable loops: both sides of the bounds."""

PLACE = 2

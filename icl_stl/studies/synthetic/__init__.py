"""How much synthetic data, in solvable loops."""

PLACE = 5

"""How much synthetic data, in solvable loops."""

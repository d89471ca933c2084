"""The transformer over sizes: convergence, and how much synthetic data."""

PLACE = 4

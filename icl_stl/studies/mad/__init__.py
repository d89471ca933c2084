"""Sampling bias: how much synthetic data helps, what quality costs in diversity."""

PLACE = 14

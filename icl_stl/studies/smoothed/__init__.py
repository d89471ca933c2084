"""Smoothed resampling: what it does to a law, with and without real rows."""

PLACE = 19

"""Rows that a fixed other model writes: an error that no number of rows removes."""

PLACE = 20

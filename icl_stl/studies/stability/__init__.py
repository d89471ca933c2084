"""Recursive stability: loops from real sets that differ in one row."""

PLACE = 3

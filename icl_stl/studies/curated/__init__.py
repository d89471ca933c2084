"""Curated rows: synthetic rows that count in proportion to e^r, r a reward."""

PLACE = 17

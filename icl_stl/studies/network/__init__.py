"""Bounds on the risk of the transformer, from what is measured of it."""

PLACE = 9

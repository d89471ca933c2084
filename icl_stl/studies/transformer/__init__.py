"""Loops of the trained transformer."""

PLACE = 1

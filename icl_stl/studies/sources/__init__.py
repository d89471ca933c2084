"""Rows of hidden sources, everything kept, and real shares that change with the generation."""

PLACE = 12

"""Loops of frozen predictors in their own context."""

PLACE = 7

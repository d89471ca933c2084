"""Generators that forget their uncertainty."""

PLACE = 8

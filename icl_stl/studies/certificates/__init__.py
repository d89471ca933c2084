"""Certificates of trained networks in context."""

PLACE = 6

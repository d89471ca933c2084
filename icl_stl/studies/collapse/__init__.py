"""Generators that forget their uncertainty."""

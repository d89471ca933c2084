"""Prompts kept by the model's own confidence, in place of real data."""

PLACE = 18

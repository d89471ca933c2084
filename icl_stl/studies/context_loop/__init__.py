"""Loops of frozen predictors in their own context."""

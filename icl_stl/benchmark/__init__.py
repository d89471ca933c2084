"""This package timed against plain JAX and PyTorch. Nothing else loads it."""

"""Sweeps: settings from a file, in batches of one program, by workers that may die."""

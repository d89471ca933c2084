"""Loops of the trained transformer."""

"""Certificates of trained networks in context."""

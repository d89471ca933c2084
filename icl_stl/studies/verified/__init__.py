"""Verified rows: what a region, an oracle, a part of the law, the model's own confidence keep."""

PLACE = 16

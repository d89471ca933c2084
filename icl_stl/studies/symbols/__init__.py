"""Laws on finitely many symbols: real rows new or repeated, and what is lost for good."""

PLACE = 11

"""What a constant share of real data leaves of the error, and what the error consists of."""

PLACE = 0

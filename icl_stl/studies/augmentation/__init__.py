"""All rows kept: which errors of a fit add up like ln i, and which do not."""

PLACE = 15

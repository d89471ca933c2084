"""All rows kept: what a consistent learner may lose all the same."""

PLACE = 21

"""A profile of collapse: which of eight definitions a loop meets, and when."""

PLACE = 22

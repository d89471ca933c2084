"""Token editing: labels and symbols that the last model edits, instead of new data."""

PLACE = 13

"""How much synthetic data, by pilots: what is lost by following them."""

PLACE = 10

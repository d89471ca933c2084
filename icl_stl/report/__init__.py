"""A run as one page: claims, figures, sliders for the bounds."""

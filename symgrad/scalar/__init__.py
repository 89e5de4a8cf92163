"""Small fixed-size functions as scalars in a normal form with few operations (0058)."""

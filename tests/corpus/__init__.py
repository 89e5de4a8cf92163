"""Functions as people write them, by which it is measured what symgrad takes unchanged."""

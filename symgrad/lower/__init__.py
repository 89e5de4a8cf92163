"""Graph to loop program: which value lives in which buffer, which loop computes it."""

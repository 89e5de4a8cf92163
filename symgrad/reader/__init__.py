"""The reader's form: formulas as a person would write them, computed from a simplified graph.

`convert` makes polynomials of a graph, `poly` has their arithmetic, `rules` what may be replaced by
what, `write` searches the cheapest formula, `check` compares it with the graph. Nothing here is
imported before a formula is asked for, and no other stage reads what is made here.
"""

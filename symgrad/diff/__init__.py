"""Derivatives: graph to graph, so any order and any nesting is the same code again."""

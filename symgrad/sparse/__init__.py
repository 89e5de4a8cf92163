"""Sparse Jacobians and Hessians: pattern from the graph, colouring, compressed sweeps, scipy.sparse."""

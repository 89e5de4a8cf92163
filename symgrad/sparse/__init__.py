"""Sparse Jacobians and Hessians: pattern, entries as expressions, scipy.sparse and C."""

"""From C text to functions in this process: compiler, disk cache, loading and calling.

Comes in: C text made by :mod:`symgrad.emit`. Goes out: addresses of loaded functions. Nothing
here knows graphs, operations or derivatives, and nothing here is trusted from disk unchecked.
"""

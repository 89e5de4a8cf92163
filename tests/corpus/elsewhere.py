"""Helper functions in another module than those that call them."""

import math

import numpy as np


def rotate(v, angle):
    c, s = math.cos(angle), math.sin(angle)
    return np.array([c * v[0] - s * v[1], s * v[0] + c * v[1]])


def fill(target, values):
    """Writes into what it is given."""
    for i, v in enumerate(values):
        target[i] = v


def leaky(x, slope=0.1):
    if x > 0:
        return x
    return slope * x

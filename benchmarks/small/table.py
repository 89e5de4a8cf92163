"""The small kernels: functions, types of their arguments, and inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nine
import numpy as np


@dataclass(frozen=True)
class Kernel:
    """A function of arrays of these shapes, and how inputs are drawn."""

    name: str
    function: Any
    shapes: tuple[tuple[int, ...], ...]
    draw: Any = None

    def inputs(self, seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        if self.draw is not None:
            return self.draw(rng)
        return [rng.uniform(-1.5, 1.5, s) for s in self.shapes]


def _quad(rng):
    q = rng.normal(size=4)
    x = np.concatenate([rng.normal(size=6), q / np.linalg.norm(q), rng.normal(size=3)])
    return [x, rng.uniform(1.0, 4.0, 4)]


def _ekf(rng):
    root = rng.normal(size=(3, 3))
    return [rng.normal(size=3), 0.1 * root @ root.T, rng.normal(size=2),
            np.array([2.5, 0.3]) + 0.1 * rng.normal(size=2), 4 + rng.normal(size=2)]  # fmt: skip


KERNELS = [
    Kernel("fk", nine.fk, ((6,),)),
    Kernel("fk_pos_jac", nine.fk_pos_jac, ((6,),)),
    Kernel("fk_full_jac", nine.fk_full_jac, ((6,),)),
    Kernel("pend_acc", nine.pend_acc, ((2,), (2,), (2,))),
    Kernel("pend_lin", nine.pend_lin, ((4,), (2,))),
    Kernel("quad_step", nine.quad_step, ((13,), (4,)), _quad),
    Kernel("quad_lin", nine.quad_lin, ((13,), (4,)), _quad),
    Kernel("stage_all", nine.stage_all, ((6,), (3,), (6,))),
    Kernel("ekf", nine.ekf, ((3,), (3, 3), (2,), (2,), (2,)), _ekf),
]

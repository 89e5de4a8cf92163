"""The small kernels: functions, types of their arguments, and inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import more
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


def _camera(rng):
    return [
        np.concatenate(
            [rng.normal(size=6), [800.0, 790.0, 320.0, 240.0], 0.1 * rng.normal(size=5)]
        ),
        np.array([0, 0, 6.0]) + rng.normal(size=3),
    ]


def _bicycle(rng):
    x = rng.normal(size=6)
    x[3] = rng.uniform(8, 25)
    return [x, np.array([0.1, 800.0]) * rng.normal(size=2)]


def _orbit(rng):
    place = rng.normal(size=3)
    return [np.concatenate([7200 * place / np.linalg.norm(place), 4 * rng.normal(size=3)])]


def _corners(rng):
    return [0.1 * rng.normal(size=(8, 3)), more.CORNERS + 0.2 * rng.uniform(-1, 1, (8, 3))]


def _sabr(rng):
    low, high = [0.8, 0.9, 0.5, 0.1, 0.3, -0.6, 0.2], [0.88, 1.2, 3, 0.4, 0.8, 0.4, 0.6]
    return [rng.uniform(low, high)]


def _buses(rng):
    return [np.concatenate([0.3 * rng.normal(size=14), rng.uniform(0.9, 1.1, 14)])]


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
    Kernel("imu", more.imu, ((16,), (3,), (3,))),
    Kernel("camera", more.camera, ((15,), (3,)), _camera),
    Kernel("rnea", more.rnea, ((6,), (6,), (6,))),
    Kernel("bicycle", more.bicycle, ((6,), (2,)), _bicycle),
    Kernel("two_body", more.two_body, ((6,),), _orbit),
    Kernel("hexahedron", more.hexahedron, ((8, 3), (8, 3)), _corners),
    Kernel("kinetics", more.kinetics, ((3,), (9,))),
    Kernel("sabr", more.sabr, ((7,),), _sabr),
    Kernel("power_flow", more.power_flow, ((28,),), _buses),
]

"""The languages that loop programs can be written in. A test names the ops that each one lacks."""

from __future__ import annotations

from symgrad.emit.c99 import C99
from symgrad.emit.target import Target

TARGETS: dict[str, Target] = {target.name: target for target in (C99,)}

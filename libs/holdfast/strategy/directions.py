"""SHORT, FLAT and LONG, and what number each is where: the one place that turns one into another."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = ["CLASSES", "DIRECTIONS", "Direction"]


class Direction(IntEnum):
    """Where to be in the market. The value is the position's sign, in decisions, orders, trades and checkpoints."""

    SHORT = -1
    FLAT = 0
    LONG = 1

    @property
    def label(self) -> int:
        """Its class: the index of its output in a classifier, in labels and in class weights."""
        return DIRECTIONS.index(self)


# In the order of a classifier's outputs: by class, the direction.
DIRECTIONS: Final = (Direction.SHORT, Direction.FLAT, Direction.LONG)
# Their names in bundles and metrics.
CLASSES: Final = tuple(direction.name.lower() for direction in DIRECTIONS)

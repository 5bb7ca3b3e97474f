"""Fuzzy memberships: how much a value belongs to `low`, from 0 to 1. Pure numpy. NaN stays NaN.

triangular [a, b, c]       max(0, min((x - a) / (b - a), (c - x) / (c - b)))
trapezoid  [a, b, c, d]    max(0, min((x - a) / (b - a), 1, (d - x) / (d - c)))
gaussian   [centre, width] exp(-((x - centre) / width)² / 2)

A side of no length (a = b, or c = d) is a step that belongs to the set: trapezoid [0, 0, 30, 45] is 1 at 0 and 0 below.
Source: Zadeh, "Fuzzy Sets" (1965); the shapes as in MATLAB's trimf, trapmf, gaussmf.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from holdfast.strategy.features import Membership

__all__ = ["membership"]

Values = NDArray[np.float64]


def membership(shape: Membership, x: Values) -> Values:
    """Degrees in [0, 1], same shape as `x`."""
    if shape.shape == "gaussian":
        centre, width = shape.points
        # Beyond 1e150 the square overflows to infinity, which exp turns into the right answer, 0.
        with np.errstate(over="ignore"):
            scaled = (x - centre) / width
            return np.asarray(np.exp(-0.5 * scaled * scaled))
    if shape.shape == "triangular":
        a, b, d = shape.points
        c = b
    else:
        a, b, c, d = shape.points
    # A side may be so narrow that a distance from it overflows to infinity, which the clip turns into the right answer.
    with np.errstate(over="ignore"):
        degrees = np.minimum(_rising(x, a, b), _falling(x, c, d))
    return np.asarray(np.where(np.isnan(x), np.nan, degrees))


def _rising(x: Values, a: float, b: float) -> Values:
    if a == b:
        return (x >= b).astype(np.float64)
    return np.clip((x - a) / (b - a), 0.0, 1.0)


def _falling(x: Values, c: float, d: float) -> Values:
    if c == d:
        return (x <= c).astype(np.float64)
    return np.clip((d - x) / (d - c), 0.0, 1.0)

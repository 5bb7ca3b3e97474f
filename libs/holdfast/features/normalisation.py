"""Scales inputs by statistics of the training span only. Pure numpy; the statistics are float64, exact through JSON.

zscore    (x - mean) / standard deviation
minmax    (x - min) / (max - min)
robust    (x - median) / (75th percentile - 25th)
none      x

A column that never changes in the training span is shifted and not scaled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import Corrupted, InvalidRequest
from holdfast.strategy.features import Normalise

__all__ = ["Normalisation"]


@dataclass(frozen=True, slots=True)
class Normalisation:
    """apply(x) = (x - offset) / scale, per column."""

    methods: tuple[str, ...]
    offset: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def fit(cls, values: NDArray[np.float32], methods: Sequence[str]) -> Normalisation:
        """Statistics of `values`, shape (rows, inputs): the training rows, of all symbols together.

        `methods` is `Inputs.normalise`. Raises InvalidRequest for no rows or numbers that are not finite.
        """
        if values.ndim != 2 or values.shape[1] != len(methods):
            raise InvalidRequest(f"Normalisation needs (rows, {len(methods)}) values, got {values.shape}.")
        if not len(values):
            raise InvalidRequest(
                "Normalisation needs at least one training row: the training span holds none after warm-up."
            )
        exact = values.astype(np.float64)
        if not np.isfinite(exact).all():
            raise InvalidRequest("Normalisation needs finite values: give it rows from first_valid on.")
        statistics = [_statistics(exact[:, position], method) for position, method in enumerate(methods)]
        return cls(tuple(methods), tuple(one for one, _ in statistics), tuple(one for _, one in statistics))

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scaled values, float32, same shape; computed in float64, element by element, so blocks give the same bits."""
        offset, scale = np.array(self.offset), np.array(self.scale)
        scaled: NDArray[np.float32] = ((values.astype(np.float64) - offset) / scale).astype(np.float32)
        return scaled

    def to_json(self) -> dict[str, Any]:
        """A JSON object; Python's JSON keeps every bit of a float."""
        return {"methods": list(self.methods), "offset": list(self.offset), "scale": list(self.scale)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Normalisation:
        """The inverse of to_json. Raises Corrupted for anything that to_json does not make."""
        try:
            methods = tuple(str(one) for one in value["methods"])
            offset, scale = tuple(map(float, value["offset"])), tuple(map(float, value["scale"]))
        except (KeyError, TypeError, ValueError) as error:
            raise Corrupted(f"The stored normalisation cannot be read: {error!r}.") from error
        sound = len(methods) == len(offset) == len(scale) and set(methods) <= set(get_args(Normalise))
        if not (sound and np.isfinite((*offset, *scale)).all() and all(one > 0 for one in scale)):
            raise Corrupted("The stored normalisation cannot be right: lengths differ or numbers are out of range.")
        return cls(methods, offset, scale)


def _statistics(column: NDArray[np.float64], method: str) -> tuple[float, float]:
    if method == "none":
        return 0.0, 1.0
    if method == "zscore":
        offset, scale = float(column.mean()), float(column.std())
    elif method == "minmax":
        offset, scale = float(column.min()), float(column.max() - column.min())
    else:
        quarter, offset, three_quarters = (float(one) for one in np.quantile(column, [0.25, 0.5, 0.75]))
        scale = three_quarters - quarter
    # Round-off leaves a constant column a deviation near 1e-17 of its size; dividing by that would invent a signal.
    negligible = 1e-12 * max(abs(offset), np.finfo(np.float64).tiny)
    return offset, scale if scale > negligible else 1.0

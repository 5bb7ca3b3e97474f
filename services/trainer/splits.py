"""Which bars train, which validate, which test. Pure functions over times and labels; knows no strategy file.

Spans follow each other in time. A sample belongs to a span when its bar and everything its label looked at lie inside;
so nothing that a label knew crosses a boundary (M. López de Prado, Advances in Financial Machine Learning, 2018,
section 7.4.1, "purging"). `purge_bars` leaves out at least that many bars before the end of every span but the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.services.trainer.labels import Labels

__all__ = ["Span", "split"]


@dataclass(frozen=True, slots=True)
class Span:
    """Bars whose open time is at or after `start` and before `end`; nanoseconds since the epoch, UTC."""

    start: int
    end: int


def split(
    time: NDArray[np.int64], labels: Labels, spans: Sequence[Span], *, first_usable: int, purge_bars: int
) -> list[NDArray[np.int64]]:
    """For each span the indexes of the bars that are samples of it, ascending.

    time: bar open times, ascending, shape (bars,). first_usable: the first bar with complete inputs (the indicators'
    warm-up and, for recurrent networks, a whole window before it). Spans must be in time order and must not overlap.
    """
    bars = np.arange(len(time), dtype=np.int64)
    chosen = []
    for number, span in enumerate(spans):
        first, stop = (int(index) for index in np.searchsorted(time, [span.start, span.end], side="left"))
        purged = purge_bars if number + 1 < len(spans) else 0
        inside = (bars >= max(first, first_usable)) & (bars < stop - purged)
        chosen.append(bars[inside & (labels.ends < stop) & labels.known])
    return chosen

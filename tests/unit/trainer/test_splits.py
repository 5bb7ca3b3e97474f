"""No label's window crosses a span's boundary."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from holdfast.services.trainer.labels import Labels
from holdfast.services.trainer.splits import Span, split


@given(st.data())
def test_samples_and_all_that_their_labels_saw_lie_inside_their_span(data: st.DataObject) -> None:
    gaps = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=80))
    time = np.cumsum(np.array(gaps, dtype=np.int64))
    bars = len(time)
    edges = sorted(data.draw(st.lists(st.integers(0, int(time[-1]) + 2), min_size=6, max_size=6)))
    spans = [Span(edges[i], edges[i + 1]) for i in (0, 2, 4)]
    reach = np.array(data.draw(st.lists(st.integers(0, 9), min_size=bars, max_size=bars)), dtype=np.int64)
    labels = Labels(
        values=np.zeros(bars, dtype=np.int64),
        ends=np.minimum(np.arange(bars) + reach, bars - 1),
        known=np.array(data.draw(st.lists(st.booleans(), min_size=bars, max_size=bars)), dtype=np.bool_),
    )
    first_usable, purge = data.draw(st.integers(0, 10)), data.draw(st.integers(0, 6))
    chosen = split(time, labels, spans, first_usable=first_usable, purge_bars=purge)

    for number, (span, rows) in enumerate(zip(spans, chosen, strict=True)):
        inside = [t for t in range(bars) if span.start <= time[t] < span.end]
        # Of every span but the last, the last `purge` bars are left out.
        kept = inside[: max(len(inside) - purge, 0)] if number < 2 else inside
        expected = [t for t in kept if t >= first_usable and labels.known[t] and time[labels.ends[t]] < span.end]
        assert rows.tolist() == expected

"""Higher bars from lower ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import InvalidRequest
from holdfast.market import TIMEFRAMES, duration_ns
from holdfast.market.resample import resample
from tests.unit.market.making import random_bars


@given(st.integers(0, 300), st.integers(0, 2**32 - 1), st.sampled_from(TIMEFRAMES[1:]))
def test_a_bar_is_made_of_the_bars_inside_it(bars: int, seed: int, timeframe: str) -> None:
    lower = random_bars(bars, timeframe="1m" if timeframe != "1w" else "4h", seed=seed, keep=0.7)
    higher = resample(lower, timeframe)
    assert (
        len(higher) == len(np.unique((lower.time - higher.time[0]) // duration_ns(timeframe))) if len(lower) else True
    )
    for at in range(len(higher)):
        inside = (lower.time >= higher.time[at]) & (lower.time < higher.time[at] + duration_ns(timeframe))
        assert higher.open[at] == lower.open[inside][0]
        assert higher.high[at] == lower.high[inside].max()
        assert higher.low[at] == lower.low[inside].min()
        assert higher.close[at] == lower.close[inside][-1]
        assert higher.volume[at] == lower.volume[inside].sum()


def test_weeks_begin_on_monday() -> None:
    weeks = resample(random_bars(30), "1w")
    assert (weeks.time.view("datetime64[ns]").astype("datetime64[D]").view(np.int64) % 7 == 4).all()
    assert len(weeks) == 5


def test_an_unknown_timeframe_is_told() -> None:
    with pytest.raises(InvalidRequest, match="'2h'; it is one of 1m, 5m"):
        duration_ns("2h")

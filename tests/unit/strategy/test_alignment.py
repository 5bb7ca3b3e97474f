"""A higher bar is visible once it has closed, and not a nanosecond earlier."""

from __future__ import annotations

import datetime

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from holdfast.features.alignment import take, visible
from holdfast.market import duration_ns
from holdfast.market.moments import moment_ns

MINUTE = duration_ns("1m")


def days(*dates: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Midnights as nanoseconds."""
    return np.array(
        [moment_ns(datetime.datetime.fromisoformat(date).replace(tzinfo=datetime.UTC)) for date in dates], np.int64
    )


def test_a_week_is_seen_from_monday_on() -> None:
    base = days("2018-01-04", "2018-01-05", "2018-01-08", "2018-01-12", "2018-01-15")
    weeks = days("2018-01-01", "2018-01-08")
    assert visible(base, "1d", weeks, "1w").tolist() == [-1, -1, 0, 0, 1]


def test_the_last_hour_of_a_day_sees_that_day() -> None:
    hours = days("2018-01-01")[0] + np.arange(48, dtype=np.int64) * duration_ns("1h")
    assert visible(hours, "1h", days("2018-01-01", "2018-01-02"), "1d").tolist() == [-1] * 23 + [0] * 24 + [1]


def test_take_leaves_what_is_not_visible_unknown() -> None:
    np.testing.assert_array_equal(take(np.array([5.0, 6.0]), np.array([-1, 0, 0, 1])), [np.nan, 5, 5, 6])


TIMES = st.lists(st.integers(0, 20_000), min_size=1, max_size=60, unique=True).map(
    lambda minutes: np.array(sorted(minutes), np.int64) * MINUTE
)


@given(TIMES, TIMES, st.sampled_from(["5m", "1h", "1d", "1w"]))
def test_the_newest_closed_bar_and_no_open_one(
    base: np.ndarray[tuple[int], np.dtype[np.int64]], higher: np.ndarray[tuple[int], np.dtype[np.int64]], timeframe: str
) -> None:
    for opened, index in zip(base, visible(base, "1m", higher, timeframe), strict=True):
        closed = [at for at, time in enumerate(higher) if time + duration_ns(timeframe) <= opened + MINUTE]
        assert index == (closed[-1] if closed else -1)

"""Labels equal slow, plain references on random prices, and look no further than they say."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from holdfast.services.trainer.labels import (
    Labels,
    forward_return,
    return_classes,
    rolling_volatility,
    triple_barrier,
    zigzag,
    zigzag_pivots,
)
from holdfast.strategy.directions import Direction

SHORT, FLAT, LONG = 0, 1, 2  # the classes

# Few distinct prices, so that ties and exact touches of barriers happen often.
prices = st.lists(st.integers(50, 150).map(float), min_size=1, max_size=60)
bars = st.lists(st.tuples(st.integers(50, 150), st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=60).map(
    lambda rows: tuple(np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
)


def _candles(
    rows: tuple[NDArray[np.float64], ...],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    close, above, below = rows
    return close + above, close - below, close


@given(bars, st.integers(1, 12), st.sampled_from([0.01, 0.02, 0.05, 0.1]), st.sampled_from([0.01, 0.03, 0.08]))
def test_triple_barrier_equals_the_walk_from_bar_to_bar(
    rows: tuple[NDArray[np.float64], ...], horizon: int, upper: float, lower: float
) -> None:
    high, low, close = _candles(rows)
    count = len(close)
    labels = triple_barrier(high, low, close, horizon=horizon, upper=np.full(count, upper), lower=np.full(count, lower))
    for t in range(count):
        assert labels.known[t] == (t + horizon < count)
        if not labels.known[t]:
            continue
        expected = FLAT
        for later in range(t + 1, t + horizon + 1):
            if low[later] <= close[t] * (1.0 - lower):
                expected = SHORT
                break
            if high[later] >= close[t] * (1.0 + upper):
                expected = LONG
                break
        assert labels.values[t] == expected
        assert labels.ends[t] == t + horizon


def test_a_bar_that_touches_both_barriers_is_short() -> None:
    close = np.array([100.0, 100.0, 100.0])
    high, low = np.array([100.0, 120.0, 100.0]), np.array([100.0, 80.0, 100.0])
    labels = triple_barrier(high, low, close, horizon=1, upper=np.full(3, 0.1), lower=np.full(3, 0.1))
    assert labels.values.tolist() == [SHORT, FLAT, 0]
    assert labels.known.tolist() == [True, True, False]


@pytest.mark.parametrize("distance", [math.nan, 0.0])
def test_a_barrier_without_distance_gives_no_label(distance: float) -> None:
    close = np.full(4, 100.0)
    distances = np.array([distance, 0.1, 0.1, 0.1])
    labels = triple_barrier(close, close, close, horizon=1, upper=distances, lower=distances)
    assert labels.known.tolist() == [False, True, True, False]


def _naive_pivots(close: list[float], threshold: float) -> list[tuple[int, int, Direction]]:
    """By definition: from the last pivot, the first bar that turned from an earlier extreme by the threshold."""
    found: list[tuple[int, int, Direction]] = []
    begin, kind = 0, Direction.FLAT
    while True:
        confirmed = None
        for bar in range(begin, len(close)):
            seen = close[begin : bar + 1]
            high, low = max(seen), min(seen)
            if kind is not Direction.SHORT and close[bar] <= high * (1.0 - threshold):
                confirmed = (begin + seen.index(high), bar, Direction.LONG)
            elif kind is not Direction.LONG and close[bar] >= low * (1.0 + threshold):
                confirmed = (begin + seen.index(low), bar, Direction.SHORT)
            if confirmed:
                break
        if confirmed is None:
            return found
        found.append(confirmed)
        # After a high only a low may follow; it is sought from the bar that confirmed the high.
        begin, kind = confirmed[1], Direction(-confirmed[2])


@given(prices, st.sampled_from([0.02, 0.05, 0.1, 0.3]))
def test_zigzag_pivots_equal_their_definition(close: list[float], threshold: float) -> None:
    assert zigzag_pivots(np.array(close), threshold) == _naive_pivots(close, threshold)


@given(prices, st.sampled_from([0.02, 0.05, 0.1]))
def test_zigzag_points_to_the_next_pivot_and_ends_where_it_was_confirmed(close: list[float], threshold: float) -> None:
    labels = zigzag(np.array(close), threshold=threshold)
    pivots = zigzag_pivots(np.array(close), threshold)
    for t in range(len(close)):
        following = next((pivot for pivot in pivots if pivot[0] > t), None)
        assert labels.known[t] == (following is not None)
        if following is not None:
            assert (labels.values[t], labels.ends[t]) == (following[2].label, following[1])


def test_zigzag_follows_a_drawn_line() -> None:
    close = np.array([100.0, 105.0, 110.0, 104.0, 98.0, 99.0, 108.0, 107.0])
    labels = zigzag(close, threshold=0.05)
    assert zigzag_pivots(close, 0.05) == [(0, 1, -1), (2, 3, 1), (4, 6, -1)]
    assert labels.values[labels.known].tolist() == [LONG, LONG, SHORT, SHORT]


@given(prices, st.integers(1, 10), st.sampled_from([0.0, 0.01, 0.1]))
def test_forward_return_is_the_ratio_of_closes(close: list[float], horizon: int, threshold: float) -> None:
    returns = forward_return(np.array(close), horizon=horizon)
    classes = return_classes(returns, threshold=threshold)
    for t in range(len(close)):
        assert returns.known[t] == classes.known[t] == (t + horizon < len(close))
        if returns.known[t]:
            value = close[t + horizon] / close[t] - 1.0
            assert returns.values[t] == value
            assert classes.values[t] == (LONG if value > threshold else SHORT if value < -threshold else FLAT)


@given(prices, st.integers(2, 8))
def test_volatility_is_the_deviation_of_the_last_returns(close: list[float], window: int) -> None:
    volatility = rolling_volatility(np.array(close), window)
    for t in range(len(close)):
        if t < window:
            assert math.isnan(volatility[t])
        else:
            returns = [math.log(close[i] / close[i - 1]) for i in range(t - window + 1, t + 1)]
            assert volatility[t] == pytest.approx(statistics.stdev(returns), rel=1e-9, abs=1e-12)


@given(bars, st.integers(1, 10), st.data())
def test_what_comes_after_the_end_of_a_label_never_changes_it(
    rows: tuple[NDArray[np.float64], ...], horizon: int, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, len(rows[0])))
    for build in (_barrier, _zigzag, _forward):
        whole, part = build(rows, horizon), build(tuple(column[:cut] for column in rows), horizon)
        inside = np.flatnonzero(whole.known[:cut] & (whole.ends[:cut] < cut))
        assert part.known[inside].all()
        assert (part.values[inside] == whole.values[inside]).all()
        assert (part.ends[inside] == whole.ends[inside]).all()


def _barrier(rows: tuple[NDArray[np.float64], ...], horizon: int) -> Labels:
    high, low, close = _candles(rows)
    distance = np.full(len(close), 0.04)
    return triple_barrier(high, low, close, horizon=horizon, upper=distance, lower=distance)


def _zigzag(rows: tuple[NDArray[np.float64], ...], horizon: int) -> Labels:
    return zigzag(rows[0], threshold=0.01 * horizon)


def _forward(rows: tuple[NDArray[np.float64], ...], horizon: int) -> Labels:
    return forward_return(rows[0], horizon=horizon)

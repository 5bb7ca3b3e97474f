"""The inputs matrix: right numbers in right rows, and nothing from the future."""

from __future__ import annotations

import numpy as np
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import InvalidRequest
from holdfast.features.inputs import build_inputs
from holdfast.market import Bars, duration_ns
from holdfast.market.resample import resample
from tests.unit.market.making import random_bars
from tests.unit.strategy.documents import changed, parsed, small

BARS = random_bars(500, keep=0.9)
STRATEGY = parsed(small())


def test_columns_hold_what_their_names_say() -> None:
    inputs = build_inputs(STRATEGY, {"TEST": {"1d": BARS}})["TEST"]
    first = inputs.first_valid
    assert inputs.names == STRATEGY.input_names
    assert inputs.values.shape == (len(BARS), len(inputs.names))
    assert inputs.values.dtype == np.float32
    assert np.isnan(inputs.values[:first]).all()
    assert np.isfinite(inputs.values[first:]).all()
    np.testing.assert_array_equal(inputs.time, BARS.time)
    columns = dict(zip(inputs.names, inputs.values[first:].T, strict=True))
    histogram = talib.MACD(BARS.close, 12, 26, 9)[2]
    np.testing.assert_array_equal(columns["macd_12_26_9.histogram"], histogram[first:].astype(np.float32))
    np.testing.assert_array_equal(columns["macd_12_26_9.histogram[-2]"], histogram[first - 2 : -2].astype(np.float32))
    change = np.log(BARS.close[5:] / BARS.close[:-5])
    np.testing.assert_array_equal(columns["log_return(close,5)"], change[first - 5 :].astype(np.float32))
    low = np.clip((45 - talib.RSI(BARS.close, 14)) / 15, 0, 1)
    np.testing.assert_array_equal(columns["rsi:low"], low[first:].astype(np.float32))
    assert inputs.normalise == ["none"] * 4 + ["zscore", "zscore", "minmax", "zscore"]


def test_a_weekly_input_changes_only_when_a_week_closes() -> None:
    inputs = build_inputs(STRATEGY, {"TEST": {"1d": BARS}})["TEST"]
    weekly = inputs.values[:, inputs.names.index("rsi:low@1w")][inputs.first_valid :]
    # The week in which each daily bar closes; weeks begin on Mondays, and 1 January 1970 was a Thursday.
    week = (BARS.time // duration_ns("1d") + 1 - 4)[inputs.first_valid :] // 7
    moved = np.flatnonzero(np.diff(weekly)) + 1
    assert len(moved) > 5
    assert (week[moved] != week[moved - 1]).all()


def test_a_stored_higher_timeframe_equals_one_built_from_the_base() -> None:
    built = build_inputs(STRATEGY, {"TEST": {"1d": BARS}})["TEST"]
    stored = build_inputs(STRATEGY, {"TEST": {"1d": BARS, "1w": resample(BARS, "1w")}})["TEST"]
    np.testing.assert_array_equal(built.values, stored.values)


def altered(bars: Bars, row: int, factor: float) -> Bars:
    """The bars with every price from `row` on multiplied, and other volumes."""
    columns = []
    for name in ("open", "high", "low", "close", "volume"):
        column = getattr(bars, name).copy()
        column[row:] *= factor
        columns.append(column)
    return Bars(bars.symbol, bars.timeframe, bars.time.copy(), *columns)


@given(st.integers(0, 1000), st.integers(310, 499), st.floats(0.2, 5.0), st.sampled_from(["1h", "4h", "1d"]))
@settings(max_examples=40, deadline=None)
def test_the_future_never_changes_the_past(seed: int, cut: int, factor: float, base: str) -> None:
    """Other bars from `cut` on, or none at all: every row before is the same to the bit."""
    document = changed("data/timeframes", [base, "1w"] if base == "1d" else [base, "1d"])
    document["nn_inputs"][1]["timeframe"] = document["data"]["timeframes"][1]
    document["indicators"]["rsi_14"]["params"]["timeperiod"] = 3
    strategy = parsed(document)
    bars = random_bars(500, timeframe=base, seed=seed, keep=0.95)
    cut = min(cut, len(bars) - 1)
    whole = build_inputs(strategy, {"T": {base: bars}})["T"]
    for other in (altered(bars, cut, factor), bars.slice(0, cut)):
        again = build_inputs(strategy, {"T": {base: other}})["T"]
        assert again.first_valid == whole.first_valid
        assert again.values[:cut].tobytes() == whole.values[:cut].tobytes()


def test_too_few_bars_are_told() -> None:
    with pytest.raises(InvalidRequest, match="has no value in 30 1d bars") as caught:
        build_inputs(STRATEGY, {"TEST": {"1d": BARS.slice(0, 30)}})
    assert caught.value.reason == "TOO_FEW_BARS"


def test_an_input_that_stops_being_finite_is_told_with_its_time() -> None:
    document = changed("indicators/smooth", {"function": "LN", "source": "macd_12_26_9.histogram"})
    document["nn_inputs"][3]["transform"] = "none"
    with pytest.raises(InvalidRequest, match=r"input smooth is nan at 20\d\d-\d\d-\d\dT00:00:00") as caught:
        build_inputs(parsed(document), {"TEST": {"1d": BARS}})
    assert caught.value.violations[0].path == "nn_inputs[3]"


def test_the_base_must_be_there() -> None:
    with pytest.raises(InvalidRequest, match="base timeframe 1d is missing"):
        build_inputs(STRATEGY, {"TEST": {"1w": resample(BARS, "1w")}})


def test_price_ratio_is_the_distance_of_the_close() -> None:
    document = changed("indicators/smooth", {"function": "SMA", "params": {"timeperiod": 10}})
    document["nn_inputs"][3]["transform"] = "price_ratio"
    inputs = build_inputs(parsed(document), {"TEST": {"1d": BARS}})["TEST"]
    expected = BARS.close / talib.SMA(BARS.close, 10) - 1
    column = inputs.values[:, inputs.names.index("price_ratio(smooth)")]
    np.testing.assert_array_equal(column[inputs.first_valid :], expected[inputs.first_valid :].astype(np.float32))

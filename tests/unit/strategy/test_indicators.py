"""Indicators: TA-Lib's numbers, on the right arrays, from the right bar on, and never from a later one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import talib

from holdfast.errors import InvalidRequest
from holdfast.features.indicators import IndicatorValues, price
from holdfast.market import Bars
from holdfast.strategy._references import complete_parameters
from holdfast.strategy.catalogue import functions
from holdfast.strategy.features import Indicator
from tests.unit.market.making import random_bars

BARS = random_bars(400)


def values(bars: Bars, **indicators: dict[str, Any]) -> IndicatorValues:
    """The indicators as a strategy would give them."""
    completed = complete_parameters(indicators)
    return IndicatorValues({name: Indicator.model_validate(one) for name, one in completed.items()}, bars)


def test_outputs_are_talibs() -> None:
    computed = values(
        BARS,
        rsi={"function": "RSI", "params": {"timeperiod": 9}},
        macd={"function": "MACD"},
        bands={"function": "BBANDS", "params": {"matype": "ema"}},
        atr={"function": "ATR"},
        obv={"function": "OBV"},
        beta={"function": "BETA", "inputs": {"price0": "open", "price1": "hl2"}},
    )
    np.testing.assert_array_equal(computed.get("rsi"), talib.RSI(BARS.close, timeperiod=9))
    np.testing.assert_array_equal(computed.get("macd.signal"), talib.MACD(BARS.close, 12, 26, 9)[1])
    lower = talib.BBANDS(BARS.close, 20, matype=1)[2]  # type: ignore[arg-type]  # its stub wants an enum
    np.testing.assert_array_equal(computed.get("bands.lower"), lower)
    np.testing.assert_array_equal(computed.get("atr.value"), talib.ATR(BARS.high, BARS.low, BARS.close, 14))
    np.testing.assert_array_equal(computed.get("obv"), talib.OBV(BARS.close, BARS.volume))
    np.testing.assert_array_equal(computed.get("beta"), talib.BETA(BARS.open, (BARS.high + BARS.low) / 2, 5))


def test_an_indicator_reads_another_from_its_first_value_on() -> None:
    computed = values(
        BARS,
        rsi={"function": "RSI"},
        smooth={"function": "EMA", "params": {"timeperiod": 5}, "source": "rsi"},
        spread={"function": "SUB", "inputs": {"price0": "rsi", "price1": "smooth"}},
    )
    smooth = computed.get("smooth")
    assert np.isnan(smooth[:18]).all()
    np.testing.assert_array_equal(smooth[14:], talib.EMA(talib.RSI(BARS.close, 14)[14:], 5))
    np.testing.assert_array_equal(computed.get("spread"), computed.get("rsi") - smooth)


def test_patterns_have_no_value_before_their_lookback() -> None:
    doji = values(BARS, doji={"function": "CDLDOJI"}).get("doji")
    assert np.isnan(doji[:10]).all()
    np.testing.assert_array_equal(doji[10:], talib.CDLDOJI(BARS.open, BARS.high, BARS.low, BARS.close)[10:])


@pytest.mark.parametrize("name", sorted(functions()))
def test_no_function_looks_ahead(name: str) -> None:
    """A bar's value is the same, to the bit, whether or not later bars exist; a short series is no error."""
    definitions: dict[str, dict[str, Any]] = {"x": {"function": name}}
    if name == "MAVP":
        definitions = {"x": {"function": name, "inputs": {"periods": "rsi"}}, "rsi": {"function": "RSI"}}
    for output in functions()[name].outputs:
        whole = values(BARS, **definitions).get(f"x.{output}")
        for bars in (0, 1, 7, 160, 399):
            part = values(BARS.slice(0, bars), **definitions).get(f"x.{output}")
            np.testing.assert_array_equal(part, whole[:bars])


def test_what_talib_refuses_names_the_indicator() -> None:
    indicator = Indicator(function="RSI", params={"timeperiod": 1}, inputs={"price": "close"})
    with pytest.raises(InvalidRequest, match=r"indicators\.mine: TA-Lib refuses RSI\(timeperiod=1\)"):
        IndicatorValues({"mine": indicator}, BARS).get("mine")


def test_prices_are_columns_and_their_means() -> None:
    np.testing.assert_array_equal(price(BARS, "low"), BARS.low)
    np.testing.assert_array_equal(price(BARS, "hlc3"), (BARS.high + BARS.low + BARS.close) / 3)
    np.testing.assert_array_equal(price(BARS, "ohlc4"), (BARS.open + BARS.high + BARS.low + BARS.close) / 4)

"""Computes indicators with TA-Lib on the bars of one symbol and timeframe, each once. Knows nothing of inputs or time.

TA-Lib's recursive functions (EMA, RSI, ATR, …) depend on where their series begins, if ever less: compute them over a
series from its first stored bar, whatever span is traded, and training, backtest and resume see the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import InvalidRequest, Violation
from holdfast.features._talib import abstract, talib
from holdfast.market.bars import Bars
from holdfast.strategy.catalogue import COLUMNS, MOVING_AVERAGES, PRICES, functions
from holdfast.strategy.columns import split_reference
from holdfast.strategy.features import Indicator

__all__ = ["IndicatorValues", "price"]

Values = NDArray[np.float64]


def price(bars: Bars, name: str) -> Values:
    """A column, or a mean of columns: hl2, hlc3, ohlc4."""
    if name == "hl2":
        return (bars.high + bars.low) / 2
    if name == "hlc3":
        return (bars.high + bars.low + bars.close) / 3
    if name == "ohlc4":
        return (bars.open + bars.high + bars.low + bars.close) / 4
    column: Values = getattr(bars, name)
    return column


class IndicatorValues:
    """The indicators of a strategy over some bars; each is computed when first asked for."""

    def __init__(self, indicators: Mapping[str, Indicator], bars: Bars) -> None:
        self._indicators = indicators
        self._bars = bars
        self._known: dict[str, tuple[Values, ...]] = {}

    def get(self, reference: str) -> Values:
        """One output, shape (bars,), NaN until it has a value. Raises InvalidRequest where TA-Lib refuses."""
        name, output = split_reference(reference)
        if name not in self._known:
            self._known[name] = self._compute(name)
        outputs = functions()[self._indicators[name].function].outputs
        return self._known[name][outputs.index(output) if output else 0]

    def _source(self, reference: str) -> Values:
        if reference in COLUMNS or reference in PRICES:
            return price(self._bars, reference)
        return self.get(reference)

    def _compute(self, name: str) -> tuple[Values, ...]:
        indicator = self._indicators[name]
        function = functions()[indicator.function]
        empty = tuple(np.full(len(self._bars), np.nan) for _ in function.outputs)
        inputs = [
            np.ascontiguousarray(self._source(slot.slot if slot.fixed else indicator.inputs[slot.slot]))
            for slot in function.inputs
        ]
        known = np.logical_and.reduce([np.isfinite(values) for values in inputs])
        if not known.any():
            return empty  # too few bars for what it reads
        first = int(np.argmax(known))
        params: dict[str, Any] = {
            key: MOVING_AVERAGES.index(str(value)) if function.parameters[key].type == "moving_average" else value
            for key, value in indicator.params.items()
        }
        try:
            result = getattr(talib, function.name)(*(values[first:] for values in inputs), **params)
            lookback = self._lookback(function.name, params)
        except Exception as error:  # TA-Lib raises nothing more specific
            given = ", ".join(f"{key}={value}" for key, value in indicator.params.items())
            raise InvalidRequest(
                f"indicators.{name}: TA-Lib refuses {function.name}({given}): {error}.",
                violations=[
                    Violation(f"indicators.{name}", f"{function.name}({given})", "parameters that TA-Lib takes")
                ],
                reason="INVALID_STRATEGY",
            ) from error
        results = result if isinstance(result, tuple) else (result,)
        for values, output in zip(empty, results, strict=True):
            # Candlestick patterns are whole numbers, 0 before they have a value: the lookback tells where they begin.
            begin = lookback if output.dtype.kind == "i" else 0
            values[first + begin :] = output[begin:]
        return empty

    @staticmethod
    def _lookback(name: str, params: Mapping[str, Any]) -> int:
        function = abstract.Function(name)  # type: ignore[attr-defined]  # made when talib is imported
        if params:
            function.parameters = dict(params)
        return int(function.lookback)

"""From bars to what the network sees: indicators, memberships, timeframes brought together, one matrix per symbol.

Row t uses only bars that have closed by the close of base bar t. Owns no normalisation, no labels, no splits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import InvalidRequest, Violation
from holdfast.features.alignment import take, visible
from holdfast.features.indicators import IndicatorValues, price
from holdfast.features.memberships import membership
from holdfast.features.normalisation import Normalisation
from holdfast.market.bars import Bars
from holdfast.market.moments import moment_of
from holdfast.market.resample import resample
from holdfast.strategy.columns import Column, plan
from holdfast.strategy.features import FuzzyInput, IndicatorInput, PriceInput
from holdfast.strategy.schema import Strategy

__all__ = ["Inputs", "Normalisation", "build_inputs"]

Values = NDArray[np.float64]

_COLUMNS_UNSEEN = 32  # columns between two looks: some seconds at a million bars


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """One symbol's inputs, one row per base bar.

    `values` (bars, inputs) float32, not normalised; NaN before `first_valid` and finite from there on.
    `time` (bars,) is the base bars' opening time in nanoseconds. `normalise` is what Normalisation.fit takes as
    `methods`.
    """

    names: list[str]
    values: NDArray[np.float32]
    time: NDArray[np.int64]
    first_valid: int
    base: Bars
    normalise: list[str]


def build_inputs(
    strategy: Strategy, market: Mapping[str, Mapping[str, Bars]], look: Callable[[], None] = lambda: None
) -> dict[str, Inputs]:
    """Inputs for every symbol in `market`, which holds bars by symbol and timeframe.

    A higher timeframe that is missing is built from the base bars; the base must be there. `look` is called between
    symbols, and between many columns of one, and may raise to stop: over many bars all of them take minutes.
    Raises InvalidRequest when an input never gets a value, or is infinite or NaN after all had one (naming the time).
    """
    columns = plan(strategy)
    built: dict[str, Inputs] = {}
    for symbol, series in market.items():
        if built:
            look()
        built[symbol] = _build(strategy, columns, symbol, dict(series), look)
    return built


def _build(
    strategy: Strategy, columns: list[Column], symbol: str, series: dict[str, Bars], look: Callable[[], None]
) -> Inputs:
    base_name = strategy.data.base
    if base_name not in series:
        raise InvalidRequest(f"{symbol}: the base timeframe {base_name} is missing from the market data.")
    base = series[base_name]
    values = np.empty((len(base), len(columns)), dtype=np.float32)
    for timeframe in strategy.data.timeframes:
        wanted = [position for position, column in enumerate(columns) if column.timeframe == timeframe]
        if not wanted:
            continue
        bars = series.get(timeframe) or resample(base, timeframe)
        features = _Features(strategy, bars)
        index = None if timeframe == base_name else visible(base.time, base_name, bars.time, timeframe)
        for position in wanted:
            if position and position % _COLUMNS_UNSEEN == 0:
                look()
            column = features.column(columns[position])
            # A value too large for float32 becomes infinite here, and is told below.
            with np.errstate(over="ignore"):
                values[:, position] = column if index is None else take(column, index)
    first_valid = _first_valid(symbol, base, columns, values)
    return Inputs(
        names=[column.name for column in columns],
        values=values,
        time=base.time,
        first_valid=first_valid,
        base=base,
        normalise=[column.normalise for column in columns],
    )


class _Features:
    """The columns of one timeframe, on that timeframe's own bars."""

    def __init__(self, strategy: Strategy, bars: Bars) -> None:
        self._fuzzy_sets = strategy.fuzzy_sets
        self._indicators = IndicatorValues(strategy.indicators, bars)
        self._bars = bars
        self._known: dict[tuple[int, str], Values] = {}

    def column(self, column: Column) -> Values:
        """Shape (bars,), float64, NaN where not known yet."""
        key = (column.position, column.membership)
        if key not in self._known:
            self._known[key] = self._compute(column)
        values = self._known[key]
        if not column.lag:
            return values
        shifted = np.full(len(values), np.nan)
        shifted[column.lag :] = values[: -column.lag]
        return shifted

    def _compute(self, column: Column) -> Values:
        item = column.item
        if isinstance(item, PriceInput):
            return _change(price(self._bars, item.price), item.periods, item.transform)
        if isinstance(item, IndicatorInput):
            return self._transformed(self._indicators.get(item.indicator), item.transform)
        assert isinstance(item, FuzzyInput)  # the three kinds of nn_inputs; test_inputs covers each
        fuzzy = self._fuzzy_sets[item.fuzzy]
        return membership(
            fuzzy.sets[column.membership], self._transformed(self._indicators.get(fuzzy.input), fuzzy.transform)
        )

    def _transformed(self, values: Values, transform: str) -> Values:
        if transform == "price_ratio":
            with np.errstate(divide="ignore", invalid="ignore"):
                return self._bars.close / values - 1.0
        if transform == "difference":
            return np.asarray(np.diff(values, prepend=np.nan))
        return values


def _change(values: Values, periods: int, transform: str) -> Values:
    change = np.full(len(values), np.nan)
    ratio = values[periods:] / values[:-periods]
    change[periods:] = np.log(ratio) if transform == "log_return" else ratio - 1.0
    return change


def _first_valid(symbol: str, base: Bars, columns: list[Column], values: NDArray[np.float32]) -> int:
    """The first row in which every input is finite. From there on all must be."""
    finite: NDArray[np.bool_] = np.isfinite(values)
    complete: NDArray[np.bool_] = np.all(finite, axis=1)
    if not complete.any():
        worst = int(np.argmin(finite.sum(axis=0)))
        name = columns[worst].name
        raise InvalidRequest(
            f"{symbol}: input {name} has no value in {len(base)} {base.timeframe} bars together with the others. "
            "Import more bars or shorten its periods.",
            violations=[Violation(f"nn_inputs[{columns[worst].position}]", name, f"a value within {len(base)} bars")],
            reason="TOO_FEW_BARS",
        )
    first = int(np.argmax(complete))
    if not complete[first:].all():
        row = first + int(np.argmin(complete[first:]))
        wrong = columns[int(np.argmin(finite[row]))]
        moment = moment_of(int(base.time[row])).isoformat()
        raise InvalidRequest(
            f"{symbol}: input {wrong.name} is {values[row, columns.index(wrong)]} at {moment}. "
            "An indicator that divides by zero or leaves its domain cannot feed a network; choose another.",
            violations=[Violation(f"nn_inputs[{wrong.position}]", wrong.name, f"a finite value at {moment}")],
            reason="INPUT_NOT_FINITE",
        )
    values[:first] = np.nan
    return first

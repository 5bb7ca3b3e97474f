"""Plans the network's inputs: one Column per number it sees, in order, with its name. Pure; computes no value.

Names: `rsi:low` (a membership), `macd.line`, `price_ratio(sma_50)`, `log_return(close,20)`; then `@1w` for a timeframe
above the base, and `[-2]` for a value of two bars ago.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.strategy.features import FuzzyInput, Indicator, IndicatorInput, PriceInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.strategy.schema import Strategy

__all__ = ["Column", "plan", "split_reference"]


def split_reference(reference: str) -> tuple[str, str]:
    """`macd.line` as ("macd", "line"); an output left out is ""."""
    name, _, output = reference.partition(".")
    return name, output


@dataclass(frozen=True, slots=True)
class Column:
    """One input. `membership` names one of the fuzzy set's memberships, and is "" for other kinds."""

    name: str
    item: FuzzyInput | IndicatorInput | PriceInput
    # Position of `item` in nn_inputs.
    position: int
    timeframe: str
    lag: int
    normalise: str
    membership: str = ""


def timeframe_of(indicators: Mapping[str, Indicator], reference: str, wanted: str | None, base: str) -> str:
    """The timeframe an indicator is computed on: the one asked for, else its own, else the base."""
    return wanted or indicators[split_reference(reference)[0]].timeframe or base


def plan(strategy: Strategy) -> list[Column]:
    """Every column, in the order of nn_inputs; of one item: memberships by name, then lags rising.

    Memberships go by name, not as written, because JSON stores and databases may reorder a mapping's keys.
    """
    columns: list[Column] = []
    base = strategy.data.base
    for position, item in enumerate(strategy.nn_inputs):
        labels: list[tuple[str, str]]
        if isinstance(item, FuzzyInput):
            fuzzy = strategy.fuzzy_sets[item.fuzzy]
            timeframe = timeframe_of(strategy.indicators, fuzzy.input, item.timeframe, base)
            normalise = "none"
            labels = [(f"{item.fuzzy}:{one}", one) for one in sorted(fuzzy.sets)]
        elif isinstance(item, IndicatorInput):
            timeframe = timeframe_of(strategy.indicators, item.indicator, item.timeframe, base)
            normalise = item.normalise
            plain = item.transform == "none"
            labels = [(item.indicator if plain else f"{item.transform}({item.indicator})", "")]
        else:
            timeframe, normalise = item.timeframe or base, item.normalise
            labels = [(f"{item.transform}({item.price},{item.periods})", "")]
        at = "" if timeframe == base else f"@{timeframe}"
        columns.extend(
            Column(f"{label}{at}" + (f"[-{lag}]" if lag else ""), item, position, timeframe, lag, normalise, membership)
            for label, membership in labels
            for lag in item.lags
        )
    return columns

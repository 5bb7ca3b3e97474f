"""The `data` section: which bars a strategy sees, and how time is split."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from holdfast.market.symbols import SYMBOL_PATTERN, SYMBOL_RULE
from holdfast.market.timeframes import Timeframe
from holdfast.strategy._part import Date, Part

__all__ = ["Data", "Span"]


def _check_symbol(value: str) -> str:
    if not SYMBOL_PATTERN.match(value):
        raise PydanticCustomError("symbol", SYMBOL_RULE)
    return value


Symbol = Annotated[str, AfterValidator(_check_symbol)]


class Span(Part):
    """A stretch of days, both ends inside. A bar belongs to the day on which it opens (UTC)."""

    start: Date
    end: Date


class Data(Part):
    """Symbols, timeframes and the splits in time order.

    `timeframes[0]` is the base: decisions are made on its closes. The others are higher and whole multiples of it.
    `purge_bars` base bars before the end of `train` and of `validation` are left out of training, because their
    labels look into the next span; None means as many as the labels look ahead (`Strategy.purge_bars`).
    """

    symbols: Annotated[list[Symbol], Field(min_length=1, max_length=500)]
    timeframes: Annotated[list[Timeframe], Field(min_length=1)] = Field(default=["1d"])
    train: Span
    validation: Span
    test: Span
    purge_bars: Annotated[int, Field(ge=0)] | None = None

    @property
    def base(self) -> str:
        """The timeframe on whose closes decisions are made."""
        return self.timeframes[0]

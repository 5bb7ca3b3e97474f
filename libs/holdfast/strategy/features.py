"""The sections `indicators`, `fuzzy_sets` and `nn_inputs`: what the network sees. Computes nothing."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from holdfast.market.timeframes import Timeframe
from holdfast.strategy._part import Id, Part, Reference

__all__ = [
    "FuzzyInput",
    "FuzzySet",
    "Indicator",
    "IndicatorInput",
    "Membership",
    "NnInput",
    "Normalise",
    "PriceInput",
    "Transform",
]

# zscore: (x - mean) / deviation. minmax: 0 to 1. robust: (x - median) / interquartile range. Fitted on `train` only.
Normalise = Literal["zscore", "minmax", "robust", "none"]
# price_ratio: close / x - 1. difference: x[t] - x[t-1], in bars of the input's timeframe.
Transform = Literal["none", "price_ratio", "difference"]
Number = int | float
Lags = Annotated[list[Annotated[int, Field(ge=0, le=1000)]], Field(min_length=1, max_length=256)]


class Indicator(Part):
    """One TA-Lib function with its parameters.

    `source` is what the function reads where TA-Lib lets one choose: a column (open, high, low, close, volume), a mean
    (hl2, hlc3, ohlc4), or another indicator (`rsi_14`, `macd_12_26_9.line`), computed on the same timeframe. Functions
    with several such inputs take `inputs`: {price0: close, price1: rsi_14}. Without `timeframe` it is computed on the
    base, or on whatever timeframe an nn_input asks for.
    """

    function: str
    params: dict[str, int | float | str] = Field(default={})
    source: Reference | None = None
    inputs: dict[str, Reference] = Field(default={})
    timeframe: Timeframe | None = None


class Membership(Part):
    """Exactly one shape; see holdfast.features.memberships for the formulae."""

    triangular: Annotated[list[float], Field(min_length=3, max_length=3)] | None = None
    trapezoid: Annotated[list[float], Field(min_length=4, max_length=4)] | None = None
    gaussian: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None

    @model_validator(mode="after")
    def _one_shape(self) -> Membership:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise PydanticCustomError("shape", "exactly one of triangular, trapezoid, gaussian")
        points = self.points
        if self.gaussian is not None:
            if self.gaussian[1] <= 0:
                raise PydanticCustomError("shape", "gaussian: [centre, width] with a width above 0")
        elif sorted(points) != points or points[0] == points[-1]:
            letters = "a, b, c, d"[: 3 * len(points) - 2]
            raise PydanticCustomError(
                "shape",
                "{shape}: [{letters}] in rising order, and not all the same",
                {"shape": self.shape, "letters": letters},
            )
        return self

    @property
    def shape(self) -> Literal["triangular", "trapezoid", "gaussian"]:
        """The shape's name."""
        if self.triangular is not None:
            return "triangular"
        return "trapezoid" if self.trapezoid is not None else "gaussian"

    @property
    def points(self) -> list[float]:
        """The shape's numbers."""
        return self.triangular or self.trapezoid or self.gaussian or []


class FuzzySet(Part):
    """Named memberships of one indicator's output: `rsi_14` is `low`, `middling`, `high`."""

    input: Reference
    transform: Transform = "none"
    sets: Annotated[dict[Id, Membership], Field(min_length=1, max_length=64)]


class FuzzyInput(Part):
    """All memberships of one fuzzy set, one column each, in the order of their names."""

    fuzzy: str
    timeframe: Timeframe | None = None
    lags: Lags = Field(default=[0])


class IndicatorInput(Part):
    """One output of an indicator, one column for each lag."""

    indicator: Reference
    transform: Transform = "none"
    normalise: Normalise = "zscore"
    timeframe: Timeframe | None = None
    lags: Lags = Field(default=[0])


class PriceInput(Part):
    """The change of a price over `periods` bars: log(x[t] / x[t - periods]), or x[t] / x[t - periods] - 1."""

    price: Literal["open", "high", "low", "close", "hl2", "hlc3", "ohlc4"]
    transform: Literal["log_return", "return"] = "log_return"
    periods: Annotated[int, Field(ge=1, le=100_000)] = 1
    normalise: Normalise = "zscore"
    timeframe: Timeframe | None = None
    lags: Lags = Field(default=[0])


KINDS: dict[str, type[Part]] = {"fuzzy": FuzzyInput, "indicator": IndicatorInput, "price": PriceInput}


def _kind(value: Any) -> str | None:
    if isinstance(value, Part):
        return next((name for name, part in KINDS.items() if isinstance(value, part)), None)
    if not isinstance(value, dict):
        return None
    given = [name for name in KINDS if name in value]
    return given[0] if len(given) == 1 else None


NnInput = Annotated[
    Annotated[FuzzyInput, Tag("fuzzy")]
    | Annotated[IndicatorInput, Tag("indicator")]
    | Annotated[PriceInput, Tag("price")],
    Discriminator(
        _kind,
        custom_error_type="nn_input",
        custom_error_message="a mapping with exactly one of fuzzy, indicator, price",
    ),
]

assert len(get_args(NnInput.__origin__)) == len(KINDS)  # type: ignore[attr-defined]  # every kind has its name

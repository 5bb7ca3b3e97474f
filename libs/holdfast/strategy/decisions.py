"""The `decisions` section: how predictions become orders, and what trading costs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from holdfast.strategy._part import Fraction, Part

__all__ = ["Decisions"]


class Decisions(Part):
    """From predictions to orders.

    classification: the network gives probabilities of short, flat and long; the likeliest class acts if its probability
    is at least `confidence_threshold`. regression: it predicts the labels' return; a prediction beyond
    ± `return_threshold` acts. An order is decided on a close and filled at the next open.
    """

    type: Literal["classification", "regression"] = "classification"
    # Least probability of the winning class, 0 to 1. Classification only.
    confidence_threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    # Least predicted return, as a fraction (0.002 is 0.2 %). Regression only.
    return_threshold: Annotated[float, Field(ge=0)] = 0.0
    # Base bars between two acted-on signals, at least.
    min_signal_separation: Annotated[int, Field(ge=0)] = 1
    allow_short: bool = True
    # Of the account's equity, per new position; several symbols share the cash.
    position_fraction: Fraction = 1.0
    # Distances from the entry price, as fractions; None means none.
    stop_loss: Annotated[float, Field(gt=0, lt=1)] | None = None
    take_profit: Annotated[float, Field(gt=0)] | None = None
    # Fractions of the traded value, per fill: 0.0005 is five basis points.
    commission: Annotated[float, Field(ge=0, lt=0.5)] = 0.0005
    slippage: Annotated[float, Field(ge=0, lt=0.5)] = 0.0002
    # In account currency.
    initial_cash: Annotated[float, Field(gt=0)] = 100_000.0

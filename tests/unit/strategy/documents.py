"""A small strategy as plain values, for tests to change and write out."""

from __future__ import annotations

import copy
import json
from typing import Any

from holdfast.strategy import Strategy, parse_strategy

_SMALL: dict[str, Any] = {
    "name": "small",
    "data": {
        "symbols": ["TEST"],
        "timeframes": ["1d", "1w"],
        "train": {"start": "2018-01-01", "end": "2018-06-30"},
        "validation": {"start": "2018-07-01", "end": "2018-08-31"},
        "test": {"start": "2018-09-01", "end": "2018-12-31"},
    },
    "indicators": {
        "rsi_14": {"function": "RSI", "params": {"timeperiod": 14}},
        "macd_12_26_9": {"function": "MACD"},
        "smooth": {"function": "EMA", "params": {"timeperiod": 3}, "source": "rsi_14"},
    },
    "fuzzy_sets": {
        "rsi": {
            "input": "rsi_14",
            "sets": {"low": {"trapezoid": [0, 0, 30, 45]}, "high": {"triangular": [55, 100, 100]}},
        }
    },
    "nn_inputs": [
        {"fuzzy": "rsi"},
        {"fuzzy": "rsi", "timeframe": "1w"},
        {"indicator": "macd_12_26_9.histogram", "lags": [0, 2]},
        {"indicator": "smooth", "transform": "difference", "normalise": "minmax"},
        {"price": "close", "periods": 5},
    ],
    "model": {"type": "mlp"},
    "training": {"labels": {"type": "triple_barrier"}},
}


def small() -> dict[str, Any]:
    """A fresh copy of a valid strategy."""
    return copy.deepcopy(_SMALL)


def changed(path: str, value: Any) -> dict[str, Any]:
    """A valid strategy with one value put in (`nn_inputs/0/fuzzy`); None takes the key away."""
    document = small()
    place: Any = document
    *steps, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    for step in steps:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return document


def parsed(document: dict[str, Any]) -> Strategy:
    """The document as a strategy."""
    return parse_strategy(json.dumps(document))

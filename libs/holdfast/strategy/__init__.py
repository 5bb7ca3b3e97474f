"""Strategies: the text a quant writes, and the numbers a network sees.

parse_strategy(text) -> Strategy          schema.py; needs pydantic and yaml only
data, features, network, decisions, training    the sections
catalogue                                 what TA-Lib offers, from a committed file
inputs, normalisation, memberships, alignment, indicators    numbers: import them by name, they need numpy and TA-Lib
"""

from __future__ import annotations

from holdfast.strategy.schema import CLASSES, Strategy, parse_strategy

__all__ = ["CLASSES", "Strategy", "parse_strategy"]

"""Owns what a symbol may be called. Symbols become file names, so this is also what keeps paths inside the store."""

from __future__ import annotations

import re
from typing import Final

from holdfast.errors import InvalidRequest, Violation

__all__ = ["SYMBOL_PATTERN", "SYMBOL_RULE", "check_symbol"]

SYMBOL_PATTERN: Final = re.compile(r"^[A-Za-z0-9^][A-Za-z0-9._=^-]{0,31}\Z")
SYMBOL_RULE: Final = "letters, digits and . _ = ^ - (at most 32, beginning with a letter, a digit or ^)"


def check_symbol(symbol: str) -> str:
    """Returns the symbol. Raises InvalidRequest if it may not be called that."""
    if not SYMBOL_PATTERN.match(symbol):
        raise InvalidRequest(
            f"Symbol {symbol!r} cannot be used; a symbol is {SYMBOL_RULE}.",
            violations=[Violation("symbol", repr(symbol), SYMBOL_RULE)],
        )
    return symbol

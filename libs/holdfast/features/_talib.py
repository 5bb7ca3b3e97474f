"""Imports TA-Lib alone. Owns no number.

TA-Lib imports polars and pandas where it finds them, to take their series too. We give it arrays; hidden, the two cost
neither a second of start-up nor threads in the fork server, which must have none when it forks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_UNUSED = ("polars", "pandas")


@contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Makes `import` fail for modules that are not imported yet, as if they were not installed."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None there means: not to be found
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


with _hidden(_UNUSED):
    import talib
    from talib import abstract

__all__ = ["abstract", "talib"]

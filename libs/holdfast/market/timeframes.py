"""Owns the names of timeframes and their lengths. Touches no data."""

from __future__ import annotations

from typing import Final, Literal, get_args

from holdfast.errors import InvalidRequest, Violation

__all__ = ["TIMEFRAMES", "Timeframe", "bucket_start_ns", "duration_ns"]

Timeframe = Literal["1m", "5m", "15m", "30m", "1h", "4h", "1d", "1w"]
TIMEFRAMES: Final[tuple[str, ...]] = get_args(Timeframe)

MINUTE: Final = 60 * 1_000_000_000  # nanoseconds
_DURATIONS: Final[dict[str, int]] = {
    "1m": MINUTE,
    "5m": 5 * MINUTE,
    "15m": 15 * MINUTE,
    "30m": 30 * MINUTE,
    "1h": 60 * MINUTE,
    "4h": 240 * MINUTE,
    "1d": 1440 * MINUTE,
    "1w": 7 * 1440 * MINUTE,
}
# 1 January 1970 was a Thursday; weeks begin on Monday.
_MONDAY: Final = 4 * 1440 * MINUTE


def duration_ns(timeframe: str) -> int:
    """Length of a bar in nanoseconds. Raises InvalidRequest for an unknown name."""
    try:
        return _DURATIONS[timeframe]
    except KeyError:
        allowed = f"one of {', '.join(TIMEFRAMES)}"
        raise InvalidRequest(
            f"Unknown timeframe {timeframe!r}; it is {allowed}.",
            violations=[Violation("timeframe", repr(timeframe), allowed)],
        ) from None


def bucket_start_ns(timeframe: str) -> int:
    """Offset of the timeframe's grid from the Unix epoch, in nanoseconds: UTC midnight, and Monday for weeks."""
    return _MONDAY if timeframe == "1w" else 0

"""Converts between nanoseconds since 1970 UTC, datetimes, and the days that people write."""

from __future__ import annotations

import datetime
from typing import Final

from holdfast.errors import InvalidRequest, Violation

__all__ = ["Moment", "bound", "moment_ns", "moment_of"]

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

Moment = datetime.datetime | datetime.date | str | None


def moment_ns(moment: datetime.datetime) -> int:
    """Nanoseconds since 1970 UTC, exactly."""
    since = moment - _EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000


def moment_of(time_ns: int) -> datetime.datetime:
    """The moment as a datetime in UTC (microseconds; bars open on whole ones)."""
    return _EPOCH + datetime.timedelta(microseconds=time_ns // 1000)


def bound(moment: Moment, *, end: bool) -> datetime.datetime | None:
    """A span's bound in UTC. A day as `end` means its last instant: both ends of a span are inside."""
    if moment is None or moment == "":
        return None
    if isinstance(moment, str):
        try:
            moment = (
                datetime.date.fromisoformat(moment) if len(moment) == 10 else datetime.datetime.fromisoformat(moment)
            )
        except ValueError:
            allowed = "a date (YYYY-MM-DD) or an ISO date and time"
            field = "end" if end else "start"
            raise InvalidRequest(
                f"{field} {moment!r} is not {allowed}.", violations=[Violation(field, repr(moment), allowed)]
            ) from None
    if isinstance(moment, datetime.datetime):
        return moment.replace(tzinfo=datetime.UTC) if moment.tzinfo is None else moment.astimezone(datetime.UTC)
    midnight = datetime.datetime.combine(moment, datetime.time(), datetime.UTC)
    return midnight + datetime.timedelta(days=1, microseconds=-1) if end else midnight

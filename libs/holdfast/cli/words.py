"""How numbers, times and states are written for people. Pure; owns no output."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from holdfast.v1 import operation_pb2

__all__ = [
    "STATUS_STYLES",
    "ago",
    "duration",
    "fraction",
    "number",
    "progress_line",
    "remaining",
    "size",
    "when",
]

STATUS_STYLES = {
    "PENDING": "yellow",
    "RUNNING": "cyan",
    "PENDING_RECONCILIATION": "yellow",
    "CANCELLING": "yellow",
    "RESUMING": "cyan",
    "COMPLETED": "green",
    "FAILED": "red",
    "CANCELLED": "magenta",
}


def when(timestamp: Timestamp) -> str:
    """Local time to the second; empty for an unset one."""
    if not timestamp.seconds:
        return ""
    return datetime.fromtimestamp(timestamp.seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ago(timestamp: Timestamp, now: datetime) -> str:
    """ "3 min ago"; empty for an unset one."""
    if not timestamp.seconds:
        return ""
    return f"{duration(max(0.0, now.timestamp() - timestamp.seconds - timestamp.nanos / 1e9))} ago"


def duration(seconds: float) -> str:
    """ "12 s", "3 min", "2 h 05 min", "4 days"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        hours, rest = divmod(round(seconds / 60), 60)
        return f"{hours} h {rest:02d} min"
    return f"{seconds / 86400:.0f} days"


def size(count: float) -> str:
    """Bytes in binary units: "1.5 MiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def number(value: float) -> str:
    """Four significant digits, thousands separated, no noise."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.2f}"
    return f"{value:.4g}"


def fraction(progress: operation_pb2.Progress) -> float | None:
    """Done, 0 to 1; None while the total is not known."""
    if not progress.total_units:
        return None
    inside = progress.step / progress.total_steps if progress.total_steps else 0.0
    return min(1.0, (progress.unit + min(inside, 1.0)) / progress.total_units)


def remaining(progress: operation_pb2.Progress) -> float | None:
    """Seconds until all units are done at the present rate; None while that is not known."""
    done = fraction(progress)
    if done is None or progress.units_per_second <= 0:
        return None
    return (1.0 - done) * progress.total_units / progress.units_per_second


def progress_line(progress: operation_pb2.Progress) -> str:
    """ "training 40% epoch 12/30 3.1 epochs/s, 6 s left" on one line, as far as known."""
    words = [progress.phase] if progress.phase else []
    done = fraction(progress)
    if done is not None:
        words.append(f"{done:.0%}")
        words.append(f"{progress.unit_name} {progress.unit}/{progress.total_units}")
    return " ".join(words)

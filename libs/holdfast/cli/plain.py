"""Protobuf messages as plain values for --json: short enum names, ISO times, whole numbers as numbers."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

__all__ = ["plain"]


def plain(message: Message) -> dict[str, Any]:
    """Every field that is set or has a scalar value, by its proto name."""
    fields: dict[str, Any] = {}
    descriptor: Any = message.DESCRIPTOR
    for field in descriptor.fields:
        if field.has_presence and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        if _is_map(field):
            entry = field.message_type.fields_by_name["value"]
            fields[field.name] = {str(key): _value(entry, value[key]) for key in sorted(value)}
        elif hasattr(value, "extend"):  # repeated; the descriptor's own word for it changed between versions
            fields[field.name] = [_value(field, item) for item in value]
        else:
            fields[field.name] = _value(field, value)
    return fields


def _is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _value(field: Any, value: Any) -> Any:
    if isinstance(value, Timestamp):
        moment = datetime.fromtimestamp(value.seconds, UTC).replace(microsecond=value.nanos // 1000)
        return moment.isoformat().replace("+00:00", "Z")
    if isinstance(value, Message):
        return plain(value)
    if field.enum_type is not None:
        return _enum_name(field.enum_type, value)
    if isinstance(value, float) and not math.isfinite(value):
        # As protobuf's own JSON writes them: JSON has no word for these.
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _enum_name(enum: Any, number: int) -> str:
    member = enum.values_by_number.get(number)
    if member is None:
        return str(number)
    prefix: str = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    name: str = member.name
    return name.removeprefix(prefix)

"""JSON that keeps every number exactly: finite floats by their shortest exact form, NaN and infinities by name.

Owns the encoding of small state; large state belongs into safetensors or Arrow.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["Json", "dumps", "loads"]

# JSON has no NaN and no infinity; `null` in their place would be another value.
_FLOAT = "$float"
_NAMED = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

Json = Any


def dumps(value: Json) -> bytes:
    """Canonical bytes: sorted keys, no spaces. The same value always gives the same bytes.

    Raises TypeError for anything but None, bool, int, float, str, list, tuple and dicts with str keys, and ValueError
    for a dict that uses the reserved key "$float".
    """
    return json.dumps(_encode(value), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def loads(data: bytes | str) -> Json:
    """The value `dumps` was given (tuples come back as lists).

    Raises ValueError for what `dumps` cannot have written: bad JSON, NaN literals, duplicate keys, too deep nesting.
    """
    try:
        return json.loads(data, object_pairs_hook=_decode_object, parse_constant=_refuse_constant)
    except (RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"not exact JSON: {type(error).__name__}") from error


def _encode(value: Json) -> Json:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return {_FLOAT: "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"}
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"exact JSON has text keys only, not {key!r}")
            if key == _FLOAT:
                raise ValueError(f"the key {_FLOAT!r} is reserved")
        return {key: _encode(item) for key, item in value.items()}
    raise TypeError(f"exact JSON cannot hold a {type(value).__name__}")


def _decode_object(pairs: list[tuple[str, Json]]) -> Json:
    decoded = dict(pairs)
    if len(decoded) != len(pairs):
        raise ValueError("duplicate keys in an object")
    if _FLOAT in decoded:
        name = decoded[_FLOAT]
        if len(decoded) != 1 or not isinstance(name, str) or name not in _NAMED:
            raise ValueError(f"bad {_FLOAT} object")
        return _NAMED[name]
    return decoded


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"{name} is not exact JSON")

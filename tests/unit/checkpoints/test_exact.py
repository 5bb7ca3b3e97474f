"""Exact JSON gives back every value it took, and takes nothing it cannot give back."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.artifacts import exact

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
keys = st.text().filter(lambda key: key != "$float")
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=20)


def same(left: object, right: object) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        # The bits, not `==`: -0.0 is not 0.0 here, and NaN is NaN.
        return (math.isnan(left) and math.isnan(right)) or struct.pack("d", left) == struct.pack("d", right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return type(left) is type(right) and left == right


@given(values)
def test_every_value_survives(value: object) -> None:
    assert same(exact.loads(exact.dumps(value)), value)


@given(values)
def test_the_bytes_are_canonical(value: object) -> None:
    assert exact.dumps(exact.loads(exact.dumps(value))) == exact.dumps(value)


@pytest.mark.parametrize("value", [{1: 2}, {"a": b"x"}, {"a": {1, 2}}, object()])
def test_what_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        exact.dumps(value)


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "[Infinity]",
        '{"a":1,"a":2}',
        '{"$float":"nan","b":1}',
        '{"$float":"1.0"}',
        '{"$float":3}',
        "",
        "{",
        b"\xff\xfe",
        "[" * 100_000,
    ],
)
def test_what_dumps_cannot_have_written_is_refused(text: bytes | str) -> None:
    with pytest.raises(ValueError):
        exact.loads(text)

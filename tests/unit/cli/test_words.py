"""How numbers, times and states are written."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.cli import words
from holdfast.v1 import operation_pb2


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (7500, "2 h 05 min"), (3 * 86400, "3 days")],
)
def test_durations(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 30, "1.0 GiB"), (1 << 50, "1024.0 TiB")]
)
def test_sizes(count: int, text: str) -> None:
    assert words.size(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (12345.0, "12,345"),
        (0.693147, "0.6931"),
        (10312.456, "10,312.46"),
        (float("nan"), "–"),
        (float("-inf"), "-∞"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert words.number(value) == text


def test_progress_counts_the_steps_inside_a_unit() -> None:
    progress = operation_pb2.Progress(
        phase="training", unit_name="epoch", unit=1, total_units=4, step=5, total_steps=10, units_per_second=0.5
    )
    assert words.fraction(progress) == 0.375
    assert words.remaining(progress) == 5.0
    assert words.progress_line(progress) == "training 38% epoch 1/4"
    unknown = operation_pb2.Progress(phase="loading data")
    assert words.fraction(unknown) is None
    assert words.remaining(unknown) is None
    assert words.progress_line(unknown) == "loading data"


def test_times() -> None:
    now = datetime(2023, 11, 14, 22, 15, 20, tzinfo=UTC)
    assert words.ago(Timestamp(seconds=1_700_000_000), now) == "2 min ago"
    assert words.ago(Timestamp(), now) == ""
    assert words.when(Timestamp()) == ""

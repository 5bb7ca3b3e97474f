"""Frames and orders."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.v1 import checkpoint_pb2, operation_pb2, worker_pb2
from holdfast.worker.host import wire


@given(payloads=st.lists(st.binary(max_size=200)), cuts=st.lists(st.integers(1, 50)))
def test_frames_survive_any_cutting(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(wire.frame(payload) for payload in payloads)
    deframer, received = wire.Deframer(), []
    for cut in [*cuts, len(stream) + 1]:
        received += list(deframer.feed(stream[:cut]))
        stream = stream[cut:]
    assert received == payloads


def test_a_length_over_the_limit_is_refused() -> None:
    with pytest.raises(wire.WireError, match="announces"):
        list(wire.Deframer().feed(b"\xff\xff\xff\xff"))


@pytest.mark.parametrize("checkpoint", [None, checkpoint_pb2.CheckpointRef(checkpoint_id="op/1-2", uri="op/1-2")])
def test_an_order_arrives_whole(checkpoint: checkpoint_pb2.CheckpointRef | None) -> None:
    order = wire.Order(
        execute="module:function",
        assignment=worker_pb2.RunAssignment(
            run=worker_pb2.RunRef(operation_id="op", attempt=3),
            training=operation_pb2.TrainingSpec(strategy="name: é"),
        ),
        store_url="s3://bucket",
        market_dir=Path("/data/market"),
        checkpoint=checkpoint,
        extra={"worker_id": "w1"},
        beat_seconds=0.25,
    )
    reader = wire.OrderReader()
    parts = [reader.take(payload) for payload in wire.Deframer().feed(order.frames())]
    assert parts[:-1] == [None] * (len(parts) - 1)
    assert parts[-1] == order
    seen = order.as_assignment()
    assert (seen.operation_id, seen.attempt, seen.checkpoint) == ("op", 3, checkpoint)
    assert seen.training is not None
    assert seen.backtest is None


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(wire.WireError, match="no part"):
        wire.OrderReader().take(b"Zjunk")


@pytest.mark.parametrize("signs", [0, 1, 2**40])
def test_a_beat_is_told_from_every_message(signs: int) -> None:
    (payload,) = wire.Deframer().feed(wire.beat_frame(signs))
    assert wire.read_beat(payload) == signs
    notice = worker_pb2.WorkerMessage(notice=worker_pb2.RunNotice(message="\0"))
    for message in (notice, worker_pb2.WorkerMessage(), worker_pb2.WorkerMessage(sequence=1)):
        assert wire.read_beat(message.SerializeToString()) is None
    with pytest.raises(wire.WireError, match="beat"):
        wire.read_beat(payload[:-1])

"""Frames and orders."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.run.contract import Assignment, StopKind
from holdfast.settings import load_settings
from holdfast.v1 import checkpoint_pb2, operation_pb2, worker_pb2
from holdfast.worker.host import wire
from holdfast.worker.host.context import RunContext


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
    order = worker_pb2.RunAssignment(
        run=worker_pb2.RunRef(operation_id="op", attempt=3),
        training=operation_pb2.TrainingSpec(strategy="name: é"),
        checkpoint=checkpoint,
    )
    (payload,) = wire.Deframer().feed(wire.order_frame(order))
    read = wire.read_command(payload)
    assert read == order
    assert isinstance(read, worker_pb2.RunAssignment)
    context = RunContext(execute="module:function", store_url="s3://bucket", market_dir=Path("/data/market"))
    assert context.assign(read) == Assignment(
        operation_id="op",
        attempt=3,
        store_url="s3://bucket",
        market_dir=Path("/data/market"),
        settings=load_settings(),
        training=operation_pb2.TrainingSpec(strategy="name: é"),
        checkpoint=checkpoint,
    )


@pytest.mark.parametrize("kind", StopKind)
def test_a_stop_arrives(kind: StopKind) -> None:
    (payload,) = wire.Deframer().feed(wire.stop_frame(kind))
    assert wire.read_command(payload) is kind


def test_an_unknown_command_is_refused() -> None:
    with pytest.raises(wire.WireError, match="no command"):
        wire.read_command(b"Zjunk")


@pytest.mark.parametrize("signs", [0, 1, 2**40])
def test_a_beat_is_told_from_every_message(signs: int) -> None:
    (payload,) = wire.Deframer().feed(wire.beat_frame(signs))
    assert wire.read_beat(payload) == signs
    notice = worker_pb2.WorkerMessage(notice=worker_pb2.RunNotice(message="\0"))
    for message in (notice, worker_pb2.WorkerMessage(), worker_pb2.WorkerMessage(sequence=1)):
        assert wire.read_beat(message.SerializeToString()) is None
    with pytest.raises(wire.WireError, match="beat"):
        wire.read_beat(payload[:-1])

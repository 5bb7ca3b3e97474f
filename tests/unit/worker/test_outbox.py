"""Ends on disk: durable, and never a reason to crash."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.v1 import operation_pb2, worker_pb2
from holdfast.worker.outbox import Outbox


def an_end(operation: str = "op-1", attempt: int = 1, loss: float = 0.5) -> worker_pb2.RunFinished:
    return worker_pb2.RunFinished(
        run=worker_pb2.RunRef(operation_id=operation, attempt=attempt),
        outcome=worker_pb2.RUN_OUTCOME_COMPLETED,
        training_result=operation_pb2.TrainingResult(metrics={"loss": loss}),
    )


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    made = Outbox(tmp_path / "outbox")
    assert made.load() == []
    return made


def test_what_is_put_is_loaded_oldest_first(outbox: Outbox) -> None:
    for number in (3, 1, 2):
        outbox.put(an_end(attempt=number))
        path = outbox._path(worker_pb2.RunRef(operation_id="op-1", attempt=number))
        os.utime(path, ns=(0, 10 - number))
    assert [finished.run.attempt for finished in outbox.load()] == [3, 2, 1]


def test_what_is_deleted_is_gone_and_deleting_twice_is_fine(outbox: Outbox) -> None:
    outbox.put(an_end())
    outbox.delete(an_end().run)
    outbox.delete(an_end().run)
    assert outbox.load() == []


def test_what_was_refused_comes_again_with_the_next_load(outbox: Outbox) -> None:
    outbox.put(an_end())
    outbox.set_aside(an_end().run)
    outbox.delete(an_end().run)
    outbox.set_aside(an_end().run)  # of an end that never reached the disk: nothing is there to keep
    assert outbox.load() == [an_end()]
    outbox.delete(an_end().run)
    assert outbox.load() == []


def test_a_second_put_replaces_the_first(outbox: Outbox) -> None:
    outbox.put(an_end(loss=1.0))
    outbox.put(an_end(loss=2.0))
    assert [finished.training_result.metrics["loss"] for finished in outbox.load()] == [2.0]


def test_a_half_written_file_is_swept(outbox: Outbox, tmp_path: Path) -> None:
    (tmp_path / "outbox" / "op-1-1.tmp").write_bytes(b"half")
    assert outbox.load() == []
    assert not list((tmp_path / "outbox").iterdir())


def test_a_name_that_begins_like_another(outbox: Outbox) -> None:
    outbox.put(an_end("op.1"))
    outbox.put(an_end("op"))
    assert {finished.run.operation_id for finished in outbox.load()} == {"op.1", "op"}


@given(position=st.integers(min_value=0), flip=st.integers(1, 255))
def test_any_changed_byte_sets_the_file_aside(
    position: int, flip: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("outbox")
    outbox = Outbox(directory)
    outbox.put(an_end())
    (path,) = directory.iterdir()
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= flip
    path.write_bytes(content)
    outbox.put(an_end("op-2"))
    assert [finished.run.operation_id for finished in outbox.load()] == ["op-2"]
    assert sorted(item.name for item in directory.iterdir()) == ["op-1-1.end.corrupt", "op-2-1.end"]

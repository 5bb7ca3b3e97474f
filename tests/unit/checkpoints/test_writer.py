"""The writer keeps the newest, tells what failed, and gives back exactly what it took."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.artifacts.catalogue import discover_checkpoints, load_checkpoint
from holdfast.artifacts.checkpoint import Snapshot, is_checkpoint_id
from holdfast.artifacts.store import open_store
from holdfast.errors import Corrupted, InvalidRequest
from holdfast.run.writer import CheckpointWriter
from holdfast.v1 import checkpoint_pb2
from tests.unit.checkpoints.support import ListeningRun

PERIODIC = checkpoint_pb2.CHECKPOINT_TYPE_PERIODIC
CANCELLATION = checkpoint_pb2.CHECKPOINT_TYPE_CANCELLATION


def ref_of(checkpoint: checkpoint_pb2.Checkpoint) -> checkpoint_pb2.CheckpointRef:
    return checkpoint_pb2.CheckpointRef(uri=checkpoint.uri, manifest_digest=checkpoint.manifest_digest)


def test_a_snapshot_comes_back_as_it_was(tmp_path: Path) -> None:
    store, run = open_store(str(tmp_path)), ListeningRun()
    with CheckpointWriter(store, run) as writer:
        state = {"loss": float("inf"), "history": [0.1, float("nan")]}
        writer.save(Snapshot(7, "epoch", state, {"a.bin": b"abc"}, step=3, data_digest="d"), PERIODIC, wait=True)
    (saved,) = run.saved
    assert saved.checkpoint_id == "op-1/1-7.3"
    assert is_checkpoint_id(saved.checkpoint_id)
    loaded = load_checkpoint(store, ref_of(saved), operation_id="op-1")
    assert loaded.checkpoint == saved
    assert loaded.state["loss"] == float("inf")
    assert loaded.files == {"a.bin": b"abc"}
    assert loaded.fingerprint["cpu"]
    assert discover_checkpoints(store, "op-1") == [saved]


def test_the_newest_waiting_snapshot_replaces_an_older_waiting_one(tmp_path: Path) -> None:
    store, run = open_store(str(tmp_path)), ListeningRun()
    writing, go_on = threading.Event(), threading.Event()

    def hold() -> bytes:
        writing.set()
        assert go_on.wait(30)
        return b"first"

    with CheckpointWriter(store, run) as writer:
        writer.save(Snapshot(1, "epoch", {}, {"a": hold}), PERIODIC)
        assert writing.wait(30)
        for unit in range(2, 6):
            writer.save(Snapshot(unit, "epoch", {}), PERIODIC)
        go_on.set()
    assert [checkpoint.unit for checkpoint in run.saved] == [1, 5]


def test_a_cancel_right_after_a_periodic_save_has_a_place_of_its_own(tmp_path: Path) -> None:
    run = ListeningRun()
    with CheckpointWriter(open_store(str(tmp_path)), run) as writer:
        writer.save(Snapshot(3, "epoch", {}), PERIODIC, wait=True)
        writer.save(Snapshot(3, "epoch", {}), CANCELLATION, wait=True)
    assert [checkpoint.checkpoint_id for checkpoint in run.saved] == ["op-1/1-3", "op-1/1-3-cancellation"]


def failing() -> bytes:
    raise OSError(5, "Input/output error")


def test_a_failed_periodic_save_is_told_and_the_next_one_works(tmp_path: Path) -> None:
    run = ListeningRun()
    with CheckpointWriter(open_store(str(tmp_path)), run) as writer:
        writer.save(Snapshot(1, "epoch", {}, {"a": failing}), PERIODIC)
        assert run.noticed.wait(30)
        writer.save(Snapshot(2, "epoch", {}), PERIODIC, wait=True)
    (kind, message, _), (recovered, *_) = run.notices
    assert (kind, recovered) == ("CHECKPOINT_FAILED", "CHECKPOINT_RECOVERED")
    assert "epoch 1" in message
    assert "Input/output error" in message
    assert [checkpoint.unit for checkpoint in run.saved] == [2]


def test_a_failed_awaited_save_raises(tmp_path: Path) -> None:
    run = ListeningRun()
    with CheckpointWriter(open_store(str(tmp_path)), run) as writer, pytest.raises(OSError, match="Input/output"):
        writer.save(Snapshot(1, "epoch", {}, {"a": failing}), CANCELLATION, wait=True)
    assert run.saved == []
    assert run.notices == []


def save_one(root: Path, unit: int, attempt: int = 1) -> checkpoint_pb2.Checkpoint:
    run = ListeningRun(attempt=attempt)
    with CheckpointWriter(open_store(str(root)), run) as writer:
        writer.save(Snapshot(unit, "epoch", {"unit": unit}), PERIODIC, wait=True)
    return run.saved[0]


def test_discovery_gives_the_newest_attempt_first_and_passes_over_broken_ones(tmp_path: Path) -> None:
    save_one(tmp_path, 9)
    save_one(tmp_path, 5, attempt=2)
    save_one(tmp_path, 6, attempt=2)
    broken = save_one(tmp_path, 7, attempt=2)
    (tmp_path / broken.uri / "manifest.json").write_bytes(b"{")
    (tmp_path / "op-1" / "2-8").mkdir()
    found = discover_checkpoints(open_store(str(tmp_path)), "op-1")
    assert [(item.attempt, item.unit) for item in found] == [(2, 6), (2, 5), (1, 9)]


def test_a_checkpoint_of_another_operation_is_refused(tmp_path: Path) -> None:
    saved = save_one(tmp_path, 1)
    with pytest.raises(InvalidRequest, match="belongs to operation op-1"):
        load_checkpoint(open_store(str(tmp_path)), ref_of(saved), operation_id="op-2")


def moved(root: Path, saved: checkpoint_pb2.Checkpoint) -> checkpoint_pb2.CheckpointRef:
    (root / "op-2").mkdir()
    (root / saved.uri).rename(root / "op-2" / "1-1")
    return checkpoint_pb2.CheckpointRef(checkpoint_id="op-2/1-1")


def state_list(root: Path, saved: checkpoint_pb2.Checkpoint) -> checkpoint_pb2.CheckpointRef:
    run = ListeningRun(attempt=2)
    with CheckpointWriter(open_store(str(root)), run) as writer:
        writer.save(Snapshot(1, "epoch", {}, {"state.json": b"[]"}), PERIODIC, wait=True)
    (root / run.saved[0].uri / "state.json").write_bytes(b"[]")
    return checkpoint_pb2.CheckpointRef(checkpoint_id=run.saved[0].checkpoint_id)


@pytest.mark.parametrize("damage", [moved, state_list])
def test_a_checkpoint_that_is_not_what_it_says_is_refused(
    tmp_path: Path, damage: Callable[[Path, checkpoint_pb2.Checkpoint], checkpoint_pb2.CheckpointRef]
) -> None:
    ref = damage(tmp_path, save_one(tmp_path, 1))
    with pytest.raises(Corrupted):
        load_checkpoint(open_store(str(tmp_path)), ref, operation_id="op-2")

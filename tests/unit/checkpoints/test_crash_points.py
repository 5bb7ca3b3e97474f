"""The run's process or the saver's dies at every boundary of a save: afterwards a usable checkpoint always exists."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from holdfast.artifacts.catalogue import discover_checkpoints, load_checkpoint
from holdfast.artifacts.checkpoint import Snapshot
from holdfast.artifacts.store import Store, open_store
from holdfast.run.saver import Saver, serve
from holdfast.run.writer import CheckpointWriter
from holdfast.v1 import checkpoint_pb2
from tests.unit.checkpoints.support import ListeningRun

PERIODIC = checkpoint_pb2.CHECKPOINT_TYPE_PERIODIC
BOUNDARIES = ("open", "write", "fsync", "close", "mkdir", "rename")


def snapshot(unit: int) -> Snapshot:
    return Snapshot(unit, "epoch", {"loss": 1.0 / unit}, {"model.bin": bytes([unit]) * 5000, "other.bin": b"z" * 10})


def save(root: Path, unit: int) -> None:
    with CheckpointWriter(open_store(str(root)), ListeningRun()) as writer:
        writer.save(snapshot(unit), PERIODIC, wait=True)


def die_before(boundary: int) -> None:
    """From now on this process kills itself before its `boundary`-th system call of a save."""
    passed = 0

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            nonlocal passed
            if passed == boundary:
                os.kill(os.getpid(), signal.SIGKILL)
            passed += 1
            return call(*args, **kwargs)

        return wrapper

    for name in BOUNDARIES:
        setattr(os, name, dying(getattr(os, name)))


def save_until_killed(root: Path, boundary: int) -> bool:
    """Saves epoch 2 in a child that kills itself before its `boundary`-th system call; True when it was killed."""
    child = os.fork()
    if child == 0:
        try:
            die_before(boundary)
            save(root, 2)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def usable(store: Store) -> int:
    """The epoch of the newest checkpoint, read and verified."""
    found = discover_checkpoints(store, "op-1")
    ref = checkpoint_pb2.CheckpointRef(uri=found[0].uri, manifest_digest=found[0].manifest_digest)
    loaded = load_checkpoint(store, ref, operation_id="op-1")
    unit = loaded.checkpoint.unit
    assert loaded.files["model.bin"] == bytes([unit]) * 5000
    assert loaded.state == {"loss": 1.0 / unit}
    return unit


def test_a_usable_checkpoint_exists_after_a_crash_at_every_boundary(tmp_path: Path) -> None:
    boundary, newest = 0, []
    while True:
        root = tmp_path / str(boundary)
        save(root, 1)
        killed = save_until_killed(root, boundary)
        store = open_store(str(root))
        unit = usable(store)
        newest.append(unit)
        if not killed:
            break
        boundary += 1
    print(f"{boundary} crash points")
    assert boundary >= 12
    assert newest == sorted(newest), "a later crash must never leave less than an earlier one"
    assert newest[0] == 1
    assert newest[-1] == 2


def forked_saver(boundaries: Iterator[int], store_url: str) -> Saver:
    """A saver that dies before its n-th system call of a save, n being the next of `boundaries`; -1: never."""
    boundary = next(boundaries)
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            ours.close()
            die_before(boundary)
            serve(open_store(store_url), theirs)
        finally:
            os._exit(0)
    theirs.close()
    return Saver(ours, child, lambda: os.waitpid(child, 0))


def test_the_run_is_told_when_the_saver_dies_at_any_boundary_and_the_next_save_works(tmp_path: Path) -> None:
    boundary = 0
    while True:
        root, run = tmp_path / str(boundary), ListeningRun()
        store, boundaries = open_store(str(root)), iter([boundary, -1])
        save(root, 1)
        with CheckpointWriter(store, run, start=partial(forked_saver, boundaries)) as writer:
            writer.save(snapshot(2), PERIODIC)
            assert run.heard.wait(30)
            assert usable(store) in (1, 2)
            if run.saved:
                break
            assert [notice.kind for notice in run.notices] == ["CHECKPOINT_FAILED"]
            writer.save(snapshot(3), PERIODIC)
        assert [checkpoint.unit for checkpoint in run.saved] == [3]
        assert usable(store) == 3
        boundary += 1
    assert boundary >= 12

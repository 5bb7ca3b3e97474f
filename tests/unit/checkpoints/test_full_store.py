"""A disk without room: nothing half-written stays, the error says where and how much, and the run is told once."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.artifacts.checkpoint import Snapshot
from holdfast.artifacts.local import LocalStore
from holdfast.artifacts.manifest import read_artifacts, write_artifacts
from holdfast.artifacts.store import open_store
from holdfast.errors import AtCapacity, StoreFull
from holdfast.run.saver import Saver, serve
from holdfast.run.writer import CheckpointWriter
from holdfast.v1 import checkpoint_pb2
from tests.unit.checkpoints.support import ListeningRun

PERIODIC = checkpoint_pb2.CHECKPOINT_TYPE_PERIODIC
FILES = {"model.bin": b"m" * 5000, "other.bin": b"o" * 10}
PARTS = {name: [content] for name, content in FILES.items()}
# Every system call of a write that may find the disk full, or broken.
CALLS = ("open", "write", "fsync", "mkdir", "rename")


class Disk:
    """Raises what the kernel raises, at the n-th call from now on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fails_in = -1
        self.number = errno.ENOSPC
        self.failed = False
        for name in CALLS:
            monkeypatch.setattr(os, name, self._failing(getattr(os, name)))

    def _failing(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if _reads_a_file(args):
                return call(*args, **kwargs)  # no disk is too full to be read
            self.fails_in -= 1
            if self.fails_in == -1:
                self.failed = True
                raise OSError(self.number, os.strerror(self.number), "disk")
            return call(*args, **kwargs)

        return wrapper


def _reads_a_file(args: tuple[Any, ...]) -> bool:
    flags = args[1] if len(args) > 1 else None
    return isinstance(flags, int) and bool(flags & os.O_NOFOLLOW) and flags & os.O_ACCMODE == os.O_RDONLY


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def tree(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def attempts(disk: Disk, root: Path, prefix: str, number: int) -> Iterator[BaseException]:
    """Writes with the n-th call failing, for every n; stops when a write needs fewer calls than that."""
    for boundary in range(100):
        disk.fails_in, disk.number, disk.failed = boundary, number, False
        try:
            write_artifacts(open_store(str(root)), prefix, FILES, {})
        except (OSError, StoreFull) as error:
            disk.fails_in = -1
            yield error
        if not disk.failed:
            disk.fails_in = -1
            return
    raise AssertionError("a write of more than a hundred calls")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("prefix", ["op-1/1-2", "op-2/1-1"])
def test_a_write_that_fails_anywhere_leaves_nothing(tmp_path: Path, disk: Disk, prefix: str, number: int) -> None:
    first = write_artifacts(open_store(str(tmp_path)), "op-1/1-1", FILES, {})
    before, failures = tree(tmp_path), 0
    for error in attempts(disk, tmp_path, prefix, number):
        failures += 1
        assert tree(tmp_path) == before
        if number == errno.EIO:
            assert isinstance(error, OSError)
            assert error.errno == errno.EIO
            continue
        assert isinstance(error, StoreFull)
        assert error.path == str(tmp_path / prefix)
        assert error.needed == 5010
        assert isinstance(error.__cause__, OSError)
        assert ("quota" in error.message) is (number == errno.EDQUOT)
    assert failures >= 10
    assert read_artifacts(open_store(str(tmp_path)), first.path, first.manifest_digest).files == FILES


def test_a_manifest_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    def seal() -> bytes:
        raise RuntimeError("no digest")

    with pytest.raises(RuntimeError, match="no digest"):
        LocalStore(str(tmp_path)).write_new("op/1-1", {"a": [b"abc"]}, seal)
    assert tree(tmp_path) == []


def test_only_what_the_call_made_is_removed(tmp_path: Path, disk: Disk) -> None:
    (tmp_path / "op" / "1-1").mkdir(parents=True)
    (tmp_path / "op" / "1-1" / "model.bin").write_bytes(b"left by a crash")
    (tmp_path / "op" / "note.txt").write_bytes(b"somebody's")
    before = tree(tmp_path)
    for _ in attempts(disk, tmp_path, "op/1-1", errno.ENOSPC):
        assert tree(tmp_path) == before
    assert (tmp_path / "op" / "1-1" / "manifest.json").exists(), "what a crash left is written over"


def test_the_first_error_is_the_one_that_is_raised(tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    def stuck(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "unlink", stuck)
    disk.fails_in, disk.number = 10, errno.EIO
    with pytest.raises(OSError, match="Input/output error") as caught:
        write_artifacts(open_store(str(tmp_path)), "op/1-1", FILES, {})
    assert any("model.bin was left behind" in note for note in caught.value.__notes__)


def test_what_does_not_fit_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filling a disk to its last byte would take the room of the database beside it."""
    values = list(os.statvfs(tmp_path))
    values[1], values[4] = 1, 4000  # f_frsize, f_bavail
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(values))
    with pytest.raises(StoreFull) as caught:
        write_artifacts(open_store(str(tmp_path)), "op/1-1", FILES, {})
    assert tree(tmp_path) == []
    error = caught.value
    assert isinstance(error, AtCapacity)
    assert (error.reason, error.needed, error.free) == ("STORE_FULL", 5010, 4000)
    assert error.metadata == {"path": str(tmp_path / "op/1-1"), "needed_bytes": "5010", "free_bytes": "4000"}
    assert "5010 bytes are needed" in error.message
    assert "4000 bytes are free" in error.message
    assert "Free some space" in error.message


def test_the_saver_passes_the_kind_of_an_error(tmp_path: Path, disk: Disk) -> None:
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=serve, args=(open_store(str(tmp_path)), theirs))
    thread.start()
    saver = Saver(ours, 0, thread.join)
    disk.fails_in = 8
    with pytest.raises(StoreFull) as full:
        saver.write("op/1-1", PARTS, {})
    assert (full.value.path, full.value.needed) == (str(tmp_path / "op/1-1"), 5010)
    assert full.value.free is not None
    disk.fails_in, disk.number = 10, errno.EIO
    with pytest.raises(OSError, match="Input/output") as broken:
        saver.write("op/1-1", PARTS, {})
    assert broken.value.errno == errno.EIO
    disk.fails_in = -1
    saver.write("op/1-1", PARTS, {})
    with pytest.raises(FileExistsError, match="ever written over"):
        saver.write("op/1-1", PARTS, {})
    saver.close()
    theirs.close()


def test_a_full_store_is_told_once_and_once_more_when_there_is_room(tmp_path: Path) -> None:
    run, room = ListeningRun(), threading.Event()

    class Store(LocalStore):
        """Full until there is room."""

        def write_new(self, prefix: str, files: Any, manifest: Any, unfinished: bytes = b"") -> None:
            if not room.is_set():
                raise StoreFull(str(tmp_path / prefix), 5010, 17)
            super().write_new(prefix, files, manifest, unfinished)

    def start(_: str) -> Saver:
        ours, theirs = socket.socketpair()
        thread = threading.Thread(target=serve, args=(Store(str(tmp_path)), theirs))
        thread.start()
        theirs_ended.append(theirs)
        return Saver(ours, 0, thread.join)

    ended, theirs_ended = threading.Semaphore(0), list[socket.socket]()

    class Listening:
        """A pace that says when a save has ended."""

        def begun(self) -> None: ...
        def ended(self, seconds: float) -> None:
            ended.release()

        def failed(self) -> None:
            ended.release()

    with CheckpointWriter(Store(str(tmp_path)), run, pace=Listening(), start=start) as writer:  # type: ignore[arg-type]
        for unit in range(1, 6):
            writer.save(Snapshot(unit, "epoch", {}), PERIODIC)
            assert ended.acquire(timeout=30)
        room.set()
        for unit in range(6, 9):
            writer.save(Snapshot(unit, "epoch", {}), PERIODIC)
            assert ended.acquire(timeout=30)
    theirs_ended[0].close()
    assert [notice.kind for notice in run.notices] == ["CHECKPOINT_FAILED", "CHECKPOINT_RECOVERED"]
    assert "5010 bytes are needed in" in run.notices[0][1]
    assert "at epoch 6, after 5 that failed" in run.notices[1][1]
    assert [checkpoint.unit for checkpoint in run.saved] == [6, 7, 8]

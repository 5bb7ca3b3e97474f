"""The saver is a process of its own: told what to write, it writes; killed, it is missed, told and replaced."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from holdfast.artifacts.checkpoint import Snapshot
from holdfast.artifacts.manifest import read_artifacts
from holdfast.artifacts.store import open_store
from holdfast.run.saver import Saver, serve, start_saver
from holdfast.run.writer import CheckpointWriter
from holdfast.v1 import checkpoint_pb2
from tests.unit.checkpoints.support import ListeningRun

PERIODIC = checkpoint_pb2.CHECKPOINT_TYPE_PERIODIC
CANCELLATION = checkpoint_pb2.CHECKPOINT_TYPE_CANCELLATION


def test_many_parts_large_ones_and_empty_files_arrive_whole(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    parts = [os.urandom(1 + number % 7) for number in range(2000)]
    large = os.urandom(5 << 20)
    saver = start_saver(store.url)
    written = saver.write("op/1-1", {"parts": parts, "large": [large[:9], b"", large[9:]], "empty": []}, {"kind": "x"})
    again = saver.write("op/1-2", {"a": [memoryview(b"abcd").cast("H")]}, {})
    saver.close()
    artifacts = read_artifacts(store, written.path, written.manifest_digest)
    assert artifacts.files == {"parts": b"".join(parts), "large": large, "empty": b""}
    assert artifacts.manifest["kind"] == "x"
    assert read_artifacts(store, again.path, again.manifest_digest).files == {"a": b"abcd"}


def test_a_refusal_is_told_and_the_saver_goes_on(tmp_path: Path) -> None:
    saver = start_saver(str(tmp_path))
    saver.write("op/1-1", {}, {})
    with pytest.raises(OSError, match="ever written over"):
        saver.write("op/1-1", {}, {})
    with pytest.raises(OSError, match="plain name"):
        saver.write("op/1-2", {"../a": [b"x"]}, {})
    saver.write("op/1-3", {}, {})
    saver.close()


def test_a_killed_saver_is_told_and_replaced(tmp_path: Path) -> None:
    run, started = ListeningRun(), []

    def start(url: str) -> Saver:
        started.append(start_saver(url))
        return started[-1]

    with CheckpointWriter(open_store(str(tmp_path)), run, start=start) as writer:
        writer.save(Snapshot(1, "epoch", {}), PERIODIC)
        assert run.heard.wait(30)
        run.heard.clear()
        os.kill(started[0].pid, signal.SIGKILL)
        writer.save(Snapshot(2, "epoch", {}), PERIODIC)
        assert run.heard.wait(30)
        ((kind, message, _),) = run.notices
        writer.save(Snapshot(3, "epoch", {}), PERIODIC)
    assert kind == "CHECKPOINT_FAILED"
    assert "ended before it answered" in message
    assert [checkpoint.unit for checkpoint in run.saved] == [1, 3]
    assert len(started) == 2


def test_a_saver_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    run = ListeningRun()

    def start(url: str) -> Saver:
        raise OSError(11, "Resource temporarily unavailable")

    with CheckpointWriter(open_store(str(tmp_path)), run, start=start) as writer:
        writer.save(Snapshot(1, "epoch", {}), PERIODIC)
        assert run.noticed.wait(30)
        # What the run waits for needs no second process.
        writer.save(Snapshot(1, "epoch", {}), CANCELLATION, wait=True)
    assert [checkpoint.checkpoint_id for checkpoint in run.saved] == ["op-1/1-1-cancellation"]


def test_signals_to_the_group_do_not_end_it_but_the_runs_end_does(tmp_path: Path) -> None:
    reaped = []
    saver = start_saver(str(tmp_path))
    saver.write("op/1-1", {}, {})  # it has set its signals by now
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(saver.pid, number)
    saver.write("op/1-2", {}, {})
    reap = saver._reap
    saver._reap = lambda: reaped.append(reap())
    saver.close()
    assert reaped == [0]


@pytest.mark.parametrize("cut", [5, -1, -9])
def test_half_a_request_writes_nothing(tmp_path: Path, cut: int) -> None:
    request = b'{"files":[["a",8]],"manifest":{},"prefix":"op/1-1"}\n12345678'
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=serve, args=(open_store(str(tmp_path)), theirs))
    thread.start()
    ours.sendall(request[:cut])
    ours.close()
    thread.join(30)
    theirs.close()
    assert not thread.is_alive()
    assert list(tmp_path.iterdir()) == []


def test_it_imports_nothing_heavy() -> None:
    code = "import sys, holdfast.run.saver; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "google.protobuf", "structlog", "grpc"} & set(loaded)

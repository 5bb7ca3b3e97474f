"""The run's end of the pipe, over a real socket pair."""

from __future__ import annotations

import dataclasses
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.run.contract import StopKind
from holdfast.v1 import checkpoint_pb2, operation_pb2, worker_pb2
from holdfast.worker.host import wire
from holdfast.worker.host.childrun import ChildRun
from holdfast.worker.host.context import RunContext

PATIENCE = 10.0
CONTEXT = RunContext(execute="m:f", store_url="s", market_dir=Path("/m"))
ORDER = worker_pb2.RunAssignment(run=worker_pb2.RunRef(operation_id="op", attempt=1))


class Peer:
    """The worker's end, blocking."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self.socket.settimeout(PATIENCE)
        self._deframer = wire.Deframer()

    def read(self) -> Iterator[worker_pb2.WorkerMessage]:
        for payload in self._payloads():
            if wire.read_beat(payload) is None:
                yield worker_pb2.WorkerMessage.FromString(payload)

    def beats(self) -> Iterator[int]:
        for payload in self._payloads():
            if (signs := wire.read_beat(payload)) is not None:
                yield signs

    def _payloads(self) -> Iterator[bytes]:
        while data := self.socket.recv(65_536):
            yield from self._deframer.feed(data)


@pytest.fixture
def orphaned() -> threading.Event:
    return threading.Event()


@pytest.fixture
def ends(orphaned: threading.Event) -> Iterator[tuple[ChildRun, Peer]]:
    theirs, ours = socket.socketpair()
    run = ChildRun(ours, CONTEXT, orphaned=orphaned.set)
    peer = Peer(theirs)
    theirs.sendall(wire.order_frame(ORDER))
    run.start()
    assert run.assignment == CONTEXT.assign(ORDER)
    with theirs, ours:
        yield run, peer
        theirs.close()
        run._thread.join(PATIENCE)
        assert not run._thread.is_alive()


def progress(unit: int) -> operation_pb2.Progress:
    return operation_pb2.Progress(phase="training", unit=unit)


def test_what_is_said_arrives_in_order(ends: tuple[ChildRun, Peer]) -> None:
    run, peer = ends
    run.notice("A", "first", {"k": "v"})
    run.checkpoint_saved(checkpoint_pb2.Checkpoint(unit=1))
    run.progress(progress(7))
    run.finish(worker_pb2.RunFinished(outcome=worker_pb2.RUN_OUTCOME_COMPLETED))
    run._pipe.close()
    facts = [message.WhichOneof("fact") for message in peer.read()]
    assert facts == ["notice", "checkpoint_saved", "progress", "run_finished"]


def test_progress_is_coalesced_and_never_behind_a_later_word(ends: tuple[ChildRun, Peer]) -> None:
    run, peer = ends
    for unit in range(1, 50_001):
        run.progress(progress(unit))
    run.notice("DONE", "all")
    run.finish(worker_pb2.RunFinished())
    run._pipe.close()
    messages = list(peer.read())
    units = [m.progress.progress.unit for m in messages if m.HasField("progress")]
    assert units == sorted(units)
    assert units[-1] == 50_000
    assert len(units) < 1_000
    assert [m.WhichOneof("fact") for m in messages[-3:]] == ["progress", "notice", "run_finished"]
    assert all(m.progress.progress.HasField("update_time") for m in messages if m.HasField("progress"))


def test_the_callers_message_may_be_used_again(ends: tuple[ChildRun, Peer]) -> None:
    run, peer = ends
    mine = progress(1)
    run.progress(mine)
    mine.phase = "changed"
    run.finish(worker_pb2.RunFinished())
    run._pipe.close()
    assert next(peer.read()).progress.progress.phase == "training"


@pytest.mark.parametrize("kind", list(StopKind))
def test_a_stop_is_seen(ends: tuple[ChildRun, Peer], kind: StopKind) -> None:
    run, peer = ends
    assert run.stop_requested is None
    peer.socket.sendall(wire.stop_frame(kind))
    peer.socket.sendall(wire.stop_frame(StopKind.CANCEL))
    seen = threading.Event()
    waiting = threading.Thread(target=lambda: _watch(run, seen), daemon=True)
    waiting.start()
    assert seen.wait(PATIENCE)
    assert run.stop_requested is kind


def test_a_closed_pipe_orphans_the_run(ends: tuple[ChildRun, Peer], orphaned: threading.Event) -> None:
    _, peer = ends
    peer.socket.close()
    assert orphaned.wait(PATIENCE)


def test_a_worker_that_does_not_read_holds_nobody_up(ends: tuple[ChildRun, Peer]) -> None:
    run, peer = ends
    for number in range(2_000):
        run.notice("N", "x" * 1_000, {"number": str(number)})  # far more than the socket holds
    ending = threading.Thread(target=run.finish, args=[worker_pb2.RunFinished()], daemon=True)
    ending.start()
    received = []
    for message in peer.read():
        received.append(message)
        if message.HasField("run_finished"):
            break
    ending.join(PATIENCE)
    assert [m.notice.details["number"] for m in received[:-1]] == [str(number) for number in range(2_000)]


def test_a_beat_tells_the_signs_of_life_and_moves_only_with_them() -> None:
    theirs, ours = socket.socketpair()
    orphaned = threading.Event()
    with theirs, ours:
        theirs.sendall(wire.order_frame(ORDER))
        run = ChildRun(ours, dataclasses.replace(CONTEXT, beat_seconds=0.001), orphaned=orphaned.set)
        peer = Peer(theirs)
        run.start()
        beats = peer.beats()
        # The thread beats while the run's own code does nothing: the number stands still.
        assert [next(beats) for _ in range(5)] == [0] * 5
        assert run.stop_requested is None
        assert next(signs for signs in beats if signs) == 1
        run.progress(progress(1))
        run.notice("N", "n")
        run.checkpoint_saved(checkpoint_pb2.Checkpoint(unit=1))
        assert next(signs for signs in beats if signs > 3) == 4
        theirs.shutdown(socket.SHUT_RDWR)
        assert orphaned.wait(PATIENCE)


def _watch(run: ChildRun, seen: threading.Event) -> None:
    while run.stop_requested is None:
        threading.Event().wait(0.001)
    seen.set()

"""Durable facts: numbered, kept, forgotten when acknowledged, in whatever order that comes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.rpc.limits import FACT_BYTES
from holdfast.v1 import checkpoint_pb2, worker_pb2
from holdfast.worker.factqueue import CHECKPOINTS_KEPT, NOTICES_KEPT, FactQueue
from holdfast.worker.outbox import Outbox


def a_notice(text: str) -> worker_pb2.WorkerMessage:
    return worker_pb2.WorkerMessage(notice=worker_pb2.RunNotice(message=text))


def an_end(attempt: int = 1) -> worker_pb2.RunFinished:
    return worker_pb2.RunFinished(run=worker_pb2.RunRef(operation_id="op", attempt=attempt))


@given(acknowledged=st.lists(st.lists(st.integers(-1, 12))))
def test_only_what_is_not_acknowledged_is_sent_again_and_in_order(acknowledged: list[list[int]]) -> None:
    facts = FactQueue(Outbox(Path("/nonexistent")))
    for number in range(1, 11):
        facts.add(a_notice(str(number)))
    for sequences in acknowledged:
        facts.acknowledge(sequences)
    expected = sorted(set(range(1, 11)) - {number for batch in acknowledged for number in batch})
    assert [message.sequence for message in facts.after(0)] == expected
    assert [message.sequence for message in facts.after(5)] == [number for number in expected if number > 5]
    facts.add(a_notice("next"))
    assert facts.after(10)[-1].sequence == 11


def a_checkpoint(run: worker_pb2.RunRef, unit: int) -> worker_pb2.WorkerMessage:
    checkpoint = checkpoint_pb2.Checkpoint(unit=unit)
    return worker_pb2.WorkerMessage(checkpoint_saved=worker_pb2.CheckpointSaved(run=run, checkpoint=checkpoint))


async def test_a_long_outage_costs_no_memory_and_no_end() -> None:
    facts = FactQueue(Outbox(Path("/nonexistent")))
    one, two = worker_pb2.RunRef(operation_id="one", attempt=1), worker_pb2.RunRef(operation_id="two", attempt=1)
    for number in range(1, 5001):
        for run in (one, two):
            facts.add(a_checkpoint(run, number))
            notice = worker_pb2.RunNotice(run=run, type="NOTED", message=str(number))
            facts.add(worker_pb2.WorkerMessage(notice=notice))
    for attempt in range(50):
        await facts.add_end(an_end(attempt))
    waiting = facts.after(0)
    assert [message.sequence for message in waiting] == sorted(message.sequence for message in waiting)
    assert len(waiting) == 2 * (CHECKPOINTS_KEPT + NOTICES_KEPT + 1) + 50
    saved = [m.checkpoint_saved for m in waiting if m.HasField("checkpoint_saved") and m.checkpoint_saved.run == one]
    assert [fact.checkpoint.unit for fact in saved] == [4999, 5000]
    noticed = [m.notice for m in waiting if m.HasField("notice") and m.notice.run == two]
    assert [notice.message for notice in noticed[:3]] == ["1", "2", "3"]
    assert noticed[-1].type == "NOTICES_LEFT_OUT"
    assert noticed[-1].message.startswith("4800 further notices of this run were left out")
    # Acknowledged, all of it is forgotten, and there is room again.
    facts.acknowledge(message.sequence for message in waiting)
    assert facts.after(0) == []
    assert not facts._checkpoints
    assert not facts._notices
    await facts.close()


@given(st.lists(st.tuples(st.sampled_from("cna"), st.sampled_from(["a", "b"])), max_size=80))
def test_what_waits_is_in_order_and_the_newest_checkpoint_is_in_it(steps: list[tuple[str, str]]) -> None:
    facts = FactQueue(Outbox(Path("/nonexistent")))
    newest: dict[str, int] = {}
    for number, (step, name) in enumerate(steps, 1):
        run = worker_pb2.RunRef(operation_id=name, attempt=1)
        if step == "c":
            facts.add(a_checkpoint(run, number))
            newest[name] = number
        elif step == "n":
            facts.add(worker_pb2.WorkerMessage(notice=worker_pb2.RunNotice(run=run)))
        else:
            facts.acknowledge(message.sequence for message in facts.after(0)[::2])
            newest = {}
        waiting = facts.after(0)
        assert [m.sequence for m in waiting] == sorted({m.sequence for m in waiting})
        units = {m.checkpoint_saved.checkpoint.unit for m in waiting if m.HasField("checkpoint_saved")}
        assert set(newest.values()) <= units


async def test_what_a_run_says_fits_into_the_stream() -> None:
    facts = FactQueue(Outbox(Path("/nonexistent")))
    details = {str(number) + "k" * 20_000: "v" * 2_000_000 for number in range(80)}
    notice = worker_pb2.RunNotice(type="NOTED", message="m" * 5_000_000, details=details)
    facts.add(worker_pb2.WorkerMessage(notice=notice))
    finished = an_end()
    finished.failure.message = "x" * 10_000_000
    await facts.add_end(finished)
    assert all(message.ByteSize() < FACT_BYTES for message in facts.after(0))


async def test_an_end_that_was_refused_waits_on_disk_for_the_next_process(tmp_path: Path) -> None:
    facts = FactQueue(Outbox(tmp_path))
    await facts.add_end(an_end())
    facts.acknowledge([1], refused={1})
    await facts.close()
    assert facts.after(0) == []
    assert facts.delivered.is_set()
    assert Outbox(tmp_path).load() == [an_end()]


async def test_an_end_is_on_disk_before_it_is_sent_and_gone_after_its_acknowledgement(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    facts = FactQueue(outbox)
    seen_on_disk = []
    facts.on_change = lambda: seen_on_disk.append(len(outbox.load()))
    await facts.add_end(an_end())
    assert seen_on_disk == [1]
    assert facts.has_end(an_end().run)
    assert not facts.delivered.is_set()
    facts.acknowledge([1, 1])
    assert facts.delivered.is_set()
    assert not facts.has_end(an_end().run)
    await facts.close()
    assert outbox.load() == []


async def test_ends_of_an_earlier_process_are_sent_again(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    for attempt in (1, 2):
        outbox.put(an_end(attempt))
    facts = FactQueue(outbox)
    facts.load(outbox.load())
    assert [finished.run.attempt for finished in facts.ends()] == [1, 2]
    facts.acknowledge_ends([an_end(2).run, worker_pb2.RunRef(operation_id="unknown", attempt=1)])
    assert [message.run_finished.run.attempt for message in facts.after(0)] == [1]
    await facts.close()
    assert [finished.run.attempt for finished in outbox.load()] == [1]


async def test_a_full_disk_does_not_keep_an_end_back(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    facts = FactQueue(Outbox(tmp_path / "file"))
    await facts.add_end(an_end())
    assert len(facts.after(0)) == 1


async def test_a_disk_that_hangs_keeps_no_operation_from_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    monkeypatch.setattr("holdfast.worker.factqueue.OUTBOX_SECONDS", 0.01)
    outbox = Outbox(tmp_path)
    monkeypatch.setattr(outbox, "put", lambda finished: released.wait(10))
    facts = FactQueue(outbox)
    try:
        await facts.add_end(an_end())
    finally:
        released.set()
    assert facts.has_end(an_end().run)

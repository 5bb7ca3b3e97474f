"""A worker speaks only for runs that it was given, and only of what really lies in the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.services.coordinator.operations.lifecycle import Cause, Status
from holdfast.services.coordinator.operations.records import failure
from holdfast.v1 import checkpoint_pb2, operation_pb2, worker_pb2
from tests.support import stored
from tests.support.coordinator import Caller, running, running_coordinator
from tests.support.scripted_worker import ScriptedWorker, failed, ref
from tests.support.waiting import until


@pytest.fixture
async def caller(database_url: str, tmp_path: Path) -> AsyncIterator[Caller]:
    async with running_coordinator(database_url, tmp_path) as caller:
        yield caller


def saved(checkpoint: checkpoint_pb2.Checkpoint) -> worker_pb2.CheckpointSaved:
    return worker_pb2.CheckpointSaved(run=ref(checkpoint.operation_id, checkpoint.attempt), checkpoint=checkpoint)


async def test_no_call_deletes_what_another_has_made(caller: Caller) -> None:
    """Registration under a new id, the end of somebody's run, a checkpoint "at" all models with unit 0."""
    async with ScriptedWorker(caller.address) as worker, ScriptedWorker(caller.address, "stranger") as stranger:
        first = await running(caller, worker)
        worker.runs.clear()
        await worker.settled(worker.fact(run_finished=caller.completed(first, 1)))
        model = caller.home / "store" / first / "model-1" / "manifest.json"
        second = await running(caller, worker)
        for unit in (3, 4):
            await worker.settled(worker.fact(checkpoint_saved=saved(caller.write_checkpoint(second, 1, unit))))
        before = await caller.get(second)

        forged = [failed(second, 1), failed(second, 1)]
        for report, address in zip(forged, (f"{first}/model-1", first), strict=True):
            report.checkpoint.CopyFrom(
                checkpoint_pb2.Checkpoint(
                    checkpoint_id=f"{second}/1-0", operation_id=second, attempt=1, unit_name="epoch", uri=address
                )
            )
        stolen = caller.completed(second, 1)
        answer = await stranger.register(finished=[*forged, stolen])
        assert len(answer.acknowledged_runs) == 3  # refused, and not to be sent again
        for number in (stranger.fact(run_finished=forged[0]), stranger.fact(run_finished=stolen)):
            await stranger.settled(number)
        await stranger.settled(stranger.fact(checkpoint_saved=saved(caller.write_checkpoint(second, 1, 9))))
        note = worker_pb2.RunNotice(run=ref(second, 1), type="COMPLETED", message="says a stranger")
        await stranger.settled(stranger.fact(notice=note))
        stranger.progress(second, 1, 99)

        assert (await caller.get(second)) == before
        assert await caller.events(second) == ["CREATED", "CLAIMED", "CHECKPOINT_SAVED", "CHECKPOINT_SAVED"]
        assert (await caller.system()).stale_messages_refused >= 7
        assert model.exists()
        # Nor does the run's own worker speak for what is not its own.
        await worker.settled(worker.fact(run_finished=forged[0]))
        operation = await caller.get(second)
        assert operation.failure.reason == "RUN_DIED"
        assert operation.checkpoint.unit == 4
        assert (await caller.system()).refused_messages["run_finished.checkpoint"] == 1
        assert model.exists()


async def test_every_statement_asks_itself_whose_the_operation_is(caller: Caller) -> None:
    """What was read a moment before may have changed: the statement that writes is the one that decides."""
    async with ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker)
        rooms, words = caller.rooms, failure("RUN_DIED", "says a stranger")
        known = operation_id, 1
        written = caller.write_checkpoint(operation_id, 1, 3)
        for worker_id in ("stranger", "worker-1"):
            own = worker_id == "worker-1"
            noted = await rooms.store.record_event(operation_id, "NOTED", "", attempt=1, worker_id=worker_id)
            assert (noted is not None) is own
            saved_by = await rooms.checkpoints.save(*known, written, worker_id=worker_id)
            assert (saved_by is not None) is own
            progressed = await rooms.store.save_progress({operation_id: (1, worker_id, b"")})
            assert progressed == ({known} if own else set())
            ended = await rooms.transitions.end(
                *known, Cause.FINISH, Status.FAILED, "FAILED", "says a stranger", failure=words, worker_id=worker_id
            )
            assert (ended is not None) is own


FORGERIES: dict[str, dict[str, Any]] = {
    "an address of its own": {"uri": "/etc"},
    "another directory": {"uri": "models"},
    "another digest": {"manifest_digest": "ab" * 32},
    "no digest": {"manifest_digest": ""},
    "another unit's directory": {"checkpoint_id": "{}/1-77", "uri": "{}/1-77", "unit": 77},
}


async def test_a_checkpoint_is_believed_only_as_the_store_holds_it(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker)
        true = caller.write_checkpoint(operation_id, 1, 5)
        for name, fields in FORGERIES.items():
            forged = checkpoint_pb2.Checkpoint()
            forged.CopyFrom(true)
            for field, value in fields.items():
                setattr(forged, field, value.format(operation_id) if isinstance(value, str) else value)
            await worker.settled(worker.fact(checkpoint_saved=saved(forged)))
            assert worker.refused[-1].reason == "CHECKPOINT_NOT_VERIFIED", name
        assert not (await caller.get(operation_id)).HasField("checkpoint")
        assert (await caller.system()).refused_messages["checkpoint_saved"] == len(FORGERIES)
        # What only adorns it comes from the manifest.
        lying = checkpoint_pb2.Checkpoint()
        lying.CopyFrom(true)
        lying.size_bytes, lying.data_digest, lying.unit_name = 1, "other", "bar"
        await worker.settled(worker.fact(checkpoint_saved=saved(lying)))
        kept = (await caller.get(operation_id)).checkpoint
        assert (kept.size_bytes, kept.data_digest, kept.unit_name) == (true.size_bytes, "", "epoch")
        # Told again after its directory has gone to a later one's: nothing to complain about.
        for unit in (6, 7):
            await worker.settled(worker.fact(checkpoint_saved=saved(caller.write_checkpoint(operation_id, 1, unit))))
        directory = caller.home / "store" / true.checkpoint_id
        await until(lambda: not directory.exists(), "the oldest to go")
        await worker.settled(worker.fact(checkpoint_saved=saved(true)))
        assert len(worker.refused) == len(FORGERIES)


@pytest.mark.parametrize("forgery", ["address", "digest", "kind", "another's"])
async def test_completed_is_believed_only_with_its_bundle(caller: Caller, forgery: str) -> None:
    async with ScriptedWorker(caller.address) as worker:
        other = await running(caller, worker)
        worker.runs.clear()
        await worker.settled(worker.fact(run_finished=caller.completed(other, 1)))
        operation_id = await running(caller, worker)
        await worker.settled(worker.fact(checkpoint_saved=saved(caller.write_checkpoint(operation_id, 1, 5))))
        report = caller.completed(operation_id, 1)
        if forgery == "address":
            report.training_result.model_uri = "/etc"
        elif forgery == "digest":
            report.training_result.model_digest = "ab" * 32
        elif forgery == "kind":
            report = caller.completed(operation_id, 1, "BACKTEST")
        else:
            stolen = caller.completed(other, 1).training_result
            report.training_result.CopyFrom(stolen)
        worker.runs.clear()
        await worker.settled(worker.fact(run_finished=report))
        operation = await caller.get(operation_id)
        assert operation.status == operation_pb2.OPERATION_STATUS_FAILED
        assert operation.failure.reason == "RESULT_NOT_VERIFIED"
        assert f"holdfast operations resume {operation_id}" in operation.failure.message
        assert operation.resumable


async def test_a_store_that_is_away_is_waited_for(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.services.coordinator.workers.evidence.LONGEST_WAIT", 0.05)
    store, away = caller.home / "store", caller.home / "store-elsewhere"
    async with ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker)
        checkpoint = caller.write_checkpoint(operation_id, 1, 5)
        store.rename(away)
        store.mkdir()  # as a mount point without its file system
        state = worker_pb2.RunState(run=ref(operation_id, 1), checkpoint=checkpoint)
        await worker.register([state])
        numbers = [worker.fact(checkpoint_saved=saved(checkpoint))]
        beats = caller.rooms.registry.all()[0].last_heartbeat_time
        await until(lambda: caller.rooms.registry.all()[0].last_heartbeat_time != beats, "a heartbeat")
        worker.runs.clear()
        numbers.append(worker.fact(run_finished=stored.completed(away, operation_id, 1)))
        # A registration is not held up by it; the end comes again on the stream.
        answer = await worker.register([], [stored.completed(away, operation_id, 1)])
        assert not answer.acknowledged_runs
        assert not worker.acknowledged & set(numbers)
        assert await caller.status(operation_id) == "RUNNING"

        store.rmdir()
        away.rename(store)
        for number in numbers:
            await worker.settled(number)
        assert await caller.status(operation_id) == "COMPLETED"
        assert not worker.refused
        assert await caller.events(operation_id) == ["CREATED", "CLAIMED", "CHECKPOINT_SAVED", "COMPLETED"]

"""Resume: which checkpoint, who wins, what is refused and with which code; and the catalogue behind it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.errors import (
    Corrupted,
    HoldfastError,
    InvalidRequest,
    LostRace,
    NotFound,
    NotPossible,
)
from holdfast.services.coordinator.operations import automatic
from holdfast.v1 import checkpoint_pb2, operation_pb2, worker_pb2
from holdfast.v1 import checkpoint_service_pb2 as pb
from holdfast.v1 import coordinator_service_pb2 as coordinator_pb
from tests.support.coordinator import Caller, new_request_id, running_coordinator
from tests.support.scripted_worker import ScriptedWorker, failed, ref
from tests.support.waiting import until


@pytest.fixture
async def caller(database_url: str, tmp_path: Path) -> AsyncIterator[Caller]:
    async with running_coordinator(database_url, tmp_path) as caller:
        yield caller


@pytest.fixture
async def worker(caller: Caller) -> AsyncIterator[ScriptedWorker]:
    async with ScriptedWorker(caller.address) as worker:
        await worker.register()
        yield worker


async def save(caller: Caller, worker: ScriptedWorker, operation_id: str, attempt: int, unit: int) -> None:
    saved = caller.write_checkpoint(operation_id, attempt, unit, content=bytes(100) + str(unit).encode())
    run = ref(operation_id, attempt)
    await worker.settled(worker.fact(checkpoint_saved=worker_pb2.CheckpointSaved(run=run, checkpoint=saved)))


async def crashed(caller: Caller, worker: ScriptedWorker, *units: int) -> str:
    """A training that saved at these epochs and died."""
    operation_id = (await caller.start()).operation_id
    await worker.given(operation_id)
    for unit in units:
        await save(caller, worker, operation_id, 1, unit)
    worker.runs.clear()
    worker.fact(run_finished=failed(operation_id, 1))
    await caller.reaches(operation_id, "FAILED")
    return operation_id


def damage(caller: Caller, checkpoint_id: str) -> None:
    """One bit of one artifact."""
    path = caller.home / "store" / checkpoint_id / "model.bin"
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)


async def test_resume_continues_from_the_newest_under_a_new_attempt(caller: Caller, worker: ScriptedWorker) -> None:
    operation_id = await crashed(caller, worker, 3, 4, 5)
    before = await caller.get(operation_id)
    assert before.resumable
    answer = await caller.resume(operation_id)
    assert answer.checkpoint.unit == 5
    assert answer.operation.attempt == 2
    assert await worker.assigned(2) == (operation_id, 2)
    assignment, checkpoint = worker.assignments[1]
    assert assignment.training.strategy == before.training.strategy
    assert checkpoint == checkpoint_pb2.CheckpointRef(
        checkpoint_id=f"{operation_id}/1-5",
        uri=answer.checkpoint.uri,
        manifest_digest=answer.checkpoint.manifest_digest,
    )
    worker.runs.clear()
    worker.fact(run_finished=caller.completed(operation_id, 2))
    await caller.reaches(operation_id, "COMPLETED")

    # Nothing will continue it: its checkpoints go, rows and files.
    async def forgotten() -> bool:
        listed = await caller.call("ListCheckpoints", pb.ListCheckpointsRequest(operation_id=operation_id))
        return not listed.checkpoints

    await until(forgotten, "the rows to go")
    await until(lambda: not list((caller.home / "store").glob(f"{operation_id}/[0-9]*")), "the files to go")


async def test_the_newest_two_are_kept_and_older_files_go(caller: Caller, worker: ScriptedWorker) -> None:
    operation_id = await crashed(caller, worker, 1, 2, 3, 4)
    listed = await caller.call("ListCheckpoints", pb.ListCheckpointsRequest(operation_id=operation_id))
    assert [checkpoint.unit for checkpoint in listed.checkpoints] == [4, 3]
    store = caller.home / "store" / operation_id
    await until(lambda: {path.name for path in store.iterdir()} == {"1-3", "1-4"}, "older files to go")


async def test_a_late_report_never_moves_the_pointer_back(caller: Caller, worker: ScriptedWorker) -> None:
    operation_id = await crashed(caller, worker, 6, 5)
    assert (await caller.get(operation_id)).checkpoint.unit == 6


async def test_of_fifty_resumes_one_wins(caller: Caller, worker: ScriptedWorker) -> None:
    operation_id = await crashed(caller, worker, 5)
    answers = await asyncio.gather(*(caller.resume(operation_id) for _ in range(50)), return_exceptions=True)
    lost = [answer for answer in answers if isinstance(answer, LostRace)]
    assert len(lost) == 49
    assert {error.reason for error in lost} == {"RESUME_LOST_RACE"}
    assert (await caller.events(operation_id)).count("RESUMED") == 1
    assert (await worker.assigned(2))[1] == 2


async def test_the_same_request_wins_again(caller: Caller, worker: ScriptedWorker) -> None:
    operation_id = await crashed(caller, worker, 5)
    request_id = new_request_id()
    answers = await asyncio.gather(*(caller.resume(operation_id, request_id=request_id) for _ in range(5)))
    assert {(answer.operation.attempt, answer.checkpoint.unit) for answer in answers} == {(2, 5)}
    with pytest.raises(InvalidRequest) as reused:
        await caller.resume(operation_id, request_id=request_id, allow_data_change=True)
    assert reused.value.reason == "REQUEST_ID_REUSED"


async def test_a_corrupt_newest_falls_back_and_says_so(caller: Caller, worker: ScriptedWorker) -> None:
    operation_id = await crashed(caller, worker, 4, 5)
    damage(caller, f"{operation_id}/1-5")
    answer = await caller.resume(operation_id)
    assert answer.checkpoint.unit == 4
    events = await caller.events(operation_id)
    assert "CHECKPOINT_CORRUPTED" in events
    (await worker.assigned(2))[1]


async def test_a_named_corrupt_one_is_data_loss_with_the_file_and_the_way_out(
    caller: Caller, worker: ScriptedWorker
) -> None:
    operation_id = await crashed(caller, worker, 4, 5)
    damage(caller, f"{operation_id}/1-5")
    named = checkpoint_pb2.CheckpointRef(checkpoint_id=f"{operation_id}/1-5")
    with pytest.raises(Corrupted) as corrupted:
        await caller.resume(operation_id, checkpoint=named)
    assert corrupted.value.reason == "CHECKPOINT_CORRUPTED"
    assert "model.bin" in corrupted.value.message
    assert "without naming" in corrupted.value.message
    assert await caller.status(operation_id) == "FAILED"
    named.checkpoint_id = f"{operation_id}/1-4"
    assert (await caller.resume(operation_id, checkpoint=named)).checkpoint.unit == 4


async def test_all_corrupt_is_data_loss_and_changes_nothing(caller: Caller, worker: ScriptedWorker) -> None:
    operation_id = await crashed(caller, worker, 4, 5)
    damage(caller, f"{operation_id}/1-4")
    (caller.home / "store" / operation_id / "1-5" / "model.bin").unlink()
    with pytest.raises(Corrupted):
        await caller.resume(operation_id)
    operation = await caller.get(operation_id)
    assert (operation.status, operation.attempt) == (operation_pb2.OPERATION_STATUS_FAILED, 1)


async def test_codes(caller: Caller, worker: ScriptedWorker) -> None:
    expected: list[tuple[str, type[HoldfastError], str]] = [("training-nothing", NotFound, "OPERATION_NOT_FOUND")]
    expected.append((await crashed(caller, worker), NotFound, "CHECKPOINT_NOT_FOUND"))
    done = (await caller.start()).operation_id
    await worker.assigned(2)
    live = (await caller.start()).operation_id
    expected.append((done, NotPossible, "OPERATION_NOT_RESUMABLE"))  # running
    expected.append((live, NotPossible, "OPERATION_NOT_RESUMABLE"))  # pending
    for operation_id, kind, reason in expected:
        with pytest.raises(kind) as error:
            await caller.resume(operation_id)
        assert error.value.reason == reason
        assert error.value.metadata["operation_id"] == operation_id
    worker.runs.clear()
    worker.fact(run_finished=caller.completed(done, 1))
    await caller.reaches(done, "COMPLETED")
    with pytest.raises(NotPossible, match="completed"):
        await caller.resume(done)
    other = await crashed_elsewhere(caller, worker, live)
    named = checkpoint_pb2.CheckpointRef(checkpoint_id=f"{other}/1-9")
    with pytest.raises(NotFound):
        await caller.resume(expected[1][0], checkpoint=named)


async def crashed_elsewhere(caller: Caller, worker: ScriptedWorker, operation_id: str) -> str:
    await worker.assigned(3)
    await save(caller, worker, operation_id, 1, 9)
    worker.runs.clear()
    worker.fact(run_finished=failed(operation_id, 1))
    await caller.reaches(operation_id, "FAILED")
    return operation_id


async def test_cancelled_while_resuming_can_be_resumed_again(caller: Caller, worker: ScriptedWorker) -> None:
    operation_id = await crashed(caller, worker, 5)
    await worker.die()
    await until(lambda: not caller.rooms.registry.all()[0].connected, "the loss to be noticed")
    await caller.resume(operation_id)
    assert await caller.status(operation_id) == "RESUMING"
    assert (await caller.cancel(operation_id)).status == operation_pb2.OPERATION_STATUS_CANCELLED
    answer = await caller.resume(operation_id)
    assert answer.operation.attempt == 3


async def test_an_unreported_checkpoint_is_found(caller: Caller, worker: ScriptedWorker) -> None:
    operation_id = await crashed(caller, worker, 5)
    caller.write_checkpoint(operation_id, 1, 6)
    assert (await caller.resume(operation_id)).checkpoint.unit == 6
    assert "CHECKPOINT_DISCOVERED" in await caller.events(operation_id)


async def test_what_was_allowed_at_the_start_holds_for_the_automatic_resume(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdfast.market.sample import install_sample
    from holdfast.market.store import MarketStore

    monkeypatch.setattr(automatic, "FIRST_DELAY", 0.01)
    install_sample(MarketStore(tmp_path / "market"))
    async with running_coordinator(database_url, tmp_path) as caller, ScriptedWorker(caller.address) as worker:
        await worker.register()
        operation_id = (await caller.start(max_attempts=2, allow_data_change=True)).operation_id
        await worker.assigned()
        saved = caller.write_checkpoint(operation_id, 1, 5, data_digest="another history")
        run = ref(operation_id, 1)
        await worker.settled(worker.fact(checkpoint_saved=worker_pb2.CheckpointSaved(run=run, checkpoint=saved)))
        worker.runs.clear()
        worker.fact(run_finished=failed(operation_id, 1, signal=9))
        assert await worker.assigned(2) == (operation_id, 2)
        assert worker.assignments[1][0].training.allow_data_change


async def test_changed_market_data_is_refused_unless_allowed(database_url: str, tmp_path: Path) -> None:
    from holdfast.market.sample import install_sample
    from holdfast.market.store import MarketStore

    market = MarketStore(tmp_path / "market")
    install_sample(market)
    async with running_coordinator(database_url, tmp_path) as caller, ScriptedWorker(caller.address) as worker:
        await worker.register()
        operation_id = (await caller.start()).operation_id
        await worker.assigned()
        for unit, digest in ((5, "another history"), (6, market.digest(["SPX"], ["1d"]))):
            saved = caller.write_checkpoint(operation_id, 1, unit, data_digest=digest)
            run = ref(operation_id, 1)
            await worker.settled(worker.fact(checkpoint_saved=worker_pb2.CheckpointSaved(run=run, checkpoint=saved)))
        worker.runs.clear()
        worker.fact(run_finished=failed(operation_id, 1))
        await caller.reaches(operation_id, "FAILED")
        older = checkpoint_pb2.CheckpointRef(checkpoint_id=f"{operation_id}/1-5")
        with pytest.raises(NotPossible) as changed:
            await caller.resume(operation_id, checkpoint=older)
        assert changed.value.reason == "MARKET_DATA_CHANGED"
        await caller.resume(operation_id, checkpoint=older, allow_data_change=True)
        await worker.assigned(2)
        assert worker.assignments[1][0].training.allow_data_change
        worker.runs.clear()
        worker.fact(run_finished=failed(operation_id, 2))
        await caller.reaches(operation_id, "FAILED")
        # The newest was made from the data that is there.
        await caller.resume(operation_id, checkpoint=checkpoint_pb2.CheckpointRef(checkpoint_id=f"{operation_id}/1-6"))


async def test_a_resume_that_no_worker_takes_goes_back_and_keeps_the_checkpoint(
    caller: Caller, worker: ScriptedWorker
) -> None:
    operation_id = await crashed(caller, worker, 5)
    from holdfast.errors import AtCapacity

    worker.refusals = [AtCapacity("No free slot here.", reason="NO_FREE_SLOT")]
    await caller.resume(operation_id)
    assert await worker.assigned(2) == (operation_id, 2)
    _, checkpoint = worker.assignments[1]
    assert checkpoint is not None
    assert checkpoint.checkpoint_id == f"{operation_id}/1-5"


# The catalogue


async def test_verify_delete_and_stats(caller: Caller, worker: ScriptedWorker) -> None:
    operation_id = await crashed(caller, worker, 4, 5)
    newest, older = f"{operation_id}/1-5", f"{operation_id}/1-4"
    sound = await caller.call("VerifyCheckpoint", pb.VerifyCheckpointRequest(checkpoint_id=newest))
    assert sound.valid
    assert sound.bytes_read > 100
    damage(caller, newest)
    broken = await caller.call("VerifyCheckpoint", pb.VerifyCheckpointRequest(checkpoint_id=newest))
    assert not broken.valid
    assert "model.bin" in broken.problems[0]
    stats = await caller.call("GetCheckpointStats", pb.GetCheckpointStatsRequest())
    assert (stats.checkpoints, stats.operations) == (2, 1)
    assert dict(stats.checkpoints_by_type) == {"PERIODIC": 2}
    got = await caller.call("GetCheckpoint", pb.GetCheckpointRequest(operation_id=operation_id))
    assert got.checkpoint.checkpoint_id == newest
    freed = await caller.call("DeleteCheckpoint", pb.DeleteCheckpointRequest(checkpoint_id=newest))
    assert freed.bytes_freed > 100
    assert (await caller.get(operation_id)).checkpoint.checkpoint_id == older
    with pytest.raises(NotFound):
        await caller.call("GetCheckpoint", pb.GetCheckpointRequest(checkpoint_id=newest))
    assert (await caller.events(operation_id))[-1] == "CHECKPOINT_DELETED"


async def test_delete_while_it_may_be_read_is_refused(caller: Caller, worker: ScriptedWorker) -> None:
    operation_id = (await caller.start()).operation_id
    await worker.assigned()
    await save(caller, worker, operation_id, 1, 5)
    with pytest.raises(NotPossible) as used:
        await caller.call("DeleteCheckpoint", pb.DeleteCheckpointRequest(checkpoint_id=f"{operation_id}/1-5"))
    assert used.value.reason == "CHECKPOINT_IN_USE"


async def test_sweep_takes_the_old_and_the_nameless_and_goes_on_after_a_failure(
    caller: Caller, worker: ScriptedWorker
) -> None:
    operation_id = await crashed(caller, worker, 4, 5)
    store = caller.home / "store"
    caller.write_checkpoint("training-unknown", 1, 1)
    caller.write_checkpoint(operation_id, 1, 1)
    caller.write_checkpoint(operation_id, 1, 2)
    caller.write_checkpoint(operation_id, 1, 3)  # fell out of the newest two; its deletion failed
    young = store / operation_id / "1-2"
    long_ago = time.time() - 2 * 3600
    for path in store.rglob("*"):
        if path.is_file() and path.parent != young:
            os.utime(path, (long_ago, long_ago))
    soon = await caller.call("CleanUpCheckpoints", pb.CleanUpCheckpointsRequest())
    assert not soon.quarantined_uris
    assert "led for an hour" in soon.note
    caller.rooms.sweep.leads_since -= 3600.0
    dry = await caller.call("CleanUpCheckpoints", pb.CleanUpCheckpointsRequest(dry_run=True))
    assert set(dry.quarantined_uris) == {f"{operation_id}/1-1", f"{operation_id}/1-3"}
    assert (store / operation_id / "1-1").exists()
    wet = await caller.call("CleanUpCheckpoints", pb.CleanUpCheckpointsRequest())
    assert list(wet.quarantined_uris) == list(dry.quarantined_uris)
    assert not wet.deleted_uris
    stats = await caller.call("GetCheckpointStats", pb.GetCheckpointStatsRequest())
    assert (stats.quarantined, stats.quarantined_bytes) == (2, wet.bytes_quarantined)
    assert stats.HasField("last_sweep_time")
    assert not (store / operation_id / "1-1").exists()
    assert "training-unknown" in wet.note
    assert (store / "training-unknown" / "1-1").exists()
    assert young.exists()
    assert not wet.deleted_checkpoint_ids
    database = caller.rooms.database
    await database.run(lambda c: c.execute("UPDATE checkpoints SET create_time = now() - interval '31 days'"))
    # Deleting one fails: its directory has become a file.
    import shutil

    shutil.rmtree(store / operation_id / "1-5")
    shutil.rmtree(young)  # a resume would find it
    aged = await caller.call("CleanUpCheckpoints", pb.CleanUpCheckpointsRequest())
    assert sorted(aged.deleted_checkpoint_ids) == [f"{operation_id}/1-4", f"{operation_id}/1-5"]
    assert not (await caller.get(operation_id)).HasField("checkpoint")
    with pytest.raises(NotFound) as gone:
        await caller.resume(operation_id)
    assert gone.value.reason == "CHECKPOINT_NOT_FOUND"
    assert "expired" in gone.value.message


async def test_resumable_filter(caller: Caller, worker: ScriptedWorker) -> None:
    with_checkpoint = await crashed(caller, worker, 5)
    await crashed(caller, worker)
    answer = await caller.call("ListOperations", coordinator_pb.ListOperationsRequest(resumable_only=True))
    assert [operation.operation_id for operation in answer.operations] == [with_checkpoint]
    assert answer.total_size == 1


async def test_list_checkpoints_pages(caller: Caller, worker: ScriptedWorker) -> None:
    for _ in range(3):
        await crashed(caller, worker, 4, 5)
    seen: list[str] = []
    token = ""
    while True:
        page = await caller.call("ListCheckpoints", pb.ListCheckpointsRequest(page_size=4, page_token=token))
        seen += [checkpoint.checkpoint_id for checkpoint in page.checkpoints]
        token = page.next_page_token
        if not token:
            break
    assert len(seen) == len(set(seen)) == 6

"""Start, dispatch, supervise, finish, watch, list: the main road of one operation through a real coordinator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from holdfast.errors import AtCapacity, InvalidRequest, NotFound, NotPossible, Unavailable, Unimplemented
from holdfast.services.coordinator.operations.store import Store
from holdfast.v1 import (
    coordinator_service_pb2 as pb,
)
from holdfast.v1 import operation_pb2, research_service_pb2, research_service_pb2_grpc, worker_pb2
from tests.support.coordinator import EXAMPLE, Caller, new_request_id, running_coordinator, strategy_text
from tests.support.scripted_worker import ScriptedWorker, failed, ref
from tests.support.waiting import until


@pytest.fixture
async def caller(database_url: str, tmp_path: Path) -> AsyncIterator[Caller]:
    async with running_coordinator(database_url, tmp_path) as caller:
        yield caller


async def test_a_training_from_start_to_result(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        await worker.register()
        operation = await caller.start()
        assert operation.status == operation_pb2.OPERATION_STATUS_PENDING
        operation_id, attempt = await worker.assigned()
        assert (operation_id, attempt) == (operation.operation_id, 1)
        assert worker.assignments[0][0].training.strategy == EXAMPLE.read_text()
        worker.progress(operation_id, 1, 3)
        await until(lambda: caller.rooms.board.newest(operation_id, 1), "progress")
        running = await caller.get(operation_id)
        assert running.status == operation_pb2.OPERATION_STATUS_RUNNING
        assert running.progress.unit == 3
        assert running.worker_id == "worker-1"
        worker.runs.clear()
        number = worker.fact(run_finished=caller.completed(operation_id, 1))
        await worker.settled(number)
        done = await caller.get(operation_id)
        assert done.status == operation_pb2.OPERATION_STATUS_COMPLETED
        assert done.training_result.metrics["accuracy"] == 0.5
        assert done.progress.unit == 3
        assert await caller.events(operation_id) == ["CREATED", "CLAIMED", "COMPLETED"]


async def test_first_come_first_served_and_one_run_per_slot(caller: Caller) -> None:
    started = [(await caller.start()).operation_id for _ in range(3)]
    async with ScriptedWorker(caller.address, slots=2) as worker:
        await worker.register()
        await worker.assigned(2)
        assert {assignment.run.operation_id for assignment, _ in worker.assignments} == set(started[:2])
        assert await caller.status(started[2]) == "PENDING"
        del worker.runs[started[0]]
        worker.fact(run_finished=caller.completed(started[0], 1))
        assert (await worker.assigned(3))[0] == started[2]


async def test_kinds_go_to_workers_of_their_kind(caller: Caller) -> None:
    async with ScriptedWorker(caller.address, kind=worker_pb2.WORKER_KIND_BACKTESTER) as backtester:
        await backtester.register()
        operation = await caller.start()
        async with ScriptedWorker(caller.address, "worker-2") as trainer:
            await trainer.register()
            await trainer.assigned()
            trainer.fact(run_finished=caller.completed(operation.operation_id, 1))
            trainer.runs.clear()
            await caller.reaches(operation.operation_id, "COMPLETED")
            assert not backtester.assignments
            request = pb.StartBacktestRequest(spec=operation_pb2.BacktestSpec(strategy=EXAMPLE.read_text()))
            backtest = (await caller.call("StartBacktest", request)).operation
            assert backtest.backtest.model_operation_id == operation.operation_id
            assert backtest.backtest.model_uri == f"{operation.operation_id}/model-1"
            assert (await backtester.assigned())[0] == backtest.operation_id


async def test_a_refused_run_waits_with_the_reason(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        worker.refusals = [AtCapacity("No free slot here.", reason="NO_FREE_SLOT")]
        await worker.register()
        operation = await caller.start()
        assert await worker.assigned() == (operation.operation_id, 1)
        story = ["CREATED", "CLAIMED", "REQUEUE", "CLAIMED"]

        async def told() -> bool:
            return await caller.events(operation.operation_id) == story

        await until(told, "the second claim to be told")
        assert (await caller.get(operation.operation_id)).failure.reason == ""


async def test_a_run_that_no_worker_will_take_fails_with_the_reason(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        worker.refusals = [InvalidRequest("This strategy needs another version.")]
        await worker.register()
        operation = await caller.start()
        failed_operation = await caller.reaches(operation.operation_id, "FAILED")
        assert "another version" in failed_operation.failure.message


async def test_a_draining_worker_gets_nothing_and_may_come_back(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        worker.draining = True
        await worker.register()
        operation = await caller.start()
        await until(lambda: caller.rooms.registry.all()[0].last_heartbeat_time, "a heartbeat")
        assert await caller.status(operation.operation_id) == "PENDING"
        worker.draining = False
        assert (await worker.assigned())[0] == operation.operation_id


async def test_drain_order_reaches_the_worker(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        await worker.register()
        answer = await caller.call("DrainWorker", pb.DrainWorkerRequest(worker_id="worker-1", stop_runs=True))
        assert answer.worker.status == worker_pb2.WORKER_STATUS_DRAINING
        await until(lambda: any(order.drain.stop_runs for order in worker.orders), "the order")
        operation = await caller.start()
        assert await caller.status(operation.operation_id) == "PENDING"
    with pytest.raises(NotFound, match="nobody"):
        await caller.call("DrainWorker", pb.DrainWorkerRequest(worker_id="nobody"))


async def test_same_request_same_operation_even_at_once(caller: Caller) -> None:
    request_id = new_request_id()
    answers = await asyncio.gather(*(caller.start(request_id=request_id) for _ in range(10)))
    assert len({operation.operation_id for operation in answers}) == 1
    with pytest.raises(InvalidRequest) as error:
        await caller.start(request_id=request_id, max_attempts=2)
    assert error.value.reason == "REQUEST_ID_REUSED"


async def test_watch_replays_then_follows_without_gap_or_repeat(caller: Caller) -> None:
    operation = await caller.start()
    early = caller.watch(operation.operation_id)
    many = [caller.watch(operation.operation_id, after=index % 3) for index in range(20)]
    async with ScriptedWorker(caller.address) as worker:
        await worker.register()
        await worker.assigned()
        late = caller.watch(operation.operation_id)
        for number in range(5):
            notice = worker_pb2.RunNotice(run=ref(operation.operation_id, 1), type="NOTED", message=str(number))
            worker.fact(notice=notice)
            worker.progress(operation.operation_id, 1, number)
        worker.runs.clear()
        worker.fact(run_finished=caller.completed(operation.operation_id, 1))
        for call, after in [(early, 0), (late, 0), *((call, index % 3) for index, call in enumerate(many))]:
            updates = [update async for update in call]
            events = [update.event for update in updates if update.WhichOneof("update") == "event"]
            assert [event.sequence for event in events] == list(range(after + 1, 9))
            assert updates[0].WhichOneof("update") == "operation"
            last = [update.operation for update in updates if update.WhichOneof("update") == "operation"][-1]
            assert last.status == operation_pb2.OPERATION_STATUS_COMPLETED
            assert last.training_result.model_digest


async def test_ten_thousand_reports_cost_a_handful_of_statements(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = 0
    save = Store.save_progress

    async def counted(self: Store, reports: Mapping[str, tuple[int, str, bytes]]) -> set[tuple[str, int]]:
        nonlocal statements
        statements += 1
        return await save(self, reports)

    monkeypatch.setattr(Store, "save_progress", counted)
    async with ScriptedWorker(caller.address, slots=10) as worker:
        await worker.register()
        ids = [(await caller.start()).operation_id for _ in range(10)]
        await worker.assigned(10)
        for unit in range(1, 1001):
            for operation_id in ids:
                worker.progress(operation_id, 1, unit)
        board = caller.rooms.board

        def all_arrived() -> bool:
            newest = [board.newest(operation_id, 1) for operation_id in ids]
            return all(progress is not None and progress.unit == 1000 for progress in newest)

        await until(all_arrived, "ten thousand reports")
        await board.flush()
        assert statements <= 10
        rows = [await caller.rooms.store.get(operation_id) for operation_id in ids]
        assert {operation_pb2.Progress.FromString(row.progress or b"").unit for row in rows} == {1000}


async def test_watch_of_nothing_is_not_found(caller: Caller) -> None:
    import grpc

    with pytest.raises(grpc.aio.AioRpcError) as error:
        async for _ in caller.watch("nothing"):
            pass
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


async def test_a_fact_sent_twice_is_told_once(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        await worker.register()
        operation = await caller.start()
        await worker.assigned()
        run = ref(operation.operation_id, 1)
        number = worker.fact(notice=worker_pb2.RunNotice(run=run, type="STARTED", message="The run has started"))
        await worker.settled(number)
        saved = caller.write_checkpoint(operation.operation_id, 1, 5)
        second = worker.fact(checkpoint_saved=worker_pb2.CheckpointSaved(run=run, checkpoint=saved))
        await worker.settled(second)
        worker.runs.clear()
        third = worker.fact(run_finished=failed(operation.operation_id, 1, signal=9))
        await worker.settled(third)
        worker.acknowledged.clear()
        for again in (number, second, third):
            worker.send_again(again)
            await worker.settled(again)
        assert await caller.events(operation.operation_id) == [
            "CREATED", "CLAIMED", "STARTED", "CHECKPOINT_SAVED", "FAILED",
        ]  # fmt: skip
        assert not worker.stopped()


async def test_list_pages_and_filters(caller: Caller) -> None:
    ids = [(await caller.start()).operation_id for _ in range(7)]
    await caller.cancel(ids[0])
    seen: list[str] = []
    token = ""
    while True:
        page = await caller.call("ListOperations", pb.ListOperationsRequest(page_size=3, page_token=token))
        assert page.total_size == 7
        seen += [operation.operation_id for operation in page.operations]
        token = page.next_page_token
        if not token:
            break
    assert seen == ids[::-1]
    cancelled = pb.ListOperationsRequest(statuses=[operation_pb2.OPERATION_STATUS_CANCELLED])
    assert [op.operation_id for op in (await caller.call("ListOperations", cancelled)).operations] == ids[:1]
    backtests = pb.ListOperationsRequest(kinds=[operation_pb2.OPERATION_KIND_BACKTEST])
    assert not (await caller.call("ListOperations", backtests)).operations
    first = await caller.call("ListOperations", pb.ListOperationsRequest(page_size=3))
    for request in (
        pb.ListOperationsRequest(page_token="!"),
        pb.ListOperationsRequest(page_token=first.next_page_token[:-2]),
        pb.ListOperationsRequest(page_token=first.next_page_token, resumable_only=True),
        pb.ListOperationsRequest(page_size=-1),
        pb.ListOperationsRequest(page_size=1001),
        pb.ListOperationsRequest(statuses=[99]),  # type: ignore[list-item]
        pb.ListOperationsRequest(kinds=["OPERATION_KIND_UNSPECIFIED"]),
    ):
        with pytest.raises(InvalidRequest):
            await caller.call("ListOperations", request)


async def test_bad_requests_name_the_field_and_write_nothing(caller: Caller) -> None:
    bad = [
        ("", "spec.strategy"),
        ("name: [", ""),
        (strategy_text(nn_inputs=[{"fuzzy": "nothing"}]), ""),
        ("a\x00b", "spec.strategy"),
    ]
    for text, path in bad:
        with pytest.raises(InvalidRequest) as error:
            await caller.call("StartTraining", pb.StartTrainingRequest(spec=operation_pb2.TrainingSpec(strategy=text)))
        if path:
            assert path in {violation.path for violation in error.value.violations}
    for method, request in [
        ("GetOperation", pb.GetOperationRequest(operation_id="../../etc")),
        ("CancelOperation", pb.CancelOperationRequest(operation_id="x\x00")),
        ("ResumeOperation", pb.ResumeOperationRequest(operation_id="x", request_id="a b")),
        ("StartTraining", pb.StartTrainingRequest(max_attempts=-1)),
        ("RegisterWorker", pb.RegisterWorkerRequest(worker_id="w", incarnation="i", address="nowhere", slots=0)),
        ("StartBacktest", pb.StartBacktestRequest(spec=operation_pb2.BacktestSpec(start_date="2014-13-01"))),
        ("StartBacktest", pb.StartBacktestRequest(spec=operation_pb2.BacktestSpec(initial_cash=float("nan")))),
    ]:
        with pytest.raises(InvalidRequest) as error:
            await caller.call(method, request)
        assert error.value.violations
    listed = await caller.call("ListOperations", pb.ListOperationsRequest())
    assert listed.total_size == 0


async def test_backtest_without_a_model(caller: Caller) -> None:
    spec = operation_pb2.BacktestSpec(strategy=EXAMPLE.read_text())
    with pytest.raises(NotFound) as missing:
        await caller.call("StartBacktest", pb.StartBacktestRequest(spec=spec))
    assert missing.value.reason == "MODEL_NOT_FOUND"
    training = await caller.start()
    spec.model_operation_id = training.operation_id
    with pytest.raises(NotPossible) as early:
        await caller.call("StartBacktest", pb.StartBacktestRequest(spec=spec))
    assert early.value.reason == "MODEL_NOT_READY"
    async with ScriptedWorker(caller.address) as worker:
        await worker.register()
        await worker.assigned()
        worker.fact(run_finished=caller.completed(training.operation_id, 1))
        worker.runs.clear()
        await caller.reaches(training.operation_id, "COMPLETED")
    spec.strategy = strategy_text(nn_inputs=[{"fuzzy": "rsi"}])
    with pytest.raises(NotPossible) as other:
        await caller.call("StartBacktest", pb.StartBacktestRequest(spec=spec))
    assert other.value.reason == "MODEL_MISMATCH"


async def test_system_status_and_workers(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        await worker.register()
        await caller.start()
        status = await caller.system()
        assert status.database_connected
        assert status.coordinator_term == caller.rooms.term > 1_700_000_000
        assert status.orphan_detector.running
        assert status.orphan_detector.timeout_seconds == 60
        assert [entry.worker_id for entry in status.workers] == ["worker-1"]
        assert sum(status.operations_by_status.values()) == 1
        workers = (await caller.call("ListWorkers", pb.ListWorkersRequest())).workers
        assert workers[0].status == worker_pb2.WORKER_STATUS_CONNECTED


async def test_research_is_honest_about_not_being_built(caller: Caller) -> None:
    import grpc

    from holdfast.rpc import create_channel, error_from_rpc

    async with create_channel(caller.address) as channel:
        stub = research_service_pb2_grpc.ResearchServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.StartResearch(research_service_pb2.StartResearchRequest())
        assert isinstance(error_from_rpc(error.value), Unimplemented)


async def test_a_draining_coordinator_begins_nothing(caller: Caller) -> None:
    operation = await caller.start()
    watching = caller.watch(operation.operation_id)
    await watching.read()
    caller.rooms.servicer.draining = True
    with pytest.raises(Unavailable):
        await caller.start()
    async with ScriptedWorker(caller.address) as worker:
        import grpc

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await worker.register()
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    watching.cancel()

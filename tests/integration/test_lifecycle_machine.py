"""Claims, results, orphan checks, cancels, resumes and restarts in every order, against real PostgreSQL.

The coordinator's own rooms decide; workers are played here, with processes that run, freeze, die, and an outbox that
survives them. After every step: one live attempt, no resurrected COMPLETED, no lost end. At the end nothing is stuck.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from coordinator.changes import Changes
from coordinator.checkpoints import Checkpoints
from coordinator.database import Database
from coordinator.facts import Facts
from coordinator.lifecycle import ENDED, LIVE, QUEUED, Cause, Status
from coordinator.orphans import OrphanDetector
from coordinator.progress import ProgressBoard
from coordinator.reconciliation import Reconciliation, Verdict
from coordinator.records import Operation, failure
from coordinator.registry import Registry, Worker, offer
from coordinator.store import Filter, NewOperation, Request, Store, queue_status
from holdfast.checkpoints import open_store
from holdfast.v1 import coordinator_service_pb2, operation_pb2, worker_pb2

TIMEOUT = 60.0  # seconds, of a clock that only `time passes` moves
COMPLETED, FAILED, CANCELLED = (
    worker_pb2.RUN_OUTCOME_COMPLETED,
    worker_pb2.RUN_OUTCOME_FAILED,
    worker_pb2.RUN_OUTCOME_CANCELLED,
)
Run = tuple[str, int]


@dataclass
class PlayedWorker:
    """A worker's process as the world sees it, and its outbox on disk."""

    name: str
    incarnation: str = "1"
    connected: bool = False
    runs: set[Run] = field(default_factory=set)
    outbox: dict[Run, worker_pb2.RunFinished] = field(default_factory=dict)

    def die(self) -> None:
        """The process is gone, its runs with it; the outbox stays."""
        self.incarnation = str(int(self.incarnation) + 1)
        self.connected = False
        self.runs.clear()


class Rooms:
    """One life of the coordinator: what it holds in memory, over a database that outlives it."""

    def __init__(self, database: Database, artifacts: Path, clock: Any) -> None:
        self.store = Store(database, Changes())
        self.registry = Registry(clock)
        self.checkpoints = Checkpoints(self.store, open_store(str(artifacts)))
        self.board = ProgressBoard(self.store, lambda *_: None, lambda *_: None)
        self.detector = OrphanDetector(
            self.store,
            self.registry,
            self.checkpoints,
            self.board,
            timeout=TIMEOUT,
            interval=TIMEOUT * 1000,
            automatic_delay=0.0,
            clock=clock,
        )
        self.reconciliation = Reconciliation(self.store, self.detector)
        self.facts = Facts(self.store, self.checkpoints, self.registry, self.board, 0.0)


class Lifecycle(RuleBasedStateMachine):
    """`url` and `artifacts` are set by the test."""

    url = ""
    artifacts = Path()
    workers = st.sampled_from(("a", "b"))

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.now = 0.0
        self.database: Database = self.do(Database.connect(self.url))
        self.do(self.database.run(lambda connection: connection.execute("TRUNCATE operations CASCADE")))
        self.rooms = self.fresh_rooms()
        self.world = {name: PlayedWorker(name) for name in ("a", "b")}
        self.ids: list[str] = []
        self.results: dict[str, bytes] = {}
        self.attempts: dict[str, int] = {}
        # As the last look at the end of a step found them.
        self.rows: dict[str, Operation] = {}

    def ids_at(self, statuses: Iterable[Status]) -> list[str]:
        """The operations that stand at one of these."""
        return [row.id for row in self.rows.values() if row.status in set(statuses)]

    def do(self, work: Any) -> Any:
        """Runs a coroutine to its end."""
        return self.runner.run(work)

    def fresh_rooms(self) -> Rooms:
        """The coordinator's memory, empty."""
        return Rooms(self.database, self.artifacts, lambda: self.now)

    def find(self, operation: str) -> Operation:
        """The row."""
        return self.do(self.rooms.store.get(operation))  # type: ignore[no-any-return]

    # What happens

    @initialize()
    def both_register(self) -> None:
        for name in self.world:
            self.register(name)
        for _ in range(3):
            self.start()
        self.look()

    @precondition(lambda self: len(self.ids) < 6)
    @rule()
    def start(self) -> None:
        new = NewOperation(f"training-{uuid.uuid4().hex[:12]}", "TRAINING", 1, b"", "s", "d")
        self.do(self.rooms.store.create(new, Request("", "StartTraining", ""), "created", {}))
        self.ids.append(new.id)

    @precondition(lambda self: self.ids_at(QUEUED) and any(worker.connected for worker in self.world.values()))
    @rule(taken=st.sampled_from(("taken", "taken", "taken", "lost on the way", "refused")))
    def dispatch(self, taken: str) -> None:
        """The oldest queued operation goes to a free worker; its assignment may get lost, or be refused."""
        free = [worker for worker in self.rooms.registry.free_workers() if self.world[worker.id].connected]
        if not free:
            return
        worker = free[0]
        operation = self.do(self._claim(worker))
        if operation is None:
            return
        self.rooms.registry.assign(worker, operation.id, operation.attempt)
        if taken == "refused":
            self.rooms.registry.release(worker, operation.id, operation.attempt)
            self.do(self.rooms.store.put_back(operation, queue_status(operation), "NO_FREE_SLOT", "no slot"))
            return
        if taken == "taken":
            self.rooms.registry.confirm(worker, operation.id, operation.attempt)
            self.world[worker.id].runs.add((operation.id, operation.attempt))
            return
        # The worker may have got it although the answer was lost: it runs, and the row goes back under a new attempt.
        self.world[worker.id].runs.add((operation.id, operation.attempt))
        self.rooms.registry.release(worker, operation.id, operation.attempt)
        self.do(self.rooms.store.put_back(operation, queue_status(operation), "UNAVAILABLE", "no answer"))

    async def _claim(self, worker: Worker) -> Operation | None:
        async def work(connection: Any) -> Operation | None:
            row = await self.rooms.store.claim_next(connection, [offer(worker)])
            if row is None:
                return None
            return await self.rooms.store.claim(connection, row, worker.id, worker.incarnation, "given")

        return await self.database.transaction(work)

    @precondition(lambda self: any(worker.runs for worker in self.world.values()))
    @rule(outcome=st.sampled_from((COMPLETED, COMPLETED, FAILED, CANCELLED)), data=st.data())
    def run_ends(self, outcome: Any, data: st.DataObject) -> None:
        running = [(worker, run) for worker in self.world.values() for run in sorted(worker.runs)]
        if running:
            worker, run = data.draw(st.sampled_from(running))
            worker.runs.remove(run)
            report = worker_pb2.RunFinished(run=worker_pb2.RunRef(operation_id=run[0], attempt=run[1]), outcome=outcome)
            if outcome == COMPLETED:
                report.training_result.model_uri = f"{run[0]}-{run[1]}"
            else:
                report.failure.reason, report.failure.message = "RUN_DIED", "it ended"
            worker.outbox[run] = report

    @precondition(lambda self: any(worker.connected and worker.outbox for worker in self.world.values()))
    @rule(data=st.data(), acknowledged=st.booleans())
    def deliver(self, data: st.DataObject, acknowledged: bool) -> None:
        """An end arrives; without its acknowledgement it will arrive again."""
        waiting = [(worker, run) for worker in self.world.values() if worker.connected for run in worker.outbox]
        worker, run = data.draw(st.sampled_from(waiting))
        self._receive(worker, worker.outbox[run])
        if acknowledged:
            worker.outbox.pop(run, None)

    def _receive(self, worker: PlayedWorker, report: worker_pb2.RunFinished) -> None:
        before = self.find(report.run.operation_id)
        counts = before.attempt == report.run.attempt and (
            before.status in LIVE or (before.status is Status.FAILED and before.failure_reason == "ORPHANED")
        )
        fresh = self.do(self.rooms.facts.finished(worker.name, report))
        after = self.find(report.run.operation_id)
        if counts:
            assert fresh
            assert after.status in ENDED, "an end that still counted was lost"
            if report.outcome == COMPLETED:
                assert after.status is Status.COMPLETED
        else:
            assert after.status is before.status, "an end that no longer counts changed something"

    def worker_dies(self, name: str) -> None:
        self.world[name].die()
        self._lose(name)

    def stream_breaks(self, name: str) -> None:
        self.world[name].connected = False
        self._lose(name)

    def _lose(self, name: str) -> None:
        known = self.rooms.registry.find(name)
        if known is not None:
            self.rooms.registry.disconnect(known)

    @precondition(lambda self: not all(worker.connected for worker in self.world.values()))
    @rule(name=workers)
    def register(self, name: str) -> None:
        """Registration.register's steps, in its order."""
        world = self.world[name]
        delivered = set(world.outbox)
        for report in world.outbox.values():
            self._receive(world, report)
        world.outbox.clear()
        keep = []
        for run in sorted(world.runs):
            ref = worker_pb2.RunRef(operation_id=run[0], attempt=run[1])
            verdict = self.do(self.rooms.reconciliation.judge(name, world.incarnation, ref))
            if verdict is Verdict.STOP:
                world.runs.remove(run)
            else:
                keep.append(ref)
        claimed = {(ref.operation_id, ref.attempt) for ref in keep} | delivered
        self.do(self.rooms.reconciliation.bury(name, world.incarnation, claimed))
        request = coordinator_service_pb2.RegisterWorkerRequest(
            worker_id=name, incarnation=world.incarnation, kind=worker_pb2.WORKER_KIND_TRAINER, slots=2
        )
        self.rooms.registry.connect(self.rooms.registry.register(request, keep))
        world.connected = True

    @rule(name=workers)
    def heartbeat(self, name: str) -> None:
        """The worker names its runs; what the coordinator does not expect is judged."""
        world, known = self.world[name], self.rooms.registry.find(name)
        if not world.connected or known is None:
            return
        refs = [worker_pb2.RunRef(operation_id=run[0], attempt=run[1]) for run in sorted(world.runs)]
        for ref in self.rooms.registry.heartbeat(known, worker_pb2.Heartbeat(runs=refs)):
            verdict = self.do(self.rooms.reconciliation.judge(name, world.incarnation, ref))
            if verdict is Verdict.STOP:
                world.runs.discard((ref.operation_id, ref.attempt))
                self.rooms.registry.release(known, ref.operation_id, ref.attempt)
            else:
                self.rooms.registry.confirm(known, ref.operation_id, ref.attempt)

    @rule(
        disaster=st.sampled_from(
            ("worker dies", "stream breaks", "coordinator restarts", "time passes", "all is well")
        ),
        name=workers,
        seconds=st.sampled_from((1.0, 40.0, 61.0)),
    )
    def something_happens(self, disaster: str, name: str, seconds: float) -> None:
        """One rule for all that disturbs, so that work gets done between two disturbances."""
        match disaster:
            case "worker dies":
                self.worker_dies(name)
            case "stream breaks":
                self.stream_breaks(name)
            case "coordinator restarts":
                self.coordinator_restarts()
            case "time passes":
                self.time_passes(seconds)
            case _:
                self.everybody_comes_back()

    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.do(self.rooms.detector.check())

    @precondition(lambda self: self.ids_at({Status.RUNNING, Status.PENDING_RECONCILIATION, *QUEUED}))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        found = self.find(data.draw(st.sampled_from(self.ids)))
        if found.status in QUEUED:
            self.do(self._end(found, Cause.CANCEL_QUEUED))
        elif found.status in (Status.RUNNING, Status.PENDING_RECONCILIATION):
            self.do(self.rooms.store.request_cancel(found, "cancelled by request"))

    async def _end(self, found: Operation, cause: Cause) -> None:
        why = failure("CANCELLED", "cancelled")
        await self.rooms.store.end(
            found.id, found.attempt, cause, Status.CANCELLED, "CANCELLED", "cancelled", failure=why
        )

    @precondition(lambda self: self.ids_at(ENDED))
    @rule(data=st.data(), rivals=st.integers(1, 5))
    def resume(self, data: st.DataObject, rivals: int) -> None:
        """Several at once: one wins if it has ended unfinished; what is COMPLETED is never won."""
        found = self.find(data.draw(st.sampled_from(self.ids_at(ENDED))))
        outcomes = self.do(self._resume_all(found, rivals))
        won = [outcome for outcome in outcomes if outcome is not None]
        assert len(won) == (0 if found.status is Status.COMPLETED else 1)

    async def _resume_all(self, found: Operation, rivals: int) -> list[Operation | None]:
        attempts = [self.rooms.store.resume(found, f"{found.id}/1-1", found.spec, "resumed") for _ in range(rivals)]
        return await asyncio.gather(*attempts)

    def coordinator_restarts(self) -> None:
        self.rooms = self.fresh_rooms()
        for worker in self.world.values():
            worker.connected = False
        self.do(self.rooms.reconciliation.restart("resume"))

    # What must always hold

    def look(self) -> None:
        """All rows and what belongs to them, in three statements: this is done after every step."""
        self.rows = {row.id: row for row in self.do(self.rooms.store.page(Filter(), 100))}

    @invariant()
    def the_promises_hold(self) -> None:
        self.look()
        attempts = self._ask("SELECT operation_id, count(*) FROM attempts WHERE end_time IS NULL GROUP BY 1")
        numbers = self._ask(
            "SELECT operation_id, array_agg(sequence ORDER BY sequence),"
            " (array_agg(status ORDER BY sequence DESC))[1] FROM operation_events GROUP BY 1"
        )
        live = dict(attempts)
        story = {operation: (sequences, status) for operation, sequences, status in numbers}
        for row in self.rows.values():
            self._one_live_attempt(row, live.get(row.id, 0))
            self._completed_stays_completed(row)
            assert row.attempt >= self.attempts.get(row.id, 1), "an attempt went back"
            self.attempts[row.id] = row.attempt
            sequences, status = story[row.id]
            assert sequences == list(range(1, len(sequences) + 1)), "the events have a gap"
            assert status == row.status.value, "the last event does not tell the status"

    def _ask(self, statement: str) -> list[Any]:
        async def ask() -> list[Any]:
            return await self.database.run(lambda connection: connection.fetch(statement))

        return self.do(ask())  # type: ignore[no-any-return]

    def _one_live_attempt(self, row: Operation, live: int) -> None:
        holders = [name for name, worker in self.world.items() if (row.id, row.attempt) in worker.runs]
        assert len(holders) <= 1, f"{row.id} runs twice under one attempt"
        assert live == (1 if row.status in LIVE else 0)

    def _completed_stays_completed(self, row: Operation) -> None:
        if row.id in self.results:
            assert (row.status, row.result) == (Status.COMPLETED, self.results[row.id])
        elif row.status is Status.COMPLETED:
            assert row.result is not None
            result = operation_pb2.TrainingResult.FromString(row.result)
            assert result.model_uri == f"{row.id}-{row.attempt}", "another attempt's result"
            self.results[row.id] = row.result

    def everybody_comes_back(self) -> None:
        """Nothing is stuck: once both workers are back and the timeout is over, what is live is truly running."""
        for name in self.world:
            self.register(name)
        self.now += TIMEOUT + 1
        self.do(self.rooms.detector.check())
        self.now += TIMEOUT + 1
        self.do(self.rooms.detector.check())
        held = {run for worker in self.world.values() for run in worker.runs}
        for operation in self.ids:
            row = self.find(operation)
            if row.status in LIVE:
                assert (row.id, row.attempt) in held, f"{row.id} is {row.status} and nobody runs it"
                assert row.status is not Status.PENDING_RECONCILIATION

    def teardown(self) -> None:
        if self.ids:
            self.everybody_comes_back()
        self.do(self.database.close())
        self.runner.close()


def test_every_interleaving_keeps_the_promises(database_url: str, tmp_path: Path) -> None:
    Lifecycle.url, Lifecycle.artifacts = database_url, tmp_path
    run_state_machine_as_test(
        Lifecycle,
        settings=settings(
            max_examples=60,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        ),
    )

"""The life-cycle against real PostgreSQL under adversarial interleavings, found by Hypothesis.

Workers claim, save, finish, die, freeze and come back; the coordinator restarts, declares orphans from rows that it
read long ago, cancels and resumes; reports are delivered late and twice. Whatever the order: one live attempt, no
resurrected COMPLETED, no lost end, events without gaps.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
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

from holdfast.artifacts.store import open_store
from holdfast.services.coordinator.catalogue.checkpoints import Checkpoints
from holdfast.services.coordinator.operations.changes import Changes
from holdfast.services.coordinator.operations.lifecycle import ENDED, LIVE, QUEUED, RESUMABLE, Cause, Status
from holdfast.services.coordinator.operations.progress import ProgressBoard
from holdfast.services.coordinator.operations.records import Operation, failure
from holdfast.services.coordinator.operations.store import NewOperation, Store
from holdfast.services.coordinator.operations.transitions import ORPHANED, Request, Transitions, queue_status
from holdfast.services.coordinator.postgres.pool import Database
from holdfast.services.coordinator.workers.evidence import Evidence
from holdfast.services.coordinator.workers.facts import Facts
from holdfast.services.coordinator.workers.orphans import OrphanDetector
from holdfast.services.coordinator.workers.reconciliation import Reconciliation, Verdict
from holdfast.services.coordinator.workers.registry import Registry
from holdfast.v1 import worker_pb2
from tests.support.postgres import TestServer
from tests.support.scripted_worker import cancelled, failed, ref
from tests.support.stored import completed, write_checkpoint

T = TypeVar("T")

SELDOM = st.sampled_from([False, False, False, True])
MOSTLY = st.sampled_from([True, True, True, False])
WORKERS = st.sampled_from(["w1", "w2"])
ENDS: dict[str, Callable[..., worker_pb2.RunFinished]] = {
    "FAILED": failed,
    "CANCELLED": cancelled,
}
_numbers = itertools.count(1)


@dataclass
class Process:
    """A worker process as it sees itself, and the reports it has not been rid of."""

    incarnation: int = 1
    runs: set[tuple[str, int]] = field(default_factory=set)
    outbox: list[worker_pb2.RunFinished] = field(default_factory=list)


class House:
    """The coordinator's rooms below the gRPC services, on one database."""

    def __init__(self, runner: asyncio.Runner, database: Database, directory: Path) -> None:
        self.runner = runner
        changes = Changes()
        self.database = database
        self.store = Store(database, changes)
        self.transitions = Transitions(database, changes)
        self.checkpoints = Checkpoints(self.store, database, open_store(str(directory)))
        self.registry = Registry()
        self.board = ProgressBoard(self.store, lambda: None)
        self.detector = OrphanDetector(
            self.store,
            self.transitions,
            self.registry,
            self.checkpoints,
            self.board,
            timeout=60,
            interval=15,
            automatic_delay=2,
        )
        self.reconciliation = Reconciliation(self.store, self.transitions, self.detector)
        self.directory = directory
        evidence = Evidence(self.checkpoints.artifacts)
        self.facts = Facts(self.store, self.transitions, self.checkpoints, evidence, self.registry, self.board, 2)


class LifeCycle(RuleBasedStateMachine):
    """Rules are what the world does; invariants are what Holdfast promises."""

    house: House

    def __init__(self) -> None:
        super().__init__()
        self.tag = f"example-{next(_numbers)}"
        self.ids: list[str] = []
        self.processes = {"w1": Process(), "w2": Process()}
        self.old_rows: list[Operation] = []
        # As the last invariant saw them.
        self.rows: dict[str, Operation] = {}
        self.attempts: dict[str, int] = {}
        self.results: dict[str, bytes] = {}
        self.units = itertools.count(1)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.house.runner.run(work)

    def get(self, operation_id: str) -> Operation:
        return self.do(self.house.store.get(operation_id))

    def pick(self, data: st.DataObject) -> Operation:
        operation = self.get(data.draw(st.sampled_from(self.ids)))
        self.old_rows.append(operation)
        return operation

    def stands_at(self, *statuses: Status) -> bool:
        return any(row.status in statuses for row in self.rows.values())

    def some_run(self) -> bool:
        return any(process.runs for process in self.processes.values())

    def some_report(self) -> bool:
        return any(process.outbox for process in self.processes.values())

    def one_with(self, what: str, data: st.DataObject) -> tuple[str, Process]:
        names = [name for name, process in self.processes.items() if getattr(process, what)]
        name = data.draw(st.sampled_from(names))
        return name, self.processes[name]

    # What users do

    @initialize()
    def start_first(self) -> None:
        self.start()
        self.start()

    @precondition(lambda self: not self.stands_at(*QUEUED, *LIVE))
    @rule()
    def start(self) -> None:
        new = NewOperation(f"{self.tag}-{len(self.ids)}", "TRAINING", 1, b"", "s", "d", (self.tag,))
        self.do(self.house.store.create(new, Request("", "StartTraining", ""), "accepted", {}))
        self.ids.append(new.id)

    @precondition(lambda self: self.stands_at(*(set(Status) - ENDED - {Status.CANCELLING})))
    @rule(data=st.data(), meant=SELDOM)
    def cancel(self, data: st.DataObject, meant: bool) -> None:
        if not meant:
            return
        operation = self.pick(data)
        if operation.status in QUEUED:
            why = failure("CANCELLED", "on request")
            self.do(
                self.house.transitions.end(
                    operation.id,
                    operation.attempt,
                    Cause.CANCEL_QUEUED,
                    Status.CANCELLED,
                    "CANCELLED",
                    "x",
                    failure=why,
                )
            )
        else:
            self.do(self.house.transitions.request_cancel(operation, "on request"))

    @precondition(lambda self: any(row.resumable for row in self.rows.values()))
    @rule(data=st.data(), twice=st.booleans())
    def resume(self, data: st.DataObject, twice: bool) -> None:
        operation = self.pick(data)
        if operation.checkpoint is None:
            return
        wins = [
            self.do(self.house.transitions.resume(operation, operation.checkpoint.checkpoint_id, b"", "resumed"))
            for _ in range(1 + twice)
        ]
        assert (wins[0] is not None) == (operation.status in RESUMABLE)
        assert not any(wins[1:])

    # What the dispatcher does

    @precondition(lambda self: self.stands_at(*QUEUED))
    @rule(worker=WORKERS, arrives=MOSTLY, answered=MOSTLY, refused=SELDOM)
    def claim(self, worker: str, arrives: bool, answered: bool, refused: bool) -> None:
        """Delivered or not, and the answer lost or not: an unanswered claim goes back although the run may exist."""
        arrives = arrives and not refused
        process = self.processes[worker]

        async def work(connection: Any) -> Operation | None:
            row = await self.house.transitions.claim_next(
                connection, [{"kind": "TRAINING", "capabilities": [self.tag]}]
            )
            if row is None:
                return None
            return await self.house.transitions.claim(connection, row, worker, str(process.incarnation), "given")

        operation = self.do(self.house.database.transaction(work, once=True))
        if operation is None:
            return
        if arrives:
            process.runs.add((operation.id, operation.attempt))
        if refused:
            moved = self.do(
                self.house.transitions.decline(operation, queue_status(operation), "NO_FREE_SLOT", "refused")
            )
            assert moved is not None
            assert moved.attempt == operation.attempt
            # The same statement again, as after a lost answer, even when it has been claimed again.
            assert (
                self.do(self.house.transitions.decline(operation, queue_status(operation), "NO_FREE_SLOT", "refused"))
                is None
            )
        elif not (arrives and answered):
            self.do(self.house.transitions.requeue(operation, queue_status(operation), "UNAVAILABLE", "not delivered"))

    # What runs and workers do

    @precondition(lambda self: self.some_run())
    @rule(data=st.data())
    def save(self, data: st.DataObject) -> None:
        worker, process = self.one_with("runs", data)
        operation_id, attempt = data.draw(st.sampled_from(sorted(process.runs)))
        unit = next(self.units)
        checkpoint = write_checkpoint(self.house.directory, operation_id, attempt, unit)
        before = self.get(operation_id)
        fresh = self.do(self.house.facts.checkpoint_saved(worker, ref(operation_id, attempt), checkpoint))
        after = self.get(operation_id)
        if before.attempt != attempt:
            assert not fresh
            assert after.checkpoint == before.checkpoint
        elif before.status in LIVE:
            assert after.checkpoint is not None
            assert after.checkpoint.unit == unit

    @precondition(lambda self: self.some_run())
    @rule(end=st.sampled_from(["FAILED", "CANCELLED", "COMPLETED"]), data=st.data(), meant=SELDOM)
    def lie(self, end: str, data: st.DataObject, meant: bool) -> None:
        """A worker speaks for a run that was given to another one: all of it may be true but the speaker."""
        if not meant:
            return
        worker, process = self.one_with("runs", data)
        run = data.draw(st.sampled_from(sorted(process.runs)))
        liar = "w2" if worker == "w1" else "w1"
        checkpoint = write_checkpoint(self.house.directory, *run, next(self.units))
        before = self.get(run[0])
        report = completed(self.house.directory, *run) if end == "COMPLETED" else ENDS[end](*run)
        notice = worker_pb2.RunNotice(run=ref(*run), type="NOTED")
        assert not self.do(self.house.facts.checkpoint_saved(liar, ref(*run), checkpoint))
        assert not self.do(self.house.facts.notice(liar, ref(*run), notice, "fact"))
        assert not self.do(self.house.facts.finished(liar, report))
        assert self.get(run[0]) == before

    @precondition(lambda self: self.some_run())
    @rule(end=st.sampled_from(["FAILED", "CANCELLED", "COMPLETED"]), data=st.data())
    def finish(self, end: str, data: st.DataObject) -> None:
        _, process = self.one_with("runs", data)
        run = data.draw(st.sampled_from(sorted(process.runs)))
        process.runs.discard(run)
        process.outbox.append(completed(self.house.directory, *run) if end == "COMPLETED" else ENDS[end](*run))

    @precondition(lambda self: self.some_report())
    @rule(data=st.data(), acknowledged=st.booleans())
    def deliver(self, data: st.DataObject, acknowledged: bool) -> None:
        """An end reaches the coordinator; the acknowledgement may get lost, and then it comes again."""
        worker, process = self.one_with("outbox", data)
        report = data.draw(st.sampled_from(process.outbox))
        before = self.get(report.run.operation_id)
        counts = self.do(self.house.facts.finished(worker, report))
        after = self.get(report.run.operation_id)
        current = before.attempt == report.run.attempt
        assert counts == (current and before.status not in QUEUED)
        if current and (before.status in LIVE or before.failure_reason == ORPHANED):
            assert after.status.value == worker_pb2.RunOutcome.Name(report.outcome).removeprefix("RUN_OUTCOME_")
        else:
            assert (after.status, after.attempt, after.result) == (before.status, before.attempt, before.result)
        if acknowledged:
            process.outbox.remove(report)

    @precondition(lambda self: self.some_run())
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        """The same process registers again, as after a broken stream."""
        worker, process = self.one_with("runs", data)
        for run in sorted(process.runs):
            before = self.get(run[0])
            verdict = self.do(self.house.reconciliation.reconcile(worker, str(process.incarnation), ref(*run)))
            after = self.get(run[0])
            if verdict is Verdict.STOP:
                process.runs.discard(run)
                assert (after.status, after.attempt) == (before.status, before.attempt)
            else:
                assert (after.attempt, after.worker_id) == (run[1], worker)
                assert after.status in (Status.RUNNING, Status.CANCELLING)

    @precondition(lambda self: self.some_run() or self.some_report())
    @rule(worker=WORKERS, meant=SELDOM)
    def die_and_restart(self, worker: str, meant: bool) -> None:
        if not meant:
            return
        process = self.processes[worker]
        process.incarnation += 1
        process.runs.clear()
        # The outbox is on disk; what it holds is delivered before anything is declared an orphan.
        for report in process.outbox:
            self.do(self.house.facts.finished(worker, report))
        reported = {(report.run.operation_id, report.run.attempt) for report in process.outbox}
        process.outbox.clear()
        self.do(self.house.reconciliation.fail_unclaimed(worker, str(process.incarnation), reported))
        mine = [self.get(operation_id) for operation_id in self.ids]
        assert not [op for op in mine if op.status in LIVE and op.worker_id == worker]

    # What the coordinator does

    @precondition(lambda self: self.stands_at(*LIVE))
    @rule(data=st.data())
    def declare_orphan(self, data: st.DataObject) -> None:
        """From a row that was read at any time before."""
        row = data.draw(st.sampled_from([*self.old_rows[-5:], *self.rows.values()]))
        before = self.get(row.id)
        ended = self.do(self.house.detector.declare(row))
        if ended is not None:
            assert before.status in LIVE
            assert before.attempt == row.attempt

    @precondition(lambda self: self.stands_at(Status.RUNNING))
    @rule()
    def restart_coordinator(self) -> None:
        self.do(self.house.transitions.restart("restarted"))

    # What Holdfast promises

    # The first invariant reads the rows for all of them.
    @invariant()
    def attempts_never_go_back_and_completed_stays(self) -> None:
        for operation_id in self.ids:
            operation = self.rows[operation_id] = self.get(operation_id)
            assert operation.attempt >= self.attempts.get(operation_id, 1)
            self.attempts[operation_id] = operation.attempt
            if operation_id in self.results:
                assert operation.status is Status.COMPLETED
                assert operation.result == self.results[operation_id]
            elif operation.status is Status.COMPLETED:
                assert operation.result is not None
                self.results[operation_id] = operation.result

    @invariant()
    def one_live_attempt_and_it_is_the_newest(self) -> None:
        for operation_id, operation in self.rows.items():
            text = "SELECT attempt FROM attempts WHERE operation_id = $1 AND end_time IS NULL"
            database = self.house.database
            live = self.do(database.run(lambda c: c.fetch(text, operation_id)))  # noqa: B023 - awaited at once
            expected = [operation.attempt] if operation.status in LIVE else []
            assert [row["attempt"] for row in live] == expected

    @invariant()
    def the_story_has_no_gaps_and_ends_where_the_operation_stands(self) -> None:
        for operation_id, operation in self.rows.items():
            events = self.do(self.house.store.events(operation_id, 0))
            assert [event.sequence for event in events] == list(range(1, operation.last_sequence + 1))
            # A claim after a requeue is told when a worker has taken it, and of many requeues only some are.
            assert events[-1].status is operation.status or operation.requeues
            assert [event.type for event in events].count("COMPLETED") <= 1

    def teardown(self) -> None:
        # Other examples share the database; restart and fail_unclaimed must not meet this one's operations.
        text = "DELETE FROM operations WHERE id LIKE $1"
        self.do(self.house.database.run(lambda c: c.execute(text, f"{self.tag}-%")))


def test_life_cycle(postgres: TestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)  # thousands of checkpoints, none of which has to survive
    # What waits in the queue would be due or not by the clock, and the same example go two ways.
    monkeypatch.setattr("holdfast.services.coordinator.workers.backoff.FIRST", 0.0)
    with asyncio.Runner() as runner:
        name = runner.run(postgres.clone())
        database = runner.run(Database.connect(postgres.url(name)))
        monkeypatch.setattr(LifeCycle, "house", House(runner, database, tmp_path), raising=False)
        try:
            run_state_machine_as_test(
                LifeCycle,
                settings=settings(
                    max_examples=40,
                    stateful_step_count=50,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                    print_blob=True,
                ),
            )
        finally:
            runner.run(database.close())
            runner.run(postgres.drop(name))

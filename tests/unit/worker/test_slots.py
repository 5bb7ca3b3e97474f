"""Who gets a slot and who is stale, with an executor that is driven by hand."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from holdfast.errors import AtCapacity, InvalidRequest, LostRace, NotFound, NotPossible, Unavailable
from holdfast.run.contract import StopKind
from holdfast.settings import load_settings
from holdfast.v1 import operation_pb2, worker_pb2
from holdfast.worker.factqueue import FactQueue
from holdfast.worker.fence import Fence
from holdfast.worker.host.executor import Exit, Pulse
from holdfast.worker.identity import identify
from holdfast.worker.outbox import Outbox
from holdfast.worker.shutdown import shut_down
from holdfast.worker.slots import Slots, WorkerConfig
from holdfast.worker.stall import StallLimit
from holdfast.worker.stopping import Patience, StopPlan
from holdfast.worker.stream import SupervisionStream


@dataclass
class Puppet:
    """A run's process whose strings the test pulls."""

    order: worker_pb2.RunAssignment
    receive: Callable[[worker_pb2.WorkerMessage], None]
    pid: int = 1
    asked: list[StopKind] = field(default_factory=list)
    signals: list[int] = field(default_factory=list)
    silent: asyncio.Event = field(default_factory=asyncio.Event)
    dead: asyncio.Event = field(default_factory=asyncio.Event)
    how: Exit = field(default_factory=Exit)
    pulse: Pulse = field(default_factory=Pulse)
    immortal: bool = False
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)

    def request_stop(self, kind: StopKind) -> None:
        self.asked.append(kind)
        self.was_asked.set()

    def signal(self, number: int) -> None:
        self.signals.append(number)
        if number == 9 and not self.immortal:
            self.end(Exit(signal=9))

    def end(self, how: Exit) -> None:
        self.how = how
        self.silent.set()
        self.dead.set()

    def complete(self) -> None:
        self.receive(
            worker_pb2.WorkerMessage(run_finished=worker_pb2.RunFinished(outcome=worker_pb2.RUN_OUTCOME_COMPLETED))
        )
        self.end(Exit())

    async def said_everything(self) -> None:
        await self.silent.wait()

    async def gone(self) -> Exit:
        await self.dead.wait()
        return self.how

    def close(self) -> None:
        self.silent.set()


class Theatre:
    """Implements Executor."""

    fingerprint: dict[str, str]
    capabilities: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.fingerprint = {}
        self.puppets: list[Puppet] = []
        self.may_launch = asyncio.Event()
        self.may_launch.set()
        self.launched = asyncio.Condition()
        self.refuses: Exception | None = None
        self.stubborn = False  # launches although it is cancelled

    async def start(self) -> None: ...

    async def keep(self) -> None: ...

    async def close(self) -> None: ...

    async def launch(
        self, order: worker_pb2.RunAssignment, log_path: Path, receive: Callable[[worker_pb2.WorkerMessage], None]
    ) -> Puppet:
        try:
            await self.may_launch.wait()
        except asyncio.CancelledError:
            if not self.stubborn:
                raise
        if self.refuses is not None:
            raise self.refuses
        self.puppets.append(Puppet(order, receive))
        async with self.launched:
            self.launched.notify_all()
        return self.puppets[-1]

    async def puppet(self, number: int) -> Puppet:
        async with self.launched:
            await self.launched.wait_for(lambda: len(self.puppets) > number)
        return self.puppets[number]


@dataclass
class Stage:
    slots: Slots
    facts: FactQueue
    theatre: Theatre

    def be_patient(self, patience: Patience) -> None:
        """From the next run on."""
        self.slots._config = dataclasses.replace(self.slots._config, patience=patience)

    def take_only(self, spec: str) -> None:
        """The kind of run that is taken."""
        self.slots._config = dataclasses.replace(self.slots._config, spec=spec)

    def ends(self) -> list[tuple[int, worker_pb2.RunOutcome, str]]:
        return [(f.run.attempt, f.outcome, f.failure.reason) for f in self.facts.ends()]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    outbox = Outbox(tmp_path / "outbox")
    outbox.load()
    facts, theatre = FactQueue(outbox), Theatre()
    config = WorkerConfig(
        spec="training",
        capacity=1,
        log_dir=tmp_path,
        cancel_plan=StopPlan(3600, 3600),
        shutdown_plan=StopPlan(3600, 3600),
    )
    async with asyncio.TaskGroup() as tasks:
        slots = Slots(config, theatre, facts, tasks)
        yield Stage(slots, facts, theatre)
        slots.force_stop()
        theatre.may_launch.set()


def assignment(operation: str = "op", attempt: int = 1) -> worker_pb2.RunAssignment:
    return worker_pb2.RunAssignment(
        run=worker_pb2.RunRef(operation_id=operation, attempt=attempt), training=operation_pb2.TrainingSpec()
    )


async def test_the_slot_is_free_again_when_the_end_is_stored(stage: Stage) -> None:
    stage.slots.start(assignment())
    with pytest.raises(AtCapacity) as caught:
        stage.slots.start(assignment("other"))
    assert caught.value.reason == "NO_FREE_SLOT"
    (await stage.theatre.puppet(0)).complete()
    await stage.slots.idle.wait()
    assert stage.ends() == [(1, worker_pb2.RUN_OUTCOME_COMPLETED, "")]
    stage.slots.start(assignment("other"))


async def test_the_same_assignment_again_changes_nothing(stage: Stage) -> None:
    stage.slots.start(assignment())
    stage.slots.start(assignment())
    assert len(stage.slots.refs()) == 1
    (await stage.theatre.puppet(0)).complete()
    await stage.slots.idle.wait()
    stage.slots.start(assignment())
    assert stage.slots.refs() == []


async def test_an_older_attempt_is_stale_even_after_the_newer_has_left(stage: Stage) -> None:
    stage.slots.start(assignment(attempt=2))
    (await stage.theatre.puppet(0)).complete()
    await stage.slots.idle.wait()
    with pytest.raises(LostRace) as caught:
        stage.slots.start(assignment(attempt=1))
    assert caught.value.reason == "STALE_ATTEMPT"


async def test_a_restored_database_may_give_out_an_older_attempt_under_its_newer_epoch(stage: Stage) -> None:
    before = assignment(attempt=5)
    before.coordinator_term = 7
    stage.slots.start(before)
    run = await stage.theatre.puppet(0)
    after = assignment(attempt=5)
    after.coordinator_term = 8
    with pytest.raises(AtCapacity, match="before the database was restored"):
        stage.slots.start(after)
    stage.slots.fence(before.run, "the database does not know it")
    run.end(Exit(signal=9))
    await stage.slots.idle.wait()
    with pytest.raises(AtCapacity):  # its end is still to be told: it would be taken for the new one's
        stage.slots.start(after)
    stage.facts.acknowledge_ends([before.run])
    after.run.attempt = 3
    stage.slots.start(after)
    await stage.theatre.puppet(1)
    with pytest.raises(LostRace):
        stage.slots.start(before)


async def test_a_newer_attempt_waits_for_the_death_of_the_older(stage: Stage) -> None:
    stage.slots.start(assignment(attempt=1))
    first = await stage.theatre.puppet(0)
    stage.slots.start(assignment(attempt=2))
    second = await stage.theatre.puppet(1)
    assert first.dead.is_set()
    assert first.asked == []  # a stale run is not asked to save
    assert second.order.run.attempt == 2
    assert stage.ends() == [(1, worker_pb2.RUN_OUTCOME_CANCELLED, "STOPPED")]


async def test_many_newer_attempts_leave_one(stage: Stage) -> None:
    for attempt in range(1, 6):
        stage.slots.start(assignment(attempt=attempt))
    await stage.theatre.launched.acquire()
    await stage.theatre.launched.wait_for(lambda: stage.theatre.puppets)
    stage.theatre.launched.release()
    assert [puppet.order.run.attempt for puppet in stage.theatre.puppets] == [5]
    assert [ref.attempt for ref in stage.slots.refs()] == [5]
    assert sorted(attempt for attempt, _, _ in stage.ends()) == [1, 2, 3, 4]


async def test_an_attempt_waits_for_every_older_one(stage: Stage) -> None:
    stage.slots.start(assignment(attempt=1))
    first = await stage.theatre.puppet(0)
    first.immortal = True
    changed = asyncio.Event()
    stage.facts.on_change = changed.set
    stage.slots.start(assignment(attempt=2))
    await asyncio.sleep(0)
    stage.slots.start(assignment(attempt=3))
    async with asyncio.timeout(10):
        while not stage.ends():
            changed.clear()
            await changed.wait()
    assert [attempt for attempt, _, _ in stage.ends()] == [2]  # it never began, and is no proof of the first's death
    assert len(stage.theatre.puppets) == 1
    first.end(Exit(signal=9))
    assert (await stage.theatre.puppet(1)).order.run.attempt == 3


async def test_a_run_cancelled_before_its_process_never_begins(stage: Stage) -> None:
    stage.theatre.may_launch.clear()
    stage.slots.start(assignment())
    await asyncio.sleep(0)
    stage.slots.cancel(assignment().run, "user")
    await stage.slots.idle.wait()
    assert stage.theatre.puppets == []
    assert stage.ends() == [(1, worker_pb2.RUN_OUTCOME_CANCELLED, "CANCELLED")]


async def test_a_launch_that_succeeds_in_spite_of_the_cancel_is_undone(stage: Stage) -> None:
    stage.theatre.stubborn = True
    stage.theatre.may_launch.clear()
    stage.slots.start(assignment())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    stage.slots.cancel(assignment().run, "user")
    stage.theatre.may_launch.set()
    await stage.slots.idle.wait()
    assert [puppet.signals for puppet in stage.theatre.puppets] == [[9]]
    assert stage.ends() == [(1, worker_pb2.RUN_OUTCOME_CANCELLED, "CANCELLED")]


async def test_a_cancel_asks_first_and_a_forced_stop_kills(stage: Stage) -> None:
    stage.slots.start(assignment())
    puppet = await stage.theatre.puppet(0)
    await asyncio.sleep(0)
    stage.slots.cancel(assignment().run, "user")
    assert (puppet.asked, puppet.signals) == ([StopKind.CANCEL], [])
    stage.slots.force_stop()
    await stage.slots.idle.wait()
    assert puppet.signals == [15, 9]
    # The first reason stays: the user's cancel.
    assert stage.ends() == [(1, worker_pb2.RUN_OUTCOME_CANCELLED, "CANCELLED")]


async def test_a_run_that_finished_before_the_cancel_is_completed(stage: Stage) -> None:
    stage.slots.start(assignment())
    puppet = await stage.theatre.puppet(0)
    await asyncio.sleep(0)
    stage.slots.cancel(assignment().run, "user")
    puppet.complete()
    await stage.slots.idle.wait()
    assert stage.ends() == [(1, worker_pb2.RUN_OUTCOME_COMPLETED, "")]
    stage.slots.cancel(assignment().run, "user")  # its end is on the way: no error


async def test_a_launch_that_fails_is_an_end(stage: Stage) -> None:
    stage.theatre.refuses = Unavailable("No process could be started.", reason="RUN_NOT_STARTED")
    stage.slots.start(assignment())
    await stage.slots.idle.wait()
    assert stage.ends() == [(1, worker_pb2.RUN_OUTCOME_FAILED, "RUN_NOT_STARTED")]


async def test_a_defect_in_a_launch_is_an_end_too(stage: Stage) -> None:
    stage.theatre.refuses = RuntimeError("a defect")
    stage.slots.start(assignment())
    await stage.slots.idle.wait()
    assert stage.ends() == [(1, worker_pb2.RUN_OUTCOME_FAILED, "INTERNAL")]


async def test_draining_refuses_the_new_and_knows_the_old(stage: Stage) -> None:
    stage.slots.start(assignment())
    stage.slots.drain(stop_runs=False)
    stage.slots.start(assignment())
    with pytest.raises(NotPossible) as caught:
        stage.slots.start(assignment(attempt=2))
    assert caught.value.reason == "WORKER_DRAINING"
    (await stage.theatre.puppet(0)).complete()


async def test_a_process_that_cannot_die_does_not_hold_up_the_shutdown(stage: Stage) -> None:
    stage.slots.start(assignment())
    puppet = await stage.theatre.puppet(0)
    puppet.immortal = True
    supervision = SupervisionStream(identify("trainer", load_settings()), stage.slots, stage.facts, Fence(), 1.0)
    await shut_down(stage.slots, stage.facts, supervision, asyncio.Event(), grace=0.05)
    assert puppet.asked == [StopKind.SHUTDOWN]
    assert stage.ends() == []  # nobody knows its end


async def test_a_killed_process_that_the_kernel_holds_ends_its_operation_all_the_same(stage: Stage) -> None:
    stage.be_patient(Patience(held_seconds=0.0))
    stage.slots.start(assignment())
    puppet = await stage.theatre.puppet(0)
    puppet.immortal = True
    stage.slots.cancel(assignment().run, "user")
    stage.slots.force_stop()
    await stage.slots.idle.wait()
    (finished,) = stage.facts.ends()
    assert (finished.outcome, finished.failure.reason) == (worker_pb2.RUN_OUTCOME_CANCELLED, "CANCELLED")
    assert "keeps its memory until the kernel lets go of it" in finished.failure.message
    # The next attempt does not wait for it either: what the first may still write to is its own.
    stage.slots.start(assignment(attempt=2))
    (await stage.theatre.puppet(1)).complete()


async def test_a_run_without_signs_of_life_is_stopped_and_has_failed(stage: Stage) -> None:
    stage.be_patient(Patience(StallLimit(0.01), StopPlan(0.0, 0.0)))
    stage.slots.start(assignment())
    await stage.theatre.puppet(0)
    await stage.slots.idle.wait()
    assert stage.ends() == [(1, worker_pb2.RUN_OUTCOME_FAILED, "RUN_STALLED")]
    told = [m.notice.type for m in stage.facts.after(0) if m.HasField("notice")]
    assert told == ["STARTED", "RUN_UNRESPONSIVE", "RUN_STALLED"]


async def test_a_cancel_takes_over_a_run_that_is_stopped_as_stalled(stage: Stage) -> None:
    stage.be_patient(Patience(StallLimit(0.01), StopPlan(3600, 3600)))
    stage.slots.start(assignment())
    puppet = await stage.theatre.puppet(0)
    async with asyncio.timeout(10):
        await puppet.was_asked.wait()
    stage.slots.cancel(assignment().run, "user")
    stage.slots.force_stop()
    await stage.slots.idle.wait()
    assert stage.ends() == [(1, worker_pb2.RUN_OUTCOME_CANCELLED, "CANCELLED")]


async def test_commands_for_what_is_not_here(stage: Stage) -> None:
    with pytest.raises(NotFound):
        stage.slots.cancel(assignment().run, "user")
    stage.slots.fence(assignment().run, "stale")  # nothing to do is fine: it is not here, as wanted


@pytest.mark.parametrize("operation", ["", "../x", "a/b", ".hidden", "x" * 200, "a b"])
async def test_names_that_would_leave_their_directory(stage: Stage, operation: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        stage.slots.start(assignment(operation))
    assert caught.value.violations[0].path == "assignment.run.operation_id"


async def test_another_kind_of_work(stage: Stage) -> None:
    wrong = worker_pb2.RunAssignment(run=assignment().run, backtest=operation_pb2.BacktestSpec())
    with pytest.raises(InvalidRequest, match=r"assignment\.spec"):
        stage.slots.start(wrong)


async def test_facts_of_a_run_carry_its_own_name(stage: Stage) -> None:
    stage.slots.start(assignment(attempt=4))
    puppet = await stage.theatre.puppet(0)
    forged = worker_pb2.RunRef(operation_id="another", attempt=9)
    puppet.receive(worker_pb2.WorkerMessage(notice=worker_pb2.RunNotice(run=forged, type="SAID")))
    (said,) = [m.notice for m in stage.facts.after(0) if m.notice.type == "SAID"]
    assert (said.run.operation_id, said.run.attempt) == ("op", 4)
    puppet.complete()

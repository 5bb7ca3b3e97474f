"""All runs of this worker: who gets a slot, who is stale, who must stop. Owns the run handles; never touches gRPC."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from holdfast.errors import AtCapacity, InvalidRequest, LostRace, NotFound, NotPossible, Violation
from holdfast.v1 import worker_pb2
from holdfast.worker import runlogs
from holdfast.worker.endings import StopReason
from holdfast.worker.factqueue import FactQueue
from holdfast.worker.handle import RunHandle
from holdfast.worker.host.executor import Executor
from holdfast.worker.stopping import AT_ONCE, Patience, StopPlan

__all__ = ["Slots", "WorkerConfig"]

log = structlog.get_logger()

_OPERATION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_REMEMBERED = 10_000  # operations whose newest attempt is known after they have left


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """Which runs are taken here, how many, and how long they may take to stop."""

    spec: str  # "training" or "backtest": the RunAssignment field that must be set
    capacity: int
    log_dir: Path
    cancel_plan: StopPlan
    shutdown_plan: StopPlan
    patience: Patience = field(default_factory=Patience)


class Slots:
    """Takes runs in, and lets them go when they have ended."""

    def __init__(self, config: WorkerConfig, executor: Executor, facts: FactQueue, tasks: asyncio.TaskGroup) -> None:
        self._config = config
        self._executor = executor
        self._facts = facts
        self._tasks = tasks
        self._runs: dict[tuple[str, int], RunHandle] = {}
        self._lives: dict[tuple[str, int], asyncio.Task[None]] = {}
        # (coordinator term, attempt): a restored database counts attempts from where it stood, under a newer term.
        self._newest: OrderedDict[str, tuple[int, int]] = OrderedDict()
        for finished in facts.ends():
            self._remember(finished.run, 0)
        self.draining = False
        self.idle = asyncio.Event()
        self.idle.set()
        # Called with a run whose progress has changed.
        self.on_progress: Callable[[RunHandle], None] = lambda run: None

    @property
    def capacity(self) -> int:
        """How many operations may run at once."""
        return self._config.capacity

    def states(self) -> list[worker_pb2.RunState]:
        """What runs now, with progress and last checkpoint."""
        return [run.state() for run in self._runs.values()]

    def refs(self) -> list[worker_pb2.RunRef]:
        """What runs now."""
        return [run.ref for run in self._runs.values()]

    def logs(self) -> list[Path]:
        """Where what runs now prints to."""
        return [runlogs.path_of(self._config.log_dir, *run) for run in self._runs]

    def start(self, assignment: worker_pb2.RunAssignment) -> None:
        """Takes a slot and asks for a process; the same assignment again changes nothing.

        Raises InvalidRequest, LostRace (STALE_ATTEMPT), NotPossible (WORKER_DRAINING), AtCapacity (NO_FREE_SLOT).
        """
        ref = assignment.run
        self._check(assignment)
        term = assignment.coordinator_term
        newest_term, newest = self._newest.get(ref.operation_id, (0, 0))
        newest_term = newest_term or term  # an end from the outbox does not say its own
        ids = {"operation_id": ref.operation_id, "attempt": str(ref.attempt)}
        if (term, ref.attempt) < (newest_term, newest):
            raise LostRace(
                f"Attempt {ref.attempt} of {ref.operation_id} is stale: attempt {newest} came here already.",
                reason="STALE_ATTEMPT",
                metadata=ids,
            )
        if (term, ref.attempt) == (newest_term, newest):
            return
        if (ref.operation_id, ref.attempt) in self._runs or self._facts.has_end(ref):
            raise AtCapacity(
                f"Attempt {ref.attempt} of {ref.operation_id} is here already, from before the database was restored. "
                "It must be gone first; ask again in a moment.",
                reason="NO_FREE_SLOT",
                metadata=ids,
            )
        if self.draining:
            raise NotPossible(
                "This worker drains and takes no new runs; ask another one.", reason="WORKER_DRAINING", metadata=ids
            )
        predecessors = [run for run in self._runs.values() if run.ref.operation_id == ref.operation_id]
        taken = {run.ref.operation_id for run in self._runs.values()}
        if not predecessors and len(taken) >= self._config.capacity:
            raise AtCapacity(
                f"All {self._config.capacity} slots are taken; ask another worker or wait for a run to end.",
                reason="NO_FREE_SLOT",
                metadata=ids,
            )
        self._remember(ref, term)
        for predecessor in predecessors:
            predecessor.stop(StopReason.FENCED, AT_ONCE, f"attempt {ref.attempt} came to this worker")
        self._take(assignment, predecessors)

    def cancel(self, ref: worker_pb2.RunRef, reason: str) -> None:
        """Begins to stop a run; its end says how that went. Raises NotFound (RUN_NOT_FOUND)."""
        run = self._runs.get((ref.operation_id, ref.attempt))
        if run is not None:
            run.stop(StopReason.CANCEL, self._config.cancel_plan, reason)
        elif not self._facts.has_end(ref):
            # An end that is still on its way to the coordinator answers the cancel better than an error would.
            raise NotFound(
                f"Attempt {ref.attempt} of {ref.operation_id} does not run on this worker.",
                reason="RUN_NOT_FOUND",
                metadata={"operation_id": ref.operation_id, "attempt": str(ref.attempt)},
            )

    def fence(self, ref: worker_pb2.RunRef, reason: str) -> None:
        """Ends a stale run at once. Nothing happens when it is not here."""
        run = self._runs.get((ref.operation_id, ref.attempt))
        if run is not None:
            run.stop(StopReason.FENCED, AT_ONCE, reason)

    def drain(self, *, stop_runs: bool) -> None:
        """Takes no new runs from now on; `stop_runs` also checkpoints and stops the present ones."""
        self.draining = True
        if stop_runs:
            for run in self._runs.values():
                run.stop(StopReason.SHUTDOWN, self._config.shutdown_plan, "the worker drains")

    def force_stop(self) -> None:
        """Kills what still runs."""
        for run in self._runs.values():
            run.stop(StopReason.SHUTDOWN, AT_ONCE, "the worker was told to stop at once")

    def abandon(self) -> None:
        """Lets go of runs whose processes do not even obey SIGKILL; they get no end from here."""
        for run, task in self._lives.items():
            log.error("Run is left behind", operation=run[0], attempt=run[1])
            task.cancel()

    def _check(self, assignment: worker_pb2.RunAssignment) -> None:
        violations = []
        if not _OPERATION_ID.fullmatch(assignment.run.operation_id):
            # It becomes part of file names.
            allowed = "letters, digits, '.', '_' and '-', at most 128"
            violations.append(Violation("assignment.run.operation_id", repr(assignment.run.operation_id), allowed))
        if assignment.run.attempt < 1:
            violations.append(Violation("assignment.run.attempt", str(assignment.run.attempt), "1 or more"))
        spec = assignment.WhichOneof("spec")
        if spec != self._config.spec:
            violations.append(Violation("assignment.spec", str(spec), f"{self._config.spec} on this kind of worker"))
        if violations:
            text = "; ".join(str(violation) for violation in violations)
            raise InvalidRequest(f"The assignment cannot run here: {text}", violations=violations)

    def _take(self, assignment: worker_pb2.RunAssignment, predecessors: Sequence[RunHandle]) -> None:
        ref = assignment.run
        run = RunHandle(
            assignment,
            runlogs.path_of(self._config.log_dir, ref.operation_id, ref.attempt),
            self._executor,
            self._config.patience,
            predecessors=predecessors,
            on_message=self._said,
            on_end=self._ended,
        )
        self._runs[ref.operation_id, ref.attempt] = run
        self.idle.clear()
        life = self._tasks.create_task(run.live(), name=f"run {ref.operation_id} attempt {ref.attempt}")
        self._lives[ref.operation_id, ref.attempt] = life

    def _said(self, run: RunHandle, message: worker_pb2.WorkerMessage) -> None:
        if message.HasField("progress"):
            self.on_progress(run)
        else:
            self._facts.add(message)

    async def _ended(self, run: RunHandle, finished: worker_pb2.RunFinished) -> None:
        await self._facts.add_end(finished)
        # Not before: a registration must find the run in one of the two places, always.
        del self._runs[run.ref.operation_id, run.ref.attempt]
        del self._lives[run.ref.operation_id, run.ref.attempt]
        if not self._runs:
            self.idle.set()

    def _remember(self, ref: worker_pb2.RunRef, term: int) -> None:
        newest = max((term, ref.attempt), self._newest.pop(ref.operation_id, (0, 0)))
        self._newest[ref.operation_id] = newest
        while len(self._newest) > _REMEMBERED:
            self._newest.popitem(last=False)

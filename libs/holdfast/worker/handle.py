"""One run here, from its order to its reported end. Owns the run's process and the clock of its stop.

starting ─► running ─► (stopping) ─► ended. Nothing is reported as ended before the process is known to be gone.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import structlog

from holdfast.errors import HoldfastError
from holdfast.run.contract import StopKind
from holdfast.v1 import checkpoint_pb2, operation_pb2, worker_pb2
from holdfast.worker import runlogs
from holdfast.worker.endings import Ending, StopReason, conclude
from holdfast.worker.host.executor import Executor, Exit, RunProcess
from holdfast.worker.stall import Vigil, position
from holdfast.worker.stopping import Patience, StopPlan, held_by_the_kernel, kill

__all__ = ["RunHandle"]

log = structlog.get_logger()

_LEAVE_SECONDS = 5.0  # between a run's last word and its process's end; then it is killed
_LOG_SECONDS = 5.0  # for reading the end of a log; its file system may be what keeps runs from going on


class RunHandle:
    """A run and its process. `live` is its task; the rest may be called at any time."""

    def __init__(
        self,
        order: worker_pb2.RunAssignment,
        log_path: Path,
        executor: Executor,
        patience: Patience,
        *,
        predecessors: Sequence[RunHandle],
        on_message: Callable[[RunHandle, worker_pb2.WorkerMessage], None],
        on_end: Callable[[RunHandle, worker_pb2.RunFinished], Awaitable[None]],
    ) -> None:
        self.order = order
        self.ref = order.run
        self.progress: operation_pb2.Progress | None = None
        self.checkpoint: checkpoint_pb2.Checkpoint | None = None
        self.stopping: StopReason | None = None
        self.ended = asyncio.Event()
        self._log_path = log_path
        self._executor = executor
        self._patience = patience
        self._predecessors = predecessors
        self._on_message = on_message
        self._on_end = on_end
        self._stop_text = ""
        self._signals_sent: set[int] = set()
        self._killed = asyncio.Event()
        self._timers: list[asyncio.TimerHandle] = []
        self._process: RunProcess | None = None
        self._launch: asyncio.Task[RunProcess] | None = None
        self._reported: worker_pb2.RunFinished | None = None

    def state(self) -> worker_pb2.RunState:
        """What a registration says of it."""
        return worker_pb2.RunState(run=self.ref, progress=self.progress, checkpoint=self.checkpoint)

    def stop(self, reason: StopReason, plan: StopPlan, text: str = "") -> None:
        """Makes it stop within the plan. The first reason stays, unless it is fenced; a quicker plan wins.

        That it has stalled is our own verdict: whoever else wants it to stop takes it over.
        """
        if self.ended.is_set():
            return
        if self.stopping in (None, StopReason.STALLED) or reason is StopReason.FENCED:
            self.stopping = reason
            self._stop_text = text
            log.info("Run is to stop", reason=reason.value, text=text, **self._words())
        if self._launch is not None and self._process is None:
            self._launch.cancel()
            return
        self._tell()
        loop = asyncio.get_running_loop()
        # Earlier timers stay: whichever plan is quicker acts first, and a second signal does no harm.
        self._timers.append(loop.call_later(plan.cooperative, self._send, signal.SIGTERM))
        self._timers.append(loop.call_later(plan.cooperative + plan.terminate, self._send, signal.SIGKILL))

    async def live(self) -> None:
        """The whole life. Ends only when the end is in the outbox."""
        structlog.contextvars.unbind_contextvars("method")  # the call that brought it is over
        structlog.contextvars.bind_contextvars(operation=self.ref.operation_id, attempt=self.ref.attempt)
        try:
            finished = await self._run()
        except Exception as error:
            # A defect here must not leave the operation without an end, nor the process without one.
            log.exception("Run's supervision failed")
            if self._process is not None:
                await kill(self._process, self._patience.held_seconds)
            finished = worker_pb2.RunFinished(run=self.ref, outcome=worker_pb2.RUN_OUTCOME_FAILED)
            finished.failure.reason = "INTERNAL"
            finished.failure.message = f"The worker met a defect ({type(error).__name__}); its log has the details"
        finally:
            for timer in self._timers:
                timer.cancel()
            if self._process is not None:
                self._process.close()
        finished.end_time.GetCurrentTime()
        log.info(
            "Run ended",
            outcome=worker_pb2.RunOutcome.Name(finished.outcome),
            reason=finished.failure.reason,
            message=finished.failure.message,
        )
        await self._on_end(self, finished)
        self.ended.set()

    async def _run(self) -> worker_pb2.RunFinished:
        killed_before = runlogs.out_of_memory_kills()
        not_started, ended = "", Exit()
        if self.stopping is None:
            self._launch = asyncio.create_task(self._begin(), name=f"launch {self.ref.operation_id}")
            try:
                await asyncio.wait([self._launch])
            finally:
                self._launch.cancel()
        if self._launch is None or self._launch.cancelled():
            not_started = "The run had not begun"
        elif isinstance(error := self._launch.exception(), HoldfastError):
            not_started = error.message
        elif error is not None:
            raise error
        else:
            ended = await self._supervise(self._launch.result())
        tail = await self._log_tail()
        return conclude(
            Ending(
                run=self.ref,
                reported=self._reported,
                exit=ended,
                stop=self.stopping,
                stop_text=self._stop_text,
                signals_sent=self._signals_sent,
                not_started=not_started,
                checkpoint=self.checkpoint,
                progress=self.progress,
                log_tail=tail,
                out_of_memory=runlogs.out_of_memory_kills() > killed_before,
            )
        )

    async def _log_tail(self) -> list[str]:
        try:
            async with asyncio.timeout(_LOG_SECONDS):
                return await asyncio.to_thread(runlogs.tail, self._log_path)
        except (OSError, TimeoutError) as error:
            log.warning("Run's log cannot be read", path=str(self._log_path), error=repr(error))
            return []

    async def _begin(self) -> RunProcess:
        # Two attempts of one operation never run at once on one worker. All of them: the last one may have ended by
        # never beginning, while an earlier one is still being killed.
        for predecessor in self._predecessors:
            await predecessor.ended.wait()
        self._predecessors = ()
        asked = time.perf_counter()
        process = await self._executor.launch(self.order, self._log_path, self._receive)
        if self.stopping is not None:
            # The stop came as the fork was answered; a cancelled launch may succeed all the same.
            await kill(process, self._patience.held_seconds)
            process.close()
            raise asyncio.CancelledError
        self._process = process
        took = (time.perf_counter() - asked) * 1000
        log.info("Run started", pid=process.pid, milliseconds=round(took, 1), log=str(self._log_path))
        self._tell_event(
            "STARTED",
            f"The run's process {process.pid} started in {took:.0f} ms",
            {"pid": str(process.pid), "start_milliseconds": f"{took:.1f}", "log": str(self._log_path)},
        )
        return process

    async def _supervise(self, process: RunProcess) -> Exit:
        vigil = Vigil(
            self._patience.stall,
            process,
            self._log_path,
            needed=lambda: self.stopping is None and self._reported is None,
            where=lambda: position(self.progress),
            tell=self._tell_event,
            give_up=lambda text: self.stop(StopReason.STALLED, self._patience.stalled_plan, text),
        )
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(vigil.keep(), name=f"vigil {self.ref.operation_id}")
            try:
                return await self._watch(process)
            finally:
                keeping.cancel()

    async def _watch(self, process: RunProcess) -> Exit:
        gone = asyncio.create_task(process.gone(), name=f"gone {self.ref.operation_id}")
        said = asyncio.create_task(process.said_everything(), name=f"said {self.ref.operation_id}")
        killed = asyncio.create_task(self._killed.wait(), name=f"killed {self.ref.operation_id}")
        try:
            await asyncio.wait([gone, said, killed], return_when=asyncio.FIRST_COMPLETED)
            if self._killed.is_set():
                await asyncio.wait([gone], timeout=self._patience.held_seconds)
            # The other of the two follows at once, or is helped: a silent process is killed, a pipe that something
            # else holds open is not waited for.
            if gone.done() or not self._killed.is_set():
                await asyncio.wait([gone, said], timeout=_LEAVE_SECONDS)
            if not gone.done() and not self._killed.is_set():
                log.warning("Run's process stays after its last word; killing it", pid=process.pid)
                self._send(signal.SIGKILL)
                await asyncio.wait([gone], timeout=self._patience.held_seconds)
            return gone.result() if gone.done() else held_by_the_kernel(process)
        finally:
            for task in (gone, said, killed):
                task.cancel()

    def _tell(self) -> None:
        if self._process is None or self.stopping is StopReason.FENCED:
            return
        self._process.request_stop(StopKind.CANCEL if self.stopping is StopReason.CANCEL else StopKind.SHUTDOWN)

    def _send(self, number: int) -> None:
        if self._process is None or self.ended.is_set():
            return
        if number == signal.SIGKILL:
            self._killed.set()
        self._signals_sent.add(number)
        log.warning("Run does not stop; sending a signal", signal=signal.Signals(number).name, **self._words())
        self._process.signal(number)

    def _tell_event(self, kind: str, message: str, details: Mapping[str, str]) -> None:
        notice = worker_pb2.RunNotice(type=kind, message=message, details=details)
        self._receive(worker_pb2.WorkerMessage(notice=notice))

    def _receive(self, message: worker_pb2.WorkerMessage) -> None:
        fact = message.WhichOneof("fact")
        if fact == "progress":
            self.progress = message.progress.progress
            message.progress.run.CopyFrom(self.ref)
        elif fact == "checkpoint_saved":
            self.checkpoint = message.checkpoint_saved.checkpoint
            message.checkpoint_saved.run.CopyFrom(self.ref)
        elif fact == "notice":
            message.notice.run.CopyFrom(self.ref)
        elif fact == "run_finished":
            self._reported = message.run_finished
            return
        else:
            log.error("Run said what a run may not say", fact=fact, **self._words())
            return
        self._on_message(self, message)

    def _words(self) -> dict[str, str | int]:
        return {"operation": self.ref.operation_id, "attempt": self.ref.attempt}

"""The `process` executor: keeps one warm fork server alive and lets it fork the runs. Owns the fork server's process.

A run's death is known twice: by its pidfd (proof that it is gone, whatever the fork server does) and by the
fork server's report (how it ended). Linux only: pidfd, PR_SET_PDEATHSIG.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog

from holdfast.errors import NotPossible, Unavailable
from holdfast.run.contract import StopKind
from holdfast.v1 import worker_pb2
from holdfast.worker.host import wire
from holdfast.worker.host.client import ForkRefused, ForkServerClient, ForkServerGone
from holdfast.worker.host.connection import RunConnection
from holdfast.worker.host.context import RunContext
from holdfast.worker.host.executor import Exit, Pulse

__all__ = ["LAUNCH_SECONDS", "ProcessExecutor"]

log = structlog.get_logger()

LAUNCH_SECONDS = 60.0  # for a fork server that has just died to come back
_FORK_SECONDS = 30.0  # a fork server that does not answer for this long is stuck
_REPORT_SECONDS = 5.0  # between a process's end and the fork server's word on how it ended
_RESTART_BACKOFF = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)


class ProcessExecutor:
    """Implements holdfast.worker.host.executor.Executor."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._fork_server: ForkServerClient | None = None
        self._changed = asyncio.Event()
        self._live = 0
        self.fingerprint: Mapping[str, str] = {}
        self.capabilities: Sequence[str] = ()

    async def start(self) -> None:
        """Starts the fork server and waits until it is warm. Raises NotPossible (PRELOAD_FAILED)."""
        fork_server = ForkServerClient.spawn(self._context)
        try:
            self.fingerprint = await fork_server.ready()
        except ForkServerGone as error:
            await fork_server.close()
            raise NotPossible(
                f"The fork server could not start: {error}. Its traceback is above; correct that and start again.",
                reason="PRELOAD_FAILED",
            ) from error
        except BaseException:
            await fork_server.close()
            raise
        self.capabilities = () if self.fingerprint.get("accelerator", "none") == "none" else ("cuda",)
        self._fork_server = fork_server
        self._changed.set()
        log.info("Fork server ready", pid=fork_server.pid)

    async def keep(self) -> None:
        """Replaces the fork server whenever it ends."""
        failures = 0
        while True:
            if self._fork_server is not None:
                await self._fork_server.gone.wait()
                failures = 0
                log.error("Fork server died; its runs die with it", pid=self._fork_server.pid)
                await self._fork_server.close()
                self._fork_server = None
                self._changed.clear()
            await asyncio.sleep(_RESTART_BACKOFF[min(failures, len(_RESTART_BACKOFF) - 1)])
            try:
                await self.start()
            except NotPossible as error:
                failures += 1
                log.error("Fork server did not come back; trying again", failures=failures, error=error.message)

    async def launch(
        self, order: worker_pb2.RunAssignment, log_path: Path, receive: Callable[[worker_pb2.WorkerMessage], None]
    ) -> ForkedProcess:
        """Forks a process for the order. Raises Unavailable (RUN_NOT_STARTED)."""
        try:
            async with asyncio.timeout(LAUNCH_SECONDS):
                while True:
                    await self._changed.wait()
                    fork_server = self._fork_server
                    if fork_server is None or fork_server.gone.is_set():
                        # keep() has not seen it yet: let it run, then wait for the next one.
                        self._changed.clear()
                        continue
                    try:
                        return await self._fork(fork_server, order, log_path, receive)
                    except ForkServerGone:
                        # Safe to try again: a process without its order has not begun.
                        log.warning("Fork server died during a start; trying the next one")
        except (TimeoutError, ForkRefused, OSError) as error:
            raise Unavailable(
                f"No process could be started for the run: {str(error) or 'the fork server did not come back'}. "
                "The run has not begun; resume or start it again.",
                reason="RUN_NOT_STARTED",
            ) from error

    async def _fork(
        self,
        fork_server: ForkServerClient,
        order: worker_pb2.RunAssignment,
        log_path: Path,
        receive: Callable[[worker_pb2.WorkerMessage], None],
    ) -> ForkedProcess:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                async with asyncio.timeout(_FORK_SECONDS):
                    number, pid = await fork_server.fork(theirs, log_path)
        except BaseException as error:
            ours.close()  # a process forked after all finds its pipe closed, and ends
            if isinstance(error, TimeoutError) and not self._live:
                log.error("Fork server does not answer; ending it", pid=fork_server.pid)
                fork_server.kill()
            raise
        run = ForkedProcess(fork_server, number, pid, RunConnection(ours, receive), on_close=self._closed)
        self._live += 1
        run.pipe.send(wire.order_frame(order))
        return run

    def _closed(self) -> None:
        self._live -= 1

    async def close(self) -> None:
        """Ends the fork server and every run with it."""
        if self._fork_server is not None:
            await self._fork_server.close()
            self._fork_server = None


class ForkedProcess:
    """Implements holdfast.worker.host.executor.RunProcess."""

    def __init__(
        self, fork_server: ForkServerClient, number: int, pid: int, pipe: RunConnection, on_close: Callable[[], None]
    ) -> None:
        self.pid = pid
        self.pipe = pipe
        self._fork_server = fork_server
        self._number = number
        self._on_close = on_close
        self._closed = False
        self._dead = asyncio.Event()
        self._pidfd = -1
        try:
            self._pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._dead.set()  # reaped already; the fork server's report is on its way
        else:
            asyncio.get_running_loop().add_reader(self._pidfd, self._died)

    @property
    def pulse(self) -> Pulse:
        """Its last beat."""
        return self.pipe.pulse

    def request_stop(self, kind: StopKind) -> None:
        """Asks the run to save and stop."""
        self.pipe.send(wire.stop_frame(kind))

    def signal(self, number: int) -> None:
        """Sends a signal to the run itself; the fork server takes the rest of its group when it reaps."""
        if self._pidfd < 0 or self._dead.is_set():
            return
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            return  # a zombie that was reaped this moment

    async def said_everything(self) -> None:
        """Returns when the pipe is at its end or the last message is here."""
        await self.pipe.said_everything.wait()

    async def gone(self) -> Exit:
        """Returns when the process is gone, with the fork server's word on how."""
        await self._dead.wait()
        try:
            return await asyncio.wait_for(self._fork_server.exit_of(self._number), _REPORT_SECONDS)
        except TimeoutError:
            return Exit(unseen="the fork server does not answer")
        except ForkServerGone:
            return Exit(unseen="the fork server died and took its runs with it")

    def close(self) -> None:
        """Closes the pipe and the pidfd."""
        self._died()
        self.pipe.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        if not self._closed:
            self._closed = True
            self._on_close()

    def _died(self) -> None:
        self._dead.set()
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)

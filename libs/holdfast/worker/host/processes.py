"""The `process` executor: keeps one warm zygote alive and lets it fork the runs. Owns the zygote's process.

A run's death is known twice: by its pidfd (proof that it is gone, whatever the zygote does) and by the zygote's report
(how it ended). Linux only: pidfd, PR_SET_PDEATHSIG.
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
from holdfast.worker.host.client import ForkRefused, ZygoteClient, ZygoteGone
from holdfast.worker.host.executor import Exit, Pulse
from holdfast.worker.host.runpipe import RunPipe

log = structlog.get_logger()

LAUNCH_SECONDS = 60.0  # for a zygote that has just died to come back
_FORK_SECONDS = 30.0  # a zygote that does not answer for this long is stuck
_REPORT_SECONDS = 5.0  # between a process's end and the zygote's word on how it ended
_RESTART_BACKOFF = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)


class ForkServer:
    """Implements holdfast.worker.host.executor.Executor."""

    def __init__(self, preload: Sequence[str]) -> None:
        self._preload = tuple(preload)
        self._zygote: ZygoteClient | None = None
        self._changed = asyncio.Event()
        self._live = 0
        self.fingerprint: Mapping[str, str] = {}
        self.capabilities: Sequence[str] = ()

    async def start(self) -> None:
        """Starts the zygote and waits until it is warm. Raises NotPossible (PRELOAD_FAILED)."""
        zygote = ZygoteClient.spawn(self._preload)
        try:
            self.fingerprint = await zygote.ready()
        except ZygoteGone as error:
            await zygote.close()
            raise NotPossible(
                f"The fork server could not start: {error}. Its traceback is above; correct that and start again.",
                reason="PRELOAD_FAILED",
            ) from error
        except BaseException:
            await zygote.close()
            raise
        self.capabilities = () if self.fingerprint.get("accelerator", "none") == "none" else ("cuda",)
        self._zygote = zygote
        self._changed.set()
        log.info("Fork server ready", pid=zygote.pid)

    async def keep(self) -> None:
        """Replaces the zygote whenever it ends."""
        failures = 0
        while True:
            if self._zygote is not None:
                await self._zygote.gone.wait()
                failures = 0
                log.error("Fork server died; its runs die with it", pid=self._zygote.pid)
                await self._zygote.close()
                self._zygote = None
                self._changed.clear()
            await asyncio.sleep(_RESTART_BACKOFF[min(failures, len(_RESTART_BACKOFF) - 1)])
            try:
                await self.start()
            except NotPossible as error:
                failures += 1
                log.error("Fork server did not come back; trying again", failures=failures, error=error.message)

    async def launch(
        self, order: wire.Order, log_path: Path, receive: Callable[[worker_pb2.WorkerMessage], None]
    ) -> ForkedRun:
        """Forks a process for the order. Raises Unavailable (RUN_NOT_STARTED)."""
        try:
            async with asyncio.timeout(LAUNCH_SECONDS):
                while True:
                    await self._changed.wait()
                    zygote = self._zygote
                    if zygote is None or zygote.gone.is_set():
                        # keep() has not seen it yet: let it run, then wait for the next one.
                        self._changed.clear()
                        continue
                    try:
                        return await self._fork(zygote, order, log_path, receive)
                    except ZygoteGone:
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
        zygote: ZygoteClient,
        order: wire.Order,
        log_path: Path,
        receive: Callable[[worker_pb2.WorkerMessage], None],
    ) -> ForkedRun:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                async with asyncio.timeout(_FORK_SECONDS):
                    number, pid = await zygote.fork(theirs, log_path)
        except BaseException as error:
            ours.close()  # a process forked after all finds its pipe closed, and ends
            if isinstance(error, TimeoutError) and not self._live:
                log.error("Fork server does not answer; ending it", pid=zygote.pid)
                zygote.kill()
            raise
        run = ForkedRun(zygote, number, pid, RunPipe(ours, receive), on_close=self._closed)
        self._live += 1
        run.pipe.send(order.frames())
        return run

    def _closed(self) -> None:
        self._live -= 1

    async def close(self) -> None:
        """Ends the zygote and every run with it."""
        if self._zygote is not None:
            await self._zygote.close()
            self._zygote = None


class ForkedRun:
    """Implements holdfast.worker.host.executor.RunProcess."""

    def __init__(
        self, zygote: ZygoteClient, number: int, pid: int, pipe: RunPipe, on_close: Callable[[], None]
    ) -> None:
        self.pid = pid
        self.pipe = pipe
        self._zygote = zygote
        self._number = number
        self._on_close = on_close
        self._closed = False
        self._dead = asyncio.Event()
        self._pidfd = -1
        try:
            self._pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._dead.set()  # reaped already; the zygote's report is on its way
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
        """Sends a signal to the run itself; the zygote takes the rest of its group when it reaps."""
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
        """Returns when the process is gone, with the zygote's word on how."""
        await self._dead.wait()
        try:
            return await asyncio.wait_for(self._zygote.exit_of(self._number), _REPORT_SECONDS)
        except TimeoutError:
            return Exit(unseen="the fork server does not answer")
        except ZygoteGone:
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

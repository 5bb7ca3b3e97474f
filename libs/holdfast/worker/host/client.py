"""The worker's side of the fork server's control socket. Owns that process and one socket; knows nothing of runs."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import structlog

from holdfast.worker.host.context import RunContext
from holdfast.worker.host.executor import Exit

__all__ = ["ForkRefused", "ForkServerClient", "ForkServerGone"]

log = structlog.get_logger()

# Libraries that start threads when they are imported (OpenBLAS, the jemalloc of polars and of Arrow) are asked not to:
# a process with threads is a bad one to fork.
_QUIET = {
    "OPENBLAS_NUM_THREADS": "1",
    "_RJEM_MALLOC_CONF": "background_thread:false",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}


class ForkServerGone(Exception):
    """The fork server has ended."""


class ForkRefused(Exception):
    """The fork server could not fork."""


class ForkServerClient:
    """One fork server, from spawn to close."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._failed = "it ended while it loaded its modules"
        self._ready: asyncio.Future[dict[str, str]] = self._loop.create_future()
        self._forks: dict[int, asyncio.Future[int]] = {}
        self._exits: dict[int, asyncio.Future[Exit]] = {}
        self.gone = asyncio.Event()
        control.setblocking(False)
        self._loop.add_reader(control, self._readable)

    @classmethod
    def spawn(cls, context: RunContext) -> ForkServerClient:
        """Starts the process; `ready` waits for it."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "holdfast.worker.host.forkserver", f"--control={theirs.fileno()}"]
        command += [f"--parent={os.getpid()}", f"--execute={context.execute}", f"--store={context.store_url}"]
        command += [f"--market={context.market_dir}", f"--beat={context.beat_seconds}"]
        command += [f"--preload={name}" for name in context.preload]
        environment = {**_QUIET, **os.environ}
        with theirs:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=2,  # its own words are few; they join ours
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env=environment,
            )
        return cls(process, ours)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    async def ready(self) -> dict[str, str]:
        """Waits until the modules are loaded; the fingerprint of what runs there. Raises ForkServerGone."""
        return await asyncio.shield(self._ready)

    async def fork(self, pipe: socket.socket, log_path: Path) -> tuple[int, int]:
        """Hands over `pipe` and asks for a process: (number, pid). Raises ForkServerGone, ForkRefused."""
        number = next(self._numbers)
        answer: asyncio.Future[int] = self._loop.create_future()
        self._forks[number] = answer
        self._exits[number] = self._loop.create_future()
        line = json.dumps({"fork": number, "log": str(log_path)}).encode() + b"\n"
        try:
            while not self.gone.is_set():
                try:
                    socket.send_fds(self._control, [line], [pipe.fileno()])
                    break
                except BlockingIOError:
                    await asyncio.sleep(0.01)  # the fork server is behind; lines are small and whole
                except OSError as error:
                    raise ForkServerGone("its control socket is closed") from error
            if self.gone.is_set():
                raise ForkServerGone("it has ended")
            return number, await answer
        except BaseException:
            self._exits.pop(number, None)
            raise
        finally:
            self._forks.pop(number, None)

    async def exit_of(self, number: int) -> Exit:
        """Waits for the report on a forked process. Raises ForkServerGone when none can come."""
        exit_future = self._exits[number]
        try:
            return await asyncio.shield(exit_future)
        finally:
            self._exits.pop(number, None)

    def kill(self) -> None:
        """Ends it at once; `gone` follows."""
        self._process.kill()

    async def close(self) -> None:
        """Closes the control socket, by which the fork server and its runs end, and waits for that."""
        self._end()
        try:
            await asyncio.to_thread(self._process.wait, 2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)

    def _readable(self) -> None:
        try:
            data = self._control.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _take(self, line: dict[str, Any]) -> None:
        if "ready" in line:
            if line["threads"]:
                # Known and harmless: polars' cleaner, which sleeps. Anything else deserves a look.
                log.info("Libraries started threads in the fork server", threads=line["threads"])
            _resolve(self._ready, line["fingerprint"])
        elif "failed" in line:
            self._failed = line["failed"]
        elif "forked" in line:
            _resolve(self._forks.get(line["forked"]), line["pid"])
        elif "refused" in line:
            _reject(self._forks.get(line["refused"]), ForkRefused(line["error"]))
        elif "exited" in line:
            _resolve(self._exits.get(line["exited"]), Exit(code=line["code"], signal=line["signal"]))

    def _end(self) -> None:
        if self.gone.is_set():
            return
        self.gone.set()
        self._loop.remove_reader(self._control)
        self._control.close()
        _reject(self._ready, ForkServerGone(self._failed))
        for waiting in (self._forks, self._exits):
            for future in waiting.values():
                _reject(future, ForkServerGone("it has ended"))


def _resolve(future: asyncio.Future[Any] | None, value: object) -> None:
    if future is not None and not future.done():
        future.set_result(value)


def _reject(future: asyncio.Future[Any] | None, error: Exception) -> None:
    if future is not None and not future.done():
        future.set_exception(error)
        future.exception()  # seen: nobody may be waiting for this one

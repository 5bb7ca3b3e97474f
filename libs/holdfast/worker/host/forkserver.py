"""The warm fork server: imports the heavy modules once, then forks a process per run. Owns the runs' processes.

It starts no thread and never touches grpc, so a fork copies a quiet process. It ends with its worker (the kernel sees
to it, and the control socket's end besides), and its runs end with it. Not multiprocessing's: that one pickles.

Control lines, JSON, one per line. In: {"fork": n, "log": path} with one descriptor, the run's pipe. Out: {"ready": …},
{"failed": text}, {"forked": n, "pid": p}, {"refused": n, "error": text}, {"exited": n, "code": c, "signal": s}.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections import deque
from pathlib import Path

from holdfast.fingerprint import code_digest, fingerprint
from holdfast.worker.host import child, wire
from holdfast.worker.host.context import RunContext

__all__ = ["ForkServer", "main"]

_MAX_LINE_BYTES = 65_536
_MAX_DESCRIPTORS = 32


class ForkServer:
    """The loop: fork on request, reap, report."""

    def __init__(self, control: socket.socket, context: RunContext) -> None:
        self._control = control
        self._context = context
        self._pid = os.getpid()  # known before a fork: afterwards a parent that has died looks like somebody else
        self._runs: dict[int, int] = {}  # pid -> the worker's number for it
        self._descriptors: deque[int] = deque()
        self._buffer = b""
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    def serve(self) -> None:
        """Returns when the worker has closed the control socket; then nothing it forked is left."""
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        try:
            while True:
                ready = {descriptor for descriptor, _ in poll.poll()}
                if self._wake_read in ready:
                    os.read(self._wake_read, 4096)
                self._reap()
                if self._control.fileno() in ready and not self._receive():
                    return
        finally:
            for pid in self._runs:
                _kill_group(pid)

    def say(self, **line: object) -> None:
        """Writes one control line to the worker."""
        self._control.sendall(json.dumps(line).encode() + b"\n")

    def _receive(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._control, _MAX_LINE_BYTES, _MAX_DESCRIPTORS)
        self._descriptors.extend(descriptors)
        if not data:
            return False
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            self._fork(int(request["fork"]), Path(request["log"]), self._descriptors.popleft())
        return True

    def _fork(self, number: int, log_path: Path, descriptor: int) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            os.close(descriptor)
            self.say(refused=number, error=str(error))
            return
        if pid == 0:
            self._become_run(log_path, descriptor)
        os.close(descriptor)
        self._runs[pid] = number
        self.say(forked=number, pid=pid)

    def _become_run(self, log_path: Path, descriptor: int) -> None:
        signal.set_wakeup_fd(-1)
        for inherited in (self._wake_read, self._wake_write, *self._descriptors):
            os.close(inherited)
        self._control.close()
        child.run_child(socket.socket(fileno=descriptor), self._context, log_path, self._pid)

    def _reap(self) -> None:
        while self._runs:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return
            # While the leader is a zombie its number cannot be given to anybody else: the moment to take the rest.
            _kill_group(ended.si_pid)
            _, status = os.waitpid(ended.si_pid, 0)
            number = self._runs.pop(ended.si_pid, None)
            if number is None:
                continue
            code = os.waitstatus_to_exitcode(status)
            self.say(exited=number, code=max(code, 0), signal=max(-code, 0))


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # it died before it had a group of its own, or nobody is left in it


def _foreign_threads() -> list[str]:
    """Names of threads that libraries started on import. A fork copies none of them, nor a lock that one may hold."""
    tasks = Path("/proc/self/task")
    return sorted((task / "comm").read_text().strip() for task in tasks.iterdir() if int(task.name) != os.getpid())


def _fingerprint() -> dict[str, str]:
    """The fingerprint of what is loaded here, asked for in a fork: naming a GPU starts CUDA, which no fork survives."""
    code_digest()  # here, so that every run inherits it
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, json.dumps(fingerprint()).encode())
            os._exit(0)
        except BaseException:  # noqa: BLE001 - printed, and shown by the exit code
            traceback.print_exc()
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        content = answer.read()
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise RuntimeError("the fingerprint could not be taken")
    known: dict[str, str] = json.loads(content)
    return known


def main(arguments: list[str]) -> int:
    """Entry point of `python -m holdfast.worker.host.forkserver`, started by the worker only."""
    parser = argparse.ArgumentParser(prog="holdfast.worker.host.forkserver")
    parser.add_argument("--control", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--execute", required=True)
    parser.add_argument("--store", required=True)
    parser.add_argument("--market", type=Path, required=True)
    parser.add_argument("--beat", type=float, required=True)
    parser.add_argument("--preload", action="append", default=[])
    options = parser.parse_args(arguments)
    child.die_with_parent(options.parent)
    # Whoever signals the whole group means the worker; the worker then ends this process by closing the socket.
    # And a run that is asked for its stacks before it can give them must not die of that.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, wire.STACKS_SIGNAL):
        signal.signal(number, signal.SIG_IGN)
    control = socket.socket(fileno=options.control)
    control.set_inheritable(False)
    context = RunContext(options.execute, options.store, options.market, options.beat, options.preload)
    fork_server = ForkServer(control, context)
    try:
        for name in (*context.preload, context.execute.partition(":")[0]):
            importlib.import_module(name)
        known = _fingerprint()
    except Exception as error:  # noqa: BLE001 - reported to the worker, which stops with it
        traceback.print_exc()
        fork_server.say(failed=f"{type(error).__name__}: {error}")
        return 1
    gc.collect()
    gc.freeze()  # what is loaded now is never freed: the collector must not touch (and so copy) its pages in every run
    fork_server.say(ready=True, threads=_foreign_threads(), fingerprint=known)
    fork_server.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

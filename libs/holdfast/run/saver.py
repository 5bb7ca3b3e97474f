"""Writes a run's checkpoints in a process of its own: its Python never takes the run's interpreter lock.

Owns that process and what is said to it; imports neither torch nor numpy nor protobuf, so that it starts at once.

Request: one line of exact JSON, {"prefix", "manifest", "files": [[name, bytes], …]}, then the contents in that order.
Answer: one line, {"written": {…}} or {"error": {…}} with the error's kind (_fields). One request at a time. When the
run closes its end, or dies, the saver finishes a save that it holds whole, drops half of one, and ends.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from holdfast.artifacts import exact
from holdfast.artifacts.manifest import Written, write_artifacts
from holdfast.artifacts.store import Buffer, Parts, Store, open_store
from holdfast.errors import StoreFull

__all__ = ["Saver", "main", "serve", "start_saver"]

_MAX_PARTS = 512  # per system call; Linux takes 1024
# What else a caller may want to tell apart. All of them are OSErrors, as the store's failures are.
_KINDS: dict[str, type[OSError]] = {
    kind.__name__: kind
    for kind in (FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError, TimeoutError)
}


class Saver:
    """The run's end of the socket. Blocking, one caller at a time; waits outside the interpreter lock."""

    def __init__(self, connection: socket.socket, pid: int, reap: Callable[[], object]) -> None:
        self._connection, self._reap = connection, reap
        self._answers = connection.makefile("rb")
        self.pid = pid

    def write(self, prefix: str, files: Mapping[str, Parts], manifest: Mapping[str, Any]) -> Written:
        """Durable when it returns.

        Raises what the store raised, StoreFull or an OSError, and ConnectionError when the saver is gone.
        """
        views = {name: [memoryview(part).cast("B") for part in parts] for name, parts in files.items()}
        sizes = [[name, sum(len(view) for view in parts)] for name, parts in views.items()]
        request = exact.dumps({"prefix": prefix, "manifest": dict(manifest), "files": sizes}) + b"\n"
        try:
            _send(self._connection, [memoryview(request), *(view for parts in views.values() for view in parts)])
            line = self._answers.readline()
        except ConnectionError:
            line = b""
        if not line.endswith(b"\n"):
            raise ConnectionError(f"the process that writes checkpoints ({self.pid}) ended before it answered")
        answer = exact.loads(line)
        if "error" in answer:
            raise _raised(answer["error"])
        return Written(**answer["written"])

    def close(self) -> None:
        """Ends the process and takes its exit status."""
        self._answers.close()
        self._connection.close()
        self._reap()


def start_saver(store_url: str) -> Saver:
    """Starts the process; returns before it is ready. Raises OSError when it cannot be started."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "holdfast.run.saver", store_url, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        except OSError:
            ours.close()
            raise
    return Saver(ours, process.pid, process.wait)


def serve(store: Store, connection: socket.socket) -> None:
    """The saver's end: answers requests until the run's end is closed."""
    with connection.makefile("rb") as requests:
        while (line := requests.readline()).endswith(b"\n"):
            request = exact.loads(line)
            files: dict[str, Buffer] = {}
            for name, size in request["files"]:
                content = bytearray(size)
                if requests.readinto(content) < size:
                    return
                files[name] = content
            answer: dict[str, Any]
            try:
                answer = {"written": asdict(write_artifacts(store, request["prefix"], files, request["manifest"]))}
            except Exception as error:  # noqa: BLE001 - whatever the store raises is reported to the run, which goes on
                answer = {"error": _fields(error)}
            try:
                connection.sendall(exact.dumps(answer) + b"\n")
            except ConnectionError:
                return  # the run is gone; what was saved is found in the store


def _fields(error: Exception) -> dict[str, Any]:
    """An error as the run gets it: its kind, not only its words."""
    if isinstance(error, StoreFull):
        return {"full": [error.path, error.needed, error.free, error.problem]}
    with suppress(OSError):  # the log may lie on a disk that is full: the answer matters more
        traceback.print_exception(error)
    number = error.errno if isinstance(error, OSError) else None
    return {"kind": type(error).__name__, "errno": number, "text": str(error) or type(error).__name__}


def _raised(fields: Mapping[str, Any]) -> Exception:
    if "full" in fields:
        path, needed, free, problem = fields["full"]
        return StoreFull(path, needed, free, problem=problem)
    error = _KINDS.get(fields["kind"], OSError)(fields["text"])
    error.errno = fields["errno"]
    return error


def _send(connection: socket.socket, views: list[memoryview]) -> None:
    """All of it, in one system call as a rule: a blocking stream socket takes everything before it returns."""
    start = 0
    while start < len(views):
        sent = connection.sendmsg(views[start : start + _MAX_PARTS])
        while start < len(views) and sent >= len(views[start]):
            sent -= len(views[start])
            start += 1
        if sent:
            views[start] = views[start][sent:]


def main(arguments: list[str]) -> int:
    """Entry point of `python -m holdfast.run.saver`, started by a run only."""
    store_url, descriptor = arguments
    # Whoever signals the whole group means the run, which then saves once more and closes the socket.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.set_inheritable(int(descriptor), False)
    with socket.socket(fileno=int(descriptor)) as connection:
        serve(open_store(store_url), connection)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

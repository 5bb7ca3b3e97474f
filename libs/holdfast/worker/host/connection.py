"""The worker's end of the pipe to a run. Owns one socket, on the event loop.

Not an asyncio transport: those throw away what they have not yet delivered when a write fails, and the last message
of a run that ends while it is told to stop must not be lost.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import structlog
from google.protobuf.message import DecodeError

from holdfast.v1 import worker_pb2
from holdfast.worker.host import wire
from holdfast.worker.host.executor import Pulse

__all__ = [
    "RunConnection",
]

log = structlog.get_logger()

_RECEIVE_BYTES = 262_144


class RunConnection:
    """Reads a run's messages until its end closes; writes without waiting."""

    def __init__(self, pipe: socket.socket, receive: Callable[[worker_pb2.WorkerMessage], None]) -> None:
        self._pipe = pipe
        self._receive = receive
        self._deframer = wire.Deframer()
        self._out = bytearray()
        self._loop = asyncio.get_running_loop()
        self.pulse = Pulse()
        self.said_everything = asyncio.Event()
        pipe.setblocking(False)
        self._loop.add_reader(pipe, self._readable)

    def send(self, frames: bytes) -> None:
        """Queues frames; what a dead run would not read is dropped."""
        if self._pipe.fileno() < 0:
            return
        self._out += frames
        self._writable()

    def close(self) -> None:
        """Closes the socket; a run that is still there ends by that."""
        if self._pipe.fileno() < 0:
            return
        self._loop.remove_reader(self._pipe)
        self._loop.remove_writer(self._pipe)
        self._pipe.close()
        self.said_everything.set()

    def _writable(self) -> None:
        try:
            del self._out[: self._pipe.send(self._out)]
        except BlockingIOError:
            pass  # the run does not read at the moment; the loop says when it does
        except OSError:
            # The run has closed its end. What it said before is still to be read.
            self._out.clear()
        if self._out:
            self._loop.add_writer(self._pipe, self._writable)
        else:
            self._loop.remove_writer(self._pipe)

    def _readable(self) -> None:
        try:
            data = self._pipe.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # ECONNRESET: it ended without reading our last word; all of its own has been read by now
        if not data:
            self.close()
            return
        try:
            for payload in self._deframer.feed(data):
                signs = wire.read_beat(payload)
                if signs is not None:
                    self.pulse = Pulse(self.pulse.beats + 1, signs)
                    continue
                message = worker_pb2.WorkerMessage.FromString(payload)
                self._receive(message)
                if message.HasField("run_finished"):
                    self.said_everything.set()
        except (wire.WireError, DecodeError) as error:
            # Closing ends the run; without a last word it is reported as dead.
            log.error("Run sent what is no message; closing its pipe", error=repr(error))
            self.close()

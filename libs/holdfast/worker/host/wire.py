"""Frames on the pipe between a run and its worker: four bytes of length, then the payload. Owns no socket.

Run to worker, a payload is a serialised WorkerMessage, or a beat. Worker to run, it is one tag byte and what the tag
says. The order comes to the run itself, so that the fork server sees nothing but small control lines.
"""

from __future__ import annotations

import signal
import struct
from collections.abc import Iterator

from holdfast.run.contract import StopKind
from holdfast.v1 import worker_pb2

__all__ = [
    "BEAT_SECONDS",
    "MAX_FRAME_BYTES",
    "STACKS_SIGNAL",
    "Deframer",
    "WireError",
    "beat_frame",
    "frame",
    "read_beat",
    "stop_frame",
]

MAX_FRAME_BYTES = 64 * 1024 * 1024

_TAG_ORDER = b"A"  # RunAssignment: the run begins
_TAG_STOP = b"S"  # a StopKind's value

# A beat is no message: no protobuf begins with a zero byte, since no field has the number 0.
_TAG_BEAT = b"\0"
BEAT_SECONDS = 1.0  # between two beats; shorter where the worker looks more often

# Makes a run's process write the stacks of its threads to its log, whatever they are doing.
STACKS_SIGNAL = signal.SIGUSR1

_HEADER = struct.Struct("!I")
_COUNT = struct.Struct("!Q")


class WireError(Exception):
    """The other end of the pipe sent something that is no frame of ours."""


def frame(payload: bytes) -> bytes:
    """The payload with its length in front."""
    if len(payload) > MAX_FRAME_BYTES:
        raise WireError(f"a frame of {len(payload)} bytes is over the limit of {MAX_FRAME_BYTES}")
    return _HEADER.pack(len(payload)) + payload


def order_frame(order: worker_pb2.RunAssignment) -> bytes:
    """Makes the run begin."""
    return frame(_TAG_ORDER + order.SerializeToString())


def stop_frame(kind: StopKind) -> bytes:
    """Asks the run to save and stop."""
    return frame(_TAG_STOP + kind.value.encode())


def read_command(payload: bytes) -> worker_pb2.RunAssignment | StopKind:
    """What the worker tells the run: its order, or to stop. Raises WireError for anything else."""
    tag, body = payload[:1], payload[1:]
    if tag == _TAG_ORDER:
        return worker_pb2.RunAssignment.FromString(body)
    if tag == _TAG_STOP:
        return StopKind(body.decode())
    raise WireError(f"no command is tagged {tag!r}")


def beat_frame(signs: int) -> bytes:
    """Says that the run's process lives, and how many signs of life its code has given so far."""
    return frame(_TAG_BEAT + _COUNT.pack(signs))


def read_beat(payload: bytes) -> int | None:
    """The signs of life that a beat tells; None for a payload that is a message. Raises WireError for half a beat."""
    if payload[:1] != _TAG_BEAT:
        return None
    if len(payload) != 1 + _COUNT.size:
        raise WireError(f"a beat has {len(payload)} bytes instead of {1 + _COUNT.size}")
    return int(_COUNT.unpack(payload[1:])[0])


class Deframer:
    """Cuts a byte stream into payloads."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The payloads that `data` completes. Raises WireError for a length over the limit."""
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            (length,) = _HEADER.unpack_from(self._buffer)
            if length > MAX_FRAME_BYTES:
                raise WireError(f"a frame announces {length} bytes; the limit is {MAX_FRAME_BYTES}")
            end = _HEADER.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[_HEADER.size : end])
            del self._buffer[:end]
            yield payload

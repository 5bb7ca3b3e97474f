"""Frames on the pipe between a run and its worker: four bytes of length, then the payload. Owns no socket.

Run to worker, a payload is a serialised WorkerMessage, or a beat. Worker to run, it is one tag byte and what the tag
says. The pipe carries a run's whole order, so that the fork server itself sees nothing but small control lines.
"""

from __future__ import annotations

import json
import signal
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.run.contract import Assignment, StopKind
from holdfast.v1 import checkpoint_pb2, worker_pb2

__all__ = [
    "BEAT_SECONDS",
    "MAX_FRAME_BYTES",
    "STACKS_SIGNAL",
    "TAG_ASSIGNMENT",
    "TAG_CHECKPOINT",
    "TAG_CONTEXT",
    "TAG_STOP",
    "Deframer",
    "Order",
    "OrderReader",
    "WireError",
    "beat_frame",
    "frame",
    "read_beat",
    "stop_frame",
]

MAX_FRAME_BYTES = 64 * 1024 * 1024

TAG_CONTEXT = b"J"  # JSON: execute, store_url, market_dir, extra
TAG_CHECKPOINT = b"C"  # CheckpointRef, only for a resume
TAG_ASSIGNMENT = b"A"  # RunAssignment; the last part: the run begins
TAG_STOP = b"S"  # a StopKind's value

# A beat is no message: no protobuf begins with a zero byte, since no field has the number 0.
_TAG_BEAT = b"\0"
BEAT_SECONDS = 1.0  # between two beats; shorter where the worker looks more often

# Makes a run's process write the stacks of its threads to its log, whatever they are doing.
STACKS_SIGNAL = signal.SIGUSR1

_HEADER = struct.Struct("!I")
_COUNT = struct.Struct("!Q")


class WireError(Exception):
    """The other end of the pipe sent something that is no frame of ours."""


@dataclass(frozen=True, slots=True)
class Order:
    """All that a run's process is told: which function to call, and with what."""

    execute: str
    assignment: worker_pb2.RunAssignment
    store_url: str
    market_dir: Path
    checkpoint: checkpoint_pb2.CheckpointRef | None = None
    extra: dict[str, str] = field(default_factory=dict)
    beat_seconds: float = BEAT_SECONDS

    def frames(self) -> bytes:
        """The order as the run's first frames."""
        context = {
            "execute": self.execute,
            "store_url": self.store_url,
            "market_dir": str(self.market_dir),
            "extra": self.extra,
            "beat_seconds": self.beat_seconds,
        }
        parts = [frame(TAG_CONTEXT + json.dumps(context).encode())]
        if self.checkpoint is not None:
            parts.append(frame(TAG_CHECKPOINT + self.checkpoint.SerializeToString()))
        parts.append(frame(TAG_ASSIGNMENT + self.assignment.SerializeToString()))
        return b"".join(parts)

    def as_assignment(self) -> Assignment:
        """The order as the run's code sees it."""
        kind = self.assignment.WhichOneof("spec")
        return Assignment(
            operation_id=self.assignment.run.operation_id,
            attempt=self.assignment.run.attempt,
            store_url=self.store_url,
            market_dir=self.market_dir,
            training=self.assignment.training if kind == "training" else None,
            backtest=self.assignment.backtest if kind == "backtest" else None,
            checkpoint=self.checkpoint,
            extra=self.extra,
        )


class OrderReader:
    """Puts the parts of an Order together again."""

    def __init__(self) -> None:
        self._context: dict[str, object] = {}
        self._checkpoint: checkpoint_pb2.CheckpointRef | None = None

    def take(self, payload: bytes) -> Order | None:
        """One frame; the order once its last part is here. Raises WireError for a part that is none."""
        tag, body = payload[:1], payload[1:]
        if tag == TAG_CONTEXT:
            self._context = json.loads(body)
        elif tag == TAG_CHECKPOINT:
            self._checkpoint = checkpoint_pb2.CheckpointRef.FromString(body)
        elif tag == TAG_ASSIGNMENT:
            extra = self._context["extra"]
            return Order(
                execute=str(self._context["execute"]),
                assignment=worker_pb2.RunAssignment.FromString(body),
                store_url=str(self._context["store_url"]),
                market_dir=Path(str(self._context["market_dir"])),
                checkpoint=self._checkpoint,
                extra=dict(extra) if isinstance(extra, dict) else {},
                beat_seconds=float(str(self._context["beat_seconds"])),
            )
        else:
            raise WireError(f"an order has no part tagged {tag!r}")
        return None


def frame(payload: bytes) -> bytes:
    """The payload with its length in front."""
    if len(payload) > MAX_FRAME_BYTES:
        raise WireError(f"a frame of {len(payload)} bytes is over the limit of {MAX_FRAME_BYTES}")
    return _HEADER.pack(len(payload)) + payload


def stop_frame(kind: StopKind) -> bytes:
    """Asks the run to save and stop."""
    return frame(TAG_STOP + kind.value.encode())


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

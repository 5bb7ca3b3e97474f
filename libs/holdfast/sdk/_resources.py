"""The words of operations for people: statuses, kinds, and what a watcher is told. Owns no call."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar, cast

from holdfast.errors import InvalidRequest, Violation
from holdfast.kinds import Kind
from holdfast.v1 import operation_pb2

__all__ = ["TERMINAL", "Kind", "Status", "Update", "parse_kind"]

HandleT = TypeVar("HandleT", covariant=True)


class Status(StrEnum):
    """Where an operation stands; see holdfast/v1/operation.proto."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PENDING_RECONCILIATION = "PENDING_RECONCILIATION"
    CANCELLING = "CANCELLING"
    RESUMING = "RESUMING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @classmethod
    def of(cls, number: operation_pb2.OperationStatus) -> Status:
        """The status for a wire number."""
        return cls(operation_pb2.OperationStatus.Name(number).removeprefix("OPERATION_STATUS_"))

    @property
    def wire(self) -> operation_pb2.OperationStatus:
        """The wire number."""
        return cast(
            "operation_pb2.OperationStatus", operation_pb2.OperationStatus.Value(f"OPERATION_STATUS_{self.name}")
        )

    @classmethod
    def parse(cls, text: str) -> Status:
        """The status a person wrote, in any case. Raises InvalidRequest."""
        return _parse(cls, "status", text)


WordT = TypeVar("WordT", Status, Kind)


def parse_kind(text: str) -> Kind:
    """The kind a person wrote, in any case. Raises InvalidRequest."""
    return _parse(Kind, "kind", text)


def _parse(words: type[WordT], what: str, text: str) -> WordT:
    try:
        return words(text.strip().upper().replace("-", "_"))
    except ValueError:
        allowed = "one of " + ", ".join(word.value.lower() for word in words)
        raise InvalidRequest(
            f"Unknown {what} {text!r}; it must be {allowed}.", violations=[Violation(what, repr(text), allowed)]
        ) from None


# A resume may lead out of FAILED and CANCELLED again, but nothing happens by itself any more.
TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})


@dataclass(frozen=True, slots=True)
class Update(Generic[HandleT]):
    """One thing a watcher learns. The handle is up to date when the update arrives.

    `event` is a row of the operation's story, `progress` a live number that is never replayed; both None means that the
    operation itself changed (its status, say).
    """

    operation: HandleT
    event: operation_pb2.OperationEvent | None = None
    progress: operation_pb2.Progress | None = None

"""Rows of PostgreSQL as values, and values as protobuf messages. Owns the enum names' prefixes; reads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.kinds import NEEDS, WORKER_KINDS, Kind, Needs
from holdfast.services.coordinator.operations.lifecycle import RESUMABLE, Status
from holdfast.v1 import checkpoint_pb2, operation_pb2

__all__ = [
    "Event",
    "Operation",
    "checkpoint_from_row",
    "checkpoint_ref",
    "failure",
    "plain",
    "result_path",
    "serialized",
    "timestamp",
]


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of `operations` with the checkpoint it points to."""

    id: str
    kind: Kind
    status: Status
    attempt: int
    max_attempts: int
    automatic_resume_time: datetime | None
    spec: bytes
    strategy_name: str
    model_digest: str
    requirements: tuple[str, ...]
    worker_id: str
    incarnation: str
    checkpoint: checkpoint_pb2.Checkpoint | None
    resume_checkpoint_id: str
    progress: bytes | None
    result: bytes | None
    failure: bytes | None
    failure_reason: str
    resume_time: datetime | None
    last_sequence: int
    requeues: int
    create_time: datetime
    start_time: datetime | None
    end_time: datetime | None
    update_time: datetime

    @classmethod
    def from_row(cls, row: Any) -> Operation:
        """From a query that selects the row and `c AS checkpoint`."""
        return cls(
            id=row["id"],
            kind=Kind(row["kind"]),
            status=Status(row["status"]),
            attempt=row["attempt"],
            max_attempts=row["max_attempts"],
            automatic_resume_time=row["automatic_resume_time"],
            spec=row["spec"],
            strategy_name=row["strategy_name"],
            model_digest=row["model_digest"],
            requirements=tuple(row["requirements"]),
            worker_id=row["worker_id"] or "",
            incarnation=row["incarnation"] or "",
            checkpoint=checkpoint_from_row(row["checkpoint"]) if row["checkpoint"] is not None else None,
            resume_checkpoint_id=row["resume_checkpoint_id"] or "",
            progress=row["progress"],
            result=row["result"],
            failure=row["failure"],
            failure_reason=row["failure_reason"] or "",
            resume_time=row["resume_time"],
            last_sequence=row["last_sequence"],
            requeues=row["requeues"],
            create_time=row["create_time"],
            start_time=row["start_time"],
            end_time=row["end_time"],
            update_time=row["update_time"],
        )

    @property
    def needs(self) -> Needs | None:
        """What its kind needs of a worker; None when no worker runs it."""
        return NEEDS.get(self.kind)

    @property
    def run_spec(self) -> operation_pb2.TrainingSpec | operation_pb2.BacktestSpec:
        """The spec of what a worker runs."""
        spec: operation_pb2.TrainingSpec | operation_pb2.BacktestSpec
        spec = getattr(operation_pb2.Operation(), NEEDS[self.kind].spec)
        spec.MergeFromString(self.spec)
        return spec

    @property
    def resumable(self) -> bool:
        """Whether a resume would find something to continue from."""
        return self.status in RESUMABLE and self.needs is not None and self.checkpoint is not None

    def to_message(self, progress: operation_pb2.Progress | None = None) -> operation_pb2.Operation:
        """The resource. `progress`: newer than the row's, when the board has one."""
        message = operation_pb2.Operation(
            operation_id=self.id,
            kind=f"OPERATION_KIND_{self.kind}",
            status=f"OPERATION_STATUS_{self.status.value}",
            attempt=self.attempt,
            create_time=timestamp(self.create_time),
            start_time=timestamp(self.start_time),
            end_time=timestamp(self.end_time),
            update_time=timestamp(self.update_time),
            worker_id=self.worker_id,
            strategy_name=self.strategy_name,
            checkpoint=self.checkpoint,
            resumable=self.resumable,
            max_attempts=self.max_attempts,
        )
        if progress is not None:
            message.progress.CopyFrom(progress)
        elif self.progress is not None:
            message.progress.MergeFromString(self.progress)
        if self.failure is not None:
            message.failure.MergeFromString(self.failure)
        if self.needs is not None:
            # Set also when they are empty: the field says what it is.
            fields = {self.needs.spec: self.spec} | ({} if self.result is None else {self.needs.result: self.result})
            for name, content in fields.items():
                field_message = getattr(message, name)
                field_message.SetInParent()
                field_message.MergeFromString(content)
        return message


@dataclass(frozen=True, slots=True)
class Event:
    """One row of `operation_events`."""

    operation_id: str
    sequence: int
    time: datetime
    attempt: int
    type: str
    status: Status
    message: str
    details: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_row(cls, row: Any) -> Event:
        """From a query that selects the whole row."""
        return cls(
            operation_id=row["operation_id"],
            sequence=row["sequence"],
            time=row["time"],
            attempt=row["attempt"],
            type=row["type"],
            status=Status(row["status"]),
            message=row["message"],
            details=row["details"],
        )

    @classmethod
    def of(cls, operation: Operation, event_type: str, message: str, details: Mapping[str, str]) -> Event:
        """The event that was written in the statement which returned `operation`."""
        return cls(
            operation_id=operation.id,
            sequence=operation.last_sequence,
            time=operation.update_time,
            attempt=operation.attempt,
            type=event_type,
            status=operation.status,
            message=message,
            details=details,
        )

    def to_message(self) -> operation_pb2.OperationEvent:
        """The message that WatchOperation sends."""
        return operation_pb2.OperationEvent(
            operation_id=self.operation_id,
            sequence=self.sequence,
            time=timestamp(self.time),
            attempt=self.attempt,
            type=self.type,
            status=f"OPERATION_STATUS_{self.status.value}",
            message=self.message,
            details=dict(self.details),
        )


def checkpoint_from_row(row: Any) -> checkpoint_pb2.Checkpoint:
    """A row of `checkpoints`."""
    return checkpoint_pb2.Checkpoint(
        checkpoint_id=row["id"],
        operation_id=row["operation_id"],
        attempt=row["attempt"],
        type=f"CHECKPOINT_TYPE_{row['type']}",
        unit_name=row["unit_name"],
        unit=row["unit"],
        step=row["step"],
        uri=row["id"],
        manifest_digest=row["manifest_digest"],
        size_bytes=row["size_bytes"],
        data_digest=row["data_digest"],
        create_time=timestamp(row["create_time"]),
    )


def checkpoint_ref(checkpoint: checkpoint_pb2.Checkpoint) -> checkpoint_pb2.CheckpointRef:
    """The whole reference, as a worker gets it."""
    return checkpoint_pb2.CheckpointRef(
        checkpoint_id=checkpoint.checkpoint_id, uri=checkpoint.checkpoint_id, manifest_digest=checkpoint.manifest_digest
    )


def result_path(kind: str | None, result: bytes | None) -> str:
    """Where an operation's model or result lies in the artifact store; empty without one."""
    if not result or kind not in WORKER_KINDS:
        return ""
    needs = NEEDS[Kind(kind)]
    message = getattr(operation_pb2.Operation(), needs.result)
    message.MergeFromString(result)
    return str(getattr(message, needs.uri))


def timestamp(time: datetime | None) -> Timestamp | None:
    """PostgreSQL's time as protobuf's."""
    if time is None:
        return None
    message = Timestamp()
    message.FromDatetime(time)
    return message


def plain(text: str) -> str:
    """`text` as PostgreSQL can store it: it has no NUL."""
    return text.replace("\x00", "�")


def failure(reason: str, message: str) -> operation_pb2.Failure:
    """A failure that the coordinator itself states."""
    return operation_pb2.Failure(reason=reason, message=message)


def serialized(message: Message | None) -> bytes | None:
    """The bytes of a message; equal messages give equal bytes."""
    return None if message is None else message.SerializeToString(deterministic=True)

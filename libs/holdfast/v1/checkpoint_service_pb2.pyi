import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from holdfast.v1 import checkpoint_pb2 as _checkpoint_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetCheckpointRequest(_message.Message):
    __slots__ = ("checkpoint_id", "operation_id")
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    checkpoint_id: str
    operation_id: str
    def __init__(self, checkpoint_id: _Optional[str] = ..., operation_id: _Optional[str] = ...) -> None: ...

class GetCheckpointResponse(_message.Message):
    __slots__ = ("checkpoint",)
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    checkpoint: _checkpoint_pb2.Checkpoint
    def __init__(self, checkpoint: _Optional[_Union[_checkpoint_pb2.Checkpoint, _Mapping]] = ...) -> None: ...

class ListCheckpointsRequest(_message.Message):
    __slots__ = ("operation_id", "page_size", "page_token")
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    operation_id: str
    page_size: int
    page_token: str
    def __init__(self, operation_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListCheckpointsResponse(_message.Message):
    __slots__ = ("checkpoints", "next_page_token")
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    checkpoints: _containers.RepeatedCompositeFieldContainer[_checkpoint_pb2.Checkpoint]
    next_page_token: str
    def __init__(self, checkpoints: _Optional[_Iterable[_Union[_checkpoint_pb2.Checkpoint, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class VerifyCheckpointRequest(_message.Message):
    __slots__ = ("checkpoint_id",)
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    checkpoint_id: str
    def __init__(self, checkpoint_id: _Optional[str] = ...) -> None: ...

class VerifyCheckpointResponse(_message.Message):
    __slots__ = ("valid", "problems", "bytes_read")
    VALID_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    BYTES_READ_FIELD_NUMBER: _ClassVar[int]
    valid: bool
    problems: _containers.RepeatedScalarFieldContainer[str]
    bytes_read: int
    def __init__(self, valid: _Optional[bool] = ..., problems: _Optional[_Iterable[str]] = ..., bytes_read: _Optional[int] = ...) -> None: ...

class DeleteCheckpointRequest(_message.Message):
    __slots__ = ("checkpoint_id",)
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    checkpoint_id: str
    def __init__(self, checkpoint_id: _Optional[str] = ...) -> None: ...

class DeleteCheckpointResponse(_message.Message):
    __slots__ = ("bytes_freed",)
    BYTES_FREED_FIELD_NUMBER: _ClassVar[int]
    bytes_freed: int
    def __init__(self, bytes_freed: _Optional[int] = ...) -> None: ...

class CleanUpCheckpointsRequest(_message.Message):
    __slots__ = ("max_age_days", "dry_run")
    MAX_AGE_DAYS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    max_age_days: int
    dry_run: bool
    def __init__(self, max_age_days: _Optional[int] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class CleanUpCheckpointsResponse(_message.Message):
    __slots__ = ("deleted_checkpoint_ids", "deleted_uris", "bytes_freed", "failures", "quarantined_uris", "bytes_quarantined", "note")
    DELETED_CHECKPOINT_IDS_FIELD_NUMBER: _ClassVar[int]
    DELETED_URIS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FREED_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_URIS_FIELD_NUMBER: _ClassVar[int]
    BYTES_QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    deleted_checkpoint_ids: _containers.RepeatedScalarFieldContainer[str]
    deleted_uris: _containers.RepeatedScalarFieldContainer[str]
    bytes_freed: int
    failures: _containers.RepeatedScalarFieldContainer[str]
    quarantined_uris: _containers.RepeatedScalarFieldContainer[str]
    bytes_quarantined: int
    note: str
    def __init__(self, deleted_checkpoint_ids: _Optional[_Iterable[str]] = ..., deleted_uris: _Optional[_Iterable[str]] = ..., bytes_freed: _Optional[int] = ..., failures: _Optional[_Iterable[str]] = ..., quarantined_uris: _Optional[_Iterable[str]] = ..., bytes_quarantined: _Optional[int] = ..., note: _Optional[str] = ...) -> None: ...

class GetCheckpointStatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCheckpointStatsResponse(_message.Message):
    __slots__ = ("checkpoints", "operations", "bytes", "checkpoints_by_type", "oldest_age_seconds", "quarantined", "quarantined_bytes", "last_sweep_time")
    class CheckpointsByTypeEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINTS_BY_TYPE_FIELD_NUMBER: _ClassVar[int]
    OLDEST_AGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_BYTES_FIELD_NUMBER: _ClassVar[int]
    LAST_SWEEP_TIME_FIELD_NUMBER: _ClassVar[int]
    checkpoints: int
    operations: int
    bytes: int
    checkpoints_by_type: _containers.ScalarMap[str, int]
    oldest_age_seconds: float
    quarantined: int
    quarantined_bytes: int
    last_sweep_time: _timestamp_pb2.Timestamp
    def __init__(self, checkpoints: _Optional[int] = ..., operations: _Optional[int] = ..., bytes: _Optional[int] = ..., checkpoints_by_type: _Optional[_Mapping[str, int]] = ..., oldest_age_seconds: _Optional[float] = ..., quarantined: _Optional[int] = ..., quarantined_bytes: _Optional[int] = ..., last_sweep_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

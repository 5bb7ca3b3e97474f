import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CheckpointType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHECKPOINT_TYPE_UNSPECIFIED: _ClassVar[CheckpointType]
    CHECKPOINT_TYPE_PERIODIC: _ClassVar[CheckpointType]
    CHECKPOINT_TYPE_CANCELLATION: _ClassVar[CheckpointType]
    CHECKPOINT_TYPE_FAILURE: _ClassVar[CheckpointType]
    CHECKPOINT_TYPE_SHUTDOWN: _ClassVar[CheckpointType]
CHECKPOINT_TYPE_UNSPECIFIED: CheckpointType
CHECKPOINT_TYPE_PERIODIC: CheckpointType
CHECKPOINT_TYPE_CANCELLATION: CheckpointType
CHECKPOINT_TYPE_FAILURE: CheckpointType
CHECKPOINT_TYPE_SHUTDOWN: CheckpointType

class CheckpointRef(_message.Message):
    __slots__ = ("checkpoint_id", "uri", "manifest_digest")
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_DIGEST_FIELD_NUMBER: _ClassVar[int]
    checkpoint_id: str
    uri: str
    manifest_digest: str
    def __init__(self, checkpoint_id: _Optional[str] = ..., uri: _Optional[str] = ..., manifest_digest: _Optional[str] = ...) -> None: ...

class Checkpoint(_message.Message):
    __slots__ = ("checkpoint_id", "operation_id", "attempt", "type", "unit_name", "unit", "step", "uri", "manifest_digest", "size_bytes", "data_digest", "create_time")
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    UNIT_NAME_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DATA_DIGEST_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    checkpoint_id: str
    operation_id: str
    attempt: int
    type: CheckpointType
    unit_name: str
    unit: int
    step: int
    uri: str
    manifest_digest: str
    size_bytes: int
    data_digest: str
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, checkpoint_id: _Optional[str] = ..., operation_id: _Optional[str] = ..., attempt: _Optional[int] = ..., type: _Optional[_Union[CheckpointType, str]] = ..., unit_name: _Optional[str] = ..., unit: _Optional[int] = ..., step: _Optional[int] = ..., uri: _Optional[str] = ..., manifest_digest: _Optional[str] = ..., size_bytes: _Optional[int] = ..., data_digest: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

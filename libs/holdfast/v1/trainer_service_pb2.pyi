from holdfast.v1 import checkpoint_pb2 as _checkpoint_pb2
from holdfast.v1 import worker_pb2 as _worker_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TrainerServiceStartTrainingRequest(_message.Message):
    __slots__ = ("assignment",)
    ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    assignment: _worker_pb2.RunAssignment
    def __init__(self, assignment: _Optional[_Union[_worker_pb2.RunAssignment, _Mapping]] = ...) -> None: ...

class TrainerServiceStartTrainingResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TrainerServiceResumeTrainingRequest(_message.Message):
    __slots__ = ("assignment", "checkpoint")
    ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    assignment: _worker_pb2.RunAssignment
    checkpoint: _checkpoint_pb2.CheckpointRef
    def __init__(self, assignment: _Optional[_Union[_worker_pb2.RunAssignment, _Mapping]] = ..., checkpoint: _Optional[_Union[_checkpoint_pb2.CheckpointRef, _Mapping]] = ...) -> None: ...

class TrainerServiceResumeTrainingResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TrainerServiceCancelTrainingRequest(_message.Message):
    __slots__ = ("run", "coordinator_term", "reason")
    RUN_FIELD_NUMBER: _ClassVar[int]
    COORDINATOR_TERM_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    run: _worker_pb2.RunRef
    coordinator_term: int
    reason: str
    def __init__(self, run: _Optional[_Union[_worker_pb2.RunRef, _Mapping]] = ..., coordinator_term: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class TrainerServiceCancelTrainingResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TrainerServiceSuperviseRequest(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: _worker_pb2.CoordinatorMessage
    def __init__(self, message: _Optional[_Union[_worker_pb2.CoordinatorMessage, _Mapping]] = ...) -> None: ...

class TrainerServiceSuperviseResponse(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: _worker_pb2.WorkerMessage
    def __init__(self, message: _Optional[_Union[_worker_pb2.WorkerMessage, _Mapping]] = ...) -> None: ...

class TrainerServiceGetWorkerStateRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TrainerServiceGetWorkerStateResponse(_message.Message):
    __slots__ = ("state",)
    STATE_FIELD_NUMBER: _ClassVar[int]
    state: _worker_pb2.WorkerState
    def __init__(self, state: _Optional[_Union[_worker_pb2.WorkerState, _Mapping]] = ...) -> None: ...

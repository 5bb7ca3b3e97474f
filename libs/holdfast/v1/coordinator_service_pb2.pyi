import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from holdfast.v1 import checkpoint_pb2 as _checkpoint_pb2
from holdfast.v1 import operation_pb2 as _operation_pb2
from holdfast.v1 import worker_pb2 as _worker_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StartTrainingRequest(_message.Message):
    __slots__ = ("request_id", "spec", "max_attempts")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    spec: _operation_pb2.TrainingSpec
    max_attempts: int
    def __init__(self, request_id: _Optional[str] = ..., spec: _Optional[_Union[_operation_pb2.TrainingSpec, _Mapping]] = ..., max_attempts: _Optional[int] = ...) -> None: ...

class StartTrainingResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: _operation_pb2.Operation
    def __init__(self, operation: _Optional[_Union[_operation_pb2.Operation, _Mapping]] = ...) -> None: ...

class StartBacktestRequest(_message.Message):
    __slots__ = ("request_id", "spec", "max_attempts")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    spec: _operation_pb2.BacktestSpec
    max_attempts: int
    def __init__(self, request_id: _Optional[str] = ..., spec: _Optional[_Union[_operation_pb2.BacktestSpec, _Mapping]] = ..., max_attempts: _Optional[int] = ...) -> None: ...

class StartBacktestResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: _operation_pb2.Operation
    def __init__(self, operation: _Optional[_Union[_operation_pb2.Operation, _Mapping]] = ...) -> None: ...

class GetOperationRequest(_message.Message):
    __slots__ = ("operation_id",)
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    operation_id: str
    def __init__(self, operation_id: _Optional[str] = ...) -> None: ...

class GetOperationResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: _operation_pb2.Operation
    def __init__(self, operation: _Optional[_Union[_operation_pb2.Operation, _Mapping]] = ...) -> None: ...

class ListOperationsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "statuses", "kinds", "resumable_only")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    RESUMABLE_ONLY_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    statuses: _containers.RepeatedScalarFieldContainer[_operation_pb2.OperationStatus]
    kinds: _containers.RepeatedScalarFieldContainer[_operation_pb2.OperationKind]
    resumable_only: bool
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., statuses: _Optional[_Iterable[_Union[_operation_pb2.OperationStatus, str]]] = ..., kinds: _Optional[_Iterable[_Union[_operation_pb2.OperationKind, str]]] = ..., resumable_only: _Optional[bool] = ...) -> None: ...

class ListOperationsResponse(_message.Message):
    __slots__ = ("operations", "next_page_token", "total_size")
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SIZE_FIELD_NUMBER: _ClassVar[int]
    operations: _containers.RepeatedCompositeFieldContainer[_operation_pb2.Operation]
    next_page_token: str
    total_size: int
    def __init__(self, operations: _Optional[_Iterable[_Union[_operation_pb2.Operation, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_size: _Optional[int] = ...) -> None: ...

class WatchOperationRequest(_message.Message):
    __slots__ = ("operation_id", "after_sequence", "replay_only")
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REPLAY_ONLY_FIELD_NUMBER: _ClassVar[int]
    operation_id: str
    after_sequence: int
    replay_only: bool
    def __init__(self, operation_id: _Optional[str] = ..., after_sequence: _Optional[int] = ..., replay_only: _Optional[bool] = ...) -> None: ...

class WatchOperationResponse(_message.Message):
    __slots__ = ("operation", "event", "progress")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    operation: _operation_pb2.Operation
    event: _operation_pb2.OperationEvent
    progress: _operation_pb2.Progress
    def __init__(self, operation: _Optional[_Union[_operation_pb2.Operation, _Mapping]] = ..., event: _Optional[_Union[_operation_pb2.OperationEvent, _Mapping]] = ..., progress: _Optional[_Union[_operation_pb2.Progress, _Mapping]] = ...) -> None: ...

class CancelOperationRequest(_message.Message):
    __slots__ = ("operation_id", "reason")
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    operation_id: str
    reason: str
    def __init__(self, operation_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class CancelOperationResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: _operation_pb2.Operation
    def __init__(self, operation: _Optional[_Union[_operation_pb2.Operation, _Mapping]] = ...) -> None: ...

class ResumeOperationRequest(_message.Message):
    __slots__ = ("operation_id", "checkpoint", "request_id", "allow_data_change")
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ALLOW_DATA_CHANGE_FIELD_NUMBER: _ClassVar[int]
    operation_id: str
    checkpoint: _checkpoint_pb2.CheckpointRef
    request_id: str
    allow_data_change: bool
    def __init__(self, operation_id: _Optional[str] = ..., checkpoint: _Optional[_Union[_checkpoint_pb2.CheckpointRef, _Mapping]] = ..., request_id: _Optional[str] = ..., allow_data_change: _Optional[bool] = ...) -> None: ...

class ResumeOperationResponse(_message.Message):
    __slots__ = ("operation", "checkpoint")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    operation: _operation_pb2.Operation
    checkpoint: _checkpoint_pb2.Checkpoint
    def __init__(self, operation: _Optional[_Union[_operation_pb2.Operation, _Mapping]] = ..., checkpoint: _Optional[_Union[_checkpoint_pb2.Checkpoint, _Mapping]] = ...) -> None: ...

class RegisterWorkerRequest(_message.Message):
    __slots__ = ("worker_id", "incarnation", "kind", "address", "slots", "capabilities", "current_runs", "finished_runs", "fingerprint", "version", "draining", "nonce")
    class FingerprintEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    CURRENT_RUNS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_RUNS_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    incarnation: str
    kind: _worker_pb2.WorkerKind
    address: str
    slots: int
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    current_runs: _containers.RepeatedCompositeFieldContainer[_worker_pb2.RunState]
    finished_runs: _containers.RepeatedCompositeFieldContainer[_worker_pb2.RunFinished]
    fingerprint: _containers.ScalarMap[str, str]
    version: str
    draining: bool
    nonce: str
    def __init__(self, worker_id: _Optional[str] = ..., incarnation: _Optional[str] = ..., kind: _Optional[_Union[_worker_pb2.WorkerKind, str]] = ..., address: _Optional[str] = ..., slots: _Optional[int] = ..., capabilities: _Optional[_Iterable[str]] = ..., current_runs: _Optional[_Iterable[_Union[_worker_pb2.RunState, _Mapping]]] = ..., finished_runs: _Optional[_Iterable[_Union[_worker_pb2.RunFinished, _Mapping]]] = ..., fingerprint: _Optional[_Mapping[str, str]] = ..., version: _Optional[str] = ..., draining: _Optional[bool] = ..., nonce: _Optional[str] = ...) -> None: ...

class RegisterWorkerResponse(_message.Message):
    __slots__ = ("coordinator_term", "stop_runs", "acknowledged_runs")
    COORDINATOR_TERM_FIELD_NUMBER: _ClassVar[int]
    STOP_RUNS_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_RUNS_FIELD_NUMBER: _ClassVar[int]
    coordinator_term: int
    stop_runs: _containers.RepeatedCompositeFieldContainer[_worker_pb2.RunRef]
    acknowledged_runs: _containers.RepeatedCompositeFieldContainer[_worker_pb2.RunRef]
    def __init__(self, coordinator_term: _Optional[int] = ..., stop_runs: _Optional[_Iterable[_Union[_worker_pb2.RunRef, _Mapping]]] = ..., acknowledged_runs: _Optional[_Iterable[_Union[_worker_pb2.RunRef, _Mapping]]] = ...) -> None: ...

class ListWorkersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListWorkersResponse(_message.Message):
    __slots__ = ("workers",)
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    workers: _containers.RepeatedCompositeFieldContainer[_worker_pb2.Worker]
    def __init__(self, workers: _Optional[_Iterable[_Union[_worker_pb2.Worker, _Mapping]]] = ...) -> None: ...

class DrainWorkerRequest(_message.Message):
    __slots__ = ("worker_id", "stop_runs")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    STOP_RUNS_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    stop_runs: bool
    def __init__(self, worker_id: _Optional[str] = ..., stop_runs: _Optional[bool] = ...) -> None: ...

class DrainWorkerResponse(_message.Message):
    __slots__ = ("worker",)
    WORKER_FIELD_NUMBER: _ClassVar[int]
    worker: _worker_pb2.Worker
    def __init__(self, worker: _Optional[_Union[_worker_pb2.Worker, _Mapping]] = ...) -> None: ...

class GetSystemStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetSystemStatusResponse(_message.Message):
    __slots__ = ("version", "start_time", "coordinator_term", "database_connected", "draining", "workers", "operations_by_status", "orphan_detector", "stale_messages_refused", "store_url", "database_lost_time", "database_error", "refused_messages")
    class OperationsByStatusEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class RefusedMessagesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    COORDINATOR_TERM_FIELD_NUMBER: _ClassVar[int]
    DATABASE_CONNECTED_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_BY_STATUS_FIELD_NUMBER: _ClassVar[int]
    ORPHAN_DETECTOR_FIELD_NUMBER: _ClassVar[int]
    STALE_MESSAGES_REFUSED_FIELD_NUMBER: _ClassVar[int]
    STORE_URL_FIELD_NUMBER: _ClassVar[int]
    DATABASE_LOST_TIME_FIELD_NUMBER: _ClassVar[int]
    DATABASE_ERROR_FIELD_NUMBER: _ClassVar[int]
    REFUSED_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    version: str
    start_time: _timestamp_pb2.Timestamp
    coordinator_term: int
    database_connected: bool
    draining: bool
    workers: _containers.RepeatedCompositeFieldContainer[_worker_pb2.Worker]
    operations_by_status: _containers.ScalarMap[str, int]
    orphan_detector: OrphanDetectorStatus
    stale_messages_refused: int
    store_url: str
    database_lost_time: _timestamp_pb2.Timestamp
    database_error: str
    refused_messages: _containers.ScalarMap[str, int]
    def __init__(self, version: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., coordinator_term: _Optional[int] = ..., database_connected: _Optional[bool] = ..., draining: _Optional[bool] = ..., workers: _Optional[_Iterable[_Union[_worker_pb2.Worker, _Mapping]]] = ..., operations_by_status: _Optional[_Mapping[str, int]] = ..., orphan_detector: _Optional[_Union[OrphanDetectorStatus, _Mapping]] = ..., stale_messages_refused: _Optional[int] = ..., store_url: _Optional[str] = ..., database_lost_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., database_error: _Optional[str] = ..., refused_messages: _Optional[_Mapping[str, int]] = ...) -> None: ...

class OrphanDetectorStatus(_message.Message):
    __slots__ = ("running", "last_check_time", "suspects", "orphans_found", "timeout_seconds", "check_interval_seconds")
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    LAST_CHECK_TIME_FIELD_NUMBER: _ClassVar[int]
    SUSPECTS_FIELD_NUMBER: _ClassVar[int]
    ORPHANS_FOUND_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CHECK_INTERVAL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    running: bool
    last_check_time: _timestamp_pb2.Timestamp
    suspects: int
    orphans_found: int
    timeout_seconds: float
    check_interval_seconds: float
    def __init__(self, running: _Optional[bool] = ..., last_check_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., suspects: _Optional[int] = ..., orphans_found: _Optional[int] = ..., timeout_seconds: _Optional[float] = ..., check_interval_seconds: _Optional[float] = ...) -> None: ...

import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from holdfast.v1 import checkpoint_pb2 as _checkpoint_pb2
from holdfast.v1 import operation_pb2 as _operation_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WorkerKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WORKER_KIND_UNSPECIFIED: _ClassVar[WorkerKind]
    WORKER_KIND_TRAINER: _ClassVar[WorkerKind]
    WORKER_KIND_BACKTESTER: _ClassVar[WorkerKind]

class WorkerStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WORKER_STATUS_UNSPECIFIED: _ClassVar[WorkerStatus]
    WORKER_STATUS_CONNECTED: _ClassVar[WorkerStatus]
    WORKER_STATUS_DISCONNECTED: _ClassVar[WorkerStatus]
    WORKER_STATUS_DRAINING: _ClassVar[WorkerStatus]

class RunOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RUN_OUTCOME_UNSPECIFIED: _ClassVar[RunOutcome]
    RUN_OUTCOME_COMPLETED: _ClassVar[RunOutcome]
    RUN_OUTCOME_FAILED: _ClassVar[RunOutcome]
    RUN_OUTCOME_CANCELLED: _ClassVar[RunOutcome]
WORKER_KIND_UNSPECIFIED: WorkerKind
WORKER_KIND_TRAINER: WorkerKind
WORKER_KIND_BACKTESTER: WorkerKind
WORKER_STATUS_UNSPECIFIED: WorkerStatus
WORKER_STATUS_CONNECTED: WorkerStatus
WORKER_STATUS_DISCONNECTED: WorkerStatus
WORKER_STATUS_DRAINING: WorkerStatus
RUN_OUTCOME_UNSPECIFIED: RunOutcome
RUN_OUTCOME_COMPLETED: RunOutcome
RUN_OUTCOME_FAILED: RunOutcome
RUN_OUTCOME_CANCELLED: RunOutcome

class Worker(_message.Message):
    __slots__ = ("worker_id", "incarnation", "kind", "status", "address", "slots", "runs", "capabilities", "register_time", "last_heartbeat_time", "fingerprint", "version")
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
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    REGISTER_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_HEARTBEAT_TIME_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    incarnation: str
    kind: WorkerKind
    status: WorkerStatus
    address: str
    slots: int
    runs: _containers.RepeatedCompositeFieldContainer[RunRef]
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    register_time: _timestamp_pb2.Timestamp
    last_heartbeat_time: _timestamp_pb2.Timestamp
    fingerprint: _containers.ScalarMap[str, str]
    version: str
    def __init__(self, worker_id: _Optional[str] = ..., incarnation: _Optional[str] = ..., kind: _Optional[_Union[WorkerKind, str]] = ..., status: _Optional[_Union[WorkerStatus, str]] = ..., address: _Optional[str] = ..., slots: _Optional[int] = ..., runs: _Optional[_Iterable[_Union[RunRef, _Mapping]]] = ..., capabilities: _Optional[_Iterable[str]] = ..., register_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_heartbeat_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., fingerprint: _Optional[_Mapping[str, str]] = ..., version: _Optional[str] = ...) -> None: ...

class RunRef(_message.Message):
    __slots__ = ("operation_id", "attempt")
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    operation_id: str
    attempt: int
    def __init__(self, operation_id: _Optional[str] = ..., attempt: _Optional[int] = ...) -> None: ...

class RunState(_message.Message):
    __slots__ = ("run", "progress", "checkpoint")
    RUN_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    run: RunRef
    progress: _operation_pb2.Progress
    checkpoint: _checkpoint_pb2.Checkpoint
    def __init__(self, run: _Optional[_Union[RunRef, _Mapping]] = ..., progress: _Optional[_Union[_operation_pb2.Progress, _Mapping]] = ..., checkpoint: _Optional[_Union[_checkpoint_pb2.Checkpoint, _Mapping]] = ...) -> None: ...

class RunFinished(_message.Message):
    __slots__ = ("run", "outcome", "failure", "training_result", "backtest_result", "checkpoint", "progress", "end_time")
    RUN_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    TRAINING_RESULT_FIELD_NUMBER: _ClassVar[int]
    BACKTEST_RESULT_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    run: RunRef
    outcome: RunOutcome
    failure: _operation_pb2.Failure
    training_result: _operation_pb2.TrainingResult
    backtest_result: _operation_pb2.BacktestResult
    checkpoint: _checkpoint_pb2.Checkpoint
    progress: _operation_pb2.Progress
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, run: _Optional[_Union[RunRef, _Mapping]] = ..., outcome: _Optional[_Union[RunOutcome, str]] = ..., failure: _Optional[_Union[_operation_pb2.Failure, _Mapping]] = ..., training_result: _Optional[_Union[_operation_pb2.TrainingResult, _Mapping]] = ..., backtest_result: _Optional[_Union[_operation_pb2.BacktestResult, _Mapping]] = ..., checkpoint: _Optional[_Union[_checkpoint_pb2.Checkpoint, _Mapping]] = ..., progress: _Optional[_Union[_operation_pb2.Progress, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CheckpointSaved(_message.Message):
    __slots__ = ("run", "checkpoint")
    RUN_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    run: RunRef
    checkpoint: _checkpoint_pb2.Checkpoint
    def __init__(self, run: _Optional[_Union[RunRef, _Mapping]] = ..., checkpoint: _Optional[_Union[_checkpoint_pb2.Checkpoint, _Mapping]] = ...) -> None: ...

class ProgressReport(_message.Message):
    __slots__ = ("run", "progress")
    RUN_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    run: RunRef
    progress: _operation_pb2.Progress
    def __init__(self, run: _Optional[_Union[RunRef, _Mapping]] = ..., progress: _Optional[_Union[_operation_pb2.Progress, _Mapping]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("send_time", "runs", "draining")
    SEND_TIME_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    send_time: _timestamp_pb2.Timestamp
    runs: _containers.RepeatedCompositeFieldContainer[RunRef]
    draining: bool
    def __init__(self, send_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., runs: _Optional[_Iterable[_Union[RunRef, _Mapping]]] = ..., draining: _Optional[bool] = ...) -> None: ...

class RunNotice(_message.Message):
    __slots__ = ("run", "type", "message", "details")
    class DetailsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RUN_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    run: RunRef
    type: str
    message: str
    details: _containers.ScalarMap[str, str]
    def __init__(self, run: _Optional[_Union[RunRef, _Mapping]] = ..., type: _Optional[str] = ..., message: _Optional[str] = ..., details: _Optional[_Mapping[str, str]] = ...) -> None: ...

class WorkerMessage(_message.Message):
    __slots__ = ("sequence", "hello", "heartbeat", "progress", "checkpoint_saved", "run_finished", "notice")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_SAVED_FIELD_NUMBER: _ClassVar[int]
    RUN_FINISHED_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    hello: WorkerHello
    heartbeat: Heartbeat
    progress: ProgressReport
    checkpoint_saved: CheckpointSaved
    run_finished: RunFinished
    notice: RunNotice
    def __init__(self, sequence: _Optional[int] = ..., hello: _Optional[_Union[WorkerHello, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., progress: _Optional[_Union[ProgressReport, _Mapping]] = ..., checkpoint_saved: _Optional[_Union[CheckpointSaved, _Mapping]] = ..., run_finished: _Optional[_Union[RunFinished, _Mapping]] = ..., notice: _Optional[_Union[RunNotice, _Mapping]] = ...) -> None: ...

class WorkerHello(_message.Message):
    __slots__ = ("worker_id", "incarnation", "current_runs")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    CURRENT_RUNS_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    incarnation: str
    current_runs: _containers.RepeatedCompositeFieldContainer[RunState]
    def __init__(self, worker_id: _Optional[str] = ..., incarnation: _Optional[str] = ..., current_runs: _Optional[_Iterable[_Union[RunState, _Mapping]]] = ...) -> None: ...

class CoordinatorMessage(_message.Message):
    __slots__ = ("coordinator_term", "registration_nonce", "acknowledgement", "stop_run", "drain")
    COORDINATOR_TERM_FIELD_NUMBER: _ClassVar[int]
    REGISTRATION_NONCE_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGEMENT_FIELD_NUMBER: _ClassVar[int]
    STOP_RUN_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    coordinator_term: int
    registration_nonce: str
    acknowledgement: Acknowledgement
    stop_run: StopRun
    drain: Drain
    def __init__(self, coordinator_term: _Optional[int] = ..., registration_nonce: _Optional[str] = ..., acknowledgement: _Optional[_Union[Acknowledgement, _Mapping]] = ..., stop_run: _Optional[_Union[StopRun, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ...) -> None: ...

class Acknowledgement(_message.Message):
    __slots__ = ("sequences", "refused")
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    sequences: _containers.RepeatedScalarFieldContainer[int]
    refused: _containers.RepeatedCompositeFieldContainer[RefusedFact]
    def __init__(self, sequences: _Optional[_Iterable[int]] = ..., refused: _Optional[_Iterable[_Union[RefusedFact, _Mapping]]] = ...) -> None: ...

class RefusedFact(_message.Message):
    __slots__ = ("sequence", "reason", "message")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    reason: str
    message: str
    def __init__(self, sequence: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class StopRun(_message.Message):
    __slots__ = ("run", "reason")
    RUN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    run: RunRef
    reason: str
    def __init__(self, run: _Optional[_Union[RunRef, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class Drain(_message.Message):
    __slots__ = ("stop_runs",)
    STOP_RUNS_FIELD_NUMBER: _ClassVar[int]
    stop_runs: bool
    def __init__(self, stop_runs: _Optional[bool] = ...) -> None: ...

class RunAssignment(_message.Message):
    __slots__ = ("run", "coordinator_term", "training", "backtest", "checkpoint")
    RUN_FIELD_NUMBER: _ClassVar[int]
    COORDINATOR_TERM_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    BACKTEST_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    run: RunRef
    coordinator_term: int
    training: _operation_pb2.TrainingSpec
    backtest: _operation_pb2.BacktestSpec
    checkpoint: _checkpoint_pb2.CheckpointRef
    def __init__(self, run: _Optional[_Union[RunRef, _Mapping]] = ..., coordinator_term: _Optional[int] = ..., training: _Optional[_Union[_operation_pb2.TrainingSpec, _Mapping]] = ..., backtest: _Optional[_Union[_operation_pb2.BacktestSpec, _Mapping]] = ..., checkpoint: _Optional[_Union[_checkpoint_pb2.CheckpointRef, _Mapping]] = ...) -> None: ...

class StartRunRequest(_message.Message):
    __slots__ = ("assignment",)
    ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    assignment: RunAssignment
    def __init__(self, assignment: _Optional[_Union[RunAssignment, _Mapping]] = ...) -> None: ...

class StartRunResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ResumeRunRequest(_message.Message):
    __slots__ = ("assignment",)
    ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    assignment: RunAssignment
    def __init__(self, assignment: _Optional[_Union[RunAssignment, _Mapping]] = ...) -> None: ...

class ResumeRunResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CancelRunRequest(_message.Message):
    __slots__ = ("run", "coordinator_term", "reason")
    RUN_FIELD_NUMBER: _ClassVar[int]
    COORDINATOR_TERM_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    run: RunRef
    coordinator_term: int
    reason: str
    def __init__(self, run: _Optional[_Union[RunRef, _Mapping]] = ..., coordinator_term: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class CancelRunResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetWorkerStateRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetWorkerStateResponse(_message.Message):
    __slots__ = ("state",)
    STATE_FIELD_NUMBER: _ClassVar[int]
    state: WorkerState
    def __init__(self, state: _Optional[_Union[WorkerState, _Mapping]] = ...) -> None: ...

class WorkerState(_message.Message):
    __slots__ = ("worker_id", "incarnation", "kind", "slots", "draining", "runs", "unacknowledged_runs", "coordinator_term")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    UNACKNOWLEDGED_RUNS_FIELD_NUMBER: _ClassVar[int]
    COORDINATOR_TERM_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    incarnation: str
    kind: WorkerKind
    slots: int
    draining: bool
    runs: _containers.RepeatedCompositeFieldContainer[RunState]
    unacknowledged_runs: _containers.RepeatedCompositeFieldContainer[RunRef]
    coordinator_term: int
    def __init__(self, worker_id: _Optional[str] = ..., incarnation: _Optional[str] = ..., kind: _Optional[_Union[WorkerKind, str]] = ..., slots: _Optional[int] = ..., draining: _Optional[bool] = ..., runs: _Optional[_Iterable[_Union[RunState, _Mapping]]] = ..., unacknowledged_runs: _Optional[_Iterable[_Union[RunRef, _Mapping]]] = ..., coordinator_term: _Optional[int] = ...) -> None: ...

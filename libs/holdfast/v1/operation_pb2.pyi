import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from holdfast.v1 import checkpoint_pb2 as _checkpoint_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OperationKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OPERATION_KIND_UNSPECIFIED: _ClassVar[OperationKind]
    OPERATION_KIND_TRAINING: _ClassVar[OperationKind]
    OPERATION_KIND_BACKTEST: _ClassVar[OperationKind]
    OPERATION_KIND_RESEARCH: _ClassVar[OperationKind]
    OPERATION_KIND_DESIGN: _ClassVar[OperationKind]
    OPERATION_KIND_ASSESSMENT: _ClassVar[OperationKind]

class OperationStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OPERATION_STATUS_UNSPECIFIED: _ClassVar[OperationStatus]
    OPERATION_STATUS_PENDING: _ClassVar[OperationStatus]
    OPERATION_STATUS_RUNNING: _ClassVar[OperationStatus]
    OPERATION_STATUS_PENDING_RECONCILIATION: _ClassVar[OperationStatus]
    OPERATION_STATUS_CANCELLING: _ClassVar[OperationStatus]
    OPERATION_STATUS_RESUMING: _ClassVar[OperationStatus]
    OPERATION_STATUS_COMPLETED: _ClassVar[OperationStatus]
    OPERATION_STATUS_FAILED: _ClassVar[OperationStatus]
    OPERATION_STATUS_CANCELLED: _ClassVar[OperationStatus]
OPERATION_KIND_UNSPECIFIED: OperationKind
OPERATION_KIND_TRAINING: OperationKind
OPERATION_KIND_BACKTEST: OperationKind
OPERATION_KIND_RESEARCH: OperationKind
OPERATION_KIND_DESIGN: OperationKind
OPERATION_KIND_ASSESSMENT: OperationKind
OPERATION_STATUS_UNSPECIFIED: OperationStatus
OPERATION_STATUS_PENDING: OperationStatus
OPERATION_STATUS_RUNNING: OperationStatus
OPERATION_STATUS_PENDING_RECONCILIATION: OperationStatus
OPERATION_STATUS_CANCELLING: OperationStatus
OPERATION_STATUS_RESUMING: OperationStatus
OPERATION_STATUS_COMPLETED: OperationStatus
OPERATION_STATUS_FAILED: OperationStatus
OPERATION_STATUS_CANCELLED: OperationStatus

class Operation(_message.Message):
    __slots__ = ("operation_id", "kind", "status", "attempt", "create_time", "start_time", "end_time", "update_time", "worker_id", "strategy_name", "progress", "failure", "checkpoint", "resumable", "max_attempts", "training", "backtest", "training_result", "backtest_result")
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_NAME_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    RESUMABLE_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    BACKTEST_FIELD_NUMBER: _ClassVar[int]
    TRAINING_RESULT_FIELD_NUMBER: _ClassVar[int]
    BACKTEST_RESULT_FIELD_NUMBER: _ClassVar[int]
    operation_id: str
    kind: OperationKind
    status: OperationStatus
    attempt: int
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    worker_id: str
    strategy_name: str
    progress: Progress
    failure: Failure
    checkpoint: _checkpoint_pb2.Checkpoint
    resumable: bool
    max_attempts: int
    training: TrainingSpec
    backtest: BacktestSpec
    training_result: TrainingResult
    backtest_result: BacktestResult
    def __init__(self, operation_id: _Optional[str] = ..., kind: _Optional[_Union[OperationKind, str]] = ..., status: _Optional[_Union[OperationStatus, str]] = ..., attempt: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., worker_id: _Optional[str] = ..., strategy_name: _Optional[str] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., checkpoint: _Optional[_Union[_checkpoint_pb2.Checkpoint, _Mapping]] = ..., resumable: _Optional[bool] = ..., max_attempts: _Optional[int] = ..., training: _Optional[_Union[TrainingSpec, _Mapping]] = ..., backtest: _Optional[_Union[BacktestSpec, _Mapping]] = ..., training_result: _Optional[_Union[TrainingResult, _Mapping]] = ..., backtest_result: _Optional[_Union[BacktestResult, _Mapping]] = ...) -> None: ...

class CheckpointPolicy(_message.Message):
    __slots__ = ("every_units", "every_steps")
    EVERY_UNITS_FIELD_NUMBER: _ClassVar[int]
    EVERY_STEPS_FIELD_NUMBER: _ClassVar[int]
    every_units: int
    every_steps: int
    def __init__(self, every_units: _Optional[int] = ..., every_steps: _Optional[int] = ...) -> None: ...

class TrainingSpec(_message.Message):
    __slots__ = ("strategy", "checkpoint_policy", "allow_data_change")
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_POLICY_FIELD_NUMBER: _ClassVar[int]
    ALLOW_DATA_CHANGE_FIELD_NUMBER: _ClassVar[int]
    strategy: str
    checkpoint_policy: CheckpointPolicy
    allow_data_change: bool
    def __init__(self, strategy: _Optional[str] = ..., checkpoint_policy: _Optional[_Union[CheckpointPolicy, _Mapping]] = ..., allow_data_change: _Optional[bool] = ...) -> None: ...

class BacktestSpec(_message.Message):
    __slots__ = ("strategy", "model_operation_id", "model_uri", "start_date", "end_date", "initial_cash", "checkpoint_policy", "allow_data_change")
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    MODEL_OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_URI_FIELD_NUMBER: _ClassVar[int]
    START_DATE_FIELD_NUMBER: _ClassVar[int]
    END_DATE_FIELD_NUMBER: _ClassVar[int]
    INITIAL_CASH_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_POLICY_FIELD_NUMBER: _ClassVar[int]
    ALLOW_DATA_CHANGE_FIELD_NUMBER: _ClassVar[int]
    strategy: str
    model_operation_id: str
    model_uri: str
    start_date: str
    end_date: str
    initial_cash: float
    checkpoint_policy: CheckpointPolicy
    allow_data_change: bool
    def __init__(self, strategy: _Optional[str] = ..., model_operation_id: _Optional[str] = ..., model_uri: _Optional[str] = ..., start_date: _Optional[str] = ..., end_date: _Optional[str] = ..., initial_cash: _Optional[float] = ..., checkpoint_policy: _Optional[_Union[CheckpointPolicy, _Mapping]] = ..., allow_data_change: _Optional[bool] = ...) -> None: ...

class TrainingResult(_message.Message):
    __slots__ = ("model_uri", "model_digest", "metrics", "epochs", "best_epoch", "notes")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    MODEL_URI_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    BEST_EPOCH_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    model_uri: str
    model_digest: str
    metrics: _containers.ScalarMap[str, float]
    epochs: int
    best_epoch: int
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model_uri: _Optional[str] = ..., model_digest: _Optional[str] = ..., metrics: _Optional[_Mapping[str, float]] = ..., epochs: _Optional[int] = ..., best_epoch: _Optional[int] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class BacktestResult(_message.Message):
    __slots__ = ("result_uri", "result_digest", "metrics", "benchmark_metrics", "trades", "notes")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class BenchmarkMetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    RESULT_URI_FIELD_NUMBER: _ClassVar[int]
    RESULT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    BENCHMARK_METRICS_FIELD_NUMBER: _ClassVar[int]
    TRADES_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    result_uri: str
    result_digest: str
    metrics: _containers.ScalarMap[str, float]
    benchmark_metrics: _containers.ScalarMap[str, float]
    trades: int
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, result_uri: _Optional[str] = ..., result_digest: _Optional[str] = ..., metrics: _Optional[_Mapping[str, float]] = ..., benchmark_metrics: _Optional[_Mapping[str, float]] = ..., trades: _Optional[int] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("phase", "unit_name", "unit", "total_units", "step", "total_steps", "units_per_second", "metrics", "update_time")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    PHASE_FIELD_NUMBER: _ClassVar[int]
    UNIT_NAME_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_UNITS_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TOTAL_STEPS_FIELD_NUMBER: _ClassVar[int]
    UNITS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    phase: str
    unit_name: str
    unit: int
    total_units: int
    step: int
    total_steps: int
    units_per_second: float
    metrics: _containers.ScalarMap[str, float]
    update_time: _timestamp_pb2.Timestamp
    def __init__(self, phase: _Optional[str] = ..., unit_name: _Optional[str] = ..., unit: _Optional[int] = ..., total_units: _Optional[int] = ..., step: _Optional[int] = ..., total_steps: _Optional[int] = ..., units_per_second: _Optional[float] = ..., metrics: _Optional[_Mapping[str, float]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("reason", "message", "exit_code", "signal", "log_tail")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    LOG_TAIL_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    exit_code: int
    signal: int
    log_tail: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ..., exit_code: _Optional[int] = ..., signal: _Optional[int] = ..., log_tail: _Optional[_Iterable[str]] = ...) -> None: ...

class OperationEvent(_message.Message):
    __slots__ = ("operation_id", "sequence", "time", "attempt", "type", "status", "message", "details")
    class DetailsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    operation_id: str
    sequence: int
    time: _timestamp_pb2.Timestamp
    attempt: int
    type: str
    status: OperationStatus
    message: str
    details: _containers.ScalarMap[str, str]
    def __init__(self, operation_id: _Optional[str] = ..., sequence: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., attempt: _Optional[int] = ..., type: _Optional[str] = ..., status: _Optional[_Union[OperationStatus, str]] = ..., message: _Optional[str] = ..., details: _Optional[_Mapping[str, str]] = ...) -> None: ...

import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from holdfast.v1 import operation_pb2 as _operation_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ResearchPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESEARCH_PHASE_UNSPECIFIED: _ClassVar[ResearchPhase]
    RESEARCH_PHASE_IDLE: _ClassVar[ResearchPhase]
    RESEARCH_PHASE_DESIGNING: _ClassVar[ResearchPhase]
    RESEARCH_PHASE_TRAINING: _ClassVar[ResearchPhase]
    RESEARCH_PHASE_BACKTESTING: _ClassVar[ResearchPhase]
    RESEARCH_PHASE_ASSESSING: _ClassVar[ResearchPhase]
    RESEARCH_PHASE_COMPLETED: _ClassVar[ResearchPhase]
RESEARCH_PHASE_UNSPECIFIED: ResearchPhase
RESEARCH_PHASE_IDLE: ResearchPhase
RESEARCH_PHASE_DESIGNING: ResearchPhase
RESEARCH_PHASE_TRAINING: ResearchPhase
RESEARCH_PHASE_BACKTESTING: ResearchPhase
RESEARCH_PHASE_ASSESSING: ResearchPhase
RESEARCH_PHASE_COMPLETED: ResearchPhase

class Research(_message.Message):
    __slots__ = ("operation", "phase", "trials_done", "trials_total")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    TRIALS_DONE_FIELD_NUMBER: _ClassVar[int]
    TRIALS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    operation: _operation_pb2.Operation
    phase: ResearchPhase
    trials_done: int
    trials_total: int
    def __init__(self, operation: _Optional[_Union[_operation_pb2.Operation, _Mapping]] = ..., phase: _Optional[_Union[ResearchPhase, str]] = ..., trials_done: _Optional[int] = ..., trials_total: _Optional[int] = ...) -> None: ...

class Trial(_message.Message):
    __slots__ = ("trial_id", "research_id", "strategy", "data_digest", "metrics", "create_time")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    TRIAL_ID_FIELD_NUMBER: _ClassVar[int]
    RESEARCH_ID_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    DATA_DIGEST_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    trial_id: str
    research_id: str
    strategy: str
    data_digest: str
    metrics: _containers.ScalarMap[str, float]
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, trial_id: _Optional[str] = ..., research_id: _Optional[str] = ..., strategy: _Optional[str] = ..., data_digest: _Optional[str] = ..., metrics: _Optional[_Mapping[str, float]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class StartResearchRequest(_message.Message):
    __slots__ = ("request_id", "template", "trials", "force")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    template: str
    trials: int
    force: bool
    def __init__(self, request_id: _Optional[str] = ..., template: _Optional[str] = ..., trials: _Optional[int] = ..., force: _Optional[bool] = ...) -> None: ...

class StartResearchResponse(_message.Message):
    __slots__ = ("research",)
    RESEARCH_FIELD_NUMBER: _ClassVar[int]
    research: Research
    def __init__(self, research: _Optional[_Union[Research, _Mapping]] = ...) -> None: ...

class GetResearchRequest(_message.Message):
    __slots__ = ("operation_id",)
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    operation_id: str
    def __init__(self, operation_id: _Optional[str] = ...) -> None: ...

class GetResearchResponse(_message.Message):
    __slots__ = ("research",)
    RESEARCH_FIELD_NUMBER: _ClassVar[int]
    research: Research
    def __init__(self, research: _Optional[_Union[Research, _Mapping]] = ...) -> None: ...

class ListResearchesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListResearchesResponse(_message.Message):
    __slots__ = ("researches", "next_page_token")
    RESEARCHES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    researches: _containers.RepeatedCompositeFieldContainer[Research]
    next_page_token: str
    def __init__(self, researches: _Optional[_Iterable[_Union[Research, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CancelResearchRequest(_message.Message):
    __slots__ = ("operation_id",)
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    operation_id: str
    def __init__(self, operation_id: _Optional[str] = ...) -> None: ...

class CancelResearchResponse(_message.Message):
    __slots__ = ("research",)
    RESEARCH_FIELD_NUMBER: _ClassVar[int]
    research: Research
    def __init__(self, research: _Optional[_Union[Research, _Mapping]] = ...) -> None: ...

class ListTrialsRequest(_message.Message):
    __slots__ = ("research_id", "data_digest", "page_size", "page_token")
    RESEARCH_ID_FIELD_NUMBER: _ClassVar[int]
    DATA_DIGEST_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    research_id: str
    data_digest: str
    page_size: int
    page_token: str
    def __init__(self, research_id: _Optional[str] = ..., data_digest: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListTrialsResponse(_message.Message):
    __slots__ = ("trials", "next_page_token", "total_size")
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SIZE_FIELD_NUMBER: _ClassVar[int]
    trials: _containers.RepeatedCompositeFieldContainer[Trial]
    next_page_token: str
    total_size: int
    def __init__(self, trials: _Optional[_Iterable[_Union[Trial, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_size: _Optional[int] = ...) -> None: ...

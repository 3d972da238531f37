from agentflow.v1 import workflow_pb2 as _workflow_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TraceRunGroup(_message.Message):
    __slots__ = ("tags", "workflow", "version", "model", "prompt", "status", "start_ms", "end_ms")
    TAGS_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    START_MS_FIELD_NUMBER: _ClassVar[int]
    END_MS_FIELD_NUMBER: _ClassVar[int]
    tags: _containers.RepeatedScalarFieldContainer[str]
    workflow: str
    version: int
    model: str
    prompt: str
    status: _workflow_pb2.RunStatus
    start_ms: int
    end_ms: int
    def __init__(self, tags: _Optional[_Iterable[str]] = ..., workflow: _Optional[str] = ..., version: _Optional[int] = ..., model: _Optional[str] = ..., prompt: _Optional[str] = ..., status: _Optional[_Union[_workflow_pb2.RunStatus, str]] = ..., start_ms: _Optional[int] = ..., end_ms: _Optional[int] = ...) -> None: ...

class DiffTraceGroupsRequest(_message.Message):
    __slots__ = ("a", "b", "runs_min", "runs_max")
    A_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    RUNS_MIN_FIELD_NUMBER: _ClassVar[int]
    RUNS_MAX_FIELD_NUMBER: _ClassVar[int]
    a: TraceRunGroup
    b: TraceRunGroup
    runs_min: int
    runs_max: int
    def __init__(self, a: _Optional[_Union[TraceRunGroup, _Mapping]] = ..., b: _Optional[_Union[TraceRunGroup, _Mapping]] = ..., runs_min: _Optional[int] = ..., runs_max: _Optional[int] = ...) -> None: ...

class TraceGroupSide(_message.Message):
    __slots__ = ("runs", "completed", "failed", "cancelled", "workflow", "version")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    runs: int
    completed: int
    failed: int
    cancelled: int
    workflow: str
    version: int
    def __init__(self, runs: _Optional[int] = ..., completed: _Optional[int] = ..., failed: _Optional[int] = ..., cancelled: _Optional[int] = ..., workflow: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class TraceGroupMeasure(_message.Message):
    __slots__ = ("name", "unit", "a", "b", "change", "low", "high", "p_value", "significant")
    NAME_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    A_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_FIELD_NUMBER: _ClassVar[int]
    SIGNIFICANT_FIELD_NUMBER: _ClassVar[int]
    name: str
    unit: str
    a: int
    b: int
    change: int
    low: int
    high: int
    p_value: float
    significant: bool
    def __init__(self, name: _Optional[str] = ..., unit: _Optional[str] = ..., a: _Optional[int] = ..., b: _Optional[int] = ..., change: _Optional[int] = ..., low: _Optional[int] = ..., high: _Optional[int] = ..., p_value: _Optional[float] = ..., significant: _Optional[bool] = ...) -> None: ...

class TraceGroupStep(_message.Message):
    __slots__ = ("a", "b", "a_runs", "b_runs", "measures")
    A_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    A_RUNS_FIELD_NUMBER: _ClassVar[int]
    B_RUNS_FIELD_NUMBER: _ClassVar[int]
    MEASURES_FIELD_NUMBER: _ClassVar[int]
    a: str
    b: str
    a_runs: int
    b_runs: int
    measures: _containers.RepeatedCompositeFieldContainer[TraceGroupMeasure]
    def __init__(self, a: _Optional[str] = ..., b: _Optional[str] = ..., a_runs: _Optional[int] = ..., b_runs: _Optional[int] = ..., measures: _Optional[_Iterable[_Union[TraceGroupMeasure, _Mapping]]] = ...) -> None: ...

class DiffTraceGroupsResponse(_message.Message):
    __slots__ = ("a", "b", "enough", "summary", "method", "measures", "steps")
    A_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    ENOUGH_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    MEASURES_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    a: TraceGroupSide
    b: TraceGroupSide
    enough: bool
    summary: str
    method: str
    measures: _containers.RepeatedCompositeFieldContainer[TraceGroupMeasure]
    steps: _containers.RepeatedCompositeFieldContainer[TraceGroupStep]
    def __init__(self, a: _Optional[_Union[TraceGroupSide, _Mapping]] = ..., b: _Optional[_Union[TraceGroupSide, _Mapping]] = ..., enough: _Optional[bool] = ..., summary: _Optional[str] = ..., method: _Optional[str] = ..., measures: _Optional[_Iterable[_Union[TraceGroupMeasure, _Mapping]]] = ..., steps: _Optional[_Iterable[_Union[TraceGroupStep, _Mapping]]] = ...) -> None: ...

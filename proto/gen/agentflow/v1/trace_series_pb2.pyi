from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetTraceSeriesRequest(_message.Message):
    __slots__ = ("start_ms", "end_ms", "by", "workflow", "bucket_ms")
    START_MS_FIELD_NUMBER: _ClassVar[int]
    END_MS_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    BUCKET_MS_FIELD_NUMBER: _ClassVar[int]
    start_ms: int
    end_ms: int
    by: str
    workflow: str
    bucket_ms: int
    def __init__(self, start_ms: _Optional[int] = ..., end_ms: _Optional[int] = ..., by: _Optional[str] = ..., workflow: _Optional[str] = ..., bucket_ms: _Optional[int] = ...) -> None: ...

class TraceSeriesPoint(_message.Message):
    __slots__ = ("series", "at", "count", "errors", "cost_nano_usd", "tokens", "latency_p50_ms", "latency_p95_ms")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P50_MS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P95_MS_FIELD_NUMBER: _ClassVar[int]
    series: str
    at: int
    count: int
    errors: int
    cost_nano_usd: int
    tokens: int
    latency_p50_ms: float
    latency_p95_ms: float
    def __init__(self, series: _Optional[str] = ..., at: _Optional[int] = ..., count: _Optional[int] = ..., errors: _Optional[int] = ..., cost_nano_usd: _Optional[int] = ..., tokens: _Optional[int] = ..., latency_p50_ms: _Optional[float] = ..., latency_p95_ms: _Optional[float] = ...) -> None: ...

class GetTraceSeriesResponse(_message.Message):
    __slots__ = ("points", "bucket_ms", "start_ms", "end_ms")
    POINTS_FIELD_NUMBER: _ClassVar[int]
    BUCKET_MS_FIELD_NUMBER: _ClassVar[int]
    START_MS_FIELD_NUMBER: _ClassVar[int]
    END_MS_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedCompositeFieldContainer[TraceSeriesPoint]
    bucket_ms: int
    start_ms: int
    end_ms: int
    def __init__(self, points: _Optional[_Iterable[_Union[TraceSeriesPoint, _Mapping]]] = ..., bucket_ms: _Optional[int] = ..., start_ms: _Optional[int] = ..., end_ms: _Optional[int] = ...) -> None: ...

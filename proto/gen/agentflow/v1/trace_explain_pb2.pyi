from agentflow.v1 import workflow_pb2 as _workflow_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExplainTraceRequest(_message.Message):
    __slots__ = ("run_id", "slow", "cost")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SLOW_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    slow: bool
    cost: bool
    def __init__(self, run_id: _Optional[str] = ..., slow: _Optional[bool] = ..., cost: _Optional[bool] = ...) -> None: ...

class ExplainTraceResponse(_message.Message):
    __slots__ = ("run_id", "workflow", "version", "status", "summary", "causes", "slow", "cost")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    CAUSES_FIELD_NUMBER: _ClassVar[int]
    SLOW_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    workflow: str
    version: int
    status: _workflow_pb2.RunStatus
    summary: str
    causes: _containers.RepeatedCompositeFieldContainer[TraceCause]
    slow: TraceTimeReport
    cost: TraceCostReport
    def __init__(self, run_id: _Optional[str] = ..., workflow: _Optional[str] = ..., version: _Optional[int] = ..., status: _Optional[_Union[_workflow_pb2.RunStatus, str]] = ..., summary: _Optional[str] = ..., causes: _Optional[_Iterable[_Union[TraceCause, _Mapping]]] = ..., slow: _Optional[_Union[TraceTimeReport, _Mapping]] = ..., cost: _Optional[_Union[TraceCostReport, _Mapping]] = ...) -> None: ...

class TraceCause(_message.Message):
    __slots__ = ("kind", "text", "run_id", "step", "attempt", "confidence", "fix", "chain")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    FIX_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    kind: str
    text: str
    run_id: str
    step: str
    attempt: int
    confidence: float
    fix: str
    chain: _containers.RepeatedCompositeFieldContainer[TraceCauseLink]
    def __init__(self, kind: _Optional[str] = ..., text: _Optional[str] = ..., run_id: _Optional[str] = ..., step: _Optional[str] = ..., attempt: _Optional[int] = ..., confidence: _Optional[float] = ..., fix: _Optional[str] = ..., chain: _Optional[_Iterable[_Union[TraceCauseLink, _Mapping]]] = ...) -> None: ...

class TraceCauseLink(_message.Message):
    __slots__ = ("kind", "text", "run_id", "step", "attempt", "evidence")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    text: str
    run_id: str
    step: str
    attempt: int
    evidence: _containers.RepeatedCompositeFieldContainer[TraceEvidence]
    def __init__(self, kind: _Optional[str] = ..., text: _Optional[str] = ..., run_id: _Optional[str] = ..., step: _Optional[str] = ..., attempt: _Optional[int] = ..., evidence: _Optional[_Iterable[_Union[TraceEvidence, _Mapping]]] = ...) -> None: ...

class TraceEvidence(_message.Message):
    __slots__ = ("stream", "sequence", "ts", "type", "run_id", "step", "attempt", "text")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TS_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    stream: str
    sequence: int
    ts: int
    type: str
    run_id: str
    step: str
    attempt: int
    text: str
    def __init__(self, stream: _Optional[str] = ..., sequence: _Optional[int] = ..., ts: _Optional[int] = ..., type: _Optional[str] = ..., run_id: _Optional[str] = ..., step: _Optional[str] = ..., attempt: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class TraceUsual(_message.Message):
    __slots__ = ("samples", "median", "p95", "deviation", "unusual")
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    MEDIAN_FIELD_NUMBER: _ClassVar[int]
    P95_FIELD_NUMBER: _ClassVar[int]
    DEVIATION_FIELD_NUMBER: _ClassVar[int]
    UNUSUAL_FIELD_NUMBER: _ClassVar[int]
    samples: int
    median: float
    p95: float
    deviation: float
    unusual: bool
    def __init__(self, samples: _Optional[int] = ..., median: _Optional[float] = ..., p95: _Optional[float] = ..., deviation: _Optional[float] = ..., unusual: _Optional[bool] = ...) -> None: ...

class TraceTimeReport(_message.Message):
    __slots__ = ("duration_ms", "text", "usual", "parts")
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    USUAL_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    duration_ms: int
    text: str
    usual: TraceUsual
    parts: _containers.RepeatedCompositeFieldContainer[TraceTimeShare]
    def __init__(self, duration_ms: _Optional[int] = ..., text: _Optional[str] = ..., usual: _Optional[_Union[TraceUsual, _Mapping]] = ..., parts: _Optional[_Iterable[_Union[TraceTimeShare, _Mapping]]] = ...) -> None: ...

class TraceTimeShare(_message.Message):
    __slots__ = ("kind", "step", "ms", "share", "text", "usual")
    KIND_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    MS_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    USUAL_FIELD_NUMBER: _ClassVar[int]
    kind: str
    step: str
    ms: int
    share: float
    text: str
    usual: TraceUsual
    def __init__(self, kind: _Optional[str] = ..., step: _Optional[str] = ..., ms: _Optional[int] = ..., share: _Optional[float] = ..., text: _Optional[str] = ..., usual: _Optional[_Union[TraceUsual, _Mapping]] = ...) -> None: ...

class TraceCostReport(_message.Message):
    __slots__ = ("cost_nano_usd", "text", "usual", "steps", "models")
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    USUAL_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    cost_nano_usd: int
    text: str
    usual: TraceUsual
    steps: _containers.RepeatedCompositeFieldContainer[TraceCostShare]
    models: _containers.RepeatedCompositeFieldContainer[TraceModelCost]
    def __init__(self, cost_nano_usd: _Optional[int] = ..., text: _Optional[str] = ..., usual: _Optional[_Union[TraceUsual, _Mapping]] = ..., steps: _Optional[_Iterable[_Union[TraceCostShare, _Mapping]]] = ..., models: _Optional[_Iterable[_Union[TraceModelCost, _Mapping]]] = ...) -> None: ...

class TraceCostShare(_message.Message):
    __slots__ = ("step", "cost_nano_usd", "share", "models", "calls", "attempts", "wasted_nano_usd", "fallbacks", "cache_hits", "cache_misses", "text", "usual")
    STEP_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    WASTED_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    FALLBACKS_FIELD_NUMBER: _ClassVar[int]
    CACHE_HITS_FIELD_NUMBER: _ClassVar[int]
    CACHE_MISSES_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    USUAL_FIELD_NUMBER: _ClassVar[int]
    step: str
    cost_nano_usd: int
    share: float
    models: _containers.RepeatedScalarFieldContainer[str]
    calls: int
    attempts: int
    wasted_nano_usd: int
    fallbacks: int
    cache_hits: int
    cache_misses: int
    text: str
    usual: TraceUsual
    def __init__(self, step: _Optional[str] = ..., cost_nano_usd: _Optional[int] = ..., share: _Optional[float] = ..., models: _Optional[_Iterable[str]] = ..., calls: _Optional[int] = ..., attempts: _Optional[int] = ..., wasted_nano_usd: _Optional[int] = ..., fallbacks: _Optional[int] = ..., cache_hits: _Optional[int] = ..., cache_misses: _Optional[int] = ..., text: _Optional[str] = ..., usual: _Optional[_Union[TraceUsual, _Mapping]] = ...) -> None: ...

class TraceModelCost(_message.Message):
    __slots__ = ("model", "cost_nano_usd", "share", "calls", "failed")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    model: str
    cost_nano_usd: int
    share: float
    calls: int
    failed: int
    def __init__(self, model: _Optional[str] = ..., cost_nano_usd: _Optional[int] = ..., share: _Optional[float] = ..., calls: _Optional[int] = ..., failed: _Optional[int] = ...) -> None: ...

from agentflow.v1 import trace_replay_pb2 as _trace_replay_pb2
from agentflow.v1 import trace_series_pb2 as _trace_series_pb2
from agentflow.v1 import trace_diff_pb2 as _trace_diff_pb2
from agentflow.v1 import trace_rebuild_pb2 as _trace_rebuild_pb2
from agentflow.v1 import trace_groups_pb2 as _trace_groups_pb2
from agentflow.v1 import trace_spans_pb2 as _trace_spans_pb2
from agentflow.v1 import trace_views_pb2 as _trace_views_pb2
from agentflow.v1 import trace_calls_pb2 as _trace_calls_pb2
from agentflow.v1 import trace_explain_pb2 as _trace_explain_pb2
from agentflow.v1 import workflow_pb2 as _workflow_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetTraceRequest(_message.Message):
    __slots__ = ("run_id", "include_bodies", "page_size", "page_token")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_BODIES_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    include_bodies: bool
    page_size: int
    page_token: str
    def __init__(self, run_id: _Optional[str] = ..., include_bodies: _Optional[bool] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class TraceStep(_message.Message):
    __slots__ = ("step", "attempt", "status", "scheduled_at", "started_at", "finished_at", "wait_ms", "duration_ms", "cost_nano_usd", "provider", "model", "prompt", "input_tokens", "output_tokens", "cache_hit", "worker", "error", "redactions", "finish_reason", "reason", "kind", "child_run_id", "queued_at", "calls")
    class RedactionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    STEP_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHE_HIT_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    REDACTIONS_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    CHILD_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    QUEUED_AT_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    step: str
    attempt: int
    status: _workflow_pb2.StepStatus
    scheduled_at: int
    started_at: int
    finished_at: int
    wait_ms: int
    duration_ms: float
    cost_nano_usd: int
    provider: str
    model: str
    prompt: str
    input_tokens: int
    output_tokens: int
    cache_hit: bool
    worker: str
    error: str
    redactions: _containers.ScalarMap[str, int]
    finish_reason: str
    reason: str
    kind: str
    child_run_id: str
    queued_at: int
    calls: _containers.RepeatedCompositeFieldContainer[_trace_calls_pb2.TraceCall]
    def __init__(self, step: _Optional[str] = ..., attempt: _Optional[int] = ..., status: _Optional[_Union[_workflow_pb2.StepStatus, str]] = ..., scheduled_at: _Optional[int] = ..., started_at: _Optional[int] = ..., finished_at: _Optional[int] = ..., wait_ms: _Optional[int] = ..., duration_ms: _Optional[float] = ..., cost_nano_usd: _Optional[int] = ..., provider: _Optional[str] = ..., model: _Optional[str] = ..., prompt: _Optional[str] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., cache_hit: _Optional[bool] = ..., worker: _Optional[str] = ..., error: _Optional[str] = ..., redactions: _Optional[_Mapping[str, int]] = ..., finish_reason: _Optional[str] = ..., reason: _Optional[str] = ..., kind: _Optional[str] = ..., child_run_id: _Optional[str] = ..., queued_at: _Optional[int] = ..., calls: _Optional[_Iterable[_Union[_trace_calls_pb2.TraceCall, _Mapping]]] = ...) -> None: ...

class TraceEvent(_message.Message):
    __slots__ = ("stream", "sequence", "ts", "type", "step", "attempt", "body", "part")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TS_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    stream: str
    sequence: int
    ts: int
    type: str
    step: str
    attempt: int
    body: _struct_pb2.Struct
    part: int
    def __init__(self, stream: _Optional[str] = ..., sequence: _Optional[int] = ..., ts: _Optional[int] = ..., type: _Optional[str] = ..., step: _Optional[str] = ..., attempt: _Optional[int] = ..., body: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., part: _Optional[int] = ...) -> None: ...

class GetTraceResponse(_message.Message):
    __slots__ = ("run_id", "workflow", "status", "trace_id", "started_at", "finished_at", "cost_nano_usd", "input_tokens", "output_tokens", "redactions", "steps", "events", "version", "unregistered", "truncated", "next_page_token", "nodes", "critical_path")
    class RedactionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REDACTIONS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    UNREGISTERED_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    CRITICAL_PATH_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    workflow: str
    status: _workflow_pb2.RunStatus
    trace_id: str
    started_at: int
    finished_at: int
    cost_nano_usd: int
    input_tokens: int
    output_tokens: int
    redactions: _containers.ScalarMap[str, int]
    steps: _containers.RepeatedCompositeFieldContainer[TraceStep]
    events: _containers.RepeatedCompositeFieldContainer[TraceEvent]
    version: int
    unregistered: bool
    truncated: bool
    next_page_token: str
    nodes: _containers.RepeatedCompositeFieldContainer[_trace_views_pb2.TraceNode]
    critical_path: _containers.RepeatedCompositeFieldContainer[_trace_views_pb2.TraceSegment]
    def __init__(self, run_id: _Optional[str] = ..., workflow: _Optional[str] = ..., status: _Optional[_Union[_workflow_pb2.RunStatus, str]] = ..., trace_id: _Optional[str] = ..., started_at: _Optional[int] = ..., finished_at: _Optional[int] = ..., cost_nano_usd: _Optional[int] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., redactions: _Optional[_Mapping[str, int]] = ..., steps: _Optional[_Iterable[_Union[TraceStep, _Mapping]]] = ..., events: _Optional[_Iterable[_Union[TraceEvent, _Mapping]]] = ..., version: _Optional[int] = ..., unregistered: _Optional[bool] = ..., truncated: _Optional[bool] = ..., next_page_token: _Optional[str] = ..., nodes: _Optional[_Iterable[_Union[_trace_views_pb2.TraceNode, _Mapping]]] = ..., critical_path: _Optional[_Iterable[_Union[_trace_views_pb2.TraceSegment, _Mapping]]] = ...) -> None: ...

class QueryTracesRequest(_message.Message):
    __slots__ = ("start_ms", "end_ms", "provider", "workflow", "status", "page_size", "page_token", "model", "prompt", "version", "node", "tags", "error_type", "min_cost_nano_usd", "max_cost_nano_usd", "min_duration_ms", "max_duration_ms", "text", "sort", "org_id")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    START_MS_FIELD_NUMBER: _ClassVar[int]
    END_MS_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    MIN_COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    MAX_COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    MIN_DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SORT_FIELD_NUMBER: _ClassVar[int]
    ORG_ID_FIELD_NUMBER: _ClassVar[int]
    start_ms: int
    end_ms: int
    provider: str
    workflow: str
    status: _workflow_pb2.RunStatus
    page_size: int
    page_token: str
    model: str
    prompt: str
    version: int
    node: str
    tags: _containers.ScalarMap[str, str]
    error_type: str
    min_cost_nano_usd: int
    max_cost_nano_usd: int
    min_duration_ms: int
    max_duration_ms: int
    text: str
    sort: str
    org_id: str
    def __init__(self, start_ms: _Optional[int] = ..., end_ms: _Optional[int] = ..., provider: _Optional[str] = ..., workflow: _Optional[str] = ..., status: _Optional[_Union[_workflow_pb2.RunStatus, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., model: _Optional[str] = ..., prompt: _Optional[str] = ..., version: _Optional[int] = ..., node: _Optional[str] = ..., tags: _Optional[_Mapping[str, str]] = ..., error_type: _Optional[str] = ..., min_cost_nano_usd: _Optional[int] = ..., max_cost_nano_usd: _Optional[int] = ..., min_duration_ms: _Optional[int] = ..., max_duration_ms: _Optional[int] = ..., text: _Optional[str] = ..., sort: _Optional[str] = ..., org_id: _Optional[str] = ...) -> None: ...

class TraceSummary(_message.Message):
    __slots__ = ("run_id", "workflow", "status", "started_at", "duration_ms", "cost_nano_usd", "steps", "org_id", "version", "tags", "input_tokens", "output_tokens", "attempts", "failed_attempts", "providers", "models", "error")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    ORG_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    FAILED_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    workflow: str
    status: _workflow_pb2.RunStatus
    started_at: int
    duration_ms: int
    cost_nano_usd: int
    steps: int
    org_id: str
    version: int
    tags: _containers.ScalarMap[str, str]
    input_tokens: int
    output_tokens: int
    attempts: int
    failed_attempts: int
    providers: _containers.RepeatedScalarFieldContainer[str]
    models: _containers.RepeatedScalarFieldContainer[str]
    error: str
    def __init__(self, run_id: _Optional[str] = ..., workflow: _Optional[str] = ..., status: _Optional[_Union[_workflow_pb2.RunStatus, str]] = ..., started_at: _Optional[int] = ..., duration_ms: _Optional[int] = ..., cost_nano_usd: _Optional[int] = ..., steps: _Optional[int] = ..., org_id: _Optional[str] = ..., version: _Optional[int] = ..., tags: _Optional[_Mapping[str, str]] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., attempts: _Optional[int] = ..., failed_attempts: _Optional[int] = ..., providers: _Optional[_Iterable[str]] = ..., models: _Optional[_Iterable[str]] = ..., error: _Optional[str] = ...) -> None: ...

class QueryTracesResponse(_message.Message):
    __slots__ = ("traces", "next_page_token")
    TRACES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    traces: _containers.RepeatedCompositeFieldContainer[TraceSummary]
    next_page_token: str
    def __init__(self, traces: _Optional[_Iterable[_Union[TraceSummary, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

from agentflow.v1 import workflow_pb2 as _workflow_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DiffTracesRequest(_message.Message):
    __slots__ = ("a", "b", "omit_values")
    A_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    OMIT_VALUES_FIELD_NUMBER: _ClassVar[int]
    a: str
    b: str
    omit_values: bool
    def __init__(self, a: _Optional[str] = ..., b: _Optional[str] = ..., omit_values: _Optional[bool] = ...) -> None: ...

class TraceDiffField(_message.Message):
    __slots__ = ("path", "old", "new")
    PATH_FIELD_NUMBER: _ClassVar[int]
    OLD_FIELD_NUMBER: _ClassVar[int]
    NEW_FIELD_NUMBER: _ClassVar[int]
    path: str
    old: str
    new: str
    def __init__(self, path: _Optional[str] = ..., old: _Optional[str] = ..., new: _Optional[str] = ...) -> None: ...

class TraceDiffPart(_message.Message):
    __slots__ = ("kind", "what", "name", "fields")
    KIND_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    what: str
    name: str
    fields: _containers.RepeatedCompositeFieldContainer[TraceDiffField]
    def __init__(self, kind: _Optional[str] = ..., what: _Optional[str] = ..., name: _Optional[str] = ..., fields: _Optional[_Iterable[_Union[TraceDiffField, _Mapping]]] = ...) -> None: ...

class TraceDiffValue(_message.Message):
    __slots__ = ("fields", "text", "left_out", "old_bytes", "new_bytes", "old_sha256", "new_sha256")
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    OLD_BYTES_FIELD_NUMBER: _ClassVar[int]
    NEW_BYTES_FIELD_NUMBER: _ClassVar[int]
    OLD_SHA256_FIELD_NUMBER: _ClassVar[int]
    NEW_SHA256_FIELD_NUMBER: _ClassVar[int]
    fields: _containers.RepeatedCompositeFieldContainer[TraceDiffField]
    text: str
    left_out: int
    old_bytes: int
    new_bytes: int
    old_sha256: str
    new_sha256: str
    def __init__(self, fields: _Optional[_Iterable[_Union[TraceDiffField, _Mapping]]] = ..., text: _Optional[str] = ..., left_out: _Optional[int] = ..., old_bytes: _Optional[int] = ..., new_bytes: _Optional[int] = ..., old_sha256: _Optional[str] = ..., new_sha256: _Optional[str] = ...) -> None: ...

class TraceDiffRun(_message.Message):
    __slots__ = ("run_id", "workflow", "version", "status", "submitted_at", "duration_ms", "cost_nano_usd", "input_tokens", "output_tokens", "steps", "error", "origin")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_AT_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    workflow: str
    version: int
    status: _workflow_pb2.RunStatus
    submitted_at: int
    duration_ms: int
    cost_nano_usd: int
    input_tokens: int
    output_tokens: int
    steps: int
    error: str
    origin: str
    def __init__(self, run_id: _Optional[str] = ..., workflow: _Optional[str] = ..., version: _Optional[int] = ..., status: _Optional[_Union[_workflow_pb2.RunStatus, str]] = ..., submitted_at: _Optional[int] = ..., duration_ms: _Optional[int] = ..., cost_nano_usd: _Optional[int] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., steps: _Optional[int] = ..., error: _Optional[str] = ..., origin: _Optional[str] = ...) -> None: ...

class TraceDiffSide(_message.Message):
    __slots__ = ("step", "kind", "status", "attempts", "provider", "model", "prompt", "input_tokens", "output_tokens", "cost_nano_usd", "work_ms", "wait_ms", "path_ms", "cache_hit", "reused", "child", "error", "reason")
    class PathMsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    STEP_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    WORK_MS_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    PATH_MS_FIELD_NUMBER: _ClassVar[int]
    CACHE_HIT_FIELD_NUMBER: _ClassVar[int]
    REUSED_FIELD_NUMBER: _ClassVar[int]
    CHILD_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    step: str
    kind: str
    status: _workflow_pb2.StepStatus
    attempts: int
    provider: str
    model: str
    prompt: str
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int
    work_ms: int
    wait_ms: int
    path_ms: _containers.ScalarMap[str, int]
    cache_hit: bool
    reused: bool
    child: str
    error: str
    reason: str
    def __init__(self, step: _Optional[str] = ..., kind: _Optional[str] = ..., status: _Optional[_Union[_workflow_pb2.StepStatus, str]] = ..., attempts: _Optional[int] = ..., provider: _Optional[str] = ..., model: _Optional[str] = ..., prompt: _Optional[str] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., cost_nano_usd: _Optional[int] = ..., work_ms: _Optional[int] = ..., wait_ms: _Optional[int] = ..., path_ms: _Optional[_Mapping[str, int]] = ..., cache_hit: _Optional[bool] = ..., reused: _Optional[bool] = ..., child: _Optional[str] = ..., error: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class TraceDiffStep(_message.Message):
    __slots__ = ("what", "changes", "a", "b", "cost_nano_usd", "latency_ms", "first", "inputs", "output")
    WHAT_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    A_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    what: str
    changes: _containers.RepeatedScalarFieldContainer[str]
    a: TraceDiffSide
    b: TraceDiffSide
    cost_nano_usd: int
    latency_ms: int
    first: bool
    inputs: TraceDiffValue
    output: TraceDiffValue
    def __init__(self, what: _Optional[str] = ..., changes: _Optional[_Iterable[str]] = ..., a: _Optional[_Union[TraceDiffSide, _Mapping]] = ..., b: _Optional[_Union[TraceDiffSide, _Mapping]] = ..., cost_nano_usd: _Optional[int] = ..., latency_ms: _Optional[int] = ..., first: _Optional[bool] = ..., inputs: _Optional[_Union[TraceDiffValue, _Mapping]] = ..., output: _Optional[_Union[TraceDiffValue, _Mapping]] = ...) -> None: ...

class TraceDiffRest(_message.Message):
    __slots__ = ("steps", "cost_nano_usd", "latency_ms")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    steps: int
    cost_nano_usd: int
    latency_ms: int
    def __init__(self, steps: _Optional[int] = ..., cost_nano_usd: _Optional[int] = ..., latency_ms: _Optional[int] = ...) -> None: ...

class DiffTracesResponse(_message.Message):
    __slots__ = ("a", "b", "same", "summary", "parts", "inputs", "output", "steps", "rest", "equal_steps")
    A_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    SAME_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    REST_FIELD_NUMBER: _ClassVar[int]
    EQUAL_STEPS_FIELD_NUMBER: _ClassVar[int]
    a: TraceDiffRun
    b: TraceDiffRun
    same: bool
    summary: str
    parts: _containers.RepeatedCompositeFieldContainer[TraceDiffPart]
    inputs: TraceDiffValue
    output: TraceDiffValue
    steps: _containers.RepeatedCompositeFieldContainer[TraceDiffStep]
    rest: TraceDiffRest
    equal_steps: int
    def __init__(self, a: _Optional[_Union[TraceDiffRun, _Mapping]] = ..., b: _Optional[_Union[TraceDiffRun, _Mapping]] = ..., same: _Optional[bool] = ..., summary: _Optional[str] = ..., parts: _Optional[_Iterable[_Union[TraceDiffPart, _Mapping]]] = ..., inputs: _Optional[_Union[TraceDiffValue, _Mapping]] = ..., output: _Optional[_Union[TraceDiffValue, _Mapping]] = ..., steps: _Optional[_Iterable[_Union[TraceDiffStep, _Mapping]]] = ..., rest: _Optional[_Union[TraceDiffRest, _Mapping]] = ..., equal_steps: _Optional[int] = ...) -> None: ...

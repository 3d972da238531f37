from agentflow.v1 import workflow_pb2 as _workflow_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReplayTraceRequest(_message.Message):
    __slots__ = ("run_id", "include_history")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_HISTORY_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    include_history: bool
    def __init__(self, run_id: _Optional[str] = ..., include_history: _Optional[bool] = ...) -> None: ...

class ReplayDifference(_message.Message):
    __slots__ = ("path", "expected", "decided")
    PATH_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    DECIDED_FIELD_NUMBER: _ClassVar[int]
    path: str
    expected: str
    decided: str
    def __init__(self, path: _Optional[str] = ..., expected: _Optional[str] = ..., decided: _Optional[str] = ...) -> None: ...

class ReplayDivergence(_message.Message):
    __slots__ = ("sequence", "cause", "expected_type", "decided_type", "step", "expected", "decided", "differences", "error", "seen", "decided_at", "state_before", "hash_before")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_TYPE_FIELD_NUMBER: _ClassVar[int]
    DECIDED_TYPE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    DECIDED_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    DECIDED_AT_FIELD_NUMBER: _ClassVar[int]
    STATE_BEFORE_FIELD_NUMBER: _ClassVar[int]
    HASH_BEFORE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    cause: str
    expected_type: str
    decided_type: str
    step: str
    expected: str
    decided: str
    differences: _containers.RepeatedCompositeFieldContainer[ReplayDifference]
    error: str
    seen: int
    decided_at: int
    state_before: str
    hash_before: str
    def __init__(self, sequence: _Optional[int] = ..., cause: _Optional[str] = ..., expected_type: _Optional[str] = ..., decided_type: _Optional[str] = ..., step: _Optional[str] = ..., expected: _Optional[str] = ..., decided: _Optional[str] = ..., differences: _Optional[_Iterable[_Union[ReplayDifference, _Mapping]]] = ..., error: _Optional[str] = ..., seen: _Optional[int] = ..., decided_at: _Optional[int] = ..., state_before: _Optional[str] = ..., hash_before: _Optional[str] = ...) -> None: ...

class ReplayTraceResponse(_message.Message):
    __slots__ = ("run_id", "workflow", "status", "verdict", "events", "decisions", "turns", "hashed", "held_turns", "rehosted", "partial_turns", "state_hash", "archived", "duration_ms", "divergence", "history")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    HASHED_FIELD_NUMBER: _ClassVar[int]
    HELD_TURNS_FIELD_NUMBER: _ClassVar[int]
    REHOSTED_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_TURNS_FIELD_NUMBER: _ClassVar[int]
    STATE_HASH_FIELD_NUMBER: _ClassVar[int]
    ARCHIVED_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    DIVERGENCE_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    workflow: str
    status: _workflow_pb2.RunStatus
    verdict: str
    events: int
    decisions: int
    turns: int
    hashed: int
    held_turns: int
    rehosted: int
    partial_turns: int
    state_hash: str
    archived: bool
    duration_ms: float
    divergence: ReplayDivergence
    history: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, run_id: _Optional[str] = ..., workflow: _Optional[str] = ..., status: _Optional[_Union[_workflow_pb2.RunStatus, str]] = ..., verdict: _Optional[str] = ..., events: _Optional[int] = ..., decisions: _Optional[int] = ..., turns: _Optional[int] = ..., hashed: _Optional[int] = ..., held_turns: _Optional[int] = ..., rehosted: _Optional[int] = ..., partial_turns: _Optional[int] = ..., state_hash: _Optional[str] = ..., archived: _Optional[bool] = ..., duration_ms: _Optional[float] = ..., divergence: _Optional[_Union[ReplayDivergence, _Mapping]] = ..., history: _Optional[_Iterable[str]] = ...) -> None: ...

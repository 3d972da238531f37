from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class TraceNode(_message.Message):
    __slots__ = ("id", "kind", "name", "waits_for", "loops_to")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    WAITS_FOR_FIELD_NUMBER: _ClassVar[int]
    LOOPS_TO_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: str
    name: str
    waits_for: _containers.RepeatedScalarFieldContainer[str]
    loops_to: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[str] = ..., name: _Optional[str] = ..., waits_for: _Optional[_Iterable[str]] = ..., loops_to: _Optional[_Iterable[str]] = ...) -> None: ...

class TraceSegment(_message.Message):
    __slots__ = ("kind", "started_at", "ended_at", "step", "attempt", "on")
    KIND_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ON_FIELD_NUMBER: _ClassVar[int]
    kind: str
    started_at: int
    ended_at: int
    step: str
    attempt: int
    on: str
    def __init__(self, kind: _Optional[str] = ..., started_at: _Optional[int] = ..., ended_at: _Optional[int] = ..., step: _Optional[str] = ..., attempt: _Optional[int] = ..., on: _Optional[str] = ...) -> None: ...

from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RebuildTracesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RebuildTracesResponse(_message.Message):
    __slots__ = ("progress",)
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    progress: TraceProgress
    def __init__(self, progress: _Optional[_Union[TraceProgress, _Mapping]] = ...) -> None: ...

class GetTraceProgressRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetTraceProgressResponse(_message.Message):
    __slots__ = ("progress",)
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    progress: TraceProgress
    def __init__(self, progress: _Optional[_Union[TraceProgress, _Mapping]] = ...) -> None: ...

class TraceProgress(_message.Message):
    __slots__ = ("streams", "derived_sequence", "dropping")
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    DERIVED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DROPPING_FIELD_NUMBER: _ClassVar[int]
    streams: _containers.RepeatedCompositeFieldContainer[TraceStreamProgress]
    derived_sequence: int
    dropping: bool
    def __init__(self, streams: _Optional[_Iterable[_Union[TraceStreamProgress, _Mapping]]] = ..., derived_sequence: _Optional[int] = ..., dropping: _Optional[bool] = ...) -> None: ...

class TraceStreamProgress(_message.Message):
    __slots__ = ("stream", "ingested_sequence", "last_sequence")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    INGESTED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    stream: str
    ingested_sequence: int
    last_sequence: int
    def __init__(self, stream: _Optional[str] = ..., ingested_sequence: _Optional[int] = ..., last_sequence: _Optional[int] = ...) -> None: ...

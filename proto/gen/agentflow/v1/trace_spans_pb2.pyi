from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class ExportTraceSpansRequest(_message.Message):
    __slots__ = ("run_id", "page_token")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    page_token: str
    def __init__(self, run_id: _Optional[str] = ..., page_token: _Optional[str] = ...) -> None: ...

class ExportTraceSpansResponse(_message.Message):
    __slots__ = ("otlp", "spans", "next_page_token")
    OTLP_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    otlp: bytes
    spans: int
    next_page_token: str
    def __init__(self, otlp: _Optional[bytes] = ..., spans: _Optional[int] = ..., next_page_token: _Optional[str] = ...) -> None: ...

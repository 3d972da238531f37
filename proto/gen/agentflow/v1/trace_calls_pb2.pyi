from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class TraceCall(_message.Message):
    __slots__ = ("number", "provider", "model", "ok", "input_tokens", "output_tokens", "cost_nano_usd", "started_at", "latency_ms", "error", "finish_reason", "status")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OK_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    number: int
    provider: str
    model: str
    ok: bool
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int
    started_at: int
    latency_ms: int
    error: str
    finish_reason: str
    status: int
    def __init__(self, number: _Optional[int] = ..., provider: _Optional[str] = ..., model: _Optional[str] = ..., ok: _Optional[bool] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., cost_nano_usd: _Optional[int] = ..., started_at: _Optional[int] = ..., latency_ms: _Optional[int] = ..., error: _Optional[str] = ..., finish_reason: _Optional[str] = ..., status: _Optional[int] = ...) -> None: ...

from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DeadLetter(_message.Message):
    __slots__ = ("sequence", "buried_at", "origin", "reason", "subject", "origin_sequence", "org_id", "run_id", "size_bytes", "replays", "replayable")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    BURIED_AT_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ORG_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    REPLAYS_FIELD_NUMBER: _ClassVar[int]
    REPLAYABLE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    buried_at: int
    origin: str
    reason: str
    subject: str
    origin_sequence: int
    org_id: str
    run_id: str
    size_bytes: int
    replays: int
    replayable: bool
    def __init__(self, sequence: _Optional[int] = ..., buried_at: _Optional[int] = ..., origin: _Optional[str] = ..., reason: _Optional[str] = ..., subject: _Optional[str] = ..., origin_sequence: _Optional[int] = ..., org_id: _Optional[str] = ..., run_id: _Optional[str] = ..., size_bytes: _Optional[int] = ..., replays: _Optional[int] = ..., replayable: _Optional[bool] = ...) -> None: ...

class DeadLetterFilter(_message.Message):
    __slots__ = ("sequences", "origin", "reason", "run_id", "after_ms", "before_ms", "all", "after_sequence")
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    BEFORE_MS_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequences: _containers.RepeatedScalarFieldContainer[int]
    origin: str
    reason: str
    run_id: str
    after_ms: int
    before_ms: int
    all: bool
    after_sequence: int
    def __init__(self, sequences: _Optional[_Iterable[int]] = ..., origin: _Optional[str] = ..., reason: _Optional[str] = ..., run_id: _Optional[str] = ..., after_ms: _Optional[int] = ..., before_ms: _Optional[int] = ..., all: _Optional[bool] = ..., after_sequence: _Optional[int] = ...) -> None: ...

class ListDeadLettersRequest(_message.Message):
    __slots__ = ("filter", "page_size", "page_token")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    filter: DeadLetterFilter
    page_size: int
    page_token: str
    def __init__(self, filter: _Optional[_Union[DeadLetterFilter, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListDeadLettersResponse(_message.Message):
    __slots__ = ("letters", "next_page_token")
    LETTERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    letters: _containers.RepeatedCompositeFieldContainer[DeadLetter]
    next_page_token: str
    def __init__(self, letters: _Optional[_Iterable[_Union[DeadLetter, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetDeadLetterRequest(_message.Message):
    __slots__ = ("sequence", "reveal", "reveal_reason")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REVEAL_FIELD_NUMBER: _ClassVar[int]
    REVEAL_REASON_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    reveal: bool
    reveal_reason: str
    def __init__(self, sequence: _Optional[int] = ..., reveal: _Optional[bool] = ..., reveal_reason: _Optional[str] = ...) -> None: ...

class GetDeadLetterResponse(_message.Message):
    __slots__ = ("letter", "body", "truncated")
    LETTER_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    letter: DeadLetter
    body: str
    truncated: bool
    def __init__(self, letter: _Optional[_Union[DeadLetter, _Mapping]] = ..., body: _Optional[str] = ..., truncated: _Optional[bool] = ...) -> None: ...

class ReplayDeadLettersRequest(_message.Message):
    __slots__ = ("filter", "dry_run", "repaired_body")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    REPAIRED_BODY_FIELD_NUMBER: _ClassVar[int]
    filter: DeadLetterFilter
    dry_run: bool
    repaired_body: str
    def __init__(self, filter: _Optional[_Union[DeadLetterFilter, _Mapping]] = ..., dry_run: _Optional[bool] = ..., repaired_body: _Optional[str] = ...) -> None: ...

class DeadLetterOutcome(_message.Message):
    __slots__ = ("letter", "outcome", "sequence", "problem")
    LETTER_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    letter: DeadLetter
    outcome: str
    sequence: int
    problem: str
    def __init__(self, letter: _Optional[_Union[DeadLetter, _Mapping]] = ..., outcome: _Optional[str] = ..., sequence: _Optional[int] = ..., problem: _Optional[str] = ...) -> None: ...

class ReplayDeadLettersResponse(_message.Message):
    __slots__ = ("outcomes", "more")
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[DeadLetterOutcome]
    more: bool
    def __init__(self, outcomes: _Optional[_Iterable[_Union[DeadLetterOutcome, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class PurgeDeadLettersRequest(_message.Message):
    __slots__ = ("filter", "dry_run")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    filter: DeadLetterFilter
    dry_run: bool
    def __init__(self, filter: _Optional[_Union[DeadLetterFilter, _Mapping]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class PurgeDeadLettersResponse(_message.Message):
    __slots__ = ("outcomes", "more")
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[DeadLetterOutcome]
    more: bool
    def __init__(self, outcomes: _Optional[_Iterable[_Union[DeadLetterOutcome, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class Retention(_message.Message):
    __slots__ = ("keep_ms", "set_by", "set_at", "archived_runs", "waiting_runs", "waiting_for", "swept_at", "log_messages", "log_bytes", "archived_to_sequence", "lost_from_sequence", "lost_to_sequence")
    KEEP_MS_FIELD_NUMBER: _ClassVar[int]
    SET_BY_FIELD_NUMBER: _ClassVar[int]
    SET_AT_FIELD_NUMBER: _ClassVar[int]
    ARCHIVED_RUNS_FIELD_NUMBER: _ClassVar[int]
    WAITING_RUNS_FIELD_NUMBER: _ClassVar[int]
    WAITING_FOR_FIELD_NUMBER: _ClassVar[int]
    SWEPT_AT_FIELD_NUMBER: _ClassVar[int]
    LOG_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    LOG_BYTES_FIELD_NUMBER: _ClassVar[int]
    ARCHIVED_TO_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LOST_FROM_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LOST_TO_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    keep_ms: int
    set_by: str
    set_at: int
    archived_runs: int
    waiting_runs: int
    waiting_for: str
    swept_at: int
    log_messages: int
    log_bytes: int
    archived_to_sequence: int
    lost_from_sequence: int
    lost_to_sequence: int
    def __init__(self, keep_ms: _Optional[int] = ..., set_by: _Optional[str] = ..., set_at: _Optional[int] = ..., archived_runs: _Optional[int] = ..., waiting_runs: _Optional[int] = ..., waiting_for: _Optional[str] = ..., swept_at: _Optional[int] = ..., log_messages: _Optional[int] = ..., log_bytes: _Optional[int] = ..., archived_to_sequence: _Optional[int] = ..., lost_from_sequence: _Optional[int] = ..., lost_to_sequence: _Optional[int] = ...) -> None: ...

class GetRetentionRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetRetentionResponse(_message.Message):
    __slots__ = ("retention",)
    RETENTION_FIELD_NUMBER: _ClassVar[int]
    retention: Retention
    def __init__(self, retention: _Optional[_Union[Retention, _Mapping]] = ...) -> None: ...

class SetRetentionRequest(_message.Message):
    __slots__ = ("keep_ms",)
    KEEP_MS_FIELD_NUMBER: _ClassVar[int]
    keep_ms: int
    def __init__(self, keep_ms: _Optional[int] = ...) -> None: ...

class SetRetentionResponse(_message.Message):
    __slots__ = ("retention",)
    RETENTION_FIELD_NUMBER: _ClassVar[int]
    retention: Retention
    def __init__(self, retention: _Optional[_Union[Retention, _Mapping]] = ...) -> None: ...

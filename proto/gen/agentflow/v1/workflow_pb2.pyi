from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RunStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RUN_STATUS_UNSPECIFIED: _ClassVar[RunStatus]
    RUN_STATUS_PENDING: _ClassVar[RunStatus]
    RUN_STATUS_RUNNING: _ClassVar[RunStatus]
    RUN_STATUS_WAITING: _ClassVar[RunStatus]
    RUN_STATUS_PAUSED: _ClassVar[RunStatus]
    RUN_STATUS_COMPLETED: _ClassVar[RunStatus]
    RUN_STATUS_FAILED: _ClassVar[RunStatus]
    RUN_STATUS_CANCELLED: _ClassVar[RunStatus]

class StepStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STEP_STATUS_UNSPECIFIED: _ClassVar[StepStatus]
    STEP_STATUS_PENDING: _ClassVar[StepStatus]
    STEP_STATUS_SCHEDULED: _ClassVar[StepStatus]
    STEP_STATUS_RUNNING: _ClassVar[StepStatus]
    STEP_STATUS_RETRYING: _ClassVar[StepStatus]
    STEP_STATUS_COMPLETED: _ClassVar[StepStatus]
    STEP_STATUS_FAILED: _ClassVar[StepStatus]
    STEP_STATUS_SKIPPED: _ClassVar[StepStatus]
    STEP_STATUS_CANCELLED: _ClassVar[StepStatus]
    STEP_STATUS_OUTCOME_UNKNOWN: _ClassVar[StepStatus]
    STEP_STATUS_QUEUED: _ClassVar[StepStatus]
    STEP_STATUS_WAITING: _ClassVar[StepStatus]
RUN_STATUS_UNSPECIFIED: RunStatus
RUN_STATUS_PENDING: RunStatus
RUN_STATUS_RUNNING: RunStatus
RUN_STATUS_WAITING: RunStatus
RUN_STATUS_PAUSED: RunStatus
RUN_STATUS_COMPLETED: RunStatus
RUN_STATUS_FAILED: RunStatus
RUN_STATUS_CANCELLED: RunStatus
STEP_STATUS_UNSPECIFIED: StepStatus
STEP_STATUS_PENDING: StepStatus
STEP_STATUS_SCHEDULED: StepStatus
STEP_STATUS_RUNNING: StepStatus
STEP_STATUS_RETRYING: StepStatus
STEP_STATUS_COMPLETED: StepStatus
STEP_STATUS_FAILED: StepStatus
STEP_STATUS_SKIPPED: StepStatus
STEP_STATUS_CANCELLED: StepStatus
STEP_STATUS_OUTCOME_UNKNOWN: StepStatus
STEP_STATUS_QUEUED: StepStatus
STEP_STATUS_WAITING: StepStatus

class Problem(_message.Message):
    __slots__ = ("place", "message", "fix")
    PLACE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIX_FIELD_NUMBER: _ClassVar[int]
    place: str
    message: str
    fix: str
    def __init__(self, place: _Optional[str] = ..., message: _Optional[str] = ..., fix: _Optional[str] = ...) -> None: ...

class ErrorInfo(_message.Message):
    __slots__ = ("type", "message", "retryable")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    type: str
    message: str
    retryable: bool
    def __init__(self, type: _Optional[str] = ..., message: _Optional[str] = ..., retryable: _Optional[bool] = ...) -> None: ...

class RegisterWorkflowRequest(_message.Message):
    __slots__ = ("definition_text", "definition", "allow_unknown")
    DEFINITION_TEXT_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    ALLOW_UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    definition_text: str
    definition: _struct_pb2.Struct
    allow_unknown: bool
    def __init__(self, definition_text: _Optional[str] = ..., definition: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., allow_unknown: _Optional[bool] = ...) -> None: ...

class RegisterWorkflowResponse(_message.Message):
    __slots__ = ("name", "version", "digest", "created", "warnings")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    digest: str
    created: bool
    warnings: _containers.RepeatedCompositeFieldContainer[Problem]
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., digest: _Optional[str] = ..., created: _Optional[bool] = ..., warnings: _Optional[_Iterable[_Union[Problem, _Mapping]]] = ...) -> None: ...

class ValidateWorkflowRequest(_message.Message):
    __slots__ = ("definition_text", "definition", "allow_unknown")
    DEFINITION_TEXT_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    ALLOW_UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    definition_text: str
    definition: _struct_pb2.Struct
    allow_unknown: bool
    def __init__(self, definition_text: _Optional[str] = ..., definition: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., allow_unknown: _Optional[bool] = ...) -> None: ...

class ValidateWorkflowResponse(_message.Message):
    __slots__ = ("valid", "problems", "name", "version", "steps", "warnings")
    VALID_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    valid: bool
    problems: _containers.RepeatedCompositeFieldContainer[Problem]
    name: str
    version: int
    steps: int
    warnings: _containers.RepeatedCompositeFieldContainer[Problem]
    def __init__(self, valid: _Optional[bool] = ..., problems: _Optional[_Iterable[_Union[Problem, _Mapping]]] = ..., name: _Optional[str] = ..., version: _Optional[int] = ..., steps: _Optional[int] = ..., warnings: _Optional[_Iterable[_Union[Problem, _Mapping]]] = ...) -> None: ...

class SubmitWorkflowRequest(_message.Message):
    __slots__ = ("workflow", "definition_text", "definition", "inputs", "budget_cents", "tags", "idempotency_key", "priority", "deadline_ms", "unregistered", "break_at", "step_by_step")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_TEXT_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    BUDGET_CENTS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    UNREGISTERED_FIELD_NUMBER: _ClassVar[int]
    BREAK_AT_FIELD_NUMBER: _ClassVar[int]
    STEP_BY_STEP_FIELD_NUMBER: _ClassVar[int]
    workflow: str
    definition_text: str
    definition: _struct_pb2.Struct
    inputs: _struct_pb2.Struct
    budget_cents: int
    tags: _containers.ScalarMap[str, str]
    idempotency_key: str
    priority: int
    deadline_ms: int
    unregistered: bool
    break_at: _containers.RepeatedScalarFieldContainer[str]
    step_by_step: bool
    def __init__(self, workflow: _Optional[str] = ..., definition_text: _Optional[str] = ..., definition: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., inputs: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., budget_cents: _Optional[int] = ..., tags: _Optional[_Mapping[str, str]] = ..., idempotency_key: _Optional[str] = ..., priority: _Optional[int] = ..., deadline_ms: _Optional[int] = ..., unregistered: _Optional[bool] = ..., break_at: _Optional[_Iterable[str]] = ..., step_by_step: _Optional[bool] = ...) -> None: ...

class SubmitWorkflowResponse(_message.Message):
    __slots__ = ("run_id", "deduplicated")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    DEDUPLICATED_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    deduplicated: bool
    def __init__(self, run_id: _Optional[str] = ..., deduplicated: _Optional[bool] = ...) -> None: ...

class SubmitWorkflowsRequest(_message.Message):
    __slots__ = ("submissions",)
    SUBMISSIONS_FIELD_NUMBER: _ClassVar[int]
    submissions: _containers.RepeatedCompositeFieldContainer[SubmitWorkflowRequest]
    def __init__(self, submissions: _Optional[_Iterable[_Union[SubmitWorkflowRequest, _Mapping]]] = ...) -> None: ...

class SubmitWorkflowsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[SubmissionResult]
    def __init__(self, results: _Optional[_Iterable[_Union[SubmissionResult, _Mapping]]] = ...) -> None: ...

class SubmissionResult(_message.Message):
    __slots__ = ("submitted", "error")
    SUBMITTED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    submitted: SubmitWorkflowResponse
    error: bytes
    def __init__(self, submitted: _Optional[_Union[SubmitWorkflowResponse, _Mapping]] = ..., error: _Optional[bytes] = ...) -> None: ...

class GetRunRequest(_message.Message):
    __slots__ = ("run_id", "reveal", "reveal_reason")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REVEAL_FIELD_NUMBER: _ClassVar[int]
    REVEAL_REASON_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    reveal: bool
    reveal_reason: str
    def __init__(self, run_id: _Optional[str] = ..., reveal: _Optional[bool] = ..., reveal_reason: _Optional[str] = ...) -> None: ...

class GetRunResponse(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: Run
    def __init__(self, run: _Optional[_Union[Run, _Mapping]] = ...) -> None: ...

class Run(_message.Message):
    __slots__ = ("run_id", "workflow", "version", "status", "inputs", "output", "error", "steps", "submitted_at", "started_at", "finished_at", "cost_nano_usd", "budget_nano_usd", "tags", "redactions", "trace_id", "last_sequence", "input_tokens", "output_tokens", "parent_run_id", "parent_step", "origin_kind", "origin_run_id", "origin_step", "continued_as", "paused_reason", "waiting_steps", "derived_run_ids", "unregistered", "state", "superstep", "paused_until", "stopped_before", "break_at", "step_by_step", "changed_values", "cancel_reason")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class RedactionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class ChangedValuesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    BUDGET_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    REDACTIONS_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PARENT_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_STEP_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_KIND_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_STEP_FIELD_NUMBER: _ClassVar[int]
    CONTINUED_AS_FIELD_NUMBER: _ClassVar[int]
    PAUSED_REASON_FIELD_NUMBER: _ClassVar[int]
    WAITING_STEPS_FIELD_NUMBER: _ClassVar[int]
    DERIVED_RUN_IDS_FIELD_NUMBER: _ClassVar[int]
    UNREGISTERED_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SUPERSTEP_FIELD_NUMBER: _ClassVar[int]
    PAUSED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    STOPPED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    BREAK_AT_FIELD_NUMBER: _ClassVar[int]
    STEP_BY_STEP_FIELD_NUMBER: _ClassVar[int]
    CHANGED_VALUES_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REASON_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    workflow: str
    version: int
    status: RunStatus
    inputs: _struct_pb2.Value
    output: _struct_pb2.Value
    error: ErrorInfo
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    submitted_at: int
    started_at: int
    finished_at: int
    cost_nano_usd: int
    budget_nano_usd: int
    tags: _containers.ScalarMap[str, str]
    redactions: _containers.ScalarMap[str, int]
    trace_id: str
    last_sequence: int
    input_tokens: int
    output_tokens: int
    parent_run_id: str
    parent_step: str
    origin_kind: str
    origin_run_id: str
    origin_step: str
    continued_as: str
    paused_reason: str
    waiting_steps: _containers.RepeatedScalarFieldContainer[str]
    derived_run_ids: _containers.RepeatedScalarFieldContainer[str]
    unregistered: bool
    state: _struct_pb2.Struct
    superstep: int
    paused_until: int
    stopped_before: _containers.RepeatedScalarFieldContainer[str]
    break_at: _containers.RepeatedScalarFieldContainer[str]
    step_by_step: bool
    changed_values: _containers.ScalarMap[str, str]
    cancel_reason: str
    def __init__(self, run_id: _Optional[str] = ..., workflow: _Optional[str] = ..., version: _Optional[int] = ..., status: _Optional[_Union[RunStatus, str]] = ..., inputs: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., output: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., error: _Optional[_Union[ErrorInfo, _Mapping]] = ..., steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ..., submitted_at: _Optional[int] = ..., started_at: _Optional[int] = ..., finished_at: _Optional[int] = ..., cost_nano_usd: _Optional[int] = ..., budget_nano_usd: _Optional[int] = ..., tags: _Optional[_Mapping[str, str]] = ..., redactions: _Optional[_Mapping[str, int]] = ..., trace_id: _Optional[str] = ..., last_sequence: _Optional[int] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., parent_run_id: _Optional[str] = ..., parent_step: _Optional[str] = ..., origin_kind: _Optional[str] = ..., origin_run_id: _Optional[str] = ..., origin_step: _Optional[str] = ..., continued_as: _Optional[str] = ..., paused_reason: _Optional[str] = ..., waiting_steps: _Optional[_Iterable[str]] = ..., derived_run_ids: _Optional[_Iterable[str]] = ..., unregistered: _Optional[bool] = ..., state: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., superstep: _Optional[int] = ..., paused_until: _Optional[int] = ..., stopped_before: _Optional[_Iterable[str]] = ..., break_at: _Optional[_Iterable[str]] = ..., step_by_step: _Optional[bool] = ..., changed_values: _Optional[_Mapping[str, str]] = ..., cancel_reason: _Optional[str] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("step", "status", "attempt", "output", "error", "scheduled_at", "started_at", "finished_at", "cost_nano_usd", "provider", "model", "prompt", "type", "skip_reason", "progress", "progress_detail", "lane", "waiting_for", "waiting_until", "waiting_detail", "child_run_id", "seeded", "finish_reason")
    STEP_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SKIP_REASON_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_DETAIL_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    WAITING_FOR_FIELD_NUMBER: _ClassVar[int]
    WAITING_UNTIL_FIELD_NUMBER: _ClassVar[int]
    WAITING_DETAIL_FIELD_NUMBER: _ClassVar[int]
    CHILD_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SEEDED_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    step: str
    status: StepStatus
    attempt: int
    output: _struct_pb2.Value
    error: ErrorInfo
    scheduled_at: int
    started_at: int
    finished_at: int
    cost_nano_usd: int
    provider: str
    model: str
    prompt: str
    type: str
    skip_reason: str
    progress: float
    progress_detail: str
    lane: str
    waiting_for: str
    waiting_until: int
    waiting_detail: _struct_pb2.Struct
    child_run_id: str
    seeded: bool
    finish_reason: str
    def __init__(self, step: _Optional[str] = ..., status: _Optional[_Union[StepStatus, str]] = ..., attempt: _Optional[int] = ..., output: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., error: _Optional[_Union[ErrorInfo, _Mapping]] = ..., scheduled_at: _Optional[int] = ..., started_at: _Optional[int] = ..., finished_at: _Optional[int] = ..., cost_nano_usd: _Optional[int] = ..., provider: _Optional[str] = ..., model: _Optional[str] = ..., prompt: _Optional[str] = ..., type: _Optional[str] = ..., skip_reason: _Optional[str] = ..., progress: _Optional[float] = ..., progress_detail: _Optional[str] = ..., lane: _Optional[str] = ..., waiting_for: _Optional[str] = ..., waiting_until: _Optional[int] = ..., waiting_detail: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., child_run_id: _Optional[str] = ..., seeded: _Optional[bool] = ..., finish_reason: _Optional[str] = ...) -> None: ...

class ListRunsRequest(_message.Message):
    __slots__ = ("status", "workflow", "page_size", "page_token", "tags", "run_id_prefix")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STATUS_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_PREFIX_FIELD_NUMBER: _ClassVar[int]
    status: RunStatus
    workflow: str
    page_size: int
    page_token: str
    tags: _containers.ScalarMap[str, str]
    run_id_prefix: str
    def __init__(self, status: _Optional[_Union[RunStatus, str]] = ..., workflow: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., tags: _Optional[_Mapping[str, str]] = ..., run_id_prefix: _Optional[str] = ...) -> None: ...

class RunSummary(_message.Message):
    __slots__ = ("run_id", "workflow", "version", "status", "submitted_at", "finished_at", "cost_nano_usd", "tags", "error_type", "unregistered")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_AT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    UNREGISTERED_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    workflow: str
    version: int
    status: RunStatus
    submitted_at: int
    finished_at: int
    cost_nano_usd: int
    tags: _containers.ScalarMap[str, str]
    error_type: str
    unregistered: bool
    def __init__(self, run_id: _Optional[str] = ..., workflow: _Optional[str] = ..., version: _Optional[int] = ..., status: _Optional[_Union[RunStatus, str]] = ..., submitted_at: _Optional[int] = ..., finished_at: _Optional[int] = ..., cost_nano_usd: _Optional[int] = ..., tags: _Optional[_Mapping[str, str]] = ..., error_type: _Optional[str] = ..., unregistered: _Optional[bool] = ...) -> None: ...

class ListRunsResponse(_message.Message):
    __slots__ = ("runs", "next_page_token")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[RunSummary]
    next_page_token: str
    def __init__(self, runs: _Optional[_Iterable[_Union[RunSummary, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchRunRequest(_message.Message):
    __slots__ = ("run_id", "after_sequence", "include_tokens", "compact", "follow_chain", "parts", "after_part")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPACT_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_CHAIN_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    AFTER_PART_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    after_sequence: int
    include_tokens: bool
    compact: bool
    follow_chain: bool
    parts: bool
    after_part: int
    def __init__(self, run_id: _Optional[str] = ..., after_sequence: _Optional[int] = ..., include_tokens: _Optional[bool] = ..., compact: _Optional[bool] = ..., follow_chain: _Optional[bool] = ..., parts: _Optional[bool] = ..., after_part: _Optional[int] = ...) -> None: ...

class WatchRunResponse(_message.Message):
    __slots__ = ("event", "token", "events")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    event: RunEvent
    token: TokenChunk
    events: _containers.RepeatedCompositeFieldContainer[RunEvent]
    def __init__(self, event: _Optional[_Union[RunEvent, _Mapping]] = ..., token: _Optional[_Union[TokenChunk, _Mapping]] = ..., events: _Optional[_Iterable[_Union[RunEvent, _Mapping]]] = ...) -> None: ...

class RunEvent(_message.Message):
    __slots__ = ("sequence", "type", "ts", "step", "attempt", "body", "status", "cost_nano_usd", "steps_done", "steps_total", "body_json", "run_id", "part")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TS_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    STEPS_DONE_FIELD_NUMBER: _ClassVar[int]
    STEPS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    BODY_JSON_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    type: str
    ts: int
    step: str
    attempt: int
    body: _struct_pb2.Struct
    status: RunStatus
    cost_nano_usd: int
    steps_done: int
    steps_total: int
    body_json: bytes
    run_id: str
    part: int
    def __init__(self, sequence: _Optional[int] = ..., type: _Optional[str] = ..., ts: _Optional[int] = ..., step: _Optional[str] = ..., attempt: _Optional[int] = ..., body: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., status: _Optional[_Union[RunStatus, str]] = ..., cost_nano_usd: _Optional[int] = ..., steps_done: _Optional[int] = ..., steps_total: _Optional[int] = ..., body_json: _Optional[bytes] = ..., run_id: _Optional[str] = ..., part: _Optional[int] = ...) -> None: ...

class TokenChunk(_message.Message):
    __slots__ = ("step", "attempt", "offset", "text")
    STEP_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    step: str
    attempt: int
    offset: int
    text: str
    def __init__(self, step: _Optional[str] = ..., attempt: _Optional[int] = ..., offset: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class WaitRunRequest(_message.Message):
    __slots__ = ("run_id", "timeout_ms", "follow_chain")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_CHAIN_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    timeout_ms: int
    follow_chain: bool
    def __init__(self, run_id: _Optional[str] = ..., timeout_ms: _Optional[int] = ..., follow_chain: _Optional[bool] = ...) -> None: ...

class WaitRunResponse(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: Run
    def __init__(self, run: _Optional[_Union[Run, _Mapping]] = ...) -> None: ...

class WaitRunsRequest(_message.Message):
    __slots__ = ("waits",)
    WAITS_FIELD_NUMBER: _ClassVar[int]
    waits: _containers.RepeatedCompositeFieldContainer[WaitRunRequest]
    def __init__(self, waits: _Optional[_Iterable[_Union[WaitRunRequest, _Mapping]]] = ...) -> None: ...

class WaitRunsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[WaitResult]
    def __init__(self, results: _Optional[_Iterable[_Union[WaitResult, _Mapping]]] = ...) -> None: ...

class WaitResult(_message.Message):
    __slots__ = ("number", "waited", "error")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    WAITED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    number: int
    waited: WaitRunResponse
    error: bytes
    def __init__(self, number: _Optional[int] = ..., waited: _Optional[_Union[WaitRunResponse, _Mapping]] = ..., error: _Optional[bytes] = ...) -> None: ...

class CancelRunRequest(_message.Message):
    __slots__ = ("run_id", "reason", "grace_ms", "force")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GRACE_MS_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    reason: str
    grace_ms: int
    force: bool
    def __init__(self, run_id: _Optional[str] = ..., reason: _Optional[str] = ..., grace_ms: _Optional[int] = ..., force: _Optional[bool] = ...) -> None: ...

class CancelRunResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: RunStatus
    def __init__(self, status: _Optional[_Union[RunStatus, str]] = ...) -> None: ...

from agentflow.v1 import workflow_pb2 as _workflow_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ApprovalDecision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    APPROVAL_DECISION_UNSPECIFIED: _ClassVar[ApprovalDecision]
    APPROVAL_DECISION_APPROVE: _ClassVar[ApprovalDecision]
    APPROVAL_DECISION_REJECT: _ClassVar[ApprovalDecision]

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_COMPLETED: _ClassVar[Outcome]
    OUTCOME_RETRY: _ClassVar[Outcome]
    OUTCOME_FAIL: _ClassVar[Outcome]

class BatchAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BATCH_ACTION_UNSPECIFIED: _ClassVar[BatchAction]
    BATCH_ACTION_CANCEL: _ClassVar[BatchAction]
    BATCH_ACTION_PAUSE: _ClassVar[BatchAction]
    BATCH_ACTION_RESUME: _ClassVar[BatchAction]
    BATCH_ACTION_RETRY: _ClassVar[BatchAction]
    BATCH_ACTION_SIGNAL: _ClassVar[BatchAction]
APPROVAL_DECISION_UNSPECIFIED: ApprovalDecision
APPROVAL_DECISION_APPROVE: ApprovalDecision
APPROVAL_DECISION_REJECT: ApprovalDecision
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_COMPLETED: Outcome
OUTCOME_RETRY: Outcome
OUTCOME_FAIL: Outcome
BATCH_ACTION_UNSPECIFIED: BatchAction
BATCH_ACTION_CANCEL: BatchAction
BATCH_ACTION_PAUSE: BatchAction
BATCH_ACTION_RESUME: BatchAction
BATCH_ACTION_RETRY: BatchAction
BATCH_ACTION_SIGNAL: BatchAction

class DeleteWorkflowRequest(_message.Message):
    __slots__ = ("workflow", "version")
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    workflow: str
    version: int
    def __init__(self, workflow: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class DeleteWorkflowResponse(_message.Message):
    __slots__ = ("versions",)
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, versions: _Optional[_Iterable[int]] = ...) -> None: ...

class PauseRunRequest(_message.Message):
    __slots__ = ("run_id", "reason", "until")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    reason: str
    until: int
    def __init__(self, run_id: _Optional[str] = ..., reason: _Optional[str] = ..., until: _Optional[int] = ...) -> None: ...

class PauseRunResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: _workflow_pb2.RunStatus
    def __init__(self, status: _Optional[_Union[_workflow_pb2.RunStatus, str]] = ...) -> None: ...

class ResumeRunRequest(_message.Message):
    __slots__ = ("run_id", "reason")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    reason: str
    def __init__(self, run_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ResumeRunResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: _workflow_pb2.RunStatus
    def __init__(self, status: _Optional[_Union[_workflow_pb2.RunStatus, str]] = ...) -> None: ...

class BreakRunRequest(_message.Message):
    __slots__ = ("run_id", "at", "step_by_step", "remove", "reason")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    STEP_BY_STEP_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    at: _containers.RepeatedScalarFieldContainer[str]
    step_by_step: bool
    remove: bool
    reason: str
    def __init__(self, run_id: _Optional[str] = ..., at: _Optional[_Iterable[str]] = ..., step_by_step: _Optional[bool] = ..., remove: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class BreakRunResponse(_message.Message):
    __slots__ = ("status", "break_at", "step_by_step", "pending")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    BREAK_AT_FIELD_NUMBER: _ClassVar[int]
    STEP_BY_STEP_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    status: _workflow_pb2.RunStatus
    break_at: _containers.RepeatedScalarFieldContainer[str]
    step_by_step: bool
    pending: bool
    def __init__(self, status: _Optional[_Union[_workflow_pb2.RunStatus, str]] = ..., break_at: _Optional[_Iterable[str]] = ..., step_by_step: _Optional[bool] = ..., pending: _Optional[bool] = ...) -> None: ...

class ContinueRunRequest(_message.Message):
    __slots__ = ("run_id", "step_by_step", "to", "reason", "values")
    class ValuesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _struct_pb2.Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_BY_STEP_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    step_by_step: bool
    to: str
    reason: str
    values: _containers.MessageMap[str, _struct_pb2.Value]
    def __init__(self, run_id: _Optional[str] = ..., step_by_step: _Optional[bool] = ..., to: _Optional[str] = ..., reason: _Optional[str] = ..., values: _Optional[_Mapping[str, _struct_pb2.Value]] = ...) -> None: ...

class ContinueRunResponse(_message.Message):
    __slots__ = ("status", "steps", "stopped_before", "pending")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    STOPPED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    status: _workflow_pb2.RunStatus
    steps: _containers.RepeatedScalarFieldContainer[str]
    stopped_before: _containers.RepeatedScalarFieldContainer[str]
    pending: bool
    def __init__(self, status: _Optional[_Union[_workflow_pb2.RunStatus, str]] = ..., steps: _Optional[_Iterable[str]] = ..., stopped_before: _Optional[_Iterable[str]] = ..., pending: _Optional[bool] = ...) -> None: ...

class SignalRunRequest(_message.Message):
    __slots__ = ("run_id", "name", "payload", "signal_id")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    name: str
    payload: _struct_pb2.Value
    signal_id: str
    def __init__(self, run_id: _Optional[str] = ..., name: _Optional[str] = ..., payload: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., signal_id: _Optional[str] = ...) -> None: ...

class SignalRunResponse(_message.Message):
    __slots__ = ("status", "deduplicated", "pending", "run_id")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DEDUPLICATED_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    status: _workflow_pb2.RunStatus
    deduplicated: bool
    pending: bool
    run_id: str
    def __init__(self, status: _Optional[_Union[_workflow_pb2.RunStatus, str]] = ..., deduplicated: _Optional[bool] = ..., pending: _Optional[bool] = ..., run_id: _Optional[str] = ...) -> None: ...

class AnswerApprovalRequest(_message.Message):
    __slots__ = ("run_id", "step", "decision", "comment", "data", "as_person")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    AS_PERSON_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    step: str
    decision: ApprovalDecision
    comment: str
    data: _struct_pb2.Value
    as_person: str
    def __init__(self, run_id: _Optional[str] = ..., step: _Optional[str] = ..., decision: _Optional[_Union[ApprovalDecision, str]] = ..., comment: _Optional[str] = ..., data: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., as_person: _Optional[str] = ...) -> None: ...

class AnswerApprovalResponse(_message.Message):
    __slots__ = ("by", "repeated", "approvals", "required", "pending")
    BY_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    APPROVALS_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    by: str
    repeated: bool
    approvals: int
    required: int
    pending: bool
    def __init__(self, by: _Optional[str] = ..., repeated: _Optional[bool] = ..., approvals: _Optional[int] = ..., required: _Optional[int] = ..., pending: _Optional[bool] = ...) -> None: ...

class ListApprovalsRequest(_message.Message):
    __slots__ = ("workflow", "approver", "page_size", "page_token")
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    APPROVER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    workflow: str
    approver: str
    page_size: int
    page_token: str
    def __init__(self, workflow: _Optional[str] = ..., approver: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class Approval(_message.Message):
    __slots__ = ("run_id", "workflow", "step", "message", "approvers", "required", "answers", "since", "expires_at")
    class AnswersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    APPROVERS_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    workflow: str
    step: str
    message: str
    approvers: _containers.RepeatedScalarFieldContainer[str]
    required: int
    answers: _containers.ScalarMap[str, str]
    since: int
    expires_at: int
    def __init__(self, run_id: _Optional[str] = ..., workflow: _Optional[str] = ..., step: _Optional[str] = ..., message: _Optional[str] = ..., approvers: _Optional[_Iterable[str]] = ..., required: _Optional[int] = ..., answers: _Optional[_Mapping[str, str]] = ..., since: _Optional[int] = ..., expires_at: _Optional[int] = ...) -> None: ...

class ListApprovalsResponse(_message.Message):
    __slots__ = ("approvals", "next_page_token")
    APPROVALS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    approvals: _containers.RepeatedCompositeFieldContainer[Approval]
    next_page_token: str
    def __init__(self, approvals: _Optional[_Iterable[_Union[Approval, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ResolveOutcomeRequest(_message.Message):
    __slots__ = ("run_id", "step", "outcome", "output", "reason")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    step: str
    outcome: Outcome
    output: _struct_pb2.Value
    reason: str
    def __init__(self, run_id: _Optional[str] = ..., step: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., output: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class ResolveOutcomeResponse(_message.Message):
    __slots__ = ("attempt", "pending")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    pending: bool
    def __init__(self, attempt: _Optional[int] = ..., pending: _Optional[bool] = ...) -> None: ...

class RunChanges(_message.Message):
    __slots__ = ("inputs", "prompts", "models", "step_inputs")
    class PromptsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class ModelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class StepInputsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _struct_pb2.Struct
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    STEP_INPUTS_FIELD_NUMBER: _ClassVar[int]
    inputs: _struct_pb2.Struct
    prompts: _containers.ScalarMap[str, str]
    models: _containers.ScalarMap[str, str]
    step_inputs: _containers.MessageMap[str, _struct_pb2.Struct]
    def __init__(self, inputs: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., prompts: _Optional[_Mapping[str, str]] = ..., models: _Optional[_Mapping[str, str]] = ..., step_inputs: _Optional[_Mapping[str, _struct_pb2.Struct]] = ...) -> None: ...

class ForkRunRequest(_message.Message):
    __slots__ = ("run_id", "at", "changes", "idempotency_key", "tags")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    at: str
    changes: RunChanges
    idempotency_key: str
    tags: _containers.ScalarMap[str, str]
    def __init__(self, run_id: _Optional[str] = ..., at: _Optional[str] = ..., changes: _Optional[_Union[RunChanges, _Mapping]] = ..., idempotency_key: _Optional[str] = ..., tags: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ForkRunResponse(_message.Message):
    __slots__ = ("run_id", "deduplicated", "kept", "stale")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    DEDUPLICATED_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    deduplicated: bool
    kept: _containers.RepeatedScalarFieldContainer[str]
    stale: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, run_id: _Optional[str] = ..., deduplicated: _Optional[bool] = ..., kept: _Optional[_Iterable[str]] = ..., stale: _Optional[_Iterable[str]] = ...) -> None: ...

class RetryRunRequest(_message.Message):
    __slots__ = ("run_id", "idempotency_key", "changes")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    idempotency_key: str
    changes: RunChanges
    def __init__(self, run_id: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., changes: _Optional[_Union[RunChanges, _Mapping]] = ...) -> None: ...

class RetryRunResponse(_message.Message):
    __slots__ = ("run_id", "deduplicated", "kept")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    DEDUPLICATED_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    deduplicated: bool
    kept: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, run_id: _Optional[str] = ..., deduplicated: _Optional[bool] = ..., kept: _Optional[_Iterable[str]] = ...) -> None: ...

class ExplainRunRequest(_message.Message):
    __slots__ = ("run_id",)
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    def __init__(self, run_id: _Optional[str] = ...) -> None: ...

class ExplainRunResponse(_message.Message):
    __slots__ = ("status", "summary", "waiting", "more")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    status: _workflow_pb2.RunStatus
    summary: str
    waiting: _containers.RepeatedCompositeFieldContainer[Waiting]
    more: int
    def __init__(self, status: _Optional[_Union[_workflow_pb2.RunStatus, str]] = ..., summary: _Optional[str] = ..., waiting: _Optional[_Iterable[_Union[Waiting, _Mapping]]] = ..., more: _Optional[int] = ...) -> None: ...

class Waiting(_message.Message):
    __slots__ = ("step", "kind", "text", "on", "until", "since", "detail")
    STEP_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ON_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    step: str
    kind: str
    text: str
    on: str
    until: int
    since: int
    detail: _struct_pb2.Struct
    def __init__(self, step: _Optional[str] = ..., kind: _Optional[str] = ..., text: _Optional[str] = ..., on: _Optional[str] = ..., until: _Optional[int] = ..., since: _Optional[int] = ..., detail: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class RunFilter(_message.Message):
    __slots__ = ("status", "workflow", "tags", "since", "until", "error_type")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STATUS_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    status: _workflow_pb2.RunStatus
    workflow: str
    tags: _containers.ScalarMap[str, str]
    since: int
    until: int
    error_type: str
    def __init__(self, status: _Optional[_Union[_workflow_pb2.RunStatus, str]] = ..., workflow: _Optional[str] = ..., tags: _Optional[_Mapping[str, str]] = ..., since: _Optional[int] = ..., until: _Optional[int] = ..., error_type: _Optional[str] = ...) -> None: ...

class BatchRunsRequest(_message.Message):
    __slots__ = ("action", "filter", "execute", "limit", "cursor", "reason", "grace_ms", "force", "signal", "payload", "batch_id", "until")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    EXECUTE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GRACE_MS_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    action: BatchAction
    filter: RunFilter
    execute: bool
    limit: int
    cursor: str
    reason: str
    grace_ms: int
    force: bool
    signal: str
    payload: _struct_pb2.Value
    batch_id: str
    until: int
    def __init__(self, action: _Optional[_Union[BatchAction, str]] = ..., filter: _Optional[_Union[RunFilter, _Mapping]] = ..., execute: _Optional[bool] = ..., limit: _Optional[int] = ..., cursor: _Optional[str] = ..., reason: _Optional[str] = ..., grace_ms: _Optional[int] = ..., force: _Optional[bool] = ..., signal: _Optional[str] = ..., payload: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., batch_id: _Optional[str] = ..., until: _Optional[int] = ...) -> None: ...

class BatchRunsResponse(_message.Message):
    __slots__ = ("matched", "done", "failed", "sample", "failures", "cursor", "finished", "created")
    class CreatedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MATCHED_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    matched: int
    done: int
    failed: int
    sample: _containers.RepeatedCompositeFieldContainer[_workflow_pb2.RunSummary]
    failures: _containers.RepeatedCompositeFieldContainer[BatchFailure]
    cursor: str
    finished: bool
    created: _containers.ScalarMap[str, str]
    def __init__(self, matched: _Optional[int] = ..., done: _Optional[int] = ..., failed: _Optional[int] = ..., sample: _Optional[_Iterable[_Union[_workflow_pb2.RunSummary, _Mapping]]] = ..., failures: _Optional[_Iterable[_Union[BatchFailure, _Mapping]]] = ..., cursor: _Optional[str] = ..., finished: _Optional[bool] = ..., created: _Optional[_Mapping[str, str]] = ...) -> None: ...

class BatchFailure(_message.Message):
    __slots__ = ("run_id", "kind", "message")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    kind: str
    message: str
    def __init__(self, run_id: _Optional[str] = ..., kind: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class PauseWorkflowRequest(_message.Message):
    __slots__ = ("workflow", "reason", "until")
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    workflow: str
    reason: str
    until: int
    def __init__(self, workflow: _Optional[str] = ..., reason: _Optional[str] = ..., until: _Optional[int] = ...) -> None: ...

class PauseWorkflowResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ResumeWorkflowRequest(_message.Message):
    __slots__ = ("workflow",)
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    workflow: str
    def __init__(self, workflow: _Optional[str] = ...) -> None: ...

class ResumeWorkflowResponse(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: bool
    def __init__(self, changed: _Optional[bool] = ...) -> None: ...

class Lane(_message.Message):
    __slots__ = ("name", "limit", "rate_per_s", "paused", "reason", "by", "at", "keyed", "active", "queued", "workers", "holders", "paused_until")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    RATE_PER_S_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    KEYED_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    PAUSED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    name: str
    limit: int
    rate_per_s: float
    paused: bool
    reason: str
    by: str
    at: int
    keyed: bool
    active: int
    queued: int
    workers: int
    holders: _containers.RepeatedScalarFieldContainer[str]
    paused_until: int
    def __init__(self, name: _Optional[str] = ..., limit: _Optional[int] = ..., rate_per_s: _Optional[float] = ..., paused: _Optional[bool] = ..., reason: _Optional[str] = ..., by: _Optional[str] = ..., at: _Optional[int] = ..., keyed: _Optional[bool] = ..., active: _Optional[int] = ..., queued: _Optional[int] = ..., workers: _Optional[int] = ..., holders: _Optional[_Iterable[str]] = ..., paused_until: _Optional[int] = ...) -> None: ...

class ListLanesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListLanesResponse(_message.Message):
    __slots__ = ("lanes", "next_page_token")
    LANES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    lanes: _containers.RepeatedCompositeFieldContainer[Lane]
    next_page_token: str
    def __init__(self, lanes: _Optional[_Iterable[_Union[Lane, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetLaneRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetLaneResponse(_message.Message):
    __slots__ = ("lane",)
    LANE_FIELD_NUMBER: _ClassVar[int]
    lane: Lane
    def __init__(self, lane: _Optional[_Union[Lane, _Mapping]] = ...) -> None: ...

class SetLaneRequest(_message.Message):
    __slots__ = ("name", "limit", "rate_per_s", "paused", "reason", "until")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    RATE_PER_S_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    name: str
    limit: int
    rate_per_s: float
    paused: bool
    reason: str
    until: int
    def __init__(self, name: _Optional[str] = ..., limit: _Optional[int] = ..., rate_per_s: _Optional[float] = ..., paused: _Optional[bool] = ..., reason: _Optional[str] = ..., until: _Optional[int] = ...) -> None: ...

class SetLaneResponse(_message.Message):
    __slots__ = ("lane",)
    LANE_FIELD_NUMBER: _ClassVar[int]
    lane: Lane
    def __init__(self, lane: _Optional[_Union[Lane, _Mapping]] = ...) -> None: ...

class ListWorkflowsRequest(_message.Message):
    __slots__ = ("name_prefix", "page_size", "page_token")
    NAME_PREFIX_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    name_prefix: str
    page_size: int
    page_token: str
    def __init__(self, name_prefix: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListWorkflowsResponse(_message.Message):
    __slots__ = ("workflows", "next_page_token")
    WORKFLOWS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    workflows: _containers.RepeatedCompositeFieldContainer[RegisteredWorkflow]
    next_page_token: str
    def __init__(self, workflows: _Optional[_Iterable[_Union[RegisteredWorkflow, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class RegisteredWorkflow(_message.Message):
    __slots__ = ("name", "version", "digest", "created_at", "created_by", "versions", "labels", "paused", "paused_until")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    PAUSED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    digest: str
    created_at: int
    created_by: str
    versions: int
    labels: _containers.RepeatedCompositeFieldContainer[WorkflowLabel]
    paused: bool
    paused_until: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., digest: _Optional[str] = ..., created_at: _Optional[int] = ..., created_by: _Optional[str] = ..., versions: _Optional[int] = ..., labels: _Optional[_Iterable[_Union[WorkflowLabel, _Mapping]]] = ..., paused: _Optional[bool] = ..., paused_until: _Optional[int] = ...) -> None: ...

class WorkflowLabel(_message.Message):
    __slots__ = ("label", "version", "canary_version", "canary_percent")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CANARY_VERSION_FIELD_NUMBER: _ClassVar[int]
    CANARY_PERCENT_FIELD_NUMBER: _ClassVar[int]
    label: str
    version: int
    canary_version: int
    canary_percent: int
    def __init__(self, label: _Optional[str] = ..., version: _Optional[int] = ..., canary_version: _Optional[int] = ..., canary_percent: _Optional[int] = ...) -> None: ...

class GetWorkflowRequest(_message.Message):
    __slots__ = ("workflow",)
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    workflow: str
    def __init__(self, workflow: _Optional[str] = ...) -> None: ...

class GetWorkflowResponse(_message.Message):
    __slots__ = ("workflow", "definition", "definition_text")
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_TEXT_FIELD_NUMBER: _ClassVar[int]
    workflow: RegisteredWorkflow
    definition: _struct_pb2.Struct
    definition_text: str
    def __init__(self, workflow: _Optional[_Union[RegisteredWorkflow, _Mapping]] = ..., definition: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., definition_text: _Optional[str] = ...) -> None: ...

class ListVersionsRequest(_message.Message):
    __slots__ = ("workflow", "page_size", "page_token")
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    workflow: str
    page_size: int
    page_token: str
    def __init__(self, workflow: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class WorkflowVersion(_message.Message):
    __slots__ = ("version", "digest", "created_at", "created_by", "labels")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    version: int
    digest: str
    created_at: int
    created_by: str
    labels: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, version: _Optional[int] = ..., digest: _Optional[str] = ..., created_at: _Optional[int] = ..., created_by: _Optional[str] = ..., labels: _Optional[_Iterable[str]] = ...) -> None: ...

class ListVersionsResponse(_message.Message):
    __slots__ = ("versions", "paused", "paused_reason", "next_page_token", "paused_until")
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    PAUSED_REASON_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PAUSED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[WorkflowVersion]
    paused: bool
    paused_reason: str
    next_page_token: str
    paused_until: int
    def __init__(self, versions: _Optional[_Iterable[_Union[WorkflowVersion, _Mapping]]] = ..., paused: _Optional[bool] = ..., paused_reason: _Optional[str] = ..., next_page_token: _Optional[str] = ..., paused_until: _Optional[int] = ...) -> None: ...

class SetLabelRequest(_message.Message):
    __slots__ = ("workflow", "version", "label", "percent", "remove")
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    workflow: str
    version: int
    label: str
    percent: int
    remove: bool
    def __init__(self, workflow: _Optional[str] = ..., version: _Optional[int] = ..., label: _Optional[str] = ..., percent: _Optional[int] = ..., remove: _Optional[bool] = ...) -> None: ...

class SetLabelResponse(_message.Message):
    __slots__ = ("version", "canary_version", "canary_percent", "changed")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CANARY_VERSION_FIELD_NUMBER: _ClassVar[int]
    CANARY_PERCENT_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    version: int
    canary_version: int
    canary_percent: int
    changed: bool
    def __init__(self, version: _Optional[int] = ..., canary_version: _Optional[int] = ..., canary_percent: _Optional[int] = ..., changed: _Optional[bool] = ...) -> None: ...

class DefinitionSource(_message.Message):
    __slots__ = ("workflow", "run_id", "definition_text")
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_TEXT_FIELD_NUMBER: _ClassVar[int]
    workflow: str
    run_id: str
    definition_text: str
    def __init__(self, workflow: _Optional[str] = ..., run_id: _Optional[str] = ..., definition_text: _Optional[str] = ...) -> None: ...

class DiffWorkflowsRequest(_message.Message):
    __slots__ = ("old", "new")
    OLD_FIELD_NUMBER: _ClassVar[int]
    NEW_FIELD_NUMBER: _ClassVar[int]
    old: DefinitionSource
    new: DefinitionSource
    def __init__(self, old: _Optional[_Union[DefinitionSource, _Mapping]] = ..., new: _Optional[_Union[DefinitionSource, _Mapping]] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("kind", "what", "name", "fields")
    KIND_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    what: str
    name: str
    fields: _containers.RepeatedCompositeFieldContainer[FieldChange]
    def __init__(self, kind: _Optional[str] = ..., what: _Optional[str] = ..., name: _Optional[str] = ..., fields: _Optional[_Iterable[_Union[FieldChange, _Mapping]]] = ...) -> None: ...

class FieldChange(_message.Message):
    __slots__ = ("path", "old", "new")
    PATH_FIELD_NUMBER: _ClassVar[int]
    OLD_FIELD_NUMBER: _ClassVar[int]
    NEW_FIELD_NUMBER: _ClassVar[int]
    path: str
    old: _struct_pb2.Value
    new: _struct_pb2.Value
    def __init__(self, path: _Optional[str] = ..., old: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., new: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...

class DiffWorkflowsResponse(_message.Message):
    __slots__ = ("changes", "old_name", "new_name")
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    OLD_NAME_FIELD_NUMBER: _ClassVar[int]
    NEW_NAME_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    old_name: str
    new_name: str
    def __init__(self, changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., old_name: _Optional[str] = ..., new_name: _Optional[str] = ...) -> None: ...

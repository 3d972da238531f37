"""Answers about approvals."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentflow_sdk.models.records import Record, RecordPage


@dataclass(frozen=True, slots=True)
class Approval(Record):
    """A step that waits for an approval."""

    run_id: str
    """The id of the run."""
    workflow: str
    """The name of the run's workflow."""
    step: str
    """The key of the step."""
    message: str = ""
    """The question."""
    approvers: tuple[str, ...] = ()
    """The people who may answer; empty for anyone with the permission `write`."""
    required: int = 1
    """The number of approvals that the step needs."""
    answers: dict[str, str] = field(default_factory=dict)
    """The answers so far, `approve` or `reject`, by person."""
    since: int = 0
    """When the step began to wait, ms since the epoch."""
    expires_at: int = 0
    """When the step stops waiting, ms since the epoch; 0 for never."""


@dataclass(frozen=True, slots=True)
class ApprovalPage(RecordPage[Approval]):
    """A page of approvals. It can be iterated over."""

    approvals: tuple[Approval, ...]
    """The approvals of the page."""
    next_page_token: str = ""
    """The `page_token` of the next page; empty on the last page."""


@dataclass(frozen=True, slots=True)
class Answered(Record):
    """The result of an answer to an approval."""

    by: str
    """The person in whose name the answer counts."""
    repeated: bool
    """True if this person had given this answer before."""
    approvals: int
    """The number of approvals so far."""
    required: int
    """The number of approvals that the step needs."""
    pending: bool = False
    """True if the answer is recorded and no scheduler has read it yet. It counts unless the run ends first."""

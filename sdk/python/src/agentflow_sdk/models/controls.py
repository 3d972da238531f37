"""What the API answers about controls of runs, lanes and versions. See models/workflows.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from agentflow_sdk.models.records import Record, RunStatus
from agentflow_sdk.models.workflows import RunSummary


@dataclass(frozen=True, slots=True)
class Approval(Record):
    """A step that waits for an approval. approvers: empty for anyone with `write`. answers: by person."""

    run_id: str
    workflow: str
    step: str
    message: str = ""
    approvers: tuple[str, ...] = ()
    required: int = 1
    answers: dict[str, str] = field(default_factory=dict)
    since: int = 0
    expires_at: int = 0


@dataclass(frozen=True, slots=True)
class ApprovalPage(Record):
    approvals: tuple[Approval, ...]
    next_page_token: str = ""

    def __iter__(self) -> Iterator[Approval]:
        return iter(self.approvals)

    def __len__(self) -> int:
        return len(self.approvals)


@dataclass(frozen=True, slots=True)
class Answered(Record):
    """by: in whose name the answer counts. repeated: it had been given before. pending: it is recorded, and no
    scheduler has looked at it yet."""

    by: str
    repeated: bool
    approvals: int
    required: int
    pending: bool = False


@dataclass(frozen=True, slots=True)
class Signalled(Record):
    """status: the run's, when the signal was recorded. deduplicated: a signal with this id was there. pending: a step
    waits for it, and no scheduler has looked at it yet."""

    status: RunStatus
    deduplicated: bool = False
    pending: bool = False


@dataclass(frozen=True, slots=True)
class Fork(Record):
    """kept: steps whose result the new run has. stale: those that had read an input that was changed."""

    run_id: str
    deduplicated: bool = False
    kept: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Waiting(Record):
    """Why a step has not gone on. on: what it waits for. until: when it ends by itself, 0 if not."""

    step: str
    kind: str
    text: str
    on: str = ""
    until: int = 0
    since: int = 0
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Explanation(Record):
    """summary: what holds up the run as a whole. more: steps that are not listed."""

    status: RunStatus
    summary: str
    waiting: tuple[Waiting, ...] = ()
    more: int = 0


@dataclass(frozen=True, slots=True)
class BatchFailure(Record):
    run_id: str
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class BatchProgress(Record):
    """How far a batch is. matched, sample: in the first one. created: new runs by the one that was retried."""

    matched: int = 0
    done: int = 0
    failed: int = 0
    sample: tuple[RunSummary, ...] = ()
    failures: tuple[BatchFailure, ...] = ()
    cursor: str = ""
    finished: bool = False
    created: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lane(Record):
    """limit, rate_per_s: None for no bound. keyed: made from a template in definitions. workers: that ask for tasks."""

    name: str
    limit: int | None = None
    rate_per_s: float | None = None
    paused: bool = False
    reason: str = ""
    by: str = ""
    at: int = 0
    keyed: bool = False
    active: int = 0
    queued: int = 0
    workers: int = 0
    holders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkflowVersion(Record):
    version: int
    digest: str
    created_at: int = 0
    created_by: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Versions(Record):
    """versions: newest first. paused: the workflow's runs are held."""

    versions: tuple[WorkflowVersion, ...]
    paused: bool = False
    paused_reason: str = ""
    next_page_token: str = ""

    def __iter__(self) -> Iterator[WorkflowVersion]:
        return iter(self.versions)

    def __len__(self) -> int:
        return len(self.versions)


@dataclass(frozen=True, slots=True)
class Label(Record):
    """canary_percent of the label's submissions go to canary_version; version 0: the label was taken away."""

    version: int
    canary_version: int = 0
    canary_percent: int = 0
    changed: bool = False


@dataclass(frozen=True, slots=True)
class FieldChange(Record):
    """None: the field is not there, or is null."""

    path: str
    old: Any = None
    new: Any = None


@dataclass(frozen=True, slots=True)
class Change(Record):
    """kind: node, edge, input, output or workflow. what: added, removed or changed."""

    kind: str
    what: str
    name: str
    fields: tuple[FieldChange, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkflowDiff(Record):
    old_name: str
    new_name: str
    changes: tuple[Change, ...] = ()

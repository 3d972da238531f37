"""What the API answers, as frozen dataclasses.

Money is an integer number of nano-USD (1 USD = 10^9) so that sums are exact; `cost_usd` and friends give a Decimal for
people. Times are milliseconds since the Unix epoch, 0 while it has not happened yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from agentflow_sdk.errors import Problem, RunFailedError
from agentflow_sdk.models.records import NANO_PER_USD, BudgetPeriod, Page, Record, RunStatus, StepStatus, to_nano, usd
from agentflow_sdk.models.traces import Trace, TraceEvent, TraceStep, TraceSummary


@dataclass(frozen=True, slots=True)
class ErrorInfo(Record):
    """Why a step or a run failed. type: the stable name that retry policies match."""

    type: str
    message: str
    retryable: bool = False


@dataclass(frozen=True, slots=True)
class Step(Record):
    """A step of a run as it stands. type: its node type. prompt: the pinned `name@version` of an LLM step.

    progress: 0 to 1, by its latest heartbeat. waiting_for: `wait`, `signal`, `approval`, `subworkflow` or `lane`.
    seeded: its result is that of the run that this one was forked from.
    finish_reason: how a model's answer ended: `stop`, `length`, `tool_calls`, `filtered`, `unknown`, or `error`.
    """

    step: str
    status: StepStatus
    attempt: int = 0
    output: Any = None
    error: ErrorInfo | None = None
    scheduled_at: int = 0
    started_at: int = 0
    finished_at: int = 0
    cost_nano_usd: int = 0
    provider: str = ""
    model: str = ""
    prompt: str = ""
    type: str = ""
    skip_reason: str = ""
    progress: float = 0.0
    progress_detail: str = ""
    lane: str = ""
    waiting_for: str = ""
    waiting_until: int = 0
    waiting_detail: dict[str, Any] = field(default_factory=dict)
    child_run_id: str = ""
    seeded: bool = False
    finish_reason: str = ""

    @property
    def cost_usd(self) -> Decimal:
        return usd(self.cost_nano_usd)

    @property
    def duration_ms(self) -> int:
        """From the start of the latest attempt to its end; 0 while it is not over."""
        begun = self.started_at or self.scheduled_at
        return max(0, self.finished_at - begun) if self.finished_at and begun else 0


@dataclass(frozen=True, slots=True)
class Run(Record):
    """A run as it stands. redactions: findings of the security service by entity. last_sequence: newest event held.

    origin_kind: `fork`, `retry`, `continue` or `schedule`. derived_run_ids: forks and retries of this run.
    unregistered: its definition is not the one that is registered under its name and version.
    """

    run_id: str
    workflow: str
    version: int
    status: RunStatus
    inputs: Any = None
    output: Any = None
    error: ErrorInfo | None = None
    steps: tuple[Step, ...] = ()
    submitted_at: int = 0
    started_at: int = 0
    finished_at: int = 0
    cost_nano_usd: int = 0
    budget_nano_usd: int | None = None
    tags: dict[str, str] = field(default_factory=dict)
    redactions: dict[str, int] = field(default_factory=dict)
    trace_id: str = ""
    last_sequence: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    parent_run_id: str = ""
    parent_step: str = ""
    origin_kind: str = ""
    origin_run_id: str = ""
    origin_step: str = ""
    continued_as: str = ""
    paused_reason: str = ""
    waiting_steps: tuple[str, ...] = ()
    derived_run_ids: tuple[str, ...] = ()
    unregistered: bool = False

    @property
    def cost_usd(self) -> Decimal:
        return usd(self.cost_nano_usd)

    @property
    def budget_usd(self) -> Decimal | None:
        return None if self.budget_nano_usd is None else usd(self.budget_nano_usd)

    @property
    def duration_ms(self) -> int:
        """From submission to the end; 0 while the run is not over."""
        return max(0, self.finished_at - self.submitted_at) if self.finished_at else 0

    def step(self, name: str) -> Step:
        """The step of that name. Raises KeyError."""
        for item in self.steps:
            if item.step == name:
                return item
        raise KeyError(f"run {self.run_id} has no step {name!r}")

    def raise_for_status(self) -> Run:
        """Returns the run if it completed, raises `RunFailedError` if it ended otherwise or is still under way."""
        if self.status is RunStatus.COMPLETED:
            return self
        why = f": {self.error.message}" if self.error else ""
        raise RunFailedError(f"run {self.run_id} is {self.status.value}{why}", self)


@dataclass(frozen=True, slots=True)
class RunSummary(Record):
    run_id: str
    workflow: str
    version: int
    status: RunStatus
    submitted_at: int = 0
    finished_at: int = 0
    cost_nano_usd: int = 0
    tags: dict[str, str] = field(default_factory=dict)
    error_type: str = ""
    unregistered: bool = False

    @property
    def cost_usd(self) -> Decimal:
        return usd(self.cost_nano_usd)


@dataclass(frozen=True, slots=True)
class RunPage(Record):
    """A page of runs, newest first; iterate over it. next_page_token: empty on the last page."""

    runs: tuple[RunSummary, ...]
    next_page_token: str = ""

    def __iter__(self) -> Iterator[RunSummary]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)


@dataclass(frozen=True, slots=True)
class Registration(Record):
    """created: False if this very definition was there already. digest: hex SHA-256 of the canonical definition."""

    name: str
    version: int
    digest: str
    created: bool


@dataclass(frozen=True, slots=True)
class Validation(Record):
    valid: bool
    problems: tuple[Problem, ...] = ()
    name: str = ""
    version: int = 0
    steps: int = 0


@dataclass(frozen=True, slots=True)
class Submission(Record):
    """deduplicated: the idempotency key had been used before, nothing new was started."""

    run_id: str
    deduplicated: bool = False


@dataclass(frozen=True, slots=True)
class RunEvent(Record):
    """An event of a run. status, cost and steps: the run's own, once this event is folded."""

    sequence: int
    type: str
    ts: int
    step: str = ""
    attempt: int = 0
    body: dict[str, Any] = field(default_factory=dict)
    status: RunStatus = RunStatus.UNSPECIFIED
    cost_nano_usd: int = 0
    steps_done: int = 0
    steps_total: int = 0

    @property
    def cost_usd(self) -> Decimal:
        return usd(self.cost_nano_usd)


@dataclass(frozen=True, slots=True)
class Token(Record):
    """A piece of a model's answer while it is being written. offset: where it stands in the step's answer."""

    step: str
    attempt: int
    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class Prompt(Record):
    """An immutable prompt version. inputs_schema: JSON Schema of the inputs object."""

    name: str
    version: int
    template: str
    system: str = ""
    description: str = ""
    inputs_schema: dict[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    task: str = ""
    max_output_tokens: int = 0
    temperature: float = 0.0
    created_at: int = 0
    created_by: str = ""
    sha256: str = ""

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class Budget(Record):
    """scope: `org` or `workflow:<name>`. period_start, period_end: of the current period."""

    id: str
    name: str
    period: BudgetPeriod
    limit_nano_usd: int
    scope: str = "org"
    spent_nano_usd: int = 0
    reserved_nano_usd: int = 0
    period_start: int = 0
    period_end: int = 0
    created_at: int = 0

    @property
    def limit_usd(self) -> Decimal:
        return usd(self.limit_nano_usd)

    @property
    def spent_usd(self) -> Decimal:
        return usd(self.spent_nano_usd)

    @property
    def remaining_usd(self) -> Decimal:
        """What may still be reserved in this period; never below zero."""
        return usd(max(0, self.limit_nano_usd - self.spent_nano_usd - self.reserved_nano_usd))


__all__ = [
    "NANO_PER_USD", "Budget", "BudgetPeriod", "ErrorInfo", "Page", "Prompt", "Record", "Registration", "Run",
    "RunEvent", "RunPage", "RunStatus", "RunSummary", "Step", "StepStatus", "Submission", "Token", "Trace",
    "TraceEvent", "TraceStep", "TraceSummary", "Validation", "to_nano", "usd",
]  # fmt: skip

"""Answers about traces."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from agentflow_sdk.models.records import Priced, Record
from agentflow_sdk.models.statuses import RunStatus, StepStatus
from agentflow_sdk.models.traces.calls import TraceCall
from agentflow_sdk.models.traces.views import TraceNode, TraceSegment


@dataclass(frozen=True, slots=True)
class TraceStep(Priced):
    """One attempt of a step. Times are ms since the epoch."""

    step: str
    """The key of the step."""
    attempt: int
    """The number of the attempt, from 1."""
    status: StepStatus
    """How the attempt ended."""
    scheduled_at: int = 0
    """When it was offered to the workers."""
    started_at: int = 0
    """When a worker started it."""
    finished_at: int = 0
    """When it ended."""
    wait_ms: int = 0
    """The time that it waited for a worker, ms."""
    duration_ms: float = 0.0
    """The time that the work itself took, ms."""
    cost_nano_usd: int = 0
    """The cost, nano-USD."""
    provider: str = ""
    """The provider whose model answered."""
    model: str = ""
    """The model that answered."""
    prompt: str = ""
    """The `name@version` of the prompt."""
    input_tokens: int = 0
    """The tokens that the model read."""
    output_tokens: int = 0
    """The tokens that the model wrote."""
    cache_hit: bool = False
    """True if the answer came from the cache."""
    worker: str = ""
    """The worker that executed it."""
    error: str = ""
    """Why it failed."""
    redactions: dict[str, int] = field(default_factory=dict)
    """The number of private values that were replaced, by category."""
    finish_reason: str = ""
    """How a model's answer ended: `stop`, `length`, `tool_calls`, `filtered`, `unknown` or `error`."""
    reason: str = ""
    """Why the step was skipped or cancelled."""
    kind: str = ""
    """The type of its node; of a part of a map or a loop, the type of the body."""
    child_run_id: str = ""
    """The run of its subworkflow."""
    queued_at: int = 0
    """When it asked for a slot of its keyed lane; 0 if it has none."""
    calls: tuple[TraceCall, ...] = ()
    """The calls of providers. Their tokens and costs sum to those of the attempt without its subworkflow."""


@dataclass(frozen=True, slots=True)
class TraceEvent(Record):
    """An event in the trace of a run."""

    stream: str
    """The stream of the log."""
    sequence: int
    """The place in the stream."""
    ts: int
    """When it happened, ms since the epoch."""
    type: str
    """The type of the event."""
    step: str = ""
    """The key of the step; empty for an event of the whole run."""
    attempt: int = 0
    """The attempt of the step, from 1."""
    body: dict[str, Any] = field(default_factory=dict)
    """The event as the log stores it, or a step's own report if it was stored with others. Empty unless bodies were
    asked for."""
    part: int = 0
    """The place among the events of this sequence, from 0: a worker may report several quick steps in one."""


@dataclass(frozen=True, slots=True)
class Trace(Priced):
    """Everything that happened to a run. Times are ms since the epoch."""

    run_id: str
    """The id of the run."""
    workflow: str
    """The name of its workflow."""
    status: RunStatus
    """The state of the run."""
    trace_id: str = ""
    """The id of the OpenTelemetry trace."""
    started_at: int = 0
    """When the run was submitted."""
    finished_at: int = 0
    """When the run ended."""
    cost_nano_usd: int = 0
    """The cost, nano-USD."""
    input_tokens: int = 0
    """The tokens that models read."""
    output_tokens: int = 0
    """The tokens that models wrote."""
    redactions: dict[str, int] = field(default_factory=dict)
    """The number of private values that were replaced, by category."""
    steps: tuple[TraceStep, ...] = ()
    """The attempts of the steps."""
    events: tuple[TraceEvent, ...] = ()
    """The events, in the order of the log."""
    version: int = 0
    """The version of its workflow."""
    truncated: bool = False
    """True if bodies or events are missing."""
    unregistered: bool = False
    """True if the run has a definition of its own that differs from the registered one of its name and version."""
    nodes: tuple[TraceNode, ...] = ()
    """The nodes of its definition; none if there are more than 5,000."""
    critical_path: tuple[TraceSegment, ...] = ()
    """The chain of work and waits that determined how long the run took; none if it has more than 5,000 segments."""


@dataclass(frozen=True, slots=True)
class TraceSummary(Priced):
    """A run as a search in the traces shows it."""

    run_id: str
    """The id of the run."""
    workflow: str
    """The name of its workflow."""
    status: RunStatus
    """The state of the run."""
    started_at: int = 0
    """When the run was submitted, ms since the epoch."""
    duration_ms: int = 0
    """The time from submission to the end, ms."""
    cost_nano_usd: int = 0
    """The cost, nano-USD."""
    steps: int = 0
    """The number of steps."""
    org_id: str = ""
    """The org that it belongs to."""
    version: int = 0
    """The version of its workflow."""
    tags: dict[str, str] = field(default_factory=dict)
    """Its tags."""
    input_tokens: int = 0
    """The tokens that models read."""
    output_tokens: int = 0
    """The tokens that models wrote."""
    attempts: int = 0
    """The attempts of steps that were offered to workers."""
    failed_attempts: int = 0
    """Those of them that failed."""
    providers: tuple[str, ...] = ()
    """The providers whose models answered."""
    models: tuple[str, ...] = ()
    """The models that answered."""
    error: str = ""
    """Why it failed, as `type: message`."""

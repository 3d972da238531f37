"""What the API answers about traces. See models/workflows.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from agentflow_sdk.models.records import Record, RunStatus, StepStatus, usd


@dataclass(frozen=True, slots=True)
class TraceStep(Record):
    """A step attempt in the trace. wait_ms: from scheduled to started. duration_ms: of the work alone.

    finish_reason: how a model's answer ended: `stop`, `length`, `tool_calls`, `filtered`, `unknown`, or `error`.
    """

    step: str
    attempt: int
    status: StepStatus
    scheduled_at: int = 0
    started_at: int = 0
    finished_at: int = 0
    wait_ms: int = 0
    duration_ms: float = 0.0
    cost_nano_usd: int = 0
    provider: str = ""
    model: str = ""
    prompt: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_hit: bool = False
    worker: str = ""
    error: str = ""
    redactions: dict[str, int] = field(default_factory=dict)
    finish_reason: str = ""

    @property
    def cost_usd(self) -> Decimal:
        return usd(self.cost_nano_usd)


@dataclass(frozen=True, slots=True)
class TraceEvent(Record):
    stream: str
    sequence: int
    ts: int
    type: str
    step: str = ""
    attempt: int = 0
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trace(Record):
    """Everything that happened to a run. unregistered: as of a `Run`."""

    run_id: str
    workflow: str
    status: RunStatus
    trace_id: str = ""
    started_at: int = 0
    finished_at: int = 0
    cost_nano_usd: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    redactions: dict[str, int] = field(default_factory=dict)
    steps: tuple[TraceStep, ...] = ()
    events: tuple[TraceEvent, ...] = ()
    version: int = 0
    unregistered: bool = False

    @property
    def cost_usd(self) -> Decimal:
        return usd(self.cost_nano_usd)


@dataclass(frozen=True, slots=True)
class TraceSummary(Record):
    run_id: str
    workflow: str
    status: RunStatus
    started_at: int = 0
    duration_ms: int = 0
    cost_nano_usd: int = 0
    steps: int = 0

    @property
    def cost_usd(self) -> Decimal:
        return usd(self.cost_nano_usd)

"""Explanations of runs: causes with evidence, and where the time and the money went."""

from __future__ import annotations

from dataclasses import dataclass

from agentflow_sdk.models.records import Priced, Record
from agentflow_sdk.models.statuses import RunStatus


@dataclass(frozen=True, slots=True)
class Evidence(Record):
    """A message of the log that shows something."""

    stream: str
    """The stream of the log."""
    sequence: int
    """The place in the stream."""
    ts: int
    """When it happened, ms since the epoch."""
    type: str
    """The type of the event."""
    run_id: str = ""
    """The run that it is about."""
    step: str = ""
    """The key of the step; empty for an event of the whole run."""
    attempt: int = 0
    """The attempt of the step, from 1."""
    text: str = ""
    """What it says, for people."""


@dataclass(frozen=True, slots=True)
class CauseLink(Record):
    """One link of a chain of causes. The link after it is its cause."""

    kind: str
    """The kind of the link, a stable name."""
    text: str
    """What happened, for people."""
    run_id: str = ""
    """The run that it is about."""
    step: str = ""
    """The key of the step; empty for a run as a whole."""
    attempt: int = 0
    """The attempt of the step, from 1."""
    evidence: tuple[Evidence, ...] = ()
    """The messages of the log that show it."""


@dataclass(frozen=True, slots=True)
class Cause(Record):
    """A root cause of a run's end."""

    kind: str
    """The kind of the cause, a stable name."""
    text: str
    """What happened, for people."""
    run_id: str = ""
    """The run that it is about: perhaps another run of the tree."""
    step: str = ""
    """The key of the step; empty for a run as a whole."""
    attempt: int = 0
    """The attempt of the step, from 1."""
    confidence: float = 0.0
    """How sure it is, from 0 to 1."""
    fix: str = ""
    """What to do."""
    chain: tuple[CauseLink, ...] = ()
    """The links from what people see to the cause itself."""


@dataclass(frozen=True, slots=True)
class Usual(Record):
    """How a measure stands against earlier runs of the workflow. Its unit is that of the measure."""

    samples: int = 0
    """The earlier runs that are compared. If there are too few, the other fields are 0."""
    median: float = 0.0
    """Their median."""
    p95: float = 0.0
    """The value that 95% of them do not exceed."""
    deviation: float = 0.0
    """The distance from the median, in robust standard deviations."""
    unusual: bool = False
    """True if it is far above the median."""


@dataclass(frozen=True, slots=True)
class TimeShare(Record):
    """A part of the critical path of a run."""

    kind: str
    """What the time was: `work`, `retry`, `worker`, `lane`, `lock`, `approval`, `signal`, `timer`, `pause`,
    `breakpoint`, `child` or `scheduler`."""
    step: str = ""
    """The node; empty for the run as a whole."""
    ms: int = 0
    """The time, ms."""
    share: float = 0.0
    """Its part of the whole time, from 0 to 1."""
    text: str = ""
    """What happened, for people."""
    usual: Usual = Usual()
    """How it stands against earlier runs."""


@dataclass(frozen=True, slots=True)
class TimeReport(Record):
    """Where the time of a run went."""

    duration_ms: int
    """The time from submission to the end, or to now, ms."""
    text: str = ""
    """A summary, for people."""
    usual: Usual = Usual()
    """How the time stands against earlier runs."""
    parts: tuple[TimeShare, ...] = ()
    """The parts, the longest first. They add up to `duration_ms`."""


@dataclass(frozen=True, slots=True)
class CostShare(Priced):
    """The money that one node spent."""

    step: str
    """The node."""
    cost_nano_usd: int = 0
    """The cost, nano-USD."""
    share: float = 0.0
    """Its part of the whole cost, from 0 to 1."""
    models: tuple[str, ...] = ()
    """The models that were asked, as `provider/model`."""
    calls: int = 0
    """The number of calls to models."""
    attempts: int = 0
    """The number of attempts of its steps."""
    wasted_nano_usd: int = 0
    """The cost of attempts and calls without a result, nano-USD."""
    fallbacks: int = 0
    """The calls after a failed one in the same attempt."""
    cache_hits: int = 0
    """The answers that came from the cache."""
    cache_misses: int = 0
    """The attempts that may use the cache, and asked a model."""
    text: str = ""
    """What made it dear, for people."""
    usual: Usual = Usual()
    """How the cost stands against earlier runs."""


@dataclass(frozen=True, slots=True)
class ModelCost(Priced):
    """The money that one model took."""

    model: str
    """The model, as `provider/model`, or `subworkflows` for the cost of other runs."""
    cost_nano_usd: int = 0
    """The cost, nano-USD."""
    share: float = 0.0
    """Its part of the whole cost, from 0 to 1."""
    calls: int = 0
    """The number of calls."""
    failed: int = 0
    """The number of calls that failed."""


@dataclass(frozen=True, slots=True)
class CostReport(Priced):
    """Where the money of a run went."""

    cost_nano_usd: int
    """The cost, nano-USD."""
    text: str = ""
    """A summary, for people."""
    usual: Usual = Usual()
    """How the cost stands against earlier runs."""
    steps: tuple[CostShare, ...] = ()
    """The nodes, the dearest first. They add up to the cost."""
    models: tuple[ModelCost, ...] = ()
    """The models, the dearest first. They add up to the cost."""


@dataclass(frozen=True, slots=True)
class TraceExplanation(Record):
    """Why a run ended as it did, or why it has not ended."""

    run_id: str
    """The id of the run."""
    workflow: str
    """The name of its workflow."""
    status: RunStatus
    """The state of the run."""
    version: int = 0
    """The version of its workflow."""
    summary: str = ""
    """What happened, and the most likely cause, in one sentence."""
    causes: tuple[Cause, ...] = ()
    """The root causes, the most likely first."""
    slow: TimeReport | None = None
    """Where the time went, if that was asked for."""
    cost: CostReport | None = None
    """Where the money went, if that was asked for."""

"""Answers about the control of runs (signals, forks, explanations, batches), and the changes that a fork makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agentflow_sdk.models.records import Record
from agentflow_sdk.models.statuses import RunStatus
from agentflow_sdk.models.workflows import RunSummary


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes that a fork or a retry makes. Keys of the last three are node ids."""

    inputs: Mapping[str, Any] = field(default_factory=dict)
    """Inputs of the run by name, which replace those of the earlier run."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """Another prompt, `name@version`, by node id."""
    models: Mapping[str, str] = field(default_factory=dict)
    """Another model, `provider/model`, by node id."""
    step_inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Arguments by name, by node id, which replace those of the definition."""


@dataclass(frozen=True, slots=True)
class Breakpoints(Record):
    """The breakpoints of a run."""

    status: RunStatus
    """The state of the run."""
    break_at: tuple[str, ...] = ()
    """The steps that have a breakpoint."""
    step_by_step: bool = False
    """True if the run stops before every step."""
    pending: bool = False
    """True if the change is recorded and no scheduler has read it yet."""


@dataclass(frozen=True, slots=True)
class Continued(Record):
    """A run that was stopped before some steps and goes on."""

    status: RunStatus
    """The state that the run continues in, or `paused` if it has come to the next breakpoint at once."""
    steps: tuple[str, ...] = ()
    """The steps before which the run was stopped, and that begin now."""
    stopped_before: tuple[str, ...] = ()
    """The steps before which it is stopped again."""
    pending: bool = False
    """True if the request is recorded and no scheduler has read it yet."""


@dataclass(frozen=True, slots=True)
class Signalled(Record):
    """The result of a signal."""

    status: RunStatus
    """The state of the run when the signal was recorded."""
    deduplicated: bool = False
    """True if the run had received a signal with this id before."""
    pending: bool = False
    """True if the signal is recorded and no scheduler has read it yet. It counts unless the run ends first."""
    run_id: str = ""
    """The run that has the signal: the one that was named, or the newest that continues it."""


@dataclass(frozen=True, slots=True)
class Fork(Record):
    """A new run that was made from another one."""

    run_id: str
    """The id of the new run."""
    deduplicated: bool = False
    """True if the same fork or retry had been made before, so that nothing new was started."""
    kept: tuple[str, ...] = ()
    """The steps whose results the new run keeps."""
    stale: tuple[str, ...] = ()
    """The kept steps that had read an input which was changed."""


@dataclass(frozen=True, slots=True)
class Waiting(Record):
    """Why a step has not continued."""

    step: str
    """The key of the step."""
    kind: str
    """The kind of the reason: `dependency`, `lane`, `timer`, `approval`, `budget`, `worker`, and so on."""
    text: str
    """The reason, for people."""
    on: str = ""
    """The step, lane, signal or run that the step waits for."""
    until: int = 0
    """When the wait ends by itself, ms since the epoch; 0 if it does not."""
    since: int = 0
    """When the wait began, ms since the epoch."""
    detail: dict[str, Any] = field(default_factory=dict)
    """Further facts by name."""


@dataclass(frozen=True, slots=True)
class Explanation(Record):
    """Why a run does not continue."""

    status: RunStatus
    """The state of the run."""
    summary: str
    """The reason that blocks the run as a whole; empty if there is none."""
    waiting: tuple[Waiting, ...] = ()
    """Each open step with its reason."""
    more: int = 0
    """The number of further steps that are not listed."""


@dataclass(frozen=True, slots=True)
class BatchFailure(Record):
    """A run on which the action of a batch failed."""

    run_id: str
    """The id of the run."""
    kind: str
    """The stable name of the reason."""
    message: str
    """The message for people."""


@dataclass(frozen=True, slots=True)
class BatchProgress(Record):
    """How far a batch has come."""

    matched: int = 0
    """The number of runs that the filter finds. Only the first message has it."""
    done: int = 0
    """The number of runs that are done in this call."""
    failed: int = 0
    """The number of runs on which the action failed in this call."""
    sample: tuple[RunSummary, ...] = ()
    """Some of the runs that the filter finds. Only the first message has them."""
    failures: tuple[BatchFailure, ...] = ()
    """The failures since the message before."""
    cursor: str = ""
    """Where to continue after a break; empty when nothing is left."""
    finished: bool = False
    """True in the last message."""
    created: dict[str, str] = field(default_factory=dict)
    """The ids of new runs, by the run that was retried."""

"""Answers about definitions and runs. All are frozen dataclasses.

Money is a whole number of nano-USD (1 USD is 10^9), so that sums are exact; `cost_usd` and its like return a Decimal.
Times are milliseconds since the Unix epoch, and 0 for what has not happened yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from agentflow_sdk.errors import AgentFlowError
from agentflow_sdk.models.money import usd
from agentflow_sdk.models.records import Priced, Record, RecordPage
from agentflow_sdk.models.statuses import RunStatus, StepStatus
from agentflow_sdk.problems import Problem


@dataclass(frozen=True, slots=True)
class ErrorInfo(Record):
    """Why a step or a run failed."""

    type: str
    """The stable name of the error, which retry policies match."""
    message: str
    """The message for people."""
    retryable: bool = False
    """True if another attempt may succeed."""


@dataclass(frozen=True, slots=True)
class Step(Priced):
    """A step of a run in its present state."""

    step: str
    """The step's key: the node's id, `draft#2` for an iteration, `each[0]` for an item of a map."""
    status: StepStatus
    """The state of the step."""
    attempt: int = 0
    """The number of the latest attempt, from 1; 0 if there was none."""
    output: Any = None
    """The output; None if the step has none."""
    error: ErrorInfo | None = None
    """Why the step failed."""
    scheduled_at: int = 0
    """When the latest attempt was offered to the workers, ms."""
    started_at: int = 0
    """When the latest attempt started, ms."""
    finished_at: int = 0
    """When the step ended, ms."""
    cost_nano_usd: int = 0
    """The cost of the step so far, nano-USD."""
    provider: str = ""
    """The provider whose model answered."""
    model: str = ""
    """The model that answered."""
    prompt: str = ""
    """The pinned `name@version` of the prompt of an LLM step."""
    type: str = ""
    """The type of the node: `tool`, `llm`, `function`, and so on."""
    skip_reason: str = ""
    """Why the step was skipped."""
    progress: float = 0.0
    """From 0 to 1, from the latest heartbeat."""
    progress_detail: str = ""
    """A text from the latest heartbeat."""
    lane: str = ""
    """The lane that the step runs in."""
    waiting_for: str = ""
    """`wait`, `signal`, `approval`, `subworkflow` or `lane`; empty if the step does not wait."""
    waiting_until: int = 0
    """When the wait ends by itself, ms; 0 if it does not."""
    waiting_detail: dict[str, Any] = field(default_factory=dict)
    """Further facts about the wait, for example the signal's name."""
    child_run_id: str = ""
    """The run of a subworkflow."""
    seeded: bool = False
    """True if the result was kept from the run that this one was forked from."""
    finish_reason: str = ""
    """How a model's answer ended: `stop`, `length`, `tool_calls`, `filtered`, `unknown` or `error`."""

    @property
    def duration_ms(self) -> int:
        """Milliseconds from the start of the latest attempt to the end of the step; 0 while it has not ended."""
        begun = self.started_at or self.scheduled_at
        return max(0, self.finished_at - begun) if self.finished_at and begun else 0


@dataclass(frozen=True, slots=True)
class Run(Priced):
    """A run in its present state."""

    run_id: str
    """The id of the run."""
    workflow: str
    """The name of its workflow."""
    version: int
    """The version of its workflow."""
    status: RunStatus
    """The state of the run."""
    inputs: Any = None
    """The inputs, with tokens in place of private values unless they were revealed."""
    output: Any = None
    """The output; None until the run completes. Private values are tokens unless they were revealed."""
    error: ErrorInfo | None = None
    """Why the run failed."""
    steps: tuple[Step, ...] = ()
    """The steps."""
    submitted_at: int = 0
    """When the run was submitted, ms."""
    started_at: int = 0
    """When the run started, ms."""
    finished_at: int = 0
    """When the run ended, ms."""
    cost_nano_usd: int = 0
    """The cost so far, nano-USD."""
    budget_nano_usd: int | None = None
    """The most that the run's model calls may cost, nano-USD; None if the run has no bound of its own."""
    tags: dict[str, str] = field(default_factory=dict)
    """The tags that the run was submitted with."""
    redactions: dict[str, int] = field(default_factory=dict)
    """The number of private values that were replaced, by category."""
    trace_id: str = ""
    """The id of the OpenTelemetry trace."""
    last_sequence: int = 0
    """The sequence of the newest event in this answer."""
    input_tokens: int = 0
    """The tokens that models read."""
    output_tokens: int = 0
    """The tokens that models wrote."""
    parent_run_id: str = ""
    """The run that started this one as a subworkflow."""
    parent_step: str = ""
    """The step of the parent run that started this one."""
    origin_kind: str = ""
    """Where the run comes from: `fork`, `retry`, `continue`, `schedule` or `detached`."""
    origin_run_id: str = ""
    """The run that this one comes from."""
    origin_step: str = ""
    """The step that the run was forked at, or that started it detached."""
    continued_as: str = ""
    """The run that continues this one with new inputs."""
    paused_reason: str = ""
    """Why the run is paused."""
    paused_until: int = 0
    """When the pause ends by itself, ms since the epoch; 0 if it does not."""
    stopped_before: tuple[str, ...] = ()
    """The steps before which a breakpoint has stopped the run; its state is `paused` then."""
    break_at: tuple[str, ...] = ()
    """The steps that have a breakpoint."""
    step_by_step: bool = False
    """True if the run stops before every step."""
    changed_values: dict[str, str] = field(default_factory=dict)
    """The values that somebody changed while the run was stopped, `STEP.output` or `state.KEY`, and by whom."""
    waiting_steps: tuple[str, ...] = ()
    """The keys of the steps that wait for a time, a signal, an approval or another run."""
    derived_run_ids: tuple[str, ...] = ()
    """Forks and retries of this run, newest first, at most 20."""
    unregistered: bool = False
    """True if the run has a definition of its own that differs from the registered one of its name and version."""
    state: dict[str, Any] | None = None
    """The shared state of a graph as its newest superstep left it; None for a run that is not a graph."""
    superstep: int = 0
    """The number of supersteps of a graph that have begun."""
    cancel_reason: str = ""
    """Why the run was cancelled, or is being cancelled; empty if nobody gave a reason."""

    @property
    def budget_usd(self) -> Decimal | None:
        """The budget as exact US dollars; None if the run has no bound of its own."""
        return None if self.budget_nano_usd is None else usd(self.budget_nano_usd)

    @property
    def duration_ms(self) -> int:
        """Milliseconds from submission to the end; 0 while the run has not ended."""
        return max(0, self.finished_at - self.submitted_at) if self.finished_at else 0

    def step(self, name: str) -> Step:
        """Returns one step.

        Args:
            name: The step's key.

        Returns:
            The step.

        Raises:
            KeyError: The run has no step with this key.
        """
        for item in self.steps:
            if item.step == name:
                return item
        raise KeyError(f"run {self.run_id} has no step {name!r}")

    def raise_for_status(self) -> Run:
        """Returns the run itself if it completed.

        Returns:
            The run itself.

        Raises:
            RunFailedError: The run ended in another way, or has not ended yet.
        """
        if self.status is RunStatus.COMPLETED:
            return self
        why = self.error.message if self.error else self.cancel_reason
        ended = {RunStatus.FAILED: "has failed", RunStatus.CANCELLED: "was cancelled"}.get(
            self.status, f"has not ended: it is {self.status.value}"
        )
        raise RunFailedError(f"run {self.run_id} {ended}{': ' * bool(why)}{why}", self)


class RunFailedError(AgentFlowError):
    """A run has not completed. `Run.raise_for_status` and `client.workflows.run` raise it.

    Args:
        message: What happened.
        run: The run.

    Attributes:
        run: The run that did not complete. Its `error` says why, if it failed.
    """

    code = "run_failed"

    def __init__(self, message: str, run: Run) -> None:
        super().__init__(message, kind=run.error.type if run.error else run.status.value)
        self.run = run


@dataclass(frozen=True, slots=True)
class RunSummary(Priced):
    """A run as lists show it."""

    run_id: str
    """The id of the run."""
    workflow: str
    """The name of its workflow."""
    version: int
    """The version of its workflow."""
    status: RunStatus
    """The state of the run."""
    submitted_at: int = 0
    """When the run was submitted, ms."""
    finished_at: int = 0
    """When the run ended, ms."""
    cost_nano_usd: int = 0
    """The cost so far, nano-USD."""
    tags: dict[str, str] = field(default_factory=dict)
    """The tags that the run was submitted with."""
    error_type: str = ""
    """The type of the error that a failed run ended with."""
    unregistered: bool = False
    """True if the run has a definition of its own that differs from the registered one of its name and version."""


@dataclass(frozen=True, slots=True)
class RunPage(RecordPage[RunSummary]):
    """A page of runs, newest first. It can be iterated over."""

    runs: tuple[RunSummary, ...]
    """The runs of the page."""
    next_page_token: str = ""
    """The `page_token` of the next page; empty on the last page."""


@dataclass(frozen=True, slots=True)
class Registration(Record):
    """A definition that is registered."""

    name: str
    """The name of the workflow."""
    version: int
    """The version of the workflow."""
    digest: str
    """The SHA-256 of the canonical definition, in hex."""
    created: bool
    """False if this very definition was registered before."""
    warnings: tuple[Problem, ...] = ()
    """Tools, functions and models that are not known yet, if `allow_unknown` accepts them."""


@dataclass(frozen=True, slots=True)
class Validation(Record):
    """The result of a check of a definition."""

    valid: bool
    """True if the definition has no problem."""
    problems: tuple[Problem, ...] = ()
    """Everything that is wrong, each with its place and its fix."""
    name: str = ""
    """The name of a valid definition."""
    version: int = 0
    """The version of a valid definition."""
    steps: int = 0
    """The number of nodes of a valid definition."""
    warnings: tuple[Problem, ...] = ()
    """Tools, functions and models that are not known yet, if `allow_unknown` accepts them."""


@dataclass(frozen=True, slots=True)
class Submission(Record):
    """A run that was submitted."""

    run_id: str
    """The id of the run."""
    deduplicated: bool = False
    """True if the idempotency key had been used before, so that nothing new was started."""


@dataclass(frozen=True, slots=True)
class RunEvent(Priced):
    """An event of a run. The state, the cost and the counts are the run's own after this event."""

    sequence: int
    """The place of the event in the log."""
    type: str
    """The type: `run.started`, `step.completed`, and so on."""
    ts: int
    """When it happened, ms."""
    step: str = ""
    """The key of the step; empty for an event of the whole run."""
    attempt: int = 0
    """The attempt of the step, from 1."""
    body: dict[str, Any] = field(default_factory=dict)
    """The event as the log stores it, or a step's own report if it was stored with others."""
    status: RunStatus = RunStatus.UNSPECIFIED
    """The state of the run."""
    cost_nano_usd: int = 0
    """The cost of the run, nano-USD."""
    steps_done: int = 0
    """The number of steps that have ended."""
    steps_total: int = 0
    """The number of steps."""
    run_id: str = ""
    """The run of the event, in a watch of a chain."""
    part: int = 0
    """The place among the events of this sequence, from 0: a worker may report several quick steps in one."""


@dataclass(frozen=True, slots=True)
class Token(Record):
    """A piece of a model's answer while it is being written."""

    step: str
    """The key of the step."""
    attempt: int
    """The attempt of the step, from 1."""
    offset: int
    """Where the piece stands in the step's answer, in characters."""
    text: str
    """The piece."""

"""Answers about the differences of runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentflow_sdk.models.records import Priced, Record
from agentflow_sdk.models.statuses import RunStatus, StepStatus


@dataclass(frozen=True, slots=True)
class TraceDiffField(Record):
    """A field that differs, as text."""

    path: str
    """The place of the field; empty for the whole value."""
    old: str | None = None
    """The field in the first run; None if it does not have it."""
    new: str | None = None
    """The field in the second run; None if it does not have it."""


@dataclass(frozen=True, slots=True)
class TraceDiffPart(Record):
    """A part of the definition, a prompt or a model that differs."""

    kind: str
    """The kind of part: `workflow`, `input`, `output`, `node`, `edge`, `prompt` or `model`."""
    what: str
    """The difference: `added`, `removed`, `changed` or `renamed`."""
    name: str
    """The name of the part."""
    fields: tuple[TraceDiffField, ...] = ()
    """The fields that differ."""


@dataclass(frozen=True, slots=True)
class TraceDiffValue(Record):
    """Two values that differ."""

    fields: tuple[TraceDiffField, ...] = ()
    """The fields that differ. Empty for large values, which are compared by their digests."""
    text: str = ""
    """A unified diff, if both are texts of several lines."""
    left_out: int = 0
    """How many more fields differ."""
    old_bytes: int = 0
    """The size of the first value, bytes of JSON."""
    new_bytes: int = 0
    """The size of the second value, bytes of JSON."""
    old_sha256: str = ""
    """The digest of the first value."""
    new_sha256: str = ""
    """The digest of the second value."""


@dataclass(frozen=True, slots=True)
class TraceDiffRun(Priced):
    """One of two runs that are compared. Times are ms."""

    run_id: str
    """The id of the run."""
    workflow: str
    """The name of its workflow."""
    status: RunStatus
    """The state of the run."""
    version: int = 0
    """The version of its workflow."""
    submitted_at: int = 0
    """When it was submitted, since the epoch."""
    duration_ms: int = 0
    """The time from the submission to the end, or to the newest event of a run that has not ended."""
    cost_nano_usd: int = 0
    """The cost, nano-USD."""
    input_tokens: int = 0
    """The tokens that models read."""
    output_tokens: int = 0
    """The tokens that models wrote."""
    steps: int = 0
    """The number of its steps, parts of steps included."""
    error: str = ""
    """Why it failed."""
    origin: str = ""
    """The run that it was forked from, or whose steps it retries or continues."""


@dataclass(frozen=True, slots=True)
class TraceDiffSide(Priced):
    """A step in one of two runs, with all of its attempts."""

    step: str
    """The key of the step."""
    kind: str
    """The type of its node."""
    status: StepStatus
    """How it ended."""
    attempts: int = 0
    """The number of its attempts."""
    provider: str = ""
    """The provider whose model answered."""
    model: str = ""
    """The model that answered."""
    prompt: str = ""
    """The `name@version` of the prompt."""
    input_tokens: int = 0
    """The tokens that models read."""
    output_tokens: int = 0
    """The tokens that models wrote."""
    cost_nano_usd: int = 0
    """The cost, nano-USD."""
    work_ms: int = 0
    """The time of the work, in all attempts."""
    wait_ms: int = 0
    """The time that it waited for a worker, in all attempts."""
    path_ms: dict[str, int] = field(default_factory=dict)
    """Its share of the run's duration, by the kind of time."""
    cache_hit: bool = False
    """True if the answer came from the cache."""
    reused: bool = False
    """True if a fork took the result from the run that it comes from."""
    child: str = ""
    """The run of its subworkflow."""
    error: str = ""
    """Why it failed."""
    reason: str = ""
    """Why it was skipped or cancelled."""


@dataclass(frozen=True, slots=True)
class TraceDiffStep(Priced):
    """A step that differs, or that only one of the runs has."""

    what: str
    """The difference: `same` (only time or cost differ), `changed`, `added` or `removed`."""
    changes: tuple[str, ...] = ()
    """What differs: `renamed`, `moved`, `config`, `inputs`, `status`, `attempts`, `model`, `output`, ..."""
    a: TraceDiffSide | None = None
    """The step in the first run; None if it does not have it."""
    b: TraceDiffSide | None = None
    """The step in the second run; None if it does not have it."""
    cost_nano_usd: int = 0
    """The second run's cost minus the first one's, nano-USD."""
    latency_ms: int = 0
    """The difference of its shares of the runs' durations, ms."""
    first: bool = False
    """True if the results part here: no step that it waits for has another result."""
    inputs: TraceDiffValue | None = None
    """The difference of the inputs; None if they are equal or not known."""
    output: TraceDiffValue | None = None
    """The difference of the outputs; None if they are equal or not known."""


@dataclass(frozen=True, slots=True)
class TraceDiffRest(Priced):
    """The part of the differences that belongs to no step in the answer."""

    steps: int = 0
    """The number of further steps that differ."""
    cost_nano_usd: int = 0
    """The difference in cost, nano-USD."""
    latency_ms: int = 0
    """The difference in time, ms."""


@dataclass(frozen=True, slots=True)
class TraceDiff(Record):
    """The differences of two runs.

    The sum of `cost_nano_usd` over `steps` and `rest` is the difference of the runs' costs. The sum of `latency_ms` is
    the difference of their durations.
    """

    a: TraceDiffRun
    """The first run."""
    b: TraceDiffRun
    """The second run."""
    same: bool = False
    """True if nothing but time and cost differs."""
    summary: str = ""
    """The most important differences in a few sentences."""
    parts: tuple[TraceDiffPart, ...] = ()
    """What differs in definition, prompts and models."""
    inputs: TraceDiffValue | None = None
    """The difference of the runs' inputs; None if they are equal."""
    output: TraceDiffValue | None = None
    """The difference of the runs' outputs; None if they are equal."""
    steps: tuple[TraceDiffStep, ...] = ()
    """The steps that differ, in the order of the runs."""
    rest: TraceDiffRest = TraceDiffRest()
    """What belongs to no step in `steps`."""
    equal_steps: int = 0
    """The number of steps that differ in nothing but time and cost."""

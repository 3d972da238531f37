"""Questions to the trace service about differences: between two runs, and between two groups of runs."""

from __future__ import annotations

from agentflow_common.rpc.verbs import Message, Verb

STEPS_MAX = 2_000  # steps in one answer; the others are counted and summed


class TraceDiffRequest(Message, frozen=True):
    """Asks for the differences of two runs of one org."""

    org: str
    a: str
    b: str
    min_seq: int = 0  # wait (bounded) until ClickHouse holds AF_EVENTS up to here
    values: bool = True  # also show what differs inside of inputs and outputs


class DiffField(Message, frozen=True):
    """A field that differs, as text. A side is None if it does not have the field."""

    path: str
    old: str | None = None
    new: str | None = None


class DiffPart(Message, frozen=True):
    """A part of the definition that differs."""

    kind: str  # `workflow`, `input`, `output`, `node`, `edge`, `prompt` or `model`
    what: str  # `added`, `removed`, `changed` or `renamed`
    name: str
    fields: tuple[DiffField, ...] = ()


class DiffValue(Message, frozen=True):
    """Two values that differ."""

    fields: tuple[DiffField, ...] = ()
    text: str = ""  # a unified diff, if both are long texts
    left_out: int = 0  # so many more fields differ
    old_bytes: int = 0
    new_bytes: int = 0
    old_sha256: str = ""  # of the value as JSON with sorted keys, or of the stored object
    new_sha256: str = ""


class DiffRun(Message, frozen=True):
    """One of the two runs. Times in ms, cost in nano-USD."""

    run: str
    workflow: str
    version: int
    status: str
    submitted_at: int = 0
    duration_ms: int = 0  # from the submission to the end, or to the newest event of a run that has not ended
    cost_nano: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    steps: int = 0
    error: str = ""
    origin: str = ""  # the run that it was forked from, retried or continued


class DiffSide(Message, frozen=True):
    """A step in one of the runs, with all of its attempts."""

    step: str
    kind: str = ""
    status: str = ""
    attempts: int = 0
    provider: str = ""
    model: str = ""
    prompt: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano: int = 0
    work_ms: int = 0
    wait_ms: int = 0
    path_ms: dict[str, int] = {}  # its share of the run's duration, by the kind of time
    cache_hit: bool = False
    reused: bool = False  # a fork took its result from the run that it comes from
    child: str = ""  # the run of its subworkflow
    error: str = ""
    reason: str = ""


class DiffStep(Message, frozen=True):
    """A step that differs, or exists in one run only."""

    what: str  # `same` (only time or cost differ), `changed`, `added` or `removed`
    changes: tuple[str, ...] = ()
    a: DiffSide | None = None
    b: DiffSide | None = None
    cost_nano: int = 0  # b minus a
    latency_ms: int = 0  # b minus a, of its share of the run's duration
    first: bool = False  # its result differs, and that of no step that it waits for
    inputs: DiffValue | None = None
    output: DiffValue | None = None


class DiffRest(Message, frozen=True):
    """The part of the differences that belongs to no step that is shown."""

    steps: int = 0  # those beyond STEPS_MAX
    cost_nano: int = 0
    latency_ms: int = 0


class TraceDiffReply(Message, frozen=True):
    """The differences, from `a` to `b`.

    The sum of `cost_nano` over the steps and the rest is the difference of the runs' costs. The sum of `latency_ms`
    is the difference of their durations.
    """

    a: DiffRun
    b: DiffRun
    same: bool
    summary: str
    parts: tuple[DiffPart, ...] = ()
    inputs: DiffValue | None = None
    output: DiffValue | None = None
    steps: tuple[DiffStep, ...] = ()  # those that differ, in the order of the runs
    rest: DiffRest = DiffRest()
    equal_steps: int = 0


TRACE_DIFF = Verb("trace", "diff", TraceDiffRequest, TraceDiffReply, 30.0)

"""The rows of the derived tables. Pure.

The fields are the columns, in order. Times are ms since the epoch, 0 for "not yet"; costs are nano-USD. An annotation
is the column's type for the insert.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, NamedTuple, get_type_hints

_Text = Annotated[str, "String"]
_Time = Annotated[int, "DateTime64(3, 'UTC')"]
_U8 = Annotated[int, "UInt8"]
_U32 = Annotated[int, "UInt32"]
_U64 = Annotated[int, "UInt64"]
_I64 = Annotated[int, "Int64"]
_F64 = Annotated[float, "Float64"]
_Bool = Annotated[bool, "Bool"]
_Texts = Annotated[tuple[str, ...], "Array(String)"]
_Tags = Annotated[dict[str, str], "Map(String, String)"]


class RunRow(NamedTuple):
    """A run as the log has it up to `last_seq`, the newest of its events. gone: the run was submitted again since."""

    org: _Text
    submitted_at: _Time
    run: _Text
    workflow: _Text = ""
    version: _U32 = 0
    status: _Text = ""
    tags: _Tags = {}  # noqa: RUF012 - shared and never written to
    parent_run: _Text = ""
    parent_step: _Text = ""
    parent_attempt: _U32 = 0
    origin_kind: _Text = ""
    origin_run: _Text = ""
    started_at: _Time = 0
    finished_at: _Time = 0
    duration_ms: _U64 = 0
    cost_nano: _I64 = 0
    input_tokens: _U64 = 0
    output_tokens: _U64 = 0
    steps: _U32 = 0
    attempts: _U32 = 0
    failed_attempts: _U32 = 0
    retries: _U32 = 0
    providers: _Texts = ()
    models: _Texts = ()
    prompts: _Texts = ()
    error_type: _Text = ""
    error: _Text = ""
    trace_id: _Text = ""
    submitted_seq: _U64 = 0
    last_seq: _U64 = 0
    gone: _U8 = 0


class StepRow(NamedTuple):
    """An attempt of a step as the log has it up to `last_seq`, the newest event of its run."""

    org: _Text
    submitted_at: _Time  # of the run
    run: _Text
    step: _Text
    attempt: _U32
    workflow: _Text = ""
    version: _U32 = 0
    node: _Text = ""
    kind: _Text = ""
    status: _Text = ""
    worker: _Text = ""
    lane: _Text = ""
    scheduled_at: _Time = 0
    started_at: _Time = 0
    finished_at: _Time = 0
    wait_ms: _U64 = 0
    duration_ms: _F64 = 0.0
    cost_nano: _I64 = 0
    input_tokens: _U64 = 0
    output_tokens: _U64 = 0
    provider: _Text = ""
    model: _Text = ""
    prompt: _Text = ""
    cache_hit: _Bool = False
    finish_reason: _Text = ""
    error_type: _Text = ""
    error: _Text = ""
    reason: _Text = ""
    last_seq: _U64 = 0
    gone: _U8 = 0


class CallRow(NamedTuple):
    """A call of a provider.

    part: the place of the step's report in its message. call: its number in the step, from 1.
    """

    stream: _Text
    stream_seq: _U64
    part: _U32
    call: _U32
    at: _Time
    org: _Text
    run: _Text
    workflow: _Text
    version: _U32
    step: _Text
    node: _Text
    attempt: _U32
    provider: _Text
    model: _Text
    prompt: _Text
    ok: _Bool
    status: _U32
    error_type: _Text
    finish_reason: _Text
    input_tokens: _U64
    output_tokens: _U64
    cost_nano: _I64
    latency_ms: _U64


class CostRow(NamedTuple):
    """The spending of one report of a step. kind: the type of the event."""

    stream: _Text
    stream_seq: _U64
    part: _U32
    at: _Time
    org: _Text
    run: _Text
    workflow: _Text
    version: _U32
    step: _Text
    node: _Text
    attempt: _U32
    kind: _Text
    provider: _Text
    model: _Text
    prompt: _Text
    cache_hit: _Bool
    input_tokens: _U64
    output_tokens: _U64
    cost_nano: _I64


def _columns(kind: type[Any]) -> dict[str, str]:
    return {name: str(hint.__metadata__[0]) for name, hint in get_type_hints(kind, include_extras=True).items()}


RUNS: Final = _columns(RunRow)
STEPS: Final = _columns(StepRow)
CALLS: Final = _columns(CallRow)
COSTS: Final = _columns(CostRow)


class Derived(NamedTuple):
    """The rows that some rows of `events` add to the derived tables."""

    runs: list[RunRow]
    steps: list[StepRow]
    calls: list[CallRow]
    costs: list[CostRow]

"""The spans of a run, made from its rows: workflow, steps, model calls. Pure.

- The run is `invoke_workflow NAME`.
- Each attempt of a step is a span beneath the run, or beneath the step that it is a part of: `invoke_agent NODE` for a
  model step, `execute_tool TOOL` for a tool, and `step KEY` for the others.
- Each call of a provider is `chat MODEL` beneath its attempt.
- The run of a subworkflow is beneath the attempt that started it, in the same trace.

A span has ids, names, counts, times and kinds of errors. It has no inputs, outputs or texts of errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from agentflow_common import events as ev
from agentflow_common import span_ids as identity
from agentflow_common.errors import UNREADABLE
from agentflow_common.rpc import TraceCall, TraceReply, TraceStep
from agentflow_common.runs.state import node_of, parent_of
from agentflow_trace.otel import genai
from agentflow_trace.rows import Row

Value = str | int | bool | tuple[str, ...]
INTERNAL: Final = "internal"
CLIENT: Final = "client"
_FAILED: Final = frozenset({"failed", "outcome_unknown"})
_OVER: Final = frozenset({"completed", "failed", "cancelled", "outcome_unknown"})
_NANO: Final = 1_000_000


class Span(NamedTuple):
    """A span that has ended. Times in ns since the epoch."""

    trace_id: bytes
    span_id: bytes
    parent_id: bytes  # empty for the root of a trace
    name: str
    kind: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Value]
    error_type: str = ""  # the span failed


class Submission(NamedTuple):
    """The parts of `run.submitted` that spans need."""

    parent: ev.ParentRef | None = None
    caller: bytes = b""  # the span id that the traceparent of the submission names
    version: int = 0


def submission_of(rows: Sequence[Row]) -> Submission:
    """Returns what the submission of a run tells about its place in a trace."""
    for row in rows:
        if row.type == "run.submitted":
            try:
                body = msgspec.json.decode(row.body, type=_Submitted)
            except UNREADABLE:
                return Submission(version=row.version)
            return Submission(body.parent, _span_of(body.trace), row.version)
    return Submission()


def spans_of(org: str, trace: TraceReply, rows: Sequence[Row], *, rooted: bool) -> list[Span]:
    """Returns the spans of what has ended in a run, parents before their children.

    trace: the answer about the run with kinds of steps (`views.answer`).
    rooted: the receiver does not know the span of the caller, so the span of the run is the root of its trace. The run
    of a subworkflow is never a root.
    """
    made = _Run(org, trace, rows)
    found = [made.run_span(rooted)] if trace.finished_at else []
    for step in trace.steps:
        if step.status in _OVER and step.finished_at:
            found.append(made.step_span(step))
        found += [made.call_span(step, call) for call in _placed(step)]
    return found


class _Submitted(msgspec.Struct):
    trace: str = ""
    parent: ev.ParentRef | None = None


class _Offer(msgspec.Struct):
    config: dict[str, object] = {}


class _Run:
    def __init__(self, org: str, trace: TraceReply, rows: Sequence[Row]) -> None:
        self._org, self._trace = org, trace
        self._id = identity.trace_of(org, trace.run, trace.trace_id)
        self._root = identity.run_span(org, trace.run)
        self._submission = submission_of(rows)
        self._tools = {row.step: _tool_of(row) for row in rows if row.type == "step.scheduled" and row.kind == "tool"}
        self._attempts: dict[str, list[TraceStep]] = {}
        for step in trace.steps:
            self._attempts.setdefault(step.step, []).append(step)

    def run_span(self, rooted: bool) -> Span:
        trace, submission = self._trace, self._submission
        attributes: dict[str, Value] = {
            genai.OPERATION: genai.INVOKE_WORKFLOW,
            genai.AGENT_NAME: trace.workflow,
            genai.WORKFLOW_NAME: trace.workflow,
            genai.AGENT_VERSION: str(submission.version),
            genai.ORG: self._org,
            genai.RUN: trace.run,
            genai.STATUS: trace.status,
            genai.COST_TOTAL: trace.cost_nano,
        }
        if submission.parent is not None:
            above = submission.parent
            parent = identity.step_span(self._org, above.run, above.step, above.attempt)
        else:
            parent = b"" if rooted else submission.caller
        error = ""
        if trace.status == "failed":
            failed = [step.error for step in trace.steps if step.status in _FAILED and step.error]
            error = _type_of(failed[-1]) if failed else "run_failed"
        name = f"{genai.INVOKE_WORKFLOW} {trace.workflow}"
        return self._span(self._root, parent, name, INTERNAL, (trace.started_at, trace.finished_at), attributes, error)

    def step_span(self, step: TraceStep) -> Span:
        name, attributes = self._described(step)
        attributes |= {
            genai.RUN: self._trace.run,
            genai.STEP: step.step,
            genai.ATTEMPT: step.attempt,
            genai.KIND: step.kind,
            genai.STATUS: step.status,
            genai.WAIT_MS: step.wait_ms,
            genai.COST_TOTAL: step.cost_nano,
        }
        if step.worker:
            attributes[genai.WORKER] = step.worker
        if step.cache_hit:
            attributes[genai.CACHE_HIT] = True
        error = _type_of(step.error) or step.status if step.status in _FAILED else ""
        times = (step.started_at or step.scheduled_at or step.finished_at, step.finished_at)
        return self._span(self._id_of(step), self._parent_of(step), name, INTERNAL, times, attributes, error)

    def call_span(self, step: TraceStep, call: TraceCall) -> Span:
        attributes: dict[str, Value] = {
            genai.OPERATION: genai.CHAT,
            genai.PROVIDER: genai.provider_name(call.provider),
            genai.REQUEST_MODEL: call.model,
            genai.INPUT_TOKENS: call.input_tokens,
            genai.OUTPUT_TOKENS: call.output_tokens,
            genai.COST: call.cost_nano,
            genai.RUN: self._trace.run,
            genai.STEP: step.step,
            genai.ATTEMPT: step.attempt,
            genai.CALL: call.number,
            **_prompt(step.prompt),
        }
        if call.ok:
            attributes[genai.RESPONSE_MODEL] = call.model
        if call.finish_reason:
            attributes[genai.FINISH_REASONS] = (call.finish_reason,)
        if call.status:
            attributes[genai.HTTP_STATUS] = call.status
        span_id = identity.call_span(self._org, self._trace.run, step.step, step.attempt, call.number)
        times = (call.started_at, call.started_at + call.latency_ms)
        error = "" if call.ok else call.error or "_OTHER"
        return self._span(span_id, self._id_of(step), f"{genai.CHAT} {call.model}", CLIENT, times, attributes, error)

    def _described(self, step: TraceStep) -> tuple[str, dict[str, Value]]:
        node = node_of(step.step)
        if step.kind == "llm":
            about: dict[str, Value] = {genai.OPERATION: genai.INVOKE_AGENT, genai.AGENT_NAME: node}
            return f"{genai.INVOKE_AGENT} {node}", about | _prompt(step.prompt)
        if step.kind == "tool":
            tool = self._tools.get(step.step) or node
            return f"{genai.EXECUTE_TOOL} {tool}", {genai.OPERATION: genai.EXECUTE_TOOL, genai.TOOL_NAME: tool}
        return f"step {step.step}", {}

    def _id_of(self, step: TraceStep) -> bytes:
        return identity.step_span(self._org, self._trace.run, step.step, step.attempt)

    def _parent_of(self, step: TraceStep) -> bytes:
        """Returns the span of the attempt of the step that this one is a part of, or the span of the run."""
        above = parent_of(step.step)
        attempts = self._attempts.get(above, []) if above is not None else []
        if not attempts:
            return self._root
        began = step.scheduled_at or step.started_at
        earlier = [attempt for attempt in attempts if (attempt.scheduled_at or attempt.started_at) <= began]
        return self._id_of((earlier or attempts)[-1])

    def _span(
        self,
        span_id: bytes,
        parent: bytes,
        name: str,
        kind: str,
        times_ms: tuple[int, int],
        attributes: dict[str, Value],
        error: str,
    ) -> Span:
        start, end = times_ms[0] * _NANO, max(times_ms) * _NANO
        return Span(self._id, span_id, parent, name, kind, start, end, attributes, error)


def _placed(step: TraceStep) -> list[TraceCall]:
    """Returns the calls of an attempt, each with the time when it began.

    Events of earlier versions do not name it. Their calls follow one after the other, and the last one ends with the
    attempt.
    """
    placed: list[TraceCall] = []
    end = step.finished_at or step.started_at
    for call in reversed(step.calls):
        start = call.started_at or max(end - call.latency_ms, min(step.started_at, end))
        placed.append(call if call.started_at else msgspec.structs.replace(call, started_at=start))
        end = start
    return placed[::-1]


def _prompt(prompt: str) -> dict[str, Value]:
    """Returns the attributes of a prompt, `name@version`."""
    if not prompt:
        return {}
    name, _, version = prompt.rpartition("@")
    return {genai.PROMPT_NAME: name, genai.PROMPT_VERSION: version} if name else {genai.PROMPT_NAME: prompt}


def _type_of(error: str) -> str:
    """Returns the type of an error of a trace, `type: text`, without its text."""
    return error.partition(":")[0].strip()


def _tool_of(row: Row) -> str:
    try:
        name = msgspec.json.decode(row.body, type=_Offer).config.get("tool_name")
    except UNREADABLE:
        return ""
    return name if isinstance(name, str) else ""


def _span_of(traceparent: str) -> bytes:
    parts = traceparent.split("-")
    try:
        found = bytes.fromhex(parts[2]) if len(parts) == 4 else b""
    except ValueError:
        return b""
    return found if len(found) == 8 and any(found) else b""

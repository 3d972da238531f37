"""The spending of a step's report: a row of `costs`, and one of `llm_calls` for each call of a provider. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from agentflow_common import events as ev
from agentflow_common.errors import UNREADABLE
from agentflow_common.runs.state import node_of
from agentflow_trace.derive.run import RunFold
from agentflow_trace.derive.tables import CallRow, CostRow
from agentflow_trace.rows import Row

REPORTS: Final = frozenset({"step.completed", "step.failed"})
_BOUND: Final = 2**63


class _Report(msgspec.Struct):
    llm: ev.LlmUsage | None = None


_decoder: Final = msgspec.json.Decoder(_Report)


def cost(row: Row, part: int, run: RunFold) -> CostRow | None:
    """Returns what the report has spent, or None."""
    if row.type not in REPORTS or not (row.cost_nano or row.input_tokens or row.output_tokens):
        return None
    return CostRow(
        row.stream, row.stream_seq, part, row.ts, row.org, row.run, run.workflow, run.version,
        row.step, node_of(row.step), row.attempt, row.type, row.provider, row.model, row.prompt, row.cache_hit,
        row.input_tokens, row.output_tokens, row.cost_nano,
    )  # fmt: skip


def calls(row: Row, part: int, run: RunFold) -> list[CallRow]:
    """Returns the provider calls of a report.

    An event that does not list them has one, unless the answer came from the cache. What the calls do not account for
    belongs to the last one, so that the tokens and the cost of the calls add up to those of the report.
    """
    if row.type not in REPORTS or not row.provider:
        return []
    found = _attempts(row)
    if not found and row.cache_hit:
        return []
    if not found:
        ok = row.type == "step.completed"
        error = "" if ok else row.error_type
        found = [ev.LlmAttempt(row.provider, row.model, ok, error=error, finish_reason=row.finish_reason)]
    missing = (
        max(0, row.input_tokens - sum(call.input_tokens for call in found)),
        max(0, row.output_tokens - sum(call.output_tokens for call in found)),
        max(0, row.cost_nano - sum(call.cost_nano for call in found)),
    )
    last = found[-1]
    if any(missing):
        found[-1] = msgspec.structs.replace(
            last,
            input_tokens=last.input_tokens + missing[0],
            output_tokens=last.output_tokens + missing[1],
            cost_nano=last.cost_nano + missing[2],
        )
    return [
        CallRow(
            row.stream, row.stream_seq, part, number, row.ts, row.org, row.run, run.workflow, run.version,
            row.step, node_of(row.step), row.attempt, call.provider, call.model, row.prompt, call.ok, call.status,
            call.error, call.finish_reason, call.input_tokens, call.output_tokens, call.cost_nano, call.latency_ms,
        )
        for number, call in enumerate(found, 1)
    ]  # fmt: skip


def _attempts(row: Row) -> list[ev.LlmAttempt]:
    """Returns the calls that the event lists; none if another program wrote them in a way that fits no column."""
    try:
        usage = _decoder.decode(row.body).llm
    except UNREADABLE:
        return []
    listed = list(usage.attempts) if usage else []
    fits = all(
        0 <= number < _BOUND
        for call in listed
        for number in (call.input_tokens, call.output_tokens, call.cost_nano, call.latency_ms)
    )
    return listed if fits and all(0 <= call.status < 2**32 for call in listed) else []

"""The provider calls of a step's report, with their shares of its tokens and its cost. Pure.

An LLM step may call several providers in turn, and its report lists each call. The shares of the calls
always sum to the totals of the report, so that a sum over calls never differs from the sum over steps:

- The calls that a report lists have the shares that it names, if these sum to the step's total.
- If they do not, the total is divided in proportion to them. If all of them are 0, the last call has
  the total, because it is the one that answered.
- A report that lists no call has one, with everything. An answer from the cache has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from agentflow_common import events as ev
from agentflow_common.errors import UNREADABLE
from agentflow_common.rpc import TraceCall
from agentflow_trace.rows import Row

REPORTS: Final = frozenset({ev.event_type(ev.StepCompleted), ev.event_type(ev.StepFailed)})
_NUMBER_MAX: Final = 2**63 - 1
_STATUS_MAX: Final = 999


class _Usage(msgspec.Struct):
    attempts: tuple[ev.LlmAttempt, ...] = ()


class _Report(msgspec.Struct):
    llm: _Usage | None = None


_decoder: Final = msgspec.json.Decoder(_Report)


def calls_of(row: Row, first: int = 1) -> tuple[TraceCall, ...]:
    """Returns the calls of a report, in the order in which they were made. first: the number of the first call."""
    if row.type not in REPORTS:
        return ()
    spent = bool(row.input_tokens or row.output_tokens or row.cost_nano)
    listed = _listed(row)
    if not listed and ((not row.provider or row.cache_hit) and not spent):
        return ()
    if not listed:
        ok = row.type == ev.event_type(ev.StepCompleted)
        error = "" if ok else row.error_type
        listed = (ev.LlmAttempt(row.provider, row.model, ok, error=error, finish_reason=row.finish_reason),)
    inputs = shares(row.input_tokens, [call.input_tokens for call in listed])
    outputs = shares(row.output_tokens, [call.output_tokens for call in listed])
    costs = shares(row.cost_nano, [call.cost_nano for call in listed])
    return tuple(
        TraceCall(
            number=first + place,
            provider=call.provider,
            model=call.model,
            ok=call.ok,
            input_tokens=inputs[place],
            output_tokens=outputs[place],
            cost_nano=costs[place],
            started_at=_bounded(call.started_at, ev.TS_MAX),
            latency_ms=_bounded(call.latency_ms, _NUMBER_MAX),
            error=call.error,
            finish_reason=call.finish_reason,
            status=_bounded(call.status, _STATUS_MAX),
        )
        for place, call in enumerate(listed)
    )


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """Divides a total, so that the parts sum to it.

    The parts are the weights, if these sum to the total. Otherwise each part is in proportion to its weight, rounded
    down, and the last part with a weight has the rest.
    """
    known = [max(0, weight) for weight in weights]
    whole = sum(known)
    if whole == total:
        return known
    parts = [total * weight // whole if whole else 0 for weight in known]
    last = max((place for place, weight in enumerate(known) if weight), default=len(known) - 1)
    parts[last] += total - sum(parts)
    return parts


def _listed(row: Row) -> tuple[ev.LlmAttempt, ...]:
    """Returns the calls that the report lists, or none if another program wrote an unreadable list."""
    if '"attempts":' not in row.body:
        return ()
    try:
        usage = _decoder.decode(row.body).llm
    except UNREADABLE:
        return ()
    return usage.attempts if usage is not None else ()


def _bounded(value: int, most: int) -> int:
    return min(max(0, value), most)

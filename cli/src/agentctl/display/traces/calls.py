"""The calls of providers as rows of a timeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from agentctl.display.output import money

if TYPE_CHECKING:
    from agentflow_sdk import TraceCall, TraceStep


def with_calls(steps: Iterable[TraceStep]) -> Iterator[TraceStep]:
    """Yields each attempt, and each call of one that had made more than one as if the call were an attempt."""
    for step in steps:
        yield step
        if len(step.calls) > 1:
            yield from map(_as_step, step.calls)


def _as_step(call: TraceCall) -> TraceStep:
    from agentflow_sdk import StepStatus, TraceStep

    return TraceStep(
        f"  call {call.number}, {money(call.cost_nano_usd)}",
        1,
        StepStatus.COMPLETED if call.ok else StepStatus.FAILED,
        call.started_at,
        call.started_at,
        call.started_at + call.latency_ms if call.started_at else 0,
        duration_ms=call.latency_ms,
        provider=call.provider,
        model=call.model,
        finish_reason=call.error or call.finish_reason,
    )

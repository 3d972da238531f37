"""Reading a log for checks."""

from __future__ import annotations

from agentflow_common import events as ev


def begun_by(event: ev.Event) -> tuple[tuple[str, int], ...]:
    """(step, attempt) that the event gives to a worker: what is offered, and what a worker goes on with by itself."""
    if isinstance(event, ev.StepScheduled):
        return ((event.step, event.attempt),)
    if isinstance(event, ev.StepCompleted) and event.begun is not None:
        return ((event.begun.step, 1),)
    return ()

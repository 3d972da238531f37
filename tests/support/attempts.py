"""Reading a log for checks."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from agentflow_common import events as ev


def singly(log: Iterable[ev.Event]) -> list[ev.Event]:
    """The events as if each step had been reported by itself, in the order of the log."""
    return [*chain.from_iterable(map(ev.single, log))]


def begun_by(event: ev.Event) -> tuple[tuple[str, int], ...]:
    """(step, attempt) that the event gives to a worker: what is offered, and what a worker goes on with by itself."""
    if isinstance(event, ev.StepScheduled):
        return ((event.step, event.attempt),)
    if isinstance(event, ev.StepCompleted):
        return tuple((report.begun.step, 1) for report in event.reports() if report.begun is not None)
    return ()

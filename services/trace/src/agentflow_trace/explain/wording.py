"""One line about each event that is shown as evidence. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from agentflow_common import events as ev
from agentflow_common.events import StepError
from agentflow_common.runs.waiting import span

TEXT_MAX: Final = 300


def clip(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "\u2026"


def error_text(error: StepError | None) -> str:
    if error is None:
        return ""
    return clip(f"{error.type}: {error.message}" if error.message else error.type)


def took(ms: float) -> str:
    """Returns a time for people: `340 ms`, `4 s`, `3 m 20 s`."""
    return f"{round(ms):,} ms" if ms < 1000 else f"{ms / 1000:.1f} s" if ms < 10_000 else span(round(ms))


def about(event: Any) -> str:
    """Returns what an event says, in a few words; empty if its type says everything."""
    text = _TEXTS.get(type(event))
    return clip(text(event)) if text is not None else ""


def _said(event: Any) -> str:
    """Returns who asked for something, and why."""
    return f"by {event.by}{': ' if event.reason else ''}{event.reason}" if event.by else str(event.reason)


def _of_error(event: Any) -> str:
    return error_text(event.error)


_TEXTS: Final[dict[type[ev.Event], Callable[[Any], str]]] = {
    ev.StepFailed: _of_error,
    ev.StepUndecidable: _of_error,
    ev.RunFailed: _of_error,
    ev.SlotRefused: _of_error,
    ev.RunSlotRefused: _of_error,
    ev.StepResolved: lambda e: error_text(e.error) or e.status,
    ev.StepJoined: lambda e: error_text(e.error) or e.status,
    ev.ChildEnded: lambda e: f"{e.child} {e.status}{': ' if e.error else ''}{error_text(e.error)}",
    ev.StepTimedOut: lambda e: f"{e.bound or 'attempt'} limit of {took(e.timeout_ms)}",
    ev.StepStarted: lambda e: f"worker {e.worker}",
    ev.ClaimTaken: lambda e: f"worker {e.worker}",
    ev.StepOutcomeUnknown: lambda e: f"claimed by worker {e.claimed_by}" if e.claimed_by else "",
    ev.StepScheduled: lambda e: f"offered to the pool {e.lane}",
    ev.StepQueued: lambda e: f"asks the lane {e.lane} for a slot" if e.lane else "gave its slot back",
    ev.StepWaiting: lambda e: f"waits for {e.child or e.kind}",
    ev.TimerSet: lambda e: f"{e.kind} timer {e.timer}",
    ev.TimerFired: lambda e: f"{e.kind} timer {e.timer}",
    ev.ApprovalGiven: lambda e: f"{e.decision} by {e.by}{': ' if e.comment else ''}{e.comment}",
    ev.OutcomeResolved: lambda e: f"{e.outcome} {_said(e)}",
    ev.RunCancelRequested: _said,
    ev.RunPauseRequested: _said,
    ev.RunResumeRequested: _said,
    ev.RunPaused: _said,
    ev.StepSkipped: lambda e: e.reason,
    ev.StepCancelled: lambda e: e.reason,
    ev.RunCancelled: lambda e: e.reason,
    ev.RunQueued: lambda e: f"asks for {e.lane}",
    ev.RunLocking: lambda e: f"asks for {e.lane}" if e.lane else "",
}

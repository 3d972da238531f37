"""What must hold between the logs of several runs, for entities_world.py."""

from __future__ import annotations

from typing import Any

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.runs.state import UNDO
from agentflow_common.subjects import RunKey

Logs = dict[RunKey, list[tuple[int, ev.AnyEvent]]]
OVER = (
    ev.StepCompleted, ev.StepFailed, ev.StepOutcomeUnknown, ev.StepTimedOut, ev.StepCancelled, ev.ChildEnded,
)  # fmt: skip

GOES_ON = "the run goes on as a new one"
_BEGINS = (ev.StepScheduled, ev.StepQueued, ev.StepWaiting, ev.StepExpanded, ev.StepIterated)


def check_slots(logs: Logs, definition: dict[str, Any]) -> None:
    """By the logs of the runs alone: attempts of a lane that were offered and are not over."""
    runs = [key for key in logs if key.run.startswith("run")]
    story = sorted(((seq, key, event) for key in runs for seq, event in logs[key]), key=lambda item: item[0])
    limit = max((node.get("lane_limit", 1) for node in definition["dag"]["nodes"]), default=1)
    queued: set[tuple[RunKey, str, int]] = set()
    holders: set[tuple[RunKey, str, int]] = set()
    for _, key, event in story:
        slot = (key, getattr(event, "step", ""), getattr(event, "attempt", 0))
        if isinstance(event, ev.StepQueued):
            queued.add(slot)
        elif isinstance(event, ev.StepScheduled) and slot in queued:
            holders.add(slot)
            assert len(holders) <= limit, f"{len(holders)} attempts at a time, {limit} are allowed: {holders}"
        elif isinstance(event, OVER):
            holders.discard(slot)


def check_children(logs: Logs, key: RunKey) -> None:
    """A subworkflow whose step was closed does not go on, whoever goes on in its place."""
    children = {(e.step, e.attempt): e.child for _, e in logs[key] if isinstance(e, ev.StepWaiting) and e.child}
    for seq, event in logs[key]:
        child = children.get((getattr(event, "step", ""), getattr(event, "attempt", 0)))
        if isinstance(event, ev.StepCancelled | ev.StepTimedOut) and child is not None:
            assert _is_told(logs, subjects.key_of("o", child), seq), f"{child} of {key.run} goes on"


def _is_told(logs: Logs, key: RunKey, seq: int) -> bool:
    end_seq, end = next((s, e) for s, e in logs[key] if isinstance(e, ev.TERMINAL_RUN))
    if isinstance(end, ev.RunCompleted) and end.continued_as:
        return _is_told(logs, subjects.key_of("o", end.continued_as), seq)
    return end_seq < seq or any(isinstance(e, ev.RunCancelRequested) for _, e in logs[key])


def check_undone_first(logs: Logs, key: RunKey) -> None:
    """A run undoes nothing of its own, and does not end, before each of its subworkflows has ended; unless it was
    cancelled by force, or had waited as long as it may."""
    log = logs[key]
    forced = any(isinstance(event, ev.RunCancelRequested) and event.force for _, event in log)
    if forced or any(isinstance(event, ev.TimerFired) and event.kind == "children" for _, event in log):
        return
    undoing = [seq for seq, e in log if isinstance(e, ev.StepScheduled) and e.step.endswith(UNDO)]
    end = next(seq for seq, event in log if isinstance(event, ev.TERMINAL_RUN))
    for _, event in log:
        if isinstance(event, ev.StepWaiting) and event.child:
            ended = _ended_at(logs, subjects.key_of("o", event.child))
            assert ended < min([end, *undoing]), f"{key.run} did not wait for {event.child} of {event.step}"


def _ended_at(logs: Logs, key: RunKey) -> int:
    """Where the log has the end of a run, or of the last one that went on in its place."""
    seq, end = next((s, e) for s, e in logs[key] if isinstance(e, ev.TERMINAL_RUN))
    following = getattr(end, "continued_as", "")
    return _ended_at(logs, subjects.key_of("o", following)) if following else seq


def check_continued(logs: Logs, key: RunKey) -> None:
    """A run that goes on as a new one closes nothing but steps that wait for a time, a signal or people."""
    log = logs[key]
    end = next(event for _, event in log if isinstance(event, ev.TERMINAL_RUN))
    if not getattr(end, "continued_as", ""):
        return
    begun: dict[str, ev.AnyEvent] = {}
    for _, event in log:
        if isinstance(event, _BEGINS):
            begun[event.step] = event
        elif isinstance(event, ev.StepCancelled) and event.reason == GOES_ON:
            by = begun[event.step]
            assert isinstance(by, ev.StepWaiting) and not by.child, f"{key.run} goes on while {event.step} runs"

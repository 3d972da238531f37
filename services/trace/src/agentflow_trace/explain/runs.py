"""Why a run ended as it did: the symptom, and the reasons behind it. Pure."""

from __future__ import annotations

from typing import Final

from agentflow_common import events as ev
from agentflow_common.events import StepError
from agentflow_common.rpc.traces.explain import CauseLink
from agentflow_common.runs.state import RunState, RunStatus, StepStatus, undo_key
from agentflow_trace.explain import limits, open_runs, steps
from agentflow_trace.explain.kinds import of_error
from agentflow_trace.explain.reasons import ASIDE, Reason
from agentflow_trace.explain.run_log import Entry, Logs, RunLog
from agentflow_trace.explain.steps import Walk
from agentflow_trace.explain.wording import clip, error_text, took

TOLERATED: Final = 0.2  # the confidence of what the run went on without, where something else ended it


def why_run(logs: Logs, log: RunLog, around: open_runs.Around) -> Reason:
    """Returns the symptom of a run with the reasons for it."""
    walk = Walk(logs, lambda child: _why(walk, child, around.of_child()))
    return _why(walk, log, around)


def _why(walk: Walk, log: RunLog, around: open_runs.Around) -> Reason:
    state = log.state
    assert state is not None  # noqa: S101 - `Logs.get` gives no log without a state
    walk.enter(log, "")
    if state.status is RunStatus.FAILED:
        symptom = _failed(walk, log, state)
    elif state.status is RunStatus.CANCELLED:
        symptom = _cancelled(walk, log, state)
    elif state.status is RunStatus.COMPLETED:
        text = f"the run completed after {took(state.finished_at - state.submitted_at)}"
        symptom = Reason(_link(log, "run_completed", text, log.last(ev.RunCompleted)))
    else:
        return open_runs.why_open(walk, log, around)
    aside = [reason._replace(confidence=ASIDE) for reason in _not_undone(log)]
    others = [reason._replace(confidence=TOLERATED) for reason in steps.tolerated(walk, log)]
    return symptom._replace(because=(*symptom.because, *aside, *others))


def _link(log: RunLog, kind: str, text: str, found: tuple[Entry, ev.Event] | None, step: str = "") -> CauseLink:
    entries = () if found is None else (found[0],)
    return CauseLink(kind=kind, text=clip(text), run=log.run, step=step, evidence=log.evidence(*entries))


# --- failed ---


def _failed(walk: Walk, log: RunLog, state: RunState) -> Reason:
    found = log.last(ev.RunFailed)
    error = state.error or StepError("unknown", "")
    step = found[1].step if found is not None else ""
    symptom = _link(log, "run_failed", f"the run failed{' at ' * bool(step)}{step}", found, step)
    if error.type == "deadline" and not step and state.deadline_ms is not None:
        return Reason(symptom, because=(_deadline(walk, log, state),))
    if step and log.node(step).get("type") == "end":
        resolved = log.last_of_step(step, ev.StepResolved)
        leaf = CauseLink(
            kind="ended_by_author", text=clip(f"the node {step} ends the run: {error_text(error)}"), run=log.run,
            step=step, evidence=log.evidence(resolved, *([found[0]] if found is not None else ())),
        )  # fmt: skip
        return Reason(symptom, because=(Reason(leaf),))
    if step and log.step(step).status in {StepStatus.FAILED, StepStatus.OUTCOME_UNKNOWN}:
        return Reason(symptom, because=(steps.why_failed(walk, log, step),))
    return Reason(symptom, because=(_of_run(walk, log, error, step, found),))


def _of_run(walk: Walk, log: RunLog, error: StepError, step: str, found: tuple[Entry, ev.RunFailed] | None) -> Reason:
    """Returns why a run failed that no failed step ended: a lane, a lock, an expression of its own, a graph."""
    if error.type == "undecidable" and found is not None:
        return steps.why_undecidable(walk, log, step, found[0], error)
    refused = log.last(ev.RunSlotRefused)
    asked: list[Entry] = [entry for entry in log.entries if isinstance(entry.event, ev.RunQueued | ev.RunLocking)]
    entries = [*asked[-1:], *(item[0] for item in (refused, found) if item is not None)]
    if error.type != "lane_full":
        entries = [found[0]] if found is not None else []
    return Reason(
        CauseLink(
            kind=of_error(error.type, by_model=False), text=error_text(error), run=log.run, step=step,
            evidence=log.evidence(*entries),
        )
    )  # fmt: skip


def _deadline(walk: Walk, log: RunLog, state: RunState) -> Reason:
    end = state.submitted_at + (state.deadline_ms or 0)
    fired: list[Entry | None] = [entry for entry, event in log.all_of(ev.TimerFired) if event.kind == "deadline"]
    fired = fired or [None]
    text = f"the run did not end within {took(state.deadline_ms or 0)}"
    link = CauseLink(kind="deadline", text=text, run=log.run, evidence=log.evidence(*fired[:1]))
    return Reason(link, because=limits.why_deadline(walk.logs, log, state.submitted_at, end, *fired[:1]))


def _not_undone(log: RunLog) -> list[Reason]:
    """Returns a reason for each step whose effect is still there."""
    found: tuple[Entry, ev.RunFailed | ev.RunCancelled] | None = log.last(ev.RunFailed)
    found = found or log.last(ev.RunCancelled)
    reasons: list[Reason] = []
    for key in found[1].uncompensated if found is not None else ():
        undo = log.step(undo_key(key))
        ending = log.last_of_step(undo_key(key), ev.StepFailed, ev.StepTimedOut, ev.StepOutcomeUnknown)
        why = f": {error_text(undo.error)}" if undo.error is not None else ""
        link = CauseLink(
            kind="compensation_failed", text=clip(f"what {key} did is not undone{why}"), run=log.run,
            step=undo_key(key) if ending is not None else key,
            evidence=log.evidence(ending, *([found[0]] if found is not None else ())),
        )  # fmt: skip
        reasons.append(Reason(link))
    return reasons


# --- cancelled ---


def _cancelled(walk: Walk, log: RunLog, state: RunState) -> Reason:
    found = log.last(ev.RunCancelled)
    reason = state.cancel_reason or (found[1].reason if found is not None else "")
    symptom = _link(log, "run_cancelled", f"the run was cancelled{': ' * bool(reason)}{reason}", found)
    refused = log.last(ev.RunSlotRefused)
    if state.error is not None and refused is not None:
        leaf = _link(log, "run_lane_policy", error_text(state.error), refused)
        return Reason(symptom, because=(Reason(leaf),))
    requests = [(entry, event) for entry, event in log.all_of(ev.RunCancelRequested)]
    if requests:
        return Reason(symptom, because=(_request(walk, log, *requests[0]),))
    ends = [
        key for key, step in state.steps.items() if log.node(key).get("type") == "end" and step.status == "completed"
    ]
    for key in ends[:1]:
        entry = log.last_of_step(key, ev.StepResolved)
        leaf = CauseLink(
            kind="ended_by_author", text=f"the node {key} ends the run as cancelled", run=log.run, step=key,
            evidence=log.evidence(entry),
        )  # fmt: skip
        return Reason(symptom, because=(Reason(leaf),))
    return Reason(symptom, because=(Reason(_link(log, "unknown", "the log names no one who cancelled it", found)),))


def _request(walk: Walk, log: RunLog, entry: Entry, event: ev.RunCancelRequested) -> Reason:
    why = f": {event.reason}" if event.reason else ""
    if event.by.startswith("lane ") and event.child_of is None:
        leaf = _link(log, "run_lane_policy", f"the {event.by} ended the run{why}", (entry, event))
        return Reason(leaf)
    if event.child_of is None:
        who = event.by or "somebody"
        return Reason(_link(log, "cancelled_by_person", f"{who} cancelled the run{why}", (entry, event)))
    parent = event.child_of
    text = f"its parent, the run {parent.run}, closed the step {parent.step}{why}"
    link = _link(log, "parent_ended", text, (entry, event))
    above = walk.logs.get(parent.run)
    if above is None or above.state is None or not walk.enter(above, "") or not above.state.status.terminal:
        return Reason(link)
    if above.state.status is RunStatus.COMPLETED:
        return Reason(link)
    return Reason(link, because=(walk.why_run(above),))

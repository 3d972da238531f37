"""Why a step failed for good: its attempts, its parts, its subworkflow, its limits, its expressions. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from agentflow_common import events as ev
from agentflow_common.events import StepError
from agentflow_common.rpc.traces.explain import CauseLink, Evidence
from agentflow_common.runs.state import StepStatus, child_key, current_key, iteration_key, newest_key, node_of
from agentflow_trace.explain import failures, limits
from agentflow_trace.explain.kinds import of_error
from agentflow_trace.explain.reasons import Reason
from agentflow_trace.explain.run_log import Entry, Logs, RunLog
from agentflow_trace.explain.wording import clip, error_text

ITEMS_MAX: Final = 5  # failed items of a map, that are explained
OTHER_ITEM: Final = 0.5  # the confidence of an item that failed after the first one
READ: Final = 0.95  # an expression names the step that has no output
NEAR: Final = 0.6  # a step that has no output is read, and the error does not name it
_BAD: Final = frozenset({StepStatus.FAILED, StepStatus.OUTCOME_UNKNOWN})
_DECISIONS: Final = (ev.StepTimedOut, ev.StepUndecidable, ev.StepResolved, ev.StepJoined)
_FACTS: Final = (ev.StepFailed, ev.StepOutcomeUnknown, ev.SlotRefused, ev.ChildEnded)
WhyRun = Callable[[RunLog], Reason]


class Walk:
    """A walk from a symptom to its causes. It looks at each step once, so that it ends."""

    def __init__(self, logs: Logs, why_run: WhyRun) -> None:
        self.logs = logs
        self.why_run = why_run
        self._seen: set[tuple[str, str]] = set()

    def enter(self, log: RunLog, key: str) -> bool:
        """Returns False if the walk has been there."""
        place = (log.run, key)
        fresh = place not in self._seen
        self._seen.add(place)
        return fresh

    def has_seen(self, log: RunLog, key: str) -> bool:
        return (log.run, key) in self._seen


def why_failed(walk: Walk, log: RunLog, key: str) -> Reason:
    """Returns the reason for a step that failed, or whose outcome is unknown."""
    step, error = log.step(key), log.step(key).error
    entry = _ending(log, key)
    text = f"{key} failed{': ' if error else ''}{error_text(error)}"
    if entry is None or not walk.enter(log, key):
        kind = of_error(error.type, by_model=step.kind == "llm") if error else "unknown"
        return Reason(CauseLink(kind=kind, text=text, run=log.run, step=key, attempt=step.attempt))
    event = entry.event
    if step.width >= 0 and not isinstance(event, ev.StepTimedOut):
        return _items(walk, log, key, entry)
    return _WHY.get(type(event), _attempts)(walk, log, key, entry)


def _ending(log: RunLog, key: str) -> Entry | None:
    """Returns the event that ended the step. A report after a decision was late, and changed nothing."""
    entries = log.of_step(key)
    attempt = log.step(key).attempt
    for kinds in (_DECISIONS, (ev.OutcomeResolved,)):
        found = [
            entry for entry in entries
            if isinstance(entry.event, kinds) and getattr(entry.event, "attempt", attempt) in {0, attempt}
        ]  # fmt: skip
        if found:
            return found[-1]
    facts = [entry for entry in entries if isinstance(entry.event, _FACTS) and entry.event.attempt == attempt]
    ended = [entry for entry in facts if getattr(entry.event, "status", "") != "continued"]
    return ended[0] if ended else facts[-1] if facts else None


def _decided(_walk: Walk, log: RunLog, key: str, entry: Entry) -> Reason:
    """Returns why a person decided that a step had failed: its outcome was unknown."""
    link = CauseLink(
        kind="step_failed", text=f"{entry.event.by or 'somebody'} decided that {key} had failed", run=log.run,
        step=key, attempt=entry.event.attempt, evidence=log.evidence(entry),
    )  # fmt: skip
    unknown = log.last_of_step(key, ev.StepOutcomeUnknown)
    because = () if unknown is None else (failures.why_attempt_failed(log, key, unknown),)
    return Reason(link, because=because)


def _attempts(_walk: Walk, log: RunLog, key: str, entry: Entry) -> Reason:
    because = failures.why_attempts_failed(log, key, entry)
    count = failures.attempts_of(log, key)
    if count < 2:
        return because[0]
    link = CauseLink(
        kind="step_failed", text=f"{count} attempts of {key} failed", run=log.run, step=key,
        attempt=entry.event.attempt, evidence=log.evidence(entry),
    )  # fmt: skip
    return Reason(link, because=because)


def _timed_out(walk: Walk, log: RunLog, key: str, entry: Entry) -> Reason:
    reason = limits.why_timed_out(walk.logs, log, key, entry)
    child = walk.logs.get(log.step(key).child)
    if child is not None and child.state is not None and child.state.status == "failed" and walk.enter(child, ""):
        return reason._replace(because=(*reason.because, walk.why_run(child)._replace(confidence=NEAR)))
    return reason


def _items(walk: Walk, log: RunLog, key: str, entry: Entry) -> Reason:
    parts = [child_key(key, index) for index in range(max(0, log.step(key).width))]
    bad = sorted((part for part in parts if log.step(part).status in _BAD), key=lambda p: log.step(p).finished_at)
    text = f"{len(bad)} of {len(parts)} items of {key} failed" if bad else f"{key}: {error_text(log.step(key).error)}"
    link = CauseLink(kind="item_failed", text=text, run=log.run, step=key, evidence=log.evidence(entry))
    reasons = [why_failed(walk, log, part) for part in bad[:ITEMS_MAX]]
    return Reason(link, because=tuple(r._replace(confidence=OTHER_ITEM if n else 1.0) for n, r in enumerate(reasons)))


def _child(walk: Walk, log: RunLog, key: str, entry: Entry) -> Reason:
    event: ev.ChildEnded = entry.event
    waiting = log.last_of_step(key, ev.StepWaiting, attempt=event.attempt)
    text = f"the subworkflow {event.child} of {key} {'was cancelled' if event.status == 'cancelled' else 'failed'}"
    link = CauseLink(
        kind="child_failed", text=text, run=log.run, step=key, attempt=event.attempt,
        evidence=log.evidence(waiting, entry),
    )  # fmt: skip
    child = walk.logs.get(event.child)
    if child is not None and walk.enter(child, ""):
        return Reason(link, because=(walk.why_run(child),))
    error = event.error
    if error is None or error.type.startswith("child_"):
        kind = "child_lost" if error is not None and error.type == "child_lost" else "child_failed"
        return Reason(msgspec.structs.replace(link, kind=kind))
    inner = msgspec.structs.replace(
        link, kind=of_error(error.type, by_model=False), text=error_text(error), run=event.child, step=""
    )
    return Reason(link, because=(Reason(inner),))


def _resolved(walk: Walk, log: RunLog, key: str, entry: Entry) -> Reason:
    step, error = log.step(key), entry.event.error or StepError("unknown", "")
    if step.kind == "loop" and error.type != "max_iterations" and step.iteration:
        part = iteration_key(key, step.iteration)
        text = f"iteration {step.iteration} of {key} failed"
        link = CauseLink(kind="iteration_failed", text=text, run=log.run, step=key, evidence=log.evidence(entry))
        return Reason(link, because=(why_failed(walk, log, part),))
    waiting = log.last_of_step(key, ev.StepWaiting)
    answers = [e for e in log.of_step(key) if isinstance(e.event, ev.ApprovalGiven | ev.ApprovalEscalated)]
    refused = log.last_of_step(key, ev.SlotRefused)
    text = f"{key}: {error_text(error)}"
    if error.type == "rejected":
        no = [e.event for e in answers if isinstance(e.event, ev.ApprovalGiven) and e.event.decision == "reject"]
        who = ", ".join(dict.fromkeys(answer.by for answer in no)) or "a person"
        comment = next((f": {answer.comment}" for answer in no if answer.comment), "")
        text = f"{who} rejected {key}{comment}"
    return Reason(
        CauseLink(
            kind=of_error(error.type, by_model=False), text=clip(text), run=log.run, step=key, attempt=step.attempt,
            evidence=log.evidence(waiting, refused, *answers[-3:], entry),
        )
    )  # fmt: skip


# --- expressions ---


def _undecidable(walk: Walk, log: RunLog, key: str, entry: Entry) -> Reason:
    return why_undecidable(walk, log, key, entry, entry.event.error)


def why_undecidable(walk: Walk, log: RunLog, key: str, entry: Entry, error: StepError) -> Reason:
    """Returns why an expression can't be computed. A step that it reads may have failed or been skipped."""
    kind = of_error(error.type, by_model=False)
    evidence = log.evidence(entry)
    leaf = CauseLink(kind=kind, text=clip(error.message), run=log.run, step=key, evidence=evidence)
    if kind != "undecidable":
        return Reason(leaf)
    empty = _without_output(log, key, error.message)
    because: list[Reason] = []
    skipped: list[Evidence] = []
    for name, named in empty:
        if log.step(name).status in _BAD:
            because.append(why_failed(walk, log, name)._replace(confidence=READ if named else NEAR))
        elif named:
            skipped += log.evidence(log.last_of_step(name, ev.StepSkipped, ev.StepCancelled))
    if because:
        names = ", ".join(name for name, _ in empty)
        link = msgspec.structs.replace(leaf, kind="undecidable_input", text=clip(f"{leaf.text}; {names} has no output"))
        return Reason(link, because=(*because, Reason(leaf, NEAR * NEAR)))
    if skipped:
        names = ", ".join(dict.fromkeys(item.step for item in skipped))
        text = clip(f"{leaf.text}; {names} was skipped and has no output")
        leaf = msgspec.structs.replace(leaf, text=text, evidence=(*skipped, *evidence))
    return Reason(leaf)


def _without_output(log: RunLog, key: str, message: str) -> list[tuple[str, bool]]:
    """Returns the steps without an output that an expression may have read, and whether the error names them."""
    state = log.state
    if state is None:
        return []
    names = log.waits_for.get(node_of(key)) or (list(log.nodes) if node_of(key) not in log.nodes else [])
    found = []
    for node in names:
        for name in dict.fromkeys((current_key(state, node), newest_key(state, node))):
            step = log.step(name)
            if step.status in _BAD or step.status in {StepStatus.SKIPPED, StepStatus.CANCELLED}:
                found.append((name, _names(message, node)))
    return found


def _names(text: str, node: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(node)}(?![\w-])", text) is not None


_WHY: Final[dict[type[ev.Event], Callable[[Walk, RunLog, str, Entry], Reason]]] = {
    ev.StepTimedOut: _timed_out,
    ev.StepUndecidable: _undecidable,
    ev.ChildEnded: _child,
    ev.StepResolved: _resolved,
    ev.OutcomeResolved: _decided,
}


# --- steps that the run went on without ---


def tolerated(walk: Walk, log: RunLog) -> list[Reason]:
    """Returns the reasons for steps that failed although the run went on."""
    steps: dict[str, Any] = log.state.steps if log.state is not None else {}
    keys = [key for key, step in steps.items() if step.status in _BAD and log.of_step(key)]
    return [why_failed(walk, log, key) for key in keys if not walk.has_seen(log, key)]

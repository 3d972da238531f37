"""Why a time limit was over: what used the time. Pure."""

from __future__ import annotations

from typing import Any, Final

from agentflow_common import events as ev
from agentflow_common.rpc.traces.explain import CauseLink, Evidence
from agentflow_common.runs.state import parent_of
from agentflow_trace.explain import failures, time_use
from agentflow_trace.explain.reasons import Reason
from agentflow_trace.explain.run_log import Entry, Logs, RunLog
from agentflow_trace.explain.time_use import RETRY, Span
from agentflow_trace.explain.wording import took

USES_MAX: Final = 4  # of the time, that are named
SPREAD: Final = 0.4  # below this share of the longest use, the limit itself is the cause
_KINDS: Final = {
    "work": "step_too_slow",
    RETRY: "step_too_slow",
    "worker": "no_worker",
    "lane": "lane_wait",
    "lock": "lock_wait",
    "approval": "approval_missing",
    "signal": "signal_missing",
    "timer": "timer_wait",
    "child": "child_failed",
    "pause": "pause",
    "breakpoint": "breakpoint",
    "scheduler": "scheduler_away",
}
_TEXTS: Final = {
    "work": "{step} worked for {time}",
    RETRY: "attempts of {step} that did not succeed took {time}",
    "worker": "{step} waited for a worker of the pool {on} for {time}",
    "lane": "{step} waited for a slot of the lane {on} for {time}",
    "lock": "{step} waited for the lock {on} for {time}",
    "approval": "the approval {step} waited for an answer for {time}",
    "signal": "{step} waited for the signal {on} for {time}",
    "timer": "{step} waited for its time to come, {time}",
    "child": "{step} waited for the run {on} for {time}",
    "pause": "the run was paused for {time}{why}",
    "breakpoint": "the run was stopped before a breakpoint for {time}",
    "scheduler": "nothing was decided for {time}",
}


def why_timed_out(logs: Logs, log: RunLog, key: str, entry: Entry) -> Reason:
    """Returns why a step passed one of its limits. entry: the `step.timed_out`."""
    event: ev.StepTimedOut = entry.event
    if event.bound == "heartbeat":
        return failures.why_attempt_failed(log, key, entry)
    total = event.bound == "total"
    text = f"{key} did not end within {took(event.timeout_ms)}" + (", all attempts together" if total else "")
    link = CauseLink(
        kind="total_timeout" if total else "timeout", text=text, run=log.run, step=key, attempt=event.attempt,
        evidence=log.evidence(entry),
    )  # fmt: skip
    failed = _failed_before(log, key, entry) if total else None
    if failed is not None:
        reason = failures.why_attempt_failed(log, *failed)
        return Reason(link, because=(reason._replace(confidence=0.9),))
    spans = time_use.of_step(logs, log, key, None if total else event.attempt, entry)
    whole = max(1, sum(span.ms for span in spans))
    return Reason(link, because=_late_model_call(log, key, event.attempt, entry) or uses(spans, whole))


def _failed_before(log: RunLog, key: str, entry: Entry) -> tuple[str, Entry] | None:
    """Returns the failure before a total timeout: of an attempt of the step, or of the newest part that failed."""
    if entry.event.cause is None:
        return None
    kinds = (ev.StepFailed, ev.StepUndecidable, ev.StepOutcomeUnknown)
    for other in reversed(log.entries):
        step = getattr(other.event, "step", "")
        if other.seq < entry.seq and isinstance(other.event, kinds) and (step == key or _is_part(step, key)):
            return step, other
    return None


def _is_part(step: str, key: str) -> bool:
    above = parent_of(step) if step else None
    while above is not None and above != key:
        above = parent_of(above)
    return above is not None


def _late_model_call(log: RunLog, key: str, attempt: int, entry: Entry) -> tuple[Reason, ...]:
    """Returns a reason if the worker's report, which came too late, shows that a provider was slow."""
    for other in log.of_step(key):
        event: Any = other.event
        if isinstance(event, ev.StepFailed | ev.StepCompleted) and event.attempt == attempt and event.llm is not None:
            calls = [call for call in event.llm.attempts if call.latency_ms]
            slow = max(calls, key=lambda call: call.latency_ms, default=None)
            if slow is not None and sum(call.latency_ms for call in calls) * 2 >= entry.event.timeout_ms:
                text = f"{slow.provider}/{slow.model} took {took(slow.latency_ms)} in {key}"
                evidence = log.evidence(entry, other)
                link = CauseLink(
                    kind="provider_outage", text=text, run=log.run, step=key, attempt=attempt, evidence=evidence
                )
                return (Reason(link, 0.9),)
    return ()


def why_deadline(logs: Logs, log: RunLog, begin: int, end: int, fired: Entry | None) -> tuple[Reason, ...]:
    """Returns why a run did not end within its deadline: what used most of the time.

    fired: the event that the deadline had come.
    """
    spans = time_use.of_run(logs, log, begin, end, time_use.until_event(log, fired))
    found = uses(spans, max(1, end - begin))
    if max((reason.confidence for reason in found), default=0.0) >= SPREAD:
        return found
    text = f"the time of {took(end - begin)} is spread over {len({span.step for span in spans})} steps"
    leaf = CauseLink(kind="deadline_too_short", text=text, run=log.run, evidence=log.evidence(*log.entries[:1]))
    return (Reason(leaf, 0.5), *found)


def uses(spans: list[Span], whole_ms: int) -> tuple[Reason, ...]:
    """Returns what used the time, the most first. The share of the time is the confidence."""
    return tuple(_use(span, ms, min(1.0, ms / whole_ms)) for ms, span in time_use.shares(spans)[:USES_MAX])


def _use(span: Span, ms: int, share: float) -> Reason:
    log, key = span.log, span.step
    failed = _last_failure(log, key, span.end) if span.kind == RETRY else None
    link = CauseLink(
        kind=_KINDS.get(span.kind, "step_too_slow"), text=text_of(span, ms), run=log.run, step=key,
        attempt=span.attempt, evidence=_evidence(span),
    )  # fmt: skip
    if failed is None:
        return Reason(link, share)
    text = f"attempts of {key} that failed, and the delays after them, took {took(ms)}"
    link = CauseLink(kind="retrying", text=text, run=log.run, step=key, evidence=log.evidence(failed))
    return Reason(link, share, (failures.why_attempt_failed(log, key, failed),))


def _last_failure(log: RunLog, key: str, until: int) -> Entry | None:
    kinds = ev.StepFailed | ev.StepTimedOut | ev.StepOutcomeUnknown
    found = [entry for entry in log.of_step(key) if isinstance(entry.event, kinds) and entry.ts <= until]
    return found[-1] if found else None


def text_of(span: Span, ms: int) -> str:
    """Returns what used the time, for people."""
    paused = span.log.last(ev.RunPaused)
    why = f": {paused[1].reason}" if paused is not None and paused[1].reason else ""
    return _TEXTS.get(span.kind, "{step} took {time}").format(
        step=span.step or "the run", time=took(ms), on=span.on, why=why
    )


def _evidence(span: Span) -> tuple[Evidence, ...]:
    """Returns the events of the step, or of the run, that stand around a span."""
    log = span.log
    if span.kind in {"pause", "breakpoint", "lock", "scheduler"} or not span.step:
        kinds = (ev.RunPaused, ev.RunPauseRequested, ev.RunStopped, ev.RunResumed, ev.RunQueued, ev.RunLocking)
        entries = [entry for entry in log.entries if isinstance(entry.event, kinds) and entry.ts <= span.end]
        return log.evidence(*entries[-3:])
    entries = [
        entry for entry in log.of_step(span.step)
        if span.begin <= entry.ts <= span.end and not isinstance(entry.event, ev.StepProgressed)
    ]  # fmt: skip
    return log.evidence(*entries[:3])

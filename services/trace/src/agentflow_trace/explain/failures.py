"""Why an attempt of a step failed: its own error, the providers, a budget, a policy, the worker. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from agentflow_common import events as ev
from agentflow_common import money, subjects
from agentflow_common.events import StepError
from agentflow_common.rpc.traces.explain import CauseLink, Evidence
from agentflow_trace.explain.kinds import of_error
from agentflow_trace.explain.reasons import Reason
from agentflow_trace.explain.run_log import Entry, RunLog
from agentflow_trace.explain.wording import clip, error_text, took

SPENT_MAX: Final = 3  # of the settlements before a budget was exhausted, the dearest
EARLIER: Final = 0.4  # the confidence of another error in an earlier attempt
MIXED: Final = 0.9  # the confidence of the last attempt's error, if there were others
_FAILED: Final = (ev.StepFailed, ev.StepTimedOut, ev.StepOutcomeUnknown, ev.SlotRefused)


def why_attempt_failed(log: RunLog, key: str, entry: Entry) -> Reason:
    """Returns the cause of one failed attempt. entry: the event that says that it failed."""
    event = entry.event
    if isinstance(event, ev.StepOutcomeUnknown):
        return _outcome_unknown(log, key, entry)
    if isinstance(event, ev.StepTimedOut):
        text = f"attempt {event.attempt} of {key} did not end within {took(event.timeout_ms)}"
        kind = "step_too_slow"
        started = log.last_of_step(key, ev.StepStarted, attempt=event.attempt)
        if event.bound == "heartbeat":
            beat = log.last_of_step(key, ev.StepProgressed, attempt=event.attempt)
            worker = getattr((beat or started or entry).event, "worker", "") or "that ran it"
            text = f"the worker {worker} sent no heartbeat of {key} for {took(event.timeout_ms)}"
            return _leaf(log, "worker_silent", text, key, event.attempt, log.evidence(started, beat, entry))
        return _leaf(log, kind, text, key, event.attempt, log.evidence(started, entry))
    return _of_error(log, key, entry, event.error)


def _of_error(log: RunLog, key: str, entry: Entry, error: StepError) -> Reason:
    attempt = getattr(entry.event, "attempt", 0)
    usage: ev.LlmUsage | None = getattr(entry.event, "llm", None)
    kind = of_error(error.type, by_model=usage is not None or log.step(key).kind == "llm")
    offered = log.last_of_step(key, ev.StepScheduled, attempt=attempt or None)
    started = log.last_of_step(key, ev.StepStarted, attempt=attempt or None)
    evidence = log.evidence(offered, started, entry)
    if kind == "provider_outage":
        return _leaf(log, kind, _of_providers(key, usage, error), key, attempt, evidence)
    if kind == "budget_exhausted":
        text = f"{key} may not call a model: {error.message}"
        return _leaf(log, kind, text, key, attempt, (*_spent(log, entry), *evidence))
    if kind == "policy_block":
        return _leaf(log, kind, f"{key}: {error.message}", key, attempt, (*_blocks(log, key), *evidence))
    if kind == "lane_full":
        queued = log.last_of_step(key, ev.StepQueued, attempt=attempt or None)
        return _leaf(log, kind, f"{key}: {error.message}", key, attempt, log.evidence(queued, entry))
    return _leaf(log, kind, f"{key}: {error_text(error)}", key, attempt, evidence)


def _leaf(log: RunLog, kind: str, text: str, key: str, attempt: int, evidence: tuple[Evidence, ...]) -> Reason:
    return Reason(CauseLink(kind=kind, text=clip(text), run=log.run, step=key, attempt=attempt, evidence=evidence))


def _outcome_unknown(log: RunLog, key: str, entry: Entry) -> Reason:
    event: ev.StepOutcomeUnknown = entry.event
    claim = log.last_of_step(key, ev.ClaimTaken, attempt=event.attempt)
    started = log.last_of_step(key, ev.StepStarted, attempt=event.attempt)
    worker = event.claimed_by or (claim.event.worker if claim is not None else "")
    text = f"the worker{' ' * bool(worker)}{worker} vanished after it had begun {key}; nobody knows whether it acted"
    return _leaf(log, "outcome_unknown", text, key, event.attempt, log.evidence(claim, started, entry))


def _of_providers(key: str, usage: ev.LlmUsage | None, error: StepError) -> str:
    calls = [call for call in usage.attempts if not call.ok] if usage is not None else []
    if not calls:
        return f"{key}: {error_text(error)}"
    asked = dict.fromkeys(f"{call.provider}/{call.model}: {call.error or 'failed'}" for call in calls)
    whole = "every model" if len({(call.provider, call.model) for call in calls}) > 1 else "the model"
    return f"{whole} that {key} asked failed ({'; '.join(asked)})"


def _spent(log: RunLog, entry: Entry) -> tuple[Evidence, ...]:
    """Returns what had spent the budget before: the dearest settlements of the run."""
    rows = [row for row in log.ledgers if row.stream == subjects.COST_STREAM and row.ts <= entry.ts]
    dearest = sorted(rows, key=lambda row: -row.cost_nano)[:SPENT_MAX]
    texts = {row.stream_seq: f"{row.provider}/{row.model} took {money.display(row.cost_nano)}" for row in dearest}
    return log.ledger_evidence(sorted(dearest, key=lambda row: row.stream_seq), texts)


def _blocks(log: RunLog, key: str) -> tuple[Evidence, ...]:
    """Returns what the audit log says about texts of this step that did not pass."""
    rows = [row for row in log.ledgers if row.stream == subjects.AUDIT_STREAM and row.kind == "block"]
    found = [row for row in rows if row.step in {key, ""}][-2:]
    return log.ledger_evidence(found, {row.stream_seq: clip(row.error) for row in found})


# --- all attempts of a step ---


def why_attempts_failed(log: RunLog, key: str, last: Entry) -> tuple[Reason, ...]:
    """Returns the causes of the failed attempts: that of the last one, and other ones of earlier attempts."""
    reason = why_attempt_failed(log, key, last)
    others: dict[str, Reason] = {}
    for entry in _failures(log, key):
        if entry.event is not last.event and entry.event.attempt < getattr(last.event, "attempt", 0):
            other = why_attempt_failed(log, key, entry)
            if other.link.kind != reason.link.kind:
                others[other.link.kind] = other._replace(confidence=EARLIER)
    same = [entry for entry in _failures(log, key) if entry.event.attempt <= getattr(last.event, "attempt", 0)]
    if len(same) > 1 and not others:
        seqs = {item.seq for item in reason.link.evidence}
        further = [item for item in log.evidence(*same[:-1]) if item.seq not in seqs]
        evidence = tuple(sorted((*further, *reason.link.evidence), key=lambda item: (item.stream, item.seq)))
        reason = reason._replace(link=_with(reason.link, evidence))
    return (reason._replace(confidence=MIXED if others else 1.0), *others.values())


def _with(link: CauseLink, evidence: tuple[Evidence, ...]) -> CauseLink:
    return CauseLink(
        kind=link.kind, text=link.text, run=link.run, step=link.step, attempt=link.attempt, evidence=evidence
    )


def _failures(log: RunLog, key: str) -> Iterator[Entry]:
    """Yields the failure of each attempt that counted, in order."""
    seen: set[int] = set()
    for entry in log.of_step(key):
        event: Any = entry.event
        if isinstance(event, _FAILED) and event.attempt not in seen:
            seen.add(event.attempt)
            yield entry


def attempts_of(log: RunLog, key: str) -> int:
    """Returns how many attempts of a step failed."""
    return sum(1 for _ in _failures(log, key))

"""Why a run has not ended: what its open steps wait for. Pure.

The list of waits is that of `agentctl workflow why`. The gateway, which can see lanes and pools, sends it along.
Without it, the state alone gives it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from agentflow_common import events as ev
from agentflow_common.definition.model import load_trusted
from agentflow_common.errors import AgentFlowError
from agentflow_common.rpc.traces.explain import CauseLink
from agentflow_common.runs.explain import explain
from agentflow_common.runs.waiting import Surroundings, Waiting
from agentflow_trace.explain import failures
from agentflow_trace.explain.reasons import Reason
from agentflow_trace.explain.run_log import Entry, RunLog
from agentflow_trace.explain.steps import Walk
from agentflow_trace.explain.wording import clip, took

WAITS_MAX: Final = 20  # of a run, that are explained
# How sure it is that such a wait keeps the run from ending. A pause keeps everything else; work will end by itself.
_CONFIDENCE: Final = {
    "breakpoint": 1.0, "paused_run": 1.0, "paused_workflow": 1.0, "paused_lane": 0.95, "outcome": 0.9, "approval": 0.9,
    "signal": 0.9, "subworkflow": 0.9, "budget": 0.85, "retry": 0.85, "lock": 0.85, "lane": 0.8, "worker": 0.8,
    "rate": 0.7, "timer": 0.7, "scheduler": 0.6, "running": 0.5,
}  # fmt: skip
_KINDS: Final = {
    "breakpoint": "breakpoint", "paused_run": "pause", "paused_workflow": "pause", "paused_lane": "pause",
    "outcome": "outcome_unknown", "approval": "approval_missing", "signal": "signal_missing",
    "subworkflow": "child_failed", "lock": "lock_wait", "lane": "lane_wait", "rate": "lane_wait", "worker": "no_worker",
    "timer": "timer_wait", "scheduler": "scheduler_away", "running": "running",
}  # fmt: skip
_SHOWN: Final = (
    ev.StepQueued,
    ev.StepScheduled,
    ev.StepStarted,
    ev.StepWaiting,
    ev.StepOutcomeUnknown,
    ev.StepFailed,
    ev.TimerSet,
)


class Around(NamedTuple):
    """The moment at which a run is explained, and what its steps wait for then."""

    now_ms: int
    waiting: tuple[Waiting, ...] = ()

    def of_child(self) -> Around:
        return Around(self.now_ms)


def why_open(walk: Walk, log: RunLog, around: Around) -> Reason:
    """Returns the symptom of a run that has not ended, with the reasons for it."""
    state = log.state
    assert state is not None  # noqa: S101 - `Logs.get` gives no log without a state
    waits = around.waiting or _by_state(log, around.now_ms)
    for_what = [item for item in waits if item.kind != "dependency"]
    text = f"the run is {state.status.value} since {took(around.now_ms - state.submitted_at)}"
    symptom = CauseLink(kind="run_open", text=text, run=log.run, evidence=log.evidence(*log.entries[-1:]))
    held = _paused(log)
    because = [_why_waits(walk, log, item) for item in for_what[:WAITS_MAX]]
    return Reason(symptom, because=(*((held,) if held else ()), *because))


def _by_state(log: RunLog, now_ms: int) -> tuple[Waiting, ...]:
    state = log.state
    if state is None:
        return ()
    try:
        return explain(state, load_trusted(state.definition), Surroundings(now_ms)).waiting
    except AgentFlowError:
        return ()


def _paused(log: RunLog) -> Reason | None:
    """Returns the reason for a run that a person has paused."""
    found = log.last(ev.RunPauseRequested)
    if log.state is None or not log.state.pause_requested or found is None:
        return None
    who, why = found[1].by, found[1].reason
    text = f"the run was paused{' by ' * bool(who)}{who}{': ' * bool(why)}{why}"
    return Reason(CauseLink(kind="pause", text=clip(text), run=log.run, evidence=log.evidence(found[0])))


def _why_waits(walk: Walk, log: RunLog, item: Waiting) -> Reason:
    sure = _CONFIDENCE.get(item.kind, 0.5)
    text = f"{item.step} {item.text}" if item.step else item.text
    failed = _failure(log, item)
    if item.kind in {"retry", "budget"} and failed is not None:
        link = _link(log, "retrying", item, text)
        return Reason(link, sure, (failures.why_attempt_failed(log, item.step, failed),))
    child = walk.logs.get(item.on) if item.kind == "subworkflow" else None
    link = _link(log, _KINDS.get(item.kind, "running"), item, text)
    if child is not None and walk.enter(child, ""):
        return Reason(link, sure, (walk.why_run(child),))
    return Reason(link, sure)


def _link(log: RunLog, kind: str, item: Waiting, text: str) -> CauseLink:
    entries: list[Entry] = [entry for entry in log.of_step(item.step) if isinstance(entry.event, _SHOWN)][-3:]
    if not item.step:
        asked = (ev.RunQueued, ev.RunLocking, ev.RunStopped, ev.RunPaused)
        entries = [entry for entry in log.entries if isinstance(entry.event, asked)][-1:]
    return CauseLink(
        kind=kind, text=clip(text), run=log.run, step=item.step, attempt=log.step(item.step).attempt,
        evidence=log.evidence(*entries),
    )  # fmt: skip


def _failure(log: RunLog, item: Waiting) -> Entry | None:
    kinds = (ev.StepFailed, ev.StepTimedOut, ev.StepOutcomeUnknown)
    return log.last_of_step(item.step, *kinds) if item.step else None

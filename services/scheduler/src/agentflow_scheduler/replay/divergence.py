"""Describes a divergence: where it is, what differs, and the state before it. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agentflow_common import events as ev
from agentflow_common.rpc.scheduler import ReplayDivergence
from agentflow_scheduler.entities import Entity
from agentflow_scheduler.replay import comparison
from agentflow_scheduler.replay.state_hash import state_hash

STATE_CHARS_MAX: Final = 64 * 1024  # of the state before; of a larger one only the step is shown


def locate(
    before: Entity, first: ev.Decision, seq: int, expected: ev.Decision | None, decided: ev.Decision | None, error: str
) -> ReplayDivergence:
    """Returns the divergence. first: the first decision of its turn. expected: None if the log has no such decision."""
    step = next((ev.step_of(event) for event in (expected, decided) if event is not None and ev.step_of(event)), "")
    both = expected is not None and decided is not None and type(expected) is type(decided)
    return ReplayDivergence(
        seq=seq,
        cause="engine_error" if error else _cause(expected, decided),
        expected_type="" if expected is None else ev.event_type(expected),
        decided_type="" if decided is None else ev.event_type(decided),
        step=step,
        expected="" if expected is None else ev.encode(expected).decode(),
        decided="" if decided is None else ev.encode(decided).decode(),
        differences=comparison.differences(decided, expected) if both and decided and expected else (),
        error=error,
        seen=first.seen,
        decided_at=first.ts,
        state_before=_state_text(before.state, step),
        hash_before=state_hash(before.state),
    )


def _cause(expected: ev.Decision | None, decided: ev.Decision | None) -> str:
    if decided is None:
        return "missing"
    if expected is None:
        return "extra"
    if type(expected) is not type(decided) or ev.step_of(expected) != ev.step_of(decided):
        return "type"
    return "state" if expected is decided else "fields"


def _state_text(state: Any, step: str) -> str:
    text = msgspec.json.encode(msgspec.to_builtins(state, str_keys=True), order="sorted").decode()
    if len(text) <= STATE_CHARS_MAX:
        return text
    steps = getattr(state, "steps", {})
    part = {"status": str(getattr(state, "status", "")), "step": msgspec.to_builtins(steps.get(step), str_keys=True)}
    text = msgspec.json.encode(part).decode()
    return text if len(text) <= STATE_CHARS_MAX else "{}"

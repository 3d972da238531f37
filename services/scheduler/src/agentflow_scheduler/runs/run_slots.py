"""The messages of a run to its run lane: it asks for a slot, hands it on to its successor, gives it back. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from agentflow_common import events as ev
from agentflow_common.expressions.sandbox import ExpressionError
from agentflow_common.lanes.fold import RUN_ATTEMPT, RUN_LANE, RUN_STEP, key_of_lane
from agentflow_common.runs.state import RunState, RunStatus
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.runs.decisions import RunDecisions
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.runs.scope import in_field

KEY_MAX: Final = 128  # characters of the key of a run lane or a lock


def admit(run: Run, out: RunDecisions) -> bool:
    """True if the run may begin its steps. Asks for a slot once. Raises InvalidError for its key, NeedBlob."""
    state, lane = run.state, run.plan.run_lane
    if not state.run_lane and lane is not None and not (state.lanes_above and state.steps):
        name = in_field("run_lane.key", lambda: lane_name(RUN_LANE, state.org, lane.key(out.scope)))
        if name not in state.lanes_above:
            out.emit(ev.RunQueued, lane=name, policy=lane.policy)
            asked = {"limit": lane.limit, "rate_per_s": lane.rate, "policy": lane.policy}
            _send(state, out, ev.LaneRequested, priority=state.priority, **asked)
    if state.run_lane and not state.slot_granted:
        if state.status is RunStatus.RUNNING:  # it was paused meanwhile
            out.emit(ev.RunWaiting, steps=())
        return False
    held_up = run.in_flight or run.external_waits or (state.locks is not None and state.locks.awaited)
    if state.run_lane and state.status is RunStatus.WAITING and not held_up:
        out.emit(ev.RunResumed)
    return True


def lane_name(prefix: str, org: str, key: Any) -> str:
    """Returns the name of a run lane or a lock. Raises ExpressionError for a key that is not a text or a number."""
    text = str(key) if isinstance(key, str | int) and not isinstance(key, bool) else ""
    if not 0 < len(text) <= KEY_MAX:
        raise ExpressionError(f"the key must be a text of 1 to {KEY_MAX} characters, got {str(key)[:80]!r}")
    return f"{prefix}{org}:{text}"


def give_back(state: RunState, out: RunDecisions) -> None:
    """Gives the slot, or the place in the queue, back in the append that ends the run."""
    for lane, own in messages(state):
        out.send(ev.LaneReleased, to_org=lane.org, to=lane.name, **own)


def hand_over(state: RunState, out: RunDecisions, successor: str) -> None:
    """Leaves the slot to the run that goes on in the place of this one, in the append that ends this one."""
    if state.run_lane:
        _send(state, out, ev.LaneMoved, to_run=successor)


def lanes_below(state: RunState) -> tuple[str, ...]:
    """Returns the run lanes whose slots the run and those above it have. A subworkflow shares these slots."""
    return (*state.lanes_above, state.run_lane) if state.run_lane else state.lanes_above


def messages(state: RunState) -> Iterator[tuple[EntityKey, dict[str, Any]]]:
    """Yields the run lane that has given the run a slot or a place, and the fields of a fact about it."""
    if state.run_lane and state.slot_refused is None:
        yield message(state, state.run_lane, RUN_ATTEMPT)


def message(state: RunState, lane: str, attempt: int) -> tuple[EntityKey, dict[str, Any]]:
    """Returns the entity of a lane, and the fields of a fact about a slot that the whole run has or asks for."""
    own = {"lane": lane, "holder_org": state.org, "holder_run": state.run}
    return key_of_lane(lane), {**own, "step": RUN_STEP, "attempt": attempt}


def _send(state: RunState, out: RunDecisions, event_type: type[ev.Event], **fields: Any) -> None:
    lane, own = message(state, state.run_lane, RUN_ATTEMPT)
    out.send(event_type, to_org=lane.org, to=lane.name, **own, **fields)

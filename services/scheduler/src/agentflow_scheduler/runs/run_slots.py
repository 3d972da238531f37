"""The messages of a run to its run lanes: it asks for slots, hands them on to its successor, gives them back. Pure.

1. A run takes a slot of the lane of its definition, and one of the lane that its step or its schedule gives it.
2. If both are the same lane, it takes one slot, as the step or the schedule says. It takes no slot of a lane whose slot
   the runs above it have.
3. It takes them one after the other, in the order of their names, so that two runs can't wait for each other.
4. It begins its steps when it has all of them, and gives them back in the append that ends it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agentflow_common import events as ev
from agentflow_common.events import LaneAsk
from agentflow_common.lanes.fold import RUN_ATTEMPT, RUN_LANE, RUN_STEP, key_of_lane
from agentflow_common.lanes.names import lane_name
from agentflow_common.runs.state import RunState, RunStatus
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.runs.decisions import RunDecisions
from agentflow_scheduler.runs.plan import PlanRunLane
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.runs.scope import Scope, in_field


def admit(run: Run, out: RunDecisions) -> bool:
    """True if the run may begin its steps. Asks each lane for a slot once. Raises InvalidError for a key, NeedBlob."""
    state = run.state
    if state.run_lane:
        if state.slot_granted and state.lane_following is not None:
            _ask(state, out, [state.lane_following])
    elif takes_slots(run) and not (state.lanes_above and state.steps):
        _ask(state, out, _wanted(run, out))
    if state.awaits_slot:
        if state.status is RunStatus.RUNNING:  # it was paused meanwhile
            out.emit(ev.RunWaiting, steps=())
        return False
    held_up = run.in_flight or run.external_waits or (state.locks is not None and state.locks.awaited)
    if state.run_lane and state.status is RunStatus.WAITING and not held_up:
        out.emit(ev.RunResumed)
    return True


def takes_slots(run: Run) -> bool:
    """True if the run has a run lane, by its definition or from its step or its schedule."""
    return run.plan.run_lane is not None or run.state.given_lane is not None


def asked_with(lane: PlanRunLane, org: str, scope: Scope) -> LaneAsk:
    """Returns the lane of a key, and the settings. Raises InvalidError for the key, NeedBlob."""
    name = in_field("run_lane.key", lambda: lane_name(RUN_LANE, org, lane.key(scope)))
    return LaneAsk(name, lane.limit, lane.rate, lane.policy)


def _wanted(run: Run, out: RunDecisions) -> list[LaneAsk]:
    state, lane = run.state, run.plan.run_lane
    wanted: dict[str, LaneAsk] = {}
    if lane is not None:
        own = asked_with(lane, state.org, out.scope)
        wanted[own.lane] = own
    if state.given_lane is not None:
        wanted[state.given_lane.lane] = state.given_lane
    return [wanted[name] for name in sorted(wanted) if name not in state.lanes_above]


def _ask(state: RunState, out: RunDecisions, lanes: list[LaneAsk]) -> None:
    """Asks the first of the lanes for a slot; the run asks the one after it, if there is one, later."""
    if lanes:
        lane = lanes[0]
        out.emit(ev.RunQueued, lane=lane.lane, policy=lane.policy, following=lanes[1] if len(lanes) > 1 else None)
        asked = {"limit": lane.limit, "rate_per_s": lane.rate_per_s, "policy": lane.policy}
        _send(state, out, lane.lane, ev.LaneRequested, priority=state.priority, **asked)


def give_back(state: RunState, out: RunDecisions) -> None:
    """Gives the slots, and the place in a queue, back in the append that ends the run."""
    for lane, own in messages(state):
        out.send(ev.LaneReleased, to_org=lane.org, to=lane.name, **own)


def hand_over(state: RunState, out: RunDecisions, successor: str) -> None:
    """Leaves the slots to the run that goes on in the place of this one, in the append that ends this one."""
    for lane in _own(state):
        _send(state, out, lane, ev.LaneMoved, to_run=successor)


def lanes_below(state: RunState) -> tuple[str, ...]:
    """Returns the run lanes whose slots the run and those above it have. A subworkflow shares these slots."""
    return (*state.lanes_above, *_own(state))


def messages(state: RunState) -> Iterator[tuple[EntityKey, dict[str, Any]]]:
    """Yields the run lanes that have given the run a slot or a place, and the fields of a fact about each."""
    for lane in _own(state) if state.slot_refused is None else state.slots:
        yield message(state, lane, RUN_ATTEMPT)


def message(state: RunState, lane: str, attempt: int) -> tuple[EntityKey, dict[str, Any]]:
    """Returns the entity of a lane, and the fields of a fact about a slot that the whole run has or asks for."""
    own = {"lane": lane, "holder_org": state.org, "holder_run": state.run}
    return key_of_lane(lane), {**own, "step": RUN_STEP, "attempt": attempt}


def _own(state: RunState) -> tuple[str, ...]:
    return (*state.slots, state.run_lane) if state.run_lane else state.slots


def _send(state: RunState, out: RunDecisions, name: str, event_type: type[ev.Event], **fields: Any) -> None:
    lane, own = message(state, name, RUN_ATTEMPT)
    out.send(event_type, to_org=lane.org, to=lane.name, **own, **fields)

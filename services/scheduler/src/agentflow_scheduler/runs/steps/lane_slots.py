"""Slots of keyed lanes: an attempt asks for one, gives one back in a pause, releases it when it is over. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agentflow_common import events as ev
from agentflow_common.expressions.sandbox import ExpressionError
from agentflow_common.lanes.controls import NAME_MAX as LANE_KEY_MAX
from agentflow_common.lanes.fold import LOCK, RUN_LANE, key_of_lane
from agentflow_common.runs.state import RunState, StepStatus
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.runs.decisions import StepContext
from agentflow_scheduler.runs.run import HOLDS_SLOT
from agentflow_scheduler.runs.scope import Resolver, Scope, in_field
from agentflow_scheduler.runs.steps.verdict import acted_before


def request(at: StepContext, attempt: int, scope: Scope) -> None:
    """Asks the lane for a slot. The task is offered once `slot.granted` has come. Raises InvalidError, NeedBlob."""
    node = at.node
    assert node.lane_key is not None  # noqa: S101
    lane = in_field("lane", _lane_key, node.lane_key, scope)
    rank, unsure = at.priority, acted_before(at.state.steps.get(at.key), attempt)
    at.emit(ev.StepQueued, attempt=attempt, lane=lane, priority=rank, unsure=unsure)
    _send(at, ev.LaneRequested, lane, attempt, priority=rank, limit=node.lane_limit, rate_per_s=node.lane_rate)


def _lane_key(resolver: Resolver, scope: Scope) -> str:
    value = resolver(scope)
    text = str(value) if isinstance(value, str | int) else ""
    if not 0 < len(text) <= LANE_KEY_MAX:
        raise ExpressionError(
            f"the lane's key must be a text of 1 to {LANE_KEY_MAX} characters, got {str(value)[:80]!r}"
        )
    for prefix, what in ((RUN_LANE, "run lanes"), (LOCK, "locks")):
        if text.startswith(prefix):
            raise ExpressionError(f"keys that begin with {prefix!r} are those of {what}: {text[:80]!r}")
    return text


def give_back(at: StepContext) -> None:
    """Leaves the slot that an attempt was granted to others, because the run or its workflow is paused."""
    step = at.step
    if step.status is StepStatus.QUEUED and step.granted:
        lane = step.lane
        at.emit(ev.StepQueued, attempt=step.attempt, lane="")
        _send(at, ev.LaneReleased, lane, step.attempt)


def release(at: StepContext) -> None:
    """Gives the slot of an attempt that is over back to its lane, if it has one. Doing it twice is harmless."""
    step = at.step
    if step.lane and (at.key, step.attempt) not in at.run.released:
        at.run.released[at.key, step.attempt] = None
        _send(at, ev.LaneReleased, step.lane, step.attempt)


def release_if_over(at: StepContext) -> None:
    """Gives the slot of an attempt back that is over, whatever follows, because others wait for it."""
    if at.step.status not in HOLDS_SLOT:
        release(at)


def messages(state: RunState) -> Iterator[tuple[EntityKey, dict[str, Any]]]:
    """Yields each lane that has given an attempt of the run a slot or a place, and the fields of a fact about it."""
    for key, step in state.steps.items():
        if step.lane:
            yield _message(state, key, step.lane, step.attempt)


def _message(state: RunState, key: str, lane: str, attempt: int) -> tuple[EntityKey, dict[str, Any]]:
    own = {"lane": lane, "holder_org": state.org, "holder_run": state.run}
    return key_of_lane(lane), {**own, "step": key, "attempt": attempt}


def _send(at: StepContext, event_type: type[ev.Event], lane: str, attempt: int, **fields: Any) -> None:
    to, own = _message(at.state, at.key, lane, attempt)
    at.out.send(event_type, to_org=to.org, to=to.name, **own, **fields)

"""The kinds of entities that the engine hosts: runs, keyed lanes, schedules.

Each entity has a log of its own, a fold that makes a state from the log, and a pure machine that decides. The engine
treats all kinds alike: what differs between them is one `EntityKind` for each, looked up by the entity's key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from agentflow_common import events as ev
from agentflow_common.errors import InvalidError
from agentflow_common.lanes import fold as lane_fold
from agentflow_common.lanes.fold import LaneFold, LaneState
from agentflow_common.log.fold import LogFold
from agentflow_common.runs import fold as run_fold
from agentflow_common.runs.fold import RunFold
from agentflow_common.runs.state import RunState
from agentflow_common.schedules import fold as schedule_fold
from agentflow_common.schedules.fold import ScheduleFold
from agentflow_common.schedules.state import ScheduleState
from agentflow_common.subjects import EntityKey, Kind
from agentflow_scheduler.decisions import Decisions
from agentflow_scheduler.lanes.machine import Lane, decide_lane
from agentflow_scheduler.runs.machine import decide
from agentflow_scheduler.runs.plan import Plans
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.schedules.machine import Schedule, decide_schedule

State = RunState | LaneState | ScheduleState
Entity = Run | Lane | Schedule
Blobs = Mapping[str, Any]  # values that are stored out of line, by SHA-256
Take = Callable[[str], bool]  # asks for room for one more step in a worker pool


class EntityKind(NamedTuple):
    """The functions and event types by which the kinds of entities differ."""

    begins: tuple[type[ev.Event], ...]  # facts with which a new entity begins
    continues: tuple[type[ev.Event], ...]  # events with which the log may begin after its start was removed
    new_state: Callable[[EntityKey, Any, int], State]  # returns the state after the first fact
    folding: Callable[[EntityKey, Any], LogFold[Any]]  # returns a fold that begins with a state or with None
    host: Callable[[Any, Plans], Entity]
    decide: Callable[[Any, int, Blobs, Take], Decisions]
    is_over: Callable[[Any], bool]


def _new_lane(key: EntityKey, event: ev.Event, seq: int) -> LaneState:
    state = lane_fold.new_state(key)
    lane_fold.evolve(state, event, seq)
    return state


KINDS: Final[Mapping[Kind, EntityKind]] = {
    "run": EntityKind(
        begins=(ev.RunSubmitted,),
        continues=(ev.RunSubmitted,),
        new_state=lambda _key, event, seq: run_fold.new_state(event, seq),
        folding=lambda _key, state: RunFold(state),
        host=lambda state, plans: Run(state, plans.get(state.definition)),
        decide=decide,
        is_over=lambda state: state.status.terminal,
    ),
    "lane": EntityKind(
        begins=(ev.LaneRequested, ev.LaneConfigured),
        continues=ev.LANE_EVENTS,
        new_state=_new_lane,
        folding=LaneFold,
        host=lambda state, _plans: Lane(state),
        decide=lambda lane, now_ms, _blobs, _take: decide_lane(lane, now_ms),
        is_over=lambda _state: False,
    ),
    "schedule": EntityKind(
        begins=(ev.ScheduleCreated,),
        continues=(ev.Event,),  # facts that a checkpoint had not seen may stand before it
        new_state=lambda _key, event, seq: schedule_fold.new_state(event, seq),
        folding=lambda _key, state: ScheduleFold(state),
        host=lambda state, _plans: Schedule(state),
        decide=lambda schedule, now_ms, _blobs, _take: decide_schedule(schedule, now_ms),
        is_over=lambda state: state.over,
    ),
}
_BEGINS: Final = tuple(event_type for kind in KINDS.values() for event_type in kind.begins)


def folding(key: EntityKey, state: Any = None) -> LogFold[Any]:
    """Returns a fold of the entity's log, from the state on or from the start."""
    return KINDS[key.kind].folding(key, state)


def may_begin_with(key: EntityKey, event: ev.Event) -> bool:
    """True if an unknown entity may begin with the event, or go on with it after a checkpoint."""
    return _is_about(key, event) and isinstance(event, KINDS[key.kind].continues)


def begin(key: EntityKey, event: ev.Event, seq: int) -> State | None:
    """Returns the state that a fact begins; None for a late fact about an entity that is over.

    Raises InvalidError for a fact that begins another entity.
    """
    if isinstance(event, _BEGINS) and not _is_about(key, event):
        raise InvalidError(f"{event.org}/{event.run} in the place of {key.org}/{key.name}", kind="misplaced")
    kind = KINDS[key.kind]
    return kind.new_state(key, event, seq) if isinstance(event, kind.begins) else None


def host(key: EntityKey, state: State, plans: Plans) -> Entity:
    """Returns the entity in memory. Raises an error if the definition of a run can't be planned."""
    return KINDS[key.kind].host(state, plans)


def decide_entity(key: EntityKey, entity: Entity, now_ms: int, blobs: Blobs, take: Take) -> Decisions:
    return KINDS[key.kind].decide(entity, now_ms, blobs, take)


def is_over(key: EntityKey, state: State) -> bool:
    """True if no fact can give the entity anything to decide any more."""
    return KINDS[key.kind].is_over(state)


def _is_about(key: EntityKey, event: ev.Event) -> bool:
    return (event.org, event.run) == (key.org, key.name)

"""What the engine hosts: runs, keyed lanes, schedules. Each has a log of its own, a fold, and a pure machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.errors import InvalidError
from agentflow_common.lanes import fold as lane_fold
from agentflow_common.lanes.fold import LaneFold, LaneState
from agentflow_common.log.fold import LogFold
from agentflow_common.runs.fold import RunFold, new_state
from agentflow_common.runs.state import RunState
from agentflow_common.schedules import fold as schedule_fold
from agentflow_common.schedules.fold import ScheduleFold, ScheduleState
from agentflow_common.subjects import LANE_PREFIX, SCHEDULE_PREFIX, EntityKey
from agentflow_scheduler.decisions import Decisions
from agentflow_scheduler.lanes.machine import Lane, decide_lane
from agentflow_scheduler.runs.machine import decide
from agentflow_scheduler.runs.plan import Plans
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.schedules.machine import Schedule, decide_schedule

State = RunState | LaneState | ScheduleState
_BEGIN = (ev.RunSubmitted, ev.LaneRequested, ev.LaneConfigured, ev.ScheduleCreated)
Entity = Run | Lane | Schedule


def folding(key: EntityKey, state: Any = None) -> LogFold[Any]:
    if key.name.startswith(LANE_PREFIX):
        return LaneFold(key, state)
    if key.name.startswith(SCHEDULE_PREFIX):
        return ScheduleFold(state)
    return RunFold(state)


def begins(key: EntityKey, event: ev.Event) -> bool:
    """Whether an entity that is not known may begin (or, after its checkpoint, go on) with this event."""
    if (event.org, event.run) != (key.org, key.name):
        return False
    if key.name.startswith(LANE_PREFIX):
        return isinstance(event, ev.LANE_EVENTS)
    if key.name.startswith(SCHEDULE_PREFIX):
        return True  # what stands before a checkpoint may be gone, and facts that it had not seen come first
    return isinstance(event, ev.RunSubmitted)


def begin(key: EntityKey, event: ev.Event, seq: int) -> State | None:
    """The state that a fact begins; None for a late word about what is over. InvalidError for one about another."""
    if isinstance(event, _BEGIN) and (event.org, event.run) != (key.org, key.name):
        raise InvalidError(f"{event.org}/{event.run} in the place of {key.org}/{key.name}", kind="misplaced")
    if key.name.startswith(LANE_PREFIX):
        if not isinstance(event, ev.LaneRequested | ev.LaneConfigured):
            return None
        state = lane_fold.new_state(key)
        lane_fold.evolve(state, event, seq)
        return state
    if key.name.startswith(SCHEDULE_PREFIX):
        return schedule_fold.new_state(event, seq) if isinstance(event, ev.ScheduleCreated) else None
    return new_state(event, seq) if isinstance(event, ev.RunSubmitted) else None


def is_over(state: State) -> bool:
    """Whether nothing is left to decide, whatever comes."""
    if isinstance(state, RunState):
        return state.status.terminal
    return state.over if isinstance(state, ScheduleState) else False


def overtaken(key: EntityKey, log: Sequence[tuple[int, ev.Event]]) -> list[tuple[int, EntityKey, ev.Event]]:
    """Cancels and signals that came while a run went on as a new one, which its end had not seen: (sequence, the new
    run, what is to be said to it). log: the run's events as (sequence, event)."""
    end = next((event for _, event in log if isinstance(event, ev.TERMINAL_RUN)), None)
    if not isinstance(end, ev.RunCompleted) or not end.continued_as:
        return []
    to = subjects.key_of(key.org, end.continued_as)
    found: list[tuple[int, EntityKey, ev.Event]] = []
    for seq, event in log:
        if seq > end.seen and isinstance(event, ev.RunCancelRequested | ev.SignalReceived):
            word = msgspec.structs.replace(event, run=to.name)
            if isinstance(word, ev.SignalReceived) and not word.id:  # so that it counts once, however often it is said
                word = msgspec.structs.replace(word, id=f"{key.name}:{seq}")
            found.append((seq, to, word))
    return found


def host(state: State, plans: Plans) -> Entity:
    """The entity in memory. Raises whatever a definition raises that can't be planned."""
    if isinstance(state, RunState):
        return Run(state, plans.get(state.definition))
    return Lane(state) if isinstance(state, LaneState) else Schedule(state)


def decide_entity(entity: Entity, now_ms: int, blobs: Mapping[str, Any], take: Callable[[str], bool]) -> Decisions:
    if isinstance(entity, Run):
        return decide(entity, now_ms, blobs, take)
    return decide_lane(entity, now_ms) if isinstance(entity, Lane) else decide_schedule(entity, now_ms)


def groups(out: Decisions) -> list[tuple[int, int]]:
    """How many decisions and sends belong together, in order: what a decision sends goes out with it.

    A run says so by `marks`: the number of decisions that stood before each send. Others keep both few.
    """
    if out.marks is None:
        return [(len(out.decisions), len(out.sends))]
    counts = [0] * (len(out.decisions) + 1)
    for mark in out.marks:
        counts[mark] += 1
    return [(0, 1)] * counts[0] + [(1, count) for count in counts[1:]]

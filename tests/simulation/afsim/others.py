"""What must hold of keyed lanes, of schedules, and between runs that started each other."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from afsim import rich
from afsim.detached import check_detached
from afsim.people import SCHEDULE
from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.lanes.fold import LaneFold
from agentflow_common.runs.fold import fold
from agentflow_common.runs.state import UNDO, RunState
from agentflow_common.schedules.spec import trusted
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.shards.overtaken import overtaken

if TYPE_CHECKING:
    from afsim.checker import Log
    from afsim.world import World

_OVER = (
    ev.StepCompleted, ev.StepFailed, ev.StepOutcomeUnknown, ev.StepTimedOut, ev.StepCancelled, ev.StepUndecidable,
)  # fmt: skip


# --- lanes ---


def check_lane(world: World, key: EntityKey, events: Log) -> None:
    lane = LaneFold(key)
    for message, event in events:
        lane.add(event, message.seq)
        state = lane.state
        if isinstance(event, ev.LaneGranted) and len(state.holders) > world.people.limits[state.lane]:
            world.fail(f"{state.lane}: {len(state.holders)} holders")
    state = lane.finish()
    if state.holders or state.queue:
        world.fail(f"the lane {state.lane} is left with {list(state.holders)} and {list(state.queue)}")


def check_slots(world: World, logs: dict[EntityKey, Log]) -> None:
    """By the runs' logs alone: attempts of a lane that are offered and not over, in the order of the log."""
    told: list[tuple[int, EntityKey, Any]] = sorted(
        ((message.seq, key, event) for key in world.runs for message, event in logs[key]), key=lambda item: item[0]
    )
    lanes: dict[tuple[EntityKey, str, int], str] = {}
    holders: dict[str, set[tuple[EntityKey, str, int]]] = {lane: set() for lane in rich.LANE_LIMITS}
    for _, key, event in told:
        if isinstance(event, ev.StepQueued) and event.lane:
            lanes[key, event.step, event.attempt] = event.lane
        elif isinstance(event, ev.StepScheduled):
            slot = (key, event.step, event.attempt)
            if slot in lanes:
                held = holders[lanes[slot]]
                held.add(slot)
                if len(held) > world.people.limits[lanes[slot]]:
                    world.fail(f"{lanes[slot]}: {len(held)} attempts at a time")
        elif isinstance(event, _OVER):
            slot = (key, event.step, getattr(event, "attempt", 1))
            if slot in lanes:
                holders[lanes[slot]].discard(slot)


# --- schedules ---


def check_schedule(world: World, events: Log) -> None:
    fired = [event for _, event in events if isinstance(event, ev.ScheduleFired)]
    for child, count in Counter(event.child for event in fired).items():
        if count > 1:
            world.fail(f"the schedule fired {child} {count} times")
    for index, event in enumerate(fired):
        if event.number != index + 1:
            world.fail(f"fire {event.number} comes as the {index + 1}th")
    told = Counter(event.child for _, event in events if isinstance(event, ev.ChildEnded))
    refused = {event.child for _, event in events if isinstance(event, ev.ScheduleRefused)}
    for event in fired:
        if told[event.child] != (event.child not in refused):
            world.fail(f"the schedule was told {told[event.child]} times of the end of {event.child}")
    created = next((e for _, e in events if isinstance(e, ev.ScheduleCreated)), None)
    if created is not None:
        _check_times(world, created, events)


def _check_times(world: World, created: ev.ScheduleCreated, events: Log) -> None:
    """Each planned time is fired, buffered or skipped, once, up to the newest that was decided."""
    table = trusted(created.spec).timetable(created.ts, {})
    decided: list[int] = []
    for _, event in events:
        if isinstance(event, ev.ScheduleSkipped) and event.cause == "time" and event.reason != "deleted":
            at: int | None = event.at
            for _ in range(event.count if event.reason != "superseded" else 0):
                assert at is not None
                decided.append(at)
                at = table.next(at)
        elif isinstance(event, ev.ScheduleBuffered) and event.cause == "time":
            decided.append(event.at)
    buffered = {event.at for _, event in events if isinstance(event, ev.ScheduleBuffered) and event.cause == "time"}
    for _, event in events:
        if isinstance(event, ev.ScheduleFired) and event.cause == "time" and event.at not in buffered:
            decided.append(event.at)
    planned: list[int] = []
    at = table.next(created.ts)
    while at is not None and decided and at <= max(decided):
        planned.append(at)
        at = table.next(at)
    if sorted(decided) != planned:
        lost, extra = Counter(planned) - Counter(decided), Counter(decided) - Counter(planned)
        world.fail(f"times of the schedule: lost {list(lost)[:3]}, doubled {list(extra)[:3]}")


# --- runs that others started ---


def check_families(world: World, logs: dict[EntityKey, Log]) -> None:
    states: dict[EntityKey, RunState] = {}
    for key in world.runs:
        if sum(isinstance(event, ev.RunSubmitted) for _, event in logs[key]) != 1:
            world.fail(f"{key.name} was submitted more than once")
        state = fold((message.seq, event) for message, event in logs[key])
        if state is not None:
            states[key] = state
    for key, state in states.items():
        cost = 0
        for _, event in logs[key]:
            if isinstance(event, ev.ChildEnded):
                cost += event.cost_nano
            elif isinstance(event, ev.StepCompleted | ev.StepFailed) and event.llm is not None:
                cost += event.llm.cost_nano
        if state.cost_nano != cost:
            world.fail(f"{key.name} cost {state.cost_nano}, by its parts {cost}")
        _check_told(world, key, state, logs)
        _check_left(world, key, logs)
        _check_undone_first(world, key, logs)
        check_detached(world, key, logs)
        _check_overtaken(world, key, logs)
        if state.continued_as and subjects.key_of("o", state.continued_as) not in states:
            world.fail(f"{key.name} goes on as {state.continued_as}, which nobody submitted")
        if state.origin is not None and state.origin.kind == "continue":
            before = states[subjects.key_of("o", state.origin.run)]
            if before.continued_as != key.name:
                world.fail(f"{key.name} goes on for {before.run}, which was {before.status}")


def _check_told(world: World, key: EntityKey, state: RunState, logs: dict[EntityKey, Log]) -> None:
    """Who started a run hears of its end once."""
    if state.parent is None or state.continued_as or not state.status.terminal or state.parent.run == SCHEDULE:
        return
    above = logs[subjects.key_of("o", state.parent.run)]
    count = sum(isinstance(e, ev.ChildEnded) and e.child == key.name and e.status != "continued" for _, e in above)
    if count != 1:
        world.fail(f"{state.parent.run} was told {count} times of the end of {key.name}")


def _check_overtaken(world: World, key: EntityKey, logs: dict[EntityKey, Log]) -> None:
    """A cancel or a signal that came while a run went on as a new one reaches that one."""
    for _, to, word in overtaken(key, [(message.seq, event) for message, event in logs[key]]):
        told = [event for _, event in logs[to] if isinstance(event, type(word))]
        if isinstance(word, ev.SignalReceived):
            told = [event for event in told if isinstance(event, ev.SignalReceived) and event.id == word.id]
        if not told:
            world.fail(f"{to.name} goes on for {key.name}, and nobody told it of {type(word).__name__}")


def _check_left(world: World, key: EntityKey, logs: dict[EntityKey, Log]) -> None:
    """A subworkflow whose step was closed is told to end."""
    children: dict[tuple[str, int], str] = {}
    for message, event in logs[key]:
        if isinstance(event, ev.StepWaiting) and event.child:
            children[event.step, event.attempt] = event.child
        elif isinstance(event, ev.StepCancelled | ev.StepTimedOut) and (event.step, event.attempt) in children:
            child = subjects.key_of("o", children[event.step, event.attempt])
            if not _is_told(child, message.seq, logs):
                world.fail(f"{child.name} goes on though {event.step} of {key.name} was closed")


def _check_undone_first(world: World, key: EntityKey, logs: dict[EntityKey, Log]) -> None:
    """Undoing goes backwards through a family: a run begins to undo its own steps, and ends, only after its
    subworkflows have ended. One that is cancelled by force waits for nobody."""
    own = [m.seq for m, e in logs[key] if isinstance(e, ev.StepScheduled) and e.step.endswith(UNDO)]
    end = next((m.seq for m, e in logs[key] if isinstance(e, ev.TERMINAL_RUN)), None)
    if end is None or any(isinstance(e, ev.RunCancelRequested) and e.force for _, e in logs[key]):
        return
    for message, event in logs[key]:
        if isinstance(event, ev.StepWaiting) and event.child:
            ended = _ended_at(subjects.key_of("o", event.child), logs)
            if ended is None or ended > min([end, *(seq for seq in own if seq > message.seq)]):
                world.fail(f"{key.name} did not wait until {event.child} of {event.step} had undone its steps")


def _ended_at(key: EntityKey, logs: dict[EntityKey, Log]) -> int | None:
    """Where the log has the end of a run, or of the last one that went on in its place."""
    for message, event in logs.get(key, ()):
        if isinstance(event, ev.RunCompleted) and event.continued_as:
            return _ended_at(subjects.key_of(key.org, event.continued_as), logs)
        if isinstance(event, ev.TERMINAL_RUN):
            return message.seq
    return None


def _is_told(key: EntityKey, seq: int, logs: dict[EntityKey, Log]) -> bool:
    """Whether a run, or the last of those that went on in its place, was cancelled, or was over before."""
    told = False
    for message, event in logs.get(key, ()):
        if isinstance(event, ev.RunCompleted) and event.continued_as:
            return _is_told(subjects.key_of(key.org, event.continued_as), seq, logs)
        told = told or isinstance(event, ev.RunCancelRequested)
        told = told or (isinstance(event, ev.TERMINAL_RUN) and message.seq < seq)
    return told

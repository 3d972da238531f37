"""What must hold in the log of each run and between the logs of several, for entities_world.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.runs.state import OPEN, UNDO, StepStatus, node_of, parent_of
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.entities import folding
from tests.support.transitions import impossible_events

Log = list[tuple[int, ev.Event]]
Logs = dict[EntityKey, Log]
OVER = (
    ev.StepCompleted, ev.StepFailed, ev.StepOutcomeUnknown, ev.StepTimedOut, ev.StepCancelled, ev.ChildEnded,
)  # fmt: skip

GOES_ON = "the run goes on as a new one"
_BEGINS = (ev.StepScheduled, ev.StepQueued, ev.StepWaiting, ev.StepExpanded, ev.StepIterated)


def check_run(logs: Logs, key: EntityKey) -> None:
    log = logs[key]
    decisions = [event for _, event in log if isinstance(event, ev.Decision)]
    ends = [event for event in decisions if isinstance(event, ev.TERMINAL_RUN)]
    assert len(ends) == 1, f"{key.name} ended {len(ends)} times"
    assert decisions[-1] is ends[0], "nothing is decided after the end"
    offered = Counter((e.step, e.attempt) for e in decisions if isinstance(e, ev.StepScheduled))
    assert all(count == 1 for count in offered.values()), offered
    _check_parts(key, log)
    _check_joins(submitted_in(log).definition, log)
    _check_end_nodes(submitted_in(log).definition, decisions)
    _check_finally(submitted_in(log).definition, decisions)
    assert impossible_events(log) == []
    submitted = submitted_in(log)
    assert sum(isinstance(event, ev.RunSubmitted) for _, event in log) == 1
    if submitted.parent is not None and not getattr(ends[0], "continued_as", ""):
        above = logs[subjects.key_of("o", submitted.parent.run)]
        told = [e for _, e in above if isinstance(e, ev.ChildEnded) and e.child == key.name and e.status != "continued"]
        assert len(told) == 1, f"the parent of {key.name} was told {len(told)} times"
    _check_concurrency(submitted.definition, log)
    _check_saga(log, key, ends[0], decisions)
    check_children(logs, key)
    check_detached(logs, key)
    check_undone_first(logs, key)
    check_continued(logs, key)


def submitted_in(log: Log) -> ev.RunSubmitted:
    return next(event for _, event in log if isinstance(event, ev.RunSubmitted))


def _check_joins(definition: dict[str, Any], log: Log) -> None:
    """Once a join has begun, nothing runs that leads only to it; what lost completes no more."""
    joins = {node["id"] for node in definition["dag"]["nodes"] if "join" in node}
    edges = [(edge["from"], edge["to"]) for edge in definition["dag"].get("edges", ())]
    lost: set[str] = set()
    for _, event in log:
        step = getattr(event, "step", "")
        if isinstance(event, ev.StepCancelled | ev.StepSkipped) and event.lost_to:
            assert event.lost_to in joins
            lost.add(step)
        elif isinstance(event, _BEGINS):
            assert step not in lost, f"{step} began after it had lost"
            if step in joins:
                only = {source for source, target in edges if target == step}
                only -= {source for source, target in edges if target != step}
                begun = {e.step for _, e in log if isinstance(e, _BEGINS) and e.step in only}
                over = (*OVER, ev.StepResolved, ev.StepJoined, ev.StepUndecidable, ev.OutcomeResolved, ev.SlotRefused)
                ended = {getattr(e, "step", "") for _, e in log if isinstance(e, over)}
                assert begun <= ended, f"{begun - ended} run though {step} has begun"


def _check_end_nodes(definition: dict[str, Any], decisions: Sequence[ev.Decision]) -> None:
    """After an `end` step nothing begins, and the run has its output."""
    ends = {n["id"]: n.get("config", {}) for n in definition["dag"]["nodes"] if n["type"] == "end"}
    at = next(
        (i for i, e in enumerate(decisions)
         if isinstance(e, ev.StepResolved) and node_of(e.step) in ends and e.status == "completed"), None,
    )  # fmt: skip
    if at is None:
        return
    last = at_end_in(definition)
    begun = [
        e.step for e in decisions[at:]
        if isinstance(e, (*_BEGINS, ev.StepSkipped)) and not e.step.endswith(UNDO) and node_of(e.step) not in last
    ]  # fmt: skip
    assert not begun, f"{begun} began after the end"
    config = ends[node_of(decisions[at].step)]  # type: ignore[attr-defined]
    if isinstance(decisions[-1], ev.RunCompleted) and "output" in config:
        assert decisions[-1].output.value == config["output"]
    if config.get("status") == "cancelled":
        assert not isinstance(decisions[-1], ev.RunCompleted)


def at_end_in(definition: dict[str, Any]) -> set[str]:
    return {node["id"] for node in definition["dag"]["nodes"] if node.get("finally")}


def _check_finally(definition: dict[str, Any], decisions: Sequence[ev.Decision]) -> None:
    """Nodes at the end begin after it is decided how the run ends, and nothing else does then."""
    last = at_end_in(definition)
    begun = [(i, node_of(e.step)) for i, e in enumerate(decisions) if isinstance(e, (*_BEGINS, ev.StepSkipped))]
    at = next((i for i, e in enumerate(decisions) if isinstance(e, ev.RunFinishing)), len(decisions))
    assert all((name in last) is (i > at) for i, name in begun), f"{begun}, and the end was decided at {at}"
    if at == len(decisions):
        return
    how, end = decisions[at], decisions[-1]
    assert isinstance(how, ev.RunFinishing)
    if how.status != "completed" or isinstance(end, ev.RunCompleted):
        assert ev.event_type(end) == f"run.{how.status}"
        assert getattr(end, "output", how.output) == how.output
        assert getattr(end, "error", how.error) == how.error
    elif isinstance(end, ev.RunFailed):
        assert end.step in {"", *last}


def _check_parts(key: EntityKey, log: Log) -> None:
    """When a run ends nothing of it is under way."""
    fold = folding(key)
    for seq, event in log:
        if isinstance(event, ev.TERMINAL_RUN):
            break
        if isinstance(event, ev.Decision) or any(
            isinstance(later, ev.Decision) and later.seen >= seq for _, later in log
        ):
            fold.add(event, seq)
    state = fold.finish()
    left = [key for key, step in state.steps.items() if step.status in OPEN]
    story = [(s, ev.event_type(e), getattr(e, "seen", 0)) for s, e in log if getattr(e, "step", "") in left]
    assert not left, f"the run ended while {left} were under way: {story}"


def _check_concurrency(definition: dict[str, Any], log: Log) -> None:
    maps = {node["id"]: node["config"] for node in definition["dag"]["nodes"] if node["type"] == "map"}
    running: dict[str, set[str]] = {}
    for _, event in log:
        step = getattr(event, "step", "")
        parent = parent_of(step) if step else None
        if parent is None or not step.endswith("]"):
            continue
        open_steps = running.setdefault(parent, set())
        if isinstance(event, ev.StepScheduled | ev.StepQueued | ev.StepWaiting | ev.StepExpanded):
            open_steps.add(step)
            config = maps.get(node_of(parent), {})
            for _ in range(parent.count("[")):
                config = config["body"]["config"]
            bound = config.get("concurrency")
            assert bound is None or len(open_steps) <= bound, f"{parent}: {open_steps}"
        elif isinstance(event, (*OVER, ev.StepJoined)):
            open_steps.discard(step)


def _check_saga(log: Log, key: EntityKey, end: Any, decisions: Sequence[ev.Decision]) -> None:
    plans = [e for e in decisions if isinstance(e, ev.RunCompensating)]
    assert [bool(plan.children) for plan in plans] in ([], [True], [False], [True, False])
    plan = next((e for e in plans if not e.children), None)
    if not isinstance(end, ev.RunCompleted):
        undone = set(end.uncompensated if plan is None else plan.steps)
        assert _completed_with_undo(log, key, plan or end) <= undone
    tried = (ev.StepScheduled, ev.StepUndecidable)
    begun = [e.step for e in decisions if isinstance(e, tried) and e.step.endswith(":undo")]
    if plan is None:
        assert not begun
        return
    assert list(dict.fromkeys(begun)) == [f"{step}:undo" for step in plan.steps][: len(set(begun))]
    given_up = {step for step in end.uncompensated if step not in plan.steps}
    assert sorted({*end.compensated, *end.uncompensated} - given_up) == sorted(plan.steps)
    patient = not any(isinstance(event, ev.TimerFired) and event.kind == "children" for _, event in log)
    assert not (given_up and patient), f"{key.name} did not wait for {given_up}"


def _completed_with_undo(log: Log, key: EntityKey, until: Any) -> set[str]:
    """What had completed by this decision, of the steps that have a compensation."""
    fold = folding(key)
    for seq, event in log:
        if event is until:
            break
        if isinstance(event, ev.Decision) or seq <= until.seen:
            fold.add(event, seq)
    state = fold.finish()
    nodes = {node["id"] for node in state.definition["dag"]["nodes"] if node.get("compensate_with")}
    kept = submitted_in(log).seed.value or {}  # by the run that this one retries: it undoes only its own
    done = {name for name, step in state.steps.items() if step.status is StepStatus.COMPLETED and name not in kept}
    return {
        name for name in done
        if node_of(name) in nodes and not name.endswith(UNDO)
        and state.steps[name].width < 0 and not state.steps[name].iteration
    }  # fmt: skip


def check_slots(logs: Logs, definition: dict[str, Any]) -> None:
    """By the logs of the runs alone: attempts of a lane that were offered and are not over."""
    runs = [key for key in logs if key.name.startswith("run")]
    story = sorted(((seq, key, event) for key in runs for seq, event in logs[key]), key=lambda item: item[0])
    limit = max((node.get("lane_limit", 1) for node in definition["dag"]["nodes"]), default=1)
    queued: set[tuple[EntityKey, str, int]] = set()
    holders: set[tuple[EntityKey, str, int]] = set()
    for _, key, event in story:
        slot = (key, getattr(event, "step", ""), getattr(event, "attempt", 0))
        if isinstance(event, ev.StepQueued):
            queued.add(slot)
        elif isinstance(event, ev.StepScheduled) and slot in queued:
            holders.add(slot)
            assert len(holders) <= limit, f"{len(holders)} attempts at a time, {limit} are allowed: {holders}"
        elif isinstance(event, OVER):
            holders.discard(slot)


def check_children(logs: Logs, key: EntityKey) -> None:
    """A subworkflow whose step was closed does not go on, whoever goes on in its place."""
    children = {(e.step, e.attempt): e.child for _, e in logs[key] if isinstance(e, ev.StepWaiting) and e.child}
    for seq, event in logs[key]:
        child = children.get((getattr(event, "step", ""), getattr(event, "attempt", 0)))
        if isinstance(event, ev.StepCancelled | ev.StepTimedOut) and child is not None:
            assert _is_told(logs, subjects.key_of("o", child), seq), f"{child} of {key.name} goes on"


def _is_told(logs: Logs, key: EntityKey, seq: int) -> bool:
    end_seq, end = next((s, e) for s, e in logs[key] if isinstance(e, ev.TERMINAL_RUN))
    if isinstance(end, ev.RunCompleted) and end.continued_as:
        return _is_told(logs, subjects.key_of("o", end.continued_as), seq)
    return end_seq < seq or any(isinstance(e, ev.RunCancelRequested) for _, e in logs[key])


def check_undone_first(logs: Logs, key: EntityKey) -> None:
    """A run undoes nothing of its own, and does not end, before each of its subworkflows has ended; unless it was
    cancelled by force, or had waited as long as it may."""
    log = logs[key]
    forced = any(isinstance(event, ev.RunCancelRequested) and event.force for _, event in log)
    if forced or any(isinstance(event, ev.TimerFired) and event.kind == "children" for _, event in log):
        return
    undoing = [seq for seq, e in log if isinstance(e, ev.StepScheduled) and e.step.endswith(UNDO)]
    end = next(seq for seq, event in log if isinstance(event, ev.TERMINAL_RUN))
    last = at_end_in(submitted_in(log).definition)
    for _, event in log:
        if isinstance(event, ev.StepWaiting) and event.child:
            before = [end] if node_of(event.step) in last else [end, *undoing]
            ended = _ended_at(logs, subjects.key_of("o", event.child))
            assert ended < min(before), f"{key.name} did not wait for {event.child} of {event.step}"


def _ended_at(logs: Logs, key: EntityKey) -> int:
    """Where the log has the end of a run, or of the last one that went on in its place."""
    seq, end = next((s, e) for s, e in logs[key] if isinstance(e, ev.TERMINAL_RUN))
    following = getattr(end, "continued_as", "")
    return _ended_at(logs, subjects.key_of("o", following)) if following else seq


def check_detached(logs: Logs, key: EntityKey) -> None:
    """A detached run is started once, and is nobody's child."""
    definition = submitted_in(logs[key]).definition
    nodes = {node["id"]: node.get("config", {}) for node in definition["dag"]["nodes"]}
    for _, event in logs[key]:
        done = isinstance(event, ev.StepResolved) and event.status == "completed"
        if done and nodes[node_of(event.step)].get("detached"):
            started = logs[subjects.key_of("o", event.output.value["run"])]
            first = submitted_in(started)
            assert (first.parent, first.lanes_above) == (None, ())
            assert first.origin == ev.OriginRef(key.name, "detached", event.step)
            assert not any(isinstance(e, ev.RunCancelRequested) for _, e in started), "a detached run was cancelled"


def check_continued(logs: Logs, key: EntityKey) -> None:
    """A run that goes on as a new one closes nothing but steps that wait for a time, a signal or people."""
    log = logs[key]
    end = next(event for _, event in log if isinstance(event, ev.TERMINAL_RUN))
    if not getattr(end, "continued_as", ""):
        return
    begun: dict[str, ev.Event] = {}
    for _, event in log:
        if isinstance(event, _BEGINS):
            begun[event.step] = event
        elif isinstance(event, ev.StepCancelled) and event.reason == GOES_ON:
            by = begun[event.step]
            assert isinstance(by, ev.StepWaiting) and not by.child, f"{key.name} goes on while {event.step} runs"

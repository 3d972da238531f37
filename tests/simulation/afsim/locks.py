"""Locks around several nodes in a part of the rich seeds, and what must hold of them by the logs of the runs alone."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from agentflow_common import events as ev
from agentflow_common.runs.state import UNDO, RunState, node_of
from agentflow_common.subjects import EntityKey

if TYPE_CHECKING:
    from afsim.checker import Log
    from afsim.world import World

LIMITS = {"lock:o:left": 1, "lock:o:right": 1}
_NOT_LOCKED = ("continue_as_new", "end")


def with_locks(seed: int, index: int, definition: dict[str, Any]) -> dict[str, Any]:
    """Puts nodes of an eighth of the rich seeds under one or two locks. Its choices change no others."""
    rng = random.Random(f"{seed} {index} locks")
    if seed % 16 != 5 or "dag" not in definition or rng.random() < 0.1:
        return definition
    names = [node["id"] for node in definition["dag"]["nodes"] if node.get("type") not in _NOT_LOCKED]
    if not names or definition.get("graph"):
        return definition
    keys = rng.choice([["left"], ["right"], ["left", "right"], ["right", "left"]])
    locks = [{"key": key, "nodes": rng.sample(names, min(len(names), rng.randint(1, 3)))} for key in keys]
    return {**definition, "lock": locks}


def check_begin(rules: Any, state: RunState, event: ev.Event, key: str) -> None:
    """A run begins a step only with the locks around its node."""
    if isinstance(event, ev.StepSkipped) or key.endswith(UNDO):
        return
    held = () if state.locks is None else state.locks.held
    for number, lock in enumerate(state.definition.get("lock", ())):
        if node_of(key) in lock["nodes"]:
            lane = "" if state.locks is None else state.locks.lanes[number]
            if lane not in held:
                rules.fail(f"{key} began before the run had the lock {lock['key']}")


def check_unlocked(rules: Any, state: RunState, event: ev.RunUnlocked, *_: Any) -> None:
    """A run gives a lock back that it has or waits for."""
    locks = state.locks
    if locks is None or event.lane not in (*locks.held, locks.awaited):
        rules.fail(f"it gave back {event.lane}, which it had not")


def check_runs(world: World, logs: dict[EntityKey, Log]) -> None:
    """One run at a time begins steps under a lock: from the first of them until it has given the lock back."""
    told: list[tuple[int, EntityKey, Any]] = sorted(
        ((message.seq, key, event) for key in world.runs for message, event in logs[key]), key=lambda item: item[0]
    )
    lanes: dict[EntityKey, tuple[str, ...]] = {}
    locks: dict[EntityKey, list[dict[str, Any]]] = {}
    busy: dict[str, set[EntityKey]] = {lane: set() for lane in LIMITS}
    for _, key, event in told:
        if isinstance(event, ev.RunSubmitted):
            locks[key] = event.definition.get("lock", [])
        elif isinstance(event, ev.RunLocking):
            lanes[key] = event.lanes
        elif isinstance(event, ev.StepScheduled | ev.StepWaiting) and not event.step.endswith(UNDO):
            for lane, lock in zip(lanes.get(key, ()), locks[key], strict=False):
                if node_of(event.step) in lock["nodes"]:
                    busy[lane].add(key)
                    if len(busy[lane]) > world.people.limits[lane]:
                        world.fail(f"{lane}: {sorted(run.name for run in busy[lane])} go on at a time")
        elif isinstance(event, ev.RunUnlocked):
            busy[event.lane].discard(key)
        elif isinstance(event, ev.TERMINAL_RUN):
            for runs in busy.values():
                runs.discard(key)

"""Run lanes in a part of the rich seeds, and what must hold of them by the logs of the runs alone."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.runs.state import RunState
from agentflow_common.subjects import EntityKey

if TYPE_CHECKING:
    from afsim.checker import Log
    from afsim.world import World

LIMITS = {"run:o:one": 1, "run:o:two": 2}
_POLICIES = ("queue", "queue", "skip", "cancel_running", "cancel_newest", "newest_waits")
_REASONS = {"skip": "skipped", "cancel_newest": "newest_cancelled", "newest_waits": "superseded",
            "cancel_running": "superseded"}  # fmt: skip


def with_lane(seed: int, index: int, definition: dict[str, Any]) -> dict[str, Any]:
    """Puts the runs of a quarter of the rich seeds into run lanes. Its choices change no others."""
    rng = random.Random(seed * 97 + index)
    if seed % 8 != 3 or rng.random() < 0.15:
        return definition
    key = rng.choice(["one", "one", "two"])
    lane = {"key": f"{{{{'{key}'}}}}", "limit": LIMITS[f"run:o:{key}"], "policy": rng.choice(_POLICIES)}
    return {**definition, "run_lane": lane}


def check_begin(rules: Any, state: RunState, key: str) -> None:
    """A run begins a step only with the slot of its run lane."""
    if state.definition.get("run_lane") and not state.slot_granted:
        rules.fail(f"{key} began before the run had its slot")


def check_runs(world: World, logs: dict[EntityKey, Log]) -> None:
    """No more runs than slots have begun a step and not ended; who is refused is told why."""
    told: list[tuple[int, EntityKey, Any]] = sorted(
        ((message.seq, key, event) for key in world.runs for message, event in logs[key]), key=lambda item: item[0]
    )
    lanes: dict[EntityKey, tuple[str, str]] = {}  # (lane, policy) by run
    running: dict[str, set[EntityKey]] = {lane: set() for lane in LIMITS}
    for _, key, event in told:
        if isinstance(event, ev.RunQueued):
            lanes[key] = (event.lane, event.policy)
        lane, policy = lanes.get(key, ("", ""))
        if not lane:
            continue
        if isinstance(event, ev.StepScheduled | ev.StepWaiting):
            running[lane].add(key)
            if len(running[lane]) > world.people.limits[lane]:
                world.fail(f"{lane}: {sorted(run.name for run in running[lane])} go on at a time")
        elif isinstance(event, ev.TERMINAL_RUN):
            running[lane].discard(key)
            following = getattr(event, "continued_as", "")
            if following:
                successor = subjects.key_of(key.org, following)
                lanes[successor] = lanes[key]
                running[lane].add(successor)
            if isinstance(event, ev.RunCancelled) and event.error and event.error.type != _REASONS.get(policy):
                world.fail(f"{key.name} waits by the policy {policy} and ended as {event.error.type}")

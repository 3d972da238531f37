"""Run lanes in a part of the rich seeds, and what must hold of them by the logs of the runs alone."""

from __future__ import annotations

import copy
import random
from typing import TYPE_CHECKING, Any

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.definition.parse import parse_dict
from agentflow_common.errors import InvalidError
from agentflow_common.runs.state import RunState, node_of
from agentflow_common.subjects import EntityKey

if TYPE_CHECKING:
    from afsim.checker import Log
    from afsim.world import World

LIMITS = {"run:o:one": 1, "run:o:two": 2}
GIVEN = {"run:o:given": 1, "run:o:inner": 2}  # of lanes that only subworkflows take slots of
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


def with_given(seed: int, index: int, definition: dict[str, Any]) -> dict[str, Any]:
    """Lets subworkflows of a part of these seeds take a slot of a further lane. Its choices change no others."""
    rng = random.Random(f"{seed} {index} given lane")
    if not _gives(seed) or rng.random() < 0.2:
        return definition
    made = copy.deepcopy(definition)
    nodes = made["dag"]["nodes"]
    if rng.random() < 0.7:
        config = {"workflow": rng.choice(["child", "again", "nested"]), "detached": rng.random() < 0.2}
        nodes.append({"id": "given", "type": "subworkflow", "config": config, "policy": {"on_failure": "continue"}})
        if "graph" in made:
            made["dag"]["edges"].append({"from": nodes[0]["id"], "to": "given"})
    for node in nodes:
        config = node.get("config", {}).get("body", node).get("config", {})
        if "workflow" in config and rng.random() < 0.8:
            config["run_lane"] = {"key": "given", "limit": GIVEN["run:o:given"], "policy": rng.choice(_POLICIES)}
    try:
        parse_dict(made)
    except InvalidError:
        return definition
    return made


def children(seed: int, known: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns the workflows that others start; in these seeds two of them have a lane of their own."""
    if not _gives(seed):
        return known
    lane = {"key": "inner", "limit": GIVEN["run:o:inner"], "policy": _POLICIES[seed % len(_POLICIES)]}
    return {name: {**raw, "run_lane": lane} if name in ("child", "again") else raw for name, raw in known.items()}


def of_schedule(seed: int) -> ev.LaneAsk | None:
    """Returns the lane that a schedule gives its runs."""
    if not _gives(seed):
        return None
    return ev.LaneAsk("run:o:given", GIVEN["run:o:given"], None, _POLICIES[seed % len(_POLICIES)])


def _gives(seed: int) -> bool:
    return seed % 16 == 11


def check_begin(rules: Any, state: RunState, key: str) -> None:
    """A run begins a step only with the slots of its run lanes, or if the runs above it have them."""
    lane = state.definition.get("run_lane")
    wanted = set() if lane is None else {"run:o:" + lane["key"].strip("{}'")}
    if state.given_lane is not None:
        wanted.add(state.given_lane.lane)
    has = {*state.slots, *state.lanes_above, *([state.run_lane] if state.slot_granted else [])}
    if not wanted <= has:
        rules.fail(f"{key} began before the run had its slots: {sorted(wanted - has)} are missing")


def check_given(world: World, logs: dict[EntityKey, Log]) -> None:
    """The run of a subworkflow has the lane that its step names."""
    for key in world.runs:
        first = next((event for _, event in logs[key] if isinstance(event, ev.RunSubmitted)), None)
        above = None if first is None or first.parent is None else logs.get(subjects.key_of("o", first.parent.run))
        if first is None or first.parent is None or above is None or not isinstance(above[0][1], ev.RunSubmitted):
            continue
        name = node_of(first.parent.step)
        (node,) = [node for node in above[0][1].definition["dag"]["nodes"] if node["id"] == name]
        lane = node.get("config", {}).get("body", node).get("config", {}).get("run_lane")
        if (lane is None) is not (first.given_lane is None):
            world.fail(f"the step {name} gives {key.name} the lane {lane}, and it has {first.given_lane}")


def check_runs(world: World, logs: dict[EntityKey, Log]) -> None:
    """No more runs than slots have begun a step and not ended; who is refused is told why."""
    told: list[tuple[int, EntityKey, Any]] = sorted(
        ((message.seq, key, event) for key in world.runs for message, event in logs[key]), key=lambda item: item[0]
    )
    lanes: dict[EntityKey, dict[str, str]] = {}  # by run: the policy by lane
    running: dict[str, set[EntityKey]] = {lane: set() for lane in (*LIMITS, *GIVEN)}
    for _, key, event in told:
        if isinstance(event, ev.RunQueued):
            lanes.setdefault(key, {})[event.lane] = event.policy
        policies = lanes.get(key, {})
        if isinstance(event, ev.StepScheduled | ev.StepWaiting):
            for lane in policies:
                running[lane].add(key)
                if len(running[lane]) > world.people.limits[lane]:
                    world.fail(f"{lane}: {sorted(run.name for run in running[lane])} go on at a time")
        elif isinstance(event, ev.TERMINAL_RUN) and policies:
            following = getattr(event, "continued_as", "")
            for lane in policies:
                running[lane].discard(key)
                if following:
                    running[lane].add(subjects.key_of(key.org, following))
            if following:
                lanes[subjects.key_of(key.org, following)] = policies
            reasons = {_REASONS.get(policy) for policy in policies.values()}
            if isinstance(event, ev.RunCancelled) and event.error and event.error.type not in reasons:
                world.fail(f"{key.name} waits by {policies} and ended as {event.error.type}")

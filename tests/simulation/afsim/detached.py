"""Subworkflows that go on by themselves, in a part of the rich seeds, and what must hold of them."""

from __future__ import annotations

import copy
import random
from typing import TYPE_CHECKING, Any

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.definition.parse import parse_dict
from agentflow_common.errors import InvalidError
from agentflow_common.runs.state import node_of
from agentflow_common.subjects import EntityKey

if TYPE_CHECKING:
    from afsim.checker import Log
    from afsim.world import World


def with_detached(seed: int, index: int, definition: dict[str, Any]) -> dict[str, Any]:
    """Lets some workflows of an eighth of the rich seeds start runs and not wait. Its choices change no others."""
    rng = random.Random(f"{seed} {index} detached")
    if seed % 16 != 7 or rng.random() < 0.5:
        return definition
    made = copy.deepcopy(definition)
    body = {"type": "subworkflow", "config": {"workflow": rng.choice(["child", "again", "nested"]), "detached": True}}
    node: dict[str, Any] = {"id": "free", **body}
    if rng.random() < 0.3:
        node = {"id": "free", "type": "map", "config": {"over": [1, 2], "concurrency": 1, "body": body}}
    source = made["dag"]["nodes"][0]["id"]
    if "graph" in made:
        made["dag"]["edges"].append({"from": source, "to": "free"})
    elif rng.random() < 0.5:
        node["depends_on"] = [source]
    made["dag"]["nodes"].append(node)
    try:
        parse_dict(made)
    except InvalidError:
        return definition
    return made


def check_detached(world: World, key: EntityKey, logs: dict[EntityKey, Log]) -> None:
    """One is started once, by the step that names it. It has no parent, and the run that started it cancels nothing."""
    log = logs[key]
    submitted = next((event for _, event in log if isinstance(event, ev.RunSubmitted)), None)
    if submitted is None:
        return
    nodes = {node["id"]: node.get("config", {}) for node in submitted.definition["dag"]["nodes"]}
    for _, event in log:
        if not isinstance(event, ev.StepResolved) or event.status != "completed":
            continue
        config = nodes[node_of(event.step)]
        if not config.get("body", {"config": config})["config"].get("detached"):
            continue
        started = logs.get(subjects.key_of("o", event.output.value["run"]), [])
        firsts = [e for _, e in started if isinstance(e, ev.RunSubmitted)]
        if [(e.parent, e.lanes_above) for e in firsts] != [(None, ())]:
            world.fail(f"{event.step} of {key.name} started {len(firsts)} runs, or one that is not detached")
        if any(isinstance(e, ev.RunCancelRequested) and e.child_of is not None for _, e in started):
            world.fail(f"the detached run of {event.step} of {key.name} was cancelled")

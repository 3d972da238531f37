"""Many runs with locks around several of their nodes, on one simulated log. See run_lanes_world.py."""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Any

from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict
from agentflow_common.events import Payload
from agentflow_common.runs.state import node_of
from agentflow_common.subjects import EntityKey

from .entities_workflows import WORK
from .run_lanes_world import RunLanesWorld

SHAPES = ("row", "row", "beside", "overlap", "loop", "parent", "continue", "again", "undo")
_NODES = {
    "row": "abc", "beside": "abc", "overlap": "abcd", "loop": "abc", "continue": "abc", "again": "ab", "undo": "abc",
    "below": "xy",
}  # fmt: skip
_LOCKS = {
    "row": ["ab"], "beside": ["ab", "c"], "overlap": ["abc", "bcd"], "loop": ["a", "c"], "parent": ["s", "t"],
    "continue": ["ab", "bc"], "again": ["a", "b"], "undo": ["ab", "bc"], "below": ["xy"],
}  # fmt: skip


@lru_cache
def definition(shape: str) -> dict[str, Any]:
    """A workflow whose first lock is named by the input `one`, the second one by `two`: often the other way round."""
    once = {"retry": {"max_attempts": 2, "initial_ms": 0}}
    undo = {"type": "function", "config": {"function_name": "undo"}}
    tolerant = {**once, "on_failure": "continue"} if shape in {"continue", "again"} else once
    more = {"compensate_with": undo} if shape == "undo" else {}
    nodes: list[dict[str, Any]] = [
        {"id": name, "type": "function", "config": WORK, "policy": tolerant, **more} for name in _NODES.get(shape, "")
    ]
    names = [node["id"] for node in nodes]
    edges: list[dict[str, Any]] = []
    if shape != "beside":
        edges += [{"from": source, "to": target} for source, target in itertools.pairwise(names)]
    if shape == "loop":
        edges.append({"from": "b", "to": "a", "condition": "true", "max_iterations": 2})
    elif shape == "again":
        inputs = {"one": "{{two}}", "two": "{{one}}", "n": "{{n + 1}}"}
        nodes.append({"id": "next", "type": "continue_as_new", "condition": "n < 3", "depends_on": ["b"],
                      "config": {"inputs": inputs}})  # fmt: skip
    elif shape == "parent":
        nodes += [
            {"id": name, "type": "subworkflow", "policy": {"on_failure": "continue"},
             "config": {"workflow": "below", "inputs": {"one": f"{{{{{key}}}}}", "two": "none", "n": 1}}}
            for name, key in (("s", "one"), ("t", "two"))
        ]  # fmt: skip
    keys = ("one", "two")
    locks = [{"key": f"{{{{{key}}}}}", "nodes": [*held]} for key, held in zip(keys, _LOCKS[shape], strict=False)]
    inputs = {"one": {"type": "string"}, "two": {"type": "string"}, "n": {"type": "integer"}}
    name = "below" if shape == "below" else "w"
    found = {"name": name, "inputs": inputs, "lock": locks, "dag": {"nodes": nodes, "edges": edges}}
    return parse_dict(found).canonical()


class LocksWorld(RunLanesWorld):
    """Submits runs one by one. Each append is checked: no step under a lock begins while another family has it."""

    def __init__(self, seed: int, runs: int, locks: int, crashes: bool) -> None:
        self.lanes_of: dict[EntityKey, tuple[str, ...]] = {}
        self.busy: dict[str, dict[EntityKey, None]] = {}  # by lock: the roots that have begun a step under it
        super().__init__(seed, runs, locks, crashes)

    def _submission(self, key: EntityKey) -> ev.RunSubmitted:
        rng = self.random
        one, two = (f"l{rng.randrange(self.lanes)}" for _ in range(2))
        self.submitted += 1
        self.roots[key] = key
        self.open.add(key)
        self.place[key], self.policy[key] = "", ""
        self.most[""] = self.runs  # they are in no run lane
        return ev.RunSubmitted(
            org="o", run=key.name, ts=self.now, workflow="w", version=1, priority=0,
            definition=definition(rng.choice(SHAPES)), inputs=Payload(value={"one": one, "two": two, "n": 1}),
            definitions={"below": definition("below")},
        )  # fmt: skip

    def append(self, key: EntityKey, event: Any) -> int:
        seq = super().append(key, event)
        if isinstance(event, ev.RunLocking):
            self.lanes_of[key] = event.lanes
        elif isinstance(event, ev.StepScheduled | ev.StepWaiting):
            self._begins(key, event.step)
        elif isinstance(event, ev.RunUnlocked):
            self.busy.get(event.lane, {}).pop(self.roots[key], None)
        elif isinstance(event, ev.TERMINAL_RUN) and self.logs[key][0][1].parent is None:
            for held in self.busy.values():
                held.pop(self.roots[key], None)
        return seq

    def _begins(self, key: EntityKey, step: str) -> None:
        submitted = self.logs[key][0][1]
        root = self.roots[key]
        if root not in self.open or submitted.parent is not None or step.endswith(":undo"):
            return  # what a subworkflow does is under the lock of its parent, until that was cancelled by force
        for number, lock in enumerate(submitted.definition["lock"]):
            if node_of(step) in lock["nodes"]:
                held = self.busy.setdefault(self.lanes_of[key][number], {})
                held[root] = None
                assert len(held) == 1, f"{self.lanes_of[key][number]}: {list(held)}"

    def check_all(self) -> None:
        super().check_all()
        assert not any(self.busy.values()), self.busy

"""Chains of quick steps in a part of the seeds. Their workers write the reports of several steps in one event."""

from __future__ import annotations

import copy
import itertools
import random
from typing import TYPE_CHECKING, Any

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.definition.parse import parse_dict
from agentflow_common.runs.fold import evolve
from agentflow_common.runs.state import RunState
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.replay.state_hash import state_hash

if TYPE_CHECKING:
    from afsim.world import World


class Quick:
    """The workers' bounds, and the chains that are submitted beside the other runs.

    All of it is drawn from numbers of its own, so the other seeds stay as they are.
    """

    def __init__(self, seed: int) -> None:
        rng = self.rng = random.Random(f"{seed} together")
        self.on = rng.random() < 0.3
        self.quick_ms, self.kept_s = rng.choice([5.0, 30.0, 1_000.0]), rng.choice([0.01, 0.05, 0.3, 2.0])
        self.count = 0  # reports of several steps

    def submit(self, world: World) -> None:
        """Submits chains in the time of trouble. Some are paused, cancelled or given a breakpoint while they run."""
        for index in range(self.rng.randint(3, 8) if self.on else 0):
            world.loop.call_later(self.rng.random() * 20, self._submit, world, index, context=world.outside)

    def _submit(self, world: World, index: int) -> None:
        rng = self.rng
        found = parse_dict(chain(rng))
        key = subjects.key_of("o", f"run_q{index}")
        deadline_ms = rng.choice([None, None, None, 40, 2_000])
        world.submit(key, found.canonical(), deadline_ms=deadline_ms, **world.debugger.fields(key, found))

        def later(after_s: float, kind: type[Any], **fields: Any) -> None:
            world.loop.call_later(after_s, _say, world, key, kind, fields, context=world.outside)

        for _ in range(rng.choice([0, 1, 1, 3])):
            at_s = rng.choice([0.0, 0.003, 0.01, 0.05, 0.3, 2.0]) * (0.5 + rng.random())
            later(at_s, ev.RunPauseRequested)
            later(at_s + rng.choice([0.002, 0.02, 1.0]), ev.RunResumeRequested)
        if rng.random() < 0.2:
            later(rng.choice([0.003, 0.03, 0.5]), ev.RunCancelRequested, grace_ms=rng.choice([0, 800]))


def _say(world: World, key: EntityKey, kind: type[Any], fields: dict[str, Any]) -> None:
    event = kind(org=key.org, run=key.name, ts=world.server.now_ms(), **fields)
    world.server.append(subjects.run_in(key), ev.encode(event), "gateway")


def chain(rng: random.Random) -> dict[str, Any]:
    """Functions one after the other, each with values of steps before it."""
    nodes: list[dict[str, Any]] = []
    for index in range(rng.randint(3, 12)):
        inputs = {
            f"from{source}": f"n{source}.output{rng.choice(['', '', '.n', '.call'])}"
            for source in range(index)
            if rng.random() < (0.8 if source == index - 1 else 0.2)
        }
        policy = {"on_failure": "continue", "retry": {"max_attempts": rng.randint(1, 3), "initial_ms": 10}}
        config = {"function_name": "q", "inputs": inputs}
        nodes.append({"id": f"n{index}", "type": "function", "policy": policy, "config": config})
    edges = [{"from": a["id"], "to": b["id"]} for a, b in itertools.pairwise(nodes)]
    return {"name": "w", "dag": {"nodes": nodes, "edges": edges}}


def state_of(state: RunState | None, event: ev.Event, seq: int) -> str:
    """Returns the hash of the state that the whole event gives; the state stays as it is."""
    whole = copy.deepcopy(state)
    if whole is not None:
        evolve(whole, event, seq)
    return state_hash(whole)

"""What a seed runs: random small workflows, and what their steps do."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from functools import cached_property
from typing import Any

from agentflow_common import ids
from agentflow_common.errors import RetryableError, TerminalError
from agentflow_common.events import LlmUsage
from agentflow_worker.context import StepContext
from agentflow_worker.registry import Registry, function, tool

BLOB_CHARS = 900  # above the bound in line that the world sets


def definition(rng: random.Random) -> dict[str, Any]:
    """A random graph: edges point forward, some conditional; functions, tools with an effect, parallel steps."""
    if rng.random() < 0.5:
        return chain(rng)
    nodes: list[dict[str, Any]] = []
    edges: list[dict[str, Any]] = []
    for index in range(rng.randint(1, 6)):
        kind = "tool" if rng.random() < 0.3 else "function"
        policy: dict[str, Any] = {
            "on_failure": rng.choice(["fail", "continue", "continue"]),
            "retry": {"max_attempts": rng.randint(1, 4), "initial_ms": rng.choice([0, 10, 400, 3000]), "jitter": 0.2},
        }
        if kind == "tool" and rng.random() < 0.6:
            policy["on_unknown"] = rng.choice(["fail", "retry"])
        if rng.random() < 0.4:
            policy["timeout_ms"] = rng.choice([300, 1000, 4000])
        node: dict[str, Any] = {
            "id": f"n{index}", "type": kind, "policy": policy,
            "config": {f"{kind}_name": "t" if kind == "tool" else "f", "inputs": {}},
        }  # fmt: skip
        for source in range(index):
            if rng.random() < 0.4:
                edge: dict[str, Any] = {"from": f"n{source}", "to": f"n{index}"}
                if rng.random() < 0.2:
                    edge["condition"] = f"n{source}.output.n > 3"
                edges.append(edge)
                if rng.random() < 0.5:
                    node["config"]["inputs"][f"from{source}"] = f"n{source}.output"
        if index and rng.random() < 0.25:
            node["config"]["inputs"]["items"] = list(range(rng.choice([0, 1, 2, 3, 7])))
            node["config"]["parallel"] = True
            node["config"]["for_each"] = "items"
        nodes.append(node)
    found: dict[str, Any] = {"name": "w", "dag": {"nodes": nodes, "edges": edges}}
    return found


def chain(rng: random.Random) -> dict[str, Any]:
    """Steps one after the other, which a worker may go on with by itself; some are the scheduler's to decide."""
    nodes: list[dict[str, Any]] = []
    for index in range(rng.randint(4, 9)):
        kind = "tool" if rng.random() < 0.25 else "function"
        node: dict[str, Any] = {
            "id": f"n{index}", "type": kind,
            "policy": {"on_failure": rng.choice(["fail", "continue"]),
                       "retry": {"max_attempts": rng.randint(1, 3), "initial_ms": rng.choice([0, 10, 400])}},
            "config": {f"{kind}_name": kind[0], "inputs": {}},
        }  # fmt: skip
        if kind == "tool" and rng.random() < 0.6:
            node["policy"]["on_unknown"] = "retry"
        if rng.random() < 0.1:
            node["policy"]["timeout_ms"] = rng.choice([300, 4000])
        if index and rng.random() < 0.1:
            node["condition"] = f"n{index - 1}.output.n > 2"
        for source in range(index):
            if rng.random() < (0.7 if source == index - 1 else 0.3):
                part = rng.choice(["", "", "", "", ".n", ".call", ".absent" if rng.random() < 0.2 else ".call"])
                node["config"]["inputs"][f"from{source}"] = f"n{source}.output{part}"
        nodes.append(node)
    edges: list[dict[str, Any]] = [{"from": a["id"], "to": b["id"]} for a, b in itertools.pairwise(nodes)]
    for edge in edges:
        if rng.random() < 0.05:
            edge["condition"] = f"{edge['from']}.output.n > 2"
    return {"name": "w", "dag": {"nodes": nodes, "edges": edges}}


def mark(value: Any) -> int | None:
    """What tells what a plain step gave from all else."""
    found = value.get("call") if isinstance(value, dict) else value
    return found if isinstance(found, int) else None


class Effects:
    """How often the body of each attempt began. How an attempt ends depends on the seed and its name alone, how long it
    takes on the call, too; its output tells which call gave it, and what it was given (rules.py compares)."""

    def __init__(self, seed: int, costs: bool, quick: bool) -> None:
        self.seed = seed
        self.quick = quick
        self.costs = costs
        self.began: Counter[tuple[str, str, int]] = Counter()
        self.tools: Counter[tuple[str, str, int]] = Counter()

    async def act(self, context: StepContext, is_tool: bool, inputs: dict[str, Any], *, quick: bool = False) -> Any:
        name = (context.run, context.step, context.attempt)
        self.began[name] += 1
        call = int(ids.fraction(*name, self.began[name]) * 1e5)
        got = [mark(inputs[given]) for given in sorted(inputs) if given.startswith("from")]
        for value in inputs.values():
            if isinstance(value, dict):
                value["call"] = -1  # what a step does with what it is given is its own
        if is_tool:
            self.tools[name] += 1

        def chance(what: str) -> float:
            return ids.fraction(str(self.seed), *name, what)

        length = ids.fraction(str(self.seed), *name, "length", self.began[name])
        left_s = 0 if length < 0.4 else 0.02 if length < 0.7 else 0.5 if length < 0.9 else 6.0
        if quick:
            left_s = 0 if length < 0.4 else 0.003 if length < 0.7 else 0.02 if length < 0.93 else 0.7
        while self.costs and left_s > 1 and chance("silent") < 0.6:
            context.heartbeat(0.5)
            await asyncio.sleep(0.9)
            left_s -= 0.9
        await asyncio.sleep(left_s)
        end = chance("end") * (4 if quick else 1)
        if end < 0.15:
            raise RetryableError("planned")
        if end < 0.2:
            raise TerminalError("planned for good")
        output: dict[str, Any] = {"n": int(chance("n") * 10), "call": call, "got": got}
        if chance("large") < 0.1:
            output["text"] = "x" * BLOB_CHARS
        return output

    def usage(self, context: StepContext) -> LlmUsage | None:
        """What an attempt is said to have cost."""
        name = (context.run, context.step, context.attempt)
        if not self.costs or ids.fraction(str(self.seed), *name, "costs") < 0.6:
            return None
        return LlmUsage(provider="p", model="m", prompt="p@1", input_tokens=1, output_tokens=1, cost_nano=7)

    @cached_property
    def registry(self) -> Registry:
        @function("f")
        async def f(context: StepContext, **inputs: Any) -> Any:
            return await self.act(context, False, inputs)

        @function("q")
        async def q(context: StepContext, **inputs: Any) -> Any:
            return await self.act(context, False, inputs, quick=True)

        @tool("t")
        async def t(context: StepContext, **inputs: Any) -> Any:
            return await self.act(context, True, inputs)

        @function("undo")
        async def undo(context: StepContext, **inputs: Any) -> Any:
            await asyncio.sleep(ids.fraction(str(self.seed), context.step, context.attempt) * 0.3)
            if ids.fraction(str(self.seed), context.run, context.step, context.attempt) < 0.2:
                raise RetryableError("planned")

        registry = Registry()
        registry.add(f)
        registry.add(undo)
        registry.add(t)
        if self.quick:  # workers publish what they offer, which gives a seed another story
            registry.add(q)
        return registry

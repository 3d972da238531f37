"""Plays what a recorded history should hold on a running stack; then record it (record.py).

WORKER_ID=recorder agentctl up --detach --data-dir DIR --load tests/replay/scenario_steps.py
python tests/replay/scenarios.py DIR && python tests/replay/record.py DIR LABEL
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from agentctl import stack
from agentflow_sdk import AsyncClient

Node = dict[str, Any]


def call(name: str, function: str = "s.pass", **inputs: Any) -> Node:
    return {"id": name, "type": "function", "config": {"function_name": function, "inputs": inputs}}


def workflow(name: str, nodes: list[Node], edges: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    pairs = [{"from": a["id"], "to": b["id"]} for a, b in itertools.pairwise(nodes)]
    return {"name": name, "dag": {"nodes": nodes, "edges": pairs if edges is None else edges}, **more}


def chain(name: str, c: Node) -> dict[str, Any]:
    """A chain of steps that one worker runs by itself (ADR 0009); what happens to `c` is the scenario."""
    nodes = [call("a", x=1), call("b", x="a.output"), c, call("d", x="c.output"), call("e", x="d.output")]
    return workflow(name, nodes)


class Scenarios:
    def __init__(self, client: AsyncClient, data_dir: Path) -> None:
        self.runs = client.workflows
        self.client = client
        self.data_dir = data_dir

    async def until(self, run: Any, done: Callable[[Any], Any]) -> Any:
        async with asyncio.timeout(60):
            while not done(found := await self.runs.get(run)):
                await asyncio.sleep(0.02)
        return found

    async def at(self, run: Any, step: str, *statuses: str) -> Any:
        wanted = statuses or ("running", "scheduled")
        return await self.until(run, lambda r: any(s.step == step and s.status in wanted for s in r.steps))

    async def ended(self, run: Any) -> Any:
        return await self.until(run, lambda r: r.status.is_final)

    async def kill_worker(self) -> None:
        found = next(part for part in stack.status(self.data_dir) if part.name == "worker")
        os.kill(found.pid, signal.SIGKILL)

    # --- chains of steps ---

    async def chains(self) -> None:
        await self.ended(await self.runs.submit(chain("row", call("c", x="b.output"))))
        flaky = call("c", "s.flaky", x="b.output") | {"policy": {"retry": {"initial_ms": 50, "jitter": 0}}}
        await self.ended(await self.runs.submit(chain("row_retried", flaky)))
        run = await self.runs.submit(chain("row_paused", call("c", x="b.output", seconds=1.0)))
        await self.at(run, "c")
        await self.runs.pause(run, "a look at it")
        await self.until(run, lambda r: r.status == "paused")
        await self.runs.resume(run)
        await self.ended(run)
        run = await self.runs.submit(chain("row_cancelled", call("c", x="b.output", seconds=5.0)))
        await self.at(run, "c")
        await self.runs.cancel(run, reason="enough")
        await self.ended(run)
        run = await self.runs.submit(chain("row_cancelled_gently", call("c", x="b.output", seconds=1.0)))
        await self.at(run, "c")
        await self.runs.cancel(run, grace_s=30)
        await self.ended(run)
        run = await self.runs.submit(chain("row_killed", call("c", x="b.output", seconds=3.0)))
        await self.at(run, "c")
        await self.kill_worker()
        await self.ended(run)

    async def unknown(self) -> None:
        pay = {"id": "pay", "type": "tool", "config": {"tool_name": "s.pay", "tool_args": {"seconds": 5}}}
        pay["policy"] = {"on_unknown": "ask"}
        nodes = [call("a", x=1), pay, call("b", x="pay.output")]
        run = await self.runs.submit(workflow("unknown", nodes))
        await self.at(run, "pay", "running")
        await self.kill_worker()
        await self.at(run, "pay", "outcome_unknown")
        await self.runs.resolve(run, "pay", "completed", output={"paid": 1})
        await self.ended(run)

    # --- how runs go on as others ---

    async def derived(self) -> None:
        nodes = [call("a", x="{{inputs.x}}"), call("b", "s.flaky", x="a.output", failures="{{inputs.failures}}"),
                 call("c", x="b.output")]  # fmt: skip
        nodes[1]["policy"] = {"retry": {"max_attempts": 1}}
        inputs = {"x": {"type": "integer"}, "failures": {"type": "integer"}}
        await self.runs.register(workflow("derived", nodes, inputs=inputs, version=1))
        failed = await self.runs.submit("derived@1", {"x": 1, "failures": 9})
        await self.ended(failed)
        await self.ended(await self.runs.retry(failed))
        good = await self.runs.submit("derived@1", {"x": 2, "failures": 0})
        await self.ended(good)
        await self.ended(await self.runs.fork(good, "b"))
        again = {
            "id": "again",
            "type": "continue_as_new",
            "condition": "inputs.round < 2",
            "config": {"inputs": {"round": 2}},
        }
        rounds = workflow("rounds", [call("a", x="{{inputs.round}}"), again], inputs={"round": {"type": "integer"}})
        run = await self.ended(await self.runs.submit(rounds, {"round": 1}))
        await self.ended(run.continued_as)

    async def nested(self) -> None:
        body = call("body", x="{{item}}")
        inner = {"id": "each", "type": "map", "config": {"over": "{{inputs.parts}}", "body": _body(body)}}
        rounds = {"body": _body(call("x", x="{{iteration}}")), "until": "iteration >= 2", "max_iterations": 3}
        nodes = [inner, {"id": "rounds", "type": "loop", "config": rounds}]
        await self.runs.register(workflow("inner", nodes, inputs={"parts": {"type": "array"}}, version=1,
                                          outputs={"parts": "each.output"}))  # fmt: skip
        sub = {"type": "subworkflow", "config": {"workflow": "inner@1", "inputs": {"parts": "{{item}}"}}}
        outer = {"id": "outer", "type": "map", "config": {"over": [[1], [2, 3]], "body": sub, "concurrency": 1}}
        await self.ended(await self.runs.submit(workflow("nested", [outer])))

    async def graph(self) -> None:
        nodes = [{"name": name, "function": "s.note"} for name in ("plan", "look", "act")]
        edges = [{"from": "plan", "to": "look"}, {"from": "plan", "to": "act"},
                 {"from": "act", "to": "plan", "condition": "!state.done"}]  # fmt: skip
        state = {"reducers": {"notes": "append", "count": "sum"}, "initial": {"notes": [], "count": 0, "done": False}}
        definition = {"name": "graph", "entry_point": "plan", "state": state, "nodes": nodes, "edges": edges}
        await self.ended(await self.runs.submit(definition))

    async def waits(self) -> None:
        approval = {"message": "go on?", "approvers": ["dev"], "expires_ms": 60_000, "escalate_ms": 300}
        nodes = [
            call("beats", "s.beats") | {"policy": {"heartbeat_ms": 5000}},
            {"id": "cool", "type": "wait", "config": {"duration": "300ms"}},
            {"id": "news", "type": "signal", "config": {"signal": "news", "timeout_ms": 60_000}},
            {"id": "ok", "type": "approval", "config": approval | {"escalate_to": ["chief"]}},
            call("slow", seconds=5.0),
        ]
        nodes[-1]["policy"] = {"timeout_ms": 400, "on_failure": "continue", "retry": {"max_attempts": 1}}
        run = await self.runs.submit(workflow("waits", nodes), deadline_s=120)
        await self.at(run, "news", "waiting")
        await self.runs.signal(run, "news", {"paper": "morning"})
        await self.at(run, "ok", "waiting")
        await asyncio.sleep(1)  # it is escalated meanwhile
        await self.runs.approve(run, "ok")
        await self.ended(run)

    # --- entities with a log of their own ---

    async def lanes(self) -> None:
        node = call("call", x="{{inputs.customer}}", seconds=0.3)
        node |= {"lane": "{{org}}-{{customer}}", "lane_limit": 1, "lane_rate": "5/s"}
        keyed = workflow("keyed", [node], inputs={"customer": {"type": "string"}})
        runs = [await self.runs.submit(keyed, {"customer": "acme"}, priority=number % 2) for number in range(3)]
        await self.client.lanes.set("default-acme", limit=2)
        for run in runs:
            await self.ended(run)

    async def schedules(self) -> None:
        await self.runs.register(workflow("tick", [call("a", x="{{inputs.at}}", seconds=1.4)], version=1,
                                          inputs={"at": {"type": "string"}}))  # fmt: skip
        for overlap in ("buffer_one", "cancel", "skip"):
            spec = {"name": f"every_{overlap}", "workflow": "tick", "cron": "@every 1s", "overlap": overlap}
            await self.client.schedules.create({**spec, "inputs": {"at": "{{schedule.time}}"}})
        await asyncio.sleep(3.5)
        name = "every_buffer_one"
        await self.client.schedules.pause(name, "a look at it")
        await self.client.schedules.trigger(name)
        await asyncio.sleep(2)
        await self.client.schedules.resume(name)
        await self.client.schedules.pause("every_cancel")
        await self.client.schedules.delete("every_skip")
        spec = {"name": name, "workflow": "tick", "cron": "0 0 1 1 *", "overlap": "allow"}
        await self.client.schedules.update({**spec, "inputs": {"at": "{{schedule.time}}"}})
        await self.client.schedules.backfill(name, 1_577_836_800_000, 1_641_081_600_000)  # three years
        await asyncio.sleep(5)


def _body(node: Node) -> Node:
    return {key: value for key, value in node.items() if key != "id"}


async def play(data_dir: Path) -> None:
    info = stack.find(data_dir)
    if info is None:
        raise SystemExit(f"no stack runs in {data_dir}; see the top of this file")
    key = Path(info.dev_key_file).read_text().strip()
    async with AsyncClient(info.grpc, token=key) as client:
        scenarios = Scenarios(client, data_dir)
        parts: list[Callable[[], Awaitable[None]]] = [
            scenarios.derived, scenarios.nested, scenarios.graph, scenarios.waits, scenarios.lanes, scenarios.schedules,
            scenarios.chains, scenarios.unknown,
        ]  # fmt: skip
        for part in parts:
            print(part.__name__, flush=True)
            await part()


if __name__ == "__main__":
    asyncio.run(play(Path(sys.argv[1])))

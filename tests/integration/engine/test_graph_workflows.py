"""Graph-style workflows by a real scheduler and worker, on a real JetStream."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.definition.parse import parse_text
from agentflow_common.events import Payload
from agentflow_common.log.event_log import Entry
from agentflow_common.runs.state import RunStatus
from agentflow_common.runtime.service import running
from agentflow_scheduler.app import app as scheduler_app
from tests.support.engine import EngineUnderTest, scheduler_settings, working

pytestmark = pytest.mark.integration

TEXT = """
name: refine_until_good
inputs: {start: {type: integer, required: false, default: 0}}
nodes:
  - {name: review, function: t.review, policy: {retry: {max_attempts: 2, initial_ms: 0}}}
  - {name: refine, function: t.refine}
  - {name: by_two, function: t.refine, args: {n: state.n, step: 2}, writes: {twice: output.n}}
edges:
  - {from: review, to: refine, condition: state.n < 4}
  - {from: review, to: by_two, condition: state.n == 1}
  - {from: refine, to: review}
  - {from: by_two, to: END}
entry_point: review
state:
  schema: {type: object, properties: {n: {type: integer}, log: {type: array}}}
  reducers: {log: append}
  initial: {n: 0, log: []}
max_supersteps: %d
"""


async def test_a_cycle_runs_until_its_condition_fails(engine: Any) -> None:
    key = await engine.submit(TEXT % 20)
    state = await engine.finished(key)
    assert state.status is RunStatus.COMPLETED
    events = [event for _, event in await engine.events(key)]
    advanced = [event for event in events if isinstance(event, ev.GraphAdvanced)]
    steps = [event.steps for event in advanced]
    assert steps[:4] == [("review",), ("refine",), ("review#2",), ("refine#2", "by_two")]
    assert steps[-2:] == [("review#5",), ()]
    assert state.steps["review"].attempt == 2
    # pages of 10,000 numbers stand out of line, in the events and in what the next steps are given
    assert state.shared["pages"].ref is not None
    assert state.shared["n"].value == 4
    assert state.shared["twice"].value == 3
    assert state.shared["log"].value == [[0, 0], 0, [1, 2], 1, [2, 4], 2, [3, 6], 3, [4, 8]]
    assert state.output is not None
    assert all(set(event.state) <= {"log", "n", "pages", "twice"} for event in advanced[1:])
    assert [set(event.state) for event in advanced if event.steps == ("review#2",)] == [{"log", "n"}]


async def test_the_bounds_and_the_schema_of_a_graph_fail_its_run(engine: Any) -> None:
    bounded = await engine.finished(await engine.submit(TEXT % 3))
    assert (bounded.status, bounded.error.type) == (RunStatus.FAILED, "max_supersteps")
    key = await engine.submit((TEXT % 20).replace("log: {type: array}", "log: {maxItems: 3}"))
    failed = await engine.finished(key)
    assert (failed.status, failed.error.type) == (RunStatus.FAILED, "invalid_state")
    assert failed.error.message == "refine#2: state.log does not fit its schema (maxItems: 3); it is a list"
    last = [event for _, event in await engine.events(key) if isinstance(event, ev.RunFailed)]
    assert last[0].step == "refine#2"
    assert subjects.key_of("test", failed.run) == key


async def test_a_graph_goes_on_where_it_was_when_its_scheduler_comes_back(nats_url: str) -> None:
    """Three schedulers in turn, none of which lives for a whole run; every step is offered once."""
    text = """
name: counting
nodes:
  - {name: left, function: t.refine, args: {n: state.n}}
  - {name: right, function: t.refine, args: {n: state.n}, writes: {twin: output.n}}
edges:
  - {from: left, to: left, condition: state.n < 150}
  - {from: left, to: right, condition: state.n < 150}
entry_point: left
state: {reducers: {log: append}, initial: {n: 0}}
max_supersteps: 200
"""
    settings = scheduler_settings(nats_url)
    async with working(nats_url) as worker:
        engine = EngineUnderTest(worker.nc, worker.log)
        keys = [await engine.submit(text) for _ in range(5)]
        for lived_s in (0.5, 0.5):
            async with running("scheduler", settings, scheduler_app):
                await asyncio.sleep(lived_s)
        async with running("scheduler", settings, scheduler_app):
            for key in keys:
                state = await engine.finished(key)
                assert state.status is RunStatus.COMPLETED
                assert (state.shared["n"].value, state.shared["twin"].value) == (150, 150)
                assert state.shared["log"].value == list(range(150))
                events = [event for _, event in await engine.events(key)]
                offered = [event.step for event in events if isinstance(event, ev.StepScheduled)]
                assert len(offered) == len(set(offered)) == 150 + 149
                supersteps = [event.superstep for event in events if isinstance(event, ev.GraphAdvanced)]
                assert supersteps == [*range(1, 151), 150]


async def test_a_large_value_that_is_replaced_at_once_is_gone(engine: Any) -> None:
    """The signal is there already, so two supersteps are decided in one turn; only the first one's value is stored."""
    text = """
name: replaced
nodes:
  - {name: big, function: t.big, args: {size: 30000}, writes: doc}
  - {name: swap, signal: swap, writes: doc}
  - {name: use, function: t.add, args: {a: state.doc, b: 1}, writes: sum}
edges: [{from: big, to: swap}, {from: swap, to: use}]
entry_point: big
"""
    key = await engine.submit(text)
    signal = ev.SignalReceived(org=key.org, run=key.name, ts=1, name="swap", payload=Payload(value=41))
    await engine.log.append(Entry(subjects.run_in(key), ev.encode(signal)))
    state = await engine.finished(key)
    assert state.status is RunStatus.COMPLETED, state.error
    assert state.output.value == {"doc": 41, "sum": 42}


async def test_engine_12_each_append_of_nested_subgraphs_counts_once(engine: Any) -> None:
    def graph(name: str, number: int, below: str = "") -> str:
        nodes = [f"{{name: own, function: t.add, args: {{a: {number}}}, writes: notes}}"]
        if below:
            nodes.append(f"{{name: sub, workflow: {below}}}")
            nodes.append(f"{{name: last, function: t.add, args: {{a: {number + 1}}}, writes: notes}}")
        edges = "{from: own, to: sub}, {from: sub, to: last}" if below else ""
        listed = ", ".join(nodes)
        top = f"name: {name}\nentry_point: own\nstate: {{reducers: {{notes: append}}}}\n"
        return f"{top}nodes: [{listed}]\nedges: [{edges}]\n"

    children = {
        "middle": parse_text(graph("middle", 20, "inner")).canonical(),
        "inner": parse_text(graph("inner", 30)).canonical(),
    }
    state = await engine.finished(await engine.submit(graph("outer", 10, "middle"), definitions=children))
    assert state.output.value == {"notes": [10.0, 20.0, 30.0, 21.0, 11.0]}

"""Runs and their subworkflows on a real log: how they are undone together, and what ends a wait for one."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common import ids, subjects
from agentflow_common.definition.parse import parse_text
from agentflow_common.events import ParentRef
from agentflow_common.log.event_log import Entry
from agentflow_common.runs.state import RunStatus, StepStatus
from tests.support.engine import loaded
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.integration

PAID = (
    "{{id: {id}, type: function, config: {{function_name: t.add, inputs: {{a: 1}}}}, depends_on: [{after}], "
    "compensate_with: {{type: function, config: {{function_name: t.undo, inputs: {{what: {name}, value: 1}}}}}}}}"
)
HANGS = "{id: hangs, type: function, config: {function_name: t.sleep, inputs: {seconds: 600}}, depends_on: [paid]}"


def paid(name: str, step: str = "paid", after: str = "") -> str:
    return PAID.format(id=step, name=name, after=after)


def workflow(name: str, *nodes: str) -> str:
    return f"name: {name}\ndag:\n  nodes:\n" + "\n".join(f"    - {node}" for node in nodes)


def family() -> dict[str, Any]:
    """Workflows by name: `below` stands in a map of `middle`, and hangs once it has paid."""
    each = "{id: each, type: map, config: {over: [1, 2], body: {type: subworkflow, config: {workflow: below}}}}"
    middle = workflow("middle", paid("middle"), each.replace("id: each,", "id: each, depends_on: [paid],"))
    texts = {"below": workflow("below", paid("below"), HANGS), "middle": middle}
    return {name: parse_text(text).canonical() for name, text in texts.items()}


async def tell(engine: Any, key: subjects.EntityKey, kind: type[ev.Event], **fields: Any) -> None:
    event = kind(org=key.org, run=key.name, ts=time.time_ns() // 1_000_000, **fields)
    await engine.log.append(Entry(subjects.run_in(key), ev.encode(event)))


async def below(engine: Any, key: subjects.EntityKey, count: int) -> list[subjects.EntityKey]:
    """The runs that a run has started, once they are so many."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = [e.child for _, e in await engine.events(key) if isinstance(e, ev.StepWaiting) and e.child]
            if len(found) >= count:
                return [subjects.key_of(key.org, child) for child in found]
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", ["sibling", "cancel", "deadline"])
async def test_engine_04_effects_are_undone_backwards_through_a_family(engine: Any, how: str) -> None:
    text = workflow(
        "w", paid("first"),
        "{id: sub, type: subworkflow, config: {workflow: middle}, depends_on: [paid]}",
        "{id: go, type: signal, config: {signal: go}, depends_on: [paid]}",
        "{id: breaks, type: function, config: {function_name: t.broken}, depends_on: [go]}",
    )  # fmt: skip
    loaded().UNDONE.clear()
    key = subjects.key_of("test", ids.new_run_id())
    await tell(
        engine, key, ev.RunSubmitted, workflow="w", version=1, definition=parse_text(text).canonical(),
        definitions=family(), deadline_ms=3_600_000,
    )  # fmt: skip
    (middle,) = await below(engine, key, 1)
    for lowest in await below(engine, middle, 2):
        await engine.until(lowest, ev.StepStarted)  # it has paid, and hangs
    if how == "sibling":
        await tell(engine, key, ev.SignalReceived, name="go")
    elif how == "cancel":
        await tell(engine, key, ev.RunCancelRequested, reason="enough")
    else:
        await set_deadline(engine, key)
    state = await engine.finished(key)
    assert state.status is (RunStatus.CANCELLED if how == "cancel" else RunStatus.FAILED)
    assert loaded().UNDONE == ["below", "below", "middle", "first"]
    assert (await engine.finished(middle)).status is RunStatus.CANCELLED


async def set_deadline(engine: Any, key: subjects.EntityKey) -> None:
    """The run's deadline passes now."""
    timer = (await engine.state(key)).timers["deadline"]
    fired = ev.TimerFired(org=key.org, run=key.name, ts=timer.fire_at, timer="deadline", kind="deadline")
    await engine.log.append(Entry(subjects.run_in(key), ev.encode(fired)))


async def test_engine_04_a_subworkflow_whose_events_are_gone_ends_the_wait(engine: Any) -> None:
    """A run of which the log holds nothing but the cancel."""
    text = workflow("w", paid("first"), "{id: sub, type: subworkflow, config: {workflow: below}, depends_on: [paid]}")
    loaded().UNDONE.clear()
    key = await engine.submit(text, definitions=family())
    (child,) = await below(engine, key, 1)
    await engine.until(child, ev.StepStarted)
    lost = subjects.key_of(key.org, ids.new_run_id())
    await tell(engine, lost, ev.RunCancelRequested, reason="enough", child_of=ParentRef(key.name, "sub", 1))
    ended = await told(engine, key, lost.name)
    assert (ended.status, ended.error.type) == ("failed", "child_lost")
    assert (await engine.finished(key)).status is RunStatus.FAILED
    assert loaded().UNDONE == ["first"]
    await tell(engine, child, ev.RunCancelRequested, force=True)
    await engine.finished(child)


async def told(engine: Any, key: subjects.EntityKey, child: str) -> Any:
    """What a run was told of the end of a subworkflow."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            for _, event in await engine.events(key):
                if isinstance(event, ev.ChildEnded) and event.child == child:
                    return event
            await asyncio.sleep(0.02)


async def test_engine_04_a_subworkflow_that_can_not_be_planned_tells_its_parent(engine: Any) -> None:
    above = subjects.key_of("test", ids.new_run_id())
    child = subjects.key_of("test", ids.new_run_id())
    definition = {"name": "child", "dag": {"nodes": "none"}}
    parent = ParentRef(above.name, "sub", 1)
    await tell(engine, child, ev.RunSubmitted, workflow="child", version=1, definition=definition, parent=parent)
    ended = await told(engine, above, child.name)
    assert (ended.step, ended.attempt, ended.status, ended.error.type) == ("sub", 1, "failed", "undecidable")


async def test_engine_05_a_run_goes_on_once_what_runs_beside_has_ended(engine: Any) -> None:
    """A step that is not idempotent is not closed in the middle; its successor begins, too. What waits is closed."""
    text = workflow(
        "w",
        "{id: first, type: function, config: {function_name: t.gate, inputs: {name: 'five-{{n}}'}}}",
        "{id: then, type: tool, config: {tool_name: t.pay, tool_args: {amount: 3}}, depends_on: [first]}",
        "{id: go, type: function, config: {function_name: t.add}}",
        "{id: waits, type: signal, config: {signal: never}}",
        "{id: again, type: continue_as_new, condition: n < 1, depends_on: [go], config: {inputs: {n: '{{n + 1}}'}}}",
    ).replace("dag:", "inputs: {n: {type: integer}}\ndag:", 1)
    key = await engine.submit(text, {"n": 0})
    await until(lambda: "five-0" in loaded().GATES, what="the step beside has not begun")
    await engine.until(key, ev.StepCompleted)  # `go`, so that it is the turn of `again`
    assert (await engine.state(key)).status is not RunStatus.COMPLETED
    loaded().GATES["five-0"].set()
    state = await engine.finished(key)
    assert state.steps["then"].status is StepStatus.COMPLETED
    assert state.steps["waits"].status is StepStatus.CANCELLED
    following = subjects.key_of(key.org, state.continued_as)
    loaded().GATES["five-1"].set()
    await tell(engine, following, ev.SignalReceived, name="never")
    assert (await engine.finished(following)).status is RunStatus.COMPLETED

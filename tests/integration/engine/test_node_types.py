"""Each node type beyond plain steps, with scheduler and worker on a real JetStream."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.definition.parse import parse_text
from agentflow_common.events import Payload
from agentflow_common.log.event_log import Entry
from agentflow_common.runs.state import RunStatus, StepStatus
from tests.support.engine import loaded
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.integration


def workflow(*nodes: str, edges: str = "", top: str = "") -> str:
    listed = "\n".join(f"    - {node}" for node in nodes)
    return f"name: w\n{top}\ndag:\n  nodes:\n{listed}\n  edges: [{edges}]\n"


async def tell(engine: Any, key: subjects.EntityKey, kind: type[ev.Event], **fields: Any) -> None:
    event = kind(org=key.org, run=key.name, ts=time.time_ns() // 1_000_000, **fields)
    await engine.log.append(Entry(subjects.run_in(key), ev.encode(event)))


async def reached(engine: Any, key: subjects.EntityKey, status: RunStatus, timeout_s: float = PATIENCE_S) -> Any:
    async with asyncio.timeout(timeout_s):
        while True:
            state = await engine.state(key)
            if state.status is status:
                return state
            await asyncio.sleep(0.02)


async def test_a_map_keeps_the_order_and_its_bound(engine: Any) -> None:
    text = workflow(
        "{id: m, type: map, config: {over: '{{numbers}}', concurrency: 3, item: n, body: "
        "{type: function, config: {function_name: t.gauge, inputs: {n: '{{n}}', at: '{{index}}'}}}}}",
        top="inputs: {numbers: {type: array}}",
    )
    loaded().GAUGE.clear()
    state = await engine.finished(await engine.submit(text, {"numbers": list(range(20))}))
    assert state.output.value == {"m": [n * 10 + n for n in range(20)]}
    assert 1 < max(loaded().GAUGE) <= 3


async def test_a_map_of_nothing_gives_nothing(engine: Any) -> None:
    body = "{type: function, config: {function_name: t.add, inputs: {a: '{{item}}'}}}"
    state = await engine.finished(
        await engine.submit(workflow(f"{{id: m, type: map, config: {{over: [], body: {body}}}}}"))
    )
    assert state.output.value == {"m": []}


@pytest.mark.parametrize(
    ("policy", "status", "output"),
    [
        ("", RunStatus.FAILED, None),
        ("on_item_failure: continue, ", RunStatus.COMPLETED, [None, 1, None, 3]),
        ("on_item_failure: continue, max_failures: 2, ", RunStatus.COMPLETED, [None, 1, None, 3]),
        ("on_item_failure: continue, max_failures: 0.25, ", RunStatus.FAILED, None),
    ],
)
async def test_items_that_fail(engine: Any, policy: str, status: RunStatus, output: Any) -> None:
    body = "{type: function, config: {function_name: t.odd, inputs: {n: '{{item}}'}}}"
    text = workflow(f"{{id: m, type: map, config: {{over: [0, 1, 2, 3], {policy}body: {body}}}}}")
    state = await engine.finished(await engine.submit(text))
    assert state.status is status, state.error
    if output is None:
        assert state.error.type == "even"
        assert "of 4 items failed" in state.error.message
    else:
        assert state.output.value == {"m": output}


async def test_a_loop_runs_until_it_holds(engine: Any) -> None:
    text = workflow(
        "{id: grow, type: loop, config: {until: previous >= 5.0, max_iterations: 10, body: "
        "{type: function, config: {function_name: t.add, inputs: {a: '{{previous or 0}}', b: '{{iteration}}'}}}}}"
    )
    state = await engine.finished(await engine.submit(text))
    assert state.output.value == {"grow": 6}
    assert state.steps["grow"].iteration == 3


async def test_a_loop_with_while_and_its_bound(engine: Any) -> None:
    loop = (
        "{id: l, type: loop, config: {while: 'iteration <= limit', max_iterations: 3, on_max: %s, delay_ms: 20, body: "
        "{type: function, config: {function_name: t.add, inputs: {a: '{{iteration}}'}}}}}"
    )
    top = "inputs: {limit: {type: integer}}"
    none = await engine.finished(await engine.submit(workflow(loop % "fail", top=top), {"limit": 0}))
    assert none.output.value == {"l": None}
    two = await engine.finished(await engine.submit(workflow(loop % "fail", top=top), {"limit": 2}))
    assert two.output.value == {"l": 2}
    kept = await engine.finished(await engine.submit(workflow(loop % "complete", top=top), {"limit": 9}))
    assert kept.output.value == {"l": 3}
    failed = await engine.finished(await engine.submit(workflow(loop % "fail", top=top), {"limit": 9}))
    assert failed.error.type == "max_iterations"


async def test_a_back_edge_runs_the_nodes_between_again(engine: Any) -> None:
    text = workflow(
        "{id: start, type: function, config: {function_name: t.add, inputs: {a: 1}}}",
        "{id: draft, type: function, config: {function_name: t.add, "
        "inputs: {a: start.output, b: '{{review.output or 0}}'}}}",
        "{id: review, type: function, config: {function_name: t.add, inputs: {a: draft.output, b: 10}}}",
        "{id: publish, type: function, config: {function_name: t.add, inputs: {a: review.output, b: 1000}}}",
        edges="{from: start, to: draft}, {from: draft, to: review}, {from: review, to: publish}, "
        "{from: review, to: draft, condition: review.output < 30.0, max_iterations: 5}",
    )
    key = await engine.submit(text)
    state = await engine.finished(key)
    assert state.status is RunStatus.COMPLETED, state.error
    # 1+0, 11 | 1+11, 22 | 1+22, 33
    assert state.output.value == {"publish": 1033}
    assert state.visits == {"draft": 3, "review": 3}
    published = [e for _, e in await engine.events(key) if isinstance(e, ev.StepScheduled) and e.step == "publish"]
    assert len(published) == 1


async def test_nested_loops_of_edges_begin_anew(engine: Any) -> None:
    node = "{id: %s, type: function, config: {function_name: t.tick}}"
    text = workflow(
        *(node % name for name in "abcd"),
        edges="{from: a, to: b}, {from: b, to: c}, {from: c, to: d}, "
        "{from: c, to: b, condition: 'true', max_iterations: 2}, "
        "{from: d, to: a, condition: 'true', max_iterations: 1}",
    )
    state = await engine.finished(await engine.submit(text))
    assert state.status is RunStatus.COMPLETED, state.error
    assert state.visits == {"a": 2, "b": 6, "c": 6, "d": 2}


async def test_a_wait_ends_in_its_time(engine: Any) -> None:
    text = workflow(
        "{id: w, type: wait, config: {duration: 300ms}}",
        "{id: past, type: wait, config: {until: '2020-01-01T00:00:00Z'}}",
        "{id: then, type: function, config: {function_name: t.add, inputs: {a: 1}}}",
        edges="{from: w, to: then}",
    )
    key = await engine.submit(text)
    waiting = await engine.until(key, ev.RunWaiting)
    assert waiting.steps == ("w",)
    state = await engine.finished(key)
    assert state.output.value["then"] == 1
    assert state.steps["w"].finished_at - state.steps["w"].started_at >= 290


async def test_a_signal_is_taken_once_and_kept_until_it_is(engine: Any) -> None:
    text = workflow(
        "{id: first, type: signal, config: {signal: go}}",
        "{id: second, type: signal, config: {signal: go, timeout_ms: 400ms, on_timeout: continue}}",
        "{id: sum, type: function, config: {function_name: t.add, inputs: {a: first.output.n, b: 1}}}",
        edges="{from: first, to: second}, {from: second, to: sum}",
    )
    key = await engine.submit(text)
    await reached(engine, key, RunStatus.WAITING)
    for _ in range(2):
        await tell(engine, key, ev.SignalReceived, name="go", payload=Payload(value={"n": 41}), id="same")
    state = await engine.finished(key)
    assert state.output.value == {"sum": 42}
    assert state.steps["second"].output.value is None
    late = ("{id: w, type: wait, config: {duration: 200ms}}", "{id: s, type: signal, config: {signal: x}}")
    early = await engine.submit(workflow(*late, edges="{from: w, to: s}"))
    await engine.until(early, ev.StepWaiting)
    await tell(engine, early, ev.SignalReceived, name="x", payload=Payload(value=7))
    assert (await engine.finished(early)).output.value == {"s": 7}


async def test_two_people_approve_and_one_rejects(engine: Any) -> None:
    node = "{id: %s, type: approval, config: {message: 'pay {{amount}}?', approvers: [ana, bo, cy], required: 2%s}}"
    top = "inputs: {amount: {type: integer}}"
    text = workflow(node % ("one", ""), node % ("other", ", on_reject: continue"), top=top)
    key = await engine.submit(text, {"amount": 5})
    state = await reached(engine, key, RunStatus.WAITING)
    assert state.steps["one"].detail["message"] == "pay 5?"
    for by in ("ana", "ana", "eve"):
        await tell(engine, key, ev.ApprovalGiven, step="one", decision="approve", by=by)
    await tell(engine, key, ev.ApprovalGiven, step="other", decision="reject", by="bo", comment="too much")
    await engine.until(key, ev.StepResolved)  # facts are taken in their order: all before the rejection were seen
    state = await engine.state(key)
    assert state.steps["one"].status is StepStatus.WAITING, "one person counts once, a stranger not at all"
    assert state.steps["other"].output.value["approved"] is False
    await tell(engine, key, ev.ApprovalGiven, step="one", decision="approve", by="cy")
    state = await engine.finished(key)
    assert [d["by"] for d in state.steps["one"].output.value["decisions"]] == ["ana", "cy"]


async def test_an_approval_escalates_and_then_expires(engine: Any) -> None:
    text = workflow(
        "{id: ask, type: approval, config: {approvers: [ana], escalate_ms: 300ms, escalate_to: [boss], expires_ms: %s}}"
    )
    expired = await engine.submit(text % "900ms")
    answered = await engine.submit(text % "1h")
    await engine.until(answered, ev.ApprovalEscalated)
    await tell(engine, answered, ev.ApprovalGiven, step="ask", decision="approve", by="boss")
    assert (await engine.finished(answered)).status is RunStatus.COMPLETED
    state = await engine.finished(expired)
    assert (state.status, state.error.type) == (RunStatus.FAILED, "approval_expired")


async def test_a_subworkflow_is_a_run_of_its_own(engine: Any) -> None:
    child = parse_text(
        "name: child\ninputs: {n: {type: number}}\noutputs: {twice: d.output, big: b.output}\ndag:\n  nodes:\n"
        "    - {id: d, type: function, config: {function_name: t.add, inputs: {a: '{{n}}', b: '{{n}}'}}}\n"
        "    - {id: b, type: function, config: {function_name: t.big, inputs: {size: 30000}}}\n"
    )
    text = workflow(
        "{id: many, type: map, config: {over: [1, 2, 3], concurrency: 2, body: {type: subworkflow, "
        "config: {workflow: child, inputs: {n: '{{item}}'}}}}}",
        "{id: first, type: function, config: {function_name: t.add, "
        "inputs: {a: 'many.output[0].twice', b: 'many.output[0].big[5]'}}}",
        "{id: bad, type: subworkflow, config: {workflow: child, inputs: {wrong: 1}}, policy: {on_failure: continue}}",
        edges="{from: many, to: first}",
    )
    key = await engine.submit(text, definitions={"child": child.canonical()})
    state = await engine.finished(key)
    assert state.status is RunStatus.COMPLETED, state.error
    assert state.output.value["first"] == 2 + 1.5
    assert "missing" in state.steps["bad"].error.message or "not an input" in state.steps["bad"].error.message
    run = await engine.state(subjects.key_of(key.org, state.steps["many[1]"].child))
    assert run.parent == ev.ParentRef(key.name, "many[1]", 1)
    assert run.status is RunStatus.COMPLETED


async def test_cancelling_reaches_the_subworkflow(engine: Any) -> None:
    child = parse_text(workflow("{id: s, type: function, config: {function_name: t.sleep, inputs: {seconds: 60}}}"))
    text = workflow("{id: sub, type: subworkflow, config: {workflow: child}}")
    key = await engine.submit(text, definitions={"child": child.canonical()})
    waiting = await engine.until(key, ev.StepWaiting)
    below = subjects.key_of(key.org, waiting.child)
    await engine.until(below, ev.StepStarted)
    await tell(engine, key, ev.RunCancelRequested, reason="enough")
    assert (await engine.finished(key)).status is RunStatus.CANCELLED
    assert (await engine.finished(below)).status is RunStatus.CANCELLED


async def test_a_run_goes_on_as_a_new_one(engine: Any) -> None:
    text = workflow(
        "{id: work, type: function, config: {function_name: t.add, inputs: {a: '{{n}}', b: 1}}}",
        "{id: again, type: continue_as_new, condition: work.output < 3.0, config: {inputs: {n: work.output}}}",
        edges="{from: work, to: again}",
        top="inputs: {n: {type: number}}\noutputs: {n: work.output}",
    )
    key = await engine.submit(text, {"n": 0})
    seen = []
    while True:
        state = await engine.finished(key)
        seen.append(state.inputs.value["n"])
        if not state.continued_as:
            break
        key = subjects.key_of(key.org, state.continued_as)
    assert seen == [0, 1, 2]
    assert state.output.value == {"n": 3}


async def test_a_saga_undoes_in_reverse_order(engine: Any) -> None:
    def booked(name: str) -> str:
        return (
            f"{{id: {name}, type: function, config: {{function_name: t.add, inputs: {{a: 1}}}}, compensate_with: "
            f"{{type: function, config: {{function_name: t.undo, inputs: {{what: {name}, value: {name}.output}}}}}}}}"
        )

    text = workflow(
        booked("hotel"), booked("flight"), booked("car"),
        "{id: pay, type: function, config: {function_name: t.broken}}",
        edges="{from: hotel, to: flight}, {from: flight, to: car}, {from: car, to: pay}",
    )  # fmt: skip
    loaded().UNDONE.clear()
    key = await engine.submit(text)
    state = await engine.finished(key)
    assert (state.status, state.error.type) == (RunStatus.FAILED, "broken")
    assert loaded().UNDONE == ["car", "flight", "hotel"]
    end = await engine.until(key, ev.RunFailed)
    assert (end.compensated, end.uncompensated) == (("car", "flight", "hotel"), ())


async def test_a_graceful_cancel_lets_steps_end(engine: Any) -> None:
    text = workflow(
        "{id: s, type: function, config: {function_name: t.stubborn, inputs: {name: graceful}}}",
        "{id: t, type: function, config: {function_name: t.add}}",
        edges="{from: s, to: t}",
    )
    key = await engine.submit(text)
    await engine.until(key, ev.StepStarted)
    await tell(engine, key, ev.RunCancelRequested, reason="enough", grace_ms=300_000)
    await engine.until(key, ev.TimerSet)  # the grace: the cancellation was decided
    loaded().GATES["graceful"].set()
    state = await engine.finished(key)
    assert state.status is RunStatus.CANCELLED
    assert state.steps["s"].status in {StepStatus.COMPLETED, StepStatus.FAILED}
    assert "t" not in state.steps


async def test_pause_and_resume(engine: Any) -> None:
    text = workflow(
        "{id: a, type: function, config: {function_name: t.gate, inputs: {name: paused}}}",
        "{id: b, type: function, config: {function_name: t.add}}",
        edges="{from: a, to: b}",
    )
    key = await engine.submit(text)
    await engine.until(key, ev.StepScheduled)
    await tell(engine, key, ev.RunPauseRequested, reason="look", by="ana")
    state = await reached(engine, key, RunStatus.PAUSED)
    loaded().GATES["paused"].set()
    await engine.until(key, ev.StepCompleted)
    await asyncio.sleep(0.2)
    assert "b" not in (await engine.state(key)).steps
    assert state.pause_reason == "look"
    await tell(engine, key, ev.RunResumeRequested)
    assert (await engine.finished(key)).status is RunStatus.COMPLETED


async def test_a_silent_step_is_lost_and_one_that_beats_is_not(engine: Any) -> None:
    text = workflow(
        "{id: s, type: function, config: {function_name: %s, inputs: {seconds: 4}}, "
        "policy: {heartbeat_ms: 1500, retry: {max_attempts: 1}}}"
    )
    silent = await engine.submit(text % "t.sleep")
    beating = await engine.submit(text % "t.beating")
    state = await engine.finished(silent)
    assert state.error.type == "heartbeat_timeout"
    state = await engine.finished(beating)
    assert state.status is RunStatus.COMPLETED
    assert state.steps["s"].progress > 0.5


async def test_a_total_timeout_ends_the_retries(engine: Any) -> None:
    text = workflow(
        "{id: f, type: function, config: {function_name: t.flaky, inputs: {failures: 99}}, "
        "policy: {total_timeout_ms: 700, retry: {max_attempts: 100, initial_ms: 100, backoff: fixed}}}"
    )
    state = await engine.finished(await engine.submit(text))
    assert (state.status, state.error.type) == (RunStatus.FAILED, "timeout")
    assert "all attempts together" in state.error.message


async def test_the_total_time_of_a_map_and_the_timeout_of_a_subworkflow(engine: Any) -> None:
    slow = "{type: function, config: {function_name: t.sleep, inputs: {seconds: 60}}}"
    text = workflow(f"{{id: m, type: map, config: {{over: [1, 2], body: {slow}}}, policy: {{total_timeout_ms: 400}}}}")
    key = await engine.submit(text)
    state = await engine.finished(key)
    assert (state.error.type, state.steps["m"].status) == ("timeout", StepStatus.FAILED)
    assert {state.steps[f"m[{n}]"].status for n in range(2)} == {StepStatus.CANCELLED}
    child = parse_text(workflow("{id: s, type: function, config: {function_name: t.sleep, inputs: {seconds: 60}}}"))
    text = workflow(
        "{id: sub, type: subworkflow, config: {workflow: child}, policy: {timeout_ms: 400, retry: {max_attempts: 2, "
        "initial_ms: 0}}}"
    )
    key = await engine.submit(text, definitions={"child": child.canonical()})
    state = await engine.finished(key)
    assert (state.error.type, state.steps["sub"].attempt) == ("timeout", 2)
    started = [e.child for _, e in await engine.events(key) if isinstance(e, ev.StepWaiting)]
    assert len(set(started)) == 2
    for run in started:
        assert (await engine.finished(subjects.key_of(key.org, run))).status is RunStatus.CANCELLED

"""Scheduler and worker together, on a real JetStream."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.definition.parse import parse_text
from agentflow_common.events import Payload
from agentflow_common.log.event_log import Entry, Fence
from agentflow_common.runs.state import RunStatus, StepStatus
from agentflow_common.runtime.service import running
from agentflow_scheduler.app import app as scheduler_app
from agentflow_scheduler.settings import SchedulerSettings
from tests.support.attempts import singly
from tests.support.engine import loaded
from tests.support.waiting import until

pytestmark = pytest.mark.integration


def workflow(*nodes: str, edges: str = "", top: str = "") -> str:
    listed = "\n".join(f"    - {node}" for node in nodes)
    return f"name: w\n{top}\ndag:\n  nodes:\n{listed}\n  edges: [{edges}]\n"


async def test_a_chain_passes_values_on(engine: Any) -> None:
    text = workflow(
        "{id: one, type: function, config: {function_name: t.add, inputs: {a: '{{x}}', b: 1}}}",
        "{id: two, type: function, config: {function_name: t.add, inputs: {a: one.output, b: 10}}}",
        edges="{from: one, to: two}",
        top="inputs: {x: {type: number}}\noutputs: {sum: two.output, x: '{{x}}'}",
    )
    state = await engine.finished(await engine.submit(text, {"x": 5}))
    assert state.status is RunStatus.COMPLETED
    assert state.output.value == {"sum": 16, "x": 5}
    events = singly(event for _, event in await engine.events(subjects.key_of("test", state.run)))
    kinds = [ev.event_type(event) for event in events]
    # the worker goes on with the second step by itself
    assert kinds == ["run.submitted", "run.started", "step.scheduled", *["step.completed"] * 2, "run.completed"]
    assert [e.begun.step if e.begun else "" for e in events if isinstance(e, ev.StepCompleted)] == ["two", ""]


async def test_a_false_condition_skips_and_the_join_runs_on(engine: Any) -> None:
    text = workflow(
        "{id: a, type: function, config: {function_name: t.add, inputs: {a: 1}}}",
        "{id: high, type: function, config: {function_name: t.add, inputs: {a: a.output, b: 1}}}",
        "{id: low, type: function, condition: 'a.output > 100.0', config: {function_name: t.add}}",
        "{id: join, type: function, config: {function_name: t.total, inputs: {numbers: [high.output, low.output]}}}",
        edges="{from: a, to: high}, {from: a, to: low}, {from: high, to: join}, {from: low, to: join}",
    )
    state = await engine.finished(await engine.submit(text))
    assert state.output.value == {"join": 2}
    assert state.steps["low"].status is StepStatus.SKIPPED
    assert "a.output > 100.0" in state.steps["low"].reason


async def test_parallel_children_and_values_too_large_for_an_event(engine: Any) -> None:
    text = workflow(
        "{id: many, type: function, config: {function_name: t.numbers, inputs: {width: 40}}}",
        "{id: big, type: function, config: {function_name: t.big, parallel: true, inputs: {size: many.output}}}",
        "{id: huge, type: function, config: {function_name: t.big, inputs: {size: 30000}}}",
        "{id: sum, type: function, config: {function_name: t.total, inputs: {numbers: huge.output}}}",
        "{id: first, type: function, config: {function_name: t.add, inputs: {a: 'huge.output[0]'}}}",
        "{id: each, type: function, config: {function_name: t.add, parallel: true, for_each: a, "
        "inputs: {a: huge.output, b: 1}}, condition: 'size(huge.output) < 10'}",
        edges="{from: many, to: big}, {from: huge, to: sum}, {from: huge, to: each}, {from: huge, to: first}",
    )
    state = await engine.finished(await engine.submit(text))
    assert state.status is RunStatus.COMPLETED, state.error
    assert state.steps["big"].width == 40
    assert state.steps["huge"].output.ref is not None
    assert state.steps["sum"].output.value == 45000
    assert state.steps["first"].output.value == 1.5
    assert state.steps["each"].status is StepStatus.SKIPPED


async def test_retries_wait_for_their_timer_and_then_succeed(engine: Any) -> None:
    text = workflow(
        "{id: f, type: function, config: {function_name: t.flaky, inputs: {failures: 2}}, "
        "policy: {retry: {max_attempts: 3, initial_ms: 50}}}"
    )
    key = await engine.submit(text)
    state = await engine.finished(key)
    assert state.output.value == {"f": 3}
    kinds = [ev.event_type(event) for _, event in await engine.events(key)]
    assert kinds.count("step.failed") == 2
    assert kinds.count("timer.set") == kinds.count("timer.fired") == 2


async def test_a_failure_that_is_final_fails_the_run_or_goes_on(engine: Any) -> None:
    failing = "{id: bad, type: function, config: {function_name: t.broken}, policy: {on_failure: %s}}"
    other = "{id: good, type: function, config: {function_name: t.add, inputs: {a: 2}}}"
    failed = await engine.finished(await engine.submit(workflow(failing % "fail", other)))
    assert (failed.status, failed.error.type) == (RunStatus.FAILED, "broken")
    assert failed.steps["bad"].attempt == 1, "a terminal error is not retried"
    went_on = await engine.finished(await engine.submit(workflow(failing % "continue", other)))
    assert went_on.status is RunStatus.COMPLETED
    assert went_on.output.value == {"bad": None, "good": 2}


async def test_engine_02_what_stands_behind_a_failed_step_runs(engine: Any) -> None:
    policy = "policy: {on_failure: continue}"
    text = workflow(
        f"{{id: bad, type: function, config: {{function_name: t.broken}}, {policy}}}",
        "{id: next, type: function, config: {function_name: t.total, inputs: {numbers: '{{[bad.output, 4]}}'}}}",
        "{id: last, type: function, config: {function_name: t.add, inputs: {a: next.output}}}",
        "{id: beside, type: function, depends_on: [bad], config: {function_name: t.add, inputs: {a: 1}}}",
        "{id: rescue, type: function, condition: \"bad.status == 'failed'\", config: {function_name: t.add}}",
        "{id: never, type: function, config: {function_name: t.add}}",
        edges="{from: bad, to: next}, {from: next, to: last}, {from: bad, to: never, condition: bad.error == null}",
        top="outputs: {last: last.output, kind: '{{bad.error.type}}', none: bad.output.x}",
    )
    state = await engine.finished(await engine.submit(text))
    assert state.status is RunStatus.COMPLETED, state.error
    assert state.output.value == {"last": 4, "kind": "broken", "none": None}
    ended = {name: str(step.status) for name, step in state.steps.items()}
    assert ended.pop("bad") == "failed"
    assert ended.pop("never") == "skipped"
    assert set(ended) == {"next", "last", "beside", "rescue"}
    assert set(ended.values()) == {"completed"}


async def test_a_declared_timeout_stops_the_step(engine: Any) -> None:
    text = workflow(
        "{id: s, type: function, config: {function_name: t.sleep, inputs: {seconds: 60}}, "
        "policy: {timeout_ms: 300, retry: {max_attempts: 1}}}"
    )
    key = await engine.submit(text)
    state = await engine.finished(key)
    assert (state.status, state.error.type) == (RunStatus.FAILED, "timeout")
    await until(lambda: key.name in loaded().STOPPED)


async def test_a_deadline_ends_the_run(engine: Any) -> None:
    text = workflow(
        "{id: s, type: function, config: {function_name: t.sleep, inputs: {seconds: 60}}}", top="deadline_ms: 1"
    )
    state = await engine.finished(await engine.submit(text))
    assert (state.status, state.error.type) == (RunStatus.FAILED, "deadline")


async def test_cancel_reaches_a_running_step(engine: Any) -> None:
    text = workflow("{id: s, type: function, config: {function_name: t.sleep, inputs: {seconds: 60}}}")
    key = await engine.submit(text)
    await engine.until(key, ev.StepStarted)
    request = ev.RunCancelRequested(org=key.org, run=key.name, ts=1, reason="enough")
    await engine.log.append(Entry(subjects.run_in(key), ev.encode(request)))
    state = await engine.finished(key)
    assert state.status is RunStatus.CANCELLED
    assert state.steps["s"].status is StepStatus.CANCELLED
    await until(lambda: key.name in loaded().STOPPED)


async def test_a_claimed_tool_that_comes_again_is_not_run_again(engine: Any) -> None:
    text = workflow("{id: pay, type: tool, config: {tool_name: t.pay, tool_args: {amount: 7}}}")
    state = await engine.finished(await engine.submit(text))
    assert state.output.value == {"pay": 7}
    assert loaded().CALLS[f"{state.run}/pay"] == 1
    claimed = subjects.key_of("test", "run_claimed")
    claim = ev.ClaimTaken(org="test", run=claimed.name, ts=1, step="pay", attempt=1, worker="gone")
    await engine.log.append(Entry(subjects.claim(claimed, "pay", 1), ev.encode(claim), fence=Fence(0)))
    first = (await engine.events(subjects.key_of("test", state.run)))[0][1]
    again = ev.decode(ev.encode(first).replace(state.run.encode(), claimed.name.encode()))
    await engine.log.append(Entry(subjects.run_in(claimed), ev.encode(again), fence=Fence(0)))
    unknown = await engine.finished(claimed)
    assert (unknown.status, unknown.error.type) == (RunStatus.FAILED, "outcome_unknown")
    assert loaded().CALLS[f"{claimed.name}/pay"] == 0


async def test_poison_is_buried_and_the_shard_goes_on(engine: Any) -> None:
    text = workflow("{id: a, type: function, config: {function_name: t.add, inputs: {a: 1}}}")
    key = await engine.submit(text)
    await engine.log.append(Entry(subjects.run_in(key), b'{"type": "no.such.event"}'))
    await engine.log.append(Entry(subjects.run_in(key), b"\xff not json"))
    await engine.log.append(Entry(subjects.out_task(subjects.key_of("test", "x"), "default"), b"{}"))
    assert (await engine.finished(key)).status is RunStatus.COMPLETED
    assert (await engine.finished(await engine.submit(text))).status is RunStatus.COMPLETED

    async def buried() -> Any:  # the worker's comes when it comes
        found = await engine.log.read("af.dead.>", stream=subjects.DEAD_STREAM)
        return found if len(found) >= 3 else None

    dead = await until(buried)
    assert sorted(s.subject.split(".")[2] for s in dead) == ["scheduler"] * 2 + ["worker"]


async def test_undecidable_inputs_fail_the_run_with_the_reason(engine: Any) -> None:
    text = workflow(
        "{id: a, type: function, config: {function_name: t.add}}",
        "{id: b, type: function, config: {function_name: t.add, inputs: {a: a.output.nope}}}",
        edges="{from: a, to: b}",
    )
    state = await engine.finished(await engine.submit(text))
    assert state.status is RunStatus.FAILED
    assert state.error.message.startswith("b: inputs.a: a.output.nope"), "it names the step, the field, the expression"


async def test_a_definition_that_cannot_be_planned_ends_its_run(engine: Any) -> None:
    key = subjects.key_of("test", "run_unplannable")
    event = ev.RunSubmitted(org="test", run=key.name, ts=1, workflow="w", version=1, definition={"name": "w"})
    await engine.log.append(Entry(subjects.run_in(key), ev.encode(event), fence=Fence(0)))
    state = await engine.finished(key)
    assert (state.status, state.error.type) == (RunStatus.FAILED, "undecidable")
    text = workflow("{id: a, type: function, config: {function_name: t.add, inputs: {a: 1}}}")
    assert (await engine.finished(await engine.submit(text))).status is RunStatus.COMPLETED


async def test_a_run_whose_blob_is_missing_holds_up_nobody(engine: Any) -> None:
    """Its condition looks into a value that the object store does not have: it waits aside, and can be cancelled."""
    text = workflow(
        "{id: a, type: function, condition: 'inputs.x == 1', config: {function_name: t.add, inputs: {a: 1}}}",
    )
    definition = parse_text(text).canonical()
    lost = Payload(ref=ev.BlobRef(sha256="0" * 64, size=100_000))
    key = subjects.key_of("test", "run_lost_blob")
    event = ev.RunSubmitted(org="test", run=key.name, ts=1, workflow="w", version=1, definition=definition, inputs=lost)
    await engine.log.append(Entry(subjects.run_in(key), ev.encode(event), fence=Fence(0)))
    quick = workflow("{id: a, type: function, config: {function_name: t.add, inputs: {a: 1}}}")
    for _ in range(5):
        assert (await engine.finished(await engine.submit(quick))).status is RunStatus.COMPLETED
    assert (await engine.state(key)).status is RunStatus.PENDING
    request = ev.RunCancelRequested(org=key.org, run=key.name, ts=1, reason="lost")
    await engine.log.append(Entry(subjects.run_in(key), ev.encode(request)))
    assert (await engine.finished(key)).status is RunStatus.CANCELLED


@pytest.mark.parametrize("where", ["{{ {k: {'sha256': 'a' * 64, 'size': 1}, 'path': []} }}", None])
async def test_nobody_but_the_engine_names_a_blob(engine: Any, where: str | None) -> None:
    made = "{id: a, type: function, config: {function_name: t.forged}, policy: {retry: {max_attempts: 1}}}"
    if where is not None:
        made = f'{{id: a, type: function, config: {{function_name: t.add, inputs: {{a: "{where}"}}}}}}'
    state = await engine.finished(
        await engine.submit(workflow(made, top="inputs: {k: {type: string}}"), {"k": "$blob"})
    )
    assert state.status is RunStatus.FAILED
    assert state.error.type == ("reserved_key" if where is None else "undecidable")


async def test_what_children_share_is_stored_once(engine: Any) -> None:
    text = workflow(
        "{id: huge, type: function, config: {function_name: t.big, inputs: {size: 5000}}}",
        "{id: many, type: function, config: {function_name: t.numbers, inputs: {width: 30}}}",
        "{id: each, type: function, config: {function_name: t.shared, parallel: true, for_each: n, "
        "inputs: {n: many.output, shared: huge.output}}}",
        edges="{from: huge, to: each}, {from: many, to: each}",
    )
    key = await engine.submit(text)
    state = await engine.finished(key)
    assert state.output.value == {"each": [5000 + n for n in range(30)]}
    tasks = [e for _, e in await engine.events(key) if isinstance(e, ev.StepScheduled) and "[" in e.step]
    assert all("$blob" in task.inputs["shared"] for task in tasks)
    assert len({task.inputs["shared"]["$blob"]["sha256"] for task in tasks}) == 1


async def test_a_decision_that_nobody_can_store_ends_its_run_and_no_other(engine: Any) -> None:
    """Two outputs of 2.1 MB make an input of 4.2 MB; the engine finds that out when it writes what it has decided."""
    text = workflow(
        "{id: huge, type: function, config: {function_name: t.big, inputs: {size: 530000}}}",
        "{id: twice, type: function, config: {function_name: t.add, inputs: {a: '{{[huge.output, huge.output]}}'}}}",
    )
    state = await engine.finished(await engine.submit(text))
    assert (state.status, state.error.type) == (RunStatus.FAILED, "payload_too_large")
    quick = workflow("{id: a, type: function, config: {function_name: t.add, inputs: {a: 1}}}")
    assert (await engine.finished(await engine.submit(quick))).status is RunStatus.COMPLETED


async def test_a_run_that_looks_into_many_large_values_goes_on_and_holds_up_nobody(engine: Any) -> None:
    """More of them than the engine takes rounds before it starts over from the log, for all runs."""
    body = "{type: function, config: {function_name: t.big, inputs: {size: '{{16500 + item}}'}}}"
    text = workflow(
        f"{{id: m, type: map, config: {{over: '{{{{numbers}}}}', body: {body}}}}}",
        "{id: n, type: function, config: {function_name: t.add, inputs: {a: '{{m.output[59] | length}}'}}}",
        top="inputs: {numbers: {type: array}}",
    )
    state = await engine.finished(await engine.submit(text, {"numbers": list(range(60))}))
    assert (state.status, state.output.value) == (RunStatus.COMPLETED, {"n": 16559})


async def test_two_schedulers_share_the_shards_and_a_stale_one_writes_nothing(engine: Any, nats_url: str) -> None:
    """A second scheduler is let in by force (its process looks dead); both then decide, and each step runs once."""
    text = workflow(
        "{id: a, type: function, config: {function_name: t.sleep, inputs: {seconds: 0.2}}}",
        "{id: b, type: function, config: {function_name: t.add, inputs: {a: a.output}}}",
        edges="{from: a, to: b}",
    )
    keys = [await engine.submit(text) for _ in range(20)]
    bucket = await engine.nc.jetstream().key_value(subjects.LEASE_BUCKET)
    for shard in range(subjects.SHARDS):
        await bucket.delete(f"shard.{shard}")
    async with running("scheduler", SchedulerSettings(nats_url=nats_url), scheduler_app):
        for key in keys:
            state = await engine.finished(key)
            assert state.status is RunStatus.COMPLETED
            scheduled = [e.step for _, e in await engine.events(key) if isinstance(e, ev.StepScheduled)]
            assert scheduled == ["a", "b"]


async def test_a_step_that_ends_its_workers_is_given_up(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentflow_worker.tasks.executor.DELIVERIES_MAX", 0)  # as if it had been delivered so often
    text = workflow("{id: f, type: function, config: {function_name: t.add}, policy: {retry: {max_attempts: 3}}}")
    state = await engine.finished(await engine.submit(text))
    assert (state.status, state.error.type, state.steps["f"].attempt) == (RunStatus.FAILED, "worker_lost", 1)

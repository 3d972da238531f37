"""Controls from the SDK through the gateway to the scheduler and a worker, all of them real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.event_log import Entry, Fence
from agentflow_sdk import Changes, FailedPreconditionError, ResourceExhaustedError, RunStatus, StepStatus
from agentflow_sdk.errors import AlreadyExistsError, InvalidArgumentError
from agentflow_sdk.transport.retry import NO_RETRY
from tests.support.engine import working
from tests.support.platform import Platform, add, gated, open_gate, running_platform, workflow
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.integration


@pytest.fixture
async def platform(nats_url: str, db_env: dict[str, str]) -> AsyncIterator[Platform]:
    async with running_platform(nats_url, db_env) as made:
        yield made


async def test_a_paused_run_offers_nothing_until_it_is_resumed(platform: Platform) -> None:
    run = await platform.submit(gated("first", "lunch"), add("second", "first.output"))
    await platform.flows.pause(run, "lunch")
    await platform.status(run, "paused")
    open_gate("lunch")
    paused = await platform.reaches(
        run, lambda item: item.status == "paused" and item.step("first").status == StepStatus.COMPLETED
    )
    assert (paused.paused_reason, paused.step("second").status) == ("lunch", StepStatus.PENDING)
    told = await platform.flows.why(run)
    assert "is paused by env" in told.summary and "lunch" in told.summary
    assert {item.step: item.kind for item in told.waiting}["second"] == "paused_run"
    await platform.flows.resume(run)
    assert (await platform.flows.wait(run, timeout=PATIENCE_S)).output == {"second": 2}


async def test_a_paused_workflow_holds_its_runs_present_and_future(heard: Any, platform: Platform) -> None:
    first = await platform.submit(gated("s", "bug"), add("t", "s.output"))
    await platform.flows.pause_workflow("w", "a bug")
    await heard("workflow.default.w")
    open_gate("bug")
    second = await platform.submit(add("only", "1"))
    await platform.reaches(first, lambda item: item.step("s").status == StepStatus.COMPLETED)
    for run, step in ((first, "t"), (second, "only")):
        async with asyncio.timeout(PATIENCE_S):
            told = await platform.flows.why(run)
            while not any(item.kind == "paused_workflow" for item in told.waiting):
                await asyncio.sleep(0.05)
                told = await platform.flows.why(run)
        assert "the workflow w is paused: a bug" in told.summary
        assert (await platform.flows.get(run)).step(step).status == StepStatus.PENDING
    assert (await platform.flows.resume_workflow("w")) is True
    for run in (first, second):
        assert (await platform.flows.wait(run, timeout=PATIENCE_S)).status == RunStatus.COMPLETED


async def test_a_cancellation_lets_steps_end_within_their_grace(platform: Platform) -> None:
    text = "{id: s, type: function, config: {function_name: t.stubborn, inputs: {name: %s}}}"
    run = await platform.submit(text % "enough", add("t", "s.output"))
    await platform.reaches(run, lambda item: item.step("s").status in {StepStatus.RUNNING, StepStatus.SCHEDULED})
    await platform.flows.cancel(run, "enough", grace_s=300)
    await until(lambda: platform.has(run, ev.TimerSet))  # the grace: the cancellation was decided
    assert "the run is being cancelled: enough; what" in (await platform.flows.why(run)).summary
    open_gate("enough")
    ended = await platform.flows.wait(run, timeout=PATIENCE_S)
    assert (ended.cancel_reason, (await platform.flows.why(run)).summary) == ("enough", "the run was cancelled: enough")
    assert (ended.status, ended.step("s").status) == (RunStatus.CANCELLED, StepStatus.COMPLETED)
    hard = await platform.submit(text % "never")
    await platform.reaches(hard, lambda item: item.step("s").status in {StepStatus.RUNNING, StepStatus.SCHEDULED})
    await platform.flows.cancel(hard, grace_s=60)
    await platform.flows.cancel(hard, force=True)
    forced = await platform.flows.wait(hard, timeout=PATIENCE_S)
    assert (forced.status, forced.step("s").status) == (RunStatus.CANCELLED, StepStatus.CANCELLED)
    open_gate("never")


async def test_signals_and_approvals_reach_their_steps(platform: Platform) -> None:
    run = await platform.submit(
        "{id: ask, type: approval, config: {approvers: [ann, env], required: 2, message: 'pay?'}}",
        "{id: paid, type: signal, config: {signal: paid}}",
        add("sum", "paid.output.amount", "'ask.output.decisions[0].data.extra'"),
        edges="{from: ask, to: sum}",
    )
    await platform.flows.signal(run, "paid", {"amount": 7}, signal_id="1")
    assert (await platform.flows.signal(run, "paid", {"amount": 9}, signal_id="1")).deduplicated
    waiting = await platform.reaches(run, lambda item: item.status == "waiting" and item.waiting_steps == ("ask",))
    assert waiting.step("ask").waiting_detail["message"] == "pay?"
    async with asyncio.timeout(PATIENCE_S):
        while not (found := await platform.flows.approvals()):
            await asyncio.sleep(0.05)
    assert [(item.run_id, item.step, item.required) for item in found] == [(run, "ask", 2)]
    first = await platform.flows.approve(run, "ask", "fine", data={"extra": 1})
    assert (first.by, first.approvals) == ("env", 1)
    assert "1 of 2 given; may answer: ann, env" in (await platform.flows.why(run)).waiting[-1].text
    assert (await platform.flows.approve(run, "ask", as_person="ann")).approvals == 2
    done = await platform.flows.wait(run, timeout=PATIENCE_S)
    assert done.output == {"sum": 8}
    with pytest.raises(FailedPreconditionError, match="has completed"):
        await platform.flows.signal(run, "paid")


async def test_a_fork_keeps_what_came_before_and_changes_what_it_is_told(platform: Platform) -> None:
    run = await platform.submit(
        add("a", "'{{x}}'"), add("b", "a.output", "10"), add("c", "b.output", "'{{y}}'"),
        top="inputs: {x: {type: number}, y: {type: number, default: 100}}", inputs={"x": 1},
    )  # fmt: skip
    assert (await platform.flows.wait(run, timeout=PATIENCE_S)).output == {"c": 112}
    fork = await platform.flows.fork(run, "b", changes=Changes(step_inputs={"b": {"b": 20}}, inputs={"y": 200}))
    assert fork.kept == ("a",)
    done = await platform.flows.wait(fork, timeout=PATIENCE_S)
    assert done.output == {"c": 222}
    assert await platform.scheduled(fork.run_id) == ["b", "c"], "what was kept is not run again"
    assert (done.step("a").seeded, done.step("b").seeded) == (True, False)
    assert (done.origin_kind, done.origin_run_id, done.origin_step) == ("fork", run, "b")
    await platform.reaches(run, lambda item: item.derived_run_ids == (fork.run_id,))
    again = await platform.flows.fork(fork, "c", idempotency_key="k")
    twice = await platform.flows.fork(fork, "c", idempotency_key="k")
    assert (twice.run_id, twice.deduplicated) == (again.run_id, True)
    assert (await platform.flows.wait(again, timeout=PATIENCE_S)).output == {"c": 222}
    differs = await platform.flows.diff(run, fork.run_id)
    assert [(change.name, change.fields[0].path) for change in differs.changes] == [("b", "config.inputs.b")]
    stale = await platform.flows.fork(run, "c", changes=Changes(inputs={"x": 5}))
    assert stale.stale == ("a",)


async def test_a_retry_runs_only_what_had_failed(platform: Platform) -> None:
    run = await platform.submit(
        add("a", "1"),
        "{id: each, type: function, config: {function_name: t.odd, parallel: true, inputs: {n: '{{[1, 3, 4]}}'}}}",
        "{id: f, type: function, config: {function_name: t.broken}, depends_on: [a]}",
        add("last", "a.output", more="depends_on: [f, each],"),
    )
    failed = await platform.flows.wait(run, timeout=PATIENCE_S)
    assert failed.status == RunStatus.FAILED
    first = await platform.flows.retry(run)
    assert (await platform.flows.retry(run)).run_id == first.run_id, "one retry for a key"
    assert (await platform.flows.retry(run, idempotency_key="2")).run_id != first.run_id
    with pytest.raises(AlreadyExistsError, match=f"retried as {first.run_id} with other changes: .* give an idempot"):
        await platform.flows.retry(run, changes=Changes(step_inputs={"last": {"b": 2}}))
    assert (await platform.flows.wait(first, timeout=PATIENCE_S)).status == RunStatus.FAILED
    assert "a" not in await platform.scheduled(first.run_id)
    mended = await platform.flows.fork(run, "f")
    assert "a" in mended.kept
    with pytest.raises(FailedPreconditionError, match="completed: fork it"):
        await platform.flows.retry((await platform.flows.run(workflow(add("ok", "1")), timeout=PATIENCE_S)).run_id)


async def test_a_retry_of_a_fan_out_keeps_the_children_that_succeeded(platform: Platform) -> None:
    run = await platform.submit(
        "{id: each, type: function, config: {function_name: t.sleep, parallel: true, "
        "inputs: {seconds: '{{[0.01, 0.02, 30]}}'}}}",
        add("after", "'each.output[0]'"),
    )
    await platform.reaches(
        run, lambda item: sum(s.status == StepStatus.COMPLETED for s in item.steps if s.step.startswith("each[")) == 2
    )
    await platform.flows.cancel(run)
    await platform.status(run, "cancelled")
    made = await platform.flows.retry(run)
    assert set(made.kept) == {"each[0]", "each[1]"}
    await platform.reaches(made.run_id, lambda item: any(s.step == "each[2]" for s in item.steps))
    assert await platform.scheduled(made.run_id) == ["each[2]"]
    await platform.flows.cancel(made.run_id, force=True)


async def test_a_fork_inside_a_loop_goes_on_from_that_visit(platform: Platform) -> None:
    run = await platform.submit(
        add("start", "0"), add("draft", "'{{review.output or start.output}}'"), add("review", "draft.output"),
        add("publish", "review.output"),
        edges="{from: start, to: draft}, {from: draft, to: review}, "
        "{from: review, to: draft, condition: 'review.output < 6.0', max_iterations: 5}, "
        "{from: review, to: publish, condition: 'review.output >= 6.0'}",
    )  # fmt: skip
    ended = await platform.flows.wait(run, timeout=PATIENCE_S)
    assert ended.status == RunStatus.COMPLETED, ended.error
    visits = [step.step for step in ended.steps if step.step.startswith("draft")]
    assert len(visits) > 1, ended.steps
    fork = await platform.flows.fork(run, "draft#2")
    assert set(fork.kept) == {"start", "draft", "review"}
    again = await platform.flows.wait(fork, timeout=PATIENCE_S)
    assert (again.status, again.output) == (RunStatus.COMPLETED, ended.output)
    offered = await platform.scheduled(fork.run_id)
    assert offered[0] == "draft#2" and "draft" not in offered and "start" not in offered


async def test_a_fork_at_a_child_or_an_iteration_keeps_the_others(platform: Platform) -> None:
    run = await platform.submit(
        "{id: each, type: map, config: {over: [1, 2, 3], body: "
        "{type: function, config: {function_name: t.add, inputs: {a: '{{item}}', b: 10}}}}}",
        "{id: up, type: loop, depends_on: [each], config: {until: 'iteration == 3', max_iterations: 3, body: "
        "{type: function, config: {function_name: t.add, inputs: {a: '{{previous or 0}}', b: 1}}}}}",
        add("end", "up.output"),
    )
    assert (await platform.flows.wait(run, timeout=PATIENCE_S)).status == RunStatus.COMPLETED
    child = await platform.flows.fork(run, "each[1]", changes=Changes(step_inputs={"each": {"b": 100}}))
    assert set(child.kept) == {"each[0]", "each[2]"}
    done = await platform.flows.wait(child, timeout=PATIENCE_S)
    assert ([done.step(f"each[{n}]").output for n in range(3)], done.output) == ([11, 102, 13], {"end": 4})
    assert (done.step("each[1]").seeded, done.step("each[2]").seeded) == (False, True)
    iteration = await platform.flows.fork(run, "up@2", changes=Changes(step_inputs={"up": {"b": 5}}))
    assert (await platform.flows.wait(iteration, timeout=PATIENCE_S)).output == {"end": 12}
    assert await platform.scheduled(iteration.run_id) == ["up@2", "up@3", "end"]
    with pytest.raises(InvalidArgumentError, match="the inputs change"):
        await platform.flows.fork(run, "each[1]", changes=Changes(inputs={"x": 1}))


async def test_batches_are_shown_first_and_repeat_nothing(platform: Platform) -> None:
    broken = "{id: f, type: function, config: {function_name: t.broken}}"
    runs = [await platform.submit(broken, add("a", "1"), tags={"case": "c"}) for _ in range(5)]
    for run in runs:
        assert (await platform.flows.wait(run, timeout=PATIENCE_S)).status == RunStatus.FAILED
    async with asyncio.timeout(PATIENCE_S):
        while len(await platform.flows.list(status="failed", tags={"case": "c"})) < 5:
            await asyncio.sleep(0.05)

    async def batch(**options: Any) -> list[Any]:
        stream = platform.flows.batch("retry", status="failed", tags={"case": "c"}, error_type="broken", **options)
        return [item async for item in stream]

    (shown,) = await batch()
    assert (shown.matched, len(shown.sample), shown.done) == (5, 5, 0)
    assert len(await platform.flows.list(tags={"case": "c"})) == 5, "nothing was done"
    first = await batch(execute=True, limit=2)
    assert (first[-1].done, first[-1].finished) == (2, False)
    rest = await batch(execute=True, cursor=first[-1].cursor)
    assert (rest[-1].done, rest[-1].finished) == (3, True)
    created = {old: new for part in (*first, *rest) for old, new in part.created.items()}
    assert set(created) == set(runs)
    for run in created.values():
        await platform.flows.wait(run, timeout=PATIENCE_S)
    again = await batch(execute=True, until_ms=0)
    both = {old: new for part in again for old, new in part.created.items()}
    assert {old: both[old] for old in runs} == created, "what was retried is not retried again"
    with pytest.raises(Exception, match="matches every run"):
        [item async for item in platform.flows.batch("cancel")]


async def test_the_bound_of_active_runs_refuses_and_tells_when_to_come_again(
    nats_url: str, db_env: dict[str, str]
) -> None:
    sleeping = workflow("{id: s, type: wait, config: {duration: 1h}}")
    async with running_platform(nats_url, db_env, max_active_runs=3) as platform:
        impatient = platform.gateway.client(retry=NO_RETRY)
        async with impatient:
            answers = await asyncio.gather(
                *(impatient.workflows.submit(sleeping, idempotency_key=f"k{n}") for n in range(8)),
                return_exceptions=True,
            )
            taken = [item for item in answers if not isinstance(item, BaseException)]
            refused = [item for item in answers if isinstance(item, BaseException)]
            assert len(taken) == 3
            for error in refused:
                assert isinstance(error, ResourceExhaustedError)
                assert (error.kind, error.retry_after_s is not None) == ("too_many_active", True)
                assert "the limit is 3: nothing was accepted" in str(error)
            for item in taken:
                await platform.status(item.run_id, "waiting")
            known = await impatient.workflows.submit(sleeping, idempotency_key=f"k{answers.index(taken[0])}")
            assert known.deduplicated, "what was accepted is not refused when it is sent again"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await platform.gateway.submit(definition_text=sleeping, inputs={})
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert int(dict(caught.value.trailing_metadata())["retry-after"]) >= 1
            await impatient.workflows.cancel(taken[0].run_id)
            await platform.status(taken[0].run_id, "cancelled")
        patient = await platform.flows.submit(sleeping, timeout=PATIENCE_S)
        assert patient.run_id, "the SDK comes again after that time"
        assert len(await platform.flows.list()) == 4, "nothing that was refused has left a trace"


async def test_a_step_without_a_worker_and_a_run_without_a_scheduler_say_so(
    nats_url: str, db_env: dict[str, str]
) -> None:
    async with running_platform(nats_url, db_env, worker=False) as platform:
        run = await platform.submit(add("a", "1"))
        await platform.reaches(run, lambda item: item.step("a").status == StepStatus.SCHEDULED)
        (told,) = (await platform.flows.why(run)).waiting
        assert (told.kind, told.on) == ("worker", "default")
        assert "no worker serves the pool default" in told.text
        async with asyncio.timeout(PATIENCE_S):
            while not (lanes := await platform.client.lanes.list()):  # the scheduler reports once a second
                await asyncio.sleep(0.05)
        assert [(lane.name, lane.keyed, lane.queued, lane.workers) for lane in lanes] == [("default", False, 1, 0)]
        worker = working(nats_url)
        await platform.stack.enter_async_context(worker)
        assert (await platform.flows.wait(run, timeout=PATIENCE_S)).status == RunStatus.COMPLETED


async def test_a_keyed_lane_tells_who_holds_it_and_obeys_its_limit_live(platform: Platform) -> None:
    node = (
        "{id: s, type: function, lane: '{{customer}}', lane_limit: 1, "
        "config: {function_name: t.gate, inputs: {name: held}}}"
    )
    top = "inputs: {customer: {type: string}}"
    first = await platform.submit(node, top=top, inputs={"customer": "acme"})
    await platform.reaches(first, lambda item: item.step("s").status in {StepStatus.SCHEDULED, StepStatus.RUNNING})
    second = await platform.submit(node, top=top, inputs={"customer": "acme"})
    await platform.reaches(second, lambda item: item.step("s").status == StepStatus.QUEUED)
    (told,) = (await platform.flows.why(second)).waiting
    assert (told.kind, told.on) == ("lane", "acme")
    assert f"used by {first}/s, number 1 of 1 in the queue" in told.text
    lane = await platform.client.lanes.set("acme", limit=2)
    assert (lane.keyed, lane.limit, lane.holders) == (True, 2, (f"{first}/s",))
    await platform.reaches(second, lambda item: item.step("s").status in {StepStatus.SCHEDULED, StepStatus.RUNNING})
    open_gate("held")
    for run in (first, second):
        await platform.flows.wait(run, timeout=PATIENCE_S)


async def test_a_fork_of_a_graph_goes_back_to_a_superstep_with_its_state(platform: Platform) -> None:
    text = """\
name: g
inputs: {n: {type: number}}
graph: {entry_point: grow, state: {reducers: {grown: append}, initial: {grown: []}}}
dag:
  nodes:
    - {id: grow, type: function, writes: grown, config: {function_name: t.add, inputs: {a: "{{state.n}}", b: 1}}}
    - {id: done, type: function, writes: sum, config: {function_name: t.total, inputs: {numbers: "{{state.grown}}"}}}
  edges:
    - {from: grow, to: grow, condition: "size(state.grown) < 3"}
    - {from: grow, to: done, condition: "size(state.grown) >= 3"}
"""
    run = (await platform.flows.submit(text, {"n": 10})).run_id
    ended = await platform.flows.wait(run, timeout=PATIENCE_S)
    assert ended.status == RunStatus.COMPLETED, ended.error
    assert (ended.output["grown"], ended.output["sum"]) == ([11, 11, 11], 33)
    fork = await platform.flows.fork(run, "grow#2", changes=Changes(step_inputs={"grow": {"a": 100}}))
    again = await platform.flows.wait(fork, timeout=PATIENCE_S)
    assert again.status == RunStatus.COMPLETED, again.error
    assert (again.output["grown"], again.output["sum"]) == ([11, 101, 101], 213)
    assert await platform.scheduled(fork.run_id) == ["grow#2", "grow#3", "done"]


async def test_a_person_resolves_an_unknown_outcome(platform: Platform) -> None:
    text = workflow(
        "{id: hold, type: signal, config: {signal: go}}",
        "{id: pay, type: tool, config: {tool_name: t.pay, tool_args: {amount: 7}}, policy: {on_unknown: ask}}",
        add("after", "pay.output"),
        edges="{from: hold, to: pay}",
    )
    for outcome, output, expected in (("completed", 5, 6), ("retry", None, 8)):
        run = (await platform.flows.submit(text)).run_id
        key = subjects.key_of("default", run)
        claim = ev.ClaimTaken(org="default", run=run, ts=1, step="pay", attempt=1, worker="gone")
        log = platform.gateway.context.log
        await log.append(Entry(subjects.claim(key, "pay", 1), ev.encode(claim), fence=Fence(0)))
        await platform.flows.signal(run, "go")
        shown = await platform.reaches(run, lambda item: item.waiting_steps == ("pay",))
        assert shown.step("pay").status == StepStatus.OUTCOME_UNKNOWN
        (told,) = [item for item in (await platform.flows.why(run)).waiting if item.step == "pay"]
        assert (told.kind, f"agentctl workflow resolve {run} pay" in told.text) == ("outcome", True)
        with pytest.raises(FailedPreconditionError, match="is known"):
            await platform.flows.resolve(run, "hold", "fail")
        with pytest.raises(InvalidArgumentError, match="output of step pay is not given"):
            await platform.flows.resolve(run, "pay", "completed")
        assert await platform.flows.resolve(run, "pay", outcome, output=output, reason="the bank says so") == 1
        done = await platform.flows.wait(run, timeout=PATIENCE_S)
        assert done.output == {"after": expected}, done.error


async def test_usage_10_a_completed_step_has_the_output_that_was_given_even_null(platform: Platform) -> None:
    text = workflow(
        "{id: hold, type: signal, config: {signal: go}}",
        "{id: pay, type: tool, config: {tool_name: t.pay, tool_args: {amount: 7}}, policy: {on_unknown: ask}}",
        edges="{from: hold, to: pay}",
    )
    run = (await platform.flows.submit(text)).run_id
    claim = ev.ClaimTaken(org="default", run=run, ts=1, step="pay", attempt=1, worker="gone")
    subject = subjects.claim(subjects.key_of("default", run), "pay", 1)
    await platform.gateway.context.log.append(Entry(subject, ev.encode(claim), fence=Fence(0)))
    await platform.flows.signal(run, "go")
    await platform.reaches(run, lambda item: item.waiting_steps == ("pay",))
    (told,) = [item for item in (await platform.flows.why(run)).waiting if item.step == "pay"]
    assert "--completed --result JSON" in told.text
    with pytest.raises(InvalidArgumentError, match="not given") as caught:
        await platform.flows.resolve(run, "pay", "completed")
    assert "--result null" in caught.value.problems[0].fix
    with pytest.raises(InvalidArgumentError, match="give the outcome `completed`"):
        await platform.flows.resolve(run, "pay", "fail", output=3)
    assert await platform.flows.resolve(run, "pay", "completed", output=None) == 1
    done = await platform.flows.wait(run, timeout=PATIENCE_S)
    assert (done.status, done.step("pay").output) == (RunStatus.COMPLETED, None)

"""An answer that is acknowledged counts: the caller is told if the scheduler had decided without it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from agentflow.v1 import control_pb2 as pb
from agentflow.v1 import control_pb2_grpc, schedule_pb2, workflow_pb2
from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.events import StepError
from agentflow_common.log.event_log import Entry
from agentflow_common.runs.fold import fold
from agentflow_gateway.api.call import Call
from agentflow_gateway.controls import fact_results
from agentflow_sdk import AgentFlowError
from tests.support.gateway import GatewayUnderTest, details, expect_no_scheduler, running_gateway, stub
from tests.support.gateway_schedules import SchedulesUnderTest
from tests.support.platform import Platform, running_platform
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.integration
AT: dict[str, Any] = {"org": "default", "ts": 1_700_000_000_000}
TEXT = """\
name: review
version: 1
dag:
  nodes:
    - {id: ask, type: approval, config: {required: 2}}
    - {id: paid, type: signal, config: {signal: paid}}
    - {id: lost, type: function, config: {function_name: text.stats}, policy: {on_unknown: ask}}
"""


@pytest.fixture
async def gateway(
    nats_url: str, db_env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[GatewayUnderTest]:
    monkeypatch.setattr(fact_results, "WAIT_S_MAX", PATIENCE_S)  # the scheduler's part is played by the test
    async with running_gateway(nats_url, db_env) as running:
        yield running


async def begun(gateway: GatewayUnderTest) -> str:
    """A run that waits for an approval, for a signal and for an answer on a lost step."""
    run = str((await gateway.submit(definition_text=TEXT, inputs={})).run_id)
    key = subjects.key_of("default", run)
    at = {**AT, "run": run, "seen": (await log(gateway, run))[0][0]}
    await gateway.append(ev.RunStarted(**at, workflow="review", version=1, steps=3), "out_run")
    for step, detail in (("ask", {"approvers": ["ann", "bob"], "required": 2}), ("paid", {"signal": "paid"})):
        kind = "approval" if step == "ask" else "signal"
        await gateway.append(ev.StepWaiting(**at, step=step, attempt=1, kind=kind, detail=detail), "out_step")
    task = ev.StepScheduled(**at, step="lost", attempt=1, lane="default", kind="function", config={})
    await gateway.context.log.append(Entry(subjects.out_task(key, "default"), ev.encode(task)))
    await gateway.append(ev.StepOutcomeUnknown(**AT, run=run, step="lost", attempt=1), "run_in")
    return run


async def log(gateway: GatewayUnderTest, run: str) -> list[tuple[int, Any]]:
    stored = await gateway.context.log.read(subjects.run_all(subjects.key_of("default", run)))
    return [(item.seq, ev.decode(item.data)) for item in stored]


def call(gateway: GatewayUnderTest, run: str, control: str) -> Any:
    door, auth = stub(control_pb2_grpc.RunControlServiceStub, gateway.channel), gateway.auth()
    if control == "signal":
        return door.SignalRun(pb.SignalRunRequest(run_id=run, name="paid"), metadata=auth)
    if control == "resolve":
        request = pb.ResolveOutcomeRequest(run_id=run, step="lost", outcome=pb.OUTCOME_COMPLETED)
        request.output.number_value = 5
        return door.ResolveOutcome(request, metadata=auth)
    if control == "cancel":
        return gateway.workflows.CancelRun(workflow_pb2.CancelRunRequest(run_id=run), metadata=auth)
    decision = pb.APPROVAL_DECISION_REJECT if control == "reject" else pb.APPROVAL_DECISION_APPROVE
    request = pb.AnswerApprovalRequest(run_id=run, step="ask", decision=decision, as_person="bob")
    return door.AnswerApproval(request, metadata=auth)


KINDS: dict[str, type[ev.Event]] = {
    "approve": ev.ApprovalGiven, "reject": ev.ApprovalGiven, "signal": ev.SignalReceived,
    "resolve": ev.OutcomeResolved, "cancel": ev.RunCancelRequested,
}  # fmt: skip


async def recorded(gateway: GatewayUnderTest, run: str, control: str) -> tuple[int, int]:
    """(the sequence of the fact before, and of the one that the call recorded)."""

    async def found() -> tuple[int, int] | None:
        facts = [(seq, event) for seq, event in await log(gateway, run) if not isinstance(event, ev.Decision)]
        mine = [seq for seq, event in facts if isinstance(event, KINDS[control]) and getattr(event, "by", "") != "ann"]
        return (max(seq for seq, _ in facts if seq < mine[0]), mine[0]) if mine else None

    async with asyncio.timeout(PATIENCE_S):
        while (both := await found()) is None:
            await asyncio.sleep(0.005)
    return both


REFUSED = {"approve": "approval_over", "reject": "approval_over", "signal": "run_over", "resolve": "run_ending"}


@pytest.mark.parametrize("control", [*REFUSED, "cancel"])
async def test_engine_14_what_the_scheduler_decided_without_is_refused(gateway: GatewayUnderTest, control: str) -> None:
    run = await begun(gateway)
    if control == "approve":  # one more would be enough
        await gateway.append(ev.ApprovalGiven(**AT, run=run, step="ask", decision="approve", by="ann"), "run_in")
    asked = asyncio.ensure_future(call(gateway, run, control))
    before, _ = await recorded(gateway, run, control)
    at = {**AT, "run": run, "seen": before}
    for step in ("ask", "paid"):
        await gateway.append(ev.StepCancelled(**at, step=step, attempt=1, reason="the run failed"), "out_step")
    await gateway.append(ev.RunFailed(**at, error=StepError("E", "another step failed")), "out_run")
    if control == "cancel":
        assert (await asked).status == workflow_pb2.RUN_STATUS_FAILED
        return
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asked
    assert (caught.value.code(), details(caught.value)[0]) == (grpc.StatusCode.FAILED_PRECONDITION, REFUSED[control])


@pytest.mark.parametrize("control", [*REFUSED, "cancel"])
async def test_engine_14_what_the_scheduler_knew_is_acknowledged(gateway: GatewayUnderTest, control: str) -> None:
    run = await begun(gateway)
    if control == "approve":
        await gateway.append(ev.ApprovalGiven(**AT, run=run, step="ask", decision="approve", by="ann"), "run_in")
    asked = asyncio.ensure_future(call(gateway, run, control))
    _, own = await recorded(gateway, run, control)
    await gateway.append(ev.RunWaiting(**AT, run=run, steps=("ask",), seen=own), "out_run")
    assert not getattr(await asked, "pending", False)


async def test_engine_14_an_answer_after_those_that_decide_is_refused_before_the_scheduler_has_looked(
    gateway: GatewayUnderTest,
) -> None:
    run = await begun(gateway)
    for by in ("ann", "eve"):
        await gateway.append(ev.ApprovalGiven(**AT, run=run, step="ask", decision="reject", by=by), "run_in")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(gateway, run, "approve")
    assert details(caught.value)[0] == "approval_over"
    assert "ann rejected" in str(caught.value.details())
    said = [event.by for _, event in await log(gateway, run) if isinstance(event, ev.ApprovalGiven)]
    assert said == ["ann", "eve"]


async def test_engine_14_without_a_scheduler_an_answer_is_pending(
    nats_url: str, db_env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expect_no_scheduler(monkeypatch)
    async with running_gateway(nats_url, db_env) as gateway:
        run = await begun(gateway)
        assert (await call(gateway, run, "reject")).pending
        assert (await call(gateway, run, "signal")).pending
        assert (await call(gateway, run, "resolve")).pending


@pytest.fixture
async def platform(nats_url: str, db_env: dict[str, str]) -> AsyncIterator[Platform]:
    async with running_platform(nats_url, db_env) as made:
        yield made


async def test_engine_14_of_answers_that_race_each_acknowledged_one_is_counted(platform: Platform) -> None:
    """An approval, and a rejection a moment later, to the real scheduler."""
    node = "{id: ask, type: approval, config: {required: 1, on_reject: continue}}"
    runs = [await platform.submit(node) for _ in range(15)]

    async def said(run: str, decision: str, by: str, after_s: float) -> str:
        await asyncio.sleep(after_s)
        try:
            await getattr(platform.flows, decision)(run, "ask", as_person=by)
        except AgentFlowError as error:
            if error.kind not in {"approval_over", "run_over"}:
                raise
            return ""
        return by

    for number, run in enumerate(runs):
        await platform.status(run, "waiting")
        taken = await asyncio.gather(
            said(run, "approve", "ann", 0),
            said(run, "reject", "bob", 0.0005 * number),
            said(run, "approve", "cy", 0.003),
        )
        await platform.status(run, "completed")
        key = subjects.key_of("default", run)
        state = fold(
            [(s.seq, ev.decode(s.data)) for s in await platform.gateway.context.log.read(subjects.run_all(key))]
        )
        assert state is not None
        assert state.output is not None
        counted = {item["by"] for item in state.output.value["ask"]["decisions"]}
        assert {by for by in taken if by} == counted


@pytest.mark.parametrize("what", ["update", "pause", "backfill"])
async def test_engine_14_what_comes_after_a_schedule_was_deleted_is_refused(
    schedules: SchedulesUnderTest, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Somebody deletes the schedule between the look at it and the fact."""
    await schedules.create(cron="@daily")
    now = time.time_ns() // 1_000_000
    append = Call.append

    async def deleted_before(call: Call, event: ev.Event, *more: Any) -> Any:
        await append(call, ev.ScheduleDeleted(org=event.org, run=event.run, ts=event.ts))
        return await append(call, event, *more)

    monkeypatch.setattr(Call, "append", deleted_before)
    spec = {"name": "nightly", "workflow": "report", "inputs": {"text": "x"}, "cron": "@hourly"}
    asked: tuple[str, Any] = {
        "update": ("UpdateSchedule", schedule_pb2.UpdateScheduleRequest(source={"text": json.dumps(spec)})),
        "pause": ("PauseSchedule", schedule_pb2.PauseScheduleRequest(name="nightly")),
        "backfill": (
            "BackfillSchedule",
            schedule_pb2.BackfillScheduleRequest(name="nightly", start=now - 200_000_000, end=now - 1_000),
        ),
    }[what]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await schedules.call(*asked)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND

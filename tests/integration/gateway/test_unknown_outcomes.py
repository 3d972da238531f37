"""A word on an unknown outcome, over the gateway's door: taken where the step waits for one, refused where not."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from agentflow.v1 import control_pb2 as pb
from agentflow.v1 import control_pb2_grpc
from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.lanes.controls import control_key
from agentflow_common.log.event_log import Entry
from tests.support.gateway import EMAIL, GatewayUnderTest, details

pytestmark = pytest.mark.integration
TEXT = """\
name: pay
version: 1
dag:
  nodes:
    - {id: asked, type: function, config: {function_name: text_splitter}, policy: {on_unknown: ask}}
    - {id: again, type: function, config: {function_name: text_splitter}, policy: {on_unknown: retry}}
    - {id: plain, type: function, config: {function_name: text_splitter}}
    - {id: fine, type: function, config: {function_name: text_splitter}, policy: {on_unknown: ask}}
"""


async def vanished(gateway: GatewayUnderTest) -> str:
    """A run whose workers vanished in three of its four steps, before the scheduler has seen that."""
    run = str((await gateway.submit(definition_text=TEXT, inputs={})).run_id)
    key = subjects.key_of("default", run)
    at: dict[str, Any] = {"org": "default", "run": run, "ts": 1_700_000_000_000}
    (first,) = await gateway.context.log.read(subjects.run_in(key))
    await gateway.append(ev.RunStarted(**at, workflow="pay", version=1, steps=4, seen=first.seq), "out_run")
    for step in ("asked", "again", "plain", "fine"):
        task = ev.StepScheduled(**at, step=step, attempt=1, lane="default", kind="function", config={}, seen=first.seq)
        await gateway.context.log.append(Entry(subjects.out_task(key, "default"), ev.encode(task)))
    for step in ("asked", "again", "plain"):
        await gateway.append(ev.StepOutcomeUnknown(**at, step=step, attempt=1), "run_in")
    return run


async def words(gateway: GatewayUnderTest, run: str) -> list[ev.OutcomeResolved]:
    stored = await gateway.context.log.read(subjects.run_in(subjects.key_of("default", run)))
    return [event for item in stored if isinstance(event := ev.decode(item.data), ev.OutcomeResolved)]


async def test_a_word_is_refused_where_it_would_have_no_effect(gateway: GatewayUnderTest) -> None:
    run = await vanished(gateway)
    door: Any = control_pb2_grpc.RunControlServiceStub(gateway.channel)  # type: ignore[no-untyped-call]

    async def resolve(step: str) -> Any:
        request = pb.ResolveOutcomeRequest(run_id=run, step=step, outcome=pb.OUTCOME_FAIL)
        return await door.ResolveOutcome(request, metadata=gateway.auth())

    for step, reason, said in (
        ("again", "outcome_not_asked", f"agentctl workflow fork {run} --at again"),
        ("plain", "outcome_not_asked", "policy: {on_unknown: ask}"),
        ("fine", "outcome_known", "its status is scheduled"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await resolve(step)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert (details(caught.value)[0], said in str(caught.value.details())) == (reason, True), caught.value
    assert await words(gateway, run) == []
    assert (await resolve("asked")).attempt == 1
    assert [(word.step, word.outcome) for word in await words(gateway, run)] == [("asked", "fail")]


async def test_a_word_is_refused_once_the_run_is_compensated(gateway: GatewayUnderTest) -> None:
    run = await vanished(gateway)
    door: Any = control_pb2_grpc.RunControlServiceStub(gateway.channel)  # type: ignore[no-untyped-call]
    seen = (await gateway.context.log.read(subjects.run_in(subjects.key_of("default", run))))[-1].seq
    ending = ev.RunCompensating(org="default", run=run, ts=1, seen=seen, status="cancelled", steps=("fine",))
    await gateway.append(ending, "out_run")
    request = pb.ResolveOutcomeRequest(run_id=run, step="asked", outcome=pb.OUTCOME_RETRY)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await door.ResolveOutcome(request, metadata=gateway.auth())
    assert (caught.value.code(), details(caught.value)[0]) == (grpc.StatusCode.FAILED_PRECONDITION, "run_ending")
    assert await words(gateway, run) == []


async def test_the_reason_of_a_pause_holds_tokens_alone(gateway: GatewayUnderTest) -> None:
    door: Any = control_pb2_grpc.RunControlServiceStub(gateway.channel)  # type: ignore[no-untyped-call]
    lanes: Any = control_pb2_grpc.LaneServiceStub(gateway.channel)  # type: ignore[no-untyped-call]
    auth = gateway.auth()
    await gateway.submit(definition_text=TEXT, inputs={})
    bucket = await gateway.context.log.nc.jetstream().key_value(subjects.CONTROLS_BUCKET)
    reason = f"{EMAIL} asked for it"
    await door.PauseWorkflow(pb.PauseWorkflowRequest(workflow="pay", reason=reason), metadata=auth)
    await lanes.SetLane(pb.SetLaneRequest(name="acme 42", paused=True, reason=reason), metadata=auth)
    for key in ("workflow.default.pay", control_key("acme 42")):
        value = (await bucket.get(key)).value or b""
        assert EMAIL.encode() not in value, key
        assert b"<EMAIL_ADDRESS:ABCDEF> asked for it" in value, key

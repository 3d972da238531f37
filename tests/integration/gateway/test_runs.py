"""Submitting and watching through real gRPC, NATS and PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from agentflow.v1 import workflow_pb2
from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.errors import RetryableError
from agentflow_common.log.blobs import Blobs
from agentflow_common.log.event_log import Entry
from agentflow_common.runs.state import blob_marker
from tests.support.gateway import (
    DEFINITION,
    EMAIL,
    GatewayUnderTest,
    changed,
    consumers_are,
    details,
    running_gateway,
)
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.integration


@pytest.fixture
async def gateway(nats_url: str, db_env: dict[str, str]) -> AsyncIterator[GatewayUnderTest]:
    async with running_gateway(nats_url, db_env) as gateway:
        yield gateway


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("node type", {"definition_text": changed("type: function", "type: fuction")}, "dag.nodes[0].type"),
    ("cycle", {"definition_text": DEFINITION + "    - {from: sum, to: read}\n"}, "dag.edges"),
    ("missing prompt", {"definition_text": changed("summarizer", "sumarizer@3")}, "dag.nodes[1].config.prompt_ref"),
    ("edge end", {"definition_text": changed("to: sum}", "to: som}")}, "dag.edges[0].to"),
    ("cel", {"definition_text": changed("to: sum}", "to: sum, condition: 'read.output =='}")}, "condition"),
    ("yaml", {"definition_text": "name: [review"}, "line 2, column 1"),
    ("wrong type", {"definition_text": changed("version: 1", "version: one")}, "version"),
    ("budget", {"budget_cents": 0}, "budget_cents"),
    ("tags", {"tags": {"a b": "c"}}, "tags['a b']"),
    ("key", {"idempotency_key": "k" * 300}, "idempotency_key"),
    ("input type", {"inputs": {"text": 5.0}}, "inputs.text"),
    ("input name", {"inputs": {"text": "a", "texts": "b"}}, "inputs.texts"),
    ("2 MB input", {"inputs": {"text": "x" * 2_000_000}}, "inputs"),
    ("marker", {"inputs": {"text": "a", "x": [{"$blob": {"sha256": "0" * 64, "size": 1}, "path": []}]}}, "inputs.x[0]"),
    ("no source", {"definition_text": None}, "source"),
]


async def test_bad_input_is_refused_with_place_and_fix_and_nothing_is_written(gateway: GatewayUnderTest) -> None:
    before = await gateway.context.log.last_seq()
    for name, fields, place in BAD:
        kwargs = {k: v for k, v in fields.items() if v is not None}
        if fields.get("definition_text", "") is None:
            request = workflow_pb2.SubmitWorkflowRequest()
            call = gateway.workflows.SubmitWorkflow(request, metadata=gateway.auth())
        else:
            call = gateway.submit(**kwargs)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, name
        _, violations = details(caught.value)
        assert place in violations[0][0], (name, violations)
        assert violations[0][1] or name in {"wrong type", "input type"}, (name, violations)
    assert await gateway.context.log.last_seq() == before
    listed = await gateway.workflows.ListRuns(workflow_pb2.ListRunsRequest(), metadata=gateway.auth())
    assert not listed.runs
    assert not gateway.neighbours.asked  # nothing was put into the vault either


async def test_fifty_submissions_with_one_key_are_one_run(gateway: GatewayUnderTest) -> None:
    replies = await asyncio.gather(*(gateway.submit(idempotency_key="order-1") for _ in range(50)))
    assert len({reply.run_id for reply in replies}) == 1
    assert [reply.deduplicated for reply in replies].count(False) == 1
    key = subjects.key_of("default", replies[0].run_id)
    assert len(await gateway.context.log.read(subjects.run_all(key))) == 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.submit(idempotency_key="order-1", budget_cents=5)
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert details(caught.value)[0] == "idempotency_key_reused"
    other = await gateway.submit(await gateway.key_for("rival", "write"), idempotency_key="order-1")
    assert not other.deduplicated


async def test_an_append_of_unknown_outcome_is_looked_up(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, outcomes = gateway.context.log.append, iter(["written", "lost"])

    async def unsure(entry: Entry, timeout_s: float = 10.0) -> Any:
        if next(outcomes) == "written":
            await append(entry, timeout_s)
        raise RetryableError("no acknowledgement", kind="append_unknown")

    monkeypatch.setattr(gateway.context.log, "append", unsure)
    reply = await gateway.submit(idempotency_key="a")
    assert not reply.deduplicated
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.submit(idempotency_key="b")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    monkeypatch.undo()
    assert (await gateway.submit(idempotency_key="a")).deduplicated
    assert not (await gateway.submit(idempotency_key="b")).deduplicated


async def test_what_is_submitted(gateway: GatewayUnderTest) -> None:
    request = workflow_pb2.SubmitWorkflowRequest(definition_text=DEFINITION, budget_cents=25, tags={"case": "c-1"})
    request.inputs.update({"text": f"write to {EMAIL}"})
    parent = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    reply = await gateway.workflows.SubmitWorkflow(request, metadata=gateway.auth(traceparent=parent))
    stored = await gateway.context.log.read(subjects.run_in(subjects.key_of("default", reply.run_id)))
    event = ev.decode(stored[0].data)
    assert isinstance(event, ev.RunSubmitted)
    assert EMAIL.encode() not in stored[0].data
    assert event.inputs.value == {"text": "write to <EMAIL_ADDRESS:ABCDEF>", "limit": 3}
    assert event.prompts == {"summarizer": "summarizer@2"}
    assert (event.budget_nano, event.redactions, event.tags) == (250_000_000, {"EMAIL_ADDRESS": 1}, {"case": "c-1"})
    assert event.trace[3:35] == "a" * 32
    await gateway.finish(reply.run_id)
    get = workflow_pb2.GetRunRequest(run_id=reply.run_id)
    hidden = (await gateway.workflows.GetRun(get, metadata=gateway.auth())).run
    assert hidden.inputs.struct_value["text"] == "write to <EMAIL_ADDRESS:ABCDEF>"
    assert (hidden.status, hidden.budget_nano_usd) == (workflow_pb2.RUN_STATUS_COMPLETED, 250_000_000)
    steps = {step.step: step for step in hidden.steps}
    assert steps["read"].output.struct_value["mail"] == "<EMAIL_ADDRESS:ABCDEF>"
    assert (steps["sum"].status, steps["sum"].skip_reason) == (workflow_pb2.STEP_STATUS_SKIPPED, "condition")
    get.reveal, get.reveal_reason = True, "case 7"
    shown = (await gateway.workflows.GetRun(get, metadata=gateway.auth())).run
    assert shown.inputs.struct_value["text"] == f"write to {EMAIL}"
    assert shown.output.struct_value["mail"] == EMAIL
    restore = gateway.neighbours.asked[-1]
    assert (restore.run, restore.reason) == (reply.run_id, "case 7")
    assert restore.actor.startswith("env:key_")


async def test_large_inputs_go_out_of_line_and_come_back(gateway: GatewayUnderTest) -> None:
    text = "word " * 40_000
    run = (await gateway.submit(inputs={"text": text})).run_id
    stored = await gateway.context.log.read(subjects.run_in(subjects.key_of("default", run)))
    assert len(stored[0].data) < 5000
    at: dict[str, Any] = {"org": "default", "run": run, "ts": 5}
    task: dict[str, Any] = {"step": "read", "attempt": 1, "lane": "x", "kind": "function", "config": {}}
    await gateway.append(ev.StepScheduled(**at, **task, seen=stored[0].seq), "out_step")
    big = ev.Payload(ref=ev.BlobRef(sha256="0" * 64, size=300_000))
    await gateway.append(ev.StepCompleted(**at, step="read", attempt=1, output=big), "run_in")
    found = (await gateway.workflows.GetRun(workflow_pb2.GetRunRequest(run_id=run), metadata=gateway.auth())).run
    assert found.inputs.struct_value["text"] == text
    assert found.steps[0].output.struct_value["$truncated"] == 300_000


async def test_parts_of_a_large_step_stand_in_the_runs_output_and_nobody_elses_do(gateway: GatewayUnderTest) -> None:
    run = (await gateway.submit()).run_id
    at: dict[str, Any] = {"org": "default", "run": run, "ts": 5}
    task: dict[str, Any] = {"step": "read", "attempt": 1, "lane": "x", "kind": "function", "config": {}}
    await gateway.append(ev.StepScheduled(**at, **task, seen=1), "out_step")
    blobs = Blobs(gateway.context.nc)
    mine = await blobs.pack({"name": "a.txt", "text": "word " * 20_000, "all": "x" * 3_200_000})
    other = await blobs.pack({"name": "b.txt", "text": "word " * 20_000})
    assert mine.ref
    assert other.ref
    seen = await gateway.append(ev.StepCompleted(**at, step="read", attempt=1, output=mine), "run_in")
    output = {
        "name": blob_marker(mine.ref, ("name",)), "list": [blob_marker(mine.ref, ("text",))],
        "gone": blob_marker(mine.ref, ("nope",)), "big": blob_marker(mine.ref),
        "theirs": blob_marker(other.ref, ("name",)),
    }  # fmt: skip
    await gateway.append(ev.RunCompleted(**at, seen=seen, output=ev.Payload(value=output), cost_nano=0), "out_run")
    found = (await gateway.workflows.GetRun(workflow_pb2.GetRunRequest(run_id=run), metadata=gateway.auth())).run
    shown = json_format.MessageToDict(found.output)
    assert shown["name"] == "a.txt"
    assert shown["list"] == ["word " * 20_000]
    assert shown["big"]["$truncated"] > 3_000_000
    assert shown["theirs"] == json.loads(json.dumps(output["theirs"]))
    assert shown["gone"]["path"] == ["nope"]


async def test_watch_replays_follows_and_ends(gateway: GatewayUnderTest) -> None:
    run = (await gateway.submit()).run_id
    watch = workflow_pb2.WatchRunRequest(run_id=run, include_tokens=True)
    stream = gateway.workflows.WatchRun(watch, metadata=gateway.auth())
    first = await stream.read()
    assert first.event.type == "run.submitted"
    token = {"step": "sum", "attempt": 1, "offset": 4, "text": "hi"}
    await gateway.context.nc.publish(subjects.live(run, "sum"), json.dumps(token).encode())
    live = await stream.read()
    assert (live.token.step, live.token.offset, live.token.text) == ("sum", 4, "hi")
    await gateway.finish(run)
    async with asyncio.timeout(PATIENCE_S):
        rest = [(await stream.read()).event for _ in range(5)]
        assert await stream.read() is grpc.aio.EOF
    kinds = ["run.started", "step.scheduled", "step.completed", "step.skipped", "run.completed"]
    assert [event.type for event in rest] == kinds
    assert [event.steps_done for event in rest] == [0, 0, 1, 2, 2]
    assert (rest[-1].status, rest[-1].cost_nano_usd) == (workflow_pb2.RUN_STATUS_COMPLETED, 42)
    resumed = workflow_pb2.WatchRunRequest(run_id=run, after_sequence=rest[2].sequence)
    again = [item.event async for item in gateway.workflows.WatchRun(resumed, metadata=gateway.auth())]
    assert [event.sequence for event in again] == [event.sequence for event in rest[3:]]


async def test_a_watcher_that_leaves_leaves_nothing_behind(nats_url: str, db_env: dict[str, str]) -> None:
    async with running_gateway(nats_url, db_env, watchers_max=1) as gateway:
        run = (await gateway.submit()).run_id
        watch = workflow_pb2.WatchRunRequest(run_id=run, include_tokens=True)

        async def projecting() -> bool:
            return gateway.context.health.parts.get("projection") == "ok"

        await until(projecting)
        await gateway.context.log.read(subjects.run_all(subjects.key_of("default", run)))  # reads share a subscription
        jsm, subscriptions = gateway.context.nc.jsm(), len(gateway.context.nc._subs)
        consumers = len(await jsm.consumers_info(subjects.EVENTS_STREAM))
        stream = gateway.workflows.WatchRun(watch, metadata=gateway.auth())
        await stream.read()
        await until(lambda: consumers_are(jsm, consumers + 1))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await gateway.workflows.WatchRun(watch, metadata=gateway.auth()).read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        stream.cancel()
        await until(lambda: consumers_are(jsm, consumers))

        async def unsubscribed() -> bool:
            return len(gateway.context.nc._subs) == subscriptions

        await until(unsubscribed)
        stream = gateway.workflows.WatchRun(watch, metadata=gateway.auth())
        assert (await stream.read()).event.type == "run.submitted"
        stream.cancel()

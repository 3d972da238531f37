"""The gateway over real gRPC, NATS and PostgreSQL. Its neighbours answer in this process, through the real bus."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from agentflow.v1 import prompt_pb2, prompt_pb2_grpc, trace_pb2, trace_pb2_grpc, workflow_pb2, workflow_pb2_grpc
from agentflow_common import bus, rpc, subjects
from agentflow_common import events as ev
from agentflow_common.errors import RetryableError
from agentflow_common.eventlog import Entry
from agentflow_common.service import Context, running
from agentflow_gateway import keys
from agentflow_gateway.app import app
from agentflow_gateway.settings import GatewaySettings
from agentflow_gateway.store import Store

pytestmark = pytest.mark.integration

EMAIL = "@".join(("jane.doe", "example.org"))
DEFINITION = """\
name: review
version: 1
inputs:
  text: {type: string}
  limit: {type: integer, default: 3}
dag:
  nodes:
    - id: read
      type: function
      config: {function_name: text_splitter, inputs: {text: "{{text}}"}}
    - id: sum
      type: llm
      config: {prompt_ref: summarizer, inputs: {content: read.output}}
  edges:
    - {from: read, to: sum}
"""


def swap(value: Any, old: str, new: str) -> Any:
    return json.loads(json.dumps(value).replace(old, new))


@dataclass
class Neighbours:
    """The prompt and security services as far as the gateway sees them."""

    asked: list[Any] = field(default_factory=list)

    async def resolve(self, request: rpc.ResolvePromptsRequest) -> rpc.ResolvePromptsReply:
        pinned = {ref: f"{ref.split('@')[0]}@2" for ref in request.refs if ref.split("@")[0] == "summarizer"}
        return rpc.ResolvePromptsReply(pinned=pinned, missing=tuple(r for r in request.refs if r not in pinned))

    async def list_prompts(self, request: rpc.ListPromptsRequest) -> rpc.ListPromptsReply:
        return rpc.ListPromptsReply(prompts=(rpc.PromptVersion(name="summarizer", version=2, template="t"),))

    async def protect(self, request: rpc.ProtectRequest) -> rpc.ProtectReply:
        self.asked.append(request)
        return rpc.ProtectReply(value=swap(request.value, EMAIL, "<EMAIL_ADDRESS:ABCDEF>"), counts={"EMAIL_ADDRESS": 1})

    async def restore(self, request: rpc.RestoreRequest) -> rpc.RestoreReply:
        self.asked.append(request)
        return rpc.RestoreReply(value=swap(request.value, "<EMAIL_ADDRESS:ABCDEF>", EMAIL), restored=1)

    def serving(self, url: str) -> Any:
        prompt = bus.serving(url, "prompt", [(rpc.PROMPT_RESOLVE, self.resolve), (rpc.PROMPT_LIST, self.list_prompts)])
        security = bus.serving(url, "security", [(rpc.PROTECT, self.protect), (rpc.RESTORE, self.restore)])
        return prompt, security


def stub(make: Any, channel: grpc.aio.Channel) -> Any:
    return make(channel)


@dataclass
class Stand:
    context: Context[GatewaySettings]
    store: Store
    neighbours: Neighbours
    channel: grpc.aio.Channel
    key: str

    @property
    def workflows(self) -> Any:
        return stub(workflow_pb2_grpc.WorkflowServiceStub, self.channel)

    def auth(self, key: str = "", **more: str) -> Any:
        return (("authorization", f"Bearer {key or self.key}"), *more.items())

    async def key_for(self, org: str, *permissions: str) -> str:
        _, key = await keys.create(self.store, org, permissions, "test", 1)
        return key

    async def submit(self, key: str = "", **fields: Any) -> Any:
        request = workflow_pb2.SubmitWorkflowRequest(**{"definition_text": DEFINITION, **fields})
        if "inputs" not in fields:
            request.inputs.update({"text": "hello"})
        return await self.workflows.SubmitWorkflow(request, metadata=self.auth(key))

    async def append(self, event: ev.Event, kind: str) -> int:
        subject = getattr(subjects, kind)(subjects.key_of(event.org, event.run))
        return (await self.context.log.append(Entry(subject, ev.encode(event)))).seq

    async def finish(self, run: str, org: str = "default") -> None:
        """What the scheduler and a worker would append."""
        at: dict[str, Any] = {"org": org, "run": run, "ts": 1_700_000_000_000}
        key = subjects.key_of(org, run)
        first = (await self.context.log.read(subjects.run_in(key), limit=1))[0].seq
        started = ev.RunStarted(**at, workflow="review", version=1, steps=2, submitted_at=at["ts"], seen=first)
        await self.append(started, "out_run")
        task: dict[str, Any] = {"step": "read", "attempt": 1, "lane": "default", "kind": "function", "config": {}}
        scheduled = ev.StepScheduled(**at, **task, seen=first)
        await self.context.log.append(Entry(subjects.out_task(key, "default"), ev.encode(scheduled)))
        output = ev.Payload(value={"mail": "<EMAIL_ADDRESS:ABCDEF>"})
        done = ev.StepCompleted(**at, step="read", attempt=1, output=output, worker="w")
        seq = await self.append(done, "run_in")
        await self.append(ev.StepSkipped(**at, step="sum", reason="condition", seen=seq), "out_step")
        await self.append(ev.RunCompleted(**at, output=output, cost_nano=42, seen=seq), "out_run")


@contextlib.asynccontextmanager
async def standing(nats_url: str, db_env: dict[str, str], **more: Any) -> AsyncIterator[Stand]:
    database: dict[str, Any] = {name.lower(): value for name, value in db_env.items()}
    key = more.pop("api_key", secrets.token_hex(16))
    settings = GatewaySettings(nats_url=nats_url, api_key=key, **database, **more)
    neighbours = Neighbours()
    async with contextlib.AsyncExitStack() as stack:
        context = await stack.enter_async_context(running("gateway", settings, app))
        for service in neighbours.serving(nats_url):
            await stack.enter_async_context(service)
        store = await stack.enter_async_context(keys.opened(settings))
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{context.ports['grpc']}")
        await stack.enter_async_context(channel)
        yield Stand(context, store, neighbours, channel, key)


@pytest.fixture
async def stand(nats_url: str, db_env: dict[str, str]) -> AsyncIterator[Stand]:
    async with standing(nats_url, db_env) as stand:
        yield stand


def details(error: grpc.aio.AioRpcError) -> tuple[str, list[tuple[str, str]]]:
    """(reason, [(place, fix)]) of a rich status."""
    status = rpc_status.from_call(error_as_call(error))
    reason, violations = "", []
    for item in status.details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if item.Unpack(info):
            reason = info.reason
        elif item.Unpack(bad):
            violations = [(v.field, v.localized_message.message) for v in bad.field_violations]
    return reason, violations


def error_as_call(error: grpc.aio.AioRpcError) -> Any:
    return error  # it has code(), details() and trailing_metadata()


def changed(old: str, new: str) -> str:
    assert old in DEFINITION
    return DEFINITION.replace(old, new)


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
    ("no source", {"definition_text": None}, "source"),
]


async def test_bad_input_is_refused_with_place_and_fix_and_nothing_is_written(stand: Stand) -> None:
    before = await stand.context.log.last_seq()
    for name, fields, place in BAD:
        kwargs = {k: v for k, v in fields.items() if v is not None}
        if fields.get("definition_text", "") is None:
            request = workflow_pb2.SubmitWorkflowRequest()
            call = stand.workflows.SubmitWorkflow(request, metadata=stand.auth())
        else:
            call = stand.submit(**kwargs)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, name
        _, violations = details(caught.value)
        assert place in violations[0][0], (name, violations)
        assert violations[0][1] or name in {"wrong type", "input type"}, (name, violations)
    assert await stand.context.log.last_seq() == before
    listed = await stand.workflows.ListRuns(workflow_pb2.ListRunsRequest(), metadata=stand.auth())
    assert not listed.runs
    assert not stand.neighbours.asked  # nothing was put into the vault either


async def test_keys_permissions_and_orgs(stand: Stand) -> None:
    reader, other = await stand.key_for("default", "read"), await stand.key_for("rival", "read", "write", "admin")
    run = (await stand.submit()).run_id
    get = workflow_pb2.GetRunRequest(run_id=run)
    code = grpc.StatusCode

    async def refused(call: Any, expected: grpc.StatusCode, text: str) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is expected
        assert text in caught.value.details()

    workflows = stand.workflows
    await refused(workflows.GetRun(get), code.UNAUTHENTICATED, "authorization: Bearer")
    await refused(workflows.GetRun(get, metadata=stand.auth("nonsense")), code.UNAUTHENTICATED, "not known")
    crossed = stand.auth(**{"x-org-id": "default"}, key=other)
    await refused(workflows.GetRun(get, metadata=crossed), code.PERMISSION_DENIED, "unknown org or not yours")
    unknown = stand.auth(**{"x-org-id": "nobody"})
    await refused(workflows.GetRun(get, metadata=unknown), code.PERMISSION_DENIED, "unknown org or not yours")
    await refused(stand.submit(reader), code.PERMISSION_DENIED, "`write`")
    reveal = workflow_pb2.GetRunRequest(run_id=run, reveal=True, reveal_reason="why not")
    await refused(workflows.GetRun(reveal, metadata=stand.auth(reader)), code.PERMISSION_DENIED, "`reveal`")
    for call in (
        workflows.GetRun(get, metadata=stand.auth(other)),
        workflows.CancelRun(workflow_pb2.CancelRunRequest(run_id=run), metadata=stand.auth(other)),
        stub(trace_pb2_grpc.TraceServiceStub, stand.channel).GetTrace(
            trace_pb2.GetTraceRequest(run_id=run), metadata=stand.auth(other)
        ),
        workflows.WatchRun(workflow_pb2.WatchRunRequest(run_id=run), metadata=stand.auth(other)).read(),
    ):
        await refused(call, code.NOT_FOUND, "no run")
    for bad_id in ("*", "a.b", ">", ""):
        call = workflows.GetRun(workflow_pb2.GetRunRequest(run_id=bad_id), metadata=stand.auth())
        await refused(call, code.INVALID_ARGUMENT, "run_id")
    found = await workflows.GetRun(get, metadata=(("x-api-key", reader), ("x-org-id", "default")))
    assert found.run.run_id == run
    (row,) = [row for row in await stand.store.list_keys("default") if row.permissions == ("read",)]
    assert await stand.store.revoke_key(row.id, 2)
    async with standing(stand.context.settings.nats_url, _env(stand), api_key=stand.key) as again:
        await refused(again.workflows.GetRun(get, metadata=stand.auth(reader)), code.UNAUTHENTICATED, "revoked")


def _env(stand: Stand) -> dict[str, str]:
    settings = stand.context.settings
    return {
        "DB_HOST": settings.db_host, "DB_PORT": str(settings.db_port), "DB_USER": settings.db_user,
        "DB_PASSWORD": settings.db_password, "DB_NAME": settings.db_name,
    }  # fmt: skip


async def test_fifty_submissions_with_one_key_are_one_run(stand: Stand) -> None:
    replies = await asyncio.gather(*(stand.submit(idempotency_key="order-1") for _ in range(50)))
    assert len({reply.run_id for reply in replies}) == 1
    assert [reply.deduplicated for reply in replies].count(False) == 1
    key = subjects.key_of("default", replies[0].run_id)
    assert len(await stand.context.log.read(subjects.run_all(key))) == 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stand.submit(idempotency_key="order-1", budget_cents=5)
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert details(caught.value)[0] == "idempotency_key_reused"
    other = await stand.submit(await stand.key_for("rival", "write"), idempotency_key="order-1")
    assert not other.deduplicated


async def test_an_append_of_unknown_outcome_is_looked_up(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    append, outcomes = stand.context.log.append, iter(["written", "lost"])

    async def unsure(entry: Entry, timeout_s: float = 10.0) -> Any:
        if next(outcomes) == "written":
            await append(entry, timeout_s)
        raise RetryableError("no acknowledgement", kind="append_unknown")

    monkeypatch.setattr(stand.context.log, "append", unsure)
    reply = await stand.submit(idempotency_key="a")
    assert not reply.deduplicated
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stand.submit(idempotency_key="b")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    monkeypatch.undo()
    assert (await stand.submit(idempotency_key="a")).deduplicated
    assert not (await stand.submit(idempotency_key="b")).deduplicated


async def test_what_is_submitted(stand: Stand) -> None:
    request = workflow_pb2.SubmitWorkflowRequest(definition_text=DEFINITION, budget_cents=25, tags={"case": "c-1"})
    request.inputs.update({"text": f"write to {EMAIL}"})
    parent = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    reply = await stand.workflows.SubmitWorkflow(request, metadata=stand.auth(traceparent=parent))
    stored = await stand.context.log.read(subjects.run_in(subjects.key_of("default", reply.run_id)))
    event = ev.decode(stored[0].data)
    assert isinstance(event, ev.RunSubmitted)
    assert EMAIL.encode() not in stored[0].data
    assert event.inputs.value == {"text": "write to <EMAIL_ADDRESS:ABCDEF>", "limit": 3}
    assert event.prompts == {"summarizer": "summarizer@2"}
    assert (event.budget_nano, event.redactions, event.tags) == (250_000_000, {"EMAIL_ADDRESS": 1}, {"case": "c-1"})
    assert event.trace[3:35] == "a" * 32
    await stand.finish(reply.run_id)
    get = workflow_pb2.GetRunRequest(run_id=reply.run_id)
    hidden = (await stand.workflows.GetRun(get, metadata=stand.auth())).run
    assert hidden.inputs.struct_value["text"] == "write to <EMAIL_ADDRESS:ABCDEF>"
    assert (hidden.status, hidden.budget_nano_usd) == (workflow_pb2.RUN_STATUS_COMPLETED, 250_000_000)
    steps = {step.step: step for step in hidden.steps}
    assert steps["read"].output.struct_value["mail"] == "<EMAIL_ADDRESS:ABCDEF>"
    assert (steps["sum"].status, steps["sum"].skip_reason) == (workflow_pb2.STEP_STATUS_SKIPPED, "condition")
    get.reveal, get.reveal_reason = True, "case 7"
    shown = (await stand.workflows.GetRun(get, metadata=stand.auth())).run
    assert shown.inputs.struct_value["text"] == f"write to {EMAIL}"
    assert shown.output.struct_value["mail"] == EMAIL
    restore = stand.neighbours.asked[-1]
    assert (restore.run, restore.reason) == (reply.run_id, "case 7")
    assert restore.actor.startswith("env:key_")


async def test_large_inputs_go_out_of_line_and_come_back(stand: Stand) -> None:
    text = "word " * 40_000
    run = (await stand.submit(inputs={"text": text})).run_id
    stored = await stand.context.log.read(subjects.run_in(subjects.key_of("default", run)))
    assert len(stored[0].data) < 5000
    at: dict[str, Any] = {"org": "default", "run": run, "ts": 5}
    task: dict[str, Any] = {"step": "read", "attempt": 1, "lane": "x", "kind": "function", "config": {}}
    await stand.append(ev.StepScheduled(**at, **task, seen=stored[0].seq), "out_step")
    big = ev.Payload(ref=ev.BlobRef(sha256="0" * 64, size=300_000))
    await stand.append(ev.StepCompleted(**at, step="read", attempt=1, output=big), "run_in")
    found = (await stand.workflows.GetRun(workflow_pb2.GetRunRequest(run_id=run), metadata=stand.auth())).run
    assert found.inputs.struct_value["text"] == text
    assert found.steps[0].output.struct_value["$truncated"] == 300_000


async def test_watch_replays_follows_and_ends(stand: Stand) -> None:
    run = (await stand.submit()).run_id
    watch = workflow_pb2.WatchRunRequest(run_id=run, include_tokens=True)
    stream = stand.workflows.WatchRun(watch, metadata=stand.auth())
    first = await stream.read()
    assert first.event.type == "run.submitted"
    token = {"step": "sum", "attempt": 1, "offset": 4, "text": "hi"}
    await stand.context.nc.publish(subjects.live(run, "sum"), json.dumps(token).encode())
    live = await stream.read()
    assert (live.token.step, live.token.offset, live.token.text) == ("sum", 4, "hi")
    await stand.finish(run)
    async with asyncio.timeout(10):
        rest = [(await stream.read()).event for _ in range(5)]
        assert await stream.read() is grpc.aio.EOF
    kinds = ["run.started", "step.scheduled", "step.completed", "step.skipped", "run.completed"]
    assert [event.type for event in rest] == kinds
    assert [event.steps_done for event in rest] == [0, 0, 1, 2, 2]
    assert (rest[-1].status, rest[-1].cost_nano_usd) == (workflow_pb2.RUN_STATUS_COMPLETED, 42)
    resumed = workflow_pb2.WatchRunRequest(run_id=run, after_sequence=rest[2].sequence)
    again = [item.event async for item in stand.workflows.WatchRun(resumed, metadata=stand.auth())]
    assert [event.sequence for event in again] == [event.sequence for event in rest[3:]]


async def test_a_watcher_that_leaves_leaves_nothing_behind(nats_url: str, db_env: dict[str, str]) -> None:
    async with standing(nats_url, db_env, watchers_max=1) as stand:
        run = (await stand.submit()).run_id
        watch = workflow_pb2.WatchRunRequest(run_id=run, include_tokens=True)
        jsm, subscriptions = stand.context.nc.jsm(), len(stand.context.nc._subs)
        consumers = len(await jsm.consumers_info(subjects.EVENTS_STREAM))
        stream = stand.workflows.WatchRun(watch, metadata=stand.auth())
        await stream.read()
        await _until(lambda: _count(jsm, consumers + 1))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stand.workflows.WatchRun(watch, metadata=stand.auth()).read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        stream.cancel()
        await _until(lambda: _count(jsm, consumers))
        assert len(stand.context.nc._subs) == subscriptions
        stream = stand.workflows.WatchRun(watch, metadata=stand.auth())
        assert (await stream.read()).event.type == "run.submitted"
        stream.cancel()


async def _count(jsm: Any, expected: int) -> bool:
    return len(await jsm.consumers_info(subjects.EVENTS_STREAM)) == expected


async def _until(check: Any) -> None:
    async with asyncio.timeout(10):
        while not await check():
            await asyncio.sleep(0.02)


async def test_runs_are_listed_filtered_and_paged(stand: Stand) -> None:
    runs = [(await stand.submit()).run_id for _ in range(5)]
    await stand.finish(runs[1])
    workflows, code = stand.workflows, workflow_pb2

    async def completed() -> bool:
        request = code.ListRunsRequest(status=code.RUN_STATUS_COMPLETED)
        listed = (await workflows.ListRuns(request, metadata=stand.auth())).runs
        return [(r.run_id, r.cost_nano_usd) for r in listed] == [(runs[1], 42)]

    await _until(completed)
    seen, token = [], ""
    while True:
        request = code.ListRunsRequest(page_size=2, page_token=token, workflow="review")
        page = await workflows.ListRuns(request, metadata=stand.auth())
        seen += [r.run_id for r in page.runs]
        token = page.next_page_token
        if not token:
            break
    assert sorted(seen) == sorted(runs)
    rival = await stand.key_for("rival", "read")
    assert not (await workflows.ListRuns(code.ListRunsRequest(), metadata=stand.auth(rival))).runs


async def test_the_projection_starts_over_and_buries_poison(nats_url: str, db_env: dict[str, str]) -> None:
    async with standing(nats_url, db_env) as stand:
        key = subjects.key_of("default", "run_x")
        await stand.context.log.append(Entry(subjects.out_run(key), b"not an event"))
        run = (await stand.submit()).run_id
        at: dict[str, Any] = {"org": "default", "run": run, "ts": 9}
        await stand.append(ev.RunCancelled(**at, reason="never began"), "out_run")

        async def cancelled() -> bool:
            rows = await stand.store.list_runs("default", "cancelled", "review", None, 10)
            return [row.run for row in rows] == [run]

        await _until(cancelled)
        (dead,) = await stand.context.log.read("af.dead.gateway", stream=subjects.DEAD_STREAM)
        assert dead.data == b"not an event"
        await stand.store._pool.execute("TRUNCATE runs")
    async with standing(nats_url, db_env) as stand:
        await _until(cancelled_again(stand, run))


def cancelled_again(stand: Stand, run: str) -> Any:
    async def check() -> bool:
        rows = await stand.store.list_runs("default", "cancelled", "review", None, 10)
        return [row.run for row in rows] == [run]

    return check


async def test_cancel_is_recorded_once(stand: Stand) -> None:
    run = (await stand.submit()).run_id
    request = workflow_pb2.CancelRunRequest(run_id=run, reason=f"asked by {EMAIL}")
    for _ in range(3):
        reply = await stand.workflows.CancelRun(request, metadata=stand.auth())
        assert reply.status == workflow_pb2.RUN_STATUS_PENDING
    stored = await stand.context.log.read(subjects.run_in(subjects.key_of("default", run)))
    events = [ev.decode(item.data) for item in stored]
    assert [type(event) for event in events] == [ev.RunSubmitted, ev.RunCancelRequested]
    assert EMAIL.encode() not in stored[1].data
    await stand.finish(run)
    reply = await stand.workflows.CancelRun(request, metadata=stand.auth())
    assert reply.status == workflow_pb2.RUN_STATUS_COMPLETED


async def test_definitions_are_immutable_and_checked_against_the_workers(stand: Stand) -> None:
    register = stand.workflows.RegisterWorkflow
    request = workflow_pb2.RegisterWorkflowRequest(definition_text=DEFINITION)
    made, again = [await register(request, metadata=stand.auth()) for _ in range(2)]
    assert (made.created, again.created, made.digest == again.digest) == (True, False, True)
    other = workflow_pb2.RegisterWorkflowRequest(definition_text=changed("default: 3", "default: 4"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await register(other, metadata=stand.auth())
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert "raise `version` to 2" in caught.value.details()
    by_name = workflow_pb2.SubmitWorkflowRequest(workflow="review@1")
    by_name.inputs.update({"text": "hello"})
    assert (await stand.workflows.SubmitWorkflow(by_name, metadata=stand.auth())).run_id
    for name, text in (("reviw", "did you mean review"), ("review@7", "has no version 7")):
        by_name.workflow = name
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stand.workflows.SubmitWorkflow(by_name, metadata=stand.auth())
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert text in caught.value.details()
    bucket = await stand.context.nc.jetstream().key_value(subjects.REGISTRY_BUCKET)
    await bucket.put("function.text_spliter", b"{}")
    await asyncio.sleep(2.1)  # the cache's life
    validate = workflow_pb2.ValidateWorkflowRequest(definition_text=DEFINITION)
    reply = await stand.workflows.ValidateWorkflow(validate, metadata=stand.auth())
    (problem,) = reply.problems
    assert problem.place == "line 10, dag.nodes[0].config.function_name"
    assert problem.fix == "did you mean text_spliter?"


async def test_a_service_that_is_away_is_named(stand: Stand) -> None:
    prompts = stub(prompt_pb2_grpc.PromptServiceStub, stand.channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await prompts.GetPrompt(prompt_pb2.GetPromptRequest(name="x"), metadata=stand.auth(), timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "prompt service" in caught.value.details()


async def test_health_reflection_and_garbage(stand: Stand) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    health = health_pb2_grpc.HealthStub(stand.channel)
    for service in ("", "agentflow.v1.WorkflowService"):
        assert (await health.Check(health_pb2.HealthCheckRequest(service=service))).status == 1
    reflection = reflection_pb2_grpc.ServerReflectionStub(stand.channel)
    stream = reflection.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    reply = await stream.read()
    names = {service.name for service in reply.list_services_response.service}
    assert {"agentflow.v1.WorkflowService", "agentflow.v1.TraceService"} <= names
    stream.cancel()
    raw = stand.channel.unary_unary("/agentflow.v1.WorkflowService/GetRun")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await raw(b"\xff\xff\xff", metadata=stand.auth())
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_dev_key_is_made_once_and_kept_secret(
    nats_url: str, db_env: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    file = tmp_path / "keys" / "dev"
    async with standing(nats_url, db_env, api_key="", dev_key_file=file) as stand:
        key = file.read_text().strip()
        assert (key.startswith("afk_"), file.stat().st_mode & 0o777) == (True, 0o600)
        assert (await stand.submit(key)).run_id
    async with standing(nats_url, db_env, api_key="", dev_key_file=file):
        assert file.read_text().strip() == key
    env_key = secrets.token_hex(12)
    async with standing(nats_url, db_env, api_key=env_key) as stand:
        assert (await stand.submit(env_key)).run_id
        assert (await stand.submit(key)).run_id
        assert not [row for row in await stand.store.list_keys() if key in repr(row)]
    assert key not in caplog.text
    assert env_key not in caplog.text

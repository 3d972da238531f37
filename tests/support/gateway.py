"""For tests: a gateway in this process over real gRPC, NATS and PostgreSQL; its neighbours answer on the real bus."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from agentflow.v1 import workflow_pb2, workflow_pb2_grpc
from agentflow_common import events as ev
from agentflow_common import rpc, subjects
from agentflow_common.log.event_log import Entry
from agentflow_common.rpc import bus
from agentflow_common.runtime.service import Context, running
from agentflow_gateway import keys
from agentflow_gateway.app import app
from agentflow_gateway.controls import commands, fact_results
from agentflow_gateway.settings import GatewaySettings
from agentflow_gateway.store.tables import Store
from agentflow_sdk import AsyncClient
from tests.support import deadlines
from tests.support.deadlines import Channel

FACT: dict[str, Any] = {"org": "default", "ts": 5}  # what every fact of a run says beside its run
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
class FakeNeighbours:
    """The prompt and security services as far as the gateway sees them."""

    asked: list[Any] = field(default_factory=list)

    async def resolve(self, request: rpc.ResolvePromptsRequest) -> rpc.ResolvePromptsReply:
        pinned = {ref: f"{ref.split('@')[0]}@2" for ref in request.refs if ref.split("@")[0] == "summarizer"}
        return rpc.ResolvePromptsReply(pinned=pinned, missing=tuple(r for r in request.refs if r not in pinned))

    async def list_prompts(self, _request: rpc.ListPromptsRequest) -> rpc.ListPromptsReply:
        return rpc.ListPromptsReply(prompts=(rpc.PromptVersion(name="summarizer", version=2, template="t"),))

    async def protect(self, request: rpc.ProtectRequest) -> rpc.ProtectReply:
        self.asked.append(request)
        return rpc.ProtectReply(value=swap(request.value, EMAIL, "<EMAIL_ADDRESS:ABCDEF>"), counts={"EMAIL_ADDRESS": 1})

    async def restore(self, request: rpc.RestoreRequest) -> rpc.RestoreReply:
        self.asked.append(request)
        return rpc.RestoreReply(value=swap(request.value, "<EMAIL_ADDRESS:ABCDEF>", EMAIL), restored=1)

    async def adopt(self, request: rpc.AdoptRequest) -> rpc.AdoptReply:
        self.asked.append(request)
        return rpc.AdoptReply(adopted=1)

    def serving(self, url: str) -> Any:
        prompt = bus.serving(url, "prompt", [(rpc.PROMPT_RESOLVE, self.resolve), (rpc.PROMPT_LIST, self.list_prompts)])
        security = bus.serving(
            url, "security", [(rpc.PROTECT, self.protect), (rpc.RESTORE, self.restore), (rpc.ADOPT, self.adopt)]
        )
        return prompt, security


def stub(make: Any, channel: Channel) -> Any:
    return make(channel)


@dataclass
class GatewayUnderTest:
    context: Context[GatewaySettings]
    store: Store
    neighbours: FakeNeighbours
    channel: Channel
    key: str

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.context.ports['grpc']}"

    def client(self, key: str = "", **options: Any) -> AsyncClient:
        """Returns a client of the SDK, by itself one with every permission."""
        return AsyncClient(self.endpoint, key or self.key, **options)

    @property
    def workflows(self) -> Any:
        return stub(workflow_pb2_grpc.WorkflowServiceStub, self.channel)

    def auth(self, key: str = "", **more: str) -> Any:
        return (("authorization", f"Bearer {key or self.key}"), *more.items())

    async def key_for(self, org: str, *permissions: str) -> str:
        _, key = await keys.create(self.store.keys, org, permissions, "test", 1)
        return key

    async def submit(self, key: str = "", **fields: Any) -> Any:
        request = workflow_pb2.SubmitWorkflowRequest(**{"definition_text": DEFINITION, **fields})
        if "inputs" not in fields:
            request.inputs.update({"text": "hello"})
        return await self.workflows.SubmitWorkflow(request, metadata=self.auth(key))

    async def append(self, event: ev.Event, kind: str) -> int:
        subject = getattr(subjects, kind)(subjects.key_of(event.org, event.run))
        return (await self.context.log.append(Entry(subject, ev.encode(event)))).seq

    async def begin(self, run: str) -> None:
        """What a submission would append, of a definition without nodes."""
        event = ev.RunSubmitted(**FACT, run=run, workflow="w", version=1, definition={"dag": {"nodes": []}})
        await self.append(event, "run_in")

    async def end(self, run: str, continued_as: str = "") -> None:
        """What the scheduler would append at last."""
        seen = await self.context.log.newest(subjects.run_in(subjects.key_of("default", run)))
        await self.append(ev.RunCompleted(**FACT, run=run, continued_as=continued_as, seen=seen), "out_run")

    async def wait(self, request: workflow_pb2.WaitRunRequest) -> Any:
        return await self.workflows.WaitRun(request, metadata=self.auth())

    async def finish(self, run: str, org: str = "default", pause_s: float = 0.0) -> None:
        """What the scheduler and a worker would append. pause_s: between the step's report and its end."""
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
        await asyncio.sleep(pause_s)
        await self.append(ev.StepSkipped(**at, step="sum", reason="condition", seen=seq), "out_step")
        await self.append(ev.RunCompleted(**at, output=output, cost_nano=42, seen=seq), "out_run")


@contextlib.asynccontextmanager
async def running_gateway(nats_url: str, db_env: dict[str, str], **more: Any) -> AsyncIterator[GatewayUnderTest]:
    database: dict[str, Any] = {name.lower(): value for name, value in db_env.items()}
    key = more.pop("api_key", secrets.token_hex(16))
    settings = GatewaySettings(nats_url=nats_url, api_key=key, **database, **more)
    neighbours = FakeNeighbours()
    async with contextlib.AsyncExitStack() as stack:
        context = await stack.enter_async_context(running("gateway", settings, app))
        for service in neighbours.serving(nats_url):
            await stack.enter_async_context(service)
        store = await stack.enter_async_context(keys.opened(settings))
        channel = deadlines.channel(f"127.0.0.1:{context.ports['grpc']}")
        await stack.enter_async_context(channel)
        yield GatewayUnderTest(context, store, neighbours, channel, key)


def expect_no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the gateway wait only a moment for decisions that nothing makes."""
    monkeypatch.setattr(fact_results, "WAIT_S_MAX", 0.1)
    monkeypatch.setattr(commands, "SETTLE_S_MAX", 0.1)


def details(error: Any) -> tuple[str, list[tuple[str, str]]]:
    """(reason, [(place, fix)]) of a rich status."""
    status = rpc_status.from_call(error)
    reason, violations = "", []
    for item in status.details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if item.Unpack(info):
            reason = info.reason
        elif item.Unpack(bad):
            violations = [(v.field, v.localized_message.message) for v in bad.field_violations]
    return reason, violations


def changed(old: str, new: str) -> str:
    if old not in DEFINITION:
        raise ValueError(f"{old!r} is not in the definition")
    return DEFINITION.replace(old, new)


def database_env(gateway: GatewayUnderTest) -> dict[str, str]:
    """DB_* of a running gateway."""
    settings = gateway.context.settings
    return {
        "DB_HOST": settings.db_host, "DB_PORT": str(settings.db_port), "DB_USER": settings.db_user,
        "DB_PASSWORD": settings.db_password, "DB_NAME": settings.db_name,
    }  # fmt: skip


async def consumers_are(jsm: Any, expected: int) -> bool:
    return len(await jsm.consumers_info(subjects.EVENTS_STREAM)) == expected

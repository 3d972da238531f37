"""What is true of the seven services, asked directly, beside what their /readyz says; and runs that go on meanwhile."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
import pkgutil
import secrets
import typing
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

import grpc
import msgspec
import nats.errors
from nats.aio.client import Client

from agentflow.v1 import workflow_pb2 as pb
from agentflow.v1 import workflow_pb2_grpc
from agentflow_common import events as ev
from agentflow_common import ids, rpc, subjects, tasks
from agentflow_common.definition.parse import parse_dict
from agentflow_common.errors import AgentFlowError
from agentflow_common.log.event_log import EventLog
from agentflow_common.rpc import Verb, bus
from tests.support import deadlines
from tests.support.waiting import PATIENCE_S

SERVICES: Final = ("gateway", "scheduler", "worker", "prompt", "security", "cost", "trace")
ASK_S_MAX: Final = 2.0
SAMPLE_EVERY_S: Final = 0.25
SAMPLE_S_MAX: Final = 2.5  # what one look counts at most: a busy machine looks rarely, and that proves nothing
AWAY: Final = {"unavailable", "deadline_exceeded", "internal"}
RETRIED: Final = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
EMAIL: Final = "@".join(("jane.doe", "example.org"))


def definition() -> str:
    """Four steps: one that may wait for a timer, one that must not happen twice, one that asks prompt, security and
    cost, and one more."""
    retry = {"retry": {"max_attempts": 60, "backoff": "fixed", "initial_ms": 700}}
    chain = ["first", "pay", "words", "last"]
    text = f"Contracts are reviewed by {EMAIL} before the board meets in March."
    configs: dict[str, tuple[str, dict[str, Any]]] = {
        "first": ("tool", {"tool_name": "effects.flaky", "tool_args": {"n": 0}}),
        "pay": ("tool", {"tool_name": "effects.pay", "tool_args": {"n": 1}}),
        "words": ("llm", {"prompt_ref": "keyword_extractor@1", "inputs": {"content": text, "max_keywords": 3}}),
        "last": ("tool", {"tool_name": "effects.add", "tool_args": {"n": 2}}),
    }
    nodes = [{"id": n, "type": configs[n][0], "config": configs[n][1], "policy": retry} for n in chain]
    edges = [{"from": a, "to": b} for a, b in itertools.pairwise(chain)]
    return json.dumps({"name": "restarts", "version": 1, "dag": {"nodes": nodes, "edges": edges}})


class Runs:
    """Submits runs through gRPC, each as often as it takes, and looks after them. codes: what the gateway answered."""

    def __init__(self, grpc_port: int, key: str) -> None:
        self._channel = deadlines.channel(f"127.0.0.1:{grpc_port}", (("grpc.max_reconnect_backoff_ms", 1000),))
        make: Any = workflow_pb2_grpc.WorkflowServiceStub
        self.workflows = make(self._channel)
        self.auth = (("authorization", f"Bearer {key}"),)
        self.codes: Counter[grpc.StatusCode] = Counter()
        self.ids: set[str] = set()
        self._text = definition()

    async def submit_all(self, total: int, every_s: float) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(total):
                group.create_task(self._submit())
                await asyncio.sleep(every_s)

    async def _submit(self) -> None:
        request = pb.SubmitWorkflowRequest(definition_text=self._text, idempotency_key=secrets.token_hex(8))
        self.ids.add((await self.ask(self.workflows.SubmitWorkflow, request)).run_id)

    async def ask(self, method: Any, request: Any) -> Any:
        """The answer, however often it takes. An error that does not say "come again" is a bug."""
        while True:
            try:
                answer = await method(request, metadata=self.auth, timeout=15.0)
            except grpc.aio.AioRpcError as error:
                self.codes[error.code()] += 1
                if error.code() not in RETRIED:
                    raise AssertionError(f"{error.code()}: {error.details()}") from error
                await asyncio.sleep(0.3)
            else:
                self.codes[grpc.StatusCode.OK] += 1
                return answer

    async def unfinished(self) -> dict[str, str]:
        """The runs that have not completed, with their status. One that failed is a bug."""
        found: dict[str, str] = {}
        for run in sorted(self.ids):
            known = (await self.ask(self.workflows.GetRun, pb.GetRunRequest(run_id=run))).run
            status = pb.RunStatus.Name(known.status)
            assert status not in {"RUN_STATUS_FAILED", "RUN_STATUS_CANCELLED"}, known
            if known.status != pb.RUN_STATUS_COMPLETED:
                found[run] = status
        return found

    async def answers(self) -> None:
        """Raises if the gateway can't list runs (PostgreSQL) and read one (the log)."""
        await self.workflows.ListRuns(pb.ListRunsRequest(page_size=1), metadata=self.auth, timeout=ASK_S_MAX)
        if self.ids:
            some = pb.GetRunRequest(run_id=min(self.ids))
            await self.workflows.GetRun(some, metadata=self.auth, timeout=ASK_S_MAX)

    async def close(self) -> None:
        await self._channel.close()


class Truth:
    """Compares, again and again, what each service says of itself with what it answers. wrong_s: for how long, at the
    longest, the two differed."""

    def __init__(self, nc: Client, runs: Runs, http_ports: Mapping[str, int]) -> None:
        self._nc = nc
        self._runs = runs
        self._ports = http_ports
        self._event_log = EventLog(nc)
        config = {"function_name": "text_splitter", "inputs": {"text": "a"}}
        node = {"id": "a", "type": "function", "config": config}
        self._definition = parse_dict({"name": "truth", "dag": {"nodes": [node]}}).canonical()
        self.wrong_s: dict[str, float] = dict.fromkeys(http_ports, 0.0)
        self._seen: dict[str, tuple[bool, bool]] = {}
        self.flips: Counter[str] = Counter()
        self.story: list[str] = []

    async def watch(self) -> None:
        """Until cancelled."""
        looks = [asyncio.create_task(self._watch(service)) for service in self._ports]
        try:
            done, _ = await asyncio.wait(looks, return_when=asyncio.FIRST_EXCEPTION)
            for look in done:
                look.result()
        finally:
            await tasks.stop(looks)

    def shows(self, services: Iterable[str], *, ready: bool) -> bool:
        """Whether each of them answered (or did not) at the last look, and said so."""
        return all(self._seen.get(service) == (ready, ready) for service in services)

    async def _watch(self, service: str) -> None:
        loop = asyncio.get_running_loop()
        wrong_s, seen, before = 0.0, loop.time(), None
        while True:
            true = await self.answers(service)
            said, parts = await asyncio.to_thread(readyz, self._ports[service])
            now = loop.time()
            wrong_s = wrong_s + min(now - seen, SAMPLE_S_MAX) if said is not true else 0.0
            seen = now
            self._seen[service] = (true, said)
            self.wrong_s[service] = max(self.wrong_s[service], wrong_s)
            if (true, said) != before:
                self.flips[service] += 1
                self.story.append(f"{now:.1f} {service}: answers {true}, says {said} {parts}")
                before = (true, said)
            await asyncio.sleep(SAMPLE_EVERY_S)

    async def answers(self, service: str) -> bool:
        try:
            async with asyncio.timeout(ASK_S_MAX):
                await QUESTIONS[service](self)
        except (AgentFlowError, nats.errors.Error, grpc.aio.AioRpcError, TimeoutError):
            return False
        return True

    async def ask(self, verb: Verb[Any], request: Any) -> None:
        await bus.call(self._nc, verb, request, timeout_s=ASK_S_MAX)

    async def log(self, stream: str = subjects.EVENTS_STREAM) -> None:
        await self._nc.jsm().stream_info(stream)

    async def gateway(self) -> None:
        await self._runs.answers()
        for info in await self._nc.jsm().consumers_info(subjects.EVENTS_STREAM):  # those that it follows have a leader
            if info.config.durable_name and info.config.durable_name.startswith(subjects.durable("gateway", "")):
                await self._nc.jsm().consumer_info(subjects.EVENTS_STREAM, info.config.durable_name)

    async def scheduler(self) -> None:
        """It answers no questions; it begins a run of which the log tells it, on any shard."""
        key = subjects.key_of("truth", ids.new_run_id())
        told = ev.RunSubmitted(
            org=key.org, run=key.name, ts=1, workflow="truth", version=1, definition=self._definition
        )
        await self._nc.jetstream(timeout=ASK_S_MAX).publish(subjects.run_in(key), ev.encode(told))
        while await self._event_log.last(subjects.out_run(key)) is None:
            await asyncio.sleep(0.1)

    async def worker(self) -> None:
        """It answers no questions: the log and its queue are what it needs."""
        await self.log()
        await self._nc.jsm().consumer_info(subjects.EVENTS_STREAM, subjects.pool_durable("default"))

    async def security(self) -> None:
        value = f"mail {secrets.token_hex(4)} to {EMAIL}"
        await self.ask(rpc.PROTECT, rpc.ProtectRequest(org="default", run="truth", value=value))

    async def cost(self) -> None:
        await self.ask(rpc.BUDGET_LIST, rpc.ListBudgetsRequest(org="default"))
        await self.log(subjects.COST_STREAM)


QUESTIONS: Final[dict[str, Callable[[Truth], Awaitable[None]]]] = {
    "gateway": Truth.gateway,
    "scheduler": Truth.scheduler,
    "worker": Truth.worker,
    "prompt": lambda truth: truth.ask(rpc.PROMPT_LIST, rpc.ListPromptsRequest(org="default")),
    "security": Truth.security,
    "cost": Truth.cost,
    "trace": lambda truth: truth.ask(rpc.TRACE_COUNTS, rpc.TraceCountsRequest()),
}


def readyz(port: int) -> tuple[bool, dict[str, str]]:
    """Whether the service says that it is ready, and what is wrong by its own account."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=ASK_S_MAX):
            return True, {}
    except urllib.error.HTTPError as error:
        with error:
            parts: dict[str, str] = json.loads(error.read())["parts"]
        return False, {name: why for name, why in parts.items() if why != "ok"}
    except OSError as error:
        return False, {"http": str(error)}


def verbs() -> list[Verb[Any]]:
    """Returns every verb that any module of agentflow_common.rpc defines."""
    found: dict[str, Verb[Any]] = {}
    for module in (rpc.__name__, *(f"{rpc.__name__}.{inner.name}" for inner in pkgutil.iter_modules(rpc.__path__))):
        members = vars(importlib.import_module(module)).values()
        found.update({member.subject: member for member in members if isinstance(member, Verb)})
    return list(found.values())


def sample(kind: Any) -> Any:
    """A value of a type: small, and valid where the type alone can tell."""
    origin = typing.get_origin(kind) or kind
    if isinstance(origin, type) and issubclass(origin, msgspec.Struct):
        return {field.encode_name: sample(field.type) for field in msgspec.structs.fields(origin) if field.required}
    plain: dict[Any, Any] = {str: "default", int: 1, float: 1.0, bool: False, tuple: [], list: [], dict: {}}
    return plain.get(origin, "default")


async def unanswered(nc: Client) -> dict[str, str]:
    """The verbs that nobody answers. A refusal of the sample is an answer."""
    found: dict[str, str] = {}
    for verb in verbs():
        request = msgspec.convert(sample(verb.request), verb.request)
        try:
            await bus.call(nc, verb, request, timeout_s=PATIENCE_S)
        except AgentFlowError as error:
            if error.code in AWAY:
                found[verb.subject] = f"{error.code}: {error.message}"
    return found

"""Spans of ended runs go from the log to receivers of OTLP, whatever is away or killed meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common import rpc, span_ids, subjects
from agentflow_common.errors import NotFoundError
from agentflow_common.log.durables import durable_consumers
from agentflow_common.log.event_log import Entry, EventLog
from agentflow_common.log.streams import ensure_streams
from agentflow_common.runtime import service
from agentflow_trace.app import app
from agentflow_trace.otel import live
from agentflow_trace.settings import TraceSettings
from tests.support.otlp_receiver import OtlpReceiver, attributes_of
from tests.support.waiting import PATIENCE_S, until

from .asking import ask

pytestmark = pytest.mark.integration
TS = 1_763_700_000_000
TRACE = "00-" + "a1" * 16 + "-" + "b2" * 8 + "-01"


class World:
    def __init__(self, nc: Any, nats_url: str, path: Path, receiver: OtlpReceiver) -> None:
        self.nc, self.log, self.receiver = nc, EventLog(nc), receiver
        self._nats_url, self._path = nats_url, path

    def running(self, endpoints: str | None = None, **more: Any) -> Any:
        chosen = self.receiver.url if endpoints is None else endpoints
        settings = TraceSettings(
            nats_url=self._nats_url,
            clickhouse_path=str(self._path / "clickhouse"),
            trace_export=chosen,
            **more,
        )
        return service.running("trace", settings, app)

    async def ready(self) -> None:
        """Waits until the consumer of ended runs is there."""

        async def there() -> bool:
            found = await durable_consumers(self.nc, subjects.EVENTS_STREAM)
            return live.DURABLE in [info.config.durable_name for info in found]

        await until(there, 3 * PATIENCE_S, "no consumer of ended runs")

    async def run(self, run: str, *, ok: bool = True) -> int:
        """Writes a run of one step with one call; returns the sequence of its last event."""
        key = subjects.key_of("acme", run)
        own: dict[str, Any] = {"org": "acme", "run": run, "trace": TRACE}
        call = ev.LlmAttempt("openai", "m-1", ok, 120, 30, 4_200, 20, "" if ok else "timeout", started_at=TS + 40)
        usage = ev.LlmUsage("openai", "m-1", "analyzer@3", 120, 30, 4_200, attempts=(call,))
        report: ev.Event = ev.StepCompleted(**own, ts=TS + 60, step="ask", attempt=1, started_at=TS + 35, llm=usage)
        ended: ev.Event = ev.RunCompleted(**own, ts=TS + 70, seen=10**9, cost_nano=4_200)
        if not ok:
            error = ev.StepError("timeout", "no answer")
            report = ev.StepFailed(**own, ts=TS + 60, step="ask", attempt=1, started_at=TS + 35, llm=usage, error=error)
            ended = ev.RunFailed(**own, ts=TS + 70, seen=10**9, error=error)
        offer = ev.StepScheduled(
            **own, ts=TS + 30, seen=10**9, step="ask", attempt=1, lane="default", kind="llm", config={}
        )
        submitted = ev.RunSubmitted(**own, ts=TS, workflow="wf", version=1, definition={})
        entries = [
            Entry(subjects.run_in(key), ev.encode(submitted)),
            Entry(subjects.out_task(key, "default"), ev.encode(offer)),
            Entry(subjects.run_in(key), ev.encode(report)),
            Entry(subjects.out_run(key), ev.encode(ended)),
        ]
        acks = await asyncio.gather(*[await self.log.publish(entry) for entry in entries])
        return acks[-1].seq

    async def received(self, *runs: str) -> None:
        async def there() -> bool:
            return set(runs) <= self.runs()

        await until(there, 3 * PATIENCE_S, f"the receiver lacks spans of {runs}")

    def runs(self) -> set[str]:
        return {attributes_of(span)["agentflow.run"] for span in self.receiver.spans()}


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    receiver = OtlpReceiver()
    yield receiver
    receiver.stop()


@pytest.fixture
async def world(nats_url: str, tmp_path: Path, receiver: OtlpReceiver) -> AsyncIterator[World]:
    nc = await service.connect(nats_url, "test")
    await ensure_streams(nc)
    world = World(nc, nats_url, tmp_path, receiver)
    await world.log.start()
    yield world
    await nc.close()


async def test_an_ended_run_is_sent_once_and_asked_for_again_it_is_the_same(
    world: World, receiver: OtlpReceiver
) -> None:
    async with world.running(trace_export_headers="authorization=Bearer x, x-team=a"):
        await world.ready()
        seq = await world.run("run_1")
        await world.received("run_1")
        (request,) = receiver.requests
        assert (receiver.headers[0]["authorization"], receiver.headers[0]["x-team"]) == ("Bearer x", "a")
        assert [span.name for span in receiver.spans()] == ["invoke_workflow wf", "invoke_agent ask", "chat m-1"]
        root, step, call = receiver.spans()
        assert {span.trace_id.hex() for span in receiver.spans()} == {"a1" * 16}
        assert (root.parent_span_id, step.parent_span_id, call.parent_span_id) == (b"", root.span_id, step.span_id)
        assert root.span_id == span_ids.run_span("acme", "run_1")
        assert attributes_of(call)["agentflow.cost.nano_usd"] == 4_200
        asked = await ask(world.nc, rpc.TRACE_SPANS, rpc.SpansRequest("acme", "run_1", seq))
        assert asked.otlp == request.SerializeToString(deterministic=True)
        assert (asked.spans, asked.more) == (3, False)
        for org, run in (("beta", "run_1"), ("acme", "run_2")):
            with pytest.raises(NotFoundError):
                await ask(world.nc, rpc.TRACE_SPANS, rpc.SpansRequest(org, run))


async def test_a_receiver_that_is_away_gets_the_runs_when_it_is_back(world: World, receiver: OtlpReceiver) -> None:
    receiver.statuses = [503, 429, 502]
    async with world.running():
        await world.ready()
        await world.run("run_1")
        await world.run("run_2")
        await world.received("run_1", "run_2")
    assert receiver.refused == 3
    assert len(receiver.requests) == 2


async def test_a_run_that_is_refused_does_not_hold_up_the_next_one(world: World, receiver: OtlpReceiver) -> None:
    receiver.statuses = [400]
    async with world.running():
        await world.ready()
        await world.run("run_1")
        await world.run("run_2")
        await world.received("run_2")
    assert world.runs() == {"run_2"}


async def test_runs_that_end_while_nobody_exports_are_sent_later(world: World, receiver: OtlpReceiver) -> None:
    async with world.running():
        await world.ready()
        receiver.statuses = [503] * 10_000
        await world.run("run_1")

        async def tried() -> bool:
            return receiver.refused > 0

        await until(tried, PATIENCE_S, "nothing was sent")
    receiver.statuses = []
    await world.run("run_2")
    async with world.running():
        await world.received("run_1", "run_2")


async def test_each_receiver_has_each_run_though_another_one_is_away(world: World, receiver: OtlpReceiver) -> None:
    other = OtlpReceiver()
    other.statuses = [503] * 10_000
    try:
        async with world.running(f"{other.url}, {receiver.url}/v1/traces"):
            await world.ready()
            await world.run("run_1")
            await world.received("run_1")
            other.statuses = []

            async def taken() -> bool:
                return bool(other.requests)

            await until(taken, 3 * PATIENCE_S, "the other receiver lacks the run")
        assert other.requests == receiver.requests
    finally:
        other.stop()


async def test_a_run_with_a_failed_step_is_sent_whatever_the_sample(world: World, receiver: OtlpReceiver) -> None:
    async with world.running(trace_export_sample=0.0):
        await world.ready()
        await world.run("run_1")
        await world.run("run_2", ok=False)
        await world.received("run_2")
    assert world.runs() == {"run_2"}


async def test_without_a_receiver_no_consumer_is_left_that_would_hold_up_retention(world: World) -> None:
    async with world.running():
        await world.ready()
    async with world.running(""):

        async def gone() -> bool:
            found = await durable_consumers(world.nc, subjects.EVENTS_STREAM)
            return live.DURABLE not in [info.config.durable_name for info in found]

        await until(gone, 3 * PATIENCE_S, "the consumer of ended runs is still there")

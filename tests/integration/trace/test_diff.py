"""Two runs in a real log are compared by the trace service as the pure comparison does it."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from nats.aio.client import Client

from agentflow_common import events as ev
from agentflow_common import rpc, subjects
from agentflow_common.errors import NotFoundError
from agentflow_common.log.event_log import Entry, EventLog
from agentflow_common.log.streams import ensure_streams
from agentflow_common.runtime import service
from agentflow_trace.app import app
from agentflow_trace.diff.compare import compare
from agentflow_trace.settings import TraceSettings
from tests.property.diff_world import Planting, World, world
from tests.property.test_trace_diff import check_found, check_sums

from .asking import ask

pytestmark = pytest.mark.integration
ORG = "o"  # of the runs that the worlds play


@contextlib.asynccontextmanager
async def _traced(nats_url: str, folder: Path, runs: dict[str, World]) -> AsyncIterator[tuple[Client, int]]:
    """Yields a connection and the last sequence, once the runs are in the log of a running trace service."""
    nc = await service.connect(nats_url, "test")
    await ensure_streams(nc)
    log = EventLog(nc)
    await log.start()
    last = 0
    for run, played in runs.items():
        key = subjects.key_of(ORG, run)
        before = last
        for _, event in played.log(run):
            subject = subjects.run_in(key)
            if isinstance(event, ev.Decision):
                subject = subjects.out_run(key)
                event = msgspec.structs.replace(event, seen=event.seen + before)  # noqa: PLW2901
            last = (await (await log.publish(Entry(subject, ev.encode(event))))).seq
    settings = TraceSettings(nats_url=nats_url, clickhouse_path=str(folder / "clickhouse"))
    try:
        async with service.running("trace", settings, app):
            yield nc, last
    finally:
        await nc.close()


async def test_planted_differences_are_found_through_the_log_and_clickhouse(nats_url: str, tmp_path: Path) -> None:
    rng = random.Random("planted in a log")
    planting = Planting(world(rng), rng)
    for what in ("rename", "reorder", "other_model", "retry", "slow", "one_more_round"):
        planting.plant(what)
    async with _traced(nats_url, tmp_path, {"run_a": planting.old, "run_b": planting.new}) as (nc, last):
        reply = await ask(nc, rpc.TRACE_DIFF, rpc.TraceDiffRequest(org=ORG, a="run_a", b="run_b", min_seq=last))
        check_found(reply, planting)
        check_sums(reply)
        assert reply == compare(planting.old.play("run_a"), planting.new.play("run_b"))

        own = await ask(nc, rpc.TRACE_DIFF, rpc.TraceDiffRequest(org=ORG, a="run_b", b="run_b"))
        assert (own.same, own.steps, own.parts) == (True, (), ())

        for a, b, org in (("run_a", "run_none", ORG), ("run_none", "run_b", ORG), ("run_a", "run_b", "other")):
            with pytest.raises(NotFoundError):
                await ask(nc, rpc.TRACE_DIFF, rpc.TraceDiffRequest(org=org, a=a, b=b))

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
from agentflow_common.errors import InvalidError, NotFoundError
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
        for _, event in played.log(run, tags={"try": run[4]}):
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


async def test_two_groups_of_runs_are_compared_by_the_derived_tables(nats_url: str, tmp_path: Path) -> None:
    rng = random.Random("groups in a log")
    planting = Planting(world(rng), rng)
    (ident,) = [name for name, known in planting.old.behaviours.items() if known.model][:1]
    planting.new.behaviours[ident].cost_nano += 10**9
    planting.new.behaviours["each"].duration_ms += 2_000
    planting.new.names[ident] = "renamed"
    runs = {f"run_a{number}": planting.old for number in range(8)} | {f"run_b{n}": planting.new for n in range(9)}
    async with _traced(nats_url, tmp_path, runs) as (nc, last):

        async def compared(a: rpc.RunGroup, b: rpc.RunGroup, **more: int) -> rpc.TraceGroupsReply:
            question = rpc.TraceGroupsRequest(org=ORG, a=a, b=b, min_seq=last, **more)
            reply: rpc.TraceGroupsReply = await ask(nc, rpc.TRACE_GROUPS, question)
            return reply

        a, b = rpc.RunGroup(tags=("try=a",)), rpc.RunGroup(tags=("b",), workflow="planted", version=1)
        reply = await compared(a, b)
        assert (reply.a.runs, reply.b.runs, reply.b.completed, reply.enough) == (8, 9, 9, True)
        changed = {
            (step.a, step.b, measure.name): measure.change
            for step in reply.steps
            for measure in step.measures
            if measure.significant
        }
        items = len(planting.old.items)
        assert changed == {(ident, "renamed", "cost"): 10**9, ("each", "each", "time"): 2_000 * items}
        cost = next(measure for measure in reply.measures if measure.name == "cost")
        assert (cost.change, cost.low, cost.high, cost.significant) == (10**9, 10**9, 10**9, True)

        same = await compared(a, a)
        assert not any(measure.significant for measure in same.measures)
        assert (await compared(a, b, runs_max=6)).b.runs == 6
        assert not (await compared(a, rpc.RunGroup(tags=("try=c",)))).enough
        for nothing in (
            rpc.RunGroup(model="none"),
            rpc.RunGroup(prompt="none@1"),
            rpc.RunGroup(version=2),
            rpc.RunGroup(status="failed"),
            rpc.RunGroup(start_ms=10**12),
            rpc.RunGroup(tags=("try=a", "try=b")),
            rpc.RunGroup(tags=("' OR 1=1 --",)),
        ):
            assert (await compared(a, nothing)).b.runs == 0, nothing
        assert (await compared(a, rpc.RunGroup(model="small"))).b.runs == 17
        other = rpc.TraceGroupsRequest(org="other", a=a, b=b, min_seq=last)
        assert (await ask(nc, rpc.TRACE_GROUPS, other)).a.runs == 0
        with pytest.raises(InvalidError):
            await compared(a, b, runs_max=501)

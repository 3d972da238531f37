"""The list of runs, and of open approvals: durable consumers of decisions that merge them into Postgres and acknowledge
after the commit.

The tables may be dropped at any time: an empty list of runs makes the consumers start over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence
from typing import Final

import asyncpg
import msgspec
import nats.errors
from nats.js import api
from nats.js.errors import APIError, NotFoundError

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.errors import AgentFlowError
from agentflow_common.httpd import Health
from agentflow_common.pull import Delivery, PullError, WorkQueue
from agentflow_common.telemetry import QUEUE_LAG
from agentflow_gateway.deps import Deps
from agentflow_gateway.handlers import STATUS_BY_TYPE, first_event
from agentflow_gateway.store import RunRow
from agentflow_gateway.store_approvals import ApprovalRow

log = logging.getLogger(__name__)

CREDIT: Final = 512  # run facts in hand: one round trip to Postgres merges them all
_ACK_WAIT_S: Final = 30.0
_BACKOFF_S_MAX: Final = 5.0
_STORE_ERRORS: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


def rows_of(batch: Iterable[tuple[int, ev.AnyEvent]]) -> list[RunRow]:
    """What a batch of (sequence, run fact) adds to the table, one row a run. Pure."""
    rows: dict[tuple[str, str], RunRow] = {}
    for seq, event in batch:
        row = rows.setdefault((event.org, event.run), RunRow(org=event.org, run=event.run))
        if isinstance(event, ev.RunStarted):
            row.workflow, row.version, row.tags = event.workflow, event.version, event.tags
            row.submitted_at, row.started_at = event.submitted_at or event.ts, event.ts
        if seq <= row.seq:
            continue
        row.seq = seq
        row.status = STATUS_BY_TYPE.get(type(event), "running")
        if isinstance(event, ev.RunCompleted | ev.RunFailed | ev.RunCancelled):
            row.finished_at, row.cost_nano = event.ts, event.cost_nano
        if isinstance(event, ev.RunFailed):
            row.error_type = event.error.type
    return list(rows.values())


class Projection:
    """The list of runs."""

    part = "projection"
    durable = subjects.durable("gateway", "runs")
    subject = subjects.ALL_RUN_FACTS
    lag = "gateway.runs"

    def __init__(self, deps: Deps, health: Health) -> None:
        self._deps = deps
        self._health = health

    async def ensure(self) -> None:
        """Makes the consumer; makes it again from the first event when the table is empty."""
        jsm = self._deps.nc.jsm()
        if await self._deps.store.no_runs():
            with contextlib.suppress(NotFoundError):
                info = await jsm.consumer_info(subjects.EVENTS_STREAM, self.durable)
                if info.ack_floor is not None and info.ack_floor.consumer_seq:
                    await jsm.delete_consumer(subjects.EVENTS_STREAM, self.durable)
        config = api.ConsumerConfig(
            durable_name=self.durable,
            filter_subject=self.subject,
            deliver_policy=api.DeliverPolicy.ALL,
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=_ACK_WAIT_S,
            max_ack_pending=4 * CREDIT,
        )
        await jsm.add_consumer(subjects.EVENTS_STREAM, config)

    async def run(self) -> None:
        """Until cancelled. Trouble shows in readiness and is retried; nothing is acknowledged before it is stored."""
        backoff_s = 0.1
        while True:
            queue = WorkQueue(self._deps.nc, subjects.EVENTS_STREAM, self.durable, CREDIT)
            try:
                await self.ensure()
                await queue.start()
                self._health.set_part(self.part, "ok")
                while True:
                    batch = await queue.batch(wait_s=5.0)
                    if batch:
                        await self._apply(batch)
                        queue.release(len(batch))
                        backoff_s = 0.1
            except (PullError, AgentFlowError, nats.errors.Error, APIError, *_STORE_ERRORS) as error:
                self._health.set_part(self.part, f"retrying after {type(error).__name__}")
                log.warning("projection interrupted", extra={"error": type(error).__name__})
            finally:
                await queue.stop()
            await asyncio.sleep(backoff_s)
            backoff_s = min(_BACKOFF_S_MAX, backoff_s * 2)

    async def _apply(self, batch: Sequence[Delivery]) -> None:
        facts: list[tuple[int, ev.AnyEvent]] = []
        for delivery in batch:
            try:
                facts.append((delivery.seq, ev.decode(delivery.data)))
            except msgspec.MsgspecError:
                await self._bury(delivery)
        await self._merge(facts)
        for delivery in batch:
            await self._deps.log.ack(delivery)
        QUEUE_LAG.labels(self.lag).set(batch[-1].pending)

    async def _merge(self, facts: list[tuple[int, ev.AnyEvent]]) -> None:
        nameless = await self._deps.store.put_runs(rows_of(facts))
        for org, run in nameless:  # a run that ended without having started: the submission knows its name
            await self._name(org, run)
        ended = [(event.org, event.run) for _, event in facts if isinstance(event, ev.TERMINAL_RUN)]
        await self._deps.approvals.close_runs(ended)

    async def _name(self, org: str, run: str) -> None:
        event = await first_event(self._deps, subjects.key_of(org, run))
        if event is not None:
            row = RunRow(org=org, run=run, workflow=event.workflow, version=event.version, submitted_at=event.ts)
            row.tags = event.tags
            await self._deps.store.put_runs([row])

    async def _bury(self, delivery: Delivery) -> None:
        """What can't be read goes to the dead letters once, with where it came from, and the queue goes on."""
        log.error("an event can't be read; it is in the dead letters", extra={"seq": delivery.seq})
        await self._deps.log.bury("gateway", delivery, "unreadable")


class ApprovalProjection(Projection):
    """The approvals that are open, as a hint: who lists them looks each run up."""

    part = "approvals"
    durable = subjects.durable("gateway", "approvals")
    subject = subjects.ALL_STEP_DECISIONS
    lag = "gateway.approvals"

    async def _merge(self, facts: list[tuple[int, ev.AnyEvent]]) -> None:
        await self._deps.approvals.merge(approvals_of(facts))


def approvals_of(batch: Iterable[tuple[int, ev.AnyEvent]]) -> list[ApprovalRow]:
    """What a batch of (sequence, step decision) says of approvals, the last word on each step. Pure."""
    rows: dict[tuple[str, str, str], ApprovalRow] = {}
    for seq, event in batch:
        if isinstance(event, ev.StepWaiting) and event.kind == "approval":
            row = ApprovalRow(org=event.org, run=event.run, step=event.step, since=event.ts, seq=seq, open=True)
        elif isinstance(event, ev.StepResolved | ev.StepCancelled | ev.StepTimedOut):
            row = ApprovalRow(org=event.org, run=event.run, step=event.step, since=event.ts, seq=seq, open=False)
        else:
            continue
        rows[(row.org, row.run, row.step)] = row
    return list(rows.values())

"""The lists of runs and of open approvals: durable consumers that merge decisions into Postgres.

They acknowledge after the commit. The tables may be dropped at any time: an empty list of runs makes them start over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.connections import transient
from agentflow_common.log.consumers import Delivery
from agentflow_common.metrics.log import QUEUE_LAG
from agentflow_common.runs.state import RunStatus
from agentflow_common.runs.transitions import STATUS_AFTER
from agentflow_gateway.follower import Follower
from agentflow_gateway.runs.lookup import first_event
from agentflow_gateway.store.approvals import ApprovalRow
from agentflow_gateway.store.runs import RunRow

GATHER_S: Final = 0.05  # how late the lists may be where runs go by without a pause


def rows_of(batch: Iterable[tuple[int, ev.Event]]) -> list[RunRow]:
    """Returns what a batch of (sequence, run fact) adds to the table, one row for each run. Pure."""
    rows: dict[tuple[str, str], RunRow] = {}
    for seq, event in batch:
        row = rows.setdefault((event.org, event.run), RunRow(org=event.org, run=event.run))
        if isinstance(event, ev.RunStarted):
            row.workflow, row.version, row.tags = event.workflow, event.version, event.tags
            row.submitted_at, row.started_at = event.submitted_at or event.ts, event.ts
        if seq <= row.seq:
            continue
        row.seq = seq
        row.status = STATUS_AFTER.get(type(event), RunStatus.RUNNING).value
        if isinstance(event, ev.TERMINAL_RUN):
            row.finished_at, row.cost_nano = event.ts, event.cost_nano
        if isinstance(event, ev.RunFailed):
            row.error_type = event.error.type
    return list(rows.values())


class Projection(Follower):
    """The list of runs."""

    part = "projection"
    durable = subjects.durable("gateway", "runs")
    subject = subjects.ALL_RUN_DECISIONS
    credit = 512  # run facts in hand: one round trip to Postgres merges them all
    ack_pending_max = 4 * credit
    gather_s = GATHER_S
    lag = "gateway.runs"

    async def empty(self) -> bool:
        return await self._deps.store.runs.empty()

    async def apply(self, batch: Sequence[Delivery]) -> None:
        facts: list[tuple[int, ev.Event]] = []
        decoded: list[Delivery] = []
        for delivery in batch:
            if not self._concerns(delivery.data):
                continue
            try:
                facts.append((delivery.seq, ev.decode(delivery.data)))
                decoded.append(delivery)
            except msgspec.MsgspecError:
                await self.bury(delivery)
        try:
            await self._merge(facts)
        except transient.BAD_VALUE:  # one of them holds what no table can: a NUL, a number out of range
            for fact, delivery in zip(facts, decoded, strict=True):
                try:
                    await self._merge([fact])
                except transient.BAD_VALUE:
                    await self.bury(delivery)
        for delivery in batch:
            await self._deps.log.ack(delivery)
        QUEUE_LAG.labels(self.lag).set(batch[-1].pending)

    def _concerns(self, data: bytes) -> bool:  # noqa: ARG002
        """True if the list may need an event, by its first bytes."""
        return True

    async def _merge(self, facts: list[tuple[int, ev.Event]]) -> None:
        nameless = await self._deps.store.runs.put(rows_of(facts))
        for org, run in nameless:  # a run that ended without having started: the submission knows its name
            await self._name(org, run)
        ended = [(event.org, event.run) for _, event in facts if isinstance(event, ev.TERMINAL_RUN)]
        await self._deps.store.approvals.close_runs(ended)

    async def _name(self, org: str, run: str) -> None:
        event = await first_event(self._deps, subjects.key_of(org, run))
        if event is not None:
            await self._deps.store.runs.put([RunRow.submitted(event)])


_CLOSING: Final = (ev.StepResolved, ev.StepCancelled, ev.StepTimedOut, ev.StepUndecidable)
_TYPE: Final = b'{"type":"'  # every event that this version writes begins so
_OF_STEP: Final = _TYPE + b"step."
_ABOUT_APPROVALS: Final = tuple(_TYPE + ev.event_type(kind).encode() for kind in (ev.StepWaiting, *_CLOSING))


class ApprovalProjection(Projection):
    """The approvals that are open, as a hint: the list of approvals looks each run up."""

    part = "approvals"
    durable = subjects.durable("gateway", "approvals")
    subject = subjects.ALL_STEP_DECISIONS
    lag = "gateway.approvals"

    def _concerns(self, data: bytes) -> bool:
        return may_concern_approvals(data)

    async def _merge(self, facts: list[tuple[int, ev.Event]]) -> None:
        await self._deps.store.approvals.merge(approvals_of(facts))


def may_concern_approvals(data: bytes) -> bool:
    """True if an event may open or close an approval, by its first bytes. Pure.

    What does not look like a decision about a step is read too: nonsense goes to the dead letters.
    """
    return data.startswith(_ABOUT_APPROVALS) or not data.startswith(_OF_STEP)


def approvals_of(batch: Iterable[tuple[int, ev.Event]]) -> list[ApprovalRow]:
    """Returns how a batch of (sequence, step decision) leaves the approval of each step. Pure."""
    rows: dict[tuple[str, str, str], ApprovalRow] = {}
    for seq, event in batch:
        if isinstance(event, ev.StepWaiting) and event.kind == "approval":
            row = ApprovalRow(org=event.org, run=event.run, step=event.step, since=event.ts, seq=seq, open=True)
        elif isinstance(event, _CLOSING):
            row = ApprovalRow(org=event.org, run=event.run, step=event.step, since=event.ts, seq=seq, open=False)
        else:
            continue
        rows[(row.org, row.run, row.step)] = row
    return list(rows.values())

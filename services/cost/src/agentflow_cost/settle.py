"""Settlement: counts the actual cost of calls from the event log, exactly once in effect.

A batch is settled in one transaction that records each event's sequence. It is then written to
the ledger AF_COST under the message id `settle-<seq>`, and acknowledged after that.

An event that is delivered again finds its sequence recorded. After a crash in between, the ledger
may lack it. Then the ledger itself is read, because the server remembers message ids for two
minutes only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Final, NamedTuple

import asyncpg
import msgspec
from nats.js import api

from agentflow_common import events, subjects, tasks
from agentflow_common.clock import Clock
from agentflow_common.connections import transient
from agentflow_common.events import CostSettled, LlmUsage, StepCompleted, StepFailed
from agentflow_common.log.consumers import Delivery, PullError, WorkQueue
from agentflow_common.log.event_log import Entry, EventLog
from agentflow_common.metrics.log import QUEUE_LAG
from agentflow_common.runtime.health_server import Health as ServiceHealth
from agentflow_cost import budgets, machine, metrics
from agentflow_cost.handlers import HealthBook
from agentflow_cost.machine import Hold, Settlement
from agentflow_cost.store import Receipt, Store

log = logging.getLogger(__name__)

DURABLE: Final = subjects.durable("cost", "settle")
ACK_WAIT_S: Final = 30.0
ACK_PENDING_MAX: Final = 2000
CREDIT: Final = 1000  # unacknowledged messages: half of what the server allows for all processes
IDLE_S: Final = 5.0
GATHER_S: Final = 0.05  # how late a cost may be settled where steps end without a pause
RETRY_S: Final = 0.5
RETRY_S_MAX: Final = 2.0
START_TRIES_MAX: Final = 20
_LLM: Final = b'"llm":{'  # the field; a node's type in run.submitted is `"type":"llm"`
_TERMINAL: Final = tuple(events.event_type(kind).encode() for kind in events.TERMINAL_RUN)
_BAD_DATA: Final = (*transient.BAD_VALUE, asyncpg.IntegrityConstraintViolationError)


class Item(NamedTuple):
    """A step event with the cost of model calls."""

    delivery: Delivery
    event: StepCompleted | StepFailed
    usage: LlmUsage


class Sorted(NamedTuple):
    """A batch, sorted by what to do with each message."""

    items: list[Item]
    ended: list[tuple[str, str]]  # (org, run)
    poison: list[tuple[Delivery, str]]  # unreadable messages, each with the reason


class Settler:
    """Settles step events. There is one in each process; all share the durable consumer."""

    def __init__(
        self, event_log: EventLog, store: Store, clock: Clock, health: HealthBook, service: ServiceHealth
    ) -> None:
        self._log = event_log
        self._store = store
        self._clock = clock
        self._health = health
        self._service = service

    async def start(self) -> WorkQueue:
        """Creates the durable consumer if it is missing, and opens it.

        Waits until the server can do it.
        """
        for _ in range(START_TRIES_MAX - 1):
            try:
                return await self._open()
            except transient.SURVIVED as error:
                log.warning("the settlement consumer can't be created yet, trying again: %s", type(error).__name__)
                await asyncio.sleep(RETRY_S)
        return await self._open()

    async def _open(self) -> WorkQueue:
        config = api.ConsumerConfig(
            durable_name=DURABLE,
            deliver_policy=api.DeliverPolicy.ALL,
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT_S,
            max_ack_pending=ACK_PENDING_MAX,
            filter_subjects=[subjects.ALL_INS, subjects.ALL_RUN_DECISIONS],
        )
        await self._log.nc.jsm().add_consumer(subjects.EVENTS_STREAM, config)
        queue = WorkQueue(self._log.nc, subjects.EVENTS_STREAM, DURABLE, CREDIT, GATHER_S)
        await queue.start()
        return queue

    async def run(self, queue: WorkQueue) -> None:
        """Settles until cancelled. Creates the consumer again if it is lost."""
        while True:
            try:
                batch = await queue.batch(IDLE_S)
            except PullError as error:
                log.warning("the settlement consumer was lost and is created again: %s", error)
                queue = await self._restart(queue)
                continue
            if batch:
                await self._process(batch)
                queue.release(len(batch))

    async def _restart(self, queue: WorkQueue) -> WorkQueue:
        await queue.stop()
        while True:
            with contextlib.suppress(*transient.SURVIVED):
                return await self.start()

    async def _process(self, batch: Sequence[Delivery]) -> None:
        """Makes the batch's effects durable, then acknowledges it.

        Waits for stores that are down.
        """
        found = sort(batch)
        for pause_s in tasks.pauses(RETRY_S, RETRY_S_MAX):
            try:
                await self._take_effect(found)
                break
            except transient.SURVIVED as error:
                self._service.set_part("settle", f"waiting: {type(error).__name__}")
                log.warning(
                    "settlement waits for a store: %s", type(error).__name__, extra={"events": len(found.items)}
                )
                await asyncio.sleep(pause_s)
        self._service.set_part("settle", "ok")
        for delivery in batch:
            await self._log.ack(delivery)
        QUEUE_LAG.labels("cost.settle").set(batch[-1].pending)

    async def _take_effect(self, found: Sorted) -> None:
        """Settles the items, records the ends of runs, and writes the ledger. Idempotent."""
        for delivery, why in found.poison:
            await self._bury(delivery, why)
        try:
            await self._settle(found.items)
        except _BAD_DATA:
            for item in found.items:  # find the item that the database refuses
                try:
                    await self._settle([item])
                except _BAD_DATA as error:
                    await self._bury(item.delivery, type(error).__name__)
        if found.ended:
            await self._store.end_runs(found.ended, self._clock.now_ms())

    async def _bury(self, delivery: Delivery, why: str) -> None:
        log.error("an event can't be settled and is now a dead letter", extra={"seq": delivery.seq, "why": why})
        await self._log.bury("cost", delivery, why)

    async def _settle(self, items: Sequence[Item]) -> None:
        if not items:
            return
        receipts = await self._record(items)
        await self._publish(items, receipts)
        for item in items:
            if receipts[item.delivery.seq].fresh:
                self._learn(item)
                metrics.count(item.event.org, item.usage)

    async def _record(self, items: Sequence[Item]) -> dict[int, Receipt]:
        """Records sequences, accounts and reservations in one transaction."""
        now = self._clock.now_ms()
        known = await self._store.holds(i.usage.reservation for i in items if i.usage.reservation)
        async with self._store.transaction() as transaction:
            settlements: list[Settlement] = []
            for item in items:
                hold = _own(known, item)
                fallback: tuple[str, ...] = ()
                if hold is None and item.usage.cost_nano:
                    # the reservation is unknown, but the money is spent
                    org = item.event.org
                    fallback = budgets.accounts_for(
                        org, item.event.run, await transaction.budgets(org), "", item.event.ts
                    )
                name = hold.id if hold is not None else ""
                settlements.append(Settlement(item.delivery.seq, name, item.usage.cost_nano, fallback))
            names = {a for s in settlements for a in (known[s.reservation].accounts if s.reservation else s.fallback)}
            await transaction.lock_accounts(sorted(names), now)
            holds = await transaction.lock_holds(s.reservation for s in settlements if s.reservation)
            owners = [(item.event.org, item.event.run) for item in items]
            fresh = await transaction.record(settlements, owners)
            changes = machine.settle([s for s in settlements if s.seq in fresh], holds)
            await transaction.apply(changes, now)
            await transaction.note_reserved(changes.reserved)
            return await transaction.receipts([s.seq for s in settlements], fresh)

    async def _publish(self, items: Sequence[Item], receipts: dict[int, Receipt]) -> None:
        """Appends the settlements that the ledger lacks, all in flight at once."""
        missing = {item.delivery.seq: item for item in items if not receipts[item.delivery.seq].published}
        for seq in [seq for seq in missing if not receipts[seq].fresh]:
            if await self._in_ledger(missing[seq]):
                await self._store.mark_published([seq])
                del missing[seq]
        if not missing:
            return
        futures = [await self._log.publish(self._entry(i, receipts[s].reserved)) for s, i in missing.items()]
        for future in futures:
            await future
        await self._store.mark_published(list(missing))

    async def _in_ledger(self, item: Item) -> bool:
        subject = subjects.cost_ledger(item.event.org, item.event.run)
        for stored in await self._log.read(subject, stream=subjects.COST_STREAM):
            event = events.decode(stored.data)
            if isinstance(event, CostSettled) and event.source_seq == item.delivery.seq:
                return True
        return False

    def _entry(self, item: Item, reserved: int) -> Entry:
        event, usage, seq = item.event, item.usage, item.delivery.seq
        settled = CostSettled(
            org=event.org, run=event.run, ts=self._clock.now_ms(), trace=event.trace, step=event.step,
            attempt=event.attempt, reservation=usage.reservation, provider=usage.provider, model=usage.model,
            input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, cost_nano=usage.cost_nano,
            reserved_nano=reserved, source_seq=seq,
        )  # fmt: skip
        return Entry(subjects.cost_ledger(event.org, event.run), events.encode(settled), msg_id=f"settle-{seq}")

    def _learn(self, item: Item) -> None:
        now = self._clock.now_ms()
        for attempt in item.usage.attempts:
            key = (attempt.provider, attempt.model)
            health = machine.after_attempt(self._health.get(key, machine.Health()), attempt.ok, now)
            if health == machine.Health():
                self._health.pop(key, None)
            else:
                self._health[key] = health


def _own(known: dict[str, Hold], item: Item) -> Hold | None:
    """Returns the event's reservation if it belongs to the event's run."""
    hold = known.get(item.usage.reservation)
    return hold if hold is not None and (hold.org, hold.run) == (item.event.org, item.event.run) else None


def sort(batch: Sequence[Delivery]) -> Sorted:
    """Sorts a batch.

    Most messages are irrelevant here, so it searches the raw bytes before it decodes.
    """
    found = Sorted([], [], [])
    for delivery in batch:
        decided = delivery.subject.endswith(".out.run")
        if decided and not any(word in delivery.data for word in _TERMINAL):
            continue
        if not decided and _LLM not in delivery.data:
            continue
        try:
            event = events.decode(delivery.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            found.poison.append((delivery, type(error).__name__))
            continue
        if isinstance(event, events.TERMINAL_RUN):
            found.ended.append((event.org, event.run))
        elif isinstance(event, StepCompleted | StepFailed) and event.llm is not None:
            if 0 <= event.llm.cost_nano <= machine.AMOUNT_NANO_MAX:
                found.items.append(Item(delivery, event, event.llm))
            else:
                found.poison.append((delivery, "cost out of range"))
    return found

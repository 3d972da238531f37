"""Writes one stream of the log to ClickHouse, exactly once in effect.

Three facts ensure this:

- An insert takes effect only behind the newest row, and only one of two that begin there (`Store.insert`).
  So a writer that was replaced can't double rows.
- An insert is one atomic part (one partition, acknowledged when stored). The rows in ClickHouse are
  therefore always a whole prefix of the log. A message that reports several steps has several rows,
  which are in the same part.
- The position from which to continue is stored nowhere else. It is max(stream_seq) + 1, read from
  ClickHouse itself after a start and after any failed insert.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from nats.js.errors import APIError

from agentflow_common import subjects, tasks
from agentflow_common.connections import clickhouse
from agentflow_common.errors import DeadlineError
from agentflow_common.log.consumers import Delivery, Tail
from agentflow_common.log.event_log import EventLog
from agentflow_common.metrics import trace as metrics
from agentflow_common.metrics.log import QUEUE_LAG
from agentflow_trace import rows
from agentflow_trace.rows import Row
from agentflow_trace.settings import TraceSettings
from agentflow_trace.store import Store
from agentflow_trace.store_archive import ArchiveStore

log = logging.getLogger(__name__)

WAIT_S: Final = 2.0  # without messages for this long the stream is checked, which also detects a silent server
BUFFER_BYTES_MAX: Final = 32 * 1024 * 1024  # bodies that wait for ClickHouse; beyond it the tail delivers no more
BATCH_BYTES_MAX: Final = 16 * 1024 * 1024
FAR_BEHIND: Final = 50_000  # messages
ROW_BYTES: Final = 256  # of a row beside its body
GAP_INLINE_MAX: Final = 1_000  # ClickHouse itself fills longer stretches of removed messages
PAUSE_S_MAX: Final = 2.0  # readiness comes back within this time and a second
WATCH_S: Final = 0.5
GATHER_S: Final = 0.1  # between two looks at a stream that nobody waits for
NO_TABLES_S_MAX: Final = 15.0


class Ingest:
    """Follows one stream until cancelled. `ingested` is the newest sequence in ClickHouse."""

    def __init__(
        self,
        stream: str,
        event_log: EventLog,
        store: Store,
        settings: TraceSettings,
        report: Callable[[str, str], None],
        archive: ArchiveStore,
    ) -> None:
        self.stream = stream
        self.ingested = 0
        self.identity = ""  # of the log that the rows come from
        self.held_at_start = 0
        self._acknowledged = 0  # the newest row of an insert that ClickHouse acknowledged
        self._losses = 0
        self.feed: Callable[[Sequence[Row]], None] | None = None  # takes the rows that were inserted
        self._archive = archive
        self._kept = (0, 0, 0)  # first, last sequence and newest time of purged runs that survive outside of `events`
        self._log = event_log
        self._store = store
        self._rows_max = settings.trace_batch_rows
        self._age_s = settings.trace_batch_age_ms / 1000
        self._report = report
        self._buffer: list[Row] = []
        self._bytes = 0
        self._read_to = 0
        self._oldest = 0.0
        self._pending = 0
        self._changed = asyncio.Event()  # rows came in, or somebody waits for them
        self._room = asyncio.Event()
        self._waiting = 0
        self._tail: Tail | None = None
        self._moved = asyncio.Condition()
        for known in (metrics.ROWS, metrics.INSERT_FAILURES, metrics.GAPS, metrics.REMOVED):
            known.labels(stream)  # an alert sees the first increase only of a series that is there
        self._lag = QUEUE_LAG.labels("trace" if stream == subjects.EVENTS_STREAM else f"trace.{stream}")

    @property
    def far_behind(self) -> bool:
        """True while the log has many more messages than were read. Who can wait leaves the processor to it."""
        return self._pending > FAR_BEHIND

    async def prepare(self, anew: bool = False) -> None:
        """Finds the position from which to continue.

        Rows of another log, and rows with a hole, are dropped and read again. anew: all rows are.
        """
        info = await self._log.nc.jsm().stream_info(self.stream)
        identity = info.created.isoformat() if info.created else ""
        held = await self._store.position(self.stream)
        self.identity, self.held_at_start = identity, held.last
        known = await self._store.identity(self.stream)
        lost = held.rows and (held.last > info.state.last_seq or held.first > max(1, info.state.first_seq))
        lost = lost or not await self._same_newest(held.last)
        if anew or ((known or held.rows) and (known != identity or not held.whole or lost)):
            if known == identity and not anew:
                metrics.GAPS.labels(self.stream).inc()
            log.warning(
                "rows are dropped and read from the log again",
                extra={"stream": self.stream, "rows": held.rows, "whole": held.whole, "same_log": known == identity},
            )
            await self._store.set_identity(self.stream, "rebuilding")
            await self._archive.keep(self.stream)
            await self._store.drop_stream(self.stream)
            known, held = "", await self._store.position(self.stream)
        if known != identity:
            await self._store.set_identity(self.stream, identity)
        self._kept = await self._archive.kept(self.stream, identity)
        self._set_position(held.last)

    async def _same_newest(self, seq: int) -> bool:
        """True if the log still has the message that was read last.

        After a loss of power the log may have lost messages and grown again.
        """
        if not seq:
            return True
        found = await self._log.read(">", seq - 1, limit=1, stream=self.stream)
        if not found or found[0].seq != seq:
            return True  # removed since then, as schedules are
        body = await self._store.body_at(self.stream, seq)
        return body is None or body == rows.text(found[0].data)

    def _set_position(self, seq: int) -> None:
        self._buffer.clear()
        self._bytes = 0
        self.ingested = self._read_to = seq

    async def run(self) -> None:
        """Reads and writes. After any failure it continues from the newest row in ClickHouse."""
        pause = 0.1
        while True:
            began = asyncio.get_running_loop().time()
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._read(), name=f"trace-read-{self.stream}")
                    group.create_task(self._write(), name=f"trace-write-{self.stream}")
            except* Exception as errors:
                first = errors.exceptions[0]
                metrics.INSERT_FAILURES.labels(self.stream).inc()
                self._report(self.stream, f"ingestion stopped: {type(first).__name__}; trying again")
                log.warning("ingestion stopped", extra={"stream": self.stream}, exc_info=first)
            if asyncio.get_running_loop().time() - began > 10 * PAUSE_S_MAX:
                pause = 0.1
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSE_S_MAX)
            await self._look_up()

    async def _look_up(self) -> None:
        """Asks ClickHouse for the newest row, because a failed insert may have taken effect.

        Raises RuntimeError if ClickHouse has lost its tables. A start of the service creates them
        and fills them from the log.
        """
        began = asyncio.get_running_loop().time()
        while True:
            try:
                last = (await self._store.position(self.stream)).last
                if last < self._acknowledged:
                    self._losses += 1  # ClickHouse remembers the insert but has lost its rows: this is another insert
                    self._acknowledged = last
                self._set_position(last)
            except Exception as error:
                gone = clickhouse.has_no_tables(error)
                if gone and asyncio.get_running_loop().time() - began > NO_TABLES_S_MAX:
                    raise RuntimeError("ClickHouse has come back without its tables") from error
                if not clickhouse.session_locked(error):
                    log.warning("ClickHouse does not answer", extra={"error_type": type(error).__name__})
                await asyncio.sleep(1.0)
            else:
                self._report(self.stream, "ok")
                return

    # --- reading the log ---

    async def _read(self) -> None:
        tail = self._log.tail((), self._read_to + 1, self.stream, gather_s=GATHER_S)  # no filter: every message
        self._tail = tail
        try:
            while True:
                deliveries = await tail.batch(WAIT_S)
                await self._take(deliveries)
                if not deliveries and self._kept[1] > self._read_to:
                    await self._fill_end()
                self._lag.set(self._pending + len(self._buffer))
                if not self._pending and not self._buffer:
                    metrics.INGEST_AGE.labels(self.stream).set(0)
                while self._bytes >= BUFFER_BYTES_MAX or len(self._buffer) >= 4 * self._rows_max:
                    self._room.clear()
                    await self._room.wait()
        finally:
            await tail.stop()

    async def _take(self, deliveries: Sequence[Delivery]) -> None:
        """Makes rows of messages. All that follow each other are one step of the loop: a message costs microseconds."""
        while deliveries:
            taken = self._follow(deliveries)
            deliveries = deliveries[taken:]
            if deliveries:
                await self._gap(self._expected, deliveries[0].seq - 1, deliveries[0].ts)

    @property
    def _expected(self) -> int:
        return self._read_to + 1 if self._read_to else self._kept[0]

    def _follow(self, deliveries: Sequence[Delivery]) -> int:
        """Takes messages up to the first one with a gap before it, and returns their number.

        Passes over those delivered again.
        """
        stream, expected, size = self.stream, self._expected, 0
        found: list[Row] = []
        number = len(deliveries)
        for place, delivery in enumerate(deliveries):
            seq = delivery.seq
            if seq != expected:
                if seq <= self._read_to:
                    continue
                if expected and seq > expected:
                    number = place
                    break
            row = rows.of(stream, delivery.subject, delivery.data, seq, delivery.ts, delivery.found)
            several = rows.singly(row, delivery.data)
            found += several
            for one in several:
                size += len(one.body)
            self._read_to = seq
            expected = seq + 1
        if number:
            self._pending = deliveries[number - 1].pending
        self._put(found, size)
        return number

    def _put(self, found: Sequence[Row], size: int) -> None:
        """Puts rows into the buffer. size: of their bodies."""
        if not found:
            return
        if not self._buffer:
            self._oldest = asyncio.get_running_loop().time()
        self._buffer += found
        self._bytes += size + ROW_BYTES * len(found)
        self._read_to = found[-1].stream_seq
        self._changed.set()

    async def _fill_end(self) -> None:
        """Fills the end of the log, if all messages there were those of runs that have left it."""
        found = await self._log.read(">", self._read_to, limit=1, stream=self.stream)
        if not found:
            await self._gap(self._expected, self._kept[1], self._kept[2])

    async def _gap(self, first: int, last: int, stored_at: int) -> None:
        """Fills a gap in sequences.

        Deliveries have no gap, so the server had removed these messages.
        """
        restored = self._kept[1] >= first
        metrics.REMOVED.labels(self.stream).inc(last - first + 1)
        if last - first < GAP_INLINE_MAX and not restored:
            self._put([rows.removed(self.stream, seq, stored_at) for seq in range(first, last + 1)], 0)
            return
        async with self._moved:
            await self._moved.wait_for(lambda: not self._buffer)
        log.info("filling removed sequences", extra={"stream": self.stream, "first": first, "last": last})
        if restored:
            await self._archive.fill(self.stream, self.identity, first, last, stored_at)
        else:
            await self._store.fill(self.stream, first, last, stored_at)
        self._read_to = last
        await self._advance(last)

    # --- writing ClickHouse ---

    async def _write(self) -> None:
        while True:
            await self._due()
            batch = self._batch()
            await self._store.insert(batch, self.ingested, f"{self.identity}:{self._losses}")
            self._acknowledged = batch[-1].stream_seq
            metrics.ROWS.labels(self.stream).inc(len(batch))
            metrics.INGEST_AGE.labels(self.stream).set(max(0.0, time.time() - batch[-1].stored_at / 1000))
            del self._buffer[: len(batch)]
            self._bytes -= sum([len(row.body) for row in batch]) + ROW_BYTES * len(batch)
            self._oldest = asyncio.get_running_loop().time()
            self._room.set()
            self._report(self.stream, "ok")
            await self._advance(batch[-1].stream_seq, batch)

    async def _due(self) -> None:
        """Returns when the buffer should be inserted: it is full, old enough, or somebody waits for it."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            if self._buffer:
                left = self._oldest + self._age_s - loop.time()
                # if it is far behind, large batches help waiting callers most
                hurry = self._waiting and not self._pending
                if left <= 0 or hurry or len(self._buffer) >= self._rows_max or self._bytes >= BATCH_BYTES_MAX:
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._changed.wait()
            else:
                await self._changed.wait()

    def _batch(self) -> list[Row]:
        """Returns the rows to insert together. Those of one message always are."""
        batch = self._buffer[: self._rows_max]
        size = 0
        for number, row in enumerate(batch):
            size += len(row.body)
            if size > BATCH_BYTES_MAX and number:
                batch = batch[:number]
                break
        batch += self._buffer[len(batch) : len(batch) + batch[-1].later]
        return batch[: rows.same_partition(batch)]

    async def _advance(self, seq: int, batch: Sequence[Row] = ()) -> None:
        async with self._moved:
            self.ingested = seq
            self._moved.notify_all()
        if self.feed is not None:
            self.feed(batch)

    # --- waiting readers ---

    async def wait_for(self, seq: int, timeout_s: float) -> None:
        """Returns once ClickHouse has everything up to `seq`.

        Raises DeadlineError (retryable) if that takes too long.
        """
        if self.ingested >= seq:
            return
        self._waiting += 1
        self._changed.set()
        if self._tail is not None:
            self._tail.hurry()
        try:
            async with asyncio.timeout(timeout_s):
                while self.ingested < seq:
                    try:
                        async with asyncio.timeout(WATCH_S), self._moved:
                            await self._moved.wait_for(lambda: self.ingested >= seq)
                    except TimeoutError:
                        if await self._nothing_until(seq):
                            return
                        tasks.heed_cancellation()
        except TimeoutError as error:
            raise DeadlineError(
                f"the trace has {self.stream} up to {self.ingested:,}, not yet up to {seq:,}: ask again",
                kind="trace_behind",
            ) from error
        finally:
            self._waiting -= 1

    async def has(self, seq: int) -> bool:
        """Returns whether ClickHouse has everything up to `seq` that is in the log or in the archive."""
        if self.ingested >= seq:
            return True
        return self.ingested >= self._kept[1] and await self._nothing_until(seq)

    async def _nothing_until(self, seq: int) -> bool:
        """True if the missing messages up to `seq` have left the log, such as purged schedules at its end."""
        try:
            found = await self._log.read(">", self.ingested, limit=1, stream=self.stream)
        except APIError:
            return False
        return not found or found[0].seq > seq

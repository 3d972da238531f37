"""Follows the events in ClickHouse and writes the derived tables behind them.

Three facts ensure that the tables are what a fold of the log gives:

- The position from which to continue is in ClickHouse. It is written after the derived rows, so rows may be derived
  twice but are never left out.
- A row of `runs` or `steps` depends only on the log up to its `last_seq`. So a row that is derived twice is the same
  row, or is replaced by the newer one.
- `llm_calls` and `costs` are only added to, in the order of the log. Their newest sequence says what they have.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from agentflow_common import tasks
from agentflow_common.errors import DeadlineError, RetryableError
from agentflow_common.metrics import trace as metrics
from agentflow_common.metrics.log import QUEUE_LAG
from agentflow_trace.derive.fold import Folder
from agentflow_trace.derive.store import TABLES, DeriveStore
from agentflow_trace.derive.tables import Derived
from agentflow_trace.ingest import Ingest
from agentflow_trace.rows import Row

log = logging.getLogger(__name__)


PAUSE_S: Final = 0.2  # between two beginnings, unless somebody waits: the more there is at once, the cheaper it is
PAUSE_S_MAX: Final = 1.0  # if one takes long: at least a third of the time is left for the ingestion
BATCH_ROWS_MAX: Final = 40_000
QUEUE_ROWS_MAX: Final = 80_000  # beyond these bounds the rows are read from ClickHouse again
QUEUE_BYTES_MAX: Final = 32 * 1024 * 1024
BULK_SEQS: Final = 100_000  # if more is missing, it is derived run by run
BULK_SEQS_MAX: Final = 500_000  # at once: its costs and calls are collected, and written in order
TURN_ROWS: Final = 500  # folded without letting others run
RETRY_S_MAX: Final = 2.0
WATCH_S: Final = 1.0


class Derive:
    """Derives until cancelled. `derived` is the sequence of AF_EVENTS up to which the tables are whole."""

    def __init__(self, store: DeriveStore, ingest: Ingest, report: Callable[[str, str], None]) -> None:
        self.derived = 0
        self._store = store
        self._ingest = ingest
        self._report = report
        self._generation = ""
        self._folder = Folder()
        self._queue: deque[Sequence[Row]] = deque()  # inserted, in order
        self._queue_rows = 0
        self._queue_bytes = 0
        self._began = 0.0
        self._pause_s = PAUSE_S
        self._waiting = 0
        self._changed = asyncio.Event()
        self._moved = asyncio.Condition()
        self._lag = QUEUE_LAG.labels("trace.derived")

    async def prepare(self) -> None:
        """Finds the position from which to continue. If the events were read anew, everything is derived anew."""
        generation = await self._store.generation()
        position = await self._store.position(generation)
        if position is None:
            await self._store.drop_all()
            await self._store.note(generation, 0)
        # rows may have been derived that ClickHouse had acknowledged and then lost
        position = min(position or 0, await self._store.last())
        self._generation = generation
        self._forget()
        self._folder.clear()
        self._folder.calls_to = max(position, await self._store.spent_to("llm_calls"))
        self._folder.costs_to = max(position, await self._store.spent_to("costs"))
        await self._advance(position)

    def feed(self, batch: Sequence[Row]) -> None:
        """Takes rows that were inserted. Without rows: ClickHouse has inserted some by itself."""
        if batch:
            self._queue.append(batch)
            self._queue_rows += len(batch)
            self._queue_bytes += sum(len(row.body) for row in batch)
            if self._queue_rows > QUEUE_ROWS_MAX or self._queue_bytes > QUEUE_BYTES_MAX:
                self._forget()
        self._changed.set()

    def _forget(self) -> None:
        self._queue.clear()
        self._queue_rows = self._queue_bytes = 0

    async def run(self) -> None:
        """Derives. After any failure it continues from the position in ClickHouse."""
        loop = asyncio.get_running_loop()
        pause = 0.1
        while True:
            try:
                while True:
                    await self._due()
                    self._began = loop.time()
                    await self._turn()
                    self._pause_s = min(PAUSE_S_MAX, max(PAUSE_S, 1.5 * (loop.time() - self._began)))
                    self._report("derived tables", "ok")
                    pause = 0.1
            except Exception as error:
                metrics.DERIVE_FAILURES.inc()
                self._report("derived tables", f"deriving stopped: {type(error).__name__}; trying again")
                log.warning("deriving stopped", exc_info=error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, RETRY_S_MAX)
                await self._again()

    async def _again(self) -> None:
        while True:
            try:
                await self.prepare()
            except Exception as error:
                log.warning("ClickHouse does not answer", extra={"error_type": type(error).__name__})
                await asyncio.sleep(RETRY_S_MAX)
            else:
                return

    async def _due(self) -> None:
        """Returns when there is something to derive, and it is long enough ago or somebody waits for it.

        While the events are far behind the log, they come first.
        """
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            self._lag.set(max(0, self._ingest.ingested - self.derived))
            left = WATCH_S
            if self._ingest.ingested > self.derived and (self._waiting or not self._ingest.far_behind):
                left = 0.0 if self._waiting else self._began + self._pause_s - loop.time()
                if left <= 0:
                    return
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                tasks.heed_cancellation()

    async def _turn(self) -> None:
        top = self._ingest.ingested
        while self._queue and self._queue[0][-1].stream_seq <= self.derived:
            self._pop()
        if not self._queue or self._queue[0][0].stream_seq > self.derived + 1:
            if self._queue:
                top = self._queue[0][0].stream_seq - 1
            top = min(top, await self._store.last())
            if top <= self.derived:
                return  # these were acknowledged, and are inserted again
            if top - self.derived > BULK_SEQS:
                await self._bulk(min(top, self.derived + BULK_SEQS_MAX))
            else:
                await self._take(*await self._store.window(self.derived, top))
            return
        batch: list[Row] = []
        while self._queue and len(batch) < BATCH_ROWS_MAX and self._queue[0][0].stream_seq <= self._end(batch) + 1:
            batch += self._pop()
        await self._take([row for row in batch if row.stream_seq > self.derived], batch[-1].stream_seq)

    def _end(self, batch: Sequence[Row]) -> int:
        return batch[-1].stream_seq if batch else self.derived

    def _pop(self) -> Sequence[Row]:
        batch = self._queue.popleft()
        self._queue_rows -= len(batch)
        self._queue_bytes -= sum(len(row.body) for row in batch)
        return batch

    async def _take(self, batch: Sequence[Row], to: int) -> None:
        """Derives the rows after `derived` and up to `to`."""
        folder = self._folder
        gone = await self._store.older(folder.again(batch))
        missing = folder.missing(batch)
        if missing:
            if await self._store.last() < to:
                raise RetryableError("ClickHouse lacks events that it had acknowledged", kind="events_missing")
            before = Folder()
            before.calls_to = before.costs_to = batch[-1].stream_seq  # written long ago
            async for page in self._store.before(missing, batch[0].stream_seq):
                await self._fold(before, page)
            for key in missing:
                folder.put(before.run(key))
        await self._fold(folder, batch)
        await self._write(_joined(gone, folder.flush()))
        await self._note(to)

    async def _bulk(self, to: int) -> None:
        """Derives everything up to `to`, run by run."""
        log.info("deriving many events", extra={"first": self.derived + 1, "last": to})
        folder = Folder()
        folder.calls_to, folder.costs_to = self._folder.calls_to, self._folder.costs_to
        self._folder.clear()
        spent = Derived([], [], [], [])
        async for page in self._store.touched(self.derived, to):
            gone = await self._store.older([row for row in folder.again(page) if row.stream_seq > self.derived])
            await self._fold(folder, page)
            found = folder.flush()
            spent.calls.extend(found.calls)
            spent.costs.extend(found.costs)
            await self._write(_joined(gone, found._replace(calls=[], costs=[])))
        spent.calls.sort()
        spent.costs.sort()
        await self._write(spent)
        await self._note(to)

    async def _fold(self, folder: Folder, batch: Sequence[Row]) -> None:
        for some in _turns(batch):
            folder.take(some)
            await asyncio.sleep(0)

    async def _write(self, derived: Derived) -> None:
        await self._store.write(derived)
        counts = (len(derived.runs), len(derived.steps), len(derived.calls), len(derived.costs))
        for table, count in zip(TABLES, counts, strict=True):
            metrics.DERIVED_ROWS.labels(table).inc(count)

    async def _note(self, to: int) -> None:
        await self._store.note(self._generation, to)
        self._folder.calls_to = max(self._folder.calls_to, to)
        self._folder.costs_to = max(self._folder.costs_to, to)
        await self._advance(to)

    async def _advance(self, seq: int) -> None:
        async with self._moved:
            self.derived = seq
            self._moved.notify_all()

    async def wait_for(self, seq: int, timeout_s: float) -> None:
        """Returns once the derived tables have everything up to `seq`.

        Raises DeadlineError (retryable) if that takes too long.
        """
        if self.derived >= seq:
            return
        self._waiting += 1
        self._changed.set()
        try:
            async with asyncio.timeout(timeout_s):
                await self._ingest.wait_for(seq, timeout_s)
                to = min(seq, self._ingest.ingested)  # messages after it have left the log
                async with self._moved:
                    await self._moved.wait_for(lambda: self.derived >= to)
        except TimeoutError as error:
            raise DeadlineError(
                f"the trace has derived events up to {self.derived:,}, not yet up to {seq:,}: ask again",
                kind="trace_behind",
            ) from error
        finally:
            self._waiting -= 1


def _joined(gone: Derived, found: Derived) -> Derived:
    return Derived(gone.runs + found.runs, gone.steps + found.steps, found.calls, found.costs)


def _turns(batch: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Yields a batch in portions that never part the rows of a message."""
    first = 0
    while first < len(batch):
        end = min(first + TURN_ROWS, len(batch))
        end += batch[end - 1].later
        yield batch[first:end]
        first = end

"""The SQL of the table `events`. Values are bound parameters, and reads do not depend on merges."""

from __future__ import annotations

from typing import Final, NamedTuple

from agentflow_common.connections.clickhouse import ClickHouse
from agentflow_common.rpc import TraceCountsReply
from agentflow_common.subjects import EVENTS_STREAM
from agentflow_trace import rows
from agentflow_trace.rows import Row

RUN_ROWS_MAX: Final = 200_000  # of one run in one answer; about 60,000 steps
FILL_ROWS: Final = 1_000_000
_MS = "toUnixTimestamp64Milli"
_SELECT_RUN: Final = ", ".join(
    f"{_MS}({name})" if kind.startswith("DateTime64") else name for name, kind in rows.COLUMNS.items()
)


class Position(NamedTuple):
    """The rows of a stream."""

    rows: int  # that are the rows of messages
    first: int
    last: int

    @property
    def whole(self) -> bool:
        """True if no sequence between first and last is missing or doubled."""
        return self.rows == 0 or self.rows == self.last - self.first + 1


class Store:
    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    # --- writing: one writer, see ingest.py ---

    async def insert(self, batch: list[Row], after: int, token: str = "") -> None:
        """Inserts rows of one stream behind its newest row as one part, stored on return.

        All must be in one partition (`rows.same_partition`). after: the sequence of the newest row. If another row
        is the newest, the insert is refused (`clickhouse.refused`). token: tells it from earlier inserts at this place.

        So a writer that was replaced can't write a row a second time. An insert that begins late is refused. One that
        began before its successor's insert ended has the same token, and the first one of both takes effect.
        """
        stream = batch[0].stream
        await self._clickhouse.insert_once(
            "events", rows.COLUMNS, rows.columns(batch),
            f"{stream}:{after}:{token}",
            "(SELECT max(stream_seq) FROM events WHERE stream = {stream:String}) = {after:UInt64}",
            {"stream": stream, "after": after},
        )  # fmt: skip

    async def fill(self, stream: str, first: int, last: int, stored_at: int) -> None:
        """Lets ClickHouse make the rows for a long stretch of removed sequences, in ascending order."""
        for position, count in rows.stretches(first, last, FILL_ROWS):
            await self._clickhouse.command(
                "INSERT INTO events (stream, stream_seq, ts, stored_at, type) "
                "SELECT {stream:String}, number, fromUnixTimestamp64Milli({at:Int64}), "
                "fromUnixTimestamp64Milli({at:Int64}), {type:String} "
                "FROM numbers({first:UInt64}, {count:UInt64}) SETTINGS max_threads = 1",
                {"stream": stream, "at": stored_at, "type": rows.REMOVED, "first": position, "count": count},
            )

    async def position(self, stream: str) -> Position:
        """Reads the position.

        The first and the last sequence come from the metadata of the parts, at the same cost for any
        number of rows. The count reads one column of small numbers.
        """
        found = await self._clickhouse.query(
            "SELECT (SELECT count() FROM events WHERE stream = {stream:String} AND later = 0), "
            "min(stream_seq), max(stream_seq) FROM events WHERE stream = {stream:String}",
            {"stream": stream},
        )
        return Position(*map(int, found[0]))

    async def body_at(self, stream: str, seq: int) -> str | None:
        """Returns the message of this sequence, or None if it was removed before it was read, or has expired."""
        found = await self._clickhouse.query(
            "SELECT body FROM events WHERE stream = {stream:String} AND stream_seq = {seq:UInt64} "
            "AND later = 0 AND type != {removed:String} AND body != ''",
            {"stream": stream, "seq": seq, "removed": rows.REMOVED},
        )
        return str(found[0][0]) if found else None

    async def identity(self, stream: str) -> str:
        found = await self._clickhouse.query(
            "SELECT argMax(identity, written_at) FROM log_identity WHERE stream = {stream:String}", {"stream": stream}
        )
        return str(found[0][0])

    async def set_identity(self, stream: str, identity: str) -> None:
        await self._clickhouse.insert(
            "log_identity", {"stream": "String", "identity": "String"}, [[stream], [identity]]
        )

    async def drop_stream(self, stream: str) -> None:
        """Drops all rows of a stream."""
        found = await self._clickhouse.query(
            "SELECT DISTINCT partition_id FROM system.parts WHERE database = currentDatabase() AND table = 'events' "
            "AND active AND startsWith(partition, {prefix:String})",
            {"prefix": f"('{stream}',"},
        )
        for (partition,) in found:
            await self._clickhouse.command("ALTER TABLE events DROP PARTITION ID {id:String}", {"id": partition})

    async def drop_all(self) -> None:
        """Drops everything. The next start reads the whole log again."""
        for table in ("events", "log_identity", "derived_positions", "schema_migrations"):
            await self._clickhouse.command("DROP TABLE IF EXISTS {table:Identifier} SYNC", {"table": table})

    # --- reading ---

    async def run_rows(self, org: str, run: str) -> list[Row]:
        """Returns all rows of a run since it was last submitted, AF_EVENTS first, in sequence
        order.

        An old idempotency key may start a run again once the first one has left the log.
        """
        found = await self._clickhouse.query(
            f"SELECT {_SELECT_RUN} FROM events WHERE org = {{org:String}} AND run = {{run:String}} "  # noqa: S608
            "AND (stream != {events:String} OR stream_seq >= (SELECT max(stream_seq) FROM events "
            "WHERE org = {org:String} AND run = {run:String} AND stream = {events:String} AND type = 'run.submitted')) "
            "ORDER BY stream != {events:String}, stream, stream_seq, later DESC LIMIT {limit:UInt32}",
            {"org": org, "run": run, "events": EVENTS_STREAM, "limit": RUN_ROWS_MAX},
        )
        return [Row(*values) for values in found]

    async def run_rows_after(self, org: str, run: str, stream: str, seq: int, limit: int) -> list[Row]:
        """Returns the rows of a run that follow a sequence of a stream, in the order of `run_rows`."""
        found = await self._clickhouse.query(
            f"SELECT {_SELECT_RUN} FROM events WHERE org = {{org:String}} AND run = {{run:String}} "  # noqa: S608
            "AND (stream != {events:String}, stream, stream_seq) > "
            "({stream:String} != {events:String}, {stream:String}, {seq:UInt64}) "
            "ORDER BY stream != {events:String}, stream, stream_seq, later DESC LIMIT {limit:UInt32}",
            {"org": org, "run": run, "events": EVENTS_STREAM, "stream": stream, "seq": seq, "limit": limit},
        )
        return [Row(*values) for values in found]

    async def counts(self, stream: str) -> TraceCountsReply:
        found = await self._clickhouse.query(
            "SELECT countIf(later = 0), uniqExact(stream_seq), min(stream_seq), max(stream_seq), "
            "countIf(type = {removed:String}) FROM events WHERE stream = {stream:String}",
            {"stream": stream, "removed": rows.REMOVED},
        )
        count, distinct, first, last, removed = map(int, found[0])
        return TraceCountsReply(count, distinct, first, last, removed)

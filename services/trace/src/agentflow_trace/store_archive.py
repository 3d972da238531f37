"""The SQL of retention and of the archive: runs to purge, purged runs, and their events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from agentflow_common.connections.clickhouse import ClickHouse
from agentflow_common.subjects import ALL_EVENTS, EVENTS_STREAM
from agentflow_trace import machine, rows

FILL_ROWS: Final = 100_000
_COLUMNS: Final = ", ".join(rows.COLUMNS)
_EVENTS: Final = ALL_EVENTS.removesuffix(">")
_MS: Final = "toUnixTimestamp64Milli"


class Ended(NamedTuple):
    """A finished run, from its rows that were not purged before."""

    org: str
    run: str
    ended_seq: int
    rows: int  # on its own subjects
    newest_seq: int
    newest_at: int  # ms since the epoch
    ended: bool  # the newest decision about the run itself is final
    timers: bool  # it has set timers


class Purged(NamedTuple):
    org: str
    run: str
    up_to: int
    ended_seq: int
    messages: int
    done: bool


class ArchiveStore:
    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    # --- runs to purge ---

    async def ended(
        self, log: str, before_ms: int, after_seq: int, to_seq: int, limit: int
    ) -> list[tuple[str, str, int]]:
        """Returns (org, run, sequence of the final event) of runs that ended before, oldest first.

        Purged runs are left out. The partition key contains the sequences, so they bound the read.
        """
        found = await self._clickhouse.query(
            "SELECT org, run, max(stream_seq) AS ended_seq FROM events "
            "WHERE stream = {stream:String} AND stream_seq > {after:UInt64} AND stream_seq <= {to:UInt64} "
            "AND type IN {ended:Array(String)} "
            "AND stored_at <= fromUnixTimestamp64Milli({before:Int64}) AND startsWith(subject, {events:String}) "
            "AND (org, run, stream_seq) NOT IN "
            "(SELECT org, run, ended_seq FROM purged_runs WHERE log = {log:String} AND done) "
            "GROUP BY org, run ORDER BY ended_seq LIMIT {limit:UInt32}",
            {
                "stream": EVENTS_STREAM, "after": after_seq, "ended": list(machine.ENDED), "before": before_ms,
                "events": _EVENTS, "log": log, "limit": limit, "to": to_seq,
            },
        )  # fmt: skip
        return [(str(org), str(run), int(seq)) for org, run, seq in found]

    async def details(self, log: str, runs: Sequence[tuple[str, str, int]]) -> list[Ended]:
        """Returns the details of runs, in the same order."""
        found = await self._clickhouse.query(
            "SELECT e.org, e.run, countIf(startsWith(e.subject, {events:String}) AND e.later = 0), "  # noqa: S608
            f"max(e.stream_seq), {_MS}(max(e.stored_at)), "
            "argMaxIf(e.type, e.stream_seq, endsWith(e.subject, '.out.run')), "
            "countIf(e.type = {schedule:String}) FROM events AS e LEFT JOIN "
            "(SELECT org, run, max(up_to) AS up_to FROM purged_runs WHERE log = {log:String} AND done "
            "AND run IN {runs:Array(String)} GROUP BY org, run) AS p ON e.org = p.org AND e.run = p.run "
            "WHERE e.stream = {stream:String} AND e.run IN {runs:Array(String)} AND e.org IN {orgs:Array(String)} "
            "AND e.stream_seq > p.up_to GROUP BY e.org, e.run",
            {
                "events": _EVENTS, "schedule": rows.SCHEDULE, "log": log, "stream": EVENTS_STREAM,
                "runs": [run for _, run, _ in runs], "orgs": sorted({org for org, _, _ in runs}),
            },
        )  # fmt: skip
        known = {
            (str(org), str(run)): (int(count), int(newest), int(at), last in machine.ENDED, bool(timers))
            for org, run, count, newest, at, last, timers in found
        }
        return [Ended(org, run, seq, *known[org, run]) for org, run, seq in runs if (org, run) in known]

    async def late(self, log: str, before_ms: int, after_seq: int, limit: int) -> list[tuple[str, str, int, int]]:
        """Returns (org, run, newest sequence, messages) of messages about runs that had been purged."""
        found = await self._clickhouse.query(
            "SELECT e.org, e.run, max(e.stream_seq), countIf(e.later = 0) FROM events AS e INNER JOIN "
            "(SELECT org, run, max(up_to) AS up_to FROM purged_runs WHERE log = {log:String} AND done "
            "GROUP BY org, run) AS p ON e.org = p.org AND e.run = p.run "
            "WHERE e.stream = {stream:String} AND e.stream_seq > {after:UInt64} AND e.stream_seq > p.up_to "
            "AND startsWith(e.subject, {events:String}) "
            "GROUP BY e.org, e.run "
            "HAVING countIf(e.type = 'run.submitted') = 0 AND max(e.stored_at) <= fromUnixTimestamp64Milli({at:Int64}) "
            "LIMIT {limit:UInt32}",
            {"log": log, "stream": EVENTS_STREAM, "after": after_seq, "events": _EVENTS, "at": before_ms,
             "limit": limit},
        )  # fmt: skip
        return [(str(org), str(run), int(seq), int(count)) for org, run, seq, count in found]

    async def note(self, log: str, purged: Iterable[Purged]) -> None:
        """Notes a purge, before it (not done) and after it (done). Durable on return."""
        columns = {
            "log": "String", "org": "String", "run": "String", "up_to": "UInt64", "ended_seq": "UInt64",
            "messages": "UInt64", "done": "Bool",
        }  # fmt: skip
        lines = [(log, *item) for item in purged]
        if lines:
            await self._clickhouse.insert("purged_runs", columns, list(zip(*lines, strict=True)))

    async def totals(self, log: str) -> tuple[int, int]:
        """Returns (purged runs, newest sequence that was purged or was about to be)."""
        found = await self._clickhouse.query(
            "SELECT uniqExactIf((org, run, ended_seq), done AND ended_seq > 0), max(up_to) FROM purged_runs "
            "WHERE log = {log:String}",
            {"log": log},
        )
        return int(found[0][0]), int(found[0][1])

    async def note_loss(self, log: str, first: int, last: int) -> None:
        await self._clickhouse.insert(
            "archive_losses", {"log": "String", "first": "UInt64", "last": "UInt64"}, [[log], [first], [last]]
        )

    async def losses(self, log: str) -> tuple[int, int]:
        """Returns the (first, last) sequence between which purged runs are in no archive; zeros for none."""
        found = await self._clickhouse.query(
            "SELECT min(first), max(last) FROM archive_losses WHERE log = {log:String}", {"log": log}
        )
        return int(found[0][0]), int(found[0][1])

    # --- the events of purged runs ---

    async def events(self, org: str, run: str, after_seq: int, limit: int) -> list[tuple[int, str, str]]:
        """Returns (sequence, subject, body) of a run since it was last submitted, in order."""
        for table in ("events", "archive"):
            found = await self._clickhouse.query(
                f"WITH (SELECT (log, max(stream_seq)) FROM {self._logged(table)} "  # noqa: S608 - two fixed names
                "WHERE org = {org:String} AND run = {run:String} AND stream = {stream:String} "
                "AND type = 'run.submitted' AND startsWith(subject, {events:String}) "
                "GROUP BY log ORDER BY max(stored_at) DESC LIMIT 1) AS begun "
                f"SELECT stream_seq, subject, body FROM {self._logged(table)} "
                "WHERE org = {org:String} AND run = {run:String} AND stream = {stream:String} AND log = begun.1 "
                "AND stream_seq >= begun.2 AND stream_seq > {after:UInt64} AND startsWith(subject, {events:String}) "
                "AND later = 0 ORDER BY stream_seq LIMIT {limit:UInt32}",
                {"org": org, "run": run, "stream": EVENTS_STREAM, "events": _EVENTS, "after": after_seq,
                 "limit": limit},
            )  # fmt: skip
            if found:
                return [(int(seq), str(subject), str(body)) for seq, subject, body in found]
        return []

    def _logged(self, table: str) -> str:
        return table if table == "archive" else "(SELECT '' AS log, * FROM events)"

    # --- reading a stream again ---

    async def keep(self, stream: str) -> None:
        """Sets the rows of purged runs aside before the rows of a stream are dropped.

        Safe to repeat.
        """
        if stream != EVENTS_STREAM or not (await self._there("events") and await self._there("archive")):
            return
        await self._clickhouse.command(
            f"INSERT INTO archive (log, {_COLUMNS}) SELECT p.log, "  # noqa: S608 - this file's own names
            + ", ".join(f"e.{name}" for name in rows.COLUMNS)
            + " FROM events AS e INNER JOIN (SELECT log, org, run, max(up_to) AS up_to FROM purged_runs "
            "GROUP BY log, org, run) AS p ON e.org = p.org AND e.run = p.run "
            "WHERE e.stream = {stream:String} AND e.stream_seq <= p.up_to AND e.type != {removed:String} "
            "AND (p.log, e.stream_seq, e.later) NOT IN "
            "(SELECT log, stream_seq, later FROM archive WHERE stream = {stream:String}) "
            "LIMIT 1 BY p.log, e.stream_seq, e.later",
            {"stream": stream, "removed": rows.REMOVED},
        )

    async def _there(self, table: str) -> bool:
        found = await self._clickhouse.query(
            "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = {name:String}",
            {"name": table},
        )
        return bool(found[0][0])

    async def kept(self, stream: str, log: str) -> tuple[int, int, int]:
        """Returns the (first, last) sequence that was set aside, and the newest time of these; zeros for none."""
        found = await self._clickhouse.query(
            f"SELECT min(stream_seq), max(stream_seq), {_MS}(max(stored_at)) FROM archive "  # noqa: S608
            "WHERE stream = {stream:String} AND log = {log:String}",
            {"stream": stream, "log": log},
        )
        return int(found[0][0]), int(found[0][1]), int(found[0][2])

    async def fill(self, stream: str, log: str, first: int, last: int, stored_at: int) -> None:
        """Makes rows for sequences that have left the log: those set aside, and `log.removed` for
        the rest.
        """
        values = [
            f"if(a.type = '', {{{name}:String}}, a.{name})" if name in {"type", "stream"}
            else "n.number" if name == "stream_seq"
            else f"if(a.type = '', fromUnixTimestamp64Milli({{at:Int64}}), a.{name})" if name in {"ts", "stored_at"}
            else f"a.{name}"
            for name in rows.COLUMNS
        ]  # fmt: skip
        sql = (
            f"INSERT INTO events ({_COLUMNS}) SELECT {', '.join(values)} "  # noqa: S608
            "FROM numbers({first:UInt64}, {count:UInt64}) AS n LEFT JOIN (SELECT * FROM archive "
            "WHERE stream = {stream:String} AND log = {log:String} AND stream_seq >= {first:UInt64} "
            "AND stream_seq < {first:UInt64} + {count:UInt64}) AS a ON n.number = a.stream_seq "
            "ORDER BY n.number, a.later DESC SETTINGS max_threads = 1"
        )
        bound = {"stream": stream, "log": log, "type": rows.REMOVED, "at": stored_at}
        for position, count in rows.stretches(first, last, FILL_ROWS):
            await self._clickhouse.command(sql, {**bound, "first": position, "count": count})

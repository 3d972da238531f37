"""The SQL of the derived tables: rows of `events` to fold, and what was made of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from agentflow_common.connections.clickhouse import ClickHouse
from agentflow_common.subjects import EVENTS_STREAM
from agentflow_trace import machine, rows
from agentflow_trace.derive import tables
from agentflow_trace.rows import Row

TABLES: Final = ("runs", "steps", "llm_calls", "costs")
PAGE_ROWS_MAX: Final = 20_000
PAGE_ROWS: Final = 2_000  # of the first page
PAGE_BYTES: Final = 16 * 1024 * 1024  # of bodies: a page that has more is followed by a smaller one
RUNS_AT_ONCE: Final = 500
_MS: Final = "toUnixTimestamp64Milli"
# Of these alone the fold reads a part that has no column. Their bodies may be large, others are not read.
_READ: Final = (
    "run.submitted", "step.failed", "child.ended", "outcome.resolved", "step.skipped", "step.cancelled",
    "step.timed_out", "step.queued",
)  # fmt: skip
_BODY: Final = (
    f"if(type IN {_READ} OR (type = 'step.completed' AND "
    """(position(body, '"llm":') > 0 OR position(body, '"begun":') > 0)), body, '')"""
)
_SELECT: Final = ", ".join(
    f"{_MS}({name})" if kind.startswith("DateTime64") else _BODY if name == "body" else name
    for name, kind in rows.COLUMNS.items()
)
_OF_RUNS: Final = f"stream = {{stream:String}} AND type NOT IN {tuple(sorted(machine.APART))} AND run != ''"


class DeriveStore:
    def __init__(self, clickhouse: ClickHouse, stream: str = EVENTS_STREAM) -> None:
        self._clickhouse = clickhouse
        self._stream = stream
        self._page_rows = PAGE_ROWS

    # --- where it stands ---

    async def generation(self) -> str:
        """Returns which reading of the log the events come from."""
        found = await self._clickhouse.query(
            "SELECT argMax((identity, written_at), written_at) AS newest, newest.1, toString(newest.2) "
            "FROM log_identity WHERE stream = {stream:String}",
            {"stream": self._stream},
        )
        return f"{found[0][1]} {found[0][2]}"

    async def last(self) -> int:
        """Returns the newest sequence of `events`."""
        found = await self._clickhouse.query(
            "SELECT max(stream_seq) FROM events WHERE stream = {stream:String}", {"stream": self._stream}
        )
        return int(found[0][0])

    async def position(self, generation: str) -> int | None:
        """Returns the sequence up to which everything is derived, or None if nothing is."""
        found = await self._clickhouse.query(
            "SELECT count(), max(seq) FROM derived_positions "
            "WHERE stream = {stream:String} AND generation = {generation:String}",
            {"stream": self._stream, "generation": generation},
        )
        return int(found[0][1]) if found[0][0] else None

    async def spent_to(self, table: str) -> int:
        """Returns the newest sequence of `llm_calls` or `costs`: a look at part metadata."""
        found = await self._clickhouse.query(
            "SELECT max(stream_seq) FROM {table:Identifier} WHERE stream = {stream:String}",
            {"table": table, "stream": self._stream},
        )
        return int(found[0][0])

    async def drop_all(self) -> None:
        """Empties the derived tables. The position goes first, so that they are never taken for whole."""
        for table in ("derived_positions", *TABLES):
            await self._clickhouse.command("TRUNCATE TABLE IF EXISTS {table:Identifier} SYNC", {"table": table})

    # --- rows to fold ---

    async def window(self, after: int, to: int) -> tuple[list[Row], int]:
        """Returns rows after a sequence, in the order of the log, and the sequence up to which these are all."""
        end = min(to, after + self._page_rows)
        found = await self._clickhouse.query(
            f"SELECT {_SELECT} FROM events WHERE {_OF_RUNS} "  # noqa: S608 - this file's own text
            "AND stream_seq > {after:UInt64} AND stream_seq <= {to:UInt64} ORDER BY stream_seq, later DESC",
            {"stream": self._stream, "after": after, "to": end},
        )
        return self._sized(found), end

    async def before(self, runs: Sequence[tuple[str, str]], seq: int) -> AsyncIterator[list[Row]]:
        """Yields the rows of runs below a sequence: run by run, each in the order of the log."""
        for first in range(0, len(runs), RUNS_AT_ONCE):
            some = sorted(runs[first : first + RUNS_AT_ONCE])
            for org in dict.fromkeys(org for org, _ in some):
                names = [run for owner, run in some if owner == org]
                async for page in self._pages(org, "AND run IN {runs:Array(String)}", {"runs": names}, seq - 1):
                    yield page

    async def touched(self, after: int, to: int) -> AsyncIterator[list[Row]]:
        """Yields the rows, up to a sequence, of the runs that have events after another one.

        They come run by run, each in the order of the log.
        """
        where = (
            "AND run IN (SELECT run FROM events WHERE stream = {stream:String} AND stream_seq > {after:UInt64} "
            "AND stream_seq <= {to:UInt64})"
        )
        for org in await self._orgs():
            async for page in self._pages(org, where, {"after": after}, to):
                yield page

    async def _orgs(self) -> list[str]:
        found = await self._clickhouse.query(
            "SELECT DISTINCT org FROM events WHERE stream = {stream:String} ORDER BY org", {"stream": self._stream}
        )
        return [str(org) for (org,) in found]

    async def _pages(self, org: str, where: str, values: dict[str, Any], to: int) -> AsyncIterator[list[Row]]:
        run, seq = "", 0
        while True:
            found = await self._clickhouse.query(
                f"SELECT {_SELECT} FROM events WHERE org = {{org:String}} AND {_OF_RUNS} {where} "  # noqa: S608
                "AND run >= {run:String} AND (run > {run:String} OR stream_seq > {seq:UInt64}) "
                "AND stream_seq <= {to:UInt64} ORDER BY run, stream_seq LIMIT {limit:UInt32} WITH TIES",
                {"stream": self._stream, "org": org, "run": run, "seq": seq, "to": to, "limit": self._page_rows,
                 **values},
            )  # fmt: skip
            if not found:
                return
            limit = self._page_rows
            page = self._sized(found)
            page.sort(key=lambda row: (row.run, row.stream_seq, -row.later))
            yield page
            if len(page) < limit:
                return
            run, seq = page[-1].run, page[-1].stream_seq

    def _sized(self, found: list[tuple[Any, ...]]) -> list[Row]:
        """Returns a page of rows, and decides how many the next one has."""
        page = [Row(*values) for values in found]
        size = sum(len(row.body) for row in page)
        factor = 0.5 if size > PAGE_BYTES else 2.0 if size < PAGE_BYTES / 4 else 1.0
        self._page_rows = min(PAGE_ROWS_MAX, max(1, round(self._page_rows * factor)))
        return page

    # --- what was derived ---

    async def older(self, again: Sequence[Row]) -> tables.Derived:
        """Returns the rows that are over as these runs are submitted again under their old ids, marked as gone.

        A run that begins at the very same time keeps its row: the new one replaces it.
        """
        gone = tables.Derived([], [], [], [])
        if not again:
            return gone
        begun = {(row.org, row.run): row for row in again}
        for org in {org for org, _ in begun}:
            runs = [run for owner, run in begun if owner == org]
            found = await self._clickhouse.query(
                f"SELECT {_MS}(submitted_at), run, last_seq FROM runs FINAL "  # noqa: S608
                "WHERE org = {org:String} AND run IN {runs:Array(String)}",
                {"org": org, "runs": runs},
            )
            old = {run: begun[org, run] for _, run, last_seq in found if last_seq < begun[org, run].stream_seq}
            for at, run, _ in found:
                if run in old and at != old[run].ts:
                    gone.runs.append(tables.RunRow(org, at, run, last_seq=old[run].stream_seq, gone=1))
            if old:
                gone.steps.extend(await self._older_steps(org, old))
        return gone

    async def _older_steps(self, org: str, old: dict[str, Row]) -> list[tables.StepRow]:
        found = await self._clickhouse.query(
            f"SELECT {_MS}(submitted_at), run, step, attempt, last_seq FROM steps FINAL "  # noqa: S608
            "WHERE org = {org:String} AND run IN {runs:Array(String)}",
            {"org": org, "runs": list(old)},
        )
        return [
            tables.StepRow(org, at, run, step, attempt, last_seq=old[run].stream_seq, gone=1)
            for at, run, step, attempt, last_seq in found
            if last_seq < old[run].stream_seq
        ]

    async def write(self, derived: tables.Derived) -> None:
        """Writes derived rows, each table by itself. Those of `llm_calls` and `costs` are in the order of the log."""
        for table, columns, found in (
            ("steps", tables.STEPS, derived.steps),
            ("runs", tables.RUNS, derived.runs),
            ("llm_calls", tables.CALLS, derived.calls),
            ("costs", tables.COSTS, derived.costs),
        ):
            rest: list[Any] = found
            while rest:
                count = rows.same_partition(rest) if table in ("llm_calls", "costs") else len(rest)
                await self._clickhouse.insert(table, columns, list(zip(*rest[:count], strict=True)))
                rest = rest[count:]

    async def note(self, generation: str, seq: int) -> None:
        """Notes that everything up to a sequence is derived. Durable on return."""
        await self._clickhouse.insert(
            "derived_positions",
            {"stream": "String", "generation": "String", "seq": "UInt64"},
            [[self._stream], [generation], [seq]],
        )

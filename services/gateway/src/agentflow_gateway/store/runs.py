"""SQL of the list of runs, a projection of the log."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import msgspec

from agentflow_common.connections import transient
from agentflow_common.events import RunSubmitted
from agentflow_gateway.store.base import Tables
from agentflow_gateway.store.batches import Batches


class RunRow(msgspec.Struct, kw_only=True):
    """A row of the projection, or what a batch of events adds to one."""

    org: str
    run: str
    workflow: str = ""
    version: int = 0
    status: str = "pending"
    submitted_at: int = 0
    started_at: int = 0
    finished_at: int = 0
    cost_nano: int = 0
    tags: dict[str, str] = {}
    seq: int = 0  # of the decision that determined the status, 0 for none
    error_type: str = ""

    @classmethod
    def submitted(cls, event: RunSubmitted) -> RunRow:
        """Returns the row of a run that was submitted and has not started."""
        return cls(
            org=event.org,
            run=event.run,
            workflow=event.workflow,
            version=event.version,
            submitted_at=event.ts,
            tags=event.tags,
        )


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Selects runs of an org. An empty field matches every run."""

    statuses: tuple[str, ...] = ()  # any of these
    workflow: str = ""
    tags: dict[str, str] = {}  # all of these
    since: int = 0  # ms, of the submission
    until: int = 0
    error_type: str = ""
    run_prefix: str = ""  # how the id begins
    version: int = 0  # of the workflow


_COLUMNS: Final = (
    "org, run, workflow, version, status, submitted_at, started_at, finished_at, cost_nano, tags, seq, error_type"
)
# Commutative and idempotent: redelivered and late events end in the same row. `run.started` fills gaps; the event with
# the greatest sequence decides the status.
_UPSERT_RUNS: Final = f"""
INSERT INTO runs AS r ({_COLUMNS})
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::text[], $6::bigint[], $7::bigint[],
                     $8::bigint[], $9::bigint[], $10::text[], $11::bigint[], $12::text[])
ON CONFLICT (org, run) DO UPDATE SET
    workflow = CASE WHEN r.workflow = '' THEN EXCLUDED.workflow ELSE r.workflow END,
    version = CASE WHEN r.workflow = '' THEN EXCLUDED.version ELSE r.version END,
    tags = CASE WHEN r.workflow = '' THEN EXCLUDED.tags ELSE r.tags END,
    submitted_at = CASE WHEN r.workflow = '' THEN EXCLUDED.submitted_at ELSE r.submitted_at END,
    started_at = GREATEST(r.started_at, EXCLUDED.started_at),
    status = CASE WHEN EXCLUDED.seq > r.seq THEN EXCLUDED.status ELSE r.status END,
    finished_at = CASE WHEN EXCLUDED.seq > r.seq THEN EXCLUDED.finished_at ELSE r.finished_at END,
    cost_nano = CASE WHEN EXCLUDED.seq > r.seq THEN EXCLUDED.cost_nano ELSE r.cost_nano END,
    error_type = CASE WHEN EXCLUDED.seq > r.seq THEN EXCLUDED.error_type ELSE r.error_type END,
    seq = GREATEST(r.seq, EXCLUDED.seq)
RETURNING r.org, r.run, r.workflow
"""  # noqa: S608  (a constant)

_MATCHING: Final = """
FROM runs
WHERE org = $1 AND ($2::text[] = '{}' OR status = ANY($2)) AND ($3 = '' OR workflow = $3)
  AND ($4 = '{}' OR (tags <> '{}' AND tags::jsonb @> $4::jsonb))
  AND ($5::bigint = 0 OR submitted_at >= $5) AND ($6::bigint = 0 OR submitted_at < $6)
  AND ($7 = '' OR error_type = $7) AND ($8 = '' OR starts_with(run, $8))
  AND ($9::int = 0 OR version = $9)
"""
_LIST_RUNS: Final = f"""
SELECT {_COLUMNS}
{_MATCHING}
  AND ($10::bigint IS NULL OR (submitted_at, run) < ($10, $11))
ORDER BY submitted_at DESC, run DESC
LIMIT $12
"""
_COUNT_RUNS: Final = f"SELECT count(*) FROM (SELECT 1 {_MATCHING} LIMIT $10) AS found"  # noqa: S608  (constants alone)
LATER_MAX: Final = 10_000  # rows that wait while the database is slow
LATER_S: Final = 0.02  # new rows wait so long for others, unless somebody asks for a list
ACTIVE: Final = ("pending", "running", "waiting", "paused")


def _tags(tags: dict[str, str]) -> str:
    return msgspec.json.encode(tags).decode()


def _filter_args(org: str, chosen: RunFilter) -> tuple[Any, ...]:
    return (
        org,
        list(chosen.statuses),
        chosen.workflow,
        _tags(chosen.tags),
        chosen.since,
        chosen.until,
        chosen.error_type,
        chosen.run_prefix,
        chosen.version,
    )


class RunStore(Tables):
    def __init__(self, pool: asyncpg.Pool) -> None:
        super().__init__(pool)
        self._questions = Batches(self._listed)
        self._later = Batches(self._put_new, LATER_S)

    async def has(self, org: str, run: str) -> bool:
        """True if the run is listed. The questions of many calls are one query."""
        return await self._questions.add((org, run))

    async def _listed(self, asked: Sequence[tuple[str, str]]) -> Sequence[bool]:
        query = "SELECT org, run FROM runs WHERE (org, run) IN (SELECT * FROM unnest($1::text[], $2::text[]))"
        rows = await self._pool.fetch(query, [org for org, _ in asked], [run for _, run in asked])
        found = {(row["org"], row["run"]) for row in rows}
        return [one in found for one in asked]

    def put_later(self, row: RunRow) -> None:
        """Lists a run that was just submitted, soon. If that fails or too many wait, the projection lists it."""
        if self._later.waiting < LATER_MAX:
            self._later.add(row)

    async def settled(self) -> None:
        """Waits for the rows that are to be listed soon, so that a caller finds the runs that it has submitted."""
        await self._later.settled()

    async def _put_new(self, rows: Sequence[RunRow]) -> Sequence[None]:
        with contextlib.suppress(*transient.SURVIVED):
            try:
                await self.put(list({(row.org, row.run): row for row in rows}.values()))
            except transient.BAD_VALUE:  # one of them holds what no table can, a NUL
                for row in rows:
                    with contextlib.suppress(*transient.BAD_VALUE):
                        await self.put([row])
        return [None] * len(rows)

    async def empty(self) -> bool:
        """True if no decision is merged. A submission may be listed all the same: it lists itself, before any."""
        return not await self._pool.fetchval("SELECT EXISTS (SELECT 1 FROM runs WHERE seq > 0)")

    async def put(self, rows: Sequence[RunRow]) -> list[tuple[str, str]]:
        """Merges the rows into the projection; each (org, run) at most once in `rows`.

        Returns those whose workflow is still not known.
        """
        if not rows:
            return []
        plain = [msgspec.structs.asdict(row) | {"tags": _tags(row.tags)} for row in rows]
        columns = [[row[name] for row in plain] for name in _COLUMNS.split(", ")]
        merged = await self._pool.fetch(_UPSERT_RUNS, *columns)
        return [(row["org"], row["run"]) for row in merged if not row["workflow"]]

    async def find(self, org: str, chosen: RunFilter, after: tuple[int, str] | None, limit: int) -> list[RunRow]:
        """Returns the runs that match, newest first. after: (submitted_at, run) of the last row seen."""
        at, run = after or (None, "")
        await self.settled()
        return await self._rows(RunRow, _LIST_RUNS, *_filter_args(org, chosen), at, run, limit, json=("tags",))

    async def count(self, org: str, chosen: RunFilter, limit: int) -> int:
        """Returns how many runs match, counted up to `limit`."""
        await self.settled()
        return int(await self._pool.fetchval(_COUNT_RUNS, *_filter_args(org, chosen), limit))

    async def count_active(self, org: str, limit: int) -> int:
        return await self.count(org, RunFilter(statuses=ACTIVE), limit)

    async def knows_workflow(self, org: str, name: str) -> bool:
        """True if a workflow of this name was registered, or ever submitted."""
        await self.settled()
        query = (
            "SELECT EXISTS (SELECT 1 FROM definitions WHERE org = $1 AND name = $2) "
            "OR EXISTS (SELECT 1 FROM runs WHERE org = $1 AND workflow = $2)"
        )
        return bool(await self._pool.fetchval(query, org, name))

"""SQL of open approvals."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from agentflow_gateway.store.base import Tables


class ApprovalRow(msgspec.Struct, frozen=True, kw_only=True):
    org: str
    run: str
    step: str
    since: int
    seq: int  # of the decision that opened or closed it
    open: bool = True


class ApprovalStore(Tables):
    async def merge(self, rows: Sequence[ApprovalRow]) -> None:
        """Merges rows. An approval that was opened and not closed stays.

        Events are redelivered only from the first one on that was not merged.
        """
        opened = [row for row in rows if row.open]
        closed = [row for row in rows if not row.open]
        if opened:
            await self._pool.execute(
                "INSERT INTO approvals AS a (org, run, step, since, seq) "
                "SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[]) "
                "ON CONFLICT (org, run, step) DO UPDATE SET since = EXCLUDED.since, seq = EXCLUDED.seq "
                "WHERE EXCLUDED.seq > a.seq",
                *([getattr(row, name) for row in opened] for name in ("org", "run", "step", "since", "seq")),
            )
        if closed:
            await self._pool.execute(
                "DELETE FROM approvals AS a "
                "USING unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS c (org, run, step, seq) "
                "WHERE a.org = c.org AND a.run = c.run AND a.step = c.step AND c.seq > a.seq",
                *([getattr(row, name) for row in closed] for name in ("org", "run", "step", "seq")),
            )

    async def close_runs(self, runs: Sequence[tuple[str, str]]) -> None:
        """Removes the approvals of runs that are over."""
        if runs:
            await self._pool.execute(
                "DELETE FROM approvals AS a USING unnest($1::text[], $2::text[]) AS e (org, run) "
                "WHERE a.org = e.org AND a.run = e.run",
                [org for org, _ in runs],
                [run for _, run in runs],
            )

    async def find_open(self, org: str, after: tuple[int, str, str] | None, limit: int) -> list[ApprovalRow]:
        """Returns the open approvals, oldest first. after: (since, run, step) of the last one seen."""
        query = (
            "SELECT org, run, step, since, seq FROM approvals WHERE org = $1 "
            "AND ($2::bigint IS NULL OR (since, run, step) > ($2, $3, $4)) ORDER BY since, run, step LIMIT $5"
        )
        return await self._rows(ApprovalRow, query, org, *(after or (None, "", "")), limit)

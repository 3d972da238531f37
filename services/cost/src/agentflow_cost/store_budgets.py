"""SQL of budgets and of their history. See store.py for accounts and for the order of locks."""
# ruff: noqa: S608 - only constants of this module are put into the SQL; values travel as parameters

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import asyncpg
import msgspec

from agentflow_common.rpc import Budget
from agentflow_cost import budgets as periods

TELL_BATCH: Final = 100
COLUMNS: Final = "id, org, name, period, limit_nano, scope, created_at"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a budget."""

    id: int = 0  # 0 until it is stored
    org: str
    budget: str
    action: str
    detail: str
    actor: str
    at: int  # ms since the epoch


class BudgetStore:
    """Budgets in PostgreSQL, schema `cost`.

    Each change is stored together with its row of history.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def create(self, budget: Budget, change: Change) -> bool:
        """Stores a new budget. Returns False if the org has a budget of that name."""
        async with self._pool.acquire() as connection, connection.transaction():
            done = await connection.execute(
                f"INSERT INTO budgets ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
                budget.id, budget.org, budget.name, budget.period, budget.limit_nano, budget.scope, budget.created_at,
            )  # fmt: skip
            if not done.endswith(" 1"):
                return False
            await _note(connection, change)
            return True

    async def update(
        self, org: str, id_or_name: str, limit_nano: int, note: Callable[[Budget, Budget], Change]
    ) -> tuple[Budget, Budget] | None:
        """Changes the limit. Returns the budget (before, after), or None if it does not exist.

        Accounts are not touched, so the money already spent still counts.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            before = await _find(connection, org, id_or_name, "FOR UPDATE")
            if before is None:
                return None
            after = msgspec.structs.replace(before, limit_nano=limit_nano)
            if after != before:
                await connection.execute("UPDATE budgets SET limit_nano = $2 WHERE id = $1", before.id, limit_nano)
                await _note(connection, note(before, after))
            return before, after

    async def delete(self, org: str, id_or_name: str, note: Callable[[Budget], Change]) -> Budget | None:
        """Deletes a budget and returns it, or None.

        Its accounts stay until nothing is reserved on them (`drop_old`).
        """
        async with self._pool.acquire() as connection, connection.transaction():
            found = await _find(connection, org, id_or_name, "FOR UPDATE")
            if found is not None:
                await connection.execute("DELETE FROM budgets WHERE id = $1", found.id)
                await _note(connection, note(found))
            return found

    async def count(self, org: str) -> int:
        return int(await self._pool.fetchval("SELECT count(*) FROM budgets WHERE org = $1", org))

    async def page(self, org: str, now_ms: int, after: str, limit: int) -> list[Budget]:
        """Returns budgets after the name `after`, by name, with the amounts of the current period."""
        rows = await self._pool.fetch(
            f'SELECT {COLUMNS} FROM budgets WHERE org = $1 AND name COLLATE "C" > $2'
            ' ORDER BY name COLLATE "C" LIMIT $3',
            org, after, limit or None,
        )  # fmt: skip
        return await self._filled([Budget(**dict(row)) for row in rows], now_ms)

    async def fullest(self, now_ms: int, limit: int) -> list[Budget]:
        """Returns the budgets of all orgs with their amounts, those with the largest spent part first."""
        starts = [periods.bounds(period, now_ms)[0] for period in periods.PERIODS]
        rows = await self._pool.fetch(
            "SELECT b.id, b.org, b.name, b.period, b.limit_nano, b.scope, b.created_at FROM budgets b"
            " JOIN unnest($1::text[], $2::bigint[]) AS p(period, start) ON p.period = b.period"
            " LEFT JOIN accounts a ON a.id = 'budget:' || b.id || ':' || p.start"
            " ORDER BY coalesce(a.spent_nano, 0)::float8 / b.limit_nano DESC, b.id LIMIT $3",
            list(periods.PERIODS), starts, limit,
        )  # fmt: skip
        return await self._filled([Budget(**dict(row)) for row in rows], now_ms)

    async def find(self, org: str, id_or_name: str, now_ms: int) -> Budget | None:
        """Returns a budget by id, or else by name."""
        found = await _find(self._pool, org, id_or_name)
        return await self.filled(found, now_ms) if found is not None else None

    async def filled(self, budget: Budget, now_ms: int) -> Budget:
        return (await self._filled([budget], now_ms))[0]

    async def _filled(self, found: list[Budget], now_ms: int) -> list[Budget]:
        ids = [periods.account_of(budget, now_ms) for budget in found]
        amounts = await self._pool.fetch(
            "SELECT id, spent_nano, reserved_nano FROM accounts WHERE id = ANY($1::text[])", ids
        )
        held = {row["id"]: row for row in amounts}
        return [_with_amounts(budget, held.get(account), now_ms) for budget, account in zip(found, ids, strict=True)]

    # --- history ---

    async def unreported(self, org: str = "") -> list[Change]:
        """Returns the oldest changes that the audit log may lack."""
        rows = await self._pool.fetch(
            "SELECT id, org, budget, action, detail, actor, at FROM budget_changes"
            f" WHERE NOT published AND ($1 = '' OR org = $1) ORDER BY id LIMIT {TELL_BATCH}",
            org,
        )
        return [Change(**dict(row)) for row in rows]

    async def mark_reported(self, ids: Sequence[int]) -> None:
        await self._pool.execute("UPDATE budget_changes SET published = true WHERE id = ANY($1::bigint[])", list(ids))


async def _find(connection: Any, org: str, id_or_name: str, lock: str = "") -> Budget | None:
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM budgets WHERE org = $1 AND (id = $2 OR name = $2) ORDER BY id <> $2 LIMIT 1 {lock}",
        org, id_or_name,
    )  # fmt: skip
    return Budget(**dict(row)) if row is not None else None


async def _note(connection: Any, change: Change) -> None:
    await connection.execute(
        "INSERT INTO budget_changes (org, budget, action, detail, actor, at) VALUES ($1, $2, $3, $4, $5, $6)",
        change.org, change.budget, change.action, change.detail, change.actor, change.at,
    )  # fmt: skip


def _with_amounts(budget: Budget, row: Any, now_ms: int) -> Budget:
    start, end = periods.bounds(budget.period, now_ms)
    spent, reserved = (row["spent_nano"], row["reserved_nano"]) if row is not None else (0, 0)
    return msgspec.structs.replace(budget, spent_nano=spent, reserved_nano=reserved, period_start=start, period_end=end)

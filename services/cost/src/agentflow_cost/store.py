"""All SQL of the cost service.

Locks are taken in one order everywhere: accounts by id, then reservations by id. A transaction
that decides about money first finds its accounts, then locks them, and then reads again the values
on which it decides.
"""
# ruff: noqa: S608 - only constants of this module are put into the SQL; values travel as parameters

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
import msgspec

from agentflow_common.rpc import Budget, Candidate, RouteRequest
from agentflow_cost import budgets as periods
from agentflow_cost.machine import EXPIRED, HELD, RELEASED, Account, Changes, Hold, Settlement, let_go
from agentflow_cost.store_budgets import COLUMNS as BUDGET

SWEEP_BATCH: Final = 500
_HOLD: Final = "id, org, run, amount_nano, state, accounts"
_candidates: Final = msgspec.json.Decoder(tuple[Candidate, ...])


class Reservation(msgspec.Struct, frozen=True):
    """The amount that is reserved for a step attempt, and the models that it may call."""

    id: str
    amount: int  # nano-USD
    candidates: tuple[Candidate, ...]


class Receipt(msgspec.Struct, frozen=True):
    """A settled event."""

    seq: int
    reserved: int  # nano-USD that were given back
    published: bool  # the ledger has it
    fresh: bool


class Store:
    """Accounts, reservations, settlements in PostgreSQL, schema `cost`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with self._pool.acquire() as connection, connection.transaction():
            yield Transaction(connection)

    # --- responses ---

    async def cached(self, org: str, key: str, now_ms: int) -> bytes | None:
        value: bytes | None = await self._pool.fetchval(
            "SELECT value FROM responses WHERE org = $1 AND cache_key = $2 AND expires_at > $3", org, key, now_ms
        )
        return value

    async def cache(
        self, org: str, key: str, value: bytes, now_ms: int, ttl_ms: int, *, rows_max: int, bytes_max: int
    ) -> None:
        """Stores a response and drops the org's oldest ones beyond the bounds."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO responses (org, cache_key, value, expires_at, stored_at) VALUES ($1, $2, $3, $4, $5)"
                " ON CONFLICT (org, cache_key) DO UPDATE SET"
                " value = excluded.value, expires_at = excluded.expires_at, stored_at = excluded.stored_at",
                org, key, value, now_ms + ttl_ms, now_ms,
            )  # fmt: skip
            await connection.execute(
                """DELETE FROM responses WHERE org = $1 AND cache_key IN (
                    SELECT cache_key FROM (
                        SELECT cache_key, row_number() OVER newest AS place,
                            sum(octet_length(value)) OVER newest AS held
                        FROM responses WHERE org = $1 WINDOW newest AS (ORDER BY stored_at DESC, cache_key)
                    ) ranked WHERE place > $2 OR held > $3)""",
                org, rows_max, bytes_max,
            )  # fmt: skip

    # --- release ---

    async def expire(self, now_ms: int) -> int:
        """Releases expired reservations, at most SWEEP_BATCH, and drops expired responses."""
        await self._pool.execute("DELETE FROM responses WHERE expires_at <= $1", now_ms)
        rows = await self._pool.fetch(
            f"SELECT {_HOLD} FROM reservations WHERE state = '{HELD}' AND expires_at <= $1 LIMIT {SWEEP_BATCH}", now_ms
        )
        return await self._let_go([_hold(row) for row in rows], EXPIRED, now_ms)

    async def end_runs(self, runs: Sequence[tuple[str, str]], now_ms: int) -> int:
        """Marks runs (org, run) as ended and releases their reservations.

        Nothing more is reserved for them.
        """
        ids = sorted({periods.run_account(org, run) for org, run in runs})
        rows = await self._pool.fetch(
            "WITH ended AS (UPDATE accounts SET ended = true WHERE id IN"
            " (SELECT id FROM accounts WHERE id = ANY($1::text[]) AND NOT ended ORDER BY id FOR UPDATE) RETURNING 1)"
            f" SELECT {_HOLD} FROM reservations WHERE state = '{HELD}' AND (org, run) IN"
            " (SELECT * FROM unnest($2::text[], $3::text[]))",
            ids, [org for org, _ in runs], [run for _, run in runs],
        )  # fmt: skip
        return await self._let_go([_hold(row) for row in rows], RELEASED, now_ms)

    async def _let_go(self, holds: list[Hold], state: str, now_ms: int) -> int:
        if not holds:
            return 0
        async with self.transaction() as transaction:
            await transaction.lock_accounts(sorted({a for hold in holds for a in hold.accounts}), now_ms)
            fresh = await transaction.lock_holds([hold.id for hold in holds])
            changes = let_go(fresh.values(), state)
            await transaction.apply(changes, now_ms)
        return len(changes.holds)

    # --- settlement ---

    async def holds(self, ids: Iterable[str]) -> dict[str, Hold]:
        rows = await self._pool.fetch(f"SELECT {_HOLD} FROM reservations WHERE id = ANY($1::text[])", sorted(set(ids)))
        return {row["id"]: _hold(row) for row in rows}

    async def mark_published(self, seqs: Sequence[int]) -> None:
        await self._pool.execute("UPDATE settled SET published = true WHERE seq = ANY($1::bigint[])", list(seqs))

    async def drop_old(self, before_ms: int) -> None:
        """Drops closed reservations, and accounts of ended runs and deleted budgets, unused since
        `before_ms`.
        """
        await self._pool.execute(f"DELETE FROM reservations WHERE state <> '{HELD}' AND expires_at < $1", before_ms)
        await self._pool.execute(
            "DELETE FROM accounts WHERE ended AND reserved_nano = 0 AND updated_at < $1 AND starts_with(id, 'run:')",
            before_ms,
        )
        await self._pool.execute(
            "DELETE FROM accounts WHERE reserved_nano = 0 AND updated_at < $1 AND starts_with(id, 'budget:')"
            " AND NOT EXISTS (SELECT 1 FROM budgets WHERE budgets.id = split_part(accounts.id, ':', 2))",
            before_ms,
        )


class Transaction:
    """One transaction that decides about money."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def budgets(self, org: str) -> list[Budget]:
        rows = await self._connection.fetch(f"SELECT {BUDGET} FROM budgets WHERE org = $1", org)
        return [Budget(**dict(row)) for row in rows]

    async def lock_accounts(self, ids: Sequence[str], now_ms: int) -> dict[str, Account]:
        """Returns the accounts, locked until the transaction ends.

        New ones are created. ids: sorted.
        """
        await self._connection.execute(
            "INSERT INTO accounts (id, updated_at) SELECT id, $2 FROM unnest($1::text[]) AS new (id)"
            " WHERE NOT EXISTS (SELECT 1 FROM accounts known WHERE known.id = new.id) ORDER BY id"
            " ON CONFLICT DO NOTHING",
            ids, now_ms,
        )  # fmt: skip
        rows = await self._connection.fetch(
            "SELECT id, spent_nano, reserved_nano, ended FROM accounts"
            " WHERE id = ANY($1::text[]) ORDER BY id FOR UPDATE",
            ids,
        )
        return {row["id"]: Account(*row) for row in rows}

    async def lock_holds(self, ids: Iterable[str]) -> dict[str, Hold]:
        rows = await self._connection.fetch(
            f"SELECT {_HOLD} FROM reservations WHERE id = ANY($1::text[]) ORDER BY id FOR UPDATE", sorted(set(ids))
        )
        return {row["id"]: _hold(row) for row in rows}

    async def held(self, reservation: str) -> Reservation | None:
        """Returns the reservation if it is still active. Call with its run's account locked."""
        row = await self._connection.fetchrow(
            f"SELECT amount_nano, candidates FROM reservations WHERE id = $1 AND state = '{HELD}'", reservation
        )
        if row is None:
            return None
        return Reservation(reservation, row["amount_nano"], _candidates.decode(row["candidates"]))

    async def hold(
        self, request: RouteRequest, reservation: Reservation, accounts: Sequence[str], expires_at: int
    ) -> None:
        """Reserves the amount on every account.

        An ended reservation of the same attempt becomes active again.
        """
        # one statement, because it blocks the accounts of a whole org while it runs
        await self._connection.execute(
            "WITH held AS (INSERT INTO reservations"
            " (id, org, run, step, attempt, state, amount_nano, accounts, candidates, expires_at)"
            f" VALUES ($1, $2, $3, $4, $5, '{HELD}', $6, $7, $8, $9) ON CONFLICT (id) DO UPDATE SET state = '{HELD}',"
            " amount_nano = excluded.amount_nano, accounts = excluded.accounts, candidates = excluded.candidates,"
            " expires_at = excluded.expires_at RETURNING accounts)"
            " UPDATE accounts SET reserved_nano = reserved_nano + $6 FROM held WHERE id = ANY(held.accounts)",
            reservation.id, request.org, request.run, request.step, request.attempt, reservation.amount,
            list(accounts), msgspec.json.encode(reservation.candidates).decode(), expires_at,
        )  # fmt: skip

    async def record(self, settlements: Sequence[Settlement], owners: Sequence[tuple[str, str]]) -> set[int]:
        """Records events as settled.

        Returns the sequences that are new. owners: (org, run) of each event.
        """
        rows = await self._connection.fetch(
            "INSERT INTO settled (seq, org, run, cost_nano, reserved_nano)"
            " SELECT seq, org, run, cost, 0 FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[])"
            " AS new (seq, org, run, cost) ORDER BY seq ON CONFLICT DO NOTHING RETURNING seq",
            [s.seq for s in settlements], [org for org, _ in owners], [run for _, run in owners],
            [s.cost for s in settlements],
        )  # fmt: skip
        return {row["seq"] for row in rows}

    async def note_reserved(self, reserved: dict[int, int]) -> None:
        await self._connection.execute(
            "UPDATE settled SET reserved_nano = new.amount FROM unnest($1::bigint[], $2::bigint[]) AS new (seq, amount)"
            " WHERE settled.seq = new.seq AND new.amount > 0",
            list(reserved), list(reserved.values()),
        )  # fmt: skip

    async def receipts(self, seqs: Sequence[int], fresh: set[int]) -> dict[int, Receipt]:
        rows = await self._connection.fetch(
            "SELECT seq, reserved_nano, published FROM settled WHERE seq = ANY($1::bigint[])", list(seqs)
        )
        return {
            row["seq"]: Receipt(row["seq"], row["reserved_nano"], row["published"], row["seq"] in fresh) for row in rows
        }

    async def apply(self, changes: Changes, now_ms: int) -> None:
        """Writes the changes. Call with their accounts and holds locked."""
        accounts = [(name, delta) for name, delta in changes.accounts.items() if delta.spent or delta.reserved]
        if accounts:
            await self._connection.execute(
                "UPDATE accounts SET spent_nano = spent_nano + new.spent, reserved_nano = reserved_nano + new.reserved,"
                " updated_at = $4 FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS new (id, spent, reserved)"
                " WHERE accounts.id = new.id",
                [name for name, _ in accounts], [d.spent for _, d in accounts],
                [d.reserved for _, d in accounts], now_ms,
            )  # fmt: skip
        if changes.holds:
            await self._connection.execute(
                "UPDATE reservations SET state = new.state FROM unnest($1::text[], $2::text[]) AS new (id, state)"
                " WHERE reservations.id = new.id",
                list(changes.holds), list(changes.holds.values()),
            )  # fmt: skip


def _hold(row: Any) -> Hold:
    return Hold(row["id"], row["org"], row["run"], row["amount_nano"], row["state"], tuple(row["accounts"]))

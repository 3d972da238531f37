"""The base of the stores: rows become structs in one place."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Hashable, Iterator
from typing import Any, TypeVar

import asyncpg
import msgspec

from agentflow_gateway.store.memory import NOTHING, Memory

Row = TypeVar("Row", bound=msgspec.Struct)


class Tables:
    """A group of tables over a pool whose search path is the schema."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def _rows(self, kind: type[Row], query: str, *args: Any, json: tuple[str, ...] = ()) -> list[Row]:
        """Returns the rows of a query. json: the columns that contain JSON as text."""
        return [_row(kind, row, json) for row in await self._pool.fetch(query, *args)]

    async def _row(self, kind: type[Row], query: str, *args: Any, json: tuple[str, ...] = ()) -> Row | None:
        """Returns the first row of a query, or None."""
        row = await self._pool.fetchrow(query, *args)
        return None if row is None else _row(kind, row, json)

    async def _texts(self, query: str, *args: Any) -> list[str]:
        """Returns the first column of every row."""
        return [str(row[0]) for row in await self._pool.fetch(query, *args)]

    async def _changed(self, query: str, *args: Any) -> bool:
        """Executes a statement. True if it changed exactly one row."""
        return str(await self._pool.execute(query, *args)).endswith(" 1")


class RememberedTables(Tables):
    """Tables of workflows whose rows are remembered until they change."""

    def __init__(self, pool: asyncpg.Pool, memory: Memory) -> None:
        super().__init__(pool)
        self.memory = memory

    @contextlib.contextmanager
    def _changing(self, org: str, workflow: str) -> Iterator[None]:
        """Forgets the rows of a workflow after a change, also after one of unknown outcome."""
        try:
            yield
        finally:
            self.memory.forget(org, workflow)

    async def _remembered(
        self,
        org: str,
        workflow: str,
        key: Hashable,
        read: Callable[[], Awaitable[Row | None]],
        chars: Callable[[Row], int],
    ) -> Row | None:
        """Returns a row that is remembered, or else what `read` returns. chars: the size of a row."""
        found = self.memory.find((org, workflow), key, time.monotonic())
        if found is not NOTHING:
            row: Row | None = found
            return row
        before = self.memory.changes
        row = await read()
        self.memory.keep((org, workflow), key, row, 0 if row is None else chars(row), before)
        return row


def _row(kind: type[Row], row: Any, json: tuple[str, ...]) -> Row:
    plain = dict(row)
    for name in json:
        plain[name] = msgspec.json.decode(plain[name])
    return msgspec.convert(plain, kind)


def as_json(value: Any) -> str:
    return msgspec.json.encode(value, order="sorted").decode()

"""The SQL of expiry: how long ClickHouse keeps the bodies of events, and the rows of the derived tables."""

from __future__ import annotations

import re
from typing import Final

from agentflow_common.connections.clickhouse import ClickHouse

_TIMES: Final = {"runs": "submitted_at", "steps": "submitted_at", "llm_calls": "at", "costs": "at"}
_DAYS: Final = r"TTL [^`\n]*?toIntervalDay\((\d+)\)"
_BODY: Final = re.compile(r"`body` [^`\n]*?" + _DAYS)
_ROWS: Final = re.compile(_DAYS)


class ExpiryStore:
    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    async def apply(self, bodies_days: int, derived_days: int) -> None:
        """Lets ClickHouse remove what is older than so many days; 0: nothing. What is set already is not touched.

        bodies_days: since the log stored the message, whose row stays. derived_days: since the run was submitted, and
        since a model was called or money was spent.
        """
        created = dict(await self._clickhouse.query(
            "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase()"
        ))  # fmt: skip
        found = _BODY.search(str(created["events"]))
        if bodies_days != (int(found[1]) if found else 0):
            change = f"TTL toDateTime(stored_at) + INTERVAL {bodies_days} DAY" if bodies_days else "REMOVE TTL"
            await self._clickhouse.command(f"ALTER TABLE events MODIFY COLUMN body {change}")
        for table, column in _TIMES.items():
            found = _ROWS.search(str(created[table]).rpartition(" ORDER BY ")[2])
            if derived_days != (int(found[1]) if found else 0):
                ttl = f"MODIFY TTL toDateTime({column}) + INTERVAL {derived_days} DAY"
                await self._clickhouse.command(f"ALTER TABLE {table} {ttl if derived_days else 'REMOVE TTL'}")

"""The rows of a table: a worker reads those after a position, which is kept once their runs are asked for."""

from __future__ import annotations

from typing import Final

import msgspec

from agentflow_common import rpc
from agentflow_common.schedules import sources
from agentflow_common.schedules.sources import Rows
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.schedules.sources.taking import Item, Taking
from agentflow_gateway.store.sources import SourceRow

PAGE: Final = sources.WAITING_MAX
WAIT_MS: Final = 8_000  # shorter than the lease


class Position(msgspec.Struct, frozen=True, omit_defaults=True):
    """The last row that is known. key: None if the rows of this transaction are not known either."""

    position: str
    key: str | None = None


async def look(deps: Deps, rows: Rows, source: SourceRow, taking: Taking) -> str:
    """Takes what is new, waits for it for a while, and returns the position after it."""
    request = rpc.ReadRowsRequest(
        database=rows.database,
        table=rows.table,
        key=rows.key,
        position=rows.position,
        notify=rows.notify,
        every_ms=rows.every_ms,
        wait_ms=WAIT_MS,
        limit=PAGE,
    )
    if not source.position:
        if rows.existing == "take":
            return _text(Position("1"))
        return _text(Position((await taking.call().ask(rpc.READ_ROWS, request)).now))
    before = msgspec.json.decode(source.position, type=Position)
    request = msgspec.structs.replace(request, after=before.position, after_key=before.key)
    found = (await taking.call().ask(rpc.READ_ROWS, request)).rows
    text = source.position
    while found:
        done = await taking.take([item_of(rows, row) for row in found])
        text = _text(Position(found[done - 1].position, found[done - 1].key))
        await deps.store.sources.looked(source.id, deps.clock.now_ms(), position=text)
        found = found[done:]
    return text


def item_of(rows: Rows, row: rpc.ReadRow) -> Item:
    """Returns a row as an item. Pure."""
    payload = {"table": rows.table, "key": row.key, "row": row.row}
    return Item("", row.position, sources.trigger_id(row.key, row.position), payload)


def _text(position: Position) -> str:
    return msgspec.json.encode(position).decode()

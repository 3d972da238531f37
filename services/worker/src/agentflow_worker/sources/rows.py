"""New rows of a table of PostgreSQL, in an order in which none is passed over.

Transactions commit in another order than they draw numbers from a sequence, so a reader that keeps the largest number
passes over rows. Here each row has the id of its transaction, and only rows of transactions before the oldest one that
is still open are read (`pg_snapshot_xmin`). All of these have ended: no other row can appear among them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import asyncpg
import msgspec

from agentflow_common import json_values, rpc, screening
from agentflow_common.connections import transient
from agentflow_common.errors import (
    AgentFlowError,
    InvalidError,
    NotFoundError,
    PermissionDeniedError,
    RetryableError,
    TerminalError,
)
from agentflow_worker.settings import WorkerSettings
from agentflow_worker.sources import store_rows

CONNECT_S_MAX: Final = 5.0
QUERY_S_MAX: Final = 20.0
WAIT_MS_MAX: Final = 10_000
ROWS_MAX: Final = 100
ROW_BYTES_MAX: Final = 200_000  # below the limit of a trigger's payload
DEPTH_MAX: Final = screening.VALUE_DEPTH_MAX - 4  # of a row: it stands inside a payload
REPLY_BYTES_MAX: Final = 4 * 1024 * 1024
_UNREADABLE: Final[tuple[type[Exception], ...]] = (ValueError, *transient.SURVIVED)
_SOON_S: Final = 0.1  # after a notice: the row may be behind a transaction that is still open


async def read(request: rpc.ReadRowsRequest, settings: WorkerSettings) -> rpc.ReadRowsReply:
    """Returns the rows after a position, once there are any or the time to wait is over."""
    secret = settings.trigger_databases.get(request.database)
    if secret is None:
        raise NotFoundError(
            f"the worker knows no database {request.database!r}: add it to AGENTFLOW_TRIGGER_DATABASES",
            kind="database_not_configured",
        )
    async with _connected(secret.get_secret_value(), request.database) as connection:
        return await _read(connection, request)


async def _read(connection: Any, request: rpc.ReadRowsRequest) -> rpc.ReadRowsReply:
    key_kind, filled = await _checked(connection, request)
    may_lack_position = request.position not in filled
    now = await connection.fetchrow(store_rows.NOW, request.after or "0")
    if not request.after:
        return rpc.ReadRowsReply(now=now["oldest"])
    if now["lost"]:
        raise TerminalError(
            "the database counts its transactions anew, as after a restore from a dump, so nobody knows which rows are "
            "new: delete the schedule and create it again",
            kind="position_lost",
        )
    news = asyncio.Event()
    if request.notify:
        await connection.add_listener(request.notify, lambda *_: news.set())
    deadline = time.monotonic() + min(request.wait_ms, WAIT_MS_MAX) / 1000
    pause_s = every_s = request.every_ms / 1000
    while True:
        news.clear()
        found = await connection.fetch(
            store_rows.query(request, key_kind, filled=request.key in filled),
            request.after,
            request.after_key,
            min(request.limit, ROWS_MAX),
            ROW_BYTES_MAX,
        )
        if not found and may_lack_position and await connection.fetchval(store_rows.without_position(request)):
            raise InvalidError(
                f"the column {request.position!r} of the table {request.table!r} is null in a row, so nothing tells "
                "whether the row is new: give the row a value (the DEFAULT of the column), and make it NOT NULL",
                kind="position_is_null",
            )
        left_s = deadline - time.monotonic()
        if found or left_s <= 0:
            return rpc.ReadRowsReply(rows=_bounded(found, request))
        try:
            await asyncio.wait_for(news.wait(), min(pause_s, left_s))
            pause_s = _SOON_S
        except TimeoutError:
            pause_s = min(2 * pause_s, every_s)


def _bounded(found: list[Any], request: rpc.ReadRowsRequest) -> tuple[rpc.ReadRow, ...]:
    """Returns the first rows, as far as a reply has room."""
    rows: list[rpc.ReadRow] = []
    size = 0
    for row in found:
        size += len(row["data"] or "")
        if rows and size > REPLY_BYTES_MAX:
            break
        if row["key"] is None:
            if rows:
                break
            raise InvalidError(
                f"the column {request.key!r} of the table {request.table!r} is null in a row, so nothing tells the row "
                "from others: name the primary key in `key`, or correct the row",
                kind="key_is_null",
            )
        rows.append(rpc.ReadRow(position=row["position"], key=row["key"], row=_data(row["data"])))
    return tuple(rows)


def _data(text: str | None) -> dict[str, Any] | None:
    """Returns the columns; None if the row is too large, or has a value that the log can't hold.

    Such values are numbers beyond a double, integers of thousands of digits, and JSON that is nested too deeply.
    """
    if text is None:
        return None
    try:
        found = msgspec.json.decode(text, type=dict[str, Any])
        json_values.check(found)
    except (ValueError, RecursionError):
        return None
    return None if _is_deeper(found, DEPTH_MAX) else found


def _is_deeper(value: Any, levels: int) -> bool:
    """True if lists and objects are nested deeper than this."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    if inner is None:
        return False
    return levels == 0 or any(_is_deeper(item, levels - 1) for item in inner)


async def _checked(connection: Any, request: rpc.ReadRowsRequest) -> tuple[str, set[str]]:
    """Returns the type of the key, and the columns that are never null. Raises if the table lacks the columns."""
    try:
        table = store_rows.quoted_table(request.table)
    except ValueError as error:
        raise InvalidError(str(error), kind="invalid_argument") from None
    found = await connection.fetch(store_rows.COLUMNS, table, [request.key, request.position])
    kinds = {row["attname"]: row["kind"] for row in found}
    if not kinds and not await connection.fetchval(store_rows.EXISTS, table):
        raise NotFoundError(
            f"the database {request.database!r} has no table {request.table!r}: check the name and its schema",
            kind="table_not_found",
        )
    if request.key not in kinds:
        raise NotFoundError(
            f"the table {request.table!r} has no column {request.key!r}: name its primary key in `key`",
            kind="column_not_found",
        )
    if kinds.get(request.position) != "xid8":
        raise InvalidError(
            f"the table {request.table!r} needs a column {request.position!r} of the type xid8: ALTER TABLE {table} "
            f"ADD COLUMN {store_rows.quoted(request.position)} xid8 NOT NULL DEFAULT pg_current_xact_id()",
            kind="position_not_xid8",
        )
    return str(kinds[request.key]), {row["attname"] for row in found if row["filled"]}


@contextlib.asynccontextmanager
async def _connected(dsn: str, name: str) -> AsyncIterator[Any]:
    """Gives a connection. Errors have our text: the server's may quote rows or the address."""
    try:
        connection = await asyncpg.connect(
            dsn,
            timeout=CONNECT_S_MAX,
            command_timeout=QUERY_S_MAX,
            server_settings={"application_name": "agentflow-trigger", "default_transaction_read_only": "on"},
        )
        try:
            yield connection
        finally:
            with contextlib.suppress(*transient.SURVIVED):
                await connection.close(timeout=1.0)
    except asyncpg.InsufficientPrivilegeError as error:
        raise PermissionDeniedError(
            f"the user of the database {name!r} may not read the table: grant it SELECT", kind="rows_denied"
        ) from error
    except asyncpg.ClientConfigurationError as error:
        raise PermissionDeniedError(
            f"the address of the database {name!r} is not valid: write postgresql://USER:PASSWORD@HOST/NAME in "
            "AGENTFLOW_TRIGGER_DATABASES",
            kind="database_refused",
        ) from error
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
        raise PermissionDeniedError(
            f"the database {name!r} refuses the worker: check AGENTFLOW_TRIGGER_DATABASES", kind="database_refused"
        ) from error
    except AgentFlowError:
        raise
    except _UNREADABLE as error:
        raise RetryableError(
            f"the database {name!r} can't be read ({type(error).__name__})", kind="rows_unavailable"
        ) from error

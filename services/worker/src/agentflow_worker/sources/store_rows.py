"""SQL for the rows that start runs. Names are quoted; values are parameters. Pure."""

from __future__ import annotations

from typing import Final

from agentflow_common import rpc
from agentflow_common.schedules import sources

COLUMNS: Final = """
SELECT attname, format_type(atttypid, atttypmod) AS kind, attnotnull AS filled FROM pg_attribute
WHERE attrelid = to_regclass($1) AND attname = ANY($2) AND attnum > 0 AND NOT attisdropped
"""
NOW: Final = (
    "SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS oldest, pg_snapshot_xmax(pg_current_snapshot()) "
    "< $1::text::xid8 AS lost"
)
EXISTS: Final = "SELECT to_regclass($1) IS NOT NULL"


def query(request: rpc.ReadRowsRequest, key_kind: str, *, filled: bool) -> str:
    """Returns the SQL for the rows after a position. Names are quoted; key_kind is the server's own text. Pure.

    The columns are written as `json`: a value of `jsonb` can't hold all that a column of `json` may have, and one row
    would end the whole query. `t.*` is the row also where a column is called `t`.

    filled: the key can't be null. Otherwise rows without a key are found, too: no comparison holds for them.
    """
    table, key, position = quoted_table(request.table), quoted(request.key), quoted(request.position)
    if request.after_key is None:
        after = f"t.{position} >= $1::text::xid8 AND $2::text IS NULL"
    else:
        after = f"(t.{position}, t.{key}) > ($1::text::xid8, $2::text::{key_kind})"
        if not filled:
            after = f"({after} OR t.{key} IS NULL AND t.{position} >= $1::text::xid8)"
    return (
        f"SELECT position, key, CASE WHEN octet_length(data) <= $4 THEN data END AS data FROM ("  # noqa: S608
        f"SELECT t.{position}::text AS position, t.{key}::text AS key, row_to_json(t.*)::text AS data "
        f"FROM {table} AS t WHERE t.{position} < pg_snapshot_xmin(pg_current_snapshot()) AND {after} "
        f"ORDER BY t.{position}, t.{key} LIMIT $3) AS found"
    )


def without_position(request: rpc.ReadRowsRequest) -> str:
    """Returns the SQL that tells whether a row has no position. No comparison finds such a row."""
    table, position = quoted_table(request.table), quoted(request.position)
    return f"SELECT EXISTS (SELECT FROM {table} AS t WHERE t.{position} IS NULL)"  # noqa: S608


def quoted(name: str) -> str:
    """Returns a name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def quoted_table(table: str) -> str:
    return ".".join(quoted(name) for name in sources.table_names(table))

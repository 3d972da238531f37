"""All SQL of the prompt service."""

from __future__ import annotations

from typing import Any, Final

import asyncpg
import msgspec

from agentflow_common.rpc import CreatePromptRequest, PromptVersion, PromptVersionRow
from agentflow_prompt.machine import Ref

_COLUMNS: Final = """v.name, v.version, v.template, v.system, v.description, v.inputs_schema, v.task,
    v.max_output_tokens, v.temperature, v.created_at, v.created_by, v.sha256,
    ARRAY(SELECT l.label FROM labels l WHERE l.org = v.org AND l.name = v.name AND l.version = v.version
          ORDER BY l.label) AS labels"""


class Store:
    """Prompt versions in PostgreSQL, schema `prompt`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def create(
        self, request: CreatePromptRequest, sha256: str, now_ms: int, *, only_first: bool = False
    ) -> PromptVersion | None:
        """Stores and returns a new version, or returns the latest one if its content is the same.

        only_first: returns None if the name has versions.
        """
        key = (request.org, request.name)
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("INSERT INTO prompts (org, name) VALUES ($1, $2) ON CONFLICT DO NOTHING", *key)
            latest = await connection.fetchval(
                "SELECT latest FROM prompts WHERE org = $1 AND name = $2 FOR UPDATE", *key
            )
            if latest and only_first:
                return None
            known = await connection.fetchval(
                "SELECT sha256 FROM versions WHERE org = $1 AND name = $2 AND version = $3", *key, latest
            )
            version = latest
            if known != sha256:
                version = latest + 1
                await self._insert(connection, request, version, sha256, now_ms)
            for label in sorted(set(request.labels)):
                await connection.execute(
                    "INSERT INTO labels (org, name, label, version) VALUES ($1, $2, $3, $4)"
                    " ON CONFLICT (org, name, label) DO UPDATE SET version = excluded.version",
                    *key, label, version,
                )  # fmt: skip
            row = await connection.fetchrow(
                f"SELECT {_COLUMNS} FROM versions v WHERE v.org = $1 AND v.name = $2 AND v.version = $3",  # noqa: S608
                *key, version,
            )  # fmt: skip
        return _version(row)

    async def _insert(
        self, connection: Any, request: CreatePromptRequest, version: int, sha256: str, now_ms: int
    ) -> None:
        await connection.execute(
            "INSERT INTO versions (org, name, version, template, system, description, inputs_schema, task,"
            " max_output_tokens, temperature, created_at, created_by, sha256)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
            request.org, request.name, version, request.template, request.system, request.description,
            msgspec.json.encode(request.inputs_schema).decode(), request.task, request.max_output_tokens,
            float(request.temperature), now_ms, request.created_by.replace("\x00", ""), sha256,
        )  # fmt: skip
        await connection.execute(
            "UPDATE prompts SET latest = $3 WHERE org = $1 AND name = $2", request.org, request.name, version
        )

    async def find(self, org: str, ref: Ref) -> tuple[PromptVersion | None, int]:
        """Returns the version that a reference names now, or None, and the name's latest version
        number.

        The number is 0 if there is no such name.
        """
        row = await self._pool.fetchrow(
            f"""SELECT p.latest AS newest, {_COLUMNS}
            FROM prompts p
            LEFT JOIN labels wanted ON wanted.org = p.org AND wanted.name = p.name AND wanted.label = $4
            LEFT JOIN versions v ON v.org = p.org AND v.name = p.name
                AND v.version = CASE WHEN $3::int IS NOT NULL THEN $3::int
                                     WHEN $4 <> '' THEN wanted.version ELSE p.latest END
            WHERE p.org = $1 AND p.name = $2 AND p.latest > 0""",  # noqa: S608
            org, ref.name, ref.version, ref.label,
        )  # fmt: skip
        if row is None:
            return None, 0
        return (_version(row) if row["version"] is not None else None), row["newest"]

    async def versions(self, org: str, name: str, before: int, limit: int) -> list[PromptVersionRow]:
        """Returns the versions of a prompt, newest first. before: only those below this number; 0: all."""
        rows = await self._pool.fetch(
            """SELECT v.version, v.sha256, v.description, v.created_at, v.created_by,
            ARRAY(SELECT l.label FROM labels l WHERE l.org = v.org AND l.name = v.name AND l.version = v.version
                  ORDER BY l.label) AS labels
            FROM versions v WHERE v.org = $1 AND v.name = $2 AND ($3::int = 0 OR v.version < $3::int)
            ORDER BY v.version DESC LIMIT $4""",
            org, name, before, limit,
        )  # fmt: skip
        return [PromptVersionRow(**{**dict(row), "labels": tuple(row["labels"])}) for row in rows]

    async def set_label(self, org: str, name: str, label: str, version: int, labels_max: int) -> bool | None:
        """Points a label at a version. Returns whether it changed, or None if the prompt has no room for a new label.

        Raises asyncpg's ForeignKeyViolationError if there is no such version.
        """
        key = (org, name)
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT 1 FROM prompts WHERE org = $1 AND name = $2 FOR UPDATE", *key)
            there = await connection.fetch("SELECT label, version FROM labels WHERE org = $1 AND name = $2", *key)
            before = {row["label"]: row["version"] for row in there}
            if label not in before and len(before) >= labels_max:
                return None
            await connection.execute(
                "INSERT INTO labels (org, name, label, version) VALUES ($1, $2, $3, $4)"
                " ON CONFLICT (org, name, label) DO UPDATE SET version = excluded.version",
                *key, label, version,
            )  # fmt: skip
            return bool(before.get(label) != version)

    async def remove_label(self, org: str, name: str, label: str) -> bool:
        """Removes a label. False if the prompt does not have it."""
        query = "DELETE FROM labels WHERE org = $1 AND name = $2 AND label = $3"
        return str(await self._pool.execute(query, org, name, label)).endswith(" 1")

    async def latest(self, org: str, name_prefix: str, limit: int, after: str = "") -> list[PromptVersion]:
        """Returns the latest version of each prompt, by name.

        Names start with `name_prefix` and come after `after`.
        """
        rows = await self._pool.fetch(
            f"""SELECT {_COLUMNS} FROM prompts p
            JOIN versions v ON v.org = p.org AND v.name = p.name AND v.version = p.latest
            WHERE p.org = $1 AND starts_with(p.name, $2) AND p.name COLLATE "C" > $4
            ORDER BY p.name COLLATE "C" LIMIT $3""",  # noqa: S608
            org, name_prefix, limit, after,
        )  # fmt: skip
        return [_version(row) for row in rows]


def _version(row: Any) -> PromptVersion:
    fields = {name: row[name] for name in PromptVersion.__struct_fields__}
    fields["inputs_schema"] = msgspec.json.decode(row["inputs_schema"])
    fields["labels"] = tuple(row["labels"])
    return PromptVersion(**fields)

"""All SQL of the security service: the vault. Rows are written once and never changed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import asyncpg

from agentflow_common.connections import transient
from agentflow_common.errors import RetryableError

SCHEMA: Final = "security"
_ROWS_MAX: Final = 5_000  # in one statement


class Row(NamedTuple):
    """A vault row to write, without its org and run."""

    token: str
    category: str
    digest: bytes
    ciphertext: bytes


class Store:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def claim_key(self, fingerprint: bytes) -> None:
        """Ties the vault to its master key at the first start.

        Raises RuntimeError if it was filled under another key.
        """
        await self._pool.execute(
            "INSERT INTO vault_key (id, fingerprint) VALUES (1, $1) ON CONFLICT DO NOTHING", fingerprint
        )
        if await self._pool.fetchval("SELECT fingerprint FROM vault_key WHERE id = 1") != fingerprint:
            raise RuntimeError(
                "the vault in this database was sealed under another master key; set AGENTFLOW_VAULT_KEY or "
                "AGENTFLOW_VAULT_KEY_FILE to that key"
            )

    async def put(self, org: str, run: str, rows: Sequence[Row]) -> set[str]:
        """Writes the new rows, durable on return.

        Returns the vault tokens that stand for other values.
        """
        taken: set[str] = set()
        ordered = sorted(rows)  # one order for all callers: concurrent inserts of the same tokens can't deadlock
        with _reachable():
            for first in range(0, len(ordered), _ROWS_MAX):
                taken |= await self._put(org, run, ordered[first : first + _ROWS_MAX])
        return taken

    async def _put(self, org: str, run: str, rows: Sequence[Row]) -> set[str]:
        tokens, categories, digests, ciphertexts = (list(column) for column in zip(*rows, strict=True))
        inserted: list[Any] = await self._pool.fetch(
            "INSERT INTO vault (org, run, token, entity, digest, ciphertext) "
            "SELECT $1, $2, * FROM unnest($3::text[], $4::text[], $5::bytea[], $6::bytea[]) "
            "ON CONFLICT DO NOTHING RETURNING token",
            org, run, tokens, categories, digests, ciphertexts,
        )  # fmt: skip
        if len(inserted) == len(rows):
            return set()
        there: list[Any] = await self._pool.fetch(
            "SELECT token, digest FROM vault WHERE org = $1 AND run = $2 AND token = ANY($3::text[])", org, run, tokens
        )
        held = {row["token"]: row["digest"] for row in there}
        return {row.token for row in rows if held.get(row.token) != row.digest}

    async def get(self, org: str, run: str, tokens: Sequence[str]) -> Mapping[str, bytes]:
        """Returns ciphertexts by vault token.

        Tokens that this org's run does not have are left out.
        """
        with _reachable():
            rows: list[Any] = await self._pool.fetch(
                "SELECT token, ciphertext FROM vault WHERE org = $1 AND run = $2 AND token = ANY($3::text[])",
                org, run, list(tokens),
            )  # fmt: skip
        return {row["token"]: row["ciphertext"] for row in rows}

    async def page(self, org: str, run: str, after: str) -> list[tuple[str, str, bytes]]:
        """Returns (vault token, category, ciphertext) of a run after the token `after`, at most _ROWS_MAX."""
        with _reachable():
            rows: list[Any] = await self._pool.fetch(
                "SELECT token, entity, ciphertext FROM vault WHERE org = $1 AND run = $2 AND token > $3 "
                "ORDER BY token LIMIT $4",
                org, run, after, _ROWS_MAX,
            )  # fmt: skip
        return [(row["token"], row["entity"], row["ciphertext"]) for row in rows]


@contextlib.contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except (*transient.TRANSIENT, asyncpg.PostgresError) as error:
        raise RetryableError(
            "the vault is not reachable; nothing was passed on, ask again",
            kind="vault_unavailable",
            retry_after_ms=transient.RETRY_AFTER_MS,
        ) from error

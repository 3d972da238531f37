"""API keys: made at the first start, or by hand with `python -m agentflow_gateway.keys create|list|revoke`.

A key is shown once, when it is made. The database contains its SHA-256.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from agentflow_common import ids
from agentflow_common.clock import SystemClock
from agentflow_common.connections import postgres
from agentflow_common.errors import AgentFlowError
from agentflow_common.settings import DatabaseSettings
from agentflow_gateway import auth_rules, limits
from agentflow_gateway.settings import GatewaySettings
from agentflow_gateway.store.keys import KeyRow, KeyStore
from agentflow_gateway.store.tables import SCHEMA, Store

log = logging.getLogger(__name__)


async def create(store: KeyStore, org: str, permissions: Sequence[str], name: str, now_ms: int) -> tuple[str, str]:
    """Returns (id, key) of a new key. InvalidError for a bad org or an unknown permission."""
    ids.check_token(org, "org")
    limits.check_text(name, "name", 100)
    key = "afk_" + secrets.token_urlsafe(32)  # 256 random bits
    return await _put(store, key, org, name, auth_rules.check_permissions(permissions), now_ms), key


async def _put(store: KeyStore, key: str, org: str, name: str, permissions: tuple[str, ...], now_ms: int) -> str:
    key_id = "key_" + secrets.token_hex(6)
    row = KeyRow(id=key_id, org=org, name=name, permissions=permissions, created_at=now_ms, revoked_at=None)
    await store.put(row, auth_rules.key_digest(key))
    return key_id


async def ensure_dev_key(store: KeyStore, settings: GatewaySettings, now_ms: int) -> None:
    """Makes a key at the first start. Later `API_KEY` may change. The key is written to the file, never logged.

    Without API_KEY and without a file nobody could learn a random key, so none is made.
    """
    for number, given in enumerate(settings.api_keys):
        owner = ids.check_token(given.org_id or settings.default_org_id, f"api_keys[{number}].org_id")
        permissions = auth_rules.check_permissions(given.permissions)
        await _put(store, given.key.get_secret_value(), owner, given.name, permissions, now_ms)
    org, file = ids.check_token(settings.default_org_id, "DEFAULT_ORG_ID"), settings.dev_key_file
    if settings.api_key:
        await _put(store, settings.api_key, org, "env", auth_rules.PERMISSIONS, now_ms)
        if file is not None:
            _write_secret(file, settings.api_key)
        return
    there = await store.count() > 0
    if file is None:
        if not there:
            log.warning("there is no API key: run `python -m agentflow_gateway.keys create --org %s`", org)
        return
    if there and await _file_works(store, file):
        return
    # a lost file is a lost key: the person who sets the gateway's environment gets another one
    _, key = await create(store, org, auth_rules.PERMISSIONS, "dev", now_ms)
    _write_secret(file, key)
    log.info("dev key made", extra={"org": org})


async def _file_works(store: KeyStore, file: Path) -> bool:
    try:
        key = await asyncio.to_thread(lambda: file.read_text().strip())
    except OSError:
        return False
    return bool(key) and await store.find(auth_rules.key_digest(key)) is not None


def _write_secret(file: Path, key: str) -> None:
    """Writes the file so that only its owner can read it, from the first byte on, and never half."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(key + "\n")
    temporary.replace(file)


@contextlib.asynccontextmanager
async def opened(settings: DatabaseSettings) -> AsyncIterator[Store]:
    """Opens the gateway's tables, with the schema brought up to date."""
    async with postgres.opened(settings, SCHEMA, __file__) as pool:
        yield Store(pool)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m agentflow_gateway.keys", description="API keys (reads DB_*)")
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("create", help="make a key and print it once")
    make.add_argument("--org", required=True)
    make.add_argument("--permissions", default="read,write", help=f"of {','.join(auth_rules.PERMISSIONS)}")
    make.add_argument("--name", default="")
    show = commands.add_parser("list", help="list keys, without the keys themselves")
    show.add_argument("--org", default="")
    revoke = commands.add_parser("revoke", help="make a key stop working (within seconds)")
    revoke.add_argument("id")
    return parser


async def _run(arguments: argparse.Namespace) -> int:
    out = sys.stdout.write
    now_ms = SystemClock().now_ms()
    async with opened(DatabaseSettings()) as store:
        if arguments.command == "create":
            permissions = arguments.permissions.split(",")
            key_id, key = await create(store.keys, arguments.org, permissions, arguments.name, now_ms)
            sys.stderr.write(f"{key_id} for org {arguments.org}; this is the only time the key is shown:\n")
            out(key + "\n")
        elif arguments.command == "list":
            for row in await store.keys.list(arguments.org):
                made = time.strftime("%Y-%m-%d %H:%M", time.gmtime(row.created_at / 1000))
                state = "revoked" if row.revoked_at else "active"
                out(f"{row.id}\t{row.org}\t{','.join(row.permissions)}\t{state}\t{made}\t{row.name}\n")
        elif not await store.keys.revoke(arguments.id, now_ms):
            sys.stderr.write(f"no active key {arguments.id!r}: see `list`\n")
            return 1
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        return asyncio.run(_run(arguments))
    except AgentFlowError as error:
        sys.stderr.write(error.message + "".join(f"\n  {problem}" for problem in error.problems) + "\n")
        return 2


if __name__ == "__main__":
    raise SystemExit(main())

"""`agentctl keys`: API keys of the embedded stack, made in its own database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from agentctl.display.output import Columns, Format, Output, done, emit, note, stdout, table_of, when
from agentctl.failures import UNREACHABLE, CliError
from agentctl.groups import LocalGroup
from agentctl.options import DataDir, argument, option
from agentflow_sdk.transport import connection

if TYPE_CHECKING:
    from agentflow_gateway.store.keys import KeyRow, KeyStore

app = LocalGroup("keys", "API keys of the embedded stack that runs here.")

T = TypeVar("T")
_ORG: Final = "default"


@app.command()
def create(
    name: Annotated[
        str, typer.Option(help="The owner: events and the audit log name it, approvals accept it as a person.")
    ],
    permissions: Annotated[
        str, typer.Option(help="Comma-separated: read, write, admin, reveal, operator, auditor.")
    ] = "read,write",
    org: Annotated[str, typer.Option(help="The org that the key belongs to.")] = _ORG,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Make a key. It is printed once, alone on stdout; the database holds its digest only."""
    from agentflow_common.clock import SystemClock
    from agentflow_gateway import keys

    if not name.strip():
        raise CliError("--name is empty", fix="name the owner, as events and the audit log will")
    wanted = permissions.split(",")
    now_ms = SystemClock().now_ms()
    key_id, key = _with_store(data_dir, lambda store: keys.create(store, org, wanted, name, now_ms))
    made = {"id": key_id, "key": key, "org": org, "name": name, "permissions": [p.strip() for p in wanted if p.strip()]}
    note(f"{key_id} for org {org}; the key is not shown again")
    emit(made, output, lambda: stdout().print(key, soft_wrap=True, markup=False, highlight=False))
    note("use it: AGENTFLOW_TOKEN=KEY, `agentctl config set token -`, or Client(token=KEY)")


@app.command("list")
def list_(
    org: Annotated[str, option("Only of this org.")] = "",
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """List keys, without the keys themselves."""
    import msgspec

    found = _with_store(data_dir, lambda store: store.list(org))
    emit(msgspec.to_builtins(found), output, lambda: _table(found))


@app.command()
def revoke(
    ids: Annotated[list[str], argument("As `keys list` shows them.", "ID...")],
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Make keys stop working, within seconds."""
    from agentflow_common.clock import SystemClock

    now_ms = SystemClock().now_ms()

    async def work(store: KeyStore) -> list[str]:
        return [key_id for key_id in ids if not await store.revoke(key_id, now_ms)]

    missing = _with_store(data_dir, work)
    done({"revoked": [key_id for key_id in ids if key_id not in missing], "unknown": missing}, output)
    for key_id in ids:
        if key_id not in missing:
            note(f"{key_id} is revoked")
    if missing:
        raise CliError(f"no active key {', '.join(missing)}", fix="see `agentctl keys list`")


def _with_store(data_dir: Path | None, work: Callable[[KeyStore], Awaitable[T]]) -> T:
    """Returns the result of work on the gateway's tables of the stack that runs in the data dir."""
    import asyncio

    from agentctl.stack import find
    from agentflow_common.settings import DatabaseSettings
    from agentflow_gateway import keys

    folder = connection.data_dir(data_dir)
    running = find(folder)
    if running is None:
        raise CliError(
            f"no stack runs in {folder}",
            fix="start it with `agentctl up --detach`, or name its folder with --data-dir; where the services run by "
            "themselves, use `python -m agentflow_gateway.keys`",
            exit_code=UNREACHABLE,
        )
    named: dict[str, Any] = {name.lower(): value for name, value in running.postgres.items()}
    settings = DatabaseSettings(**named)

    async def body() -> T:
        async with keys.opened(settings) as store:
            return await work(store.keys)

    return asyncio.run(body())


def _table(found: list[KeyRow]) -> Any:
    columns: Columns[KeyRow] = {
        "ID": lambda row: row.id,
        "NAME": lambda row: row.name,
        "ORG": lambda row: row.org,
        "PERMISSIONS": lambda row: ",".join(row.permissions),
        "STATE": lambda row: "revoked" if row.revoked_at else "active",
        "CREATED": lambda row: when(row.created_at),
    }
    return table_of(found, columns, less=("CREATED", "ORG"))

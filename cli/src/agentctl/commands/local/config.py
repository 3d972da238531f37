"""`agentctl config`: the settings that are kept between commands."""

from __future__ import annotations

import shlex
import sys
from enum import StrEnum
from typing import Annotated

import typer

from agentctl import session
from agentctl.display.output import Format, Output, emit, note
from agentctl.failures import CliError
from agentctl.groups import LocalGroup
from agentctl.options import argument
from agentflow_sdk.transport import connection

app = LocalGroup("config", "Set and show where agentctl connects.")


class Key(StrEnum):
    """The settings that can be stored."""

    ENDPOINT = "endpoint"
    ORG_ID = "org-id"
    TOKEN = "token"  # noqa: S105  (the name of a setting)


@app.command("set")
def set_(
    key: Annotated[Key, argument("The setting.")],
    value: Annotated[
        str, typer.Argument(help="- reads it from stdin (keeps a token out of the shell's history); '' removes it.")
    ],
) -> None:
    """Store a setting in the config file (readable by you alone)."""
    if value == "-":
        value = sys.stdin.readline()
    value = value.strip()
    if key is Key.ENDPOINT and value:
        from agentflow_sdk.transport.channel import parse_endpoint

        try:
            parse_endpoint(value)
        except ValueError as error:
            raise CliError(str(error)) from None
    config = connection.read_config() | {key.value.replace("-", "_"): value}
    path = session.write_config({name: kept for name, kept in config.items() if kept})
    note(f"{key.value} {'stored in' if value else 'removed from'} {path}")


@app.command()
def show(output: Output = Format.TABLE) -> None:
    """Show the settings in force and where each comes from; the token is masked."""
    from agentctl.display.render import fields

    target = session.resolve()
    shown = {"endpoint": target.endpoint, "org_id": target.org_id, "token": mask(target.token)}
    data = {
        **shown,
        "sources": {key: target.sources[key] for key in shown if key in target.sources},
        "config_file": str(connection.config_path()),
    }
    rows = [
        (key.replace("_", "-"), f"{value}  ({target.sources[key]})" if value else "-") for key, value in shown.items()
    ]
    emit(data, output, lambda: fields([*rows, ("config file", str(connection.config_path()))]))


@app.command()
def env() -> None:
    """Print the settings in force as shell exports, the API key too: eval "$(agentctl config env)"."""
    target = session.resolve()
    session.require(target)
    for name, value in zip(connection.ENVIRONMENT, (target.endpoint, target.token, target.org_id), strict=True):
        if value:
            sys.stdout.write(f"export {connection.ENVIRONMENT[name][0]}={shlex.quote(value)}\n")


def mask(token: str) -> str:
    """Returns enough of a key to tell two keys apart, and too little to use it."""
    if not token:
        return ""
    return f"{token[:4]}…{token[-4:]}" if len(token) >= 16 else "…"

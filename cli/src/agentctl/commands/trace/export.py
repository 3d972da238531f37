"""`agentctl trace export`: runs for other programs."""

from __future__ import annotations

import urllib.error
import urllib.request
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from agentctl import runs
from agentctl.display.output import note, some
from agentctl.failures import CliError
from agentctl.groups import RemoteGroup
from agentctl.options import option

if TYPE_CHECKING:
    from agentflow_sdk import Client

TIMEOUT_S: Final = 30.0


class ExportFormat(StrEnum):
    """The format of an export."""

    OTLP = "otlp"


def export(
    client: Client,
    run: Annotated[list[str], typer.Argument(help="Runs: ids, beginnings of ids, or last.", show_default=False)],
    output: Annotated[ExportFormat, typer.Option("--format", help="What to write.")] = ExportFormat.OTLP,
    receiver: Annotated[str, option("Send to this OTLP receiver, such as http://127.0.0.1:4318.", "--receiver")] = "",
    header: Annotated[list[str] | None, typer.Option("--header", help="NAME=VALUE for the receiver.")] = None,
    to: Annotated[str, option("Write to this file.", "--to")] = "",
) -> None:
    """Export runs as OpenTelemetry spans."""
    assert output is ExportFormat.OTLP  # noqa: S101 - there is no other one yet
    if bool(receiver) == bool(to):
        raise CliError("say where the spans go", fix="add --receiver URL, or --to FILE")
    found = [runs.find(client, name) for name in run]
    messages = [message for name in found for message in client.traces.spans(name)]
    if to:
        Path(to).expanduser().write_bytes(b"".join(messages))
        note(f"wrote the spans of {some(len(found), 'run')} to {to}")
        return
    for message in messages:
        _send(receiver, _headers(header or ()), message)
    note(f"sent the spans of {some(len(found), 'run')} to {receiver}")


def _headers(pairs: list[str] | tuple[str, ...]) -> dict[str, str]:
    if wrong := [pair for pair in pairs if not pair.partition("=")[0].strip() or "=" not in pair]:
        raise CliError(f"{wrong[0]!r} is not a header", fix="write --header NAME=VALUE")
    return {name.strip(): value.strip() for name, _, value in (pair.partition("=") for pair in pairs)}


def _send(receiver: str, headers: dict[str, str], message: bytes) -> None:
    url = receiver.rstrip("/")
    url = url if url.endswith("/v1/traces") else url + "/v1/traces"
    if not url.startswith(("http://", "https://")):
        raise CliError(f"{receiver!r} is not the URL of a receiver", fix="begin it with http:// or https://")
    kind = {"Content-Type": "application/x-protobuf"}
    request = urllib.request.Request(url, message, {**kind, **headers}, method="POST")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            answer.read()
    except urllib.error.HTTPError as error:
        raise CliError(
            f"{url} answered HTTP {error.code}", fix="look at the receiver's log, then export again"
        ) from None
    except OSError as error:
        text = f"{url} can't be reached ({type(error).__name__})"
        raise CliError(text, fix="start the receiver, then export again") from None


def add_to(app: RemoteGroup) -> None:
    """Adds the command to the group."""
    app.command()(export)

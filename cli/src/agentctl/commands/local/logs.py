"""`agentctl logs`: the logs of the parts of the embedded stack."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agentctl import values
from agentctl.display.output import Format, Output, clean, emit_one, some
from agentctl.failures import UNREACHABLE, CliError
from agentctl.options import DataDir, argument, flag, moment
from agentflow_sdk.transport import connection

if TYPE_CHECKING:
    from agentctl.stack.logs import Line

LOOK_S: Final = 0.3
_STYLES: Final = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m", "debug": "\x1b[2m"}


def logs(
    service: Annotated[list[str] | None, argument("gateway, worker, nats, ...; all if left out.")] = None,
    follow: Annotated[bool, flag("Go on with new lines, until Ctrl-C.", "--follow", "-f")] = False,
    since: Annotated[str, moment("10m, 1h (ago), or a date.", "--since", "--start")] = "",
    level: Annotated[str, typer.Option(help="From this level on: debug, info, warning or error.")] = "info",
    limit: Annotated[
        int, typer.Option("--limit", "-n", help="The last lines; 0 for all.", min=0, max=100_000_000)
    ] = 200,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Show the logs of the embedded stack, by time. -o json prints one JSON object for each line."""
    from agentctl.stack.logs import LEVELS, Follower, chosen

    folder = connection.data_dir(data_dir) / "logs"
    parts = _known(folder, service or [])
    least = {"warn": "warning"}.get(level.lower(), level.lower())
    if least not in LEVELS:
        raise CliError(f"--level {level!r}: not known", fix=f"use {', '.join(LEVELS)}")
    since_ms = values.parse_time(since)
    follower = Follower(folder, parts)
    lines = chosen(follower.read(), since_ms=since_ms, level=least)
    if limit and len(lines) > limit:
        sys.stderr.write(f"{some(len(lines) - limit, 'earlier line')} not shown: --limit 0 shows all\n")
        lines = lines[-limit:]
    _print(lines, output)
    while follow:
        time.sleep(LOOK_S)
        _print(chosen(follower.read(), since_ms=since_ms, level=least), output)


def _known(folder: Path, asked: list[str]) -> list[str]:
    """Returns the parts that are asked for. Raises CliError if one is not known, or if no stack has run."""
    from agentflow_common import hints

    there = sorted(path.stem for path in folder.glob("*.log"))
    if not there:
        fix = "start it with `agentctl up --detach`, or name its folder with --data-dir"
        raise CliError(f"no stack has run in {folder.parent}", fix=fix, exit_code=UNREACHABLE)
    for name in asked:
        if name not in there:
            fix = hints.did_you_mean(name, there, f"there are {', '.join(there)}")
            raise CliError(f"there is no log of {name!r}", fix=fix)
    return asked


def _print(lines: list[Line], output: Format) -> None:
    if output is Format.TABLE:
        colours = sys.stdout.isatty()
        sys.stdout.write("".join(_shown(line, colours) + "\n" for line in lines))
        sys.stdout.flush()
        return
    for line in lines:
        emit_one(line.to_dict(), output)


def _shown(line: Line, colours: bool) -> str:
    at = datetime.fromtimestamp(line.ts_ms / 1000).astimezone().strftime("%H:%M:%S.%f")[:-3] if line.ts_ms else " " * 12
    more = " ".join(f"{key}={_plain(value)}" for key, value in line.fields.items())
    text = clean(f"{at} {line.level:<8} {line.part:<10} {line.message}{'  ' * bool(more)}{more}")
    style = _STYLES.get(line.level, "") if colours else ""
    return f"{style}{text}\x1b[0m" if style else text


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

"""`agentctl logs`: what the parts of the embedded stack have written."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agentctl import session, values
from agentctl.commands.local.stack import DataDir
from agentctl.display.output import Format, Output, clean, some
from agentctl.failures import UNREACHABLE, CliError

if TYPE_CHECKING:
    from agentctl.stack.logs import Line

LOOK_S: Final = 0.3
_STYLES: Final = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m", "debug": "\x1b[2m"}


def logs(
    service: Annotated[
        list[str] | None, typer.Argument(help="gateway, worker, nats, ...; all if left out.", show_default=False)
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written, until Ctrl-C.")] = False,
    since: Annotated[
        str, typer.Option("--since", "--start", help="10m, 1h (ago), or a date.", show_default=False)
    ] = "",
    level: Annotated[str, typer.Option(help="From this level on: debug, info, warning or error.")] = "info",
    limit: Annotated[
        int, typer.Option("--limit", "-n", help="The last lines; 0 for all.", min=0, max=100_000_000)
    ] = 200,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Show the logs of the embedded stack, by time. -o json prints one JSON object for each line."""
    from agentctl.stack.logs import LEVELS, Follower, chosen

    folder = session.data_dir(data_dir) / "logs"
    parts = _known(folder, service or [])
    word = {"warn": "warning"}.get(level.lower(), level.lower())
    if word not in LEVELS:
        raise CliError(f"--level {level!r}: not known", fix=f"use {', '.join(LEVELS)}")
    since_ms = values.parse_time(since) if since else 0
    follower = Follower(folder, parts)
    lines = chosen(follower.read(), since_ms=since_ms, level=word)
    if limit and len(lines) > limit:
        sys.stderr.write(f"{some(len(lines) - limit, 'earlier line')} not shown: --limit 0 shows all\n")
        lines = lines[-limit:]
    _print(lines, output)
    while follow:
        time.sleep(LOOK_S)
        _print(chosen(follower.read(), since_ms=since_ms, level=word), output)


def _known(folder: Path, asked: list[str]) -> list[str]:
    """The parts that are asked for. CliError for one that there is not, and where no stack has run."""
    import difflib

    there = sorted(path.stem for path in folder.glob("*.log"))
    if not there:
        fix = "start it with `agentctl up --detach`, or name its folder with --data-dir"
        raise CliError(f"no stack has run in {folder.parent}", fix=fix, exit_code=UNREACHABLE)
    for name in asked:
        if name not in there:
            close = difflib.get_close_matches(name, there, n=1)
            fix = f"did you mean {close[0]}?" if close else f"there are {', '.join(there)}"
            raise CliError(f"there is no log of {name!r}", fix=fix)
    return asked


def _print(lines: list[Line], output: Format) -> None:
    colours = sys.stdout.isatty() and output is Format.TABLE
    for line in lines:
        if output is Format.TABLE:
            sys.stdout.write(_shown(line, colours) + "\n")
        elif output is Format.JSON:
            sys.stdout.write(json.dumps(line.to_dict(), ensure_ascii=False) + "\n")
        else:
            import yaml

            sys.stdout.write("---\n" + yaml.safe_dump(line.to_dict(), sort_keys=False, allow_unicode=True))
    sys.stdout.flush()


def _shown(line: Line, colours: bool) -> str:
    at = datetime.fromtimestamp(line.ts_ms / 1000).astimezone().strftime("%H:%M:%S.%f")[:-3] if line.ts_ms else " " * 12
    more = " ".join(f"{key}={_plain(value)}" for key, value in line.fields.items())
    text = clean(f"{at} {line.level:<8} {line.part:<10} {line.message}{'  ' * bool(more)}{more}")
    style = _STYLES.get(line.level, "") if colours else ""
    return f"{style}{text}\x1b[0m" if style else text


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

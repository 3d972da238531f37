"""`agentctl trace rebuild`: reads the whole log into ClickHouse again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Final

from agentctl.display.output import Format, Output, emit, stderr
from agentctl.failures import CliError
from agentctl.groups import RemoteGroup
from agentctl.options import flag

if TYPE_CHECKING:
    from agentflow_sdk import Client, TraceProgress

LOOK_S: Final = 0.25


def rebuild(
    client: Client,
    yes: Annotated[bool, flag("Do it: rows are dropped, and traces are incomplete until it is done.", "--yes")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Drop all rows of ClickHouse and read the log again (permission `operator`)."""
    if not yes:
        text = "a rebuild drops the traces of all orgs, and they are incomplete until the log is read again"
        raise CliError(text, fix="add --yes to do it")
    began = time.monotonic()
    first = client.traces.rebuild()
    ends = {stream.stream: stream.last_sequence for stream in first.streams}
    _follow(client, ends)
    seconds = round(time.monotonic() - began, 1)
    messages = sum(ends.values())
    emit(
        {"messages": messages, "seconds": seconds, "streams": ends},
        output,
        lambda: f"read {messages:,} messages again in {seconds:,} s",
    )


def _follow(client: Client, ends: dict[str, int]) -> None:
    """Shows the progress on stderr until everything is there that was in the log at the beginning."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:14}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr()) as bars:
        tasks = {stream: bars.add_task(stream, total=end) for stream, end in ends.items()}
        derived = bars.add_task("derived tables", total=ends.get("AF_EVENTS", 0))
        while True:
            found = client.traces.progress()
            for part in found.streams:
                bars.update(tasks[part.stream], completed=min(part.ingested_sequence, ends[part.stream]))
            bars.update(derived, completed=min(found.derived_sequence, ends.get("AF_EVENTS", 0)))
            if _done(found, ends):
                return
            time.sleep(LOOK_S)


def _done(found: TraceProgress, ends: dict[str, int]) -> bool:
    there = all(part.ingested_sequence >= ends[part.stream] for part in found.streams)
    return there and found.derived_sequence >= ends.get("AF_EVENTS", 0) and not found.dropping


def add_to(app: RemoteGroup) -> None:
    """Adds the command to the group."""
    app.command()(rebuild)

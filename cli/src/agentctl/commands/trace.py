"""`agentctl trace`: what happened, step by step."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from agentctl import runs, values
from agentctl.display import paging
from agentctl.display.output import Format, Output, emit, stdout
from agentctl.runs import RunId
from agentctl.session import open_client, remote

app = typer.Typer(no_args_is_help=True, help="Look at what runs did.")


class TraceFormat(StrEnum):
    TIMELINE = "timeline"
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


@app.command()
@remote
def get(
    run: RunId,
    events: Annotated[bool, typer.Option("--events", help="Also the events (with bodies in JSON and YAML).")] = False,
    output: Annotated[TraceFormat, typer.Option("--output", "-o", help="How to print it.")] = TraceFormat.TIMELINE,
) -> None:
    """Show the trace of a run."""
    from agentctl.display import render

    with open_client() as client:
        run = runs.find(client, run)
        trace = client.traces.get(run, bodies=events)
    data: dict[str, Any] = trace.to_dict()
    if not events:
        data.pop("events")

    def render_table() -> None:
        console = stdout()
        console.print(render.trace_head(trace))
        console.print()
        console.print(render.timeline(trace) if output is TraceFormat.TIMELINE else render.trace_table(trace))
        if events:
            console.print()
            console.print(render.trace_events(trace))

    plain = output in (TraceFormat.JSON, TraceFormat.YAML)
    emit(data, Format(output.value) if plain else Format.TABLE, render_table)


@app.command()
@remote
def query(
    start: Annotated[
        str, typer.Option("--start", "--since", help="From: 30m, 1h, 7d (ago), a date, or a time.")
    ] = "1h",
    end: Annotated[str, typer.Option("--end", "--until", help="To: now, or as --start.")] = "now",
    provider: Annotated[str, typer.Option(help="Only runs that used this provider.", show_default=False)] = "",
    status: Annotated[str, typer.Option(help="Only runs in this state.", show_default=False)] = "",
    workflow: Annotated[str, typer.Option(help="Only runs of this workflow.", show_default=False)] = "",
    limit: paging.Limit = 50,
    everything: paging.All = False,
    page_token: paging.PageToken = "",
    output: Output = Format.TABLE,
) -> None:
    """Find runs by time, provider, workflow and state."""
    from agentctl.display import render

    start_ms, end_ms = values.parse_time(start), values.parse_time(end)
    with open_client() as client:
        found, token = paging.collect(
            lambda size, at: client.traces.query(
                start_ms=start_ms, end_ms=end_ms, provider=provider, workflow=workflow, status=values.word(status),
                limit=size, page_token=at,
            ),
            limit, everything, page_token,
        )  # fmt: skip
    emit([item.to_dict() for item in found], output, lambda: render.trace_summaries(found))
    paging.closing(len(found), token)

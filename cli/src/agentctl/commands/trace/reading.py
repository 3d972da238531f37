"""`agentctl trace get`: what happened, step by step."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from agentctl import runs
from agentctl.commands.trace import pages
from agentctl.display import render
from agentctl.display.output import Format, clean, emit, note, some, stdout
from agentctl.display.traces import explanation, family, mermaid, tree
from agentctl.failures import CliError
from agentctl.groups import RemoteGroup
from agentctl.options import flag, option
from agentctl.runs import RunId

if TYPE_CHECKING:
    from agentflow_sdk import Client, Trace


class TraceFormat(StrEnum):
    """How a trace is printed."""

    TIMELINE = "timeline"
    TREE = "tree"
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    MERMAID = "mermaid"
    HTML = "html"


def get(
    client: Client,
    run: RunId,
    events: Annotated[bool, flag("Also the events (with bodies in JSON, YAML and HTML).", "--events")] = False,
    children: Annotated[bool, flag("Also the steps of subworkflows (in a tree or HTML).", "--children")] = False,
    output: Annotated[TraceFormat, typer.Option("--output", "-o", help="How to print it.")] = TraceFormat.TIMELINE,
    to: Annotated[str, option("Write to this file.", "--to")] = "",
) -> None:
    """Show the trace of a run."""
    found = runs.find(client, run)
    if output is TraceFormat.HTML:
        pages.save(pages.trace_page(client, found, events=events, children=children), to)
        return
    trace = client.traces.get(found, bodies=events)
    if output is TraceFormat.MERMAID:
        pages.save(mermaid.mermaid(trace), to)
        return
    if to:
        raise CliError("--to writes a page or a chart", fix="add -o html or -o mermaid, or write: > FILE")
    data = trace.to_dict()
    if not events:
        data.pop("events")

    def render_table() -> None:
        console = stdout()
        console.print(render.trace_head(trace))
        console.print()
        if output is TraceFormat.TREE:
            below, left_out = family.children_of(client, trace) if children else ({}, 0)
            console.print(tree.tree(trace, below))
            if left_out:
                note(f"{some(left_out, 'run')} of subworkflows left out")
        else:
            console.print(render.timeline(trace) if output is TraceFormat.TIMELINE else render.trace_table(trace))
        if events:
            console.print()
            console.print(render.trace_events(trace))
        if trace.status.value in ("failed", "cancelled"):
            console.print(_cause(client, trace))

    if trace.truncated:
        note("the trace is not whole: it is too large for the server")
    plain = output in (TraceFormat.JSON, TraceFormat.YAML)
    emit(data, Format(output.value) if plain else Format.TABLE, render_table)


def _cause(client: Client, trace: Trace) -> str:
    """Returns the line with the cause of a run that did not complete."""
    from agentflow_sdk import AgentFlowError

    more = f"agentctl trace explain {trace.run_id}"
    try:
        found = client.traces.explain(trace.run_id)
    except AgentFlowError as error:  # the trace itself is there
        return clean(f"\nCause: not known now ({error}); try {more}")
    return clean(f"\nCause: {explanation.cause_line(found) or found.summary}; more: {more}")


def add_to(app: RemoteGroup) -> None:
    """Adds the commands to the group."""
    app.command()(get)

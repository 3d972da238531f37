"""`agentctl trace diff`: what differs between two runs, and what it cost."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from agentctl import runs
from agentctl.commands.trace import pages
from agentctl.display.output import Format, emit, stdout
from agentctl.display.traces import diff as diff_views
from agentctl.display.traces import diff_page
from agentctl.failures import CliError
from agentctl.groups import RemoteGroup
from agentctl.options import argument, flag, option

if TYPE_CHECKING:
    from agentflow_sdk import Client


class DiffFormat(StrEnum):
    """How differences are printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    HTML = "html"


def diff(
    client: Client,
    a: Annotated[str, argument("The first run: its id, or `last`.", "RUN_A")],
    b: Annotated[str, argument("The second run.", "RUN_B")],
    costs: Annotated[bool, flag("Show which steps changed the cost.", "--costs")] = False,
    latency: Annotated[bool, flag("Show which steps changed the time.", "--latency")] = False,
    outputs: Annotated[bool, flag("Show how outputs differ.", "--outputs")] = False,
    everything: Annotated[bool, flag("Show every step, not only the greatest differences.", "--all")] = False,
    output: Annotated[DiffFormat, typer.Option("--output", "-o", help="How to print it.")] = DiffFormat.TABLE,
    to: Annotated[str, option("Write the page to this file.", "--to")] = "",
) -> None:
    """Compare two runs step by step. Without --costs, --latency and --outputs, all three are shown."""
    if to and output is not DiffFormat.HTML:
        raise CliError("--to writes a page", fix="add -o html, or write: > FILE")
    found = client.traces.diff(runs.find(client, a), runs.find(client, b))
    some = costs or latency or outputs
    sections = diff_views.Sections(costs or not some, latency or not some, outputs or not some, everything)
    if output is DiffFormat.HTML:
        pages.save(diff_page.page(found), to)
        return

    def render() -> None:
        console = stdout()
        for part in diff_views.render(found, sections):
            console.print(part, soft_wrap=isinstance(part, str))

    emit(found.to_dict(), Format(output.value), render)


def add_to(app: RemoteGroup) -> None:
    """Adds the command to the group."""
    app.command()(diff)

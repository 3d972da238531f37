"""`agentctl trace diff`: what differs between two runs, and what it cost."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from agentctl import runs
from agentctl.commands.trace import groups, pages
from agentctl.display.output import Format, emit, stdout
from agentctl.display.traces import diff as diff_views
from agentctl.display.traces import diff_page
from agentctl.display.traces import groups as group_views
from agentctl.failures import CliError
from agentctl.groups import RemoteGroup
from agentctl.options import flag, option

if TYPE_CHECKING:
    from agentflow_sdk import Client


class DiffFormat(StrEnum):
    """How differences are printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    HTML = "html"


def compare_groups(client: Client, specs: list[str], min_runs: int, output: DiffFormat) -> None:
    """Prints the differences of two groups of runs."""
    if output is DiffFormat.HTML:
        raise CliError("groups have no page", fix="use -o table, json or yaml")
    found = client.traces.diff_groups(*(groups.parse(spec) for spec in specs), runs_min=min_runs)

    def render() -> None:
        console = stdout()
        for part in group_views.render(found):
            console.print(part, soft_wrap=isinstance(part, str))

    emit(found.to_dict(), Format(output.value), render)


def diff(
    client: Client,
    a: Annotated[str, typer.Argument(metavar="RUN_A", help="The first run: its id, or `last`.")] = "",
    b: Annotated[str, typer.Argument(metavar="RUN_B", help="The second run.")] = "",
    group: Annotated[
        list[str] | None,
        typer.Option(
            "--group",
            metavar="FILTERS",
            help="Compare two groups of runs; give it twice: tag:KEY=VALUE, version:2, model:M, since:7d, ...",
        ),
    ] = None,
    min_runs: Annotated[
        int, option("The runs that each group needs.", "--min-runs", show_default=True, min=1, max=500)
    ] = 5,
    costs: Annotated[bool, flag("Show which steps changed the cost.", "--costs")] = False,
    latency: Annotated[bool, flag("Show which steps changed the time.", "--latency")] = False,
    outputs: Annotated[bool, flag("Show how outputs differ.", "--outputs")] = False,
    everything: Annotated[bool, flag("Show every step, not only the greatest differences.", "--all")] = False,
    output: Annotated[DiffFormat, typer.Option("--output", "-o", help="How to print it.")] = DiffFormat.TABLE,
    to: Annotated[str, option("Write the page to this file.", "--to")] = "",
) -> None:
    """Compare two runs step by step, or two groups of runs.

    Without --costs, --latency and --outputs, all three are shown.
    """
    if group:
        if a or b or len(group) != 2:
            raise CliError("two runs or two groups are compared", fix="give RUN_A RUN_B, or --group twice")
        compare_groups(client, group, min_runs, output)
        return
    if not a or not b:
        raise CliError("a comparison needs two runs", fix="agentctl trace diff RUN_A RUN_B, or --group twice")
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

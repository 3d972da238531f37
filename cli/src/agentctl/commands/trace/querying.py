"""`agentctl trace query`: finds runs by what they used, cost and said, and how they ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from agentctl import values
from agentctl.display.traces import found as found_runs
from agentctl.groups import RemoteGroup
from agentctl.listing import Listing, listed
from agentctl.options import ByTag, ByWorkflow, moment, option

if TYPE_CHECKING:
    from agentflow_sdk import Client, TraceSummary

_USD = "US dollars, such as 0.05."
_SPAN = "such as 500ms, 30s or 2m."


@listed(50)
def query(
    client: Client,
    start: Annotated[
        str, moment("From: 30m, 1h, 7d (ago), a date, or a time.", "--start", "--since", show_default=True)
    ] = "1h",
    end: Annotated[str, moment("To: now, or as --start.", "--end", "--until", show_default=True)] = "now",
    provider: Annotated[str, option("Only runs that used this provider.")] = "",
    model: Annotated[str, option("Only runs that used this model.")] = "",
    prompt: Annotated[str, option("Only runs that used this prompt: NAME, or NAME@VERSION.")] = "",
    status: Annotated[str, option("Only runs in this state.")] = "",
    workflow: ByWorkflow = "",
    version: Annotated[int, option("Only runs of this version of the workflow.", "--workflow-version")] = 0,
    node: Annotated[str, option("Only runs that have a step of this node.")] = "",
    tag: ByTag = None,
    error_type: Annotated[str, option("Only runs with this type of error, such as timeout.")] = "",
    min_cost: Annotated[str, option(f"Only runs that cost at least this: {_USD}")] = "0",
    max_cost: Annotated[str, option(f"Only runs that cost at most this: {_USD}")] = "0",
    min_latency: Annotated[str, moment(f"Only finished runs that took at least this: {_SPAN}")] = "0",
    max_latency: Annotated[str, moment(f"Only finished runs that took at most this: {_SPAN}")] = "0",
    text: Annotated[str, option("Words that occur in one output or error of the run.")] = "",
    sort: Annotated[str, option("newest, cost, latency or tokens: the largest first.", show_default=True)] = "newest",
    org: Annotated[str, option("Another org, or '*' for all; needs the permission operator.")] = "",
) -> Listing[TraceSummary]:
    """Find runs by time, models, workflow, state, tags, cost, duration and text."""
    start_ms, end_ms = values.parse_time(start), values.parse_time(end)
    tags = values.parse_tags(tag)
    least_ms, most_ms = values.parse_span(min_latency), values.parse_span(max_latency)
    return lambda size, at: client.traces.query(
        start_ms=start_ms,
        end_ms=end_ms,
        provider=provider,
        model=model,
        prompt=prompt,
        workflow=workflow,
        version=version,
        status=values.lower(status),
        node=node,
        tags=tags,
        error_type=error_type,
        min_cost_usd=min_cost,
        max_cost_usd=max_cost,
        min_duration_ms=least_ms,
        max_duration_ms=most_ms,
        text=text,
        sort=values.lower(sort),
        org_id=org,
        limit=size,
        page_token=at,
    ), lambda found: found_runs.summaries(found, orgs=bool(org))


def add_to(app: RemoteGroup) -> None:
    """Adds the command to the group."""
    app.command()(query)

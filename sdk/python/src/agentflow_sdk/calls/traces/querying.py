"""The calls that find runs by their traces."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from agentflow.v1 import trace_pb2 as pb
from agentflow_sdk.choices import Status, TraceSort
from agentflow_sdk.convert.answers import page_reader
from agentflow_sdk.convert.requests import message, run_status_name
from agentflow_sdk.errors import InvalidArgumentError
from agentflow_sdk.models.money import to_nano
from agentflow_sdk.models.records import Page
from agentflow_sdk.models.traces.trace import TraceSummary
from agentflow_sdk.transport.call import Call, service

_METHOD: Final = service("TraceService", pb)


def query_traces(
    *,
    start_ms: int = 0,
    end_ms: int = 0,
    provider: str = "",
    model: str = "",
    prompt: str = "",
    workflow: str = "",
    version: int = 0,
    status: Status | None = None,
    node: str = "",
    tags: Mapping[str, str] | None = None,
    error_type: str = "",
    min_cost_usd: Decimal | str | int = 0,
    max_cost_usd: Decimal | str | int = 0,
    min_duration_ms: int = 0,
    max_duration_ms: int = 0,
    text: str = "",
    sort: TraceSort = "newest",
    org_id: str = "",
    limit: int = 50,
    page_token: str = "",
    timeout: float | None = None,
) -> Call[Page[TraceSummary]]:
    """Returns a page of the runs that match every given filter. Runs are found within a second of their events.

    Args:
        start_ms: The first time of submission, ms since the epoch; 0 for no bound.
        end_ms: The last time of submission, ms since the epoch; 0 for no bound.
        provider: Only runs that used this provider of models.
        model: Only runs that used this model.
        prompt: Only runs that used this prompt, as `name@version`, or `name` for each of its versions.
        workflow: Only runs of this workflow.
        version: Only runs of this version of their workflow; 0 for each.
        status: Only runs in this state.
        node: Only runs that have a step of this node.
        tags: Only runs with all of these tags.
        error_type: Only runs that failed with this type of error, or that have an attempt which did.
        min_cost_usd: The least cost in exact US dollars, such as `"0.05"`; 0 for no bound.
        max_cost_usd: The highest cost in exact US dollars; 0 for no bound.
        min_duration_ms: The least time from the submission to the end, ms; 0 for no bound.
        max_duration_ms: The longest time from the submission to the end, ms; 0 for no bound.
        text: Words that all occur in one output or error of the run. Case does not matter.
        sort: The order, the largest first: `newest`, `cost`, `latency` or `tokens`.
        org_id: Another org, or `*` for all; the key needs the permission `operator`. Empty for the key's own.
        limit: The most items of the page, from 1 to 1000.
        page_token: The `next_page_token` of the page before; empty for the first page.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The page.

    Raises:
        InvalidArgumentError: A filter is not valid, or the end of a range is before its start.
        PermissionDeniedError: The API key lacks the permission `read`, or `operator` for another org.
    """
    request = message(
        pb.QueryTracesRequest,
        start_ms=start_ms,
        end_ms=end_ms,
        provider=provider,
        model=model,
        prompt=prompt,
        workflow=workflow,
        version=version,
        status=run_status_name(status),
        node=node,
        tags=dict(tags or {}),
        error_type=error_type,
        min_cost_nano_usd=_nano(min_cost_usd, "min_cost_usd"),
        max_cost_nano_usd=_nano(max_cost_usd, "max_cost_usd"),
        min_duration_ms=min_duration_ms,
        max_duration_ms=max_duration_ms,
        text=text,
        sort=sort,
        org_id=org_id,
        page_size=limit,
        page_token=page_token,
    )
    return Call(_METHOD("QueryTraces"), request, page_reader(TraceSummary, "traces"), timeout)


def _nano(amount: Decimal | str | int, place: str) -> int:
    """Returns an amount of US dollars as nano-USD. Raises InvalidArgumentError that says how to write it."""
    try:
        return to_nano(amount)
    except ValueError as error:
        wrong, _, fix = str(error).partition("; ")
        raise InvalidArgumentError.at(place, wrong, fix or "write US dollars, for example 0.05 or 12.50") from None

"""The calls that show tools and functions."""

from __future__ import annotations

from typing import Final

from agentflow.v1 import tool_pb2 as pb
from agentflow_sdk.choices import ToolKind
from agentflow_sdk.convert.answers import page_reader, reader
from agentflow_sdk.models.records import Page
from agentflow_sdk.models.tools import Tool
from agentflow_sdk.transport.call import Call, service

_METHOD: Final = service("ToolService", pb)


def list_tools(
    prefix: str = "",
    *,
    kind: ToolKind = "",
    limit: int = 1000,
    page_token: str = "",
    timeout: float | None = None,
) -> Call[Page[Tool]]:
    """Returns a page of the tools and functions that the workers offer, by kind and name.

    Args:
        prefix: Only those whose names begin with this.
        kind: Only `tool` or only `function`; empty for both.
        limit: The most items of the page, from 1 to 1000.
        page_token: The `next_page_token` of the page before; empty for the first page.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The page.

    Raises:
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    request = pb.ListToolsRequest(kind=kind, name_prefix=prefix, page_size=limit, page_token=page_token)
    return Call(_METHOD("ListTools"), request, page_reader(Tool, "tools"), timeout)


def get_tool(name: str, *, kind: ToolKind = "", timeout: float | None = None) -> Call[Tool]:
    """Returns a tool or a function.

    Args:
        name: The name.
        kind: `tool` or `function`; empty for the one that has this name.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The tool or function.

    Raises:
        NotFoundError: No worker offers it. The message lists names that are close.
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    return Call(_METHOD("GetTool"), pb.GetToolRequest(name=name, kind=kind), reader(Tool, "tool"), timeout)

"""Compares two definitions, each a registered one, a given one or the one that a run was pinned to."""

from __future__ import annotations

from typing import Any

from agentflow_common.definition.diff import Change, diff
from agentflow_gateway.api.call_context import Call
from agentflow_gateway.definitions import check as definitions
from agentflow_gateway.definitions.check import Source
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.runs import controls


async def changes(deps: Deps, call: Call, old: Source | str, new: Source | str) -> tuple[tuple[Change, ...], str, str]:
    """(changes, name of the old, name of the new). A string is the id of a run."""
    left, left_name = await _canonical(deps, call, old)
    right, right_name = await _canonical(deps, call, new)
    return diff(left, right), left_name, right_name


async def _canonical(deps: Deps, call: Call, source: Source | str) -> tuple[dict[str, Any], str]:
    if isinstance(source, str):
        state = await controls.loaded(deps, call, source)
        known = await definitions.is_registered(deps, call.org, state.workflow, state.version, state.definition)
        title = f"{state.workflow}@{state.version}" + ("" if known else ", not the registered definition")
        return state.definition, f"{source} ({title})"
    loaded, _ = await definitions.load(deps, call.org, source)
    return loaded.canonical, f"{loaded.definition.name}@{loaded.definition.version}"

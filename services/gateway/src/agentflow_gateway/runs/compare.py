"""Compares two definitions, each a registered one, a given one or the one that a run was pinned to."""

from __future__ import annotations

from typing import Any

from agentflow_common.definition.diff import Change, diff
from agentflow_gateway.api.call import Call
from agentflow_gateway.definitions import check as definitions
from agentflow_gateway.definitions.check import Source
from agentflow_gateway.runs import view as run_view


async def changes(call: Call, old: Source | str, new: Source | str) -> tuple[tuple[Change, ...], str, str]:
    """Returns (changes, the old one's name, the new one's name). A text is the id of a run."""
    before, old_name = await _canonical(call, old)
    after, new_name = await _canonical(call, new)
    return diff(before, after), old_name, new_name


async def _canonical(call: Call, source: Source | str) -> tuple[dict[str, Any], str]:
    if isinstance(source, str):
        state = await run_view.state_of(call, source)
        registered = await definitions.is_registered(call, state.workflow, state.version, state.definition)
        title = f"{state.workflow}@{state.version}" + ("" if registered else ", not the registered definition")
        return state.definition, f"{source} ({title})"
    loaded, _ = await definitions.load_completed(call, source)
    return loaded.canonical, f"{loaded.definition.name}@{loaded.definition.version}"

"""Versions and labels of registered workflows: lists them, and points labels at versions."""

from __future__ import annotations

import msgspec

from agentflow_common.errors import ConflictError, InvalidError, Problem
from agentflow_gateway.api.call_context import Call
from agentflow_gateway.definitions import labels, lookup
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.operations import controls_bucket
from agentflow_gateway.store.versions import LabelRow, VersionRow


class Versions(msgspec.Struct):
    """versions: newest first. paused: why the workflow is paused, None if it is not."""

    versions: list[VersionRow]
    labels: dict[int, list[str]]
    paused: str | None


async def versions(deps: Deps, call: Call, name: str, before: int | None = None, limit: int = 1000) -> Versions:
    """Newest first. before: only versions below this one."""
    rows = await deps.versions.versions(call.org, _name(name), before, limit)
    if not rows and before is None:
        raise await lookup.unknown_workflow(deps, call.org, name)
    marks = labels.shown(await deps.versions.labels(call.org, name))
    pause = await controls_bucket.workflow_pause(deps, call.org, name)
    return Versions(rows, marks, None if pause is None else pause.reason)


def _name(name: str) -> str:
    ref = labels.parse_ref(name)
    if ref.version is not None or ref.label:
        raise InvalidError(
            f"{name[:80]!r} names a version", problems=(Problem("workflow", "names a version", "give the name alone"),)
        )
    return ref.name


async def set_label(
    deps: Deps, call: Call, name: str, label: str, version: int, percent: int, remove: bool
) -> tuple[LabelRow | None, bool]:
    """(the label as it stands now, whether it changed). Saying the same again changes nothing."""
    labels.check_label(label)
    there = await deps.versions.labels(call.org, _name(name))
    before = next((row for row in there if row.label == label), None)
    if remove:
        return None, await deps.versions.remove_label(call.org, name, label)
    if await deps.versions.find_definition(call.org, name, version) is None:
        raise await lookup.no_such_version(deps, call.org, name, version)
    after = labels.moved(before, label, version, percent, len(there))
    if after == before:
        return after, False
    if not await deps.versions.put_label(call.org, name, after, before, deps.clock.now_ms(), call.identity.actor):
        raise ConflictError(f"the label {label!r} was moved by somebody else just now; look at it and try again")
    return after, True

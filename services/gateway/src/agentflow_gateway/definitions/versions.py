"""Versions and labels of registered workflows: lists them, and points labels at versions."""

from __future__ import annotations

import msgspec

from agentflow_common.errors import ConflictError
from agentflow_gateway.api.call import Call
from agentflow_gateway.definitions import labels, lookup
from agentflow_gateway.operations import controls_bucket
from agentflow_gateway.store.definitions import VersionRow
from agentflow_gateway.store.labels import LabelRow


class Versions(msgspec.Struct):
    versions: list[VersionRow]  # newest first
    labels: dict[int, list[str]]
    paused: str | None  # why the workflow is paused, None if it is not
    paused_until: int = 0  # when that ends by itself, ms since the epoch


async def find(call: Call, workflow: str, before: int | None, limit: int) -> Versions:
    """Returns the versions of a workflow. before: only those below this number."""
    name = labels.parse_name(workflow)
    rows = await call.store.definitions.versions(call.org, name, before, limit)
    if not rows and before is None:
        raise await lookup.unknown_workflow(call, name)
    marks = labels.shown(await call.store.labels.list(call.org, name))
    pause = await controls_bucket.workflow_pause(call, name)
    return Versions(rows, marks, *((None, 0) if pause is None else (pause.reason, pause.paused_until)))


async def set_label(
    call: Call, workflow: str, label: str, *, version: int, percent: int, remove: bool
) -> tuple[LabelRow | None, bool]:
    """Returns (the label as it is now, whether it changed). A repetition changes nothing."""
    labels.check_label(label)
    name, store = labels.parse_name(workflow), call.store
    there = await store.labels.list(call.org, name)
    before = next((row for row in there if row.label == label), None)
    if remove:
        return None, await store.labels.remove(call.org, name, label)
    if await store.definitions.find(call.org, name, version) is None:
        raise await lookup.no_such_version(call, name, version)
    after = labels.moved(before, label, version, percent, len(there))
    if after == before:
        return after, False
    if not await store.labels.put(call.org, name, after, before, call.now_ms(), call.identity.actor):
        raise ConflictError(f"the label {label!r} was just moved by another caller; look at it and try again")
    return after, True
